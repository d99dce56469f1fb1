-- Raises the incarnation of a book that was restored from a backup, on the record: names the last checkpoint that was
-- published (NULLs: none) and what of it is lost, and appends a block without entries. Returns the new incarnation.
-- p_first_lost_block: the first block of published history that these books no longer have; it may lie below the head
-- where something was posted after the restore and before this act.
CREATE FUNCTION ledger.restored_v1(
    p_book bigint, p_published_incarnation integer, p_published_number bigint, p_published_hash bytea,
    p_first_lost_block bigint, p_first_lost_sequence bigint, p_last_lost_sequence bigint, p_actor text, p_reason text
) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    head ledger.blocks;
    new_incarnation integer;
    acted_at timestamptz;
BEGIN
    PERFORM 1 FROM ledger.books AS b WHERE b.book_id = p_book FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no book %', p_book USING ERRCODE = 'QK001';
    END IF;
    SELECT b.* INTO STRICT head FROM ledger.blocks AS b
    WHERE b.book_id = p_book ORDER BY b.recorded_at DESC LIMIT 1;
    IF num_nulls(p_published_incarnation, p_published_number, p_published_hash) NOT IN (0, 3)
        OR p_first_lost_block IS NULL OR p_first_lost_block NOT BETWEEN 0 AND head.block_number + 1
        OR p_first_lost_sequence IS NULL OR p_first_lost_sequence NOT BETWEEN 1 AND head.last_sequence + 1
        OR coalesce(p_reason, '') = '' OR coalesce(p_actor, '') = ''
    THEN
        RAISE EXCEPTION 'what was lost of book % is not said in full', p_book USING ERRCODE = 'QK003';
    END IF;
    -- The lost line may have had incarnations that these books no longer know of: one number never means two lines.
    new_incarnation := greatest(head.incarnation, p_published_incarnation) + 1;
    acted_at := greatest(clock_timestamp(), head.recorded_at + interval '1 microsecond');
    INSERT INTO ledger.restorations (book_id, incarnation, block_number, first_lost_block, first_lost_sequence,
                                     last_lost_sequence, published_incarnation, published_number, published_hash,
                                     restored_at, actor, reason)
    VALUES (p_book, new_incarnation, head.block_number + 1, p_first_lost_block, p_first_lost_sequence,
            p_last_lost_sequence, p_published_incarnation, p_published_number, p_published_hash, acted_at, p_actor,
            p_reason);
    INSERT INTO ledger.ledger_acts (act_id, acted_at, act, actor, subject, reason)
    VALUES (gen_random_uuid(), acted_at, 'restored', p_actor,
            format('book=%s incarnation=%s block=%s published=%s/%s:%s lost=%s..%s', p_book, new_incarnation,
                   head.block_number + 1, coalesce(p_published_incarnation, 0), coalesce(p_published_number, 0),
                   coalesce(encode(p_published_hash, 'hex'), 'none'), p_first_lost_sequence,
                   coalesce(p_last_lost_sequence::text, 'unknown')),
            p_reason);
    INSERT INTO ledger.blocks (book_id, recorded_at, block_number, incarnation, layout_version, first_sequence,
                               last_sequence, previous_hash, hash)
    VALUES (p_book, acted_at, head.block_number + 1, new_incarnation, head.layout_version, head.last_sequence + 1,
            head.last_sequence, head.hash,
            ledger.block_hash_v1(head.hash, head.layout_version, p_book, new_incarnation, head.block_number + 1,
                                 head.last_sequence + 1, head.last_sequence, acted_at, sha256(''::bytea)));
    RETURN new_incarnation;
END
$function$
