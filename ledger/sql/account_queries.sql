-- Read-only statements about accounts, balances and periods. $1 is always the book. Rows never change, so
-- `sequence <= cut` is stable. Arrays stand behind a SELECT, where the planner does not see how long they are, and what is
-- not asked is a query of its own, not a null: else it finds a plan for this one call so much cheaper that it plans in each.
--
-- Every index of a table begins with book_id, so what the statistics say of one book must not decide between them. The
-- book stands behind a SELECT too: the planner takes it for a book like any other, with a fiftieth of all rows or more
-- (n_distinct, schema/). Each row is a LATERAL look-up of its own, where nothing is joined by reading the book. Where
-- two indexes begin alike, the last column that is compared is a range of one value (BETWEEN x AND x), or an account and
-- its sequences are compared as one row, in the order of the index that is meant: a range between values that the planner
-- does not know counts as little whatever the statistics say, in that index only, and no other has the order. That the
-- account is the same account (IS NOT DISTINCT FROM, which no index serves) says how few rows there are: else
-- the statement looks dear enough to be compiled. tests/ledger/test_plans_of_reads.py counts the pages.

-- name: balances
SELECT a.kind, a.owner, a.currency, a.debits_posted, a.credits_posted, a.last_sequence, a.debits_held, a.credits_held,
       a.floor_minor
FROM unnest((SELECT $2::smallint[]), (SELECT $3::text[]), (SELECT $4::text[])) AS u(kind, owner, currency)
CROSS JOIN LATERAL (
    SELECT r.* FROM ledger.accounts AS r
    WHERE r.book_id = (SELECT $1::bigint) AND r.kind = u.kind AND r.owner = u.owner
        AND r.currency BETWEEN u.currency AND u.currency
    ORDER BY r.currency LIMIT 1
) AS a;

-- name: all_balances
SELECT a.kind, a.owner, a.currency, a.debits_posted, a.credits_posted, a.last_sequence, a.debits_held, a.credits_held,
       a.floor_minor
FROM ledger.accounts AS a
JOIN ledger.account_kinds AS k ON k.kind = a.kind
WHERE a.book_id = $1
ORDER BY k.code, a.owner, a.currency;

-- name: balances_at
-- As recorded at its sequence of $5: an account that nothing moved since has its totals, else the balance stands on its
-- newest posting until then. What moved before the end of the newest month that is away, and not since, stands in its
-- archive. A row for each one asked; of an account that was never used, without its number.
SELECT u.kind, u.owner, u.currency, z.month AS archived_month, z.last_sequence AS archived_through, a.account_id,
       CASE WHEN a.last_sequence <= u.sequence THEN a.last_sequence ELSE coalesce(p.sequence, o.last_sequence, 0) END AS last_sequence,
       CASE WHEN a.last_sequence <= u.sequence THEN (a.debits_posted - a.credits_posted) * a.sign
            ELSE coalesce(p.balance_after, (o.debits_posted - o.credits_posted) * a.sign, 0) END AS balance_minor
FROM unnest((SELECT $2::smallint[]), (SELECT $3::text[]), (SELECT $4::text[]), (SELECT $5::bigint[]))
    AS u(kind, owner, currency, sequence)
LEFT JOIN (
    SELECT x.month, x.last_sequence FROM ledger.archives AS x
    WHERE x.book_id = (SELECT $1::bigint) AND to_regclass('ledger.entries_' || to_char(x.month, 'YYYY_MM')) IS NULL
    ORDER BY x.month DESC LIMIT 1
) AS z ON true
LEFT JOIN LATERAL (
    SELECT r.* FROM ledger.accounts AS r
    WHERE r.book_id = (SELECT $1::bigint) AND r.kind = u.kind AND r.owner = u.owner
        AND r.currency BETWEEN u.currency AND u.currency
    ORDER BY r.currency LIMIT 1
) AS a ON true
LEFT JOIN LATERAL ledger.newest_posting_v1(
    $1, a.account_id, CASE WHEN a.last_sequence > u.sequence THEN u.sequence END) AS p ON true
LEFT JOIN LATERAL (
    SELECT y.debits_posted, y.credits_posted, y.last_sequence FROM ledger.archived_balances AS y
    WHERE y.book_id = (SELECT $1::bigint) AND y.month = z.month AND y.account_id = a.account_id LIMIT 1
) AS o ON true;

