-- A reference in the leaf of its entry; see ledger/chain.py.
CREATE FUNCTION ledger.leaf_name_v1(scheme text, value text) RETURNS bytea
LANGUAGE sql STABLE
AS $function$
    SELECT int4send(octet_length(scheme)) || convert_to(scheme, 'UTF8')
        || int4send(octet_length(value)) || convert_to(value, 'UTF8')
$function$
