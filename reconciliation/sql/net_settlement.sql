-- name: open_transfers
-- Transfers that are not settled yet, with what they should pay for: the lines that became available since the
-- transfer before. `bank_line_id` is null until the bank shows the money. A transfer without a moment is a batch.
WITH transfers AS (
    SELECT line_id, provider, currency, occurred_at, value_on, amount_minor, fee_minor, vat_minor, batch_reference,
        lag(occurred_at) OVER (PARTITION BY provider, currency ORDER BY occurred_at, line_id) AS after_at
    FROM reconciliation.statement_lines
    WHERE book_id = $1 AND side = 'provider' AND kind = 'transfer' AND occurred_at IS NOT NULL
)
SELECT transfer.line_id, transfer.provider, transfer.currency, transfer.batch_reference,
    -transfer.amount_minor AS transfer_minor, transfer.fee_minor AS transfer_fee_minor,
    transfer.vat_minor AS transfer_vat_minor, bank.line_id AS bank_line_id, bank.account AS bank_account,
    bank.value_on AS bank_on, bank.amount_minor AS bank_minor, items.*
FROM transfers AS transfer
LEFT JOIN reconciliation.matches AS paid
    ON paid.book_id = $1 AND paid.stage = 'bank' AND paid.counterpart_line_id = transfer.line_id
    AND paid.revoked_at IS NULL
LEFT JOIN reconciliation.statement_lines AS bank ON bank.book_id = $1 AND bank.line_id = paid.line_id
CROSS JOIN LATERAL (
    SELECT count(*) AS item_count,
        count(*) FILTER (WHERE booked.line_id IS NULL) AS unmatched_count,
        coalesce(sum(item.amount_minor), 0)::bigint AS items_minor,
        coalesce(sum(booked.gross_minor) FILTER (WHERE booked.gross_minor > 0), 0)::bigint AS payments_minor,
        coalesce(-sum(booked.gross_minor) FILTER (WHERE booked.gross_minor < 0), 0)::bigint AS refunds_minor,
        coalesce(sum(booked.fee_minor), 0)::bigint AS fee_minor,
        coalesce(sum(booked.vat_minor), 0)::bigint AS vat_minor,
        coalesce(array_agg(item.line_id ORDER BY item.line_id), '{}') AS line_ids
    FROM reconciliation.statement_lines AS item
    LEFT JOIN reconciliation.matches AS booked
        ON booked.book_id = $1 AND booked.stage = 'provider' AND booked.line_id = item.line_id
        AND booked.revoked_at IS NULL
    WHERE item.book_id = $1 AND item.side = 'provider' AND item.provider = transfer.provider
        AND item.currency = transfer.currency AND item.kind NOT IN ('transfer', 'transfer_debit')
        AND item.available_at <= transfer.occurred_at
        AND (transfer.after_at IS NULL OR item.available_at > transfer.after_at)
) AS items
WHERE transfer.value_on <= $2
    AND NOT EXISTS (
        SELECT FROM reconciliation.settled_groups AS settled
        WHERE settled.book_id = $1 AND settled.transfer_line_id = transfer.line_id)
ORDER BY transfer.occurred_at, transfer.line_id

-- name: open_batches
-- Bank credits that name a batch and are not settled yet, with what they should pay for: the lines that name the
-- batch, else those that became due since the provider's credit before. A batch that is paid again pays for nothing.
WITH credits AS (
    SELECT line_id, provider, currency, account, value_on, amount_minor, batch_reference,
        lag(value_on) OVER (PARTITION BY provider, currency ORDER BY value_on, line_id) AS after_on,
        row_number() OVER (
            PARTITION BY provider, currency, batch_reference ORDER BY value_on, line_id) AS occurrence
    FROM reconciliation.statement_lines
    WHERE book_id = $1 AND side = 'bank' AND kind = 'transfer' AND batch_reference IS NOT NULL
)
SELECT credit.line_id, credit.provider, credit.currency, credit.batch_reference, credit.account AS bank_account,
    credit.value_on AS bank_on, credit.amount_minor AS bank_minor, stated.line_id AS stated_line_id,
    stated.amount_minor AS stated_minor, items.*
