-- name: match_expected
-- Pair lines with expectations of equal gross amount; of several interchangeable ones, the first with the first.
WITH pairs AS (
    SELECT DISTINCT ON (line_id, expected_id) *
    FROM reconciliation.open_expected_pairs
    WHERE book_id = $1 AND value_on <= $2 AND stage = $3 AND strong = $5 AND NOT vetoed
        AND currency = expected_currency AND amount_minor + fee_minor + vat_minor = expected_minor
    ORDER BY line_id, expected_id, value
),
ranked AS (
    SELECT *,
        row_number() OVER (PARTITION BY line_id ORDER BY sequence, expected_id) AS line_rank,
        row_number() OVER (PARTITION BY expected_id ORDER BY value_on, occurred_at, line_id) AS expected_rank,
        count(*) OVER (PARTITION BY line_id) AS rival_expectations,
        count(*) OVER (PARTITION BY expected_id) AS rival_lines
    FROM pairs
),
chosen AS (
    SELECT *,
        row_number() OVER (PARTITION BY line_id ORDER BY line_rank) AS line_choice,
        row_number() OVER (PARTITION BY expected_id ORDER BY expected_rank) AS expected_choice
    FROM ranked
    WHERE line_rank = expected_rank AND NOT (strong AND rival_expectations > 1)
),
revoked AS MATERIALIZED (
    SELECT line_id, count(*) AS count FROM reconciliation.matches
    WHERE book_id = $1 AND stage = $3 AND revoked_at IS NOT NULL GROUP BY line_id
)
INSERT INTO reconciliation.matches (
    book_id, stage, line_id, revision, expected_id, rule, gross_minor, fee_minor, vat_minor, evidence, run_id)
SELECT book_id, stage, line_id,
    coalesce(revoked.count, 0),
    expected_id, $4, expected_minor, fee_minor, vat_minor,
    jsonb_build_object('rule', $4::text, 'scheme', scheme, 'value', value, 'strong', strong, 'currency', currency,
        'line_minor', amount_minor, 'fee_minor', fee_minor, 'vat_minor', vat_minor,
        'expected_minor', expected_minor, 'delta_minor', 0, 'value_on', value_on, 'effective_on', effective_on,
        'rival_lines', rival_lines - 1, 'rival_expectations', rival_expectations - 1),
    $6
FROM chosen LEFT JOIN revoked USING (line_id)
WHERE line_choice = 1 AND expected_choice = 1

-- name: match_expected_net
-- Pair lines that state a net amount with expectations whose gross, less the contract's fee and VAT, is that net.
WITH pairs AS (
    SELECT DISTINCT ON (pair.line_id, pair.expected_id) pair.*, term.rate_ppm, charged.fee, charged.vat
    FROM reconciliation.open_expected_pairs AS pair
    JOIN unnest($7::text[], $8::bigint[]) AS term (provider, rate_ppm) ON term.provider = pair.provider
    CROSS JOIN LATERAL (
        SELECT round(pair.expected_minor * term.rate_ppm / 1000000.0)::bigint AS fee,
            round(round(pair.expected_minor * term.rate_ppm / 1000000.0) * $9::bigint / 1000000.0)::bigint AS vat
    ) AS charged
    WHERE pair.book_id = $1 AND pair.value_on <= $2 AND pair.stage = $3 AND pair.strong = $5 AND NOT pair.vetoed
        AND pair.fee_minor IS NULL AND pair.currency = pair.expected_currency
        AND pair.amount_minor + charged.fee + charged.vat = pair.expected_minor
    ORDER BY pair.line_id, pair.expected_id, pair.value
),
chosen AS (
    SELECT *,
        count(*) OVER (PARTITION BY line_id) AS rival_expectations,
        count(*) OVER (PARTITION BY expected_id) AS rival_lines
    FROM pairs
),
revoked AS MATERIALIZED (
    SELECT line_id, count(*) AS count FROM reconciliation.matches
    WHERE book_id = $1 AND stage = $3 AND revoked_at IS NOT NULL GROUP BY line_id
)
INSERT INTO reconciliation.matches (
    book_id, stage, line_id, revision, expected_id, rule, gross_minor, fee_minor, vat_minor, evidence, run_id)
