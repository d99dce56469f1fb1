-- Makes the partitions of entries, postings and blocks for the month of a date (UTC) and guards them.
-- One of the ways past the append-only guards; each use is in ledger_acts. A month that is there: nothing.
CREATE FUNCTION ledger.create_month_v1(p_month date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    first_day constant date := date_trunc('month', p_month::timestamp)::date;
    starts_at constant timestamptz := first_day::timestamp AT TIME ZONE 'UTC';
    ends_at constant timestamptz := (first_day + interval '1 month') AT TIME ZONE 'UTC';
    parent text;
    partition text;
BEGIN
    IF first_day NOT BETWEEN current_date - interval '3 months' AND current_date + interval '24 months' THEN
        RAISE EXCEPTION 'month % is not near', first_day USING ERRCODE = 'QK003';
    END IF;
    PERFORM set_config('quickkub.ledger_change', 'create_month_v1', true);
    LOCK TABLE ledger.ledger_acts IN SHARE ROW EXCLUSIVE MODE;
    IF to_regclass(format('ledger.%I', 'entries_' || to_char(first_day, 'YYYY_MM'))) IS NOT NULL THEN
        RETURN false;
    END IF;
    FOREACH parent IN ARRAY ARRAY['entries', 'postings', 'blocks'] LOOP
        partition := parent || '_' || to_char(first_day, 'YYYY_MM');
        -- Attached, not made as a partition: that would lock everybody out of the parent, and deadlock with a call that
        -- has read the newest block and now wants to insert.
        -- Rows never change: the vacuum that their insertion starts freezes them, so that no later one reads them for
        -- it; and the planner hears early of a month that fills.
        EXECUTE format('CREATE TABLE ledger.%I (LIKE ledger.%I INCLUDING ALL) WITH ('
                       'autovacuum_vacuum_insert_threshold = 200000, autovacuum_vacuum_insert_scale_factor = 0, '
                       'autovacuum_freeze_min_age = 0, autovacuum_analyze_threshold = 50000, '
                       'autovacuum_analyze_scale_factor = 0.02)',
                       partition, parent);
        IF parent = 'entries' THEN
            EXECUTE format('ALTER TABLE ledger.%I ADD PRIMARY KEY (book_id, sequence) WITH (fillfactor = 100)', partition);
        ELSIF parent = 'postings' THEN
            -- As of accounts (schema/20_books.sql).
            EXECUTE format('ALTER TABLE ledger.%I ALTER COLUMN book_id SET (n_distinct = 50)', partition);
        END IF;
        EXECUTE format('ALTER TABLE ledger.%I ATTACH PARTITION ledger.%I FOR VALUES FROM (%L) TO (%L)',
                       parent, partition, starts_at, ends_at);
        -- Row triggers are cloned from the parent; TRUNCATE triggers are not.
        PERFORM ledger.guard_truncate_v1(partition);
    END LOOP;
    INSERT INTO ledger.ledger_acts (act_id, acted_at, act, actor, subject, reason)
    VALUES (gen_random_uuid(), clock_timestamp(), 'create_month', session_user, to_char(first_day, 'YYYY-MM'),
            'months are made ahead of the clock');
    RETURN true;
END
$function$
