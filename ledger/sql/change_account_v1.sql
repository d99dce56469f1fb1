-- Changes what an account may do, on the record: its limits, its frozen sides, closed or open.
--
-- Under the book's lock, so no entry is decided by what stood before once this is committed.
-- `p_act`: limit_account (p_floor, p_ceiling: as they are after it, NULL = none), freeze_account (p_debits, p_credits:
-- likewise), close_account, reopen_account. Result: 0 = done, else a number of AccountRefusal in accounts.py, and
-- nothing was changed or recorded.
CREATE FUNCTION ledger.change_account_v1(
    p_book bigint, p_kind smallint, p_owner text, p_currency text, p_act text, p_floor bigint, p_ceiling bigint,
    p_debits boolean, p_credits boolean, p_actor text, p_reason text
) RETURNS smallint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    account ledger.accounts;
    said text;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'accounts are changed in READ COMMITTED only' USING ERRCODE = 'QK002';
    END IF;
    PERFORM 1 FROM ledger.books AS b WHERE b.book_id = p_book FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no book %', p_book USING ERRCODE = 'QK001';
    END IF;
    SELECT a.* INTO account FROM ledger.accounts AS a
    WHERE a.book_id = p_book AND a.kind = p_kind AND a.owner = p_owner AND a.currency = p_currency;
    IF NOT FOUND THEN
        RETURN 1;
    END IF;
    CASE p_act
        WHEN 'limit_account' THEN
            IF p_floor > p_ceiling THEN
                RETURN 4;
            END IF;
            account.floor_minor := p_floor;
            account.ceiling_minor := p_ceiling;
            said := format('floor=%s ceiling=%s', coalesce(p_floor::text, 'none'), coalesce(p_ceiling::text, 'none'));
        WHEN 'freeze_account' THEN
            account.debits_frozen := p_debits;
            account.credits_frozen := p_credits;
            said := format('debits=%s credits=%s', p_debits, p_credits);
        WHEN 'close_account' THEN
            IF account.debits_posted <> account.credits_posted THEN
                RETURN 2;
            ELSIF account.debits_held <> 0 OR account.credits_held <> 0 THEN
                RETURN 3;
            END IF;
            account.closed := true;
            said := format('at=%s', account.last_sequence);
        WHEN 'reopen_account' THEN
            account.closed := false;
            said := format('at=%s', account.last_sequence);
        ELSE
            RAISE EXCEPTION 'no such act: %', p_act USING ERRCODE = 'QK003';
    END CASE;
    UPDATE ledger.accounts AS a
    SET floor_minor = account.floor_minor, ceiling_minor = account.ceiling_minor,
        debits_frozen = account.debits_frozen, credits_frozen = account.credits_frozen, closed = account.closed
    WHERE a.book_id = p_book AND a.account_id = account.account_id;
    INSERT INTO ledger.ledger_acts (act_id, acted_at, act, actor, subject, reason)
    VALUES (gen_random_uuid(), clock_timestamp(), p_act, p_actor,
            format('%s/%s/%s/%s %s', p_book, p_kind, p_owner, p_currency, said), p_reason);
    RETURN 0;
END
$function$
