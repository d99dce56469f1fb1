-- The commonest call: one entry that is one amount between two accounts which the caller knows by number.
--
-- It writes what post_entries_v1 would write, when nothing about the entry asks for a rule: accounts that are open, of one
-- currency, moved on no later or earlier date, and within their limits afterwards; a key that is new; no period that closes.
-- All of that is one question, so a call is half of the work. Whatever it does not cover, every refusal included, is
-- post_entries_v1's to decide: no rule stands here.
--
-- How plans are kept from resting on statistics: see post_entries_v1.
CREATE FUNCTION ledger.post_transfer_v1(
    p_book bigint, p_key uuid, p_kind smallint, p_effective_on date, p_caller text, p_metadata bytea,
    p_amount_minor bigint, p_currency text, p_debit bigint, p_credit bigint, p_debit_fingerprint bigint,
    p_credit_fingerprint bigint
) RETURNS ledger.answer_v1
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off
AS $function$
DECLARE
    SMALL constant bigint := 2305843009213693951;  -- a quarter of bigint: two totals and an amount of this cannot pass its end
    since timestamptz := clock_timestamp() - interval '31 days';
    posted_at timestamptz; head_block bigint; head_sequence bigint; head_incarnation integer; head_hash bytea;
    debit_row tid; credit_row tid; debit_balance bigint; credit_balance bigint;
    moved integer;
    setting text;
