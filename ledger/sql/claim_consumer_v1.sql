-- Gives a consumer's cursor to one holder for some seconds; registers the consumer at `p_start` on first sight.
-- NULL where another holder has the lease. The same holder renews.
CREATE FUNCTION ledger.claim_consumer_v1(
    p_book bigint, p_name text, p_holder uuid, p_seconds integer, p_start bigint
) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    cursor_at bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM ledger.books AS b WHERE b.book_id = p_book) THEN
        RAISE EXCEPTION 'no book %', p_book USING ERRCODE = 'QK001';
    END IF;
    INSERT INTO ledger.feed_consumers (book_id, name, sequence) VALUES (p_book, p_name, p_start)
    ON CONFLICT (book_id, name) DO NOTHING;
    UPDATE ledger.feed_consumers AS c
    SET holder = p_holder, leased_until = clock_timestamp() + make_interval(secs => p_seconds)
    WHERE c.book_id = p_book AND c.name = p_name
        AND (c.holder = p_holder OR c.leased_until IS NULL OR c.leased_until < clock_timestamp())
    RETURNING c.sequence INTO cursor_at;
    RETURN cursor_at;
END
$function$