-- name: statement_start
-- What a page of a statement of the account ($2, $3, $4) begins with: its last entry, $6 (null: the head); moments between
-- which all was recorded that lies between entry $5 and that one; what the books said of the account after it, and after
-- entry $7 if that is asked, as balances_at has it.
SELECT s.cut, z.month AS archived_month, z.last_sequence AS archived_through, a.account_id,
       CASE WHEN a.last_sequence <= (SELECT $7::bigint) THEN (a.debits_posted - a.credits_posted) * a.sign
            ELSE coalesce(p.balance_after, (o.debits_posted - o.credits_posted) * a.sign, 0) END AS opening_minor,
       CASE WHEN a.last_sequence <= s.cut THEN (a.debits_posted - a.credits_posted) * a.sign
            ELSE coalesce(q.balance_after, (o.debits_posted - o.credits_posted) * a.sign, 0) END AS closing_minor,
       coalesce(CASE WHEN $5 > 0 THEN (
           SELECT e.recorded_at FROM ledger.entries AS e
           WHERE e.book_id = (SELECT $1::bigint) AND e.sequence = $5 LIMIT 1) END, '-infinity') AS after_at,
       coalesce(q.recorded_at, s.recorded_at, 'infinity') AS cut_at
FROM (
    SELECT coalesce((SELECT $6::bigint), h.last_sequence, 0) AS cut, h.recorded_at
    FROM (SELECT) AS one
    LEFT JOIN (SELECT b.last_sequence, b.recorded_at FROM ledger.blocks AS b
               WHERE b.book_id = $1 ORDER BY b.recorded_at DESC LIMIT 1) AS h ON true
    OFFSET 0
) AS s
LEFT JOIN (
    SELECT x.month, x.last_sequence FROM ledger.archives AS x
    WHERE x.book_id = (SELECT $1::bigint) AND to_regclass('ledger.entries_' || to_char(x.month, 'YYYY_MM')) IS NULL
    ORDER BY x.month DESC LIMIT 1
) AS z ON true
LEFT JOIN LATERAL (
    SELECT r.* FROM ledger.accounts AS r
    WHERE r.book_id = (SELECT $1::bigint) AND r.kind = $2 AND r.owner = $3 AND r.currency BETWEEN $4 AND $4
    ORDER BY r.currency LIMIT 1
) AS a ON true
LEFT JOIN LATERAL ledger.newest_posting_v1(
    $1, a.account_id, CASE WHEN a.last_sequence > (SELECT $7::bigint) THEN (SELECT $7::bigint) END) AS p ON true
LEFT JOIN LATERAL ledger.newest_posting_v1(
    $1, a.account_id, CASE WHEN a.last_sequence > s.cut THEN s.cut END) AS q ON true
LEFT JOIN LATERAL (
    SELECT y.debits_posted, y.credits_posted FROM ledger.archived_balances AS y
    WHERE y.book_id = (SELECT $1::bigint) AND y.month = z.month AND y.account_id = a.account_id LIMIT 1
) AS o ON true;

-- name: balances_effective
-- By business date through $5: totals, or the days before the latest one.
SELECT u.kind, u.owner, u.currency,
       CASE WHEN $5 >= a.effective_on THEN a.debits_posted ELSE d.debits END AS debits,
       CASE WHEN $5 >= a.effective_on THEN a.credits_posted ELSE d.credits END AS credits
FROM unnest((SELECT $2::smallint[]), (SELECT $3::text[]), (SELECT $4::text[])) AS u(kind, owner, currency)
CROSS JOIN LATERAL (
    SELECT r.* FROM ledger.accounts AS r
    WHERE r.book_id = (SELECT $1::bigint) AND r.kind = u.kind AND r.owner = u.owner
        AND r.currency BETWEEN u.currency AND u.currency
    ORDER BY r.currency LIMIT 1
) AS a
LEFT JOIN LATERAL (
    SELECT coalesce(sum(x.debits_posted), 0) AS debits, coalesce(sum(x.credits_posted), 0) AS credits
    FROM ledger.account_days AS x
    WHERE x.book_id = (SELECT $1::bigint) AND x.account_id = a.account_id AND x.effective_on <= $5
) AS d ON $5 < a.effective_on;

