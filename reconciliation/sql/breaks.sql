-- name: open_lines
-- Every line without its other half, with the nearest thing that shares a name with it and what became of that.
SELECT line.line_id, line.stage, line.side, line.kind, line.provider, line.amount_minor, line.fee_minor,
    line.currency, line.value_on, line.description,
    name.value AS reference,
    coalesce(expected.expected_minor, counterpart.expected_minor) AS near_minor,
    coalesce(expected.expected_currency, counterpart.counterpart_currency) AS near_currency,
    CASE
        WHEN expected.sequence IS NOT NULL THEN 'our entry ' || expected.sequence
        WHEN counterpart.counterpart_line_id IS NOT NULL THEN line.provider || '''s statement'
    END AS near,
    counterpart.counterpart_line_id AS near_line_id,
    EXISTS (
        SELECT FROM reconciliation.line_references AS own
        JOIN reconciliation.expected_references AS named
            ON named.book_id = own.book_id AND named.scheme = own.scheme AND named.value = own.value
        JOIN reconciliation.expected_lines AS known
            ON known.book_id = own.book_id AND known.expected_id = named.expected_id AND known.stage = line.stage
            AND sign(known.amount_minor) = sign(line.amount_minor)
        JOIN reconciliation.matches AS taken
            ON taken.book_id = own.book_id AND taken.stage = line.stage AND taken.expected_id = named.expected_id
            AND taken.revoked_at IS NULL
        WHERE own.book_id = $1 AND own.line_id = line.line_id
    ) OR EXISTS (
        SELECT FROM reconciliation.line_references AS own
        JOIN reconciliation.line_references AS named
            ON named.book_id = own.book_id AND named.scheme = own.scheme AND named.value = own.value
        JOIN reconciliation.matches AS taken
            ON taken.book_id = own.book_id AND taken.stage = line.stage AND taken.counterpart_line_id = named.line_id
            AND taken.revoked_at IS NULL
        WHERE own.book_id = $1 AND own.line_id = line.line_id AND line.side = 'bank'
    ) AS name_taken
FROM reconciliation.open_lines AS line
LEFT JOIN LATERAL (
    SELECT value FROM reconciliation.line_references
    WHERE book_id = $1 AND line_id = line.line_id AND scheme <> 'bank_line' ORDER BY strong DESC, value DESC LIMIT 1
) AS name ON true
LEFT JOIN LATERAL (
    SELECT pair.expected_minor, pair.expected_currency, pair.sequence
    FROM reconciliation.open_expected_pairs AS pair
    WHERE pair.book_id = $1 AND pair.line_id = line.line_id AND NOT pair.vetoed
    ORDER BY pair.strong DESC, pair.sequence LIMIT 1
) AS expected ON true
LEFT JOIN LATERAL (
    SELECT pair.expected_minor, pair.counterpart_currency, pair.counterpart_line_id
    FROM reconciliation.open_line_pairs AS pair
    WHERE pair.book_id = $1 AND pair.line_id = line.line_id AND NOT pair.vetoed
    ORDER BY pair.strong DESC, pair.counterpart_line_id LIMIT 1
) AS counterpart ON true
WHERE line.book_id = $1 AND line.value_on <= $2
ORDER BY line.line_id

-- name: open_expected
-- Everything that our books expect on a statement and that is on none, and is not part of a differing pair.
SELECT expected.expected_id, expected.sequence, expected.stage, expected.provider, expected.kind,
    expected.amount_minor, expected.currency, expected.effective_on
FROM reconciliation.open_expected_lines AS expected
WHERE expected.book_id = $1 AND expected.effective_on <= $2 AND NOT EXISTS (
    SELECT FROM reconciliation.open_expected_pairs AS pair
    WHERE pair.book_id = $1 AND pair.expected_id = expected.expected_id AND pair.value_on <= $2 AND NOT pair.vetoed
)
ORDER BY expected.sequence, expected.expected_id

-- name: unsettled
-- Matched lines of providers whose money is not booked on a bank account, by the day from which it could be.
SELECT line.provider, line.currency,
    coalesce((line.available_at AT TIME ZONE 'Asia/Bangkok')::date, line.value_on + 1) AS available_on,
    count(*) AS line_count, sum(line.amount_minor)::bigint AS amount_minor, min(line.value_on) AS since_on
FROM reconciliation.matches AS booked
JOIN reconciliation.statement_lines AS line ON line.book_id = $1 AND line.line_id = booked.line_id
WHERE booked.book_id = $1 AND booked.stage = 'provider' AND booked.revoked_at IS NULL AND line.value_on <= $2
    AND NOT EXISTS (
        SELECT FROM reconciliation.settled_items AS settled
        WHERE settled.book_id = $1 AND settled.line_id = line.line_id)
GROUP BY line.provider, line.currency, available_on
ORDER BY line.provider, line.currency, available_on

-- name: close_breaks
-- Close what is no longer so; returns what was closed.
UPDATE reconciliation.breaks SET state = 'closed', closed_run_id = $3, resolution = 'resolved'
WHERE book_id = $1 AND state = 'open' AND since_on <= $2 AND subject <> ALL($4::text[])

-- name: keep_breaks
-- Open what is new, say of the rest how it stands now.
INSERT INTO reconciliation.breaks AS kept (
    book_id, opened_run_id, seen_run_id, state, break_id, subject, kind, stage, provider, amount_minor, currency,
    since_on, reason, owner)
SELECT $1, $2, $2, 'open', found.*
FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::text[], $10::date[],
    $11::text[], $12::text[]) AS found
ON CONFLICT (book_id, subject) WHERE state = 'open' DO UPDATE SET
    kind = excluded.kind, stage = excluded.stage, amount_minor = excluded.amount_minor, reason = excluded.reason,
    owner = excluded.owner, seen_run_id = excluded.seen_run_id

-- name: listed
-- Open breaks, oldest first, a page after another.
SELECT break_id, subject, kind, stage, provider, amount_minor, currency, since_on, reason, owner, state,
    opened_run_id, closed_run_id, resolution
FROM reconciliation.breaks
WHERE book_id = $1 AND (state = $2 OR $2 IS NULL) AND ($3::date IS NULL OR (since_on, break_id) > ($3, $4::text))
ORDER BY since_on, break_id
LIMIT $5
