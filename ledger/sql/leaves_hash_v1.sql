-- SHA-256 over the leaves of a block just written, in order of sequence; see ledger/chain.py for the bytes of a leaf.
-- Each entry looks its own lines and references up by key: grouped first and joined then, a plan for one entry reads the
-- lines of all entries for each of them.
CREATE FUNCTION ledger.leaves_hash_v1(p_book bigint, p_after bigint, p_last bigint, p_recorded_at timestamptz) RETURNS bytea
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RETURN (
        SELECT sha256(string_agg(sha256(
            '\x0001'::bytea || int8send(e.book_id) || int8send(e.sequence) || timestamptz_send(e.recorded_at)
            || int8send(e.block_number) || uuid_send(e.key) || date_send(e.effective_on) || int2send(e.kind)
            || int4send(octet_length(e.caller)) || convert_to(e.caller, 'UTF8')
            || int4send(octet_length(e.metadata)) || e.metadata
            || int4send(p.line_count) || int4send(r.line_count)
            || CASE WHEN num_nonnulls(e.booked_on, e.occurred_at, e.group_first, e.draws_on, e.drawn_minor,
                                      e.drawable_minor, e.reverses, e.hold_action, e.hold) = 0 THEN '\x00'::bytea
               ELSE '\x01'::bytea || record_send(ROW(
                   e.booked_on, e.occurred_at, e.group_first, e.draws_on, e.drawn_minor, e.drawable_minor, e.reverses,
                   e.hold_action, e.hold, h.debit_account, h.credit_account, h.amount_minor, h.expires_at)) END
            || coalesce(p.lines, ''::bytea) || coalesce(r.lines, ''::bytea)
            ), ''::bytea ORDER BY e.sequence))
        FROM ledger.entries AS e
        LEFT JOIN LATERAL (
            SELECT x.* FROM ledger.holds AS x
            WHERE e.hold_action = 1 AND x.book_id = p_book AND x.sequence = e.sequence LIMIT 1
        ) AS h ON true
        CROSS JOIN LATERAL (
            SELECT count(*)::integer AS line_count, string_agg(
                int2send(x.line) || int8send(x.debit_account) || int8send(x.credit_account) || int8send(x.amount_minor)
                || int8send(x.debit_balance_after) || int8send(x.credit_balance_after)
                || CASE WHEN num_nonnulls(x.reverses_line, x.available_on, x.up_to_minor) = 0 THEN '\x00'::bytea
                   ELSE '\x01'::bytea || record_send(ROW(x.reverses_line, x.available_on, x.up_to_minor)) END,
                ''::bytea ORDER BY x.line) AS lines
            FROM (SELECT y.* FROM ledger.postings AS y
                  WHERE y.book_id = p_book AND y.sequence BETWEEN e.sequence AND e.sequence AND y.recorded_at = p_recorded_at
                  ORDER BY y.sequence) AS x
        ) AS p
        CROSS JOIN LATERAL (
            SELECT count(*)::integer AS line_count, string_agg(
                int4send(octet_length(x.scheme)) || convert_to(x.scheme, 'UTF8')
                || int4send(octet_length(x.value)) || convert_to(x.value, 'UTF8'),
                ''::bytea ORDER BY x.scheme, x.value) AS lines
            FROM (SELECT y.scheme, y.value FROM ledger.entry_references AS y
                  WHERE y.book_id = p_book AND y.sequence BETWEEN e.sequence AND e.sequence ORDER BY y.sequence) AS x
        ) AS r
        WHERE e.book_id = p_book AND e.sequence > p_after AND e.sequence <= p_last AND e.recorded_at = p_recorded_at
    );
END
$function$
