-- The amounts of a call's postings, with those of replayed entries as the books have them.
CREATE FUNCTION ledger.replayed_amounts_v1(
    p_book bigint, p_amount_minor bigint[], p_sequence bigint[], p_replayed_at timestamptz[], p_posted_at timestamptz,
    p_posting_count integer[]
) RETURNS bigint[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT array_agg(coalesce(p.amount_minor, a.amount_minor, p_amount_minor[u.j]) ORDER BY u.j)
    FROM (SELECT c.sequence, c.replayed_at, g.line, row_number() OVER (ORDER BY c.n, g.line) AS j
          FROM unnest(p_sequence, p_replayed_at, p_posting_count) WITH ORDINALITY AS c(sequence, replayed_at, size, n),
               generate_series(1, c.size) AS g(line)) AS u
    LEFT JOIN LATERAL (
        SELECT x.amount_minor FROM ledger.postings AS x
        WHERE x.book_id = p_book AND x.sequence BETWEEN u.sequence AND u.sequence AND x.recorded_at = u.replayed_at
            AND x.line = u.line AND u.replayed_at < p_posted_at
        ORDER BY x.sequence LIMIT 1
    ) AS p ON true
    LEFT JOIN LATERAL (
        SELECT x.amount_minor FROM ledger.archived_amounts AS x
        WHERE x.book_id = p_book AND x.sequence = u.sequence AND x.line = u.line AND u.replayed_at < p_posted_at LIMIT 1
    ) AS a ON true
$function$
