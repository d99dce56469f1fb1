-- Records a published checkpoint. The same one again: nothing. It must follow a recorded one and end at a block of ours;
-- root and signature are proved by `verify`, against what was published.
CREATE FUNCTION ledger.record_checkpoint_v1(
    p_book bigint, p_incarnation integer, p_number bigint, p_first_block bigint, p_last_block bigint,
    p_last_sequence bigint, p_recorded_at timestamptz, p_head_hash bytea, p_merkle_root bytea,
    p_previous_checkpoint bytea, p_hash bytea, p_signature bytea
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF NOT EXISTS (
        SELECT FROM ledger.blocks AS b
        WHERE b.book_id = p_book AND b.recorded_at = p_recorded_at AND b.block_number = p_last_block
            AND b.incarnation = p_incarnation AND b.last_sequence = p_last_sequence AND b.hash = p_head_hash
    ) THEN
        RAISE EXCEPTION 'checkpoint %/% of book % ends at no block of ours', p_incarnation, p_number, p_book
            USING ERRCODE = 'QK003';
    END IF;
    IF NOT (p_number = 1 AND p_first_block = 0 AND p_previous_checkpoint = decode(repeat('00', 32), 'hex'))
        AND NOT EXISTS (
            SELECT FROM ledger.checkpoints AS c
            WHERE c.book_id = p_book AND c.checkpoint_number = p_number - 1 AND c.last_block = p_first_block - 1
                AND c.incarnation <= p_incarnation AND c.hash = p_previous_checkpoint)
    THEN
        RAISE EXCEPTION 'checkpoint %/% of book % follows none that is recorded', p_incarnation, p_number, p_book
            USING ERRCODE = 'QK003';
    END IF;
    INSERT INTO ledger.checkpoints (book_id, incarnation, checkpoint_number, first_block, last_block, last_sequence,
                                    recorded_at, head_hash, merkle_root, previous_checkpoint, hash, signature, made_at)
    VALUES (p_book, p_incarnation, p_number, p_first_block, p_last_block, p_last_sequence, p_recorded_at, p_head_hash,
            p_merkle_root, p_previous_checkpoint, p_hash, p_signature, clock_timestamp())
    ON CONFLICT (book_id, incarnation, checkpoint_number) DO NOTHING;
    IF FOUND THEN
        RETURN true;
    END IF;
    IF NOT EXISTS (
        SELECT FROM ledger.checkpoints AS c
        WHERE c.book_id = p_book AND c.incarnation = p_incarnation AND c.checkpoint_number = p_number
            AND c.hash = p_hash
    ) THEN
        RAISE EXCEPTION 'checkpoint %/% of book % is recorded with other contents', p_incarnation, p_number, p_book
            USING ERRCODE = 'QK003';
    END IF;
    RETURN false;
END
$function$
