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
    LEFT JOIN LATERAL (
        SELECT k.sequence FROM ledger.idempotency_keys AS k WHERE k.book_id = p_book AND k.key = o.key LIMIT 1
    ) AS q ON true
    LEFT JOIN LATERAL (
        SELECT x.* FROM ledger.holds AS x WHERE x.book_id = p_book AND x.sequence = q.sequence LIMIT 1
    ) AS h ON true
    LEFT JOIN LATERAL (
        SELECT x.hold FROM ledger.hold_resolutions AS x WHERE x.book_id = p_book AND x.hold = h.sequence LIMIT 1
    ) AS r ON true;
    SELECT array_agg(n.refers ORDER BY n.n), array_agg(n.itself ORDER BY n.n) INTO hold_number, hold_own
    FROM ledger.numbers_of_v1(p_key, p_hold_key) AS n;
END
$function$
