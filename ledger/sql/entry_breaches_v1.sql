-- What an entry as a whole does to the accounts that it touches: `below` when it lowers one and leaves it below its
-- floor, `overflows` when a total would not fit into bigint. Exact (numeric), for the rare entries where it matters.
-- Arrays `debits` … `lowest` are by account position; `d`, `c`, `amounts` are the entry's postings, already added to
-- the totals or not (`applied`). A balance is debits − credits here, so a credit-normal floor is a highest value.
CREATE FUNCTION ledger.entry_breaches_v1(
    debits bigint[], credits bigint[], highest bigint[], lowest bigint[], d integer[], c integer[], amounts bigint[],
    applied boolean, OUT below boolean, OUT overflows boolean
)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT coalesce(bool_or(t.moved > 0 AND t.debits - t.credits > highest[t.account]
                            OR t.moved < 0 AND t.debits - t.credits < lowest[t.account]), false),
           coalesce(bool_or(greatest(t.debits, t.credits) > 9223372036854775807), false)
    FROM (
        SELECT e.account, sum(e.debit) - sum(e.credit) AS moved,
               debits[e.account] + CASE WHEN applied THEN 0 ELSE sum(e.debit) END AS debits,
               credits[e.account] + CASE WHEN applied THEN 0 ELSE sum(e.credit) END AS credits
        FROM (SELECT u.d, u.amount::numeric, 0::numeric FROM unnest(d, amounts) AS u(d, amount)
              UNION ALL
              SELECT u.c, 0, u.amount FROM unnest(c, amounts) AS u(c, amount)) AS e(account, debit, credit)
        GROUP BY e.account
    ) AS t
$function$
