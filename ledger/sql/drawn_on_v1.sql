-- The entries that a call draws on, by a number of the call's own: what they are and how much is drawn of each; and for
-- each entry of the call the number that it draws on and the number that it is itself (0 = none).
CREATE FUNCTION ledger.drawn_on_v1(
    p_book bigint, p_key uuid[], p_original_key uuid[],
    OUT sequences bigint[], OUT drawable bigint[], OUT drawn bigint[], OUT draws_number integer[], OUT own_number integer[]
)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    WITH originals AS (
        SELECT o.key, row_number() OVER (ORDER BY o.key) AS n
        FROM (SELECT DISTINCT key FROM unnest(p_original_key) AS key WHERE key IS NOT NULL) AS o
    )
    SELECT array_agg(q.sequence ORDER BY o.n), array_agg(e.drawable_minor ORDER BY o.n),
           array_agg(e.drawn_minor ORDER BY o.n)
    INTO sequences, drawable, drawn
    FROM originals AS o
    LEFT JOIN LATERAL (
        SELECT k.sequence FROM ledger.idempotency_keys AS k WHERE k.book_id = p_book AND k.key = o.key LIMIT 1
    ) AS q ON true
    LEFT JOIN LATERAL (
        SELECT c.* FROM ledger.entry_caps AS c WHERE c.book_id = p_book AND c.sequence = q.sequence LIMIT 1
    ) AS e ON true;
    SELECT array_agg(n.refers ORDER BY n.n), array_agg(n.itself ORDER BY n.n) INTO draws_number, own_number
    FROM ledger.numbers_of_v1(p_key, p_original_key) AS n;
END
$function$
