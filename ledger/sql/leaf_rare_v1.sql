-- What a leaf says of columns that are rarely filled, of an entry that has no others of them; see ledger/chain.py.
CREATE FUNCTION ledger.leaf_rare_v1(booked_on date, drawable_minor bigint) RETURNS bytea
LANGUAGE sql STABLE
AS $function$
    SELECT CASE WHEN num_nonnulls(booked_on, drawable_minor) = 0 THEN '\x00'::bytea
           ELSE '\x01'::bytea || record_send(ROW(
               booked_on, NULL::timestamptz, NULL::bigint, NULL::bigint, NULL::bigint, drawable_minor, NULL::bigint,
               NULL::smallint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::timestamptz)) END
$function$
