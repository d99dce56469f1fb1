-- Read-only statements about entries: by sequence, key, reference and account, what of them is pending, drawn or held.
-- $1 is the book, but for `books_with_expired_holds`. How rows are looked up, and why so: account_queries.sql.

-- name: entries_after
SELECT e.* FROM ledger.entries AS e
WHERE e.book_id = (SELECT $1::bigint) AND e.sequence > (SELECT $2::bigint) ORDER BY e.sequence LIMIT (SELECT $3::bigint);

-- name: entries_at
SELECT e.*
FROM (SELECT DISTINCT unnest((SELECT $2::bigint[])) AS sequence) AS u
CROSS JOIN LATERAL (
    SELECT x.* FROM ledger.entries AS x
    WHERE x.book_id = (SELECT $1::bigint) AND x.sequence = u.sequence LIMIT 1
) AS e
ORDER BY e.sequence;

-- name: entry_by_key
SELECT e.*
FROM (SELECT x.sequence, x.recorded_at FROM ledger.idempotency_keys AS x
      WHERE x.book_id = (SELECT $1::bigint) AND x.key = $2 LIMIT 1) AS q
CROSS JOIN LATERAL (
    SELECT x.* FROM ledger.entries AS x
    WHERE x.book_id = (SELECT $1::bigint) AND x.sequence = q.sequence AND x.recorded_at = q.recorded_at LIMIT 1
) AS e;

-- name: postings_of
-- Postings of the entries $2 (ascending), recorded from $3 through $4, with the accounts that they name.
SELECT p.sequence, p.line, p.amount_minor, p.available_on, p.debit_balance_after, p.credit_balance_after,
       p.reverses_line, p.up_to_minor,
       d.kind AS debit_kind, d.owner AS debit_owner, d.currency,
       c.kind AS credit_kind, c.owner AS credit_owner
FROM (SELECT DISTINCT unnest((SELECT $2::bigint[])) AS sequence) AS u
CROSS JOIN LATERAL (
    SELECT x.* FROM ledger.postings AS x
    WHERE x.book_id = (SELECT $1::bigint) AND x.sequence BETWEEN u.sequence AND u.sequence
        AND x.recorded_at >= $3::timestamptz + interval '0' AND x.recorded_at <= $4::timestamptz + interval '0'
    ORDER BY x.sequence
) AS p
CROSS JOIN LATERAL (
    SELECT r.kind, r.owner, r.currency FROM ledger.accounts AS r
    WHERE r.book_id = (SELECT $1::bigint) AND r.account_id BETWEEN p.debit_account AND p.debit_account
    ORDER BY r.account_id LIMIT 1
) AS d
CROSS JOIN LATERAL (
    SELECT r.kind, r.owner, r.currency FROM ledger.accounts AS r
    WHERE r.book_id = (SELECT $1::bigint) AND r.account_id BETWEEN p.credit_account AND p.credit_account
    ORDER BY r.account_id LIMIT 1
) AS c
ORDER BY p.sequence, p.line;

-- name: references_of
SELECT r.sequence, r.scheme, r.value
FROM (SELECT DISTINCT unnest((SELECT $2::bigint[])) AS sequence) AS u
CROSS JOIN LATERAL (
    SELECT x.* FROM ledger.entry_references AS x
    WHERE x.book_id = (SELECT $1::bigint) AND x.sequence BETWEEN u.sequence AND u.sequence ORDER BY x.sequence
) AS r
ORDER BY r.sequence, r.scheme, r.value;

-- name: sequences_by_reference
SELECT r.value, r.sequence
FROM (SELECT DISTINCT unnest((SELECT $3::text[])) AS value) AS u
CROSS JOIN LATERAL (
    SELECT x.value, x.sequence FROM ledger.entry_references AS x
    WHERE x.book_id = (SELECT $1::bigint) AND x.scheme = $2 AND x.value BETWEEN u.value AND u.value
    ORDER BY x.value, x.sequence
) AS r
ORDER BY r.value, r.sequence;

