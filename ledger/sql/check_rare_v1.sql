-- What posts entries with draws, reversals, holds or groups must have put them together rightly; else it is our bug.
CREATE FUNCTION ledger.check_rare_v1(
    p_kind smallint[], p_posting_count integer[], p_original_key uuid[], p_drawn_minor bigint[], p_reverses_key uuid[],
    p_hold_action smallint[], p_hold_key uuid[], p_hold_expires_at timestamptz[], p_group integer[],
    p_occurred_at timestamptz[], p_up_to smallint[]
) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF EXISTS (SELECT FROM unnest(p_hold_expires_at || p_occurred_at) AS u(moment) WHERE NOT isfinite(u.moment)) THEN
        RAISE EXCEPTION 'a time must be a moment' USING ERRCODE = '22008';
    END IF;
    IF EXISTS (
        SELECT FROM (
            SELECT unnest(p_kind) AS kind, unnest(p_posting_count) AS posting_count, unnest(p_original_key) AS original_key,
                   unnest(p_drawn_minor) AS drawn_minor, unnest(p_reverses_key) AS reverses_key,
                   unnest(p_hold_action) AS hold_action, unnest(p_hold_key) AS hold_key
        ) AS u
        WHERE (u.original_key IS NULL) <> (u.drawn_minor IS NULL)
            OR (u.reverses_key IS NOT NULL) <> (u.kind = 901)
            -- A hold is an entry of its own kind, so that who places or resolves cannot choose the mode.
            OR coalesce(u.hold_action, 0) <> CASE WHEN u.kind BETWEEN 700 AND 703 THEN u.kind - 699 ELSE 0 END
            OR (u.hold_key IS NOT NULL) <> (coalesce(u.hold_action, 0) > 1)
            OR u.hold_action > 0 AND u.posting_count <> 1
    ) OR EXISTS (
        SELECT FROM (SELECT g.number, g.number <> lag(g.number, 1, 0) OVER (ORDER BY g.n) AS begins
                     FROM unnest(p_group) WITH ORDINALITY AS g(number, n)) AS u
        WHERE u.number > 0 AND u.begins GROUP BY u.number HAVING count(*) > 1
    ) OR p_up_to IS NOT NULL AND EXISTS (
        -- Nor is a hold of as much as there is: what is sealed of it could not be told from a hold of that amount.
        SELECT FROM (SELECT u.hold_action, sum(u.posting_count) OVER (ORDER BY u.n) AS line
                     FROM unnest(p_hold_action, p_posting_count) WITH ORDINALITY AS u(hold_action, posting_count, n)) AS h
        WHERE h.hold_action > 0 AND p_up_to[h.line] > 0
    ) THEN
        RAISE EXCEPTION 'arrays of draws, reversals, holds or groups do not belong together' USING ERRCODE = 'QK003';
    END IF;
END
$function$