-- name: balances_effective_at
-- By business date through $5, of entries up to sequence $6: totals, or the days before the latest one;
-- less what was recorded after $6 for those dates.
SELECT u.kind, u.owner, u.currency,
       CASE WHEN $5 >= a.effective_on THEN a.debits_posted ELSE d.debits END - coalesce(s.debits, 0) AS debits,
       CASE WHEN $5 >= a.effective_on THEN a.credits_posted ELSE d.credits END - coalesce(s.credits, 0) AS credits
FROM unnest((SELECT $2::smallint[]), (SELECT $3::text[]), (SELECT $4::text[])) AS u(kind, owner, currency)
CROSS JOIN LATERAL (
    SELECT r.* FROM ledger.accounts AS r
    WHERE r.book_id = (SELECT $1::bigint) AND r.kind = u.kind AND r.owner = u.owner
        AND r.currency BETWEEN u.currency AND u.currency
    ORDER BY r.currency LIMIT 1
) AS a
LEFT JOIN LATERAL (
    SELECT coalesce(sum(x.debits_posted), 0) AS debits, coalesce(sum(x.credits_posted), 0) AS credits
    FROM ledger.account_days AS x
    WHERE x.book_id = (SELECT $1::bigint) AND x.account_id = a.account_id AND x.effective_on <= $5
) AS d ON $5 < a.effective_on
LEFT JOIN LATERAL (
    SELECT sum(x.debit) AS debits, sum(x.credit) AS credits
    FROM (SELECT WHERE a.last_sequence > $6) AS since
    CROSS JOIN LATERAL (
        (SELECT p.sequence, p.recorded_at, p.amount_minor AS debit, 0::bigint AS credit FROM ledger.postings AS p
         WHERE p.book_id = (SELECT $1::bigint) AND (p.debit_account, p.sequence) > (a.account_id, $6)
            AND (p.debit_account, p.sequence) <= (a.account_id, 9223372036854775807)
            AND p.debit_account IS NOT DISTINCT FROM a.account_id
         ORDER BY p.debit_account, p.sequence)
        UNION ALL
        (SELECT p.sequence, p.recorded_at, 0::bigint, p.amount_minor FROM ledger.postings AS p
         WHERE p.book_id = (SELECT $1::bigint) AND (p.credit_account, p.sequence) > (a.account_id, $6)
            AND (p.credit_account, p.sequence) <= (a.account_id, 9223372036854775807)
            AND p.credit_account IS NOT DISTINCT FROM a.account_id
         ORDER BY p.credit_account, p.sequence)
    ) AS x
    WHERE (SELECT e.effective_on FROM ledger.entries AS e
           WHERE e.book_id = $1 AND e.sequence = x.sequence AND e.recorded_at = x.recorded_at LIMIT 1) <= $5
) AS s ON true;

-- name: statement_lines
-- Postings of account $2 after sequence $3 through $4, which were recorded from $5 through $6, oldest first, each with the
-- last entry that is away. About $7 rows: an entry is never cut in two. Moments that are computed here are not known to the
-- planner, but before the statement starts: it is planned once, and opens the months between them only.
SELECT p.sequence, p.line, p.recorded_at, e.kind AS entry_kind, e.key, e.effective_on, p.amount_minor,
       p.debited, p.balance_after, o.kind, o.owner, o.currency,
       (SELECT x.last_sequence FROM ledger.archives AS x
        WHERE x.book_id = (SELECT $1::bigint) AND to_regclass('ledger.entries_' || to_char(x.month, 'YYYY_MM')) IS NULL
        ORDER BY x.month DESC LIMIT 1) AS archived_through
