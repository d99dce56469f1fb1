-- The content of the entries stored under some keys, in the form of given_contents_v1.
CREATE FUNCTION ledger.stored_contents_v1(p_book bigint, p_key uuid[]) RETURNS TABLE (key uuid, content text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    SET TimeZone = utc SET DateStyle = iso, ymd SET bytea_output = hex
AS $function$
    WITH found AS (
        SELECT e.*
        FROM (SELECT DISTINCT w.key FROM unnest(p_key) AS w(key)) AS u
        JOIN ledger.idempotency_keys AS q ON q.book_id = p_book AND q.key = u.key
        JOIN ledger.entries AS e
            ON e.book_id = p_book AND e.sequence = q.sequence AND e.recorded_at = q.recorded_at
    )
    SELECT e.key, ROW(e.kind, e.effective_on, e.metadata, e.draws_on::text, e.drawn_minor, e.drawable_minor,
                      e.reverses::text, e.hold_action, e.hold::text, h.expires_at, e.occurred_at,
                      p.postings, r.refs)::text
    FROM found AS e
    LEFT JOIN ledger.holds AS h ON h.book_id = p_book AND h.sequence = e.sequence
    LEFT JOIN ledger.holds AS s ON s.book_id = p_book AND s.sequence = coalesce(e.hold, e.sequence)
    LEFT JOIN LATERAL (
        SELECT array_agg(ROW(x.debit_account, x.credit_account, x.amount_minor, x.available_on, x.reverses_line,
                             x.is_up_to)::text ORDER BY x.line) AS postings
        FROM (
            SELECT y.line, y.debit_account, y.credit_account, coalesce(y.up_to_minor, y.amount_minor) AS amount_minor,
                   y.available_on, y.reverses_line, CASE WHEN y.up_to_minor IS NOT NULL THEN true END AS is_up_to
            FROM ledger.postings AS y
            WHERE y.book_id = p_book AND y.sequence = e.sequence AND y.recorded_at = e.recorded_at
            UNION ALL
            SELECT 1, s.debit_account, s.credit_account, s.amount_minor, NULL, NULL, NULL
            WHERE e.hold_action IN (1, 3, 4)
        ) AS x
    ) AS p ON true
    LEFT JOIN LATERAL (
        SELECT array_agg(ROW(x.scheme, x.value)::text ORDER BY x.scheme, x.value) AS refs
        FROM ledger.entry_references AS x WHERE x.book_id = p_book AND x.sequence = e.sequence
    ) AS r ON true
$function$
