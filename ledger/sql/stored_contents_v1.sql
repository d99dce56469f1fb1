-- The content of the entries stored under some keys, in the form of given_contents_v1.
CREATE FUNCTION ledger.stored_contents_v1(p_book bigint, p_key uuid[]) RETURNS TABLE (key uuid, content text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    SET TimeZone = utc SET DateStyle = iso, ymd SET bytea_output = hex
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off
AS $function$
    WITH found AS (
        SELECT e.*
        FROM (SELECT DISTINCT w.key FROM unnest(p_key) AS w(key)) AS u
        CROSS JOIN LATERAL (
            SELECT x.* FROM ledger.idempotency_keys AS x WHERE x.book_id = p_book AND x.key = u.key LIMIT 1
        ) AS q
        CROSS JOIN LATERAL (
            SELECT x.* FROM ledger.entries AS x
            WHERE x.book_id = p_book AND x.sequence = q.sequence AND x.recorded_at = q.recorded_at LIMIT 1
        ) AS e
    )
    SELECT e.key, ROW(e.kind, e.effective_on, e.metadata, e.draws_on::text, e.drawn_minor, e.drawable_minor,
                      e.reverses::text, e.hold_action, e.hold::text, h.expires_at, e.occurred_at,
                      p.postings, r.refs)::text
    FROM found AS e
    LEFT JOIN LATERAL (
        SELECT x.expires_at FROM ledger.holds AS x WHERE x.book_id = p_book AND x.sequence = e.sequence LIMIT 1
    ) AS h ON true
    LEFT JOIN LATERAL (
        SELECT x.* FROM ledger.holds AS x WHERE x.book_id = p_book AND x.sequence = coalesce(e.hold, e.sequence) LIMIT 1
    ) AS s ON true
    LEFT JOIN LATERAL (
        SELECT array_agg(ROW(x.debit_account, x.credit_account, x.amount_minor, x.available_on, x.reverses_line,
                             x.is_up_to)::text ORDER BY x.line) AS postings
        FROM (
            SELECT y.line, y.debit_account, y.credit_account, coalesce(y.up_to_minor, y.amount_minor) AS amount_minor,
                   y.available_on, y.reverses_line, CASE WHEN y.up_to_minor IS NOT NULL THEN true END AS is_up_to
            FROM (SELECT z.* FROM ledger.postings AS z
                  WHERE z.book_id = p_book AND z.sequence BETWEEN e.sequence AND e.sequence
                      AND z.recorded_at = e.recorded_at
                  ORDER BY z.sequence) AS y
            UNION ALL
            SELECT 1, s.debit_account, s.credit_account, s.amount_minor, NULL, NULL, NULL
            WHERE e.hold_action IN (1, 3, 4)
        ) AS x
    ) AS p ON true
    LEFT JOIN LATERAL (
        SELECT array_agg(ROW(x.scheme, x.value)::text ORDER BY x.scheme, x.value) AS refs
        FROM (SELECT y.scheme, y.value FROM ledger.entry_references AS y
              WHERE y.book_id = p_book AND y.sequence BETWEEN e.sequence AND e.sequence ORDER BY y.sequence) AS x
    ) AS r ON true
$function$
