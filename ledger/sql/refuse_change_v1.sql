-- The trigger of every append-only table.
CREATE FUNCTION ledger.refuse_change_v1() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RAISE EXCEPTION '% of ledger.% is refused: the books are append-only', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'QK005';
END
$function$
