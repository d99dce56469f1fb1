-- Writes the holds that a call placed and how it resolved others. A hold's entry has one posting.
CREATE FUNCTION ledger.write_holds_v1(
    p_book bigint, p_hold_action smallint[], p_hold_expires_at timestamptz[], p_hold bigint[], p_sequence bigint[],
    p_posting_count integer[], p_debit integer[], p_credit integer[], p_amount_minor bigint[], p_account_id bigint[]
) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    first_posting integer[];
BEGIN
    SELECT array_agg(t.first ORDER BY t.n) INTO first_posting
    FROM (SELECT c.n, (1 + sum(c.size) OVER (ORDER BY c.n) - c.size)::integer AS first
          FROM unnest(p_posting_count) WITH ORDINALITY AS c(size, n)) AS t;
    INSERT INTO ledger.holds (book_id, sequence, debit_account, credit_account, amount_minor, expires_at)
    SELECT p_book, u.sequence, p_account_id[p_debit[u.j]], p_account_id[p_credit[u.j]], p_amount_minor[u.j], u.expires_at
    FROM unnest(p_hold_action, p_hold_expires_at, p_sequence, first_posting) AS u(action, expires_at, sequence, j)
    WHERE u.action = 1 AND u.sequence > 0;
    INSERT INTO ledger.hold_resolutions (book_id, hold, action, posted_minor, sequence)
    SELECT p_book, u.hold, u.action, CASE u.action WHEN 2 THEN p_amount_minor[u.j] ELSE 0 END, u.sequence
    FROM unnest(p_hold_action, p_hold, p_sequence, first_posting) AS u(action, hold, sequence, j)
    WHERE u.action > 1 AND u.sequence > 0;
END
$function$
