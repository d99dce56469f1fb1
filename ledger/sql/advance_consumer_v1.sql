-- Moves a consumer's cursor forward, by the holder of its lease only, from where it is and never past the head.
CREATE FUNCTION ledger.advance_consumer_v1(
    p_book bigint, p_name text, p_holder uuid, p_after bigint, p_through bigint
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    UPDATE ledger.feed_consumers AS c SET sequence = p_through
    WHERE c.book_id = p_book AND c.name = p_name AND c.holder = p_holder AND c.sequence = p_after
        AND p_through > p_after AND p_through <= (
            SELECT b.last_sequence FROM ledger.blocks AS b WHERE b.book_id = p_book ORDER BY b.recorded_at DESC LIMIT 1);
    RETURN FOUND;
END
$function$
