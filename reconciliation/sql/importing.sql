-- name: file_by_content
-- The file of this book and source with exactly this content.
SELECT file_id, line_count, line_amount_minor, duplicate_count, duplicate_amount_minor, rejected_count,
       rejected_amount_minor
FROM reconciliation.statement_files
WHERE book_id = $1 AND source = $2 AND content_sha256 = $3

-- name: lock_imports
-- One import of a book at a time, so that two overlapping files cannot both believe a line to be new.
SELECT pg_advisory_xact_lock(hashtextextended('reconciliation.importing', $1::bigint))

-- name: insert_file
-- The file with its counts.
INSERT INTO reconciliation.statement_files (
    book_id, file_id, source, side, name, account, content_sha256, content_sealed, content_bytes, header,
    line_count, line_amount_minor, duplicate_count, duplicate_amount_minor, rejected_count, rejected_amount_minor,
    received_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text::jsonb, $11, $12, $13, $14, $15, $16, $17)

-- name: known_lines
-- Which of these line hashes are there already, and with what content.
SELECT line_sha256, content_sha256
FROM reconciliation.statement_lines
WHERE book_id = $1 AND line_sha256 = ANY($2::bytea[])

-- name: insert_lines
-- A chunk of new lines.
INSERT INTO reconciliation.statement_lines (
    book_id, file_id, source, side, line_id, stage, account, line_number, provider, kind, amount_minor, fee_minor,
    vat_minor, currency, value_on, occurred_at, available_at, batch_reference, description, line_sha256,
    content_sha256)
SELECT $1, $2, $3, $4, line.*
FROM unnest($5::text[], $6::text[], $7::text[], $8::integer[], $9::text[], $10::text[], $11::bigint[], $12::bigint[],
    $13::bigint[], $14::text[], $15::date[], $16::timestamptz[], $17::timestamptz[], $18::text[], $19::text[],
    $20::bytea[], $21::bytea[]) AS line

-- name: insert_references
-- The references of a chunk of lines.
INSERT INTO reconciliation.line_references (book_id, line_id, scheme, value, strong)
SELECT $1, reference.* FROM unnest($2::text[], $3::text[], $4::text[], $5::boolean[]) AS reference
ON CONFLICT DO NOTHING

-- name: insert_rejects
-- The lines of a file that could not be read.
INSERT INTO reconciliation.rejected_lines (book_id, file_id, line_number, field, reason, detail, amount_minor)
SELECT $1, $2, reject.*
FROM unnest($3::integer[], $4::text[], $5::text[], $6::text[], $7::bigint[]) AS reject

-- name: insert_balances
-- Opening and closing balances of a file.
INSERT INTO reconciliation.statement_balances (
    book_id, file_id, source, position, account, currency, number, opened_on, closed_on, opening_minor, closing_minor)
SELECT $1, $2, $3, balance.*
FROM unnest($4::integer[], $5::text[], $6::text[], $7::text[], $8::date[], $9::date[], $10::bigint[], $11::bigint[])
    AS balance

-- name: rejected_lines
-- What a file held that was not kept as a line, in the file's order.
SELECT line_number, field, reason, detail, amount_minor
FROM reconciliation.rejected_lines WHERE book_id = $1 AND file_id = $2 ORDER BY line_number, field;
