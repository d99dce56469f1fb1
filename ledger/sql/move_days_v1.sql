-- Keeps totals by business date, where a call moved accounts on another date than their latest. `p_*` are what the call
-- moved, one row an account and date; the accounts' posted totals hold it already.
-- The latest date of an account is the difference between its posted totals and its *_before; every earlier date has a
-- row in account_days. A later date closes the one before into a row; an earlier one adds to its row.
CREATE FUNCTION ledger.move_days_v1(
    p_book bigint, p_account bigint[], p_effective_on date[], p_debits bigint[], p_credits bigint[]
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    day_accounts bigint[]; days date[]; day_debits bigint[]; day_credits bigint[];
    moved_accounts bigint[]; latest_days date[]; new_debits bigint[]; new_credits bigint[];
BEGIN
    WITH moved AS (
        SELECT u.account_id, u.effective_on, u.debits, u.credits
        FROM unnest(p_account, p_effective_on, p_debits, p_credits) AS u(account_id, effective_on, debits, credits)
    ), now AS (
        SELECT m.account_id, m.effective_on, m.debits, m.credits, a.effective_on AS was_on,
               greatest(a.effective_on, max(m.effective_on) OVER w) AS is_on, a.debits_before, a.credits_before,
               a.debits_posted - sum(m.debits) OVER w - a.debits_before AS was_debits,
               a.credits_posted - sum(m.credits) OVER w - a.credits_before AS was_credits, row_number() OVER w = 1 AS once
        FROM moved AS m
        CROSS JOIN LATERAL (
            SELECT r.* FROM ledger.accounts AS r
            WHERE r.book_id = p_book AND r.account_id BETWEEN m.account_id AND m.account_id ORDER BY r.account_id LIMIT 1
        ) AS a
        WINDOW w AS (PARTITION BY m.account_id)
    ), closed AS (
        SELECT d.account_id, d.effective_on, sum(d.debits) AS debits, sum(d.credits) AS credits
        FROM (SELECT n.account_id, n.effective_on, n.debits, n.credits FROM now AS n WHERE n.effective_on < n.is_on
              UNION ALL
              SELECT n.account_id, n.was_on, n.was_debits, n.was_credits
              FROM now AS n WHERE n.once AND n.was_on < n.is_on AND n.was_on > '-infinity') AS d
        GROUP BY d.account_id, d.effective_on
    ), after AS (
        SELECT d.account_id, max(d.is_on) AS is_on, sum(d.debits) AS debits_before, sum(d.credits) AS credits_before
        FROM (SELECT n.account_id, n.is_on, n.debits_before AS debits, n.credits_before AS credits FROM now AS n WHERE n.once
              UNION ALL
              SELECT c.account_id, NULL, c.debits, c.credits FROM closed AS c) AS d
        GROUP BY d.account_id
    )
    SELECT c.accounts, c.days, c.debits, c.credits, f.accounts, f.latest, f.debits, f.credits
    INTO day_accounts, days, day_debits, day_credits, moved_accounts, latest_days, new_debits, new_credits
    FROM (SELECT array_agg(x.account_id) AS accounts, array_agg(x.effective_on) AS days,
                 array_agg(x.debits::bigint) AS debits, array_agg(x.credits::bigint) AS credits FROM closed AS x) AS c,
         (SELECT array_agg(x.account_id) AS accounts, array_agg(x.is_on) AS latest,
                 array_agg(x.debits_before::bigint) AS debits, array_agg(x.credits_before::bigint) AS credits
          FROM after AS x) AS f;
    IF day_accounts IS NOT NULL THEN
        INSERT INTO ledger.account_days AS d (book_id, account_id, effective_on, debits_posted, credits_posted)
        SELECT p_book, u.account_id, u.effective_on, u.debits, u.credits
        FROM unnest(day_accounts, days, day_debits, day_credits) AS u(account_id, effective_on, debits, credits)
        ON CONFLICT (book_id, account_id, effective_on) DO UPDATE
        SET debits_posted = d.debits_posted + excluded.debits_posted,
            credits_posted = d.credits_posted + excluded.credits_posted;
    END IF;
    UPDATE ledger.accounts AS a
    SET effective_on = u.effective_on, debits_before = u.debits, credits_before = u.credits
    FROM (
        SELECT r.row_at, m.effective_on, m.debits, m.credits
        FROM unnest((SELECT moved_accounts), (SELECT latest_days), (SELECT new_debits), (SELECT new_credits))
            AS m(account_id, effective_on, debits, credits)
        CROSS JOIN LATERAL (
            SELECT x.ctid AS row_at FROM ledger.accounts AS x
            WHERE x.book_id = p_book AND x.account_id BETWEEN m.account_id AND m.account_id ORDER BY x.account_id LIMIT 1
        ) AS r
        LIMIT (SELECT cardinality(moved_accounts))
    ) AS u
    WHERE a.ctid = u.row_at AND a.book_id = p_book;
END
$function$
