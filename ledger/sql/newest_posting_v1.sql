-- The newest posting of an account up to an entry, and when that entry was recorded: the newer one of two indexes, of an
-- entry's postings the last line. Most accounts moved in the month of the entry, so that month is opened first; all
-- months before it only where there is nothing.
-- A moment that is computed in the condition is not known to the planner, but before the statement starts: it is planned
-- once, and opens the months it needs. How an index is chosen: account_queries.sql.
CREATE FUNCTION ledger.newest_posting_v1(
    p_book bigint, p_account bigint, p_through bigint,
    OUT sequence bigint, OUT balance_after bigint, OUT recorded_at timestamptz
)
LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    opened_from timestamptz;
BEGIN
    IF p_through < 1 THEN
        RETURN;
    END IF;
    SELECT e.recorded_at INTO recorded_at FROM ledger.entries AS e
    WHERE e.book_id = (SELECT p_book) AND e.sequence = p_through LIMIT 1;
    FOREACH opened_from IN ARRAY ARRAY[date_trunc('month', recorded_at, 'UTC'), '-infinity'] LOOP
        SELECT x.sequence, x.balance_after INTO sequence, balance_after
        FROM (
            (SELECT d.sequence, d.line, d.debit_balance_after AS balance_after FROM ledger.postings AS d
             WHERE d.book_id = (SELECT p_book) AND (d.debit_account, d.sequence) >= ((SELECT p_account), 0)
                AND (d.debit_account, d.sequence) <= ((SELECT p_account), p_through)
                AND d.debit_account IS NOT DISTINCT FROM (SELECT p_account)
                AND d.recorded_at >= opened_from + interval '0'
                AND d.recorded_at <= newest_posting_v1.recorded_at + interval '0'
             ORDER BY d.debit_account DESC, d.sequence DESC FETCH FIRST 1 ROW WITH TIES)
            UNION ALL
            (SELECT c.sequence, c.line, c.credit_balance_after FROM ledger.postings AS c
             WHERE c.book_id = (SELECT p_book) AND (c.credit_account, c.sequence) >= ((SELECT p_account), 0)
                AND (c.credit_account, c.sequence) <= ((SELECT p_account), p_through)
                AND c.credit_account IS NOT DISTINCT FROM (SELECT p_account)
                AND c.recorded_at >= opened_from + interval '0'
                AND c.recorded_at <= newest_posting_v1.recorded_at + interval '0'
             ORDER BY c.credit_account DESC, c.sequence DESC FETCH FIRST 1 ROW WITH TIES)
        ) AS x
        ORDER BY x.sequence DESC, x.line DESC LIMIT 1;
        EXIT WHEN FOUND;
    END LOOP;
END
$function$
