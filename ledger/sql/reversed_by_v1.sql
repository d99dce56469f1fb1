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
               (SELECT count(*) FROM ledger.postings AS p WHERE p.book_id = p_book AND p.sequence = q.sequence
                AND p.recorded_at = q.recorded_at)::integer AS line_count,
               EXISTS (SELECT FROM ledger.entry_caps AS c WHERE c.book_id = p_book AND c.sequence = q.sequence) AS drawable
        FROM originals AS o LEFT JOIN ledger.idempotency_keys AS q ON q.book_id = p_book AND q.key = o.key
    ), placed AS (
        SELECT f.*, (1 + sum(f.line_count) OVER (ORDER BY f.n) - f.line_count)::integer AS first_line FROM found AS f
    ), lines AS (
        SELECT f.n, p.line, p.debit_account, p.credit_account, p.amount_minor - coalesce((
            SELECT sum(r.amount_minor) FROM ledger.entries AS e
            JOIN ledger.postings AS r ON r.book_id = p_book AND r.sequence = e.sequence AND r.recorded_at = e.recorded_at
            WHERE e.book_id = p_book AND e.reverses = f.sequence AND r.reverses_line = p.line), 0)::bigint AS left_minor
        FROM placed AS f
        JOIN ledger.postings AS p
            ON p.book_id = p_book AND p.sequence = f.sequence AND p.recorded_at = f.recorded_at
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
