-- Read-only statements of the ledger. $1 is always the book. Rows never change, so `sequence <= cut` is stable.

-- name: head
SELECT b.last_sequence FROM ledger.blocks AS b WHERE b.book_id = $1 ORDER BY b.recorded_at DESC LIMIT 1;

-- name: lock_opening
-- One opener of books at a time, until its transaction ends. The next statement sees what the last one opened.
SELECT pg_advisory_xact_lock(7453010364987428);

-- name: next_book_id
-- Test books count from 1000.
SELECT greatest(max(b.book_id) + 1, 1000) FROM ledger.books AS b;

-- name: balances
SELECT a.kind, a.owner, a.currency, k.normal_side, a.debits_posted, a.credits_posted, a.last_sequence
FROM unnest($2::smallint[], $3::text[], $4::text[]) AS u(kind, owner, currency)
JOIN ledger.accounts AS a ON a.book_id = $1 AND a.kind = u.kind AND a.owner = u.owner AND a.currency = u.currency
JOIN ledger.account_kinds AS k ON k.kind = a.kind;

-- name: all_balances
SELECT a.kind, a.owner, a.currency, k.normal_side, a.debits_posted, a.credits_posted, a.last_sequence
FROM ledger.accounts AS a
JOIN ledger.account_kinds AS k ON k.kind = a.kind
WHERE a.book_id = $1
ORDER BY k.code, a.owner, a.currency;

-- name: trial_balance
-- Turnover of every account by effective date: before $2, from $2 through $3; of entries up to sequence $4.
SELECT a.kind, a.owner, a.currency, k.code, k.normal_side,
       t.debits_before, t.credits_before, t.debits, t.credits
FROM (
    SELECT m.account_id,
           coalesce(sum(m.debit) FILTER (WHERE m.effective_on < $2), 0)::numeric AS debits_before,
           coalesce(sum(m.credit) FILTER (WHERE m.effective_on < $2), 0)::numeric AS credits_before,
           coalesce(sum(m.debit) FILTER (WHERE m.effective_on >= $2 OR $2 IS NULL), 0)::numeric AS debits,
           coalesce(sum(m.credit) FILTER (WHERE m.effective_on >= $2 OR $2 IS NULL), 0)::numeric AS credits
    FROM (
        SELECT e.effective_on, x.account_id, x.debit, x.credit
        FROM ledger.entries AS e
        JOIN ledger.postings AS p
            ON p.book_id = e.book_id AND p.sequence = e.sequence AND p.recorded_at = e.recorded_at
        CROSS JOIN LATERAL (VALUES (p.debit_account, p.amount_minor, 0::bigint),
                                   (p.credit_account, 0::bigint, p.amount_minor)) AS x(account_id, debit, credit)
        WHERE e.book_id = $1 AND p.book_id = $1 AND ($3::date IS NULL OR e.effective_on <= $3)
            AND ($4::bigint IS NULL OR e.sequence <= $4)
    ) AS m
    GROUP BY m.account_id
) AS t
JOIN ledger.accounts AS a ON a.book_id = $1 AND a.account_id = t.account_id
JOIN ledger.account_kinds AS k ON k.kind = a.kind
ORDER BY k.code, a.owner, a.currency;

-- name: entries_after
SELECT e.* FROM ledger.entries AS e WHERE e.book_id = $1 AND e.sequence > $2 ORDER BY e.sequence LIMIT $3;

-- name: entries_at
SELECT e.* FROM ledger.entries AS e WHERE e.book_id = $1 AND e.sequence = ANY($2::bigint[]) ORDER BY e.sequence;

-- name: entry_by_key
SELECT e.*
FROM ledger.idempotency_keys AS q
JOIN ledger.entries AS e ON e.book_id = q.book_id AND e.sequence = q.sequence AND e.recorded_at = q.recorded_at
WHERE q.book_id = $1 AND q.key = $2;

-- name: postings_of
-- Postings of the entries $2 (ascending), recorded from $3 through $4, with the accounts that they name.
SELECT p.sequence, p.line, p.amount_minor, p.available_on, p.debit_balance_after, p.credit_balance_after,
       d.kind AS debit_kind, d.owner AS debit_owner, d.currency,
       c.kind AS credit_kind, c.owner AS credit_owner
