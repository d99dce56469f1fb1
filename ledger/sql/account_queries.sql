-- Read-only statements about accounts, balances and periods. $1 is always the book. Rows never change, so
-- `sequence <= cut` is stable. Arrays stand behind a SELECT, where the planner does not see how long they are, and what is
-- not asked is a query of its own, not a null: else it finds a plan for this one call so much cheaper that it plans in each.

-- name: balances
SELECT a.kind, a.owner, a.currency, k.normal_side, a.debits_posted, a.credits_posted, a.last_sequence,
       a.debits_held, a.credits_held, a.floor_minor
FROM unnest((SELECT $2::smallint[]), (SELECT $3::text[]), (SELECT $4::text[])) AS u(kind, owner, currency)
JOIN ledger.accounts AS a ON a.book_id = $1 AND a.kind = u.kind AND a.owner = u.owner AND a.currency = u.currency
JOIN ledger.account_kinds AS k ON k.kind = a.kind;

-- name: all_balances
SELECT a.kind, a.owner, a.currency, k.normal_side, a.debits_posted, a.credits_posted, a.last_sequence,
       a.debits_held, a.credits_held, a.floor_minor
FROM ledger.accounts AS a
JOIN ledger.account_kinds AS k ON k.kind = a.kind
WHERE a.book_id = $1
ORDER BY k.code, a.owner, a.currency;

-- name: balances_at
-- As recorded at its sequence of $5: an account that nothing moved since has its totals, else the balance stands on its
-- newest posting until then, which is the newer one of two indexes; of an entry's postings the last line. What moved before
-- the end of the archived month $6 and not since stands in its archive.
SELECT u.kind, u.owner, u.currency, u.sequence AS asked, a.account_id,
       CASE WHEN a.last_sequence <= u.sequence THEN a.last_sequence ELSE coalesce(p.sequence, o.last_sequence, 0) END AS last_sequence,
       CASE WHEN a.last_sequence > u.sequence THEN coalesce(p.balance_after, (o.debits_posted - o.credits_posted)
                                                    * CASE k.normal_side WHEN 'D' THEN 1 ELSE -1 END, 0)
            WHEN k.normal_side = 'D' THEN a.debits_posted - a.credits_posted
            ELSE a.credits_posted - a.debits_posted END AS balance_minor
FROM unnest((SELECT $2::smallint[]), (SELECT $3::text[]), (SELECT $4::text[]), (SELECT $5::bigint[]))
    AS u(kind, owner, currency, sequence)
JOIN ledger.accounts AS a ON a.book_id = $1 AND a.kind = u.kind AND a.owner = u.owner AND a.currency = u.currency
JOIN ledger.account_kinds AS k ON k.kind = a.kind
LEFT JOIN LATERAL (
    SELECT x.sequence, x.balance_after
    FROM (
        (SELECT d.sequence, d.line, d.debit_balance_after AS balance_after FROM ledger.postings AS d
         WHERE d.book_id = $1 AND d.debit_account = a.account_id AND d.sequence <= u.sequence
         ORDER BY d.sequence DESC FETCH FIRST 1 ROW WITH TIES)
        UNION ALL
        (SELECT c.sequence, c.line, c.credit_balance_after FROM ledger.postings AS c
         WHERE c.book_id = $1 AND c.credit_account = a.account_id AND c.sequence <= u.sequence
         ORDER BY c.sequence DESC FETCH FIRST 1 ROW WITH TIES)
    ) AS x
    ORDER BY x.sequence DESC, x.line DESC LIMIT 1
) AS p ON a.last_sequence > u.sequence
LEFT JOIN ledger.archived_balances AS o ON o.book_id = $1 AND o.month = $6 AND o.account_id = a.account_id;

-- name: balances_effective
-- By business date through $5: totals, or the days before the latest one.
SELECT u.kind, u.owner, u.currency, k.normal_side,
       CASE WHEN $5 >= a.effective_on THEN a.debits_posted ELSE d.debits END AS debits,
       CASE WHEN $5 >= a.effective_on THEN a.credits_posted ELSE d.credits END AS credits
FROM unnest((SELECT $2::smallint[]), (SELECT $3::text[]), (SELECT $4::text[])) AS u(kind, owner, currency)
JOIN ledger.accounts AS a ON a.book_id = $1 AND a.kind = u.kind AND a.owner = u.owner AND a.currency = u.currency
JOIN ledger.account_kinds AS k ON k.kind = a.kind
LEFT JOIN LATERAL (
    SELECT coalesce(sum(x.debits_posted), 0) AS debits, coalesce(sum(x.credits_posted), 0) AS credits
    FROM ledger.account_days AS x
    WHERE x.book_id = $1 AND x.account_id = a.account_id AND x.effective_on <= $5
) AS d ON $5 < a.effective_on;

