-- The content of each entry of a call, as text that is equal exactly when the content is equal: the same columns in the
-- same order as stored_contents_v1. An account that is not open yet is its position, negative; an entry that is not in the
-- books is its key. The form never changes: what was archived is known by the hash of it, so settings are pinned.
-- Who asked (`caller`) is not content: the janitor that repeats what a callback posted repeats the same entry. Nor is
-- the linked group, which a repetition has by itself.
CREATE FUNCTION ledger.given_contents_v1(
    p_book bigint, p_kind smallint[], p_effective_on date[], p_metadata bytea[],
    p_original_key uuid[], p_drawn_minor bigint[], p_drawable_minor bigint[], p_reverses_key uuid[],
    p_hold_action smallint[], p_hold_key uuid[], p_hold_expires_at timestamptz[], p_occurred_at timestamptz[],
    p_account_id bigint[], p_posting_count integer[], p_debit integer[], p_credit integer[], p_amount_minor bigint[],
    p_available_on date[], p_reverses_line smallint[], p_up_to smallint[],
    p_reference_entry integer[], p_reference_scheme text[], p_reference_value text[]
) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    SET TimeZone = utc SET DateStyle = iso, ymd SET bytea_output = hex
AS $function$
    SELECT array_agg(ROW(e.kind, e.effective_on, e.metadata, coalesce(o.sequence::text, e.original_key::text),
                         e.drawn_minor, e.drawable_minor, coalesce(v.sequence::text, e.reverses_key::text),
                         e.hold_action, coalesce(k.sequence::text, e.hold_key::text), e.hold_expires_at, e.occurred_at,
                         p.postings, r.refs)::text ORDER BY e.n)
    FROM unnest(p_kind, p_effective_on, p_metadata, p_original_key, p_drawn_minor, p_drawable_minor, p_reverses_key,
                p_hold_action, p_hold_key, p_hold_expires_at, p_occurred_at)
        WITH ORDINALITY AS e(kind, effective_on, metadata, original_key, drawn_minor, drawable_minor, reverses_key,
                             hold_action, hold_key, hold_expires_at, occurred_at, n)
    LEFT JOIN LATERAL (
        SELECT x.sequence FROM ledger.idempotency_keys AS x WHERE x.book_id = p_book AND x.key = e.original_key LIMIT 1
    ) AS o ON true
    LEFT JOIN LATERAL (
        SELECT x.sequence FROM ledger.idempotency_keys AS x WHERE x.book_id = p_book AND x.key = e.reverses_key LIMIT 1
    ) AS v ON true
    LEFT JOIN LATERAL (
        SELECT x.sequence FROM ledger.idempotency_keys AS x WHERE x.book_id = p_book AND x.key = e.hold_key LIMIT 1
    ) AS k ON true
    LEFT JOIN (
        SELECT o.n, array_agg(ROW(
            coalesce(p_account_id[u.d], -u.d), coalesce(p_account_id[u.c], -u.c), u.amount_minor,
            CASE WHEN o.is_posted THEN u.available_on END, u.reverses_line, CASE WHEN u.up_to > 0 THEN true END)::text ORDER BY u.j) AS postings
        FROM (SELECT c.n, c.hold_action IS NULL OR c.hold_action IN (0, 2) AS is_posted, row_number() OVER (ORDER BY c.n) AS j
              FROM unnest(p_posting_count, p_hold_action) WITH ORDINALITY AS c(size, hold_action, n),
                   generate_series(1, c.size)) AS o
        JOIN unnest(p_debit, p_credit, p_amount_minor, p_available_on, p_reverses_line, p_up_to)
            WITH ORDINALITY AS u(d, c, amount_minor, available_on, reverses_line, up_to, j) ON u.j = o.j
        GROUP BY o.n
    ) AS p ON p.n = e.n
    LEFT JOIN (
        SELECT u.entry, array_agg(ROW(u.scheme, u.value)::text
                                  ORDER BY u.scheme COLLATE "C", u.value COLLATE "C") AS refs
        FROM unnest(p_reference_entry, p_reference_scheme, p_reference_value) AS u(entry, scheme, value)
        GROUP BY u.entry
    ) AS r ON r.entry = e.n
$function$