FROM ledger.postings AS p
JOIN ledger.accounts AS d ON d.book_id = $1 AND d.account_id = p.debit_account
JOIN ledger.accounts AS c ON c.book_id = $1 AND c.account_id = p.credit_account
WHERE p.book_id = $1 AND p.sequence = ANY($2::bigint[]) AND p.recorded_at BETWEEN $3 AND $4
ORDER BY p.sequence, p.line;

-- name: references_of
SELECT r.sequence, r.scheme, r.value
FROM ledger.entry_references AS r WHERE r.book_id = $1 AND r.sequence = ANY($2::bigint[])
ORDER BY r.sequence, r.scheme, r.value;

-- name: sequences_by_reference
SELECT r.value, r.sequence
FROM ledger.entry_references AS r WHERE r.book_id = $1 AND r.scheme = $2 AND r.value = ANY($3::text[])
ORDER BY r.value, r.sequence;

-- name: account_ids
SELECT a.account_id
FROM unnest($2::smallint[], $3::text[], $4::text[]) AS u(kind, owner, currency)
JOIN ledger.accounts AS a ON a.book_id = $1 AND a.kind = u.kind AND a.owner = u.owner AND a.currency = u.currency;

-- name: account_postings
-- Newest first: each index gives its own newest $5, the union keeps the newest of all; entries are never cut in two.
SELECT p.sequence, p.line, p.amount_minor, p.available_on, p.debit_balance_after, p.credit_balance_after,
       d.kind AS debit_kind, d.owner AS debit_owner, d.currency,
       c.kind AS credit_kind, c.owner AS credit_owner
FROM (
    SELECT x.* FROM (
    SELECT x.* FROM unnest($2::bigint[]) AS u(account_id) CROSS JOIN LATERAL (
        SELECT y.* FROM ledger.postings AS y
        WHERE y.book_id = $1 AND y.debit_account = u.account_id
            AND y.sequence < coalesce($3::bigint, 9223372036854775807) AND y.sequence > coalesce($4::bigint, 0)
        ORDER BY y.sequence DESC FETCH FIRST $5 ROWS WITH TIES) AS x
    UNION
    SELECT x.* FROM unnest($2::bigint[]) AS u(account_id) CROSS JOIN LATERAL (
        SELECT y.* FROM ledger.postings AS y
        WHERE y.book_id = $1 AND y.credit_account = u.account_id
            AND y.sequence < coalesce($3::bigint, 9223372036854775807) AND y.sequence > coalesce($4::bigint, 0)
        ORDER BY y.sequence DESC FETCH FIRST $5 ROWS WITH TIES) AS x
    ) AS x
    ORDER BY x.sequence DESC FETCH FIRST $5 ROWS WITH TIES
) AS p
JOIN ledger.accounts AS d ON d.book_id = $1 AND d.account_id = p.debit_account
JOIN ledger.accounts AS c ON c.book_id = $1 AND c.account_id = p.credit_account
ORDER BY p.sequence DESC, p.line DESC;

-- name: pending_days
-- The days through $2 that may have an open sum: touched after sequence $3, after day $4, or among $5.
SELECT p.available_on FROM ledger.postings AS p
WHERE p.book_id = $1 AND p.sequence > $3 AND p.available_on <= $2
UNION
SELECT p.available_on FROM ledger.postings AS p
WHERE p.book_id = $1 AND p.available_on > $4 AND p.available_on <= $2
UNION
SELECT d.available_on FROM unnest($5::date[]) AS d(available_on) WHERE d.available_on <= $2;

