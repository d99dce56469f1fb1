-- Read-only statements of checkpoints and proofs. $1 is the book, but for `books_behind`.

-- name: newest_block
SELECT b.* FROM ledger.blocks AS b WHERE b.book_id = $1 ORDER BY b.recorded_at DESC LIMIT 1;

-- name: oldest_block
SELECT b.block_number FROM ledger.blocks AS b WHERE b.book_id = $1 ORDER BY b.recorded_at LIMIT 1;

-- name: block_at
SELECT b.* FROM ledger.blocks AS b WHERE b.book_id = $1 AND b.recorded_at = $2;

-- name: block_of_entry
SELECT b.*
FROM (SELECT x.recorded_at FROM ledger.entries AS x
      WHERE x.book_id = (SELECT $1::bigint) AND x.sequence = $2 LIMIT 1) AS e
CROSS JOIN LATERAL (
    SELECT x.* FROM ledger.blocks AS x
    WHERE x.book_id = (SELECT $1::bigint) AND x.recorded_at = e.recorded_at LIMIT 1
) AS b;

-- name: block_hashes
SELECT b.block_number, b.recorded_at, b.hash FROM ledger.blocks AS b
WHERE b.book_id = $1 AND b.recorded_at > coalesce($2::timestamptz, '-infinity') AND b.recorded_at <= $3
ORDER BY b.recorded_at LIMIT $4;

-- name: blocks_from
SELECT b.* FROM ledger.blocks AS b
WHERE b.book_id = $1 AND b.recorded_at >= $2 AND b.recorded_at <= $3 ORDER BY b.recorded_at LIMIT $4;

-- name: empty_blocks
SELECT b.block_number, b.incarnation FROM ledger.blocks AS b
WHERE b.book_id = $1 AND b.last_sequence < b.first_sequence AND b.block_number > 0;

-- name: restorations
SELECT r.* FROM ledger.restorations AS r WHERE r.book_id = $1 ORDER BY r.incarnation;

-- name: checkpoints
SELECT c.* FROM ledger.checkpoints AS c WHERE c.book_id = $1 ORDER BY c.incarnation, c.checkpoint_number;

-- name: newest_checkpoint
-- The newest one that no restore took back.
SELECT c.* FROM ledger.checkpoints AS c
WHERE c.book_id = $1 AND NOT EXISTS (
    SELECT FROM ledger.restorations AS r
    WHERE r.book_id = $1 AND c.incarnation < r.incarnation AND c.last_block >= r.first_lost_block
        AND (c.incarnation, c.checkpoint_number) <= (r.published_incarnation, r.published_number))
ORDER BY c.checkpoint_number DESC LIMIT 1;

-- name: checkpoint_over
-- The first one that covers entry $2 and that no restore took back.
SELECT c.* FROM ledger.checkpoints AS c
WHERE c.book_id = $1 AND c.last_sequence >= $2 AND NOT EXISTS (
    SELECT FROM ledger.restorations AS r
    WHERE r.book_id = $1 AND c.incarnation < r.incarnation AND c.last_block >= r.first_lost_block
        AND (c.incarnation, c.checkpoint_number) <= (r.published_incarnation, r.published_number))
ORDER BY c.checkpoint_number LIMIT 1;

-- name: checkpoint_by_hash
SELECT c.* FROM ledger.checkpoints AS c WHERE c.book_id = $1 AND c.hash = $2;

-- name: sealed_entries
-- Entries $2 … $3, recorded from $4 through $5, with the holds that they placed.
SELECT e.*, h.debit_account AS hold_debit_account, h.credit_account AS hold_credit_account,
       h.amount_minor AS hold_amount_minor, h.expires_at AS hold_expires_at
FROM (SELECT x.* FROM ledger.entries AS x
      WHERE x.book_id = (SELECT $1::bigint) AND x.sequence BETWEEN $2 AND $3 AND x.recorded_at BETWEEN $4 AND $5
      ORDER BY x.sequence) AS e
LEFT JOIN LATERAL (
    SELECT x.* FROM ledger.holds AS x WHERE x.book_id = (SELECT $1::bigint) AND x.sequence = e.sequence LIMIT 1
) AS h ON true
ORDER BY e.sequence;

-- name: sealed_postings
SELECT p.* FROM (
    SELECT x.* FROM ledger.postings AS x
    WHERE x.book_id = (SELECT $1::bigint) AND x.sequence BETWEEN $2 AND $3 AND x.recorded_at BETWEEN $4 AND $5
    ORDER BY x.sequence) AS p
ORDER BY p.sequence, p.line;

-- name: sealed_references
SELECT r.sequence, r.scheme, r.value FROM (
    SELECT x.* FROM ledger.entry_references AS x
    WHERE x.book_id = (SELECT $1::bigint) AND x.sequence BETWEEN $2 AND $3 ORDER BY x.sequence) AS r
ORDER BY r.sequence, r.scheme, r.value;

-- name: books_behind
-- Books whose last block is in no checkpoint, and when their last checkpoint was made (else: when they were opened).
SELECT b.book_id, c.made_at, coalesce(c.made_at, b.created_at) AS since
FROM ledger.books AS b
CROSS JOIN LATERAL (
    SELECT x.block_number, x.hash FROM ledger.blocks AS x
    WHERE x.book_id = b.book_id ORDER BY x.recorded_at DESC LIMIT 1) AS n
LEFT JOIN LATERAL (
    SELECT x.made_at, x.head_hash FROM ledger.checkpoints AS x
    WHERE x.book_id = b.book_id ORDER BY x.incarnation DESC, x.checkpoint_number DESC LIMIT 1) AS c ON true
WHERE c.head_hash IS DISTINCT FROM n.hash
ORDER BY b.book_id;
