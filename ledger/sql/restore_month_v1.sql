-- Takes the newest archived month back into the books, from its tables in the schema ledger_archive. For the owner only.
CREATE FUNCTION ledger.restore_month_v1(p_month date, p_actor text, p_reason text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    first_day constant date := date_trunc('month', p_month::timestamp)::date;
    starts_at constant timestamptz := first_day::timestamp AT TIME ZONE 'UTC';
    ends_at constant timestamptz := (first_day + interval '1 month') AT TIME ZONE 'UTC';
    suffix constant text := to_char(first_day, 'YYYY_MM');
    parent text;
    partition text;
BEGIN
    IF to_regclass('ledger_archive.entries_' || suffix) IS NULL OR EXISTS (
        SELECT FROM ledger.archives AS a
        WHERE a.month > first_day AND to_regclass('ledger.entries_' || to_char(a.month, 'YYYY_MM')) IS NULL)
    THEN
        RAISE EXCEPTION 'month % is not the newest that is archived, or its tables are not there', suffix
            USING ERRCODE = 'QK007';
    END IF;
    PERFORM set_config('quickkub.ledger_change', 'restore_month_v1', true);
    FOREACH parent IN ARRAY ARRAY['entries', 'postings', 'blocks'] LOOP
        partition := parent || '_' || suffix;
        IF parent = 'blocks' THEN  -- the last: who posts waits from here on
            EXECUTE format('DROP TABLE ledger.%I', partition);
        END IF;
        EXECUTE format('DROP TRIGGER IF EXISTS append_only ON ledger_archive.%I', partition);
        EXECUTE format('ALTER TABLE ledger_archive.%I SET SCHEMA ledger', partition);
        EXECUTE format('ALTER TABLE ledger.%I ATTACH PARTITION ledger.%I FOR VALUES FROM (%L) TO (%L)',
                       parent, partition, starts_at, ends_at);
        IF NOT EXISTS (SELECT FROM pg_trigger AS g WHERE g.tgrelid = ('ledger.' || partition)::regclass
                       AND g.tgname = 'append_only_truncate') THEN  -- a table that was loaded from an export
            PERFORM ledger.guard_truncate_v1(partition);
        END IF;
    END LOOP;
    INSERT INTO ledger.ledger_acts (act_id, acted_at, act, actor, subject, reason)
    VALUES (gen_random_uuid(), clock_timestamp(), 'restore_month', p_actor, to_char(first_day, 'YYYY-MM'), p_reason);
END
$function$
