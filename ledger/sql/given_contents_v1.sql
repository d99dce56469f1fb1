-- The content of each entry of a call, as text that is equal exactly when the content is equal.
-- The same columns in the same order as stored_contents_v1. Who asked (`caller`) is not content: the janitor that
-- repeats what a callback posted repeats the same entry.
CREATE FUNCTION ledger.given_contents_v1(
    p_kind smallint[], p_effective_on date[], p_metadata bytea[],
    p_original_key uuid[], p_drawn_minor bigint[], p_drawable_minor bigint[],
    p_account_kind smallint[], p_account_owner text[], p_account_currency text[],
    p_posting_count integer[], p_debit integer[], p_credit integer[], p_amount_minor bigint[], p_available_on date[],
    p_reference_entry integer[], p_reference_scheme text[], p_reference_value text[]
) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT array_agg(ROW(e.kind, e.effective_on, e.metadata, e.original_key, e.drawn_minor, e.drawable_minor,
                         p.postings, r.refs)::text ORDER BY e.n)
    FROM unnest(p_kind, p_effective_on, p_metadata, p_original_key, p_drawn_minor, p_drawable_minor)
        WITH ORDINALITY AS e(kind, effective_on, metadata, original_key, drawn_minor, drawable_minor, n)
    LEFT JOIN (
        SELECT o.n, array_agg(ROW(
            p_account_kind[u.d], p_account_owner[u.d], p_account_currency[u.d],
            p_account_kind[u.c], p_account_owner[u.c], p_account_currency[u.c],
            u.amount_minor, u.available_on)::text ORDER BY u.j) AS postings
        FROM (SELECT c.n, row_number() OVER (ORDER BY c.n) AS j
              FROM unnest(p_posting_count) WITH ORDINALITY AS c(size, n), generate_series(1, c.size)) AS o
        JOIN unnest(p_debit, p_credit, p_amount_minor, p_available_on)
            WITH ORDINALITY AS u(d, c, amount_minor, available_on, j) ON u.j = o.j
        GROUP BY o.n
    ) AS p ON p.n = e.n
    LEFT JOIN (
        SELECT u.entry, array_agg(ROW(u.scheme, u.value)::text
                                  ORDER BY u.scheme COLLATE "C", u.value COLLATE "C") AS refs
        FROM unnest(p_reference_entry, p_reference_scheme, p_reference_value) AS u(entry, scheme, value)
        GROUP BY u.entry
    ) AS r ON r.entry = e.n
$function$
