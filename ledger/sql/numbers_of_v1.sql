-- Numbers 1 … for the keys that a call refers to, in order of key; for each entry of the call the number of what it
-- refers to and the number that it is itself (0 = none).
CREATE FUNCTION ledger.numbers_of_v1(p_key uuid[], p_referred uuid[])
RETURNS TABLE (n bigint, refers integer, itself integer)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
    WITH referred AS (
        SELECT r.key, row_number() OVER (ORDER BY r.key)::integer AS number
        FROM (SELECT DISTINCT key FROM unnest(p_referred) AS key WHERE key IS NOT NULL) AS r
    )
    SELECT u.n, coalesce(there.number, 0), coalesce(own.number, 0)
    FROM unnest(p_key, p_referred) WITH ORDINALITY AS u(key, referred, n)
    LEFT JOIN referred AS there ON there.key = u.referred
    LEFT JOIN referred AS own ON own.key = u.key
$function$
