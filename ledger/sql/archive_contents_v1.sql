-- Keeps what a repetition is compared with when its original is away: for the entries p_first … p_last the hash of the
-- content, and of balancing postings what they moved. For the owner only, before archive_month_v1. The ranges of a month
-- follow each other from its first entry, all but the last of 12,000 entries; what was kept before stays.
-- 120 a row: four rows fill a page.
CREATE FUNCTION ledger.archive_contents_v1(p_book bigint, p_first bigint, p_last bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    keys constant uuid[] := ARRAY(
        SELECT e.key FROM ledger.entries AS e WHERE e.book_id = p_book AND e.sequence BETWEEN p_first AND p_last);
BEGIN
    INSERT INTO ledger.archived_contents (book_id, first_sequence, hashes)
    SELECT p_book, min(q.sequence),
           string_agg(substr(sha256(convert_to(s.content, 'UTF8')), 1, 16), ''::bytea ORDER BY q.sequence)
    FROM ledger.stored_contents_v1(p_book, keys) AS s
    JOIN ledger.idempotency_keys AS q ON q.book_id = p_book AND q.key = s.key
    GROUP BY (q.sequence - p_first) / 120
    ON CONFLICT (book_id, first_sequence) DO NOTHING;
    INSERT INTO ledger.archived_amounts (book_id, sequence, line, amount_minor)
    SELECT p_book, p.sequence, p.line, p.amount_minor FROM ledger.postings AS p
    WHERE p.book_id = p_book AND p.sequence BETWEEN p_first AND p_last AND p.up_to_minor IS NOT NULL
    ON CONFLICT (book_id, sequence, line) DO NOTHING;
END
$function$
