-- Writes the next version of an account's metadata; earlier ones stay. Gives its number, 0 = no such account.
-- The book's lock makes versions follow each other.
CREATE FUNCTION ledger.write_metadata_v1(
    p_book bigint, p_kind smallint, p_owner text, p_currency text, p_metadata bytea, p_actor text
) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    account bigint;
    next_version integer;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'metadata is written in READ COMMITTED only' USING ERRCODE = 'QK002';
    END IF;
    PERFORM 1 FROM ledger.books AS b WHERE b.book_id = p_book FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no book %', p_book USING ERRCODE = 'QK001';
    END IF;
    SELECT a.account_id INTO account FROM ledger.accounts AS a
    WHERE a.book_id = p_book AND a.kind = p_kind AND a.owner = p_owner AND a.currency = p_currency;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    SELECT coalesce(max(m.version), 0) + 1 INTO next_version FROM ledger.account_metadata AS m
    WHERE m.book_id = p_book AND m.account_id = account;
    INSERT INTO ledger.account_metadata (book_id, account_id, version, metadata, written_at, actor)
    VALUES (p_book, account, next_version, p_metadata, clock_timestamp(), p_actor);
    RETURN next_version;
END
$function$