-- name: account_ids
SELECT a.account_id
FROM unnest((SELECT $2::smallint[]), (SELECT $3::text[]), (SELECT $4::text[])) AS u(kind, owner, currency)
CROSS JOIN LATERAL (
    SELECT r.* FROM ledger.accounts AS r
    WHERE r.book_id = (SELECT $1::bigint) AND r.kind = u.kind AND r.owner = u.owner
        AND r.currency BETWEEN u.currency AND u.currency
    ORDER BY r.currency LIMIT 1
) AS a;

-- name: account_postings
-- Before sequence $3 and after $4, newest first: each index gives its own newest $5, the union keeps the newest of all;
-- entries are never cut in two.
SELECT p.sequence, p.line, p.amount_minor, p.available_on, p.debit_balance_after, p.credit_balance_after,
       p.reverses_line, p.up_to_minor,
       d.kind AS debit_kind, d.owner AS debit_owner, d.currency,
       c.kind AS credit_kind, c.owner AS credit_owner
FROM (
    SELECT x.* FROM (
    SELECT x.* FROM unnest((SELECT $2::bigint[])) AS u(account_id) CROSS JOIN LATERAL (
        SELECT y.* FROM ledger.postings AS y
        WHERE y.book_id = (SELECT $1::bigint) AND (y.debit_account, y.sequence) < (u.account_id, $3)
            AND (y.debit_account, y.sequence) > (u.account_id, $4)
            AND y.debit_account IS NOT DISTINCT FROM u.account_id
        ORDER BY y.debit_account DESC, y.sequence DESC FETCH FIRST (SELECT $5::bigint) ROWS WITH TIES) AS x
    UNION
    SELECT x.* FROM unnest((SELECT $2::bigint[])) AS u(account_id) CROSS JOIN LATERAL (
        SELECT y.* FROM ledger.postings AS y
        WHERE y.book_id = (SELECT $1::bigint) AND (y.credit_account, y.sequence) < (u.account_id, $3)
            AND (y.credit_account, y.sequence) > (u.account_id, $4)
            AND y.credit_account IS NOT DISTINCT FROM u.account_id
        ORDER BY y.credit_account DESC, y.sequence DESC FETCH FIRST (SELECT $5::bigint) ROWS WITH TIES) AS x
    ) AS x
    ORDER BY x.sequence DESC FETCH FIRST (SELECT $5::bigint) ROWS WITH TIES
) AS p
CROSS JOIN LATERAL (
    SELECT r.kind, r.owner, r.currency FROM ledger.accounts AS r
    WHERE r.book_id = (SELECT $1::bigint) AND r.account_id BETWEEN p.debit_account AND p.debit_account
    ORDER BY r.account_id LIMIT 1
) AS d
CROSS JOIN LATERAL (
    SELECT r.kind, r.owner, r.currency FROM ledger.accounts AS r
    WHERE r.book_id = (SELECT $1::bigint) AND r.account_id BETWEEN p.credit_account AND p.credit_account
    ORDER BY r.account_id LIMIT 1
) AS c
ORDER BY p.sequence DESC, p.line DESC;

-- name: pending_days
-- The days through $2 that may have an open sum: touched after sequence $3, after day $4, or among $5.
SELECT x.available_on FROM (
    SELECT p.available_on FROM ledger.postings AS p
    WHERE p.book_id = (SELECT $1::bigint) AND p.sequence > (SELECT $3::bigint) ORDER BY p.sequence OFFSET 0) AS x
WHERE x.available_on <= $2
UNION
(SELECT p.available_on FROM ledger.postings AS p
 WHERE p.book_id = (SELECT $1::bigint) AND p.available_on > (SELECT $4::date) AND p.available_on <= (SELECT $2::date)
 ORDER BY p.available_on)
UNION
SELECT d.available_on FROM unnest((SELECT $5::date[])) AS d(available_on) WHERE d.available_on <= $2
UNION
SELECT o.available_on FROM ledger.archived_pending AS o
WHERE o.book_id = $1 AND o.available_on <= $2
    AND o.month = (SELECT max(y.month) FROM ledger.archives AS y
        WHERE y.book_id = $1 AND to_regclass('ledger.entries_' || to_char(y.month, 'YYYY_MM')) IS NULL);