FROM (
    (SELECT d.sequence, d.line, d.recorded_at, d.amount_minor, true AS debited, d.credit_account AS other,
            d.debit_balance_after AS balance_after
     FROM ledger.postings AS d
     WHERE d.book_id = (SELECT $1::bigint) AND (d.debit_account, d.sequence) > ((SELECT $2::bigint), $3)
        AND (d.debit_account, d.sequence) <= ((SELECT $2::bigint), $4)
        AND d.debit_account IS NOT DISTINCT FROM (SELECT $2::bigint)
        AND d.recorded_at >= $5::timestamptz + interval '0' AND d.recorded_at <= $6::timestamptz + interval '0'
     ORDER BY d.debit_account, d.sequence FETCH FIRST (SELECT $7::bigint) ROWS WITH TIES)
    UNION ALL
    (SELECT c.sequence, c.line, c.recorded_at, c.amount_minor, false, c.debit_account, c.credit_balance_after
     FROM ledger.postings AS c
     WHERE c.book_id = (SELECT $1::bigint) AND (c.credit_account, c.sequence) > ((SELECT $2::bigint), $3)
        AND (c.credit_account, c.sequence) <= ((SELECT $2::bigint), $4)
        AND c.credit_account IS NOT DISTINCT FROM (SELECT $2::bigint)
        AND c.recorded_at >= $5::timestamptz + interval '0' AND c.recorded_at <= $6::timestamptz + interval '0'
     ORDER BY c.credit_account, c.sequence FETCH FIRST (SELECT $7::bigint) ROWS WITH TIES)
    ORDER BY sequence FETCH FIRST (SELECT $7::bigint) ROWS WITH TIES
) AS p
CROSS JOIN LATERAL (
    SELECT x.kind, x.key, x.effective_on FROM ledger.entries AS x
    WHERE x.book_id = (SELECT $1::bigint) AND x.sequence = p.sequence AND x.recorded_at = p.recorded_at
        AND x.recorded_at >= $5::timestamptz + interval '0' AND x.recorded_at <= $6::timestamptz + interval '0' LIMIT 1
) AS e
CROSS JOIN LATERAL (
    SELECT r.kind, r.owner, r.currency FROM ledger.accounts AS r
    WHERE r.book_id = (SELECT $1::bigint) AND r.account_id BETWEEN p.other AND p.other
    ORDER BY r.account_id LIMIT 1
) AS o
ORDER BY p.sequence, p.line;

-- name: statement_lines_of_dates
-- As statement_lines, whenever they were recorded, of business dates $5 through $6. About $7 rows.
SELECT p.sequence, p.line, p.recorded_at, e.kind AS entry_kind, e.key, e.effective_on, p.amount_minor,
       p.debited, o.kind, o.owner, o.currency
FROM (
    (SELECT d.sequence, d.line, d.recorded_at, d.amount_minor, true AS debited, d.credit_account AS other
     FROM ledger.postings AS d
     WHERE d.book_id = (SELECT $1::bigint) AND (d.debit_account, d.sequence) > ((SELECT $2::bigint), $3)
        AND (d.debit_account, d.sequence) <= ((SELECT $2::bigint), $4)
        AND d.debit_account IS NOT DISTINCT FROM (SELECT $2::bigint)
        AND (
            SELECT e.effective_on FROM ledger.entries AS e
            WHERE e.book_id = $1 AND e.sequence = d.sequence AND e.recorded_at = d.recorded_at LIMIT 1) BETWEEN $5 AND $6
     ORDER BY d.debit_account, d.sequence FETCH FIRST (SELECT $7::bigint) ROWS WITH TIES)
    UNION ALL
    (SELECT c.sequence, c.line, c.recorded_at, c.amount_minor, false, c.debit_account
     FROM ledger.postings AS c
     WHERE c.book_id = (SELECT $1::bigint) AND (c.credit_account, c.sequence) > ((SELECT $2::bigint), $3)
        AND (c.credit_account, c.sequence) <= ((SELECT $2::bigint), $4)
        AND c.credit_account IS NOT DISTINCT FROM (SELECT $2::bigint)
        AND (
            SELECT e.effective_on FROM ledger.entries AS e
            WHERE e.book_id = $1 AND e.sequence = c.sequence AND e.recorded_at = c.recorded_at LIMIT 1) BETWEEN $5 AND $6
     ORDER BY c.credit_account, c.sequence FETCH FIRST (SELECT $7::bigint) ROWS WITH TIES)
    ORDER BY sequence FETCH FIRST (SELECT $7::bigint) ROWS WITH TIES
) AS p
CROSS JOIN LATERAL (
    SELECT x.kind, x.key, x.effective_on FROM ledger.entries AS x
    WHERE x.book_id = (SELECT $1::bigint) AND x.sequence = p.sequence AND x.recorded_at = p.recorded_at LIMIT 1
) AS e
CROSS JOIN LATERAL (
    SELECT r.kind, r.owner, r.currency FROM ledger.accounts AS r
    WHERE r.book_id = (SELECT $1::bigint) AND r.account_id BETWEEN p.other AND p.other
    ORDER BY r.account_id LIMIT 1
) AS o
ORDER BY p.sequence, p.line;

