-- name: try_lock
-- One run of a book at a time, for as long as this session holds it.
SELECT pg_try_advisory_lock(hashtextextended('reconciliation.runs', $1::bigint))

-- name: unlock
-- Let the next run in.
SELECT pg_advisory_unlock(hashtextextended('reconciliation.runs', $1::bigint))

-- name: start
-- The run of a business date, new or again; its id stays.
INSERT INTO reconciliation.runs AS known (book_id, business_on, run_id, state, attempts, started_at)
VALUES ($1, $2, $3, 'started', 1, $4)
ON CONFLICT (book_id, business_on) DO UPDATE SET
    state = 'started', attempts = known.attempts + 1, started_at = excluded.started_at, finished_at = NULL
RETURNING run_id

-- name: latest
-- The latest business date that any run has looked at.
SELECT max(business_on) FROM reconciliation.runs WHERE book_id = $1

-- name: finish
-- The run's result.
UPDATE reconciliation.runs SET state = 'finished', finished_at = $3, result = $4::text::jsonb
WHERE book_id = $1 AND business_on = $2

-- name: take_lines
-- Lines of business dates so far that no run has taken yet belong to this one.
UPDATE reconciliation.statement_lines SET run_on = $2 WHERE book_id = $1 AND run_on IS NULL AND value_on <= $2

-- name: take_files
-- Files likewise: for their rejected and duplicate lines.
UPDATE reconciliation.statement_files AS file SET run_on = $2
WHERE book_id = $1 AND run_on IS NULL AND NOT EXISTS (
    SELECT FROM reconciliation.statement_lines AS line
    WHERE line.book_id = $1 AND line.file_id = file.file_id AND line.value_on > $2)

-- name: lines_by_source
-- How many lines of the run each source has, and their sum.
SELECT source, count(*) AS count, sum(amount_minor)::bigint AS amount_minor
FROM reconciliation.statement_lines WHERE book_id = $1 AND run_on = $2 GROUP BY source

-- name: unmatched_by_source
-- Those that wait for their other half.
SELECT source, count(*) AS count, sum(amount_minor)::bigint AS amount_minor
FROM reconciliation.open_lines WHERE book_id = $1 AND run_on = $2 GROUP BY source

-- name: matched_by_rule
-- Those that have it, by the rule that found it; what was booked without a partner goes by its group's kind.
SELECT line.source, coalesce(own.rule, as_counterpart.rule, charged.kind) AS rule, count(*) AS count,
    sum(line.amount_minor)::bigint AS amount_minor
FROM reconciliation.statement_lines AS line
LEFT JOIN reconciliation.matches AS own
    ON own.book_id = $1 AND own.line_id = line.line_id AND own.revoked_at IS NULL
LEFT JOIN reconciliation.matches AS as_counterpart
    ON line.kind = 'transfer' AND as_counterpart.book_id = $1 AND as_counterpart.stage = 'bank'
    AND as_counterpart.counterpart_line_id = line.line_id AND as_counterpart.revoked_at IS NULL
LEFT JOIN reconciliation.settled_alone AS charged ON charged.book_id = $1 AND charged.line_id = line.line_id
WHERE line.book_id = $1 AND line.run_on = $2
    AND (own.rule IS NOT NULL OR as_counterpart.rule IS NOT NULL OR charged.line_id IS NOT NULL)
GROUP BY line.source, coalesce(own.rule, as_counterpart.rule, charged.kind)

-- name: not_lines
-- What the run's files held besides: rejected and duplicate lines.
SELECT source, count(*) AS files, sum(rejected_count)::bigint AS rejected,
    sum(rejected_amount_minor)::bigint AS rejected_amount_minor, sum(duplicate_count)::bigint AS duplicates,
    sum(duplicate_amount_minor)::bigint AS duplicates_amount_minor
FROM reconciliation.statement_files WHERE book_id = $1 AND run_on = $2 GROUP BY source

-- name: groups
-- Groups that this run formed.
SELECT group_id, kind, provider, value_on, currency, payments_minor, refunds_minor, fee_minor, vat_minor,
    transfer_fee_minor, transfer_vat_minor, bank_minor, bank_account, transfer_reference, entry_sequence,
    (SELECT count(*) FROM reconciliation.settled_items AS item
     WHERE item.book_id = $1 AND item.group_id = settled.group_id) AS line_count
FROM reconciliation.settled_groups AS settled
WHERE book_id = $1 AND run_id = $2
ORDER BY group_id

-- name: payouts_seen
-- Bank lines of this run that name a payout and fit it, or send one back; and earlier ones that are not booked yet.
-- A name that no payout of ours was reserved under may be that of a transfer to a payer: whoever made it knows it.
SELECT line.line_id, line.account, line.amount_minor, line.currency, line.value_on, name.value AS end_to_end_id,
    line.kind = 'payout_return' AS returned,
    CASE WHEN line.kind = 'payout_return' THEN paid.expected_id IS NOT NULL
        ELSE expected.booked_sequence IS NOT NULL
            OR coalesce(expected.kind, 'payout_requested') <> 'payout_requested' END AS booked
FROM reconciliation.statement_lines AS line
JOIN reconciliation.line_references AS name
    ON name.book_id = $1 AND name.line_id = line.line_id AND name.scheme = 'payout'
LEFT JOIN reconciliation.matches AS paid
    ON paid.book_id = $1 AND paid.stage = 'payout' AND paid.line_id = line.line_id AND paid.revoked_at IS NULL
LEFT JOIN reconciliation.expected_lines AS expected
    ON expected.book_id = $1 AND expected.expected_id = paid.expected_id
WHERE line.book_id = $1 AND line.side = 'bank' AND line.kind IN ('payout', 'payout_return') AND line.value_on <= $2
    AND (paid.expected_id IS NOT NULL OR line.kind = 'payout_return' OR NOT EXISTS (
        SELECT FROM reconciliation.expected_references AS known
        JOIN reconciliation.expected_lines AS reserved
            ON reserved.book_id = $1 AND reserved.expected_id = known.expected_id AND reserved.kind = 'payout_requested'
        WHERE known.book_id = $1 AND known.scheme = 'payout' AND known.value = name.value))
    AND (line.run_on = $2 OR (expected.booked_sequence IS NULL
        AND coalesce(expected.kind, '') NOT IN ('refund_paid', 'payer_money_returned')))
ORDER BY line.value_on, returned, line.line_id
