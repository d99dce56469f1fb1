-- The content of the entries stored under some keys, in the form of given_contents_v1.
CREATE FUNCTION ledger.stored_contents_v1(p_book bigint, p_key uuid[]) RETURNS TABLE (key uuid, content text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
    WITH found AS (
        SELECT e.key, e.sequence, e.recorded_at, e.kind, e.effective_on, e.metadata, e.draws_on, e.drawn_minor,
               e.drawable_minor
        FROM (SELECT DISTINCT w.key FROM unnest(p_key) AS w(key)) AS u
        JOIN ledger.idempotency_keys AS q ON q.book_id = p_book AND q.key = u.key
        JOIN ledger.entries AS e
            ON e.book_id = p_book AND e.sequence = q.sequence AND e.recorded_at = q.recorded_at
    )
    SELECT e.key, ROW(e.kind, e.effective_on, e.metadata, o.key, e.drawn_minor, e.drawable_minor,
                      p.postings, r.refs)::text
    FROM found AS e
    LEFT JOIN ledger.entries AS o ON o.book_id = p_book AND o.sequence = e.draws_on
    LEFT JOIN LATERAL (
        SELECT array_agg(ROW(
            d.kind, d.owner, d.currency, c.kind, c.owner, c.currency, x.amount_minor, x.available_on)::text
            ORDER BY x.line) AS postings
        FROM ledger.postings AS x
        JOIN ledger.accounts AS d ON d.book_id = p_book AND d.account_id = x.debit_account
        JOIN ledger.accounts AS c ON c.book_id = p_book AND c.account_id = x.credit_account
        WHERE x.book_id = p_book AND x.sequence = e.sequence AND x.recorded_at = e.recorded_at
    ) AS p ON true
    LEFT JOIN LATERAL (
        SELECT array_agg(ROW(x.scheme, x.value)::text ORDER BY x.scheme, x.value) AS refs
        FROM ledger.entry_references AS x WHERE x.book_id = p_book AND x.sequence = e.sequence
    ) AS r ON true
$function$