-- name: balances_effective_at
-- By business date through $5, of entries up to sequence $6: totals, or the days before the latest one;
-- less what was recorded after $6 for those dates. The date of each posting's entry is looked up by key, never joined:
-- few are asked for, whatever the statistics of a day say.
SELECT u.kind, u.owner, u.currency, k.normal_side,
       CASE WHEN $5 >= a.effective_on THEN a.debits_posted ELSE d.debits END - coalesce(s.debits, 0) AS debits,
       CASE WHEN $5 >= a.effective_on THEN a.credits_posted ELSE d.credits END - coalesce(s.credits, 0) AS credits
FROM unnest((SELECT $2::smallint[]), (SELECT $3::text[]), (SELECT $4::text[])) AS u(kind, owner, currency)
JOIN ledger.accounts AS a ON a.book_id = $1 AND a.kind = u.kind AND a.owner = u.owner AND a.currency = u.currency
JOIN ledger.account_kinds AS k ON k.kind = a.kind
LEFT JOIN LATERAL (
    SELECT coalesce(sum(x.debits_posted), 0) AS debits, coalesce(sum(x.credits_posted), 0) AS credits
    FROM ledger.account_days AS x
    WHERE x.book_id = $1 AND x.account_id = a.account_id AND x.effective_on <= $5
) AS d ON $5 < a.effective_on
LEFT JOIN LATERAL (
    SELECT sum(x.debit) AS debits, sum(x.credit) AS credits
    FROM (
        SELECT p.sequence, p.recorded_at, p.amount_minor AS debit, 0::bigint AS credit FROM ledger.postings AS p
        WHERE p.book_id = $1 AND p.debit_account = a.account_id AND p.sequence > $6
        UNION ALL
        SELECT p.sequence, p.recorded_at, 0::bigint, p.amount_minor FROM ledger.postings AS p
        WHERE p.book_id = $1 AND p.credit_account = a.account_id AND p.sequence > $6
    ) AS x
    WHERE (SELECT e.effective_on FROM ledger.entries AS e
           WHERE e.book_id = $1 AND e.sequence = x.sequence AND e.recorded_at = x.recorded_at) <= $5
) AS s ON a.last_sequence > $6;

-- name: statement_lines
-- Postings of account $2 after sequence $3 through $4, oldest first. About $5 rows: an entry is never cut in two.
SELECT p.sequence, p.line, p.recorded_at, e.kind AS entry_kind, e.key, e.effective_on, p.amount_minor,
       p.debited, o.kind, o.owner, o.currency
FROM (
    (SELECT d.sequence, d.line, d.recorded_at, d.amount_minor, true AS debited, d.credit_account AS other
     FROM ledger.postings AS d
     WHERE d.book_id = $1 AND d.debit_account = $2 AND d.sequence > $3 AND d.sequence <= $4
     ORDER BY d.sequence FETCH FIRST $5 ROWS WITH TIES)
    UNION ALL
    (SELECT c.sequence, c.line, c.recorded_at, c.amount_minor, false, c.debit_account
     FROM ledger.postings AS c
     WHERE c.book_id = $1 AND c.credit_account = $2 AND c.sequence > $3 AND c.sequence <= $4
     ORDER BY c.sequence FETCH FIRST $5 ROWS WITH TIES)
    ORDER BY sequence FETCH FIRST $5 ROWS WITH TIES
) AS p
JOIN ledger.entries AS e ON e.book_id = $1 AND e.sequence = p.sequence AND e.recorded_at = p.recorded_at
JOIN ledger.accounts AS o ON o.book_id = $1 AND o.account_id = p.other
ORDER BY p.sequence, p.line;

-- name: statement_lines_of_dates
-- Postings of account $2 after sequence $3 through $4, oldest first, of business dates $5 through $6. About $7 rows: an
-- entry is never cut in two.
SELECT p.sequence, p.line, p.recorded_at, e.kind AS entry_kind, e.key, e.effective_on, p.amount_minor,
       p.debited, o.kind, o.owner, o.currency