-- name: pending_by_day
-- The sums of whole days, $2, wherever they are not zero; what was archived counts as its sum.
SELECT t.owner, t.currency, t.available_on, sum(t.amount)::bigint AS amount_minor
FROM (
    SELECT a.owner, a.currency, p.available_on, -p.amount_minor AS amount
    FROM unnest((SELECT $2::date[])) AS u(available_on)
    CROSS JOIN LATERAL (
        SELECT x.debit_account, x.available_on, x.amount_minor FROM ledger.postings AS x
        WHERE x.book_id = (SELECT $1::bigint) AND x.available_on BETWEEN u.available_on AND u.available_on
        ORDER BY x.available_on
    ) AS p
    CROSS JOIN LATERAL (
        SELECT r.kind, r.owner, r.currency FROM ledger.accounts AS r
        WHERE r.book_id = (SELECT $1::bigint) AND r.account_id BETWEEN p.debit_account AND p.debit_account
        ORDER BY r.account_id LIMIT 1
    ) AS a
    WHERE a.kind = 30
    UNION ALL
    SELECT a.owner, a.currency, p.available_on, p.amount_minor AS amount
    FROM unnest((SELECT $2::date[])) AS u(available_on)
    CROSS JOIN LATERAL (
        SELECT x.credit_account, x.available_on, x.amount_minor FROM ledger.postings AS x
        WHERE x.book_id = (SELECT $1::bigint) AND x.available_on BETWEEN u.available_on AND u.available_on
        ORDER BY x.available_on
    ) AS p
    CROSS JOIN LATERAL (
        SELECT r.kind, r.owner, r.currency FROM ledger.accounts AS r
        WHERE r.book_id = (SELECT $1::bigint) AND r.account_id BETWEEN p.credit_account AND p.credit_account
        ORDER BY r.account_id LIMIT 1
    ) AS a
    WHERE a.kind = 30
    UNION ALL
    SELECT a.owner, a.currency, o.available_on, o.amount_minor
    FROM ledger.archived_pending AS o
    CROSS JOIN LATERAL (
        SELECT r.owner, r.currency FROM ledger.accounts AS r
        WHERE r.book_id = (SELECT $1::bigint) AND r.account_id BETWEEN o.account_id AND o.account_id
        ORDER BY r.account_id LIMIT 1
    ) AS a
    WHERE o.book_id = $1 AND o.available_on = ANY((SELECT $2::date[])::date[])
        AND o.month = (SELECT max(y.month) FROM ledger.archives AS y
        WHERE y.book_id = $1 AND to_regclass('ledger.entries_' || to_char(y.month, 'YYYY_MM')) IS NULL)
) AS t
GROUP BY t.owner, t.currency, t.available_on
HAVING sum(t.amount) <> 0
ORDER BY t.available_on, t.owner, t.currency;

-- name: pending_on_day
-- What of the merchant's account, $2, is still pending for the day, $3. The whole day is read: accounts have longer pasts.
SELECT coalesce(sum(CASE $2::bigint WHEN p.credit_account THEN p.amount_minor WHEN p.debit_account THEN -p.amount_minor END),
                0)::bigint
FROM (
    SELECT x.debit_account, x.credit_account, x.amount_minor FROM ledger.postings AS x
    WHERE x.book_id = (SELECT $1::bigint) AND x.available_on BETWEEN (SELECT $3::date) AND (SELECT $3::date)
    ORDER BY x.available_on
) AS p;

-- name: keys_at
SELECT q.key, q.sequence, q.recorded_at
FROM (SELECT DISTINCT unnest((SELECT $2::uuid[])) AS key) AS u
CROSS JOIN LATERAL (
    SELECT x.* FROM ledger.idempotency_keys AS x
    WHERE x.book_id = (SELECT $1::bigint) AND x.key = u.key LIMIT 1
) AS q;

-- name: cap_at
-- What was drawn on entry $2 as of sequence $3, from the cap row less the draws since, in one snapshot.
SELECT c.drawn_minor - coalesce((
    SELECT sum(e.drawn_minor) FROM (
        SELECT x.drawn_minor, x.draws_on FROM ledger.entries AS x
        WHERE x.book_id = (SELECT $1::bigint) AND x.sequence > (SELECT $3::bigint)
        ORDER BY x.sequence OFFSET 0) AS e
    WHERE e.draws_on = $2), 0) AS drawn_minor
FROM ledger.entry_caps AS c WHERE c.book_id = (SELECT $1::bigint) AND c.sequence = $2 LIMIT 1;

