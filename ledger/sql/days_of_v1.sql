-- The business date of each posting: that of its entry.
CREATE FUNCTION ledger.days_of_v1(p_effective_on date[], p_posting_count integer[]) RETURNS date[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT array_agg(u.effective_on ORDER BY u.n)
    FROM unnest(p_effective_on, p_posting_count) WITH ORDINALITY AS u(effective_on, size, n), generate_series(1, u.size)
$function$
