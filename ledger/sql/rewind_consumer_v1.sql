-- Takes a consumer back to an earlier entry, on the record, and takes the lease from whoever has it.
CREATE FUNCTION ledger.rewind_consumer_v1(p_book bigint, p_name text, p_to bigint, p_actor text, p_reason text)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    was bigint;
BEGIN
    SELECT c.sequence INTO was FROM ledger.feed_consumers AS c
    WHERE c.book_id = p_book AND c.name = p_name FOR UPDATE;
    IF was IS NULL OR p_to >= was OR p_to < 0 THEN
        RETURN false;
    END IF;
    UPDATE ledger.feed_consumers AS c SET sequence = p_to, holder = NULL, leased_until = NULL
    WHERE c.book_id = p_book AND c.name = p_name;
    INSERT INTO ledger.ledger_acts (act_id, acted_at, act, actor, subject, reason)
    VALUES (gen_random_uuid(), clock_timestamp(), 'rewind_consumer', p_actor,
            format('%s/%s from %s to %s', p_book, p_name, was, p_to), p_reason);
    RETURN true;
END
$function$
