-- A posting in the leaf of its entry, where it reverses nothing and asks for no more than it moves; see ledger/chain.py.
CREATE FUNCTION ledger.leaf_line_v1(
    line smallint, debit_account bigint, credit_account bigint, amount_minor bigint, debit_balance_after bigint,
    credit_balance_after bigint, available_on date
) RETURNS bytea
LANGUAGE sql STABLE
AS $function$
    SELECT (int2send(line) || int8send(debit_account) || int8send(credit_account)) || (int8send(amount_minor)
        || int8send(debit_balance_after)) || (int8send(credit_balance_after)
        || CASE WHEN available_on IS NULL THEN '\x00'::bytea
           ELSE '\x01'::bytea || record_send(ROW(NULL::smallint, available_on, NULL::bigint)) END)
$function$