-- name: recorded_before
-- The last sequence of the book at a moment.
SELECT b.last_sequence FROM ledger.blocks AS b
WHERE b.book_id = $1 AND b.recorded_at < $2 ORDER BY b.recorded_at DESC LIMIT 1;

-- name: statement_turnover
-- What account $2 moved by entries after sequence $3 through $4 of business dates $5 through $6.
SELECT coalesce(sum(p.debit), 0) AS debits, coalesce(sum(p.credit), 0) AS credits
FROM (
    (SELECT d.sequence, d.recorded_at, d.amount_minor AS debit, 0::bigint AS credit FROM ledger.postings AS d
     WHERE d.book_id = (SELECT $1::bigint) AND (d.debit_account, d.sequence) > ((SELECT $2::bigint), $3)
        AND (d.debit_account, d.sequence) <= ((SELECT $2::bigint), $4)
        AND d.debit_account IS NOT DISTINCT FROM (SELECT $2::bigint)
     ORDER BY d.debit_account, d.sequence)
    UNION ALL
    (SELECT c.sequence, c.recorded_at, 0::bigint, c.amount_minor FROM ledger.postings AS c
     WHERE c.book_id = (SELECT $1::bigint) AND (c.credit_account, c.sequence) > ((SELECT $2::bigint), $3)
        AND (c.credit_account, c.sequence) <= ((SELECT $2::bigint), $4)
        AND c.credit_account IS NOT DISTINCT FROM (SELECT $2::bigint)
     ORDER BY c.credit_account, c.sequence)
) AS p
WHERE (SELECT e.effective_on FROM ledger.entries AS e
       WHERE e.book_id = $1 AND e.sequence = p.sequence AND e.recorded_at = p.recorded_at LIMIT 1) BETWEEN $5 AND $6;

-- name: turnover_by_accounts
-- What entries after $2 through $3 moved between each two accounts, before day $4, and from $4 through $5 (null = no
-- bound). The day is the one that an entry is booked on, or where $6 the true one of what happened.
SELECT p.debit_account, p.credit_account, coalesce(f.day < $4, false) AS before, sum(p.amount_minor) AS amount_minor
FROM ledger.entries AS e
CROSS JOIN LATERAL (
    SELECT CASE WHEN $6 THEN e.effective_on ELSE coalesce(e.booked_on, e.effective_on) END AS day) AS f
JOIN ledger.postings AS p ON p.book_id = e.book_id AND p.sequence = e.sequence AND p.recorded_at = e.recorded_at
WHERE e.book_id = $1 AND p.book_id = $1 AND ($5::date IS NULL OR f.day <= $5)
    AND e.sequence > $2 AND e.sequence <= $3 AND p.sequence > $2 AND p.sequence <= $3
GROUP BY p.debit_account, p.credit_account, coalesce(f.day < $4, false);

-- name: accounts_by_number
SELECT u.account_id, a.kind, a.owner, a.currency
FROM (SELECT DISTINCT unnest((SELECT $2::bigint[])) AS account_id) AS u
CROSS JOIN LATERAL (
    SELECT r.kind, r.owner, r.currency FROM ledger.accounts AS r
    WHERE r.book_id = (SELECT $1::bigint) AND r.account_id BETWEEN u.account_id AND u.account_id
    ORDER BY r.account_id LIMIT 1
) AS a;

-- name: accounts
-- Accounts of the kinds $2, in the order (kind, owner, currency): of kind $3 after ($4, $5), of all later kinds after $6,
-- the owner through $7; of currency $8, open or closed by $9, frozen or free by $10, each null = any. Each kind reads its
-- own stretch of the index, $11 rows at most.
SELECT x.*, k.name, k.code, k.account_class
FROM unnest((SELECT $2::smallint[])) AS u(kind)
JOIN ledger.account_kinds AS k ON k.kind = u.kind
CROSS JOIN LATERAL (
    SELECT a.* FROM ledger.accounts AS a
    WHERE a.book_id = (SELECT $1::bigint) AND a.kind = u.kind
        AND (a.owner, a.currency) > (CASE WHEN u.kind = $3 THEN $4 ELSE $6 END COLLATE "C",
                                     CASE WHEN u.kind = $3 THEN $5 ELSE '' END COLLATE "C")
        AND a.owner <= $7 COLLATE "C"
        AND ((SELECT $8::text) IS NULL OR a.currency = (SELECT $8::text))
        AND ((SELECT $9::boolean) IS NULL OR a.closed = (SELECT $9::boolean))
        AND ((SELECT $10::boolean) IS NULL OR (a.debits_frozen OR a.credits_frozen) = (SELECT $10::boolean))
    ORDER BY a.owner, a.currency LIMIT $11
) AS x
WHERE u.kind >= $3
ORDER BY x.kind, x.owner, x.currency LIMIT $11;

