-- Read-only statements of the reports. $1 is always the book. Rows never change, so `sequence <= cut` is stable.

-- name: last_block
-- The newest block that ends at or before the cut $2 (null = the newest of all).
SELECT b.block_number, b.incarnation, b.last_sequence, b.hash
FROM ledger.blocks AS b
WHERE b.book_id = $1 AND ($2::bigint IS NULL OR b.last_sequence <= $2)
ORDER BY b.recorded_at DESC LIMIT 1;

-- name: blocks_after
-- Blocks after number $2 up to the one that ends at the cut $3.
SELECT b.*
FROM ledger.blocks AS b
WHERE b.book_id = $1 AND b.block_number > $2 AND b.last_sequence <= $3
ORDER BY b.block_number LIMIT $4;

-- name: posted_by_currency
-- What was booked from $2 through $3 by entries up to sequence $4, each posting once.
SELECT a.currency, sum(p.amount_minor)::numeric AS amount_minor
FROM ledger.entries AS e
JOIN ledger.postings AS p ON p.book_id = e.book_id AND p.sequence = e.sequence AND p.recorded_at = e.recorded_at
JOIN ledger.accounts AS a ON a.book_id = p.book_id AND a.account_id = p.debit_account
WHERE e.book_id = $1 AND p.book_id = $1 AND a.book_id = $1
    AND coalesce(e.booked_on, e.effective_on) BETWEEN $2 AND $3 AND e.sequence <= $4
GROUP BY a.currency;

-- name: postings_since
-- Postings on a merchant's accounts $2 of entries after $3 up to $4, oldest first: those without a day, and those
-- whose day is not after $5. Entries of kinds $6 are left out. About $7 rows, no entry cut in two.
SELECT p.sequence, p.line, e.kind AS entry_kind, e.effective_on, e.metadata, p.available_on, p.amount_minor,
       p.credit_account = ANY($2::bigint[]) AS credited,
       CASE WHEN p.credit_account = ANY($2::bigint[]) THEN d.kind ELSE c.kind END AS other_kind
FROM ledger.postings AS p
JOIN ledger.entries AS e ON e.book_id = p.book_id AND e.sequence = p.sequence AND e.recorded_at = p.recorded_at
JOIN ledger.accounts AS d ON d.book_id = p.book_id AND d.account_id = p.debit_account
JOIN ledger.accounts AS c ON c.book_id = p.book_id AND c.account_id = p.credit_account
WHERE p.book_id = $1 AND e.book_id = $1 AND d.book_id = $1 AND c.book_id = $1
    AND (p.debit_account = ANY($2::bigint[]) OR p.credit_account = ANY($2::bigint[]))
    AND p.sequence > $3 AND p.sequence <= $4
    AND (p.available_on IS NULL OR p.available_on <= $5)
    AND e.kind <> ALL($6::smallint[])
ORDER BY p.sequence FETCH FIRST $7 ROWS WITH TIES;

-- name: postings_fallen_due
-- The same of entries that an earlier settlement has seen, whose day came since: after $8, not after $5.
SELECT p.sequence, p.line, e.kind AS entry_kind, e.effective_on, e.metadata, p.available_on, p.amount_minor,
       p.credit_account = ANY($2::bigint[]) AS credited,
       CASE WHEN p.credit_account = ANY($2::bigint[]) THEN d.kind ELSE c.kind END AS other_kind
FROM ledger.postings AS p
JOIN ledger.entries AS e ON e.book_id = p.book_id AND e.sequence = p.sequence AND e.recorded_at = p.recorded_at
JOIN ledger.accounts AS d ON d.book_id = p.book_id AND d.account_id = p.debit_account
JOIN ledger.accounts AS c ON c.book_id = p.book_id AND c.account_id = p.credit_account
WHERE p.book_id = $1 AND e.book_id = $1 AND d.book_id = $1 AND c.book_id = $1
    AND (p.debit_account = ANY($2::bigint[]) OR p.credit_account = ANY($2::bigint[]))
    AND p.sequence > $3 AND p.sequence <= $4
    AND p.available_on > $8 AND p.available_on <= $5
    AND e.kind <> ALL($6::smallint[])
ORDER BY p.sequence FETCH FIRST $7 ROWS WITH TIES;

