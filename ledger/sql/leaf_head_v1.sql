-- The bytes of a leaf up to its counts; see ledger/chain.py. No settings, so that it is inlined wherever leaves are hashed.
CREATE FUNCTION ledger.leaf_head_v1(
    book_id bigint, sequence bigint, recorded_at timestamptz, block_number bigint, key uuid, effective_on date, kind smallint,
    caller text, metadata bytea
) RETURNS bytea
LANGUAGE sql STABLE
AS $function$
    SELECT ('\x0001'::bytea || int8send(book_id)) || int8send(sequence) || (timestamptz_send(recorded_at)
        || int8send(block_number)) || (uuid_send(key) || date_send(effective_on) || int2send(kind))
        || (int4send(octet_length(caller)) || convert_to(caller, 'UTF8')) || (int4send(octet_length(metadata)) || metadata)
$function$
