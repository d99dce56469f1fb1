-- Why a month cannot be taken out of the books at a moment, most general reason first; `book_id` where it is one book's.
-- Read by whoever wants to know, and by archive_month_v1, which decides by it.
CREATE FUNCTION ledger.archive_refusals_v1(p_month date, p_at timestamptz) RETURNS TABLE (book_id bigint, reason text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
    WITH m AS (
        SELECT date_trunc('month', p_month::timestamp)::date AS first_day,
               (date_trunc('month', p_month::timestamp) + interval '1 month')::date AS next_month,
               date_trunc('month', p_month::timestamp) AT TIME ZONE 'UTC' AS starts_at,
               (date_trunc('month', p_month::timestamp) + interval '1 month') AT TIME ZONE 'UTC' AS ends_at,
               to_char(p_month, 'YYYY_MM') AS suffix
    ), of_month AS (
        SELECT b.book_id, min(b.first_sequence) AS first_sequence, max(b.last_sequence) AS last_sequence
        FROM m JOIN ledger.blocks AS b ON b.recorded_at >= m.starts_at AND b.recorded_at < m.ends_at GROUP BY b.book_id
    ), open_from AS (  -- test books have no periods: nobody files them
        SELECT o.book_id, coalesce(min(p.starts_on) FILTER (WHERE p.state <> 'closed'), max(p.ends_on) + 1) AS day
        FROM of_month AS o JOIN ledger.books AS k ON k.book_id = o.book_id AND k.mode = 'live'
        LEFT JOIN ledger.periods AS p ON p.book_id = o.book_id GROUP BY o.book_id
    )
    SELECT r.book_id, r.reason FROM (
        SELECT 1 AS place, NULL::bigint AS book_id, format('month %s is among the last two', m.suffix) AS reason
        FROM m WHERE m.next_month > date_trunc('month', p_at AT TIME ZONE 'UTC') - interval '1 month'
        UNION ALL
        SELECT 2, NULL, format('month %s is not in the books', m.suffix)
        FROM m WHERE to_regclass('ledger.entries_' || m.suffix) IS NULL
        UNION ALL
        SELECT 3, NULL, format('an earlier month than %s is in the books', m.suffix)
        FROM m WHERE EXISTS (SELECT FROM ledger.entries AS e WHERE e.recorded_at < m.starts_at)
        UNION ALL
        SELECT 4, f.book_id, format('book %s: the month is not wholly before the first period that is not closed', f.book_id)
        FROM m CROSS JOIN open_from AS f
        WHERE f.day IS NULL OR f.day < m.next_month OR EXISTS (
            SELECT FROM ledger.entries AS e WHERE e.book_id = f.book_id AND e.recorded_at >= m.starts_at
                AND e.recorded_at < m.ends_at AND greatest(e.effective_on, e.booked_on) >= f.day)
        UNION ALL
        SELECT 5, o.book_id, format('book %s: the hold of entry %s is open', o.book_id, min(h.sequence))
        FROM of_month AS o
        JOIN ledger.holds AS h ON h.book_id = o.book_id AND h.sequence BETWEEN o.first_sequence AND o.last_sequence
        LEFT JOIN ledger.hold_resolutions AS r ON r.book_id = o.book_id AND r.hold = h.sequence
        WHERE r.hold IS NULL GROUP BY o.book_id
    ) AS r ORDER BY r.place, r.book_id
$function$
