-- block = SHA-256(previous ‖ header ‖ SHA-256(concatenated leaves)); see ledger/chain.py for the bytes.
CREATE FUNCTION ledger.block_hash_v1(
    previous bytea, layout_version smallint, book_id bigint, incarnation integer, block_number bigint,
    first_sequence bigint, last_sequence bigint, recorded_at timestamptz, leaves bytea
) RETURNS bytea
LANGUAGE sql STABLE
AS $function$
    SELECT sha256(previous || record_send(ROW(
        layout_version, book_id, incarnation, block_number, first_sequence, last_sequence, recorded_at)) || leaves)
$function$