BEGIN
    IF current_setting('transaction_isolation') = 'read committed' THEN
        PERFORM 1 FROM ledger.books AS b WHERE b.book_id = p_book FOR NO KEY UPDATE;
        SELECT b.block_number, b.last_sequence, b.incarnation, b.hash,
               greatest(clock_timestamp(), b.recorded_at + interval '1 microsecond'), d.row_at, c.row_at,
               (d.debits_posted - d.credits_posted + p_amount_minor) * d.sign,
               (c.debits_posted - c.credits_posted - p_amount_minor) * c.sign
        INTO head_block, head_sequence, head_incarnation, head_hash, posted_at, debit_row, credit_row, debit_balance,
             credit_balance
        FROM (
            SELECT r.* FROM ledger.blocks AS r
            WHERE r.book_id = p_book AND r.recorded_at >= since ORDER BY r.recorded_at DESC LIMIT 1
        ) AS b
        CROSS JOIN LATERAL (
            SELECT r.ctid AS row_at, r.* FROM ledger.accounts AS r
            WHERE r.book_id = p_book AND r.account_id BETWEEN p_debit AND p_debit ORDER BY r.account_id LIMIT 1
        ) AS d
        CROSS JOIN LATERAL (
            SELECT r.ctid AS row_at, r.* FROM ledger.accounts AS r
            WHERE r.book_id = p_book AND r.account_id BETWEEN p_credit AND p_credit ORDER BY r.account_id LIMIT 1
        ) AS c
        WHERE p_amount_minor BETWEEN 1 AND SMALL AND p_debit <> p_credit AND isfinite(p_effective_on)
            AND p_kind <> ALL ('{700,701,702,703,901}')
            AND d.fingerprint = p_debit_fingerprint AND c.fingerprint = p_credit_fingerprint
            AND d.currency = p_currency AND c.currency = p_currency AND d.kind <> 30 AND c.kind <> 30
            AND NOT (d.debits_frozen OR d.credits_frozen OR d.closed OR c.debits_frozen OR c.credits_frozen OR c.closed)
            AND d.effective_on IN (p_effective_on, '-infinity') AND c.effective_on IN (p_effective_on, '-infinity')
            -- A CASE, since conditions are asked in any order and a sum that passes bigint is an error.
            AND CASE WHEN greatest(d.debits_posted, d.credits_posted, p_amount_minor) <= SMALL
                THEN (d.debits_posted - d.credits_posted + p_amount_minor
                      > CASE WHEN d.sign < 0 THEN -d.floor_minor ELSE d.ceiling_minor END - d.debits_held) IS NOT TRUE END
            AND CASE WHEN greatest(c.debits_posted, c.credits_posted, p_amount_minor) <= SMALL
                THEN (c.debits_posted - c.credits_posted - p_amount_minor
                      < CASE WHEN c.sign < 0 THEN -c.ceiling_minor ELSE c.floor_minor END + c.credits_held) IS NOT TRUE END
            AND (SELECT k.kind FROM ledger.entry_kinds AS k WHERE k.kind = p_kind) IS NOT NULL
            AND (SELECT p.ends_on FROM ledger.periods AS p
                 WHERE p.book_id = p_book AND p.state <> 'open' AND p.ends_on >= p_effective_on
                 ORDER BY p.ends_on DESC LIMIT 1) IS NULL
            AND (SELECT q.sequence FROM ledger.idempotency_keys AS q
                 WHERE q.book_id = p_book AND q.key = p_key LIMIT 1) IS NULL;
    END IF;
    IF head_block IS NULL THEN
        RETURN ledger.post_entries_v1(
            p_book, ARRAY[p_key], ARRAY[p_kind], ARRAY[p_effective_on], ARRAY[p_caller], ARRAY[p_metadata],
            ARRAY[1], ARRAY[1], ARRAY[2], ARRAY[p_amount_minor], NULL, p_currency, ARRAY[p_debit, p_credit],
            ARRAY[p_debit_fingerprint, p_credit_fingerprint], NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
            NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
    END IF;

    UPDATE ledger.accounts AS a
    SET debits_posted = a.debits_posted + CASE WHEN a.account_id = p_debit THEN p_amount_minor ELSE 0 END,
        credits_posted = a.credits_posted + CASE WHEN a.account_id = p_credit THEN p_amount_minor ELSE 0 END,
        last_sequence = head_sequence + 1, effective_on = p_effective_on
    WHERE a.ctid = ANY (ARRAY[debit_row, credit_row]) AND a.book_id = p_book;
    GET DIAGNOSTICS moved = ROW_COUNT;
    IF moved <> 2 THEN
        RAISE EXCEPTION '2 accounts moved, % found', moved USING ERRCODE = 'QK004';
    END IF;
    INSERT INTO ledger.idempotency_keys (book_id, key, sequence, recorded_at)
    VALUES (p_book, p_key, head_sequence + 1, posted_at);
    INSERT INTO ledger.entries (book_id, sequence, recorded_at, block_number, key, effective_on, kind, caller, metadata)
    VALUES (p_book, head_sequence + 1, posted_at, head_block + 1, p_key, p_effective_on, p_kind, p_caller, p_metadata);
    INSERT INTO ledger.postings (book_id, sequence, recorded_at, debit_account, credit_account, amount_minor,
                                 debit_balance_after, credit_balance_after, line)
    VALUES (p_book, head_sequence + 1, posted_at, p_debit, p_credit, p_amount_minor, debit_balance, credit_balance, 1);
    INSERT INTO ledger.blocks (book_id, recorded_at, block_number, incarnation, layout_version, first_sequence,
                               last_sequence, previous_hash, hash)
    VALUES (p_book, posted_at, head_block + 1, head_incarnation, 1, head_sequence + 1, head_sequence + 1, head_hash,
            ledger.block_hash_v1(head_hash, 1::smallint, p_book, head_incarnation, head_block + 1, head_sequence + 1,
                                 head_sequence + 1, posted_at, sha256(sha256(
                ledger.leaf_head_v1(p_book, head_sequence + 1, posted_at, head_block + 1, p_key, p_effective_on, p_kind,
                                    p_caller, p_metadata)
                || '\x000000010000000000'::bytea
                || ledger.leaf_line_v1(1::smallint, p_debit, p_credit, p_amount_minor, debit_balance, credit_balance, NULL)))));
    -- What is acknowledged is durable, whatever a session or role was set to in order to be faster elsewhere.
    IF current_setting('synchronous_commit') = 'off' THEN
        setting := set_config('synchronous_commit', 'on', true);
    END IF;
    setting := set_config('transaction_read_only', 'on', true);
    RETURN (ARRAY[0::smallint], ARRAY[head_sequence + 1], posted_at, NULL, NULL, NULL, NULL)::ledger.answer_v1;
END
$function$