-- name: hold_by_key
SELECT e.key, h.sequence, h.amount_minor, h.expires_at, e.recorded_at, d.kind AS debit_kind, d.owner AS debit_owner,
       d.currency, c.kind AS credit_kind, c.owner AS credit_owner, r.action, r.posted_minor
FROM (SELECT x.sequence, x.recorded_at FROM ledger.idempotency_keys AS x
      WHERE x.book_id = (SELECT $1::bigint) AND x.key = $2 LIMIT 1) AS q
CROSS JOIN LATERAL (
    SELECT x.key, x.recorded_at FROM ledger.entries AS x
    WHERE x.book_id = (SELECT $1::bigint) AND x.sequence = q.sequence AND x.recorded_at = q.recorded_at LIMIT 1
) AS e
CROSS JOIN LATERAL (
    SELECT x.* FROM ledger.holds AS x WHERE x.book_id = (SELECT $1::bigint) AND x.sequence = q.sequence LIMIT 1
) AS h
CROSS JOIN LATERAL (
    SELECT r.kind, r.owner, r.currency FROM ledger.accounts AS r
    WHERE r.book_id = (SELECT $1::bigint) AND r.account_id BETWEEN h.debit_account AND h.debit_account
    ORDER BY r.account_id LIMIT 1
) AS d
CROSS JOIN LATERAL (
    SELECT r.kind, r.owner, r.currency FROM ledger.accounts AS r
    WHERE r.book_id = (SELECT $1::bigint) AND r.account_id BETWEEN h.credit_account AND h.credit_account
    ORDER BY r.account_id LIMIT 1
) AS c
LEFT JOIN LATERAL (
    SELECT x.action, x.posted_minor FROM ledger.hold_resolutions AS x
    WHERE x.book_id = (SELECT $1::bigint) AND x.hold = h.sequence LIMIT 1
) AS r ON true;

-- name: holds_expired
-- Holds that can be expired at $2 and could not at $4, the longest overdue first. Whether a hold was resolved is asked hold
-- by hold, of all that were ever due in that time.
SELECT e.key, h.sequence, h.amount_minor, h.expires_at, e.recorded_at, d.kind AS debit_kind, d.owner AS debit_owner,
       d.currency, c.kind AS credit_kind, c.owner AS credit_owner, NULL::smallint AS action, NULL::bigint AS posted_minor
FROM (
    SELECT x.* FROM (
        SELECT y.* FROM ledger.holds AS y
        WHERE y.book_id = (SELECT $1::bigint) AND y.expires_at <= $2 AND y.expires_at > $4
        ORDER BY y.expires_at OFFSET 0) AS x
    WHERE (SELECT r.hold FROM ledger.hold_resolutions AS r
           WHERE r.book_id = (SELECT $1::bigint) AND r.hold = x.sequence LIMIT 1) IS NULL
    LIMIT $3
) AS h
CROSS JOIN LATERAL (
    SELECT x.key, x.recorded_at FROM ledger.entries AS x
    WHERE x.book_id = (SELECT $1::bigint) AND x.sequence = h.sequence LIMIT 1
) AS e
CROSS JOIN LATERAL (
    SELECT r.kind, r.owner, r.currency FROM ledger.accounts AS r
    WHERE r.book_id = (SELECT $1::bigint) AND r.account_id BETWEEN h.debit_account AND h.debit_account
    ORDER BY r.account_id LIMIT 1
) AS d
CROSS JOIN LATERAL (
    SELECT r.kind, r.owner, r.currency FROM ledger.accounts AS r
    WHERE r.book_id = (SELECT $1::bigint) AND r.account_id BETWEEN h.credit_account AND h.credit_account
    ORDER BY r.account_id LIMIT 1
) AS c
ORDER BY h.expires_at, h.sequence;

-- name: books_with_expired_holds
-- Books with an open hold whose time was over between $1 and $2.
SELECT DISTINCT h.book_id FROM ledger.holds AS h
WHERE h.expires_at > $1 AND h.expires_at <= $2
    AND NOT EXISTS (SELECT FROM ledger.hold_resolutions AS r WHERE r.book_id = h.book_id AND r.hold = h.sequence)
ORDER BY h.book_id;
