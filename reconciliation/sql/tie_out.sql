-- name: bank_days
-- Opening and closing of each bank account on a business date, as the newest file has it, with the closing before.
WITH newest AS (
    SELECT DISTINCT ON (balance.account, balance.currency, balance.closed_on) balance.*
    FROM reconciliation.statement_balances AS balance
    JOIN reconciliation.statement_files AS file ON file.book_id = $1 AND file.file_id = balance.file_id
    WHERE balance.book_id = $1 AND balance.closed_on <= $2
    ORDER BY balance.account, balance.currency, balance.closed_on, file.received_at DESC, balance.file_id DESC,
        balance.position DESC
),
continued AS (
    SELECT *, lag(closing_minor) OVER (PARTITION BY account, currency ORDER BY closed_on) AS closing_before_minor,
        lag(closed_on) OVER (PARTITION BY account, currency ORDER BY closed_on) AS closed_before_on
    FROM newest
)
SELECT account, currency, opening_minor, closing_minor, closing_before_minor, closed_before_on
FROM continued WHERE closed_on = $2
ORDER BY account, currency

-- name: bank_lines
-- The bank's lines of a business date by whether our books have them, and why not.
SELECT line.account, line.currency, why.label, count(*) AS count, sum(line.amount_minor)::bigint AS amount_minor
FROM reconciliation.statement_lines AS line
LEFT JOIN reconciliation.matches AS paid
    ON paid.book_id = $1 AND paid.stage IN ('bank', 'payout') AND paid.line_id = line.line_id
    AND paid.revoked_at IS NULL
LEFT JOIN reconciliation.expected_lines AS expected
    ON expected.book_id = $1 AND expected.expected_id = paid.expected_id
LEFT JOIN reconciliation.settled_items AS item
    ON item.book_id = $1 AND item.line_id = coalesce(paid.counterpart_line_id, line.line_id)
LEFT JOIN reconciliation.settled_groups AS settled
    ON settled.book_id = $1 AND (settled.group_id = item.group_id
        OR settled.transfer_line_id = paid.counterpart_line_id)
CROSS JOIN LATERAL (
    SELECT CASE
        WHEN settled.entry_sequence IS NOT NULL THEN 'booked'
        WHEN settled.group_id IS NOT NULL THEN 'group_not_posted'
        WHEN paid.stage = 'bank' AND expected.kind = 'unidentified_credit' THEN 'booked'
        WHEN paid.stage = 'payout' AND (expected.kind <> 'payout_requested' OR expected.booked_sequence IS NOT NULL)
            THEN 'booked'
        WHEN paid.stage = 'payout' THEN 'payout_not_booked'
        WHEN paid.line_id IS NOT NULL THEN 'matched_not_settled'
        ELSE 'unmatched'
    END AS label
) AS why
WHERE line.book_id = $1 AND line.side = 'bank' AND line.value_on = $2
GROUP BY line.account, line.currency, why.label

-- name: provider_parts
-- What lies between our receivable from each provider and the provider's own unsettled lines, through a date.
SELECT provider, currency, label, sum(count)::bigint AS count, sum(amount_minor)::bigint AS amount_minor
FROM (
    SELECT line.provider, line.currency, part.label, 1 AS count, part.amount_minor
    FROM reconciliation.statement_lines AS line
    LEFT JOIN reconciliation.matches AS booked
        ON booked.book_id = $1 AND booked.stage = 'provider' AND booked.line_id = line.line_id
        AND booked.revoked_at IS NULL
    CROSS JOIN LATERAL (VALUES
        ('provider', line.amount_minor),
        (CASE WHEN booked.line_id IS NULL THEN 'not_in_our_books' END, -line.amount_minor),
        (CASE WHEN booked.line_id IS NOT NULL THEN 'fee_and_vat_not_booked' END, booked.fee_minor + booked.vat_minor)
    ) AS part (label, amount_minor)
    WHERE line.book_id = $1 AND line.side = 'provider' AND line.value_on <= $2
        AND line.kind NOT IN ('transfer', 'transfer_debit') AND part.label IS NOT NULL AND part.amount_minor <> 0
        AND NOT EXISTS (
            SELECT FROM reconciliation.settled_items AS item
            JOIN reconciliation.settled_groups AS settled
                ON settled.book_id = $1 AND settled.group_id = item.group_id
            WHERE item.book_id = $1 AND item.line_id = line.line_id
                AND settled.entry_sequence IS NOT NULL AND settled.value_on <= $2)
    UNION ALL
    SELECT provider, currency, 'not_on_a_statement', 1, amount_minor
    FROM reconciliation.open_expected_lines
    WHERE book_id = $1 AND stage = 'provider' AND effective_on <= $2
) AS parts
GROUP BY provider, currency, label
ORDER BY provider, currency, label
