-- Refuses TRUNCATE of a ledger table, for the owner and under session_replication_role = replica too.
CREATE FUNCTION ledger.guard_truncate_v1(p_table text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    EXECUTE format('CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON ledger.%I '
                   'FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change_v1()', p_table);
    EXECUTE format('ALTER TABLE ledger.%I ENABLE ALWAYS TRIGGER append_only_truncate', p_table);
END
$function$