FROM (
    (SELECT d.sequence, d.line, d.recorded_at, d.amount_minor, true AS debited, d.credit_account AS other
     FROM ledger.postings AS d
     WHERE d.book_id = $1 AND d.debit_account = $2 AND d.sequence > $3 AND d.sequence <= $4
        AND (
            SELECT e.effective_on FROM ledger.entries AS e
            WHERE e.book_id = $1 AND e.sequence = d.sequence AND e.recorded_at = d.recorded_at) BETWEEN $5 AND $6
     ORDER BY d.sequence FETCH FIRST $7 ROWS WITH TIES)
    UNION ALL
    (SELECT c.sequence, c.line, c.recorded_at, c.amount_minor, false, c.debit_account
     FROM ledger.postings AS c
     WHERE c.book_id = $1 AND c.credit_account = $2 AND c.sequence > $3 AND c.sequence <= $4
        AND (
            SELECT e.effective_on FROM ledger.entries AS e
            WHERE e.book_id = $1 AND e.sequence = c.sequence AND e.recorded_at = c.recorded_at) BETWEEN $5 AND $6
     ORDER BY c.sequence FETCH FIRST $7 ROWS WITH TIES)
    ORDER BY sequence FETCH FIRST $7 ROWS WITH TIES
) AS p
JOIN ledger.entries AS e ON e.book_id = $1 AND e.sequence = p.sequence AND e.recorded_at = p.recorded_at
JOIN ledger.accounts AS o ON o.book_id = $1 AND o.account_id = p.other
ORDER BY p.sequence, p.line;

-- name: recorded_before
-- The last sequence of the book at a moment.
SELECT b.last_sequence FROM ledger.blocks AS b
WHERE b.book_id = $1 AND b.recorded_at < $2 ORDER BY b.recorded_at DESC LIMIT 1;

-- name: statement_turnover
-- What account $2 moved by entries after sequence $3 through $4 of business dates $5 through $6.
SELECT coalesce(sum(p.amount_minor) FILTER (WHERE p.debit_account = $2), 0) AS debits,
       coalesce(sum(p.amount_minor) FILTER (WHERE p.credit_account = $2), 0) AS credits
FROM (
    SELECT d.* FROM ledger.postings AS d
    WHERE d.book_id = $1 AND d.debit_account = $2 AND d.sequence > $3 AND d.sequence <= $4
    UNION ALL
    SELECT c.* FROM ledger.postings AS c
    WHERE c.book_id = $1 AND c.credit_account = $2 AND c.sequence > $3 AND c.sequence <= $4
) AS p
JOIN ledger.entries AS e ON e.book_id = $1 AND e.sequence = p.sequence AND e.recorded_at = p.recorded_at
WHERE e.sequence > $3 AND e.sequence <= $4 AND e.effective_on BETWEEN $5 AND $6;

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
SELECT a.account_id, a.kind, a.owner, a.currency FROM ledger.accounts AS a
WHERE a.book_id = $1 AND a.account_id = ANY($2::bigint[]);

-- name: accounts
-- Accounts of the kinds $2, in the order (kind, owner, currency) after ($3, $4, $5); of owner $6, of owners that begin
-- with $7, of currency $8, open or closed by $9, frozen or free by $10, each null = any. Each kind reads its own stretch
-- of the index, $11 rows at most.
SELECT x.*, k.name, k.code, k.account_class, k.normal_side
FROM unnest($2::smallint[]) AS u(kind)
JOIN ledger.account_kinds AS k ON k.kind = u.kind
CROSS JOIN LATERAL (
    SELECT a.* FROM ledger.accounts AS a
    WHERE a.book_id = $1 AND a.kind = u.kind
        AND (a.owner, a.currency) > (CASE WHEN u.kind = $3 THEN $4 ELSE '' END COLLATE "C",
                                     CASE WHEN u.kind = $3 THEN $5 ELSE '' END COLLATE "C")
        AND ($6::text IS NULL OR a.owner = $6)
        AND a.owner >= coalesce($7, '') COLLATE "C" AND a.owner < coalesce($7, '') || chr(1114111) COLLATE "C"
        AND ($8::text IS NULL OR a.currency = $8)
        AND ($9::boolean IS NULL OR a.closed = $9)
        AND ($10::boolean IS NULL OR (a.debits_frozen OR a.credits_frozen) = $10)
    ORDER BY a.owner, a.currency LIMIT $11
) AS x
WHERE u.kind >= coalesce($3, 0::smallint)
ORDER BY x.kind, x.owner, x.currency LIMIT $11;

-- name: account_metadata
-- Version $5 (null = the newest) of what is written on one account.
SELECT m.version, m.metadata, m.written_at, m.actor
FROM ledger.accounts AS a
JOIN ledger.account_metadata AS m ON m.book_id = $1 AND m.account_id = a.account_id
WHERE a.book_id = $1 AND a.kind = $2 AND a.owner = $3 AND a.currency = $4 AND ($5::integer IS NULL OR m.version = $5)
ORDER BY m.version DESC LIMIT 1;

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
                          WHERE e.book_id = $1 AND e.sequence = x.sequence AND e.recorded_at = x.recorded_at),
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