-- name: account_metadata
-- Version $5 (null = the newest) of what is written on one account.
SELECT m.version, m.metadata, m.written_at, m.actor
FROM (SELECT r.account_id FROM ledger.accounts AS r
      WHERE r.book_id = (SELECT $1::bigint) AND r.kind = $2 AND r.owner = $3 AND r.currency BETWEEN $4 AND $4
      ORDER BY r.currency LIMIT 1) AS a
CROSS JOIN LATERAL (
    SELECT x.* FROM ledger.account_metadata AS x
    WHERE x.book_id = (SELECT $1::bigint) AND x.account_id = a.account_id
        AND x.version BETWEEN (SELECT coalesce($5::integer, 1)) AND (SELECT coalesce($5::integer, 2147483647))
    ORDER BY x.version DESC LIMIT 1
) AS m;

-- name: roll_up
-- Totals of the groups of $2 (class, kind, owner) and their currencies, of currency $3 (null = all), as recorded at
-- sequence $4 (null = now): the accounts' totals less what was posted since, in one snapshot.
SELECT g.name, min(g.normal_side) AS normal_side, a.currency, count(*) AS accounts,
       sum(a.debits_posted - coalesce(s.debits, 0)) AS debits, sum(a.credits_posted - coalesce(s.credits, 0)) AS credits
FROM ledger.accounts AS a
JOIN ledger.account_kinds AS k ON k.kind = a.kind
CROSS JOIN LATERAL (
    SELECT CASE $2 WHEN 'class' THEN k.account_class WHEN 'kind' THEN k.name ELSE a.owner END AS name,
           CASE WHEN $2 = 'kind' THEN k.normal_side WHEN $2 = 'owner' OR k.account_class IN ('asset', 'expense') THEN 'D'
                ELSE 'C' END AS normal_side,
           CASE $2 WHEN 'owner' THEN '' ELSE k.code END AS code
) AS g
LEFT JOIN (
    SELECT x.account_id, sum(x.debit) AS debits, sum(x.credit) AS credits
    FROM ledger.postings AS p
    CROSS JOIN LATERAL (VALUES (p.debit_account, p.amount_minor, 0::bigint),
                               (p.credit_account, 0::bigint, p.amount_minor)) AS x(account_id, debit, credit)
    WHERE p.book_id = $1 AND p.sequence > $4
    GROUP BY x.account_id
) AS s ON s.account_id = a.account_id
WHERE a.book_id = $1 AND ($3::text IS NULL OR a.currency = $3)
GROUP BY g.name, a.currency
ORDER BY min(g.code), g.name, a.currency;

-- name: periods
SELECT p.starts_on, p.ends_on, p.state, p.changed_at, p.closed_at_sequence
FROM ledger.periods AS p WHERE p.book_id = $1 ORDER BY p.ends_on;

-- name: moved_by_accounts
-- What entries after $2 through $3 moved between each two accounts.
SELECT p.debit_account, p.credit_account, sum(p.amount_minor) AS amount_minor
FROM ledger.postings AS p
WHERE p.book_id = $1 AND p.sequence > $2 AND p.sequence <= $3
GROUP BY p.debit_account, p.credit_account;

