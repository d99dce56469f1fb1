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
        SELECT a.account_id, a.effective_on AS was_on, greatest(a.effective_on, m.latest) AS is_on,
               a.debits_posted, a.credits_posted, a.debits_before, a.credits_before,
               a.debits_posted - m.debits - a.debits_before AS was_debits,
               a.credits_posted - m.credits - a.credits_before AS was_credits
        FROM (SELECT x.account_id, max(x.effective_on) AS latest, sum(x.debits) AS debits, sum(x.credits) AS credits
              FROM moved AS x GROUP BY x.account_id) AS m
        JOIN ledger.accounts AS a ON a.book_id = p_book AND a.account_id = m.account_id
    ), closed AS (
        SELECT d.account_id, d.effective_on, sum(d.debits) AS debits, sum(d.credits) AS credits
        FROM (SELECT m.account_id, m.effective_on, m.debits, m.credits
              FROM moved AS m JOIN now AS n ON n.account_id = m.account_id WHERE m.effective_on < n.is_on
              UNION ALL
              SELECT n.account_id, n.was_on, n.was_debits, n.was_credits
              FROM now AS n WHERE n.was_on < n.is_on AND n.was_on > '-infinity') AS d
        GROUP BY d.account_id, d.effective_on
    ), after AS (
        SELECT n.account_id, n.is_on, n.debits_before + coalesce(c.debits, 0) AS debits_before,
               n.credits_before + coalesce(c.credits, 0) AS credits_before
        FROM now AS n
        LEFT JOIN (SELECT x.account_id, sum(x.debits) AS debits, sum(x.credits) AS credits
                   FROM closed AS x GROUP BY x.account_id) AS c ON c.account_id = n.account_id
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
    FROM unnest(moved_accounts, latest_days, new_debits, new_credits) AS u(account_id, effective_on, debits, credits)
    WHERE a.book_id = p_book AND a.account_id = u.account_id;
END
$function$
