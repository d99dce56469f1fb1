-- Whether an entry of an archived month has this content, in the form of given_contents_v1; NULL or false: it has not.
CREATE FUNCTION ledger.is_archived_v1(p_book bigint, p_sequence bigint, p_content text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT substr(c.hashes, 16 * (p_sequence - c.first_sequence)::integer + 1, 16)
           = substr(sha256(convert_to(p_content, 'UTF8')), 1, 16)
    FROM ledger.archived_contents AS c
    WHERE c.book_id = p_book AND c.first_sequence <= p_sequence ORDER BY c.first_sequence DESC LIMIT 1
$function$
