-- Defines, closes and reopens the accounting periods of a book, on the record. They follow each other without a gap:
-- first the closed ones, then at most one that is closing, then the open ones.
--
-- Under the book's lock: no entry slips in between the decision and `closed_at_sequence`.
-- `p_act`: define_period, begin_closing, close_period, reopen_period. `p_starts_on` is for define_period only.
-- Result: 0 = done, else a number of PeriodRefusal in periods.py, and nothing was changed or recorded.
CREATE FUNCTION ledger.change_period_v1(
    p_book bigint, p_act text, p_starts_on date, p_ends_on date, p_actor text, p_reason text
) RETURNS smallint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    acted_at timestamptz;
    period ledger.periods;
    first_unclosed date;
    last_not_open date;
    last_day date;
    head bigint;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'periods are changed in READ COMMITTED only' USING ERRCODE = 'QK002';
    END IF;
    PERFORM 1 FROM ledger.books AS b WHERE b.book_id = p_book FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no book %', p_book USING ERRCODE = 'QK001';
    END IF;
    acted_at := clock_timestamp();
    SELECT b.last_sequence INTO STRICT head FROM ledger.blocks AS b
    WHERE b.book_id = p_book ORDER BY b.recorded_at DESC LIMIT 1;
    SELECT max(p.ends_on), min(p.ends_on) FILTER (WHERE p.state <> 'closed'),
           max(p.ends_on) FILTER (WHERE p.state <> 'open')
    INTO last_day, first_unclosed, last_not_open
    FROM ledger.periods AS p WHERE p.book_id = p_book;
    IF p_act = 'define_period' THEN
        IF p_starts_on > p_ends_on THEN
            RETURN 2;
        ELSIF p_starts_on <> last_day + 1 THEN
            RETURN 3;
        END IF;
        INSERT INTO ledger.periods (book_id, starts_on, ends_on, state, changed_at)
        VALUES (p_book, p_starts_on, p_ends_on, 'open', acted_at);
        period.starts_on := p_starts_on;
    ELSE
        SELECT p.* INTO period FROM ledger.periods AS p WHERE p.book_id = p_book AND p.ends_on = p_ends_on;
        IF NOT FOUND THEN
            RETURN 1;
        END IF;
        CASE p_act
            WHEN 'begin_closing' THEN
                IF period.state = 'closed' THEN
                    RETURN 5;
                ELSIF first_unclosed IS DISTINCT FROM p_ends_on THEN
                    RETURN 4;
                ELSIF period.state <> 'open' THEN
                    RETURN 5;
                END IF;
                period.state := 'closing';
            WHEN 'close_period' THEN
                IF period.state = 'closed' THEN
                    RETURN 6;
                ELSIF first_unclosed IS DISTINCT FROM p_ends_on THEN
                    RETURN 4;
                ELSIF period.state <> 'closing' THEN
                    RETURN 6;
                END IF;
                period.state := 'closed';
                period.closed_at_sequence := head;
            WHEN 'reopen_period' THEN
                IF last_not_open IS DISTINCT FROM p_ends_on THEN
                    RETURN 7;
                END IF;
                period.state := 'open';
                period.closed_at_sequence := NULL;
            ELSE
                RAISE EXCEPTION 'no such act: %', p_act USING ERRCODE = 'QK003';
        END CASE;
        UPDATE ledger.periods AS p
        SET state = period.state, closed_at_sequence = period.closed_at_sequence, changed_at = acted_at
        WHERE p.book_id = p_book AND p.ends_on = p_ends_on;
    END IF;
    INSERT INTO ledger.ledger_acts (act_id, acted_at, act, actor, subject, reason)
    VALUES (gen_random_uuid(), acted_at, p_act, p_actor,
            format('%s/%s..%s at=%s', p_book, period.starts_on, p_ends_on, head), p_reason);
    RETURN 0;
END
$function$