-- name: account_before
-- Balance of one account after the last posting of entries up to the cut $5; no row where there is none.
WITH own AS MATERIALIZED (
    SELECT a.account_id FROM ledger.accounts AS a
    WHERE a.book_id = $1 AND a.kind = $2 AND a.owner = $3 AND a.currency = $4
)
SELECT t.balance_minor
FROM (
    (SELECT p.sequence, p.line, p.debit_balance_after AS balance_minor
     FROM ledger.postings AS p JOIN own ON p.debit_account = own.account_id
     WHERE p.book_id = $1 AND p.sequence <= $5 ORDER BY p.sequence DESC, p.line DESC LIMIT 1)
    UNION ALL
    (SELECT p.sequence, p.line, p.credit_balance_after
     FROM ledger.postings AS p JOIN own ON p.credit_account = own.account_id
     WHERE p.book_id = $1 AND p.sequence <= $5 ORDER BY p.sequence DESC, p.line DESC LIMIT 1)
) AS t
ORDER BY t.sequence DESC, t.line DESC LIMIT 1;

-- name: settlement_entries
-- What entries of kind $4 after sequence $5, of business date $6, brought to `merchant_available` of merchant $2.
SELECT coalesce(sum(CASE WHEN c.kind = 31 THEN p.amount_minor ELSE -p.amount_minor END), 0)::bigint AS amount_minor
FROM ledger.accounts AS own
JOIN ledger.postings AS p
    ON p.book_id = own.book_id AND (p.debit_account = own.account_id OR p.credit_account = own.account_id)
        AND p.sequence > $5
JOIN ledger.accounts AS c ON c.book_id = p.book_id AND c.account_id = p.credit_account
JOIN ledger.entries AS e ON e.book_id = p.book_id AND e.sequence = p.sequence AND e.recorded_at = p.recorded_at
WHERE own.book_id = $1 AND p.book_id = $1 AND e.book_id = $1 AND c.book_id = $1
    AND own.kind = 31 AND own.owner = $2 AND own.currency = $3 AND e.kind = $4 AND e.effective_on = $6;

-- name: posted_by_kind
-- What entries of kind $2 moved up to sequence $3, by currency.
SELECT a.currency, sum(p.amount_minor)::numeric AS amount_minor
FROM ledger.entries AS e
JOIN ledger.postings AS p ON p.book_id = e.book_id AND p.sequence = e.sequence AND p.recorded_at = e.recorded_at
JOIN ledger.accounts AS a ON a.book_id = p.book_id AND a.account_id = p.debit_account
WHERE e.book_id = $1 AND p.book_id = $1 AND a.book_id = $1 AND e.kind = $2 AND e.sequence <= $3
GROUP BY a.currency;

-- name: balance_of_kind
-- Credits less debits of all accounts of kind $2 up to sequence $3, by currency.
SELECT a.currency,
       sum(CASE WHEN p.credit_account = a.account_id THEN p.amount_minor ELSE -p.amount_minor END)::numeric
           AS amount_minor
FROM ledger.accounts AS a
JOIN ledger.postings AS p
    ON p.book_id = a.book_id AND (p.debit_account = a.account_id OR p.credit_account = a.account_id)
WHERE a.book_id = $1 AND p.book_id = $1 AND a.kind = $2 AND p.sequence <= $3
GROUP BY a.currency;

-- name: reconciliation_run
-- The finished run of business date $2.
SELECT r.run_id, r.result::text AS result
FROM reconciliation.runs AS r WHERE r.book_id = $1 AND r.business_on = $2 AND r.state = 'finished';

-- name: finished_runs
SELECT r.business_on
FROM reconciliation.runs AS r
WHERE r.book_id = $1 AND r.business_on BETWEEN $2 AND $3 AND r.state = 'finished'
ORDER BY r.business_on;

-- name: statement_lines
-- What the run of business date $2 had to do, by source: its lines, and what its files held besides.
SELECT t.source, max(t.currency) AS currency, sum(t.lines)::bigint AS lines, sum(t.amount_minor)::bigint AS amount_minor
FROM (
    SELECT l.source, l.currency, 1 AS lines, l.amount_minor
    FROM reconciliation.statement_lines AS l WHERE l.book_id = $1 AND l.run_on = $2
    UNION ALL
    SELECT f.source, NULL, f.duplicate_count + f.rejected_count, f.duplicate_amount_minor + f.rejected_amount_minor
    FROM reconciliation.statement_files AS f WHERE f.book_id = $1 AND f.run_on = $2
) AS t
GROUP BY t.source ORDER BY t.source;