-- name: days_at
-- The days of the accounts after number $2 through $3 as they stood at sequence $4: the days kept, the latest one from
-- the accounts' totals, less what was posted since, in one snapshot.
SELECT t.account_id, t.effective_on, sum(t.debits) AS debits, sum(t.credits) AS credits
FROM (
    SELECT d.account_id, d.effective_on, d.debits_posted::numeric AS debits, d.credits_posted::numeric AS credits
    FROM ledger.account_days AS d WHERE d.book_id = $1 AND d.account_id > $2 AND d.account_id <= $3
    UNION ALL
    SELECT a.account_id, a.effective_on, a.debits_posted::numeric - a.debits_before,
           a.credits_posted::numeric - a.credits_before
    FROM ledger.accounts AS a WHERE a.book_id = $1 AND a.account_id > $2 AND a.account_id <= $3
    UNION ALL
    SELECT a.account_id, (SELECT e.effective_on FROM ledger.entries AS e
                          WHERE e.book_id = $1 AND e.sequence = x.sequence AND e.recorded_at = x.recorded_at LIMIT 1),
           -x.debit, -x.credit
    FROM ledger.accounts AS a
    CROSS JOIN LATERAL (
        SELECT p.sequence, p.recorded_at, p.amount_minor AS debit, 0::bigint AS credit FROM ledger.postings AS p
        WHERE p.book_id = $1 AND p.debit_account = a.account_id AND p.sequence > $4
        UNION ALL
        SELECT p.sequence, p.recorded_at, 0::bigint, p.amount_minor FROM ledger.postings AS p
        WHERE p.book_id = $1 AND p.credit_account = a.account_id AND p.sequence > $4
    ) AS x
    WHERE a.book_id = $1 AND a.account_id > $2 AND a.account_id <= $3 AND a.last_sequence > $4
) AS t
GROUP BY t.account_id, t.effective_on
HAVING sum(t.debits) <> 0 OR sum(t.credits) <> 0;

-- name: days_out_of_step
-- Accounts after number $2 through $3 whose totals before the latest day are not those of the days kept, or that keep
-- a day that is not before it.
SELECT a.account_id, a.effective_on, a.debits_before, a.credits_before, d.debits, d.credits, d.last_on
FROM ledger.accounts AS a
LEFT JOIN (
    SELECT x.account_id, sum(x.debits_posted) AS debits, sum(x.credits_posted) AS credits,
           max(x.effective_on) AS last_on
    FROM ledger.account_days AS x WHERE x.book_id = $1 AND x.account_id > $2 AND x.account_id <= $3
    GROUP BY x.account_id
) AS d ON d.account_id = a.account_id
WHERE a.book_id = $1 AND a.account_id > $2 AND a.account_id <= $3
    AND (a.debits_before <> coalesce(d.debits, 0) OR a.credits_before <> coalesce(d.credits, 0)
         OR d.last_on >= a.effective_on);

-- name: holds_out_of_step
-- Accounts whose totals held are not those of the holds that nothing resolved.
SELECT coalesce(a.account_id, h.account_id) AS account_id, coalesce(a.debits_held, 0) AS debits_held,
       coalesce(a.credits_held, 0) AS credits_held, coalesce(h.debits, 0) AS debits, coalesce(h.credits, 0) AS credits
FROM (SELECT x.* FROM ledger.accounts AS x WHERE x.book_id = $1) AS a
FULL JOIN (
    SELECT x.account_id, sum(x.debit) AS debits, sum(x.credit) AS credits
    FROM ledger.holds AS h
    LEFT JOIN ledger.hold_resolutions AS r ON r.book_id = h.book_id AND r.hold = h.sequence
    CROSS JOIN LATERAL (VALUES (h.debit_account, h.amount_minor, 0::bigint),
                               (h.credit_account, 0::bigint, h.amount_minor)) AS x(account_id, debit, credit)
    WHERE h.book_id = $1 AND r.hold IS NULL
    GROUP BY x.account_id
) AS h ON h.account_id = a.account_id
WHERE coalesce(a.debits_held, 0) <> coalesce(h.debits, 0) OR coalesce(a.credits_held, 0) <> coalesce(h.credits, 0)
ORDER BY 1;

-- name: entries_booked_too_early
-- Entries after $2 through $3 that are booked on $4 or before (null: no matter), or no later than they happened.
SELECT e.sequence, e.effective_on, e.booked_on
FROM ledger.entries AS e
WHERE e.book_id = $1 AND e.sequence > $2 AND e.sequence <= $3
    AND (coalesce(e.booked_on, e.effective_on) <= $4 OR e.booked_on <= e.effective_on)
ORDER BY e.sequence;

-- name: account_numbers
-- The number of every account with its kind, owner and currency.
SELECT a.account_id, a.kind, a.owner, a.currency FROM ledger.accounts AS a WHERE a.book_id = $1;

-- name: last_account
SELECT coalesce(max(a.account_id), 0) FROM ledger.accounts AS a WHERE a.book_id = $1;
