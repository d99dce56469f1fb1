-- What an entry as a whole does to the accounts that it touches, as bits: 1 takes one below its floor, 2 above its
-- ceiling (further than it was), 4 a total would not fit into bigint. Exact (numeric), for the entries where it matters.
-- Arrays `debits` … `signs` are by account position; `d`, `c`, `amounts` are the entry's postings, already added to
-- the totals or not (`applied`). A balance is debits − credits here, so a credit-normal floor is a highest value.
CREATE FUNCTION ledger.entry_breaches_v1(
    debits bigint[], credits bigint[], highest bigint[], lowest bigint[], signs smallint[],
    d integer[], c integer[], amounts bigint[], applied boolean, OUT breached integer
)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT max((t.moved * signs[t.account] < 0 AND (t.over AND signs[t.account] < 0 OR t.under AND signs[t.account] > 0))::integer)
           + 2 * max((t.moved * signs[t.account] > 0
                      AND (t.over AND signs[t.account] > 0 OR t.under AND signs[t.account] < 0))::integer)
           + 4 * max((greatest(t.debits, t.credits) > 9223372036854775807)::integer)
    FROM (
        SELECT m.account, m.debit - m.credit AS moved, m.debits, m.credits,
               coalesce(m.debit > m.credit AND m.debits - m.credits > highest[m.account], false) AS over,
               coalesce(m.debit < m.credit AND m.debits - m.credits < lowest[m.account], false) AS under
        FROM (
            SELECT e.account, sum(e.debit) AS debit, sum(e.credit) AS credit,
                   debits[e.account] + CASE WHEN applied THEN 0 ELSE sum(e.debit) END AS debits,
                   credits[e.account] + CASE WHEN applied THEN 0 ELSE sum(e.credit) END AS credits
            FROM (SELECT u.d, u.amount::numeric, 0::numeric FROM unnest(d, amounts) AS u(d, amount)
                  UNION ALL
                  SELECT u.c, 0, u.amount FROM unnest(c, amounts) AS u(c, amount)) AS e(account, debit, credit)
            GROUP BY e.account
        ) AS m
    ) AS t
$function$
