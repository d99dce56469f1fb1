-- The holds that a call resolves, numbered as in drawn_on_v1.
CREATE FUNCTION ledger.holds_of_v1(
    p_book bigint, p_key uuid[], p_hold_key uuid[],
    OUT held ledger.held_v1, OUT hold_number integer[], OUT hold_own integer[]
)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    SELECT array_agg(h.sequence ORDER BY o.n), array_agg(h.debit_account ORDER BY o.n),
           array_agg(h.credit_account ORDER BY o.n), array_agg(h.amount_minor ORDER BY o.n),
           array_agg(h.expires_at ORDER BY o.n), array_agg(r.hold IS NOT NULL ORDER BY o.n)
    INTO held.sequences, held.debits, held.credits, held.amounts, held.expires_at, held.resolved
    FROM (SELECT d.key, row_number() OVER (ORDER BY d.key) AS n
          FROM (SELECT DISTINCT key FROM unnest(p_hold_key) AS key WHERE key IS NOT NULL) AS d) AS o
    LEFT JOIN ledger.idempotency_keys AS q ON q.book_id = p_book AND q.key = o.key
    LEFT JOIN ledger.holds AS h ON h.book_id = p_book AND h.sequence = q.sequence
    LEFT JOIN ledger.hold_resolutions AS r ON r.book_id = p_book AND r.hold = h.sequence;
    SELECT array_agg(n.refers ORDER BY n.n), array_agg(n.itself ORDER BY n.n) INTO hold_number, hold_own
    FROM ledger.numbers_of_v1(p_key, p_hold_key) AS n;
END
$function$
