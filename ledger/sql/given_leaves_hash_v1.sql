-- The same as leaves_hash_v1, from what a call is about to write and not from what it wrote: for calls without draws,
-- reversals, holds, groups, imports and balancing postings. To read the rows back is to plan for every month's partition
-- in each call, or to open all of them.
-- Pieces of leaves are grouped by their entry, never joined: a plan for few must not be one for many.
CREATE FUNCTION ledger.given_leaves_hash_v1(
    p_book bigint, p_block_number bigint, p_recorded_at timestamptz,
    p_sequences bigint[], p_key uuid[], p_effective_on date[], p_kind smallint[], p_caller text[], p_metadata bytea[],
    p_booked_on date[], p_drawable_minor bigint[],
    p_posting_sequences bigint[], p_line smallint[], p_debit integer[], p_credit integer[], p_amount_minor bigint[],
    p_debit_after bigint[], p_credit_after bigint[], p_available_on date[], p_ids bigint[], p_signs smallint[],
    p_reference_entry integer[], p_reference_scheme text[], p_reference_value text[]
) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RETURN (
        SELECT sha256(string_agg(sha256(leaf.head || int4send(leaf.line_count) || int4send(leaf.reference_count)
                                        || leaf.rare || leaf.lines || leaf.named), ''::bytea ORDER BY leaf.sequence))
        FROM (
            SELECT piece.sequence,
                   string_agg(piece.content, ''::bytea) FILTER (WHERE piece.part = 0) AS head,
                   string_agg(piece.rare, ''::bytea) FILTER (WHERE piece.part = 0) AS rare,
                   count(*) FILTER (WHERE piece.part = 1)::integer AS line_count,
                   count(*) FILTER (WHERE piece.part = 2)::integer AS reference_count,
                   coalesce(string_agg(piece.content, ''::bytea ORDER BY piece.line)
                            FILTER (WHERE piece.part = 1), ''::bytea) AS lines,
                   coalesce(string_agg(piece.content, ''::bytea ORDER BY piece.scheme COLLATE "C", piece.value COLLATE "C")
                            FILTER (WHERE piece.part = 2), ''::bytea) AS named
            FROM (
                SELECT 0 AS part, e.sequence, NULL::smallint AS line, NULL::text AS scheme, NULL::text AS value,
                    ledger.leaf_head_v1(p_book, e.sequence, p_recorded_at, p_block_number, e.key, e.effective_on, e.kind,
                                        e.caller, e.metadata) AS content,
                    ledger.leaf_rare_v1(e.booked_on, e.drawable_minor) AS rare
                FROM (SELECT unnest(p_sequences) AS sequence, unnest(p_key) AS key, unnest(p_effective_on) AS effective_on,
                             unnest(p_kind) AS kind, unnest(p_caller) AS caller, unnest(p_metadata) AS metadata,
                             unnest(p_booked_on) AS booked_on, unnest(p_drawable_minor) AS drawable_minor) AS e
                WHERE e.sequence > 0
                UNION ALL
                SELECT 1, x.sequence, x.line, NULL, NULL,
                    ledger.leaf_line_v1(x.line, p_ids[x.d], p_ids[x.c], x.amount_minor, x.debit_after * p_signs[x.d],
                                        x.credit_after * p_signs[x.c], x.available_on),
                    NULL
                FROM (SELECT unnest(p_posting_sequences) AS sequence, unnest(p_line) AS line, unnest(p_debit) AS d,
                             unnest(p_credit) AS c, unnest(p_amount_minor) AS amount_minor,
                             unnest(p_debit_after) AS debit_after, unnest(p_credit_after) AS credit_after,
                             unnest(p_available_on) AS available_on) AS x
                WHERE x.sequence > 0
                UNION ALL
                SELECT 2, p_sequences[x.entry], NULL, x.scheme, x.value,
                    ledger.leaf_name_v1(x.scheme, x.value),
                    NULL
                FROM (SELECT unnest(p_reference_entry) AS entry, unnest(p_reference_scheme) AS scheme,
                             unnest(p_reference_value) AS value) AS x
                WHERE p_sequences[x.entry] > 0
            ) AS piece
            GROUP BY piece.sequence
        ) AS leaf
    );
END
$function$
