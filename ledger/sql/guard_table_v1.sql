-- Refuses changes of a ledger table, for the owner and under session_replication_role = replica too. `p_events` names
-- them. Where some columns may change the trigger is an AFTER one: a BEFORE trigger makes every update lock its row first,
-- with a WAL record of its own, even when no column that it watches changes.
CREATE FUNCTION ledger.guard_table_v1(p_table text, p_events text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    EXECUTE format('CREATE TRIGGER append_only %s %s ON ledger.%I FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change_v1()',
                   CASE WHEN p_events LIKE '% OF %' THEN 'AFTER' ELSE 'BEFORE' END, p_events, p_table);
    EXECUTE format('ALTER TABLE ledger.%I ENABLE ALWAYS TRIGGER append_only', p_table);
    PERFORM ledger.guard_truncate_v1(p_table);
END
$function$
