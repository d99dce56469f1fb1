-- The entries that a call reverses, numbered as in drawn_on_v1: their lines one after the other, with what is left of
-- each after earlier reversals. `line_count` lines from `first_line` belong to a number.
CREATE FUNCTION ledger.reversed_by_v1(
    p_book bigint, p_key uuid[], p_reverses_key uuid[],
    OUT reversed ledger.reversed_v1, OUT reversal_number integer[], OUT reversed_own integer[]
)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    WITH originals AS (
        SELECT o.key, row_number() OVER (ORDER BY o.key)::integer AS n
        FROM (SELECT DISTINCT key FROM unnest(p_reverses_key) AS key WHERE key IS NOT NULL) AS o
    ), found AS (
        SELECT o.n, q.sequence, q.recorded_at,
               (SELECT count(*) FROM (
                    SELECT FROM ledger.postings AS p
                    WHERE p.book_id = p_book AND p.sequence BETWEEN q.sequence AND q.sequence
                        AND p.recorded_at = q.recorded_at
                    ORDER BY p.sequence) AS x)::integer AS line_count,
               (SELECT c.sequence FROM ledger.entry_caps AS c
                WHERE c.book_id = p_book AND c.sequence = q.sequence AND c.drawable_minor > 0 LIMIT 1) IS NOT NULL AS drawable
        FROM originals AS o
        LEFT JOIN LATERAL (
            SELECT k.* FROM ledger.idempotency_keys AS k WHERE k.book_id = p_book AND k.key = o.key LIMIT 1
        ) AS q ON true
    ), placed AS (
        SELECT f.*, (1 + sum(f.line_count) OVER (ORDER BY f.n) - f.line_count)::integer AS first_line FROM found AS f
    ), lines AS (
        SELECT f.n, p.line, p.debit_account, p.credit_account, p.amount_minor - coalesce((
            SELECT sum(r.amount_minor)
            FROM (SELECT x.sequence, x.recorded_at FROM ledger.entries AS x
                  WHERE x.book_id = p_book AND x.reverses BETWEEN f.sequence AND f.sequence ORDER BY x.reverses) AS e
            CROSS JOIN LATERAL (
                SELECT x.amount_minor, x.reverses_line FROM ledger.postings AS x
                WHERE x.book_id = p_book AND x.sequence BETWEEN e.sequence AND e.sequence AND x.recorded_at = e.recorded_at
                ORDER BY x.sequence
            ) AS r
            WHERE r.reverses_line = p.line), 0)::bigint AS left_minor
        FROM placed AS f
        CROSS JOIN LATERAL (
            SELECT x.* FROM ledger.postings AS x
            WHERE x.book_id = p_book AND x.sequence BETWEEN f.sequence AND f.sequence AND x.recorded_at = f.recorded_at
            ORDER BY x.sequence
        ) AS p
    )
    SELECT p.sequences, p.drawable, p.first_line, p.line_count, coalesce(l.debits, '{}'), coalesce(l.credits, '{}'),
           coalesce(l.left_minor, '{}')
    INTO reversed.sequences, reversed.drawable, reversed.first_line, reversed.line_count, reversed.debits,
         reversed.credits, reversed.left_minor
    FROM (SELECT array_agg(x.sequence ORDER BY x.n) AS sequences, array_agg(x.drawable ORDER BY x.n) AS drawable,
                 array_agg(x.first_line ORDER BY x.n) AS first_line, array_agg(x.line_count ORDER BY x.n) AS line_count
          FROM placed AS x) AS p,
         (SELECT array_agg(x.debit_account ORDER BY x.n, x.line) AS debits,
                 array_agg(x.credit_account ORDER BY x.n, x.line) AS credits,
                 array_agg(x.left_minor ORDER BY x.n, x.line) AS left_minor FROM lines AS x) AS l;
    SELECT array_agg(n.refers ORDER BY n.n), array_agg(n.itself ORDER BY n.n) INTO reversal_number, reversed_own
    FROM ledger.numbers_of_v1(p_key, p_reverses_key) AS n;
END
$function$
