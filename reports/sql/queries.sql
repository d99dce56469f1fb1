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
-- What was posted from $2 through $3 by entries up to sequence $4, each posting once.
SELECT a.currency, sum(p.amount_minor)::numeric AS amount_minor
FROM ledger.entries AS e
JOIN ledger.postings AS p ON p.book_id = e.book_id AND p.sequence = e.sequence AND p.recorded_at = e.recorded_at
JOIN ledger.accounts AS a ON a.book_id = p.book_id AND a.account_id = p.debit_account
WHERE e.book_id = $1 AND p.book_id = $1 AND a.book_id = $1
    AND e.effective_on BETWEEN $2 AND $3 AND e.sequence <= $4
GROUP BY a.currency;
