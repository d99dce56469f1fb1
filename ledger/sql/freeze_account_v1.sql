-- Freezes or frees the debit and credit side of an account for authorising entries, on the record.
CREATE FUNCTION ledger.freeze_account_v1(
    p_book bigint, p_kind smallint, p_owner text, p_currency text, p_debits boolean, p_credits boolean,
    p_actor text, p_reason text
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    PERFORM 1 FROM ledger.books AS b WHERE b.book_id = p_book FOR NO KEY UPDATE;
    UPDATE ledger.accounts AS a SET debits_frozen = p_debits, credits_frozen = p_credits
    WHERE a.book_id = p_book AND a.kind = p_kind AND a.owner = p_owner AND a.currency = p_currency;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO ledger.ledger_acts (act_id, acted_at, act, actor, subject, reason)
    VALUES (gen_random_uuid(), clock_timestamp(), 'freeze_account', p_actor,
            format('%s/%s/%s/%s debits=%s credits=%s', p_book, p_kind, p_owner, p_currency, p_debits, p_credits),
            p_reason);
    RETURN true;
END
$function$