SELECT book_id, stage, line_id,
    coalesce(revoked.count, 0),
    expected_id, $4, expected_minor, fee, vat,
    jsonb_build_object('rule', $4::text, 'scheme', scheme, 'value', value, 'strong', strong, 'currency', currency,
        'line_minor', amount_minor, 'fee_minor', fee, 'vat_minor', vat, 'fee_rate_ppm', rate_ppm,
        'vat_rate_ppm', $9::bigint, 'expected_minor', expected_minor, 'delta_minor', 0, 'value_on', value_on,
        'effective_on', effective_on),
    $6
FROM chosen LEFT JOIN revoked USING (line_id)
WHERE rival_expectations = 1 AND rival_lines = 1

-- name: match_lines
-- Pair lines with the provider's lines of the amount that they must show; the first with the first, as above.
WITH pairs AS (
    SELECT DISTINCT ON (line_id, counterpart_line_id) *
    FROM reconciliation.open_line_pairs
    WHERE book_id = $1 AND value_on <= $2 AND stage = $3 AND strong = $5 AND NOT vetoed
        AND currency = counterpart_currency AND amount_minor = expected_minor
        AND (counterpart_kind = 'transfer' OR value_on = counterpart_on)
    ORDER BY line_id, counterpart_line_id, value
),
ranked AS (
    SELECT *,
        row_number() OVER (PARTITION BY line_id ORDER BY counterpart_on, counterpart_line_id) AS line_rank,
        row_number() OVER (PARTITION BY counterpart_line_id ORDER BY value_on, line_id) AS counterpart_rank,
        count(*) OVER (PARTITION BY line_id) AS rival_counterparts,
        count(*) OVER (PARTITION BY counterpart_line_id) AS rival_lines
    FROM pairs
),
chosen AS (
    SELECT *,
        row_number() OVER (PARTITION BY line_id ORDER BY line_rank) AS line_choice,
        row_number() OVER (PARTITION BY counterpart_line_id ORDER BY counterpart_rank) AS counterpart_choice
    FROM ranked
    WHERE line_rank = counterpart_rank
),
revoked AS MATERIALIZED (
    SELECT line_id, count(*) AS count FROM reconciliation.matches
    WHERE book_id = $1 AND stage = $3 AND revoked_at IS NOT NULL GROUP BY line_id
)
INSERT INTO reconciliation.matches (
    book_id, stage, line_id, revision, counterpart_line_id, rule, gross_minor, fee_minor, vat_minor, evidence, run_id)
SELECT book_id, stage, line_id,
    coalesce(revoked.count, 0),
    counterpart_line_id, $4, amount_minor, fee_minor, vat_minor,
    jsonb_build_object('rule', $4::text, 'scheme', scheme, 'value', value, 'strong', strong, 'currency', currency,
        'line_minor', amount_minor, 'counterpart_fee_minor', fee_minor, 'counterpart_vat_minor', vat_minor,
        'expected_minor', expected_minor, 'delta_minor', 0, 'value_on', value_on, 'counterpart_on', counterpart_on,
        'rival_lines', rival_lines - 1, 'rival_counterparts', rival_counterparts - 1),
    $6
FROM chosen LEFT JOIN revoked USING (line_id)
WHERE line_choice = 1 AND counterpart_choice = 1

-- name: revoke_match
-- Undo a live match; its row stays as history.
UPDATE reconciliation.matches SET revoked_at = $4, revoked_reason = $5
WHERE book_id = $1 AND stage = $2 AND line_id = $3 AND revoked_at IS NULL
    AND NOT EXISTS (
        SELECT FROM reconciliation.settled_items AS item
        WHERE item.book_id = $1 AND item.line_id IN (matches.line_id, matches.counterpart_line_id))
RETURNING revision

-- name: refresh_statistics
-- Tell the planner how many rows there are by now.
SELECT reconciliation.refresh_statistics_v1()
