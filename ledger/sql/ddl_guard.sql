-- Run once in each database by a superuser (`quickkub database fence`); the owner cannot make event triggers.
-- Refuses DDL on the ledger unless the session says what for: SET LOCAL quickkub.ledger_change = 'migration 0009'.
-- A guard rail and a record, not a barrier: what it lets pass it writes to ledger_acts. Citus' own sessions pass.
-- The function stands in a schema of the superuser's: whoever owns the schema that it stands in can drop it with CASCADE,
-- and the triggers that would have refused that go with it.
-- statement
CREATE SCHEMA IF NOT EXISTS ledger_fence
-- statement
CREATE OR REPLACE FUNCTION ledger_fence.guard_ddl_v1() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    reason constant text := coalesce(current_setting('quickkub.ledger_change', true), '');
    touched text;
BEGIN
    IF current_setting('application_name') ~ '^citus_(internal|rebalancer)' THEN
        RETURN;
    END IF;
    IF TG_EVENT = 'sql_drop' THEN
        SELECT string_agg(DISTINCT o.object_identity, ', ') INTO touched FROM pg_event_trigger_dropped_objects() AS o
        WHERE o.schema_name = 'ledger' OR o.object_identity = 'ledger' OR o.address_names[1] = 'ledger';
    ELSIF TG_TAG IN ('GRANT', 'REVOKE') THEN  -- which objects is not told: look at what has come of it
        SELECT string_agg(DISTINCT 'ledger.' || t.relname, ', ') INTO touched
        FROM pg_class AS t, aclexplode(t.relacl) AS a
        WHERE t.relnamespace = 'ledger'::regnamespace AND a.grantee <> t.relowner
            AND a.privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE');
    ELSE
        SELECT string_agg(DISTINCT o.object_identity, ', ') INTO touched FROM pg_event_trigger_ddl_commands() AS o
        WHERE o.schema_name = 'ledger' OR o.object_identity = 'ledger' OR o.object_identity LIKE '% on ledger.%';
    END IF;
    IF touched IS NULL THEN
        RETURN;
    END IF;
    IF reason = '' THEN
        RAISE EXCEPTION '% on % is refused: the books are append-only', TG_TAG, touched USING ERRCODE = 'QK005',
            HINT = 'SET LOCAL quickkub.ledger_change to the reason; it goes on the record';
    END IF;
    IF reason <> 'create_month_v1' THEN
        INSERT INTO ledger.ledger_acts (act_id, acted_at, act, actor, subject, reason)
        VALUES (gen_random_uuid(), clock_timestamp(), lower(TG_TAG), session_user, touched, reason);
    END IF;
END
$function$
-- statement
REVOKE ALL ON FUNCTION ledger_fence.guard_ddl_v1() FROM PUBLIC
-- statement
DROP EVENT TRIGGER IF EXISTS ledger_ddl_guard
-- statement
DROP EVENT TRIGGER IF EXISTS ledger_drop_guard
-- statement
CREATE EVENT TRIGGER ledger_ddl_guard ON ddl_command_end EXECUTE FUNCTION ledger_fence.guard_ddl_v1()
-- statement
CREATE EVENT TRIGGER ledger_drop_guard ON sql_drop EXECUTE FUNCTION ledger_fence.guard_ddl_v1()
-- statement
ALTER EVENT TRIGGER ledger_ddl_guard ENABLE ALWAYS
-- statement
ALTER EVENT TRIGGER ledger_drop_guard ENABLE ALWAYS
