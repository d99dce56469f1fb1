-- Takes a verified, closed month out of the books: records what they go on from, and detaches its three partitions into
-- the schema ledger_archive. Each book keeps the block that was its newest then, so a book at rest keeps its head.
-- One of the ways past the append-only guards, for the owner only; each use is in ledger_acts.
-- Refused (QK007) with a reason in words; nothing was changed then.
--
-- `p_book[i]` and its head hash, Merkle root over its block hashes: what the caller verified, for every book of the month.
CREATE FUNCTION ledger.archive_month_v1(
    p_month date, p_book bigint[], p_head_hash bytea[], p_merkle_root bytea[], p_manifest_hash bytea,
    p_actor text, p_reason text
) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    first_day constant date := date_trunc('month', p_month::timestamp)::date;
    next_month constant date := (first_day + interval '1 month')::date;
    month_starts constant timestamptz := first_day::timestamp AT TIME ZONE 'UTC';
    month_ends constant timestamptz := next_month::timestamp AT TIME ZONE 'UTC';
    suffix constant text := to_char(first_day, 'YYYY_MM');
    acted_at constant timestamptz := clock_timestamp();
    refusal text;
    parent text;
    partition text;
BEGIN
    SELECT r.reason INTO refusal FROM ledger.archive_refusals_v1(first_day, acted_at) AS r LIMIT 1;
    IF refusal IS NOT NULL THEN
        RAISE EXCEPTION '%', refusal USING ERRCODE = 'QK007';
    END IF;
    CREATE TEMPORARY TABLE archived ON COMMIT DROP AS
    SELECT b.book_id, min(b.first_sequence) AS first_sequence, max(b.last_sequence) AS last_sequence,
           min(b.block_number) AS first_block, max(b.block_number) AS last_block, max(b.recorded_at) AS ends_at,
           (SELECT count(*) FROM ledger.entries AS e
            WHERE e.book_id = b.book_id AND e.recorded_at >= month_starts AND e.recorded_at < month_ends) AS entry_count
    FROM ledger.blocks AS b WHERE b.recorded_at >= month_starts AND b.recorded_at < month_ends
    GROUP BY b.book_id;

    SELECT format('book %s was not verified, or changed since', a.book_id) INTO refusal
    FROM pg_temp.archived AS a
    JOIN ledger.blocks AS b ON b.book_id = a.book_id AND b.recorded_at = a.ends_at
    LEFT JOIN unnest(p_book, p_head_hash) AS u(book_id, head_hash) ON u.book_id = a.book_id
    LEFT JOIN LATERAL (
        SELECT sum(octet_length(c.hashes)) / 16 AS content_count FROM ledger.archived_contents AS c
        WHERE c.book_id = a.book_id AND c.first_sequence BETWEEN a.first_sequence AND a.last_sequence) AS c ON true
    WHERE u.head_hash IS DISTINCT FROM b.hash OR a.entry_count <> a.last_sequence - a.first_sequence + 1
        OR a.entry_count > 0 AND c.content_count IS DISTINCT FROM a.entry_count
    ORDER BY a.book_id LIMIT 1;
    IF refusal IS NOT NULL THEN
        RAISE EXCEPTION '%', refusal USING ERRCODE = 'QK007';
    END IF;

    PERFORM set_config('quickkub.ledger_change', 'archive_month_v1', true);
    INSERT INTO ledger.archives (book_id, month, first_sequence, last_sequence, first_block, last_block, ends_at,
                                 incarnation, head_hash, merkle_root, manifest_hash, contents_hash, last_day,
                                 last_occurred_at, archived_at)
    SELECT a.book_id, first_day, a.first_sequence, a.last_sequence, a.first_block, a.last_block, a.ends_at,
           b.incarnation, b.hash, u.merkle_root, p_manifest_hash,
           sha256(coalesce((
               SELECT string_agg(sha256(int8send(c.first_sequence) || c.hashes), ''::bytea ORDER BY c.first_sequence)
               FROM ledger.archived_contents AS c
               WHERE c.book_id = a.book_id AND c.first_sequence BETWEEN a.first_sequence AND a.last_sequence), '')
           || coalesce((
               SELECT string_agg(int8send(m.sequence) || int2send(m.line) || int8send(m.amount_minor), ''::bytea
                                 ORDER BY m.sequence, m.line)
               FROM ledger.archived_amounts AS m
               WHERE m.book_id = a.book_id AND m.sequence BETWEEN a.first_sequence AND a.last_sequence), '')),
           greatest(
               (SELECT max(o.last_day) FROM ledger.archives AS o WHERE o.book_id = a.book_id),
               (SELECT max(greatest(e.effective_on, e.booked_on)) FROM ledger.entries AS e
                WHERE e.book_id = a.book_id AND e.recorded_at >= month_starts AND e.recorded_at < month_ends),
               '-infinity'),
           greatest(
               (SELECT max(o.last_occurred_at) FROM ledger.archives AS o WHERE o.book_id = a.book_id),
               (SELECT max(e.occurred_at) FROM ledger.entries AS e
                WHERE e.book_id = a.book_id AND e.recorded_at >= month_starts AND e.recorded_at < month_ends)),
           acted_at
    FROM pg_temp.archived AS a
    JOIN ledger.blocks AS b ON b.book_id = a.book_id AND b.recorded_at = a.ends_at
    JOIN unnest(p_book, p_merkle_root) AS u(book_id, merkle_root) ON u.book_id = a.book_id
    ON CONFLICT (book_id, month) DO NOTHING;  -- a month that was restored meanwhile
    -- The balances before the month, plus the month.
    INSERT INTO ledger.archived_balances (book_id, month, account_id, debits_posted, credits_posted, debits_held,
                                          credits_held, last_sequence)
    SELECT x.book_id, first_day, x.account_id, sum(x.debits), sum(x.credits), sum(x.debits_held), sum(x.credits_held),
           max(x.last_sequence)
    FROM (
        SELECT o.book_id, o.account_id, o.debits_posted AS debits, o.credits_posted AS credits, o.debits_held,
               o.credits_held, o.last_sequence
        FROM pg_temp.archived AS a
        JOIN ledger.archived_balances AS o ON o.book_id = a.book_id AND o.month = (
            SELECT max(y.month) FROM ledger.archives AS y WHERE y.book_id = a.book_id AND y.month < first_day)
        UNION ALL
        SELECT p.book_id, v.account_id, v.debits, v.credits, 0, 0, p.sequence
        FROM ledger.postings AS p
        CROSS JOIN LATERAL (VALUES (p.debit_account, p.amount_minor, 0::bigint),
                                   (p.credit_account, 0::bigint, p.amount_minor)) AS v(account_id, debits, credits)
        WHERE p.recorded_at >= month_starts AND p.recorded_at < month_ends
        UNION ALL
        SELECT h.book_id, v.account_id, 0, 0, v.debits, v.credits, 0
        FROM ledger.entries AS e
        JOIN ledger.holds AS h ON h.book_id = e.book_id AND h.sequence = coalesce(e.hold, e.sequence)
        CROSS JOIN LATERAL (SELECT CASE WHEN e.hold IS NULL THEN h.amount_minor ELSE -h.amount_minor END) AS m(amount)
        CROSS JOIN LATERAL (VALUES (h.debit_account, m.amount, 0::bigint), (h.credit_account, 0::bigint, m.amount)
            ) AS v(account_id, debits, credits)
        WHERE e.recorded_at >= month_starts AND e.recorded_at < month_ends AND e.hold_action IS NOT NULL
    ) AS x
    GROUP BY x.book_id, x.account_id
    ON CONFLICT (book_id, month, account_id) DO NOTHING;
    INSERT INTO ledger.archived_draws (book_id, month, sequence, drawn_minor)
    SELECT x.book_id, first_day, x.sequence, sum(x.drawn_minor)
    FROM (
        SELECT o.book_id, o.sequence, o.drawn_minor
        FROM pg_temp.archived AS a
        JOIN ledger.archived_draws AS o ON o.book_id = a.book_id AND o.month = (
            SELECT max(y.month) FROM ledger.archives AS y WHERE y.book_id = a.book_id AND y.month < first_day)
        UNION ALL
        SELECT e.book_id, e.draws_on, e.drawn_minor FROM ledger.entries AS e
        WHERE e.recorded_at >= month_starts AND e.recorded_at < month_ends AND e.draws_on IS NOT NULL
    ) AS x
    GROUP BY x.book_id, x.sequence HAVING sum(x.drawn_minor) <> 0
    ON CONFLICT (book_id, month, sequence) DO NOTHING;
    INSERT INTO ledger.archived_pending (book_id, month, account_id, available_on, amount_minor)
    SELECT x.book_id, first_day, x.account_id, x.available_on, sum(x.amount_minor)
    FROM (
        SELECT o.book_id, o.account_id, o.available_on, o.amount_minor
        FROM pg_temp.archived AS a
        JOIN ledger.archived_pending AS o ON o.book_id = a.book_id AND o.month = (
            SELECT max(y.month) FROM ledger.archives AS y WHERE y.book_id = a.book_id AND y.month < first_day)
        UNION ALL
        SELECT p.book_id, v.account_id, p.available_on, v.amount_minor
        FROM ledger.postings AS p
        CROSS JOIN LATERAL (VALUES (p.debit_account, -p.amount_minor), (p.credit_account, p.amount_minor)
            ) AS v(account_id, amount_minor)
        JOIN ledger.accounts AS a ON a.book_id = p.book_id AND a.account_id = v.account_id AND a.kind = 30
        WHERE p.recorded_at >= month_starts AND p.recorded_at < month_ends AND p.available_on IS NOT NULL
    ) AS x
    GROUP BY x.book_id, x.account_id, x.available_on HAVING sum(x.amount_minor) <> 0
    ON CONFLICT (book_id, month, account_id, available_on) DO NOTHING;

    -- In the order in which a posting call meets them: it reads the newest block first, so none is caught between two.
    LOCK TABLE ONLY ledger.blocks IN ACCESS EXCLUSIVE MODE;
    FOREACH parent IN ARRAY ARRAY['entries', 'postings', 'blocks'] LOOP
        partition := parent || '_' || suffix;
        EXECUTE format('ALTER TABLE ledger.%I DETACH PARTITION ledger.%I', parent, partition);
        EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON ledger.%I '
                       'FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change_v1()', partition);
        EXECUTE format('ALTER TABLE ledger.%I ENABLE ALWAYS TRIGGER append_only', partition);
        EXECUTE format('REVOKE ALL ON ledger.%I FROM PUBLIC', partition);
        EXECUTE format('ALTER TABLE ledger.%I SET SCHEMA ledger_archive', partition);
    END LOOP;
    EXECUTE format('CREATE TABLE ledger.%I PARTITION OF ledger.blocks FOR VALUES FROM (%L) TO (%L)',
                   'blocks_' || suffix, month_starts, month_ends);
    PERFORM ledger.guard_truncate_v1('blocks_' || suffix);
    EXECUTE format('INSERT INTO ledger.blocks SELECT b.* FROM ledger_archive.%I AS b '
                   'JOIN ledger.archives AS a ON a.book_id = b.book_id AND a.month = %L AND a.ends_at = b.recorded_at',
                   'blocks_' || suffix, first_day);
    INSERT INTO ledger.ledger_acts (act_id, acted_at, act, actor, subject, reason)
    VALUES (gen_random_uuid(), acted_at, 'archive_month', p_actor, to_char(first_day, 'YYYY-MM'), p_reason);
    RETURN (SELECT count(*) FROM pg_temp.archived);
END
$function$