FROM credits AS credit
LEFT JOIN LATERAL (
    SELECT line_id, -amount_minor - fee_minor - vat_minor AS amount_minor
    FROM reconciliation.statement_lines AS line
    WHERE line.book_id = $1 AND line.side = 'provider' AND line.kind = 'transfer' AND credit.occurrence = 1
        AND line.provider = credit.provider AND line.currency = credit.currency
        AND line.batch_reference = credit.batch_reference
    ORDER BY line_id LIMIT 1
) AS stated ON true
CROSS JOIN LATERAL (
    SELECT count(*) AS item_count,
        count(*) FILTER (WHERE booked.line_id IS NULL) AS unmatched_count,
        coalesce(sum(item.amount_minor), 0)::bigint AS items_minor,
        coalesce(sum(booked.gross_minor) FILTER (WHERE booked.gross_minor > 0), 0)::bigint AS payments_minor,
        coalesce(-sum(booked.gross_minor) FILTER (WHERE booked.gross_minor < 0), 0)::bigint AS refunds_minor,
        coalesce(sum(booked.fee_minor), 0)::bigint AS fee_minor,
        coalesce(sum(booked.vat_minor), 0)::bigint AS vat_minor,
        coalesce(array_agg(item.line_id ORDER BY item.line_id), '{}') AS line_ids
    FROM reconciliation.statement_lines AS item
    LEFT JOIN reconciliation.matches AS booked
        ON booked.book_id = $1 AND booked.stage = 'provider' AND booked.line_id = item.line_id
        AND booked.revoked_at IS NULL
    CROSS JOIN LATERAL (
        SELECT coalesce((item.available_at AT TIME ZONE 'Asia/Bangkok')::date, item.value_on + 1) AS on_day
    ) AS due
    WHERE item.book_id = $1 AND item.side = 'provider' AND item.provider = credit.provider
        AND item.currency = credit.currency AND item.kind NOT IN ('transfer', 'transfer_debit')
        AND credit.occurrence = 1
        AND CASE
            WHEN item.batch_reference IS NOT NULL THEN item.batch_reference = credit.batch_reference
            ELSE due.on_day <= credit.value_on AND (credit.after_on IS NULL OR due.on_day > credit.after_on)
                AND NOT EXISTS (
                    SELECT FROM reconciliation.statement_lines AS named
                    WHERE named.book_id = $1 AND named.side = 'provider' AND named.provider = credit.provider
                        AND named.batch_reference = credit.batch_reference
                        AND named.kind NOT IN ('transfer', 'transfer_debit'))
        END
        AND NOT EXISTS (
            SELECT FROM reconciliation.settled_items AS settled
            WHERE settled.book_id = $1 AND settled.line_id = item.line_id)
) AS items
WHERE credit.value_on <= $2
    AND NOT EXISTS (
        SELECT FROM reconciliation.settled_items AS settled
        WHERE settled.book_id = $1 AND settled.line_id = credit.line_id)
ORDER BY credit.value_on, credit.line_id

-- name: direct_credits
-- Payments that the provider's file, our books and a bank credit agree on, by bank account and value date.
SELECT line.provider, line.currency, bank.account AS bank_account, bank.value_on AS bank_on,
    sum(booked.gross_minor)::bigint AS payments_minor, sum(booked.fee_minor)::bigint AS fee_minor,
    sum(booked.vat_minor)::bigint AS vat_minor, sum(bank.amount_minor)::bigint AS bank_minor,
    array_agg(line.line_id ORDER BY line.line_id) AS line_ids
FROM reconciliation.matches AS paid
JOIN reconciliation.statement_lines AS bank ON bank.book_id = $1 AND bank.line_id = paid.line_id
JOIN reconciliation.statement_lines AS line ON line.book_id = $1 AND line.line_id = paid.counterpart_line_id
JOIN reconciliation.matches AS booked
    ON booked.book_id = $1 AND booked.stage = 'provider' AND booked.line_id = line.line_id
    AND booked.revoked_at IS NULL
WHERE paid.book_id = $1 AND paid.stage = 'bank' AND paid.revoked_at IS NULL AND line.kind = 'payment'
    AND bank.value_on <= $2
    AND NOT EXISTS (
        SELECT FROM reconciliation.settled_items AS settled
        WHERE settled.book_id = $1 AND settled.line_id = line.line_id)
GROUP BY line.provider, line.currency, bank.account, bank.value_on
ORDER BY bank.value_on, line.provider, line.currency, bank.account

-- name: biller_fees
-- A day's fee debits of the bank for a provider's payments, with the VAT on them.
SELECT provider, currency, account AS bank_account, value_on AS bank_on,
    coalesce(-sum(amount_minor) FILTER (WHERE kind = 'fee'), 0)::bigint AS fee_minor,
    coalesce(-sum(amount_minor) FILTER (WHERE kind = 'vat'), 0)::bigint AS vat_minor,
    sum(amount_minor)::bigint AS bank_minor, array_agg(line_id ORDER BY line_id) AS line_ids
FROM reconciliation.statement_lines AS line
WHERE book_id = $1 AND side = 'bank' AND kind IN ('fee', 'vat') AND provider IS NOT NULL AND value_on <= $2
    AND NOT EXISTS (
        SELECT FROM reconciliation.settled_items AS settled
        WHERE settled.book_id = $1 AND settled.line_id = line.line_id)
GROUP BY provider, currency, account, value_on
ORDER BY value_on, provider, currency, account

-- name: insert_group
-- A settled group; its amounts must add up or the row is refused.
INSERT INTO reconciliation.settled_groups (
    book_id, group_id, kind, provider, transfer_line_id, value_on, currency, payments_minor, refunds_minor, fee_minor,
    vat_minor, transfer_fee_minor, transfer_vat_minor, bank_minor, bank_account, transfer_reference, run_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)

-- name: insert_items
-- The lines that a group settles; none may be in two.
INSERT INTO reconciliation.settled_items (book_id, group_id, line_id) SELECT $1, $2, unnest($3::text[])

-- name: groups_to_post
-- Groups without an entry yet, oldest first.
SELECT group_id, kind, provider, value_on, currency, fee_minor + transfer_fee_minor AS fee_minor,
    vat_minor + transfer_vat_minor AS vat_minor, bank_minor, bank_account, transfer_reference
FROM reconciliation.settled_groups
WHERE book_id = $1 AND entry_sequence IS NULL
ORDER BY group_id

-- name: group_posted
-- The entry of a group.
UPDATE reconciliation.settled_groups SET entry_sequence = $3 WHERE book_id = $1 AND group_id = $2
