-- Opens a book with its genesis block, so that a newest block always exists. Same book, code and mode again: nothing.
CREATE FUNCTION ledger.open_book_v1(p_book bigint, p_code text, p_mode text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    opened_at constant timestamptz := clock_timestamp();
    zeros constant bytea := decode(repeat('00', 32), 'hex');
BEGIN
    INSERT INTO ledger.books (book_id, code, mode, created_at) VALUES (p_book, p_code, p_mode, opened_at)
    ON CONFLICT (book_id) DO NOTHING;
    IF NOT FOUND THEN
        IF NOT EXISTS (SELECT FROM ledger.books AS b WHERE b.book_id = p_book AND b.code = p_code AND b.mode = p_mode)
        THEN
            RAISE EXCEPTION 'book % is open under another code or mode', p_book USING ERRCODE = 'QK006';
        END IF;
        RETURN false;
    END IF;
    INSERT INTO ledger.blocks (book_id, recorded_at, block_number, incarnation, layout_version, first_sequence,
                               last_sequence, previous_hash, hash)
    VALUES (p_book, opened_at, 0, 1, 1, 1, 0, zeros,
            ledger.block_hash_v1(zeros, 1::smallint, p_book, 1, 0, 1, 0, opened_at, sha256(''::bytea)));
    RETURN true;
END
$function$