-- name: pending_by_day
-- The sums of whole days, $2, wherever they are not zero.
SELECT t.owner, t.currency, t.available_on, sum(t.amount)::bigint AS amount_minor
FROM (
    SELECT d.owner, d.currency, p.available_on, -p.amount_minor AS amount
    FROM ledger.postings AS p
    JOIN ledger.accounts AS d ON d.book_id = $1 AND d.account_id = p.debit_account AND d.kind = 30
    WHERE p.book_id = $1 AND p.available_on = ANY($2::date[])
    UNION ALL
    SELECT c.owner, c.currency, p.available_on, p.amount_minor
    FROM ledger.postings AS p
    JOIN ledger.accounts AS c ON c.book_id = $1 AND c.account_id = p.credit_account AND c.kind = 30
    WHERE p.book_id = $1 AND p.available_on = ANY($2::date[])
) AS t
GROUP BY t.owner, t.currency, t.available_on
HAVING sum(t.amount) <> 0
ORDER BY t.available_on, t.owner, t.currency;

-- name: newest_block
SELECT b.* FROM ledger.blocks AS b WHERE b.book_id = $1 ORDER BY b.recorded_at DESC LIMIT 1;

-- name: blocks_after
SELECT b.* FROM ledger.blocks AS b
WHERE b.book_id = $1 AND b.recorded_at > coalesce($2::timestamptz, '-infinity') AND b.recorded_at <= $3
ORDER BY b.recorded_at LIMIT $4;

-- name: entries_between
SELECT e.* FROM ledger.entries AS e WHERE e.book_id = $1 AND e.sequence > $2 AND e.sequence <= $3 ORDER BY e.sequence;

-- name: postings_between
SELECT p.*, d.kind AS debit_kind, d.currency AS debit_currency, dk.normal_side AS debit_normal_side,
       c.kind AS credit_kind, c.currency AS credit_currency, ck.normal_side AS credit_normal_side
FROM ledger.postings AS p
LEFT JOIN ledger.accounts AS d ON d.book_id = $1 AND d.account_id = p.debit_account
LEFT JOIN ledger.account_kinds AS dk ON dk.kind = d.kind
LEFT JOIN ledger.accounts AS c ON c.book_id = $1 AND c.account_id = p.credit_account
LEFT JOIN ledger.account_kinds AS ck ON ck.kind = c.kind
WHERE p.book_id = $1 AND p.sequence > $2 AND p.sequence <= $3;

-- name: references_between
SELECT r.sequence, r.scheme, r.value FROM ledger.entry_references AS r
WHERE r.book_id = $1 AND r.sequence > $2 AND r.sequence <= $3;

-- name: keys_at
SELECT q.key, q.sequence, q.recorded_at FROM ledger.idempotency_keys AS q
WHERE q.book_id = $1 AND q.key = ANY($2::uuid[]);

-- name: keys_after
SELECT q.key, q.sequence, e.key IS NOT NULL AS found
FROM (
    SELECT x.* FROM ledger.idempotency_keys AS x
    WHERE x.book_id = $1 AND x.key > coalesce($2::uuid, '00000000-0000-0000-0000-000000000000')
    ORDER BY x.key LIMIT $3
) AS q
LEFT JOIN ledger.entries AS e
    ON e.book_id = $1 AND e.sequence = q.sequence AND e.recorded_at = q.recorded_at AND e.key = q.key
ORDER BY q.key;

-- name: beyond_head
WITH head AS (
    SELECT b.last_sequence FROM ledger.blocks AS b WHERE b.book_id = $1 ORDER BY b.recorded_at DESC LIMIT 1
), outside AS (
    SELECT 'entries' AS table_name, e.sequence FROM ledger.entries AS e, head AS h
    WHERE e.book_id = $1 AND (e.sequence < 1 OR e.sequence > h.last_sequence)
    UNION ALL
    SELECT 'postings', p.sequence FROM ledger.postings AS p, head AS h
    WHERE p.book_id = $1 AND (p.sequence < 1 OR p.sequence > h.last_sequence)
    UNION ALL
    SELECT 'entry_references', r.sequence FROM ledger.entry_references AS r, head AS h
    WHERE r.book_id = $1 AND (r.sequence < 1 OR r.sequence > h.last_sequence)
    UNION ALL
    SELECT 'entry_caps', c.sequence FROM ledger.entry_caps AS c, head AS h
    WHERE c.book_id = $1 AND (c.sequence < 1 OR c.sequence > h.last_sequence)
)
SELECT o.table_name, count(*) AS row_count, max(h.last_sequence) AS head
FROM outside AS o, head AS h GROUP BY o.table_name ORDER BY o.table_name;

