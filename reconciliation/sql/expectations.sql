-- name: feed_position
-- The last entry that was read, locked, so that one reader of a book goes on from there.
SELECT last_sequence FROM reconciliation.feed_positions WHERE book_id = $1 FOR UPDATE

-- name: start_feed
-- The first position, if there is none.
INSERT INTO reconciliation.feed_positions (book_id, last_sequence) VALUES ($1, 0) ON CONFLICT DO NOTHING

-- name: move_feed
-- Entries up to this one were read.
UPDATE reconciliation.feed_positions SET last_sequence = $2 WHERE book_id = $1

-- name: insert_expected
-- What statements must show; the second entry of a movement adds to the first.
INSERT INTO reconciliation.expected_lines AS known (
    book_id, expected_id, sequence, stage, provider, kind, amount_minor, currency, effective_on, payout_id)
SELECT $1, expected.*
FROM unnest($2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::text[], $9::date[],
    $10::text[]) AS expected
ON CONFLICT (book_id, expected_id) DO UPDATE SET amount_minor = known.amount_minor + excluded.amount_minor

-- name: insert_references
-- Under which names they must show it.
INSERT INTO reconciliation.expected_references (book_id, expected_id, scheme, value)
SELECT $1, reference.* FROM unnest($2::text[], $3::text[], $4::text[]) AS reference
ON CONFLICT DO NOTHING

-- name: book_payouts
-- The bank statement's debit of these payouts is in the books.
UPDATE reconciliation.expected_lines AS expected SET booked_sequence = paid.sequence
FROM unnest($2::text[], $3::bigint[]) AS paid (payout_id, sequence)
WHERE expected.book_id = $1 AND expected.payout_id = paid.payout_id AND expected.kind = 'payout_requested'

-- name: withdraw_payouts
-- These payouts will never be on a bank statement.
UPDATE reconciliation.expected_lines AS expected SET withdrawn_sequence = rejected.sequence
FROM unnest($2::text[], $3::bigint[]) AS rejected (payout_id, sequence)
WHERE expected.book_id = $1 AND expected.payout_id = rejected.payout_id AND expected.kind = 'payout_requested'
