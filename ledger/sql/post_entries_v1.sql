-- The only write path of the books: a list of entries for one book, in order, in one call.
--
-- Lock the book row → read what the entries touch → decide each entry in order → write what was accepted → one block.
-- The caller's transaction holds the book row until it ends, so order of sequence = order of commit.
--
-- Entries are parallel arrays. Accounts are listed once each; postings name them by position in that list.
-- Long ones are unnested side by side in a select list, which streams them; unnest(a, b, …) in FROM would first store
-- each array in a tuplestore of its own (some 5 % of the call).
-- `p_posting_count[i]` postings in a row belong to entry i. Optional arrays (draws, drawable, available_on) may be NULL.
-- Result: refusals[i] (0 = in the books, else a number of refusals.py), sequences[i], posted_at for what is new,
-- replayed_at[i] for what an earlier call had posted (NULL array: no replay),
-- breaches[i] (bit 1 a floor, bit 2 a freeze that a recording entry passed; NULL array: no breach).
CREATE FUNCTION ledger.post_entries_v1(
    p_book bigint,
    p_key uuid[], p_kind smallint[], p_effective_on date[], p_caller text[], p_metadata bytea[],
    p_original_key uuid[], p_drawn_minor bigint[], p_drawable_minor bigint[],
    p_account_kind smallint[], p_account_owner text[], p_account_currency text[],
    p_posting_count integer[], p_debit integer[], p_credit integer[], p_amount_minor bigint[], p_available_on date[],
    p_reference_entry integer[], p_reference_scheme text[], p_reference_value text[],
    OUT refusals smallint[], OUT sequences bigint[], OUT posted_at timestamptz,
    OUT replayed_at timestamptz[], OUT breaches smallint[]
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    MOST constant bigint := 9223372036854775807;
    ACCEPTED constant smallint := 99;  -- above every refusal, so least() keeps the first of the precedence order
    entry_count constant integer := cardinality(p_key);
    posting_count constant integer := cardinality(p_debit);
    account_count constant integer := cardinality(p_account_kind);
    has_draws constant boolean := p_original_key IS NOT NULL;
    head ledger.blocks;
    probing boolean := false;
    refused boolean;
    careful boolean;
    any_frozen boolean;
    -- accounts, by position
    account_ids bigint[]; rows_at tid[]; debits bigint[]; credits bigint[]; highest bigint[]; lowest bigint[]; signs bigint[];
    freezes smallint[]; pending boolean[];
    touched integer[]; touched_last bigint[]; touched_count integer; next_account bigint;
    -- entries, by position
    modes smallint[]; draws_on bigint[]; new_sequences bigint[];
    known_sequence bigint[]; known_at timestamptz[]; known_same boolean[]; key_number integer[]; contents text[];
    -- originals that entries of this call draw on
    original_sequences bigint[]; original_drawable bigint[]; original_drawn bigint[];
    draws_number integer[]; own_number integer[]; accepted_as integer[];
    -- postings, by position
    lines smallint[]; posting_sequences bigint[]; debit_after bigint[]; credit_after bigint[];
    sequence bigint; refusal smallint; i integer; j integer; k integer; d integer; c integer; amount bigint;
    first_posting integer; last_posting integer; applied integer;
    suspect boolean; below boolean; overflows boolean; frozen boolean;
    leaves bytea;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'entries are posted in READ COMMITTED only' USING ERRCODE = 'QK002',
            DETAIL = 'an older snapshot would not see what was posted while waiting for the book';
    END IF;
    IF cardinality(p_kind) <> entry_count OR cardinality(p_effective_on) <> entry_count
        OR cardinality(p_caller) <> entry_count OR cardinality(p_metadata) <> entry_count
        OR cardinality(p_posting_count) <> entry_count OR cardinality(p_credit) <> posting_count
        OR cardinality(p_amount_minor) <> posting_count
        OR (SELECT coalesce(sum(n), 0) <> posting_count OR coalesce(min(n), 0) < 0 FROM unnest(p_posting_count) AS n)
        OR EXISTS (SELECT FROM unnest(p_original_key, p_drawn_minor) AS u(original_key, drawn_minor)
                   WHERE (u.original_key IS NULL) <> (u.drawn_minor IS NULL))
    THEN
        RAISE EXCEPTION 'arrays do not belong together' USING ERRCODE = 'QK003';
    END IF;

    PERFORM 1 FROM ledger.books AS b WHERE b.book_id = p_book FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no book %', p_book USING ERRCODE = 'QK001';
    END IF;
    -- recorded_at rises strictly within a book, so the newest block comes first from an ordered append of partitions.
    SELECT b.* INTO STRICT head FROM ledger.blocks AS b
    WHERE b.book_id = p_book ORDER BY b.recorded_at DESC LIMIT 1;
    posted_at := greatest(clock_timestamp(), head.recorded_at + interval '1 microsecond');

    SELECT array_agg(CASE k.mode WHEN 'authorising' THEN 2 WHEN 'recording' THEN 1 ELSE 0 END::smallint ORDER BY u.n)
    INTO modes
    FROM unnest(p_kind) WITH ORDINALITY AS u(kind, n) LEFT JOIN ledger.entry_kinds AS k ON k.kind = u.kind;

    -- First pass: nobody has used these keys before. Only if that proves wrong, a second pass that knows them.
    FOR pass IN 1..2 LOOP
        SELECT array_agg(t.account_id), array_agg(t.row_at), array_agg(t.debits), array_agg(t.credits), array_agg(t.highest),
               array_agg(t.lowest), array_agg(t.sign), array_agg(t.freeze), array_agg(t.pending),
               coalesce(bool_or(t.freeze > 0), false)
        INTO account_ids, rows_at, debits, credits, highest, lowest, signs, freezes, pending, any_frozen
        FROM (
            SELECT a.account_id, a.ctid AS row_at, coalesce(a.debits_posted, 0) AS debits, coalesce(a.credits_posted, 0) AS credits,
                   CASE WHEN k.normal_side = 'C' THEN -f.floor_minor END AS highest,
                   CASE WHEN k.normal_side = 'D' THEN f.floor_minor END AS lowest,
                   CASE k.normal_side WHEN 'D' THEN 1 ELSE -1 END::bigint AS sign,
                   (coalesce(a.debits_frozen, false)::integer + 2 * coalesce(a.credits_frozen, false)::integer)::smallint
                       AS freeze,
                   u.kind = 30 AS pending  -- merchant_pending: money with a date on which it becomes available
            FROM (SELECT unnest(p_account_kind) AS kind, unnest(p_account_owner) AS owner,
                         unnest(p_account_currency) AS currency, generate_series(1, account_count) AS n) AS u
            JOIN ledger.account_kinds AS k ON k.kind = u.kind
            LEFT JOIN ledger.accounts AS a
                ON a.book_id = p_book AND a.kind = u.kind AND a.owner = u.owner AND a.currency = u.currency
            CROSS JOIN LATERAL (
                SELECT CASE WHEN a.account_id IS NULL THEN k.floor_minor ELSE a.floor_minor END AS floor_minor
            ) AS f
            ORDER BY u.n
        ) AS t;
        IF coalesce(cardinality(account_ids), 0) <> account_count
            OR (SELECT count(DISTINCT id) < count(id) FROM unnest(account_ids) AS id)
            OR EXISTS (SELECT FROM (SELECT unnest(p_debit) AS d, unnest(p_credit) AS c,
                                           unnest(p_available_on) AS available_on) AS u
                       WHERE (u.available_on IS NOT NULL) <> (pending[u.d] OR pending[u.c]))
        THEN
            RAISE EXCEPTION 'accounts are not what the postings say' USING ERRCODE = 'QK003';
        END IF;
        -- Only when this call could reach the end of bigint is every entry added up before it is applied.
        careful := coalesce((SELECT sum(a) FROM unnest(p_amount_minor) AS a WHERE a > 0), 0)
            + coalesce((SELECT max(a) FROM unnest(debits || credits) AS a), 0) > MOST;

        IF has_draws THEN
            WITH originals AS (
                SELECT o.key, row_number() OVER (ORDER BY o.key) AS n
                FROM (SELECT DISTINCT key FROM unnest(p_original_key) AS key WHERE key IS NOT NULL) AS o
            )
            SELECT array_agg(o.sequence ORDER BY o.n), array_agg(o.drawable_minor ORDER BY o.n),
                   array_agg(o.drawn_minor ORDER BY o.n)
            INTO original_sequences, original_drawable, original_drawn
            FROM (
                SELECT o.n, q.sequence, e.drawable_minor, e.drawn_minor
                FROM originals AS o
                LEFT JOIN ledger.idempotency_keys AS q ON q.book_id = p_book AND q.key = o.key
                LEFT JOIN ledger.entry_caps AS e ON e.book_id = p_book AND e.sequence = q.sequence
            ) AS o;
            WITH originals AS (
                SELECT o.key, row_number() OVER (ORDER BY o.key)::integer AS n
                FROM (SELECT DISTINCT key FROM unnest(p_original_key) AS key WHERE key IS NOT NULL) AS o
            )
            SELECT array_agg(coalesce(drawn.n, 0) ORDER BY u.n), array_agg(coalesce(own.n, 0) ORDER BY u.n)
            INTO draws_number, own_number
            FROM unnest(p_key, p_original_key) WITH ORDINALITY AS u(key, original_key, n)
            LEFT JOIN originals AS drawn ON drawn.key = u.original_key
            LEFT JOIN originals AS own ON own.key = u.key;
            draws_on := array_fill(NULL::bigint, ARRAY[entry_count]);
        END IF;

        IF probing THEN
            contents := ledger.given_contents_v1(
                p_kind, p_effective_on, p_metadata, p_original_key, p_drawn_minor, p_drawable_minor,
                p_account_kind, p_account_owner, p_account_currency,
                p_posting_count, p_debit, p_credit, p_amount_minor, p_available_on,
                p_reference_entry, p_reference_scheme, p_reference_value);
            SELECT array_agg(q.sequence ORDER BY u.n), array_agg(q.recorded_at ORDER BY u.n),
                   array_agg(s.content = u.content ORDER BY u.n), array_agg(u.number ORDER BY u.n)
            INTO known_sequence, known_at, known_same, key_number
            FROM (SELECT key, content, n, dense_rank() OVER (ORDER BY key)::integer AS number
                  FROM unnest(p_key, contents) WITH ORDINALITY AS v(key, content, n)) AS u
            LEFT JOIN ledger.idempotency_keys AS q ON q.book_id = p_book AND q.key = u.key
            LEFT JOIN ledger.stored_contents_v1(p_book, p_key) AS s ON s.key = u.key;
            accepted_as := array_fill(0, ARRAY[entry_count]);
            replayed_at := array_fill(NULL::timestamptz, ARRAY[entry_count]);
        END IF;

        sequence := head.last_sequence;
        refused := false;
        breaches := NULL;
        refusals := array_fill(0::smallint, ARRAY[entry_count]);
        new_sequences := array_fill(0::bigint, ARRAY[entry_count]);
        sequences := new_sequences;
        posting_sequences := array_fill(0::bigint, ARRAY[posting_count]);
        debit_after := posting_sequences;
        credit_after := posting_sequences;
        lines := array_fill(1::smallint, ARRAY[posting_count]);
        last_posting := 0;
        FOR i IN 1..entry_count LOOP
            first_posting := last_posting + 1;
            last_posting := last_posting + p_posting_count[i];

            IF probing THEN
                k := accepted_as[key_number[i]];
                IF known_sequence[i] IS NOT NULL THEN
                    IF known_same[i] THEN
                        sequences[i] := known_sequence[i];
                        replayed_at[i] := known_at[i];
                    ELSE
                        refusals[i] := 10;
                    END IF;
                    CONTINUE;
                ELSIF k > 0 THEN
                    IF contents[i] = contents[k] THEN
                        sequences[i] := new_sequences[k];
                        replayed_at[i] := posted_at;
                    ELSE
                        refusals[i] := 10;
                    END IF;
                    CONTINUE;
                END IF;
            END IF;

            refusal := ACCEPTED;
            IF modes[i] = 0 THEN
                refusal := 11;
            ELSIF last_posting < first_posting THEN
                refusal := 12;
            END IF;
            IF has_draws OR p_drawable_minor IS NOT NULL THEN
                IF p_drawable_minor[i] < 0 OR (p_original_key[i] IS NOT NULL AND p_drawn_minor[i] = 0) THEN
                    refusal := least(refusal, 13);
                END IF;
            END IF;
            IF has_draws THEN
                k := draws_number[i];
                IF k > 0 THEN
                    refusal := least(refusal, CASE
                        WHEN original_sequences[k] IS NULL THEN 16
                        WHEN original_drawable[k] IS NULL THEN 17
                        WHEN p_drawn_minor[i] > original_drawable[k] - original_drawn[k] THEN 18
                        WHEN original_drawn[k] + least(p_drawn_minor[i], 0) < 0 THEN 19
                        ELSE ACCEPTED END);
                END IF;
            END IF;

            suspect := false;
            below := false;
            overflows := false;
            IF careful THEN
                SELECT b.below, b.overflows INTO below, overflows
                FROM ledger.entry_breaches_v1(
                    debits, credits, highest, lowest, p_debit[first_posting:last_posting],
                    p_credit[first_posting:last_posting], p_amount_minor[first_posting:last_posting], false) AS b;
            END IF;
            applied := first_posting - 1;
            FOR j IN first_posting..last_posting LOOP
                d := p_debit[j];
                c := p_credit[j];
                amount := p_amount_minor[j];
                IF amount > 0 AND d <> c AND p_account_currency[d] = p_account_currency[c] THEN
                    CONTINUE WHEN overflows;
                    debits[d] := debits[d] + amount;
                    credits[c] := credits[c] + amount;
                    debit_after[j] := debits[d] - credits[d];
                    credit_after[j] := debits[c] - credits[c];
                    posting_sequences[j] := sequence + 1;
                    IF debit_after[j] > highest[d] OR credit_after[j] < lowest[c] THEN
                        suspect := true;
                    END IF;
                    IF j > first_posting THEN
                        lines[j] := j - first_posting + 1;
                    END IF;
                    applied := j;
                ELSE
                    SELECT least(refusal, min(CASE
                        WHEN p_amount_minor[s] <= 0 THEN 13
                        WHEN p_debit[s] = p_credit[s] THEN 14
                        WHEN p_account_currency[p_debit[s]] <> p_account_currency[p_credit[s]] THEN 15 END))
                    INTO refusal FROM generate_series(j, last_posting) AS s;
                    IF refusal = ACCEPTED THEN
                        RAISE EXCEPTION 'posting % of the call is malformed', j USING ERRCODE = 'QK003';
                    END IF;
                    EXIT;
                END IF;
            END LOOP;

            IF suspect AND NOT careful THEN
                below := true;
                IF first_posting < last_posting THEN  -- a floor is about what the whole entry leaves behind
                    SELECT b.below INTO below
                    FROM ledger.entry_breaches_v1(
                        debits, credits, highest, lowest, p_debit[first_posting:last_posting],
                        p_credit[first_posting:last_posting], p_amount_minor[first_posting:last_posting], true) AS b;
                END IF;
            END IF;
            frozen := false;
            IF any_frozen THEN
                SELECT coalesce(bool_or(freezes[p_debit[s]] & 1 = 1 OR freezes[p_credit[s]] & 2 = 2), false) INTO frozen
                FROM generate_series(first_posting, last_posting) AS s;
            END IF;
            IF frozen OR below OR overflows THEN
                IF modes[i] = 2 THEN
                    refusal := least(refusal, CASE WHEN frozen THEN 20 WHEN below THEN 21 ELSE 22 END);
                ELSIF overflows THEN
                    refusal := least(refusal, 22);
                ELSIF refusal = ACCEPTED THEN
                    breaches := coalesce(breaches, array_fill(0::smallint, ARRAY[entry_count]));
                    breaches[i] := below::integer + 2 * frozen::integer;
                END IF;
            END IF;

            IF refusal <> ACCEPTED THEN
                FOR j IN first_posting..applied LOOP
                    debits[p_debit[j]] := debits[p_debit[j]] - p_amount_minor[j];
                    credits[p_credit[j]] := credits[p_credit[j]] - p_amount_minor[j];
                    posting_sequences[j] := 0;
                END LOOP;
                refusals[i] := refusal;
                refused := true;
                CONTINUE;
            END IF;

            sequence := sequence + 1;
            new_sequences[i] := sequence;
            IF has_draws THEN
                k := draws_number[i];
                IF k > 0 THEN
                    original_drawn[k] := original_drawn[k] + p_drawn_minor[i];
                    draws_on[i] := original_sequences[k];
                END IF;
                k := own_number[i];
                IF k > 0 THEN
                    original_sequences[k] := sequence;
                    original_drawable[k] := p_drawable_minor[i];
                    original_drawn[k] := 0;
                END IF;
            END IF;
            IF probing THEN
                accepted_as[key_number[i]] := i;
            END IF;
        END LOOP;

        BEGIN
            INSERT INTO ledger.idempotency_keys (book_id, key, sequence, recorded_at)
            SELECT p_book, u.key, u.sequence, posted_at
            FROM (SELECT unnest(p_key) AS key, unnest(new_sequences) AS sequence) AS u WHERE u.sequence > 0;
            -- What was refused may be the repetition of something posted: a replay, not a refusal.
            IF refused AND NOT probing AND EXISTS (
                SELECT FROM unnest(p_key, new_sequences) AS u(key, sequence)
                JOIN ledger.idempotency_keys AS q ON q.book_id = p_book AND q.key = u.key
                WHERE u.sequence = 0
            ) THEN
                RAISE unique_violation;
            END IF;
            EXIT;
        EXCEPTION WHEN unique_violation THEN
            IF probing THEN
                RAISE EXCEPTION 'a key is in the books and was not found' USING ERRCODE = 'QK004';
            END IF;
            probing := true;
        END;
    END LOOP;

    -- Whoever posts commits next: what follows in this transaction may not write any more.
    PERFORM set_config('transaction_read_only', 'on', true) WHERE sequence = head.last_sequence;
    IF NOT probing THEN
        sequences := new_sequences;
    ELSE
        FOR i IN 1..entry_count LOOP
            IF new_sequences[i] > 0 THEN
                sequences[i] := new_sequences[i];
            END IF;
        END LOOP;
    END IF;
    IF sequence = head.last_sequence THEN
        RETURN;
    END IF;

    SELECT array_agg(t.account), array_agg(t.last_sequence) INTO touched, touched_last
    FROM (
        SELECT u.account, max(u.sequence) AS last_sequence
        FROM (SELECT unnest(p_debit) AS account, unnest(posting_sequences) AS sequence
              UNION ALL
              SELECT unnest(p_credit), unnest(posting_sequences)) AS u
        WHERE u.sequence > 0
        GROUP BY u.account
    ) AS t;
    touched_count := cardinality(touched);
    IF array_position(account_ids, NULL) IS NOT NULL THEN
        SELECT coalesce(max(a.account_id), 0) INTO next_account FROM ledger.accounts AS a WHERE a.book_id = p_book;
        FOREACH k IN ARRAY touched LOOP
            IF account_ids[k] IS NULL THEN
                next_account := next_account + 1;
                account_ids[k] := next_account;
            END IF;
        END LOOP;
        INSERT INTO ledger.accounts (book_id, account_id, kind, owner, currency, floor_minor, debits_frozen,
                                     credits_frozen, debits_posted, credits_posted, last_sequence, opened_at)
        SELECT p_book, account_ids[u.account], k.kind, p_account_owner[u.account], p_account_currency[u.account],
               k.floor_minor, false, false, debits[u.account], credits[u.account], u.last_sequence, posted_at
        FROM unnest(touched, touched_last) AS u(account, last_sequence)
        JOIN ledger.account_kinds AS k ON k.kind = p_account_kind[u.account]
        WHERE rows_at[u.account] IS NULL;
        GET DIAGNOSTICS k = ROW_COUNT;
        touched_count := touched_count - k;
    END IF;
    -- By the place where each row was read: under the book's lock nobody has moved it since.
    UPDATE ledger.accounts AS a
    SET debits_posted = debits[u.account], credits_posted = credits[u.account], last_sequence = u.last_sequence
    FROM (SELECT unnest(touched) AS account, unnest(touched_last) AS last_sequence) AS u
    WHERE a.ctid = rows_at[u.account] AND a.book_id = p_book;
    GET DIAGNOSTICS k = ROW_COUNT;
    IF k <> touched_count THEN
        RAISE EXCEPTION '% accounts moved, % found', touched_count, k USING ERRCODE = 'QK004';
    END IF;

    INSERT INTO ledger.entries (book_id, sequence, recorded_at, block_number, key, kind, effective_on, caller,
                                draws_on, drawn_minor, drawable_minor, metadata)
    SELECT p_book, u.sequence, posted_at, head.block_number + 1, u.key, u.kind, u.effective_on, u.caller,
           u.draws_on, u.drawn_minor, u.drawable_minor, u.metadata
    FROM (SELECT unnest(new_sequences) AS sequence, unnest(p_key) AS key, unnest(p_kind) AS kind,
                 unnest(p_effective_on) AS effective_on, unnest(p_caller) AS caller, unnest(draws_on) AS draws_on,
                 unnest(p_drawn_minor) AS drawn_minor, unnest(p_drawable_minor) AS drawable_minor,
                 unnest(p_metadata) AS metadata) AS u
    WHERE u.sequence > 0;

    INSERT INTO ledger.postings (book_id, sequence, line, recorded_at, debit_account, credit_account, amount_minor,
                                 available_on, debit_balance_after, credit_balance_after)
    SELECT p_book, u.sequence, u.line, posted_at, account_ids[u.d], account_ids[u.c], u.amount_minor, u.available_on,
           u.debit_after * signs[u.d], u.credit_after * signs[u.c]
    FROM (SELECT unnest(posting_sequences) AS sequence, unnest(lines) AS line, unnest(p_debit) AS d,
                 unnest(p_credit) AS c, unnest(p_amount_minor) AS amount_minor, unnest(p_available_on) AS available_on,
                 unnest(debit_after) AS debit_after, unnest(credit_after) AS credit_after) AS u
    WHERE u.sequence > 0;

    IF cardinality(p_reference_entry) > 0 THEN
        INSERT INTO ledger.entry_references (book_id, scheme, value, sequence)
        SELECT p_book, u.scheme, u.value, new_sequences[u.entry]
        FROM unnest(p_reference_entry, p_reference_scheme, p_reference_value) AS u(entry, scheme, value)
        WHERE new_sequences[u.entry] > 0;
    END IF;
    IF p_drawable_minor IS NOT NULL THEN
        INSERT INTO ledger.entry_caps (book_id, sequence, drawable_minor, drawn_minor)
        SELECT p_book, u.sequence, u.drawable_minor, 0
        FROM unnest(new_sequences, p_drawable_minor) AS u(sequence, drawable_minor)
        WHERE u.sequence > 0 AND u.drawable_minor IS NOT NULL;
    END IF;
    IF has_draws THEN
        UPDATE ledger.entry_caps AS e SET drawn_minor = u.drawn_minor
        FROM unnest(original_sequences, original_drawn) AS u(sequence, drawn_minor)
        WHERE e.book_id = p_book AND e.sequence = u.sequence AND e.drawn_minor <> u.drawn_minor;
    END IF;

    SELECT sha256(string_agg(t.leaf, ''::bytea ORDER BY t.sequence)) INTO leaves
    FROM (
        SELECT e.sequence, sha256(
            '\x0001'::bytea || record_send(ROW(
                p_book, e.sequence, posted_at, head.block_number + 1, e.key, e.kind, e.effective_on, e.caller,
                e.draws_on, e.drawn_minor, e.drawable_minor, e.metadata)) || p.lines || coalesce(r.lines, ''::bytea)
            ) AS leaf
        FROM (SELECT unnest(new_sequences) AS sequence, unnest(p_key) AS key, unnest(p_kind) AS kind,
                     unnest(p_effective_on) AS effective_on, unnest(p_caller) AS caller, unnest(draws_on) AS draws_on,
                     unnest(p_drawn_minor) AS drawn_minor, unnest(p_drawable_minor) AS drawable_minor,
                     unnest(p_metadata) AS metadata) AS e
        JOIN (
            SELECT u.sequence, string_agg(record_send(ROW(
                u.line, account_ids[u.d], account_ids[u.c], u.amount_minor, u.available_on,
                u.debit_after * signs[u.d], u.credit_after * signs[u.c])), ''::bytea ORDER BY u.line) AS lines
            FROM (SELECT unnest(posting_sequences) AS sequence, unnest(lines) AS line, unnest(p_debit) AS d,
                         unnest(p_credit) AS c, unnest(p_amount_minor) AS amount_minor,
                         unnest(p_available_on) AS available_on, unnest(debit_after) AS debit_after,
                         unnest(credit_after) AS credit_after) AS u
            WHERE u.sequence > 0 GROUP BY u.sequence
        ) AS p ON p.sequence = e.sequence
        LEFT JOIN (
            SELECT new_sequences[u.entry] AS sequence, string_agg(record_send(ROW(u.scheme, u.value)), ''::bytea
                ORDER BY u.scheme COLLATE "C", u.value COLLATE "C") AS lines
            FROM unnest(p_reference_entry, p_reference_scheme, p_reference_value) AS u(entry, scheme, value)
            GROUP BY u.entry
        ) AS r ON r.sequence = e.sequence
    ) AS t;
    INSERT INTO ledger.blocks (book_id, recorded_at, block_number, incarnation, layout_version, first_sequence,
                               last_sequence, previous_hash, hash)
    VALUES (p_book, posted_at, head.block_number + 1, head.incarnation, 1, head.last_sequence + 1, sequence, head.hash,
            ledger.block_hash_v1(head.hash, 1::smallint, p_book, head.incarnation, head.block_number + 1,
                                 head.last_sequence + 1, sequence, posted_at, leaves));
    PERFORM set_config('transaction_read_only', 'on', true);
END
$function$