-- name: totals_at
-- Totals as of sequence $2: the accounts' rows less what was posted since, in one snapshot.
SELECT a.account_id, a.last_sequence, s.account_id IS NOT NULL AS moved_since,
       a.debits_posted - coalesce(s.debits, 0) AS debits_minor,
       a.credits_posted - coalesce(s.credits, 0) AS credits_minor
FROM ledger.accounts AS a
LEFT JOIN (
    SELECT x.account_id, sum(x.debit) AS debits, sum(x.credit) AS credits
    FROM ledger.postings AS p
    CROSS JOIN LATERAL (VALUES (p.debit_account, p.amount_minor, 0::bigint),
                               (p.credit_account, 0::bigint, p.amount_minor)) AS x(account_id, debit, credit)
    WHERE p.book_id = $1 AND p.sequence > $2
    GROUP BY x.account_id
) AS s ON s.account_id = a.account_id
WHERE a.book_id = $1;

-- name: totals_by_currency
SELECT a.currency, count(*) AS accounts, sum(a.debits_posted) AS debits, sum(a.credits_posted) AS credits
FROM ledger.accounts AS a WHERE a.book_id = $1 GROUP BY a.currency ORDER BY a.currency;

-- name: caps_after
SELECT c.sequence, c.drawable_minor, c.drawn_minor, e.drawable_minor AS entry_drawable_minor
FROM (
    SELECT x.* FROM ledger.entry_caps AS x
    WHERE x.book_id = $1 AND x.sequence > $2 AND x.sequence <= $3 ORDER BY x.sequence LIMIT $4
) AS c
LEFT JOIN ledger.entries AS e ON e.book_id = $1 AND e.sequence = c.sequence
ORDER BY c.sequence;

-- name: cap_at
-- What was drawn on entry $2 as of sequence $3, from the cap row less the draws since, in one snapshot.
SELECT c.drawn_minor - coalesce((
    SELECT sum(e.drawn_minor) FROM ledger.entries AS e
    WHERE e.book_id = $1 AND e.sequence > $3 AND e.draws_on = $2), 0) AS drawn_minor
FROM ledger.entry_caps AS c WHERE c.book_id = $1 AND c.sequence = $2;

-- name: tables_and_guards
-- Every table of the ledger with its guards (triggers that fire ALWAYS) and with whoever but the owner may write.
SELECT t.relname AS table_name,
       t.relkind = 'r' AND NOT t.relispartition
           AND t.relname ~ '^(entries|postings|blocks|idempotency_keys)_' AS unbound,
       EXISTS (SELECT FROM pg_trigger AS g WHERE g.tgrelid = t.oid AND g.tgname = 'append_only'
               AND g.tgenabled = 'A' AND g.tgtype & 8 = 8 AND g.tgtype & 16 = 16) AS row_guarded,
       EXISTS (SELECT FROM pg_trigger AS g WHERE g.tgrelid = t.oid AND g.tgname = 'append_only_truncate'
               AND g.tgenabled = 'A') AS truncate_guarded,
       ARRAY(SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END
             FROM aclexplode(t.relacl) AS a
             WHERE a.grantee <> t.relowner AND a.privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')
             ORDER BY 1) AS writers
FROM pg_class AS t
WHERE t.relnamespace = 'ledger'::regnamespace AND t.relkind IN ('r', 'p')
ORDER BY t.relname;

-- name: ddl_guard
SELECT count(*) = 2 FROM pg_event_trigger AS e
WHERE e.evtname IN ('ledger_ddl_guard', 'ledger_drop_guard') AND e.evtenabled = 'A';

-- name: greatest_sequence
SELECT coalesce(max(e.sequence), 0) AS sequence FROM ledger.entries AS e WHERE e.book_id = $1;

-- name: months_made
-- The months that have a partition of all three tables, attached.
SELECT to_date(right(c.relname, 7), 'YYYY_MM') AS month
FROM pg_catalog.pg_inherits AS i
JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent IN ('ledger.entries'::regclass, 'ledger.postings'::regclass, 'ledger.blocks'::regclass)
GROUP BY 1
HAVING count(*) = 3;
