-- The only write path of the books: a list of entries for one book, in order, in one call.
--
-- Lock the book row → read what the entries touch → decide each entry in order → write what was accepted → one block.
-- The caller's transaction holds the book row until it ends, so order of sequence = order of commit.
--
-- Entries are parallel arrays. `p_posting_count[i]` postings in a row belong to entry i. Accounts are listed once each;
-- postings name them by position in that list: by number with fingerprint, or (number 0) by name in the p_name_* arrays.
-- Long arrays are unnested side by side in a select list, which streams them; unnest(a, b, …) in FROM would first store
-- each in a tuplestore of its own. What is rare comes in arrays that are NULL when no entry of the call has it.
-- A call of one entry is mostly the price of its statements, even those that find nothing: what an expression can tell
-- asks none, and a condition with a SELECT in it stands where it is needed only.
-- Plans are kept for a session, and statistics may be older than the book, so no plan may rest on either. A row is found by
-- a look-up of its own, LATERAL with a LIMIT, never by a join that could read the book; where several indexes begin alike,
-- it asks for the order of the one that is meant (a range of one value; `=` would make the order mean nothing), and sorting
-- is off. An update finds its rows by ctid: of arrays that the planner cannot see it expects ten rows, of a LIMIT that it
-- cannot see a tenth, and by ctid one row is the cheapest there is.
-- Before PostgreSQL 18 what is off and cannot be avoided counts as very dear, which is no reason to compile it (jit).
-- Held money: the limits of an account are moved by what is held, so that the loop compares posted totals only.
-- What it answers is said with the type.
CREATE FUNCTION ledger.post_entries_v1(
    p_book bigint,
    p_key uuid[], p_kind smallint[], p_effective_on date[], p_caller text[], p_metadata bytea[],
    p_posting_count integer[], p_debit integer[], p_credit integer[], p_amount_minor bigint[], p_available_on date[],
    p_currency text, p_account_id bigint[], p_account_fingerprint bigint[],
    p_name_position integer[], p_name_kind smallint[], p_name_owner text[], p_name_currency text[],
    p_reference_entry integer[], p_reference_scheme text[], p_reference_value text[],
    p_original_key uuid[], p_drawn_minor bigint[], p_drawable_minor bigint[],
    p_reverses_key uuid[], p_reverses_line smallint[],
    p_hold_action smallint[], p_hold_key uuid[], p_hold_expires_at timestamptz[],
    p_up_to smallint[], p_group integer[], p_occurred_at timestamptz[]
) RETURNS ledger.answer_v1
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off
AS $function$
DECLARE
    refusals smallint[]; sequences bigint[]; posted_at timestamptz; replayed_at timestamptz[]; breaches smallint[];
    found_ids bigint[]; posted_minor bigint[];
    MOST constant bigint := 9223372036854775807;
    ACCEPTED constant integer := 99;  -- above every refusal, so least() keeps the first of the precedence order
    PLACE constant integer := 1; POST constant integer := 2; RELEASE constant integer := 3; EXPIRE constant integer := 4;
    entry_count constant integer := cardinality(p_key);
    posting_count constant integer := cardinality(p_debit);
    account_count constant integer := cardinality(p_account_id);
    plain boolean := num_nonnulls(p_original_key, p_reverses_key, p_hold_action, p_group, p_occurred_at, p_up_to,
                                  p_drawable_minor) = 0 AND NOT p_kind && ARRAY[700, 701, 702, 703, 901]::smallint[];
    -- NULL where everything is plain
    has_draws boolean; has_reversals boolean; has_holds boolean; has_groups boolean; has_imports boolean; has_up_to boolean;
    single boolean;  -- every entry has one posting
    is_counted boolean;  -- its postings are all there are
    head_block bigint; head_sequence bigint; head_incarnation integer; head_hash bytea; head_at timestamptz; since timestamptz;
    first_mode text;
    probing boolean := false;
    refused boolean; careful boolean; rare boolean;
    -- accounts, by position
    ids bigint[]; rows_at tid[]; debits bigint[]; credits bigint[]; highest bigint[]; lowest bigint[]; signs smallint[];
    held_debits bigint[]; held_credits bigint[]; freezes smallint[]; any_switched boolean;
    pending boolean[]; currencies text[]; unusual boolean; stale boolean; same_day boolean;
    last_sequences bigint[];  -- of what this call moved; 0: held money only, NULL: nothing
    opened integer[]; opened_ids bigint[]; opened_rows tid[];
    kind_signs smallint[]; kind_highest bigint[]; kind_lowest bigint[];
    -- entries, by position
    modes smallint[]; draws_on bigint[]; reverses bigint[]; holds bigint[]; booked_on date[]; group_firsts bigint[];
    new_sequences bigint[]; entry_first integer[];
    known_sequence bigint[]; known_at timestamptz[]; known_same boolean[]; key_number integer[]; contents text[];
    accepted_as integer[];
    -- originals that entries of this call draw on
    original_sequences bigint[]; original_drawable bigint[]; original_drawn bigint[]; draws_number integer[]; own_number integer[];
    -- originals that entries of this call reverse, and their lines one after the other
    reversed ledger.reversed_v1; reversal_number integer[]; reversed_own integer[];
    -- holds that entries of this call resolve
    held ledger.held_v1; hold_number integer[]; hold_own integer[]; action integer;
    -- postings, by position
    amounts bigint[]; lines smallint[]; posting_sequences bigint[]; debit_after bigint[]; credit_after bigint[];
    -- what was so when the current linked group began
    this_group integer; group_entry integer; group_sequence bigint; group_failed boolean;
    saved_sequences bigint[]; saved_drawable bigint[]; saved_drawn bigint[]; saved_reversed ledger.reversed_v1;
    saved_held ledger.held_v1; saved_highest bigint[]; saved_lowest bigint[]; saved_held_debits bigint[];
    saved_held_credits bigint[]; saved_last_sequences bigint[]; saved_occurred_at timestamptz;
    closed_through date; closing_through date; first_day date; last_day date; last_occurred_at timestamptz;
    sequence bigint; refusal integer; breach integer;
    i integer; j integer; k integer; m integer; d integer; c integer; x integer; amount bigint;
    first_posting integer; last_posting integer; breached integer; suspect boolean; checked boolean;
    leaves bytea; leaf_lines bytea; setting text;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'entries are posted in READ COMMITTED only' USING ERRCODE = 'QK002',
            DETAIL = 'an older snapshot would not see what was posted while waiting for the book';
    END IF;
    single := coalesce(p_posting_count = array_fill(1, ARRAY[entry_count]), false);
    IF NOT single THEN
        is_counted := coalesce(p_posting_count = ARRAY[posting_count], false);  -- of one entry
        IF NOT is_counted THEN
            SELECT coalesce(sum(u.n), 0) = posting_count AND coalesce(min(u.n), 0) >= 0 INTO is_counted
            FROM unnest(p_posting_count) AS u(n);
        END IF;
    END IF;
    IF single AND entry_count <> posting_count OR NOT single AND NOT is_counted
        OR cardinality(p_kind) <> entry_count OR cardinality(p_effective_on) <> entry_count
        OR cardinality(p_caller) <> entry_count OR cardinality(p_metadata) <> entry_count
        OR cardinality(p_posting_count) <> entry_count OR cardinality(p_credit) <> posting_count
        OR cardinality(p_amount_minor) <> posting_count OR cardinality(p_account_fingerprint) <> account_count
        OR cardinality(p_name_kind) IS DISTINCT FROM cardinality(p_name_position)
        -- What is written must be what is hashed, see given_leaves_hash_v1.
        OR p_reverses_key IS NULL AND p_reverses_line IS NOT NULL OR p_original_key IS NULL AND p_drawn_minor IS NOT NULL
        -- What is unnested in one place and picked by its number in another must be the same; of what may not be NULL the
        -- columns see to that.
        OR array_dims(p_available_on) <> array_dims(p_debit)
    THEN
        RAISE EXCEPTION 'arrays do not belong together' USING ERRCODE = 'QK003';
    END IF;
    IF NOT plain THEN
        has_draws := p_original_key IS NOT NULL;
        has_reversals := p_reverses_key IS NOT NULL;
        has_holds := p_hold_action IS NOT NULL;
        has_groups := p_group IS NOT NULL;
        has_imports := p_occurred_at IS NOT NULL;
        has_up_to := p_up_to IS NOT NULL;
        IF '[1:' || entry_count || ']' <> ANY (ARRAY[
                array_dims(p_key), array_dims(p_original_key), array_dims(p_drawn_minor), array_dims(p_drawable_minor),
                array_dims(p_reverses_key), array_dims(p_hold_action), array_dims(p_hold_key), array_dims(p_hold_expires_at),
                array_dims(p_group), array_dims(p_occurred_at)])
            OR '[1:' || posting_count || ']' <> ANY (ARRAY[array_dims(p_up_to), array_dims(p_reverses_line)])
        THEN
            RAISE EXCEPTION 'arrays do not belong together' USING ERRCODE = 'QK003';
        END IF;
        -- A limit to draw on is all that is rare of most: of it there is nothing to check.
        IF num_nonnulls(p_original_key, p_drawn_minor, p_reverses_key, p_hold_action, p_hold_key, p_hold_expires_at, p_group,
                        p_occurred_at, p_up_to) > 0 OR p_kind && ARRAY[700, 701, 702, 703, 901]::smallint[]
        THEN
            PERFORM ledger.check_rare_v1(p_kind, p_posting_count, p_original_key, p_drawn_minor, p_reverses_key,
                                         p_hold_action, p_hold_key, p_hold_expires_at, p_group, p_occurred_at, p_up_to);
        END IF;
    END IF;

    PERFORM 1 FROM ledger.books AS b WHERE b.book_id = p_book FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no book %', p_book USING ERRCODE = 'QK001';
    END IF;
    -- Parameters that say how many they are, as (SELECT …): the planner cannot see a length, so no plan is made for each.
    IF p_effective_on = array_fill(p_effective_on[1], ARRAY[entry_count]) THEN
        first_day := p_effective_on[1];
        last_day := first_day;
    ELSE
        SELECT min(u.day), max(u.day) INTO first_day, last_day FROM unnest((SELECT p_effective_on)) AS u(day);
    END IF;
    -- recorded_at rises strictly within a book, so the newest block comes first from an ordered append of partitions. Each of
    -- them costs 2 µs to open, so earlier months are asked only where nothing is found in later ones.
    since := clock_timestamp() - interval '31 days';
    LOOP
        SELECT b.block_number, b.last_sequence, b.incarnation, b.hash, b.recorded_at,
               (SELECT k.mode FROM ledger.entry_kinds AS k WHERE k.kind = p_kind[1]),
               (SELECT p.ends_on FROM ledger.periods AS p
                WHERE p.book_id = p_book AND p.state <> 'open' AND p.ends_on >= first_day ORDER BY p.ends_on DESC LIMIT 1)
        INTO head_block, head_sequence, head_incarnation, head_hash, head_at, first_mode, closing_through
        FROM ledger.blocks AS b
        WHERE b.book_id = p_book AND b.recorded_at >= since ORDER BY b.recorded_at DESC LIMIT 1;
        EXIT WHEN FOUND;
        IF since = '-infinity' THEN
            RAISE EXCEPTION 'book % has no block', p_book USING ERRCODE = 'QK004';
        END IF;
        since := '-infinity';
    END LOOP;
    posted_at := greatest(clock_timestamp(), head_at + interval '1 microsecond');
    IF p_kind = array_fill(p_kind[1], ARRAY[entry_count]) THEN
        modes := array_fill((CASE first_mode WHEN 'authorising' THEN 2 WHEN 'recording' THEN 1 WHEN 'adjusting' THEN 3
                             ELSE 0 END)::smallint, ARRAY[entry_count]);
    ELSE
        SELECT array_agg(CASE k.mode WHEN 'authorising' THEN 2 WHEN 'recording' THEN 1 WHEN 'adjusting' THEN 3
                         ELSE 0 END::smallint ORDER BY u.n) INTO modes
        FROM unnest((SELECT p_kind)) WITH ORDINALITY AS u(kind, n) LEFT JOIN ledger.entry_kinds AS k ON k.kind = u.kind;
    END IF;
    IF closing_through IS NOT NULL THEN
        SELECT max(p.ends_on) INTO closed_through FROM ledger.periods AS p
        WHERE p.book_id = p_book AND p.state = 'closed' AND p.ends_on >= first_day;
    END IF;
    IF NOT (isfinite(first_day) AND isfinite(last_day)) OR 'infinity' = ANY (p_available_on)
        OR '-infinity' = ANY (p_available_on)
    THEN
        RAISE EXCEPTION 'a business date must be a day' USING ERRCODE = '22008';
    END IF;

    ids := p_account_id;
    IF cardinality(p_name_position) > 0 THEN
        SELECT array_agg((SELECT a.account_id FROM ledger.accounts AS a
                          WHERE a.book_id = p_book AND (a.kind, a.owner, a.currency) >= (u.kind, u.owner, u.currency)
                              AND (a.kind, a.owner, a.currency) <= (u.kind, u.owner, u.currency)
                          ORDER BY a.kind, a.owner, a.currency LIMIT 1))
        INTO found_ids
        FROM (SELECT unnest((SELECT p_name_kind)) AS kind, unnest((SELECT p_name_owner)) AS owner,
                     unnest((SELECT p_name_currency)) AS currency) AS u;
        FOR k IN 1..cardinality(p_name_position) LOOP
            ids[p_name_position[k]] := found_ids[k];
        END LOOP;
    END IF;

    -- First pass: nobody has used these keys before. Only if that proves wrong, a second pass that knows them.
    FOR pass IN 1..2 LOOP
        same_day := first_day = last_day;
        -- Only when this call could reach the end of bigint is every entry added up before it is applied.
        careful := MOST / 2 / greatest(posting_count, 1) < ANY (p_amount_minor);
        IF p_currency IS NULL OR p_available_on IS NOT NULL OR 30 = ANY (p_name_kind) OR p_currency <> ANY (p_name_currency)
        THEN
            unusual := true;
        ELSE
            SELECT array_agg(a.ctid), array_agg(a.debits_posted), array_agg(a.credits_posted), array_agg(a.sign::smallint),
                   array_agg(CASE WHEN a.sign < 0 THEN -a.floor_minor ELSE a.ceiling_minor END - a.debits_held),
                   array_agg(CASE WHEN a.sign < 0 THEN -a.ceiling_minor ELSE a.floor_minor END + a.credits_held),
                   bool_or(a.account_id IS NULL AND u.id IS NOT NULL OR a.fingerprint <> u.fingerprint
                           OR a.debits_frozen OR a.credits_frozen OR a.closed OR a.kind = 30
                           OR a.effective_on <> first_day AND a.effective_on > '-infinity'
                           OR a.currency <> p_currency OR greatest(a.debits_posted, a.credits_posted) > MOST / 4)
            INTO rows_at, debits, credits, signs, highest, lowest, unusual
            FROM (SELECT unnest((SELECT ids)) AS id, unnest((SELECT p_account_fingerprint)) AS fingerprint) AS u
            LEFT JOIN LATERAL (
                SELECT r.ctid, r.* FROM ledger.accounts AS r
                WHERE r.book_id = p_book AND r.account_id BETWEEN u.id AND u.id ORDER BY r.account_id LIMIT 1
            ) AS a ON true;
        END IF;
        IF unusual THEN  -- the same, and more
            SELECT array_agg(a.ctid), array_agg(a.debits_posted), array_agg(a.credits_posted), array_agg(a.sign::smallint),
                   array_agg(CASE WHEN a.sign < 0 THEN -a.floor_minor ELSE a.ceiling_minor END - a.debits_held),
                   array_agg(CASE WHEN a.sign < 0 THEN -a.ceiling_minor ELSE a.floor_minor END + a.credits_held),
                   array_agg(a.currency), array_agg(a.kind = 30),
                   array_agg((a.debits_frozen::integer + 2 * a.credits_frozen::integer + 4 * a.closed::integer)::smallint),
                   bool_or(a.debits_frozen OR a.credits_frozen OR a.closed),
                   bool_or(a.account_id IS NULL AND u.id IS NOT NULL OR a.fingerprint <> u.fingerprint),
                   same_day AND coalesce(bool_and(a.effective_on IN (first_day, '-infinity')), true),
                   careful OR coalesce(bool_or(greatest(a.debits_posted, a.credits_posted) > MOST / 4), false)
            INTO rows_at, debits, credits, signs, highest, lowest, currencies, pending, freezes, any_switched, stale, same_day,
                 careful
            FROM (SELECT unnest((SELECT ids)) AS id, unnest((SELECT p_account_fingerprint)) AS fingerprint) AS u
            LEFT JOIN LATERAL (
                SELECT r.ctid, r.* FROM ledger.accounts AS r
                WHERE r.book_id = p_book AND r.account_id BETWEEN u.id AND u.id ORDER BY r.account_id LIMIT 1
            ) AS a ON true;
            IF stale THEN
                RAISE EXCEPTION 'an account is not what its number was' USING ERRCODE = 'QK007';
            END IF;
        END IF;
        IF array_position(found_ids, NULL) IS NOT NULL THEN  -- what is not open yet is as its kind is
            SELECT array_agg(k.sign), array_agg(k.highest), array_agg(k.lowest) INTO kind_signs, kind_highest, kind_lowest
            FROM (SELECT unnest((SELECT p_name_kind)) AS kind) AS u
            LEFT JOIN LATERAL (
                SELECT CASE n.normal_side WHEN 'D' THEN 1 ELSE -1 END AS sign,
                       CASE n.normal_side WHEN 'D' THEN n.ceiling_minor ELSE -n.floor_minor END AS highest,
                       CASE n.normal_side WHEN 'D' THEN n.floor_minor ELSE -n.ceiling_minor END AS lowest
                FROM ledger.account_kinds AS n WHERE n.kind = u.kind LIMIT 1
            ) AS k ON true;
            FOR k IN 1..cardinality(p_name_position) LOOP
                d := p_name_position[k];
                IF ids[d] IS NULL THEN
                    debits[d] := 0;
                    credits[d] := 0;
                    signs[d] := kind_signs[k];
                    highest[d] := kind_highest[k];
                    lowest[d] := kind_lowest[k];
                    IF currencies IS NOT NULL THEN
                        currencies[d] := p_name_currency[k];
                        pending[d] := p_name_kind[k] = 30;
                    END IF;
                END IF;
            END LOOP;
        END IF;
        IF currencies IS NOT NULL THEN
            IF array_position(currencies, NULL) IS NOT NULL OR p_currency <> ANY (currencies) OR EXISTS (
                SELECT FROM (SELECT unnest(p_debit) AS d, unnest(p_credit) AS c, unnest(p_available_on) AS available_on) AS u
                WHERE (u.available_on IS NOT NULL) <> (pending[u.d] OR pending[u.c]))
            THEN
                RAISE EXCEPTION 'accounts are not what the postings say' USING ERRCODE = 'QK003';
            END IF;
        END IF;
        IF array_position(signs, NULL) IS NOT NULL THEN
            RAISE EXCEPTION 'no such kind of account' USING ERRCODE = 'QK003';
        END IF;
        plain := plain AND closing_through IS NULL AND any_switched IS NOT TRUE;
        rare := NOT plain OR probing;

        IF NOT plain THEN
            IF has_draws THEN
                SELECT o.sequences, o.drawable, o.drawn, o.draws_number, o.own_number
                INTO original_sequences, original_drawable, original_drawn, draws_number, own_number
                FROM ledger.drawn_on_v1(p_book, p_key, p_original_key) AS o;
            END IF;
            IF has_reversals THEN
                SELECT (r.reversed).*, r.reversal_number, r.reversed_own INTO reversed.sequences, reversed.drawable,
                       reversed.first_line, reversed.line_count, reversed.debits, reversed.credits, reversed.left_minor,
                       reversal_number, reversed_own
                FROM ledger.reversed_by_v1(p_book, p_key, p_reverses_key) AS r;
            END IF;
            IF has_holds THEN
                SELECT (r.held).*, r.hold_number, r.hold_own INTO held.sequences, held.debits, held.credits, held.amounts,
                       held.expires_at, held.resolved, hold_number, hold_own
                FROM ledger.holds_of_v1(p_book, p_key, p_hold_key) AS r;
                SELECT array_agg(coalesce(a.debits_held, 0) ORDER BY u.n), array_agg(coalesce(a.credits_held, 0) ORDER BY u.n)
                INTO held_debits, held_credits
                FROM unnest((SELECT ids)) WITH ORDINALITY AS u(id, n)
                LEFT JOIN LATERAL (
                    SELECT r.* FROM ledger.accounts AS r
                    WHERE r.book_id = p_book AND r.account_id BETWEEN u.id AND u.id ORDER BY r.account_id LIMIT 1
                ) AS a ON true;
            END IF;
            IF has_imports THEN
                SELECT e.occurred_at INTO last_occurred_at FROM ledger.entries AS e
                WHERE e.book_id = p_book AND e.occurred_at IS NOT NULL ORDER BY e.sequence DESC LIMIT 1;
                IF NOT FOUND THEN
                    SELECT max(a.last_occurred_at) INTO last_occurred_at FROM ledger.archives AS a WHERE a.book_id = p_book;
                END IF;
            END IF;
        END IF;

        IF probing THEN
            contents := ledger.given_contents_v1(
                p_book, p_kind, p_effective_on, p_metadata, p_original_key, p_drawn_minor, p_drawable_minor, p_reverses_key,
                p_hold_action, p_hold_key, p_hold_expires_at, p_occurred_at, ids,
                p_posting_count, p_debit, p_credit, p_amount_minor, p_available_on, p_reverses_line, p_up_to,
                p_reference_entry, p_reference_scheme, p_reference_value);
            SELECT array_agg(q.sequence ORDER BY u.n), array_agg(q.recorded_at ORDER BY u.n),
                   array_agg(coalesce(s.content = u.content, ledger.is_archived_v1(p_book, q.sequence, u.content))
                             ORDER BY u.n),
                   array_agg(u.number ORDER BY u.n)
            INTO known_sequence, known_at, known_same, key_number
            FROM (SELECT v.key, v.content, v.n, dense_rank() OVER (ORDER BY v.key)::integer AS number
                  FROM unnest(p_key, contents) WITH ORDINALITY AS v(key, content, n)) AS u
            LEFT JOIN LATERAL (
                SELECT k.* FROM ledger.idempotency_keys AS k WHERE k.book_id = p_book AND k.key = u.key LIMIT 1
            ) AS q ON true
            LEFT JOIN ledger.stored_contents_v1(p_book, p_key) AS s ON s.key = u.key;
            accepted_as := array_fill(0, ARRAY[entry_count]);
            sequences := array_fill(0::bigint, ARRAY[entry_count]);
            breaches := NULL;
            replayed_at := array_fill(NULL::timestamptz, ARRAY[entry_count]);
        END IF;

        sequence := head_sequence;
        refusals := array_fill(0::smallint, ARRAY[entry_count]);
        new_sequences := array_fill(0::bigint, ARRAY[entry_count]);
        posting_sequences := array_fill(0::bigint, ARRAY[posting_count]);
        debit_after := posting_sequences;
        credit_after := posting_sequences;
        amounts := p_amount_minor;
        lines := array_fill(1::smallint, ARRAY[posting_count]);
        last_sequences := array_fill(NULL::bigint, ARRAY[account_count]);
        IF NOT plain THEN
            draws_on := array_fill(NULL::bigint, ARRAY[entry_count]);
            reverses := draws_on;
            holds := draws_on;
            group_firsts := draws_on;
            booked_on := array_fill(NULL::date, ARRAY[entry_count]);
            entry_first := new_sequences;
            this_group := 0;
        END IF;
        -- Single postings of which nothing is asked but the limits, up to the first that is not as usual.
        IF single AND NOT rare AND NOT careful AND p_currency IS NOT NULL AND 0 <> ALL (modes) THEN
            FOR i IN 1..entry_count LOOP
                d := p_debit[i];
                c := p_credit[i];
                amount := p_amount_minor[i];
                EXIT WHEN amount <= 0 OR d = c OR debits[d] - credits[d] + amount > highest[d]
                    OR debits[c] - credits[c] - amount < lowest[c];
                debits[d] := debits[d] + amount;
                credits[c] := credits[c] + amount;
                debit_after[i] := debits[d] - credits[d];
                credit_after[i] := debits[c] - credits[c];
                sequence := sequence + 1;
                new_sequences[i] := sequence;
                last_sequences[d] := sequence;
                last_sequences[c] := sequence;
            END LOOP;
            posting_sequences := new_sequences;
        END IF;
        last_posting := sequence - head_sequence;
        -- What an entry may change of these is set back where that is dealt with, not anew for each entry.
        refusal := ACCEPTED;
        breach := 0;
        breached := 0;
        suspect := false;
        checked := false;
        action := 0;
        FOR i IN last_posting + 1..entry_count LOOP
            first_posting := last_posting + 1;
            last_posting := last_posting + p_posting_count[i];
            IF rare THEN
                IF NOT plain THEN
                    entry_first[i] := first_posting;
                END IF;
                IF has_groups THEN
                    IF coalesce(p_group[i], 0) <> this_group THEN
                        this_group := coalesce(p_group[i], 0);
                        group_failed := false;
                        group_entry := i;
                        group_sequence := sequence;
                        saved_sequences := original_sequences; saved_last_sequences := last_sequences;
                        saved_drawable := original_drawable; saved_drawn := original_drawn;
                        saved_reversed := reversed; saved_held := held; saved_occurred_at := last_occurred_at;
                        IF has_holds THEN
                            saved_highest := highest; saved_lowest := lowest;
                            saved_held_debits := held_debits; saved_held_credits := held_credits;
                        END IF;
                    END IF;
                    IF this_group > 0 AND group_failed THEN
                        refusals[i] := 60;
                        CONTINUE;
                    END IF;
                END IF;

                IF probing THEN
                    k := accepted_as[key_number[i]];
                    IF known_sequence[i] IS NOT NULL THEN
                        IF known_same[i] THEN
                            sequences[i] := known_sequence[i];
                            replayed_at[i] := known_at[i];
                            CONTINUE;
                        END IF;
                        refusal := 10;
                    ELSIF k > 0 THEN
                        IF contents[i] = contents[k] THEN
                            sequences[i] := new_sequences[k];
                            replayed_at[i] := posted_at;
                            IF has_up_to THEN
                                FOR j IN first_posting..last_posting LOOP
                                    amounts[j] := amounts[entry_first[k] + j - first_posting];
                                END LOOP;
                            END IF;
                            CONTINUE;
                        END IF;
                        refusal := 10;
                    END IF;
                END IF;
            END IF;

            IF modes[i] = 0 OR last_posting < first_posting THEN
                refusal := least(refusal, CASE modes[i] WHEN 0 THEN 11 ELSE 12 END);
            END IF;
            IF NOT plain THEN
                IF p_drawable_minor[i] < 0 OR p_original_key[i] IS NOT NULL AND p_drawn_minor[i] = 0 THEN
                    refusal := least(refusal, 13);
                END IF;
                IF has_draws AND draws_number[i] > 0 THEN
                    k := draws_number[i];
                    refusal := least(refusal, CASE
                        WHEN original_sequences[k] IS NULL THEN 20
                        WHEN original_drawable[k] IS NULL THEN 21
                        WHEN p_drawn_minor[i] > original_drawable[k] - original_drawn[k] THEN 22
                        WHEN original_drawn[k] + least(p_drawn_minor[i], 0) < 0 THEN 23
                        ELSE ACCEPTED END);
                END IF;
                IF has_reversals AND reversal_number[i] > 0 THEN
                    k := reversal_number[i];
                    IF reversed.sequences[k] IS NULL THEN
                        refusal := least(refusal, 20);
                    ELSE
                        IF reversed.drawable[k] THEN
                            -- What is undone of the first line is drawn, so that nobody else can draw it as well.
                            amount := 0;
                            FOR j IN first_posting..last_posting LOOP
                                IF p_reverses_line[j] = 1 THEN
                                    amount := amounts[j];
                                END IF;
                            END LOOP;
                            IF amount > 0 AND (p_original_key[i] IS DISTINCT FROM p_reverses_key[i]
                                OR coalesce(p_drawn_minor[i], 0) < least(amount, original_drawable[draws_number[i]]))
                            THEN
                                refusal := least(refusal, 24);
                            END IF;
                        END IF;
                        FOR j IN first_posting..last_posting LOOP
                            x := reversed.first_line[k] + p_reverses_line[j] - 1;
                            IF coalesce(p_reverses_line[j], 0) NOT BETWEEN 1 AND reversed.line_count[k]
                                OR coalesce(ids[p_debit[j]], -p_debit[j]) <> reversed.credits[x]
                                OR coalesce(ids[p_credit[j]], -p_credit[j]) <> reversed.debits[x]
                            THEN
                                refusal := least(refusal, 24);
                            ELSIF amounts[j] > reversed.left_minor[x] OR p_reverses_line[j] = ANY (
                                p_reverses_line[first_posting:j - 1])
                            THEN
                                refusal := least(refusal, 22);
                            END IF;
                        END LOOP;
                    END IF;
                END IF;
                IF has_holds THEN
                    action := coalesce(p_hold_action[i], 0);
                    IF action > PLACE THEN
                        k := hold_number[i];
                        j := first_posting;
                        refusal := least(refusal, CASE
                            WHEN held.sequences[k] IS NULL THEN 25
                            WHEN held.resolved[k] THEN 26
                            WHEN action = POST AND held.expires_at[k] <= posted_at THEN 27
                            WHEN action = EXPIRE AND coalesce(held.expires_at[k] > posted_at, true) THEN 28
                            WHEN coalesce(ids[p_debit[j]], -p_debit[j]) <> held.debits[k]
                                OR coalesce(ids[p_credit[j]], -p_credit[j]) <> held.credits[k]
                                OR action > POST AND amounts[j] <> held.amounts[k] THEN 29
                            WHEN amounts[j] > held.amounts[k] THEN 30
                            ELSE ACCEPTED END);
                    END IF;
                END IF;
                IF p_effective_on[i] <= closing_through THEN
                    IF modes[i] = 1 THEN
                        booked_on[i] := closing_through + 1;
                        breach := 16;
                    ELSIF modes[i] = 2 OR p_effective_on[i] <= closed_through THEN
                        refusal := least(refusal, 40);
                    END IF;
                END IF;
                IF p_occurred_at[i] < last_occurred_at OR p_occurred_at[i] > posted_at THEN
                    refusal := least(refusal, 41);
                END IF;
                IF any_switched AND action <> RELEASE AND action <> EXPIRE THEN
                    FOR j IN first_posting..last_posting LOOP
                        IF (coalesce(freezes[p_debit[j]], 0) | coalesce(freezes[p_credit[j]], 0)) & 4 = 4 THEN
                            breach := breach | 8;
                        END IF;
                        IF freezes[p_debit[j]] & 1 = 1 OR freezes[p_credit[j]] & 2 = 2 THEN
                            breach := breach | 2;
                        END IF;
                    END LOOP;
                    IF modes[i] > 1 AND breach & 10 > 0 THEN
                        refusal := least(refusal, CASE WHEN breach & 8 = 8 THEN 50 ELSE 51 END);
                    END IF;
                END IF;
            END IF;

            IF careful THEN
                checked := action = POST OR action = 0
                    AND NOT coalesce(0 < ANY (p_up_to[first_posting:last_posting]), false);
                IF checked THEN
                    SELECT coalesce(b.breached, 0) INTO breached
                    FROM ledger.entry_breaches_v1(
                        debits, credits, highest, lowest, signs, p_debit[first_posting:last_posting],
                        p_credit[first_posting:last_posting], p_amount_minor[first_posting:last_posting], false) AS b;
                    IF action = POST THEN
                        breached := breached & 4;  -- what is posted was set aside
                    END IF;
                END IF;
            END IF;
            FOR j IN first_posting..last_posting LOOP
                d := p_debit[j];
                c := p_credit[j];
                amount := amounts[j];
                IF amount > 0 AND d <> c AND (p_currency IS NOT NULL OR currencies[d] = currencies[c]) THEN
                    CONTINUE WHEN refusal < ACCEPTED OR breached & 4 = 4;
                    IF NOT plain THEN
                        IF action > 0 THEN
                            -- Limits move with what is held; whoever posts a hold gives it back first.
                            m := CASE WHEN action = PLACE THEN 1 ELSE -1 END;
                            amount := CASE WHEN action = PLACE THEN amount ELSE held.amounts[k] END;
                            IF action = PLACE THEN
                                breached := CASE WHEN debits[d] - credits[d] + amount::numeric > highest[d]
                                                      AND signs[d] < 0
                                                   OR debits[c] - credits[c] - amount::numeric < lowest[c]
                                                      AND signs[c] > 0 THEN 1
                                                 WHEN debits[d] - credits[d] + amount::numeric > highest[d]
                                                   OR debits[c] - credits[c] - amount::numeric < lowest[c] THEN 2
                                                 ELSE 0 END;
                                IF greatest(held_debits[d], held_credits[c]) + amount::numeric > 4000000000000000000 THEN
                                    breached := breached | 4;
                                END IF;
                                CONTINUE WHEN breached > 0;
                            END IF;
                            highest[d] := highest[d] - m * amount;
                            lowest[c] := lowest[c] + m * amount;
                            held_debits[d] := held_debits[d] + m * amount;
                            held_credits[c] := held_credits[c] + m * amount;
                            CONTINUE WHEN action <> POST;
                            amount := amounts[j];
                        ELSIF has_up_to THEN
                            IF p_up_to[j] > 0 THEN
                                amount := greatest(0, least(amount,
                                    CASE WHEN p_up_to[j] & 1 = 1 THEN highest[d]::numeric - debits[d] + credits[d] END,
                                    CASE WHEN p_up_to[j] & 2 = 2 THEN debits[c] - credits[c] - lowest[c]::numeric END));
                                IF amount = 0 THEN
                                    refusal := least(refusal, 52);
                                    CONTINUE;
                                END IF;
                                amounts[j] := amount;
                            END IF;
                            IF careful AND NOT checked AND greatest(debits[d], credits[c]) > MOST - amount THEN
                                breached := 4;  -- what the rest of a balancing entry would move is not known then
                                CONTINUE;
                            END IF;
                        END IF;
                    END IF;
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
                ELSE
                    SELECT least(refusal, min(CASE
                        WHEN p_amount_minor[s] <= 0 THEN 13
                        WHEN p_debit[s] = p_credit[s] THEN 14
                        WHEN currencies[p_debit[s]] <> currencies[p_credit[s]] THEN 15 END))
                    INTO refusal FROM generate_series(j, last_posting) AS s;
                    IF refusal = ACCEPTED THEN
                        RAISE EXCEPTION 'posting % of the call is malformed', j USING ERRCODE = 'QK003';
                    END IF;
                END IF;
            END LOOP;

            IF suspect OR breached > 0 OR refusal < ACCEPTED OR breach > 0 THEN
                IF suspect OR breached > 0 THEN
                    -- A limit is about what the whole entry leaves behind.
                    IF suspect AND breached = 0 AND (NOT checked OR action = POST) THEN
                        IF first_posting = last_posting THEN  -- what entry_breaches_v1 says of one posting, without its statement
                            breached := CASE WHEN debit_after[first_posting] > highest[d] AND signs[d] < 0
                                               OR credit_after[first_posting] < lowest[c] AND signs[c] > 0 THEN 1 ELSE 0 END
                                      + CASE WHEN debit_after[first_posting] > highest[d] AND signs[d] > 0
                                               OR credit_after[first_posting] < lowest[c] AND signs[c] < 0 THEN 2 ELSE 0 END;
                        ELSE
                            SELECT b.breached INTO breached
                            FROM ledger.entry_breaches_v1(
                                debits, credits, highest, lowest, signs, p_debit[first_posting:last_posting],
                                p_credit[first_posting:last_posting], amounts[first_posting:last_posting], true) AS b;
                        END IF;
                    END IF;
                    IF breached > 0 THEN
                        IF breached & 4 = 4 OR modes[i] <> 1 AND action <> POST THEN
                            refusal := least(refusal, CASE WHEN breached & 4 = 4 AND modes[i] = 1 THEN 55
                                                           WHEN breached & 1 = 1 THEN 53 WHEN breached & 2 = 2 THEN 54
                                                           ELSE 55 END);
                        ELSE
                            breach := breach | (breached & 1) | 2 * (breached & 2);
                        END IF;
                    END IF;
                    suspect := false;
                    breached := 0;
                END IF;

                IF refusal < ACCEPTED THEN
                    FOR j IN first_posting..last_posting LOOP
                        IF posting_sequences[j] > 0 THEN
                            debits[p_debit[j]] := debits[p_debit[j]] - amounts[j];
                            credits[p_credit[j]] := credits[p_credit[j]] - amounts[j];
                            posting_sequences[j] := 0;
                        END IF;
                    END LOOP;
                    refusals[i] := refusal;
                    refused := true;
                    refusal := ACCEPTED;
                    breach := 0;
                    IF has_groups AND this_group > 0 THEN  -- all or nothing
                        group_failed := true;
                        FOR m IN group_entry..i - 1 LOOP
                            refusals[m] := 60;
                            IF probing THEN
                                sequences[m] := 0;
                                replayed_at[m] := NULL;
                            END IF;
                            CONTINUE WHEN new_sequences[m] = 0;
                            FOR j IN entry_first[m]..entry_first[m + 1] - 1 LOOP
                                CONTINUE WHEN posting_sequences[j] = 0;
                                debits[p_debit[j]] := debits[p_debit[j]] - amounts[j];
                                credits[p_credit[j]] := credits[p_credit[j]] - amounts[j];
                                posting_sequences[j] := 0;
                            END LOOP;
                            new_sequences[m] := 0;
                            IF breaches IS NOT NULL THEN
                                breaches[m] := 0;
                            END IF;
                            IF probing THEN
                                accepted_as[key_number[m]] := 0;
                            END IF;
                        END LOOP;
                        sequence := group_sequence;
                        original_sequences := saved_sequences; original_drawable := saved_drawable; original_drawn := saved_drawn;
                        reversed := saved_reversed; held := saved_held; last_occurred_at := saved_occurred_at;
                        last_sequences := saved_last_sequences;
                        IF has_holds THEN
                            highest := saved_highest; lowest := saved_lowest;
                            held_debits := saved_held_debits; held_credits := saved_held_credits;
                        END IF;
                    END IF;
                    CONTINUE;
                END IF;
                IF breach > 0 THEN
                    breaches := coalesce(breaches, array_fill(0::smallint, ARRAY[entry_count]));
                    breaches[i] := breach;
                    breach := 0;
                END IF;
            END IF;

            sequence := sequence + 1;
            new_sequences[i] := sequence;
            FOR j IN first_posting..last_posting LOOP
                IF posting_sequences[j] > 0 THEN
                    last_sequences[p_debit[j]] := sequence;
                    last_sequences[p_credit[j]] := sequence;
                END IF;
            END LOOP;
            CONTINUE WHEN NOT rare;
            IF NOT plain THEN
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
                IF has_reversals THEN
                    k := reversal_number[i];
                    IF k > 0 THEN
                        reverses[i] := reversed.sequences[k];
                        FOR j IN first_posting..last_posting LOOP
                            x := reversed.first_line[k] + p_reverses_line[j] - 1;
                            reversed.left_minor[x] := reversed.left_minor[x] - amounts[j];
                        END LOOP;
                    END IF;
                    k := reversed_own[i];
                    IF k > 0 THEN
                        reversed.sequences[k] := sequence;
                        reversed.drawable[k] := coalesce(p_drawable_minor[i] > 0, false);
                        reversed.first_line[k] := coalesce(cardinality(reversed.left_minor), 0) + 1;
                        reversed.line_count[k] := CASE WHEN action IN (0, POST) THEN last_posting - first_posting + 1 ELSE 0 END;
                        FOR j IN first_posting..last_posting LOOP
                            reversed.debits := reversed.debits || coalesce(ids[p_debit[j]], -p_debit[j]);
                            reversed.credits := reversed.credits || coalesce(ids[p_credit[j]], -p_credit[j]);
                            reversed.left_minor := reversed.left_minor || amounts[j];
                        END LOOP;
                    END IF;
                END IF;
                IF has_holds THEN
                    k := hold_own[i];
                    IF action > 0 THEN
                        last_sequences[p_debit[first_posting]] := coalesce(last_sequences[p_debit[first_posting]], 0);
                        last_sequences[p_credit[first_posting]] := coalesce(last_sequences[p_credit[first_posting]], 0);
                    END IF;
                    IF action > PLACE THEN
                        held.resolved[hold_number[i]] := true;
                        holds[i] := held.sequences[hold_number[i]];
                    ELSIF action = PLACE AND k > 0 THEN
                        held.sequences[k] := sequence;
                        held.debits[k] := coalesce(ids[p_debit[first_posting]], -p_debit[first_posting]);
                        held.credits[k] := coalesce(ids[p_credit[first_posting]], -p_credit[first_posting]);
                        held.amounts[k] := amounts[first_posting];
                        held.expires_at[k] := p_hold_expires_at[i];
                        held.resolved[k] := false;
                    END IF;
                END IF;
                IF has_groups AND this_group > 0 THEN
                    group_firsts[i] := group_sequence + 1;
                END IF;
                IF has_imports THEN
                    last_occurred_at := greatest(last_occurred_at, p_occurred_at[i]);
                END IF;
            END IF;
            IF probing THEN
                accepted_as[key_number[i]] := i;
            END IF;
        END LOOP;

        BEGIN
            IF entry_count = 1 AND sequence > head_sequence THEN
                INSERT INTO ledger.idempotency_keys (book_id, key, sequence, recorded_at)
                VALUES (p_book, p_key[1], sequence, posted_at);
            ELSE
                INSERT INTO ledger.idempotency_keys (book_id, key, sequence, recorded_at)
                SELECT p_book, u.key, u.sequence, posted_at
                FROM (SELECT unnest(p_key) AS key, unnest(new_sequences) AS sequence) AS u WHERE u.sequence > 0;
            END IF;
            -- What was refused may be the repetition of something posted, or of a member of its refused group.
            IF refused AND NOT probing THEN
                IF EXISTS (
                    SELECT FROM unnest(p_key, new_sequences) AS u(key, sequence)
                    WHERE u.sequence = 0 AND (SELECT q.sequence FROM ledger.idempotency_keys AS q
                                              WHERE q.book_id = p_book AND q.key = u.key LIMIT 1) IS NOT NULL
                ) OR has_groups AND (SELECT count(DISTINCT u.key) < entry_count FROM unnest(p_key) AS u(key)) THEN
                    RAISE unique_violation;
                END IF;
            END IF;
            EXIT;
        EXCEPTION WHEN unique_violation THEN
            IF probing THEN
                RAISE EXCEPTION 'a key is in the books and was not found' USING ERRCODE = 'QK004';
            END IF;
            probing := true;
        END;
    END LOOP;

    IF has_up_to THEN
        posted_minor := amounts;
    END IF;
    IF NOT probing THEN
        sequences := new_sequences;
    ELSE
        FOR i IN 1..entry_count LOOP
            IF new_sequences[i] > 0 THEN
                sequences[i] := new_sequences[i];
            END IF;
        END LOOP;
        IF has_up_to THEN
            posted_minor := ledger.replayed_amounts_v1(p_book, amounts, sequences, replayed_at, posted_at, p_posting_count);
        END IF;
    END IF;
    -- Whoever posts commits next: what follows in this transaction may not write any more.
    IF sequence = head_sequence THEN
        setting := set_config('transaction_read_only', 'on', true);
        RETURN (refusals, sequences, posted_at, replayed_at, breaches, found_ids, posted_minor)::ledger.answer_v1;
    END IF;

    -- Accounts: opened, then moved, by the place where each row was read: under the book's lock nobody has moved it since.
    IF array_position(ids, NULL) IS NOT NULL THEN
        SELECT array_agg(u.position), ledger.open_accounts_v1(
                   p_book, array_agg(u.kind), array_agg(u.owner), array_agg(u.currency))
        INTO opened, opened_ids
        FROM (SELECT unnest(p_name_position) AS position, unnest(p_name_kind) AS kind, unnest(p_name_owner) AS owner,
                     unnest(p_name_currency) AS currency) AS u
        WHERE ids[u.position] IS NULL AND last_sequences[u.position] IS NOT NULL;
        SELECT array_agg((SELECT a.ctid FROM ledger.accounts AS a
                          WHERE a.book_id = p_book AND a.account_id BETWEEN u.id AND u.id ORDER BY a.account_id LIMIT 1))
        INTO opened_rows FROM (SELECT unnest((SELECT opened_ids)) AS id) AS u;
        FOR k IN 1..coalesce(cardinality(opened), 0) LOOP
            ids[opened[k]] := opened_ids[k];
            rows_at[opened[k]] := opened_rows[k];
        END LOOP;
    END IF;
    IF has_holds THEN
        UPDATE ledger.accounts AS a
        SET debits_posted = u.debits, credits_posted = u.credits, debits_held = u.debits_held, credits_held = u.credits_held,
            last_sequence = greatest(u.last_sequence, a.last_sequence),
            effective_on = CASE WHEN same_day AND u.last_sequence > 0 THEN first_day ELSE a.effective_on END
        FROM (
            SELECT x.* FROM (
                SELECT unnest((SELECT rows_at)) AS row_at, unnest((SELECT debits)) AS debits,
                       unnest((SELECT credits)) AS credits,
                       unnest((SELECT held_debits)) AS debits_held, unnest((SELECT held_credits)) AS credits_held,
                       unnest((SELECT last_sequences)) AS last_sequence
            ) AS x
            WHERE x.last_sequence IS NOT NULL LIMIT (SELECT account_count)
        ) AS u
        WHERE a.ctid = u.row_at AND a.book_id = p_book;
        GET DIAGNOSTICS k = ROW_COUNT;
    ELSIF account_count <= 2 THEN  -- two plain statements start sooner than the one that joins
        k := 0;
        FOR m IN 1..account_count LOOP
            CONTINUE WHEN last_sequences[m] IS NULL;
            UPDATE ledger.accounts AS a
            SET debits_posted = debits[m], credits_posted = credits[m], last_sequence = last_sequences[m],
                effective_on = CASE WHEN same_day THEN first_day ELSE a.effective_on END
            WHERE a.ctid = rows_at[m] AND a.book_id = p_book;
            IF FOUND THEN
                k := k + 1;
            END IF;
        END LOOP;
    ELSE
        UPDATE ledger.accounts AS a
        SET debits_posted = u.debits, credits_posted = u.credits, last_sequence = u.last_sequence,
            effective_on = CASE WHEN same_day THEN first_day ELSE a.effective_on END
        FROM (
            SELECT x.* FROM (
                SELECT unnest((SELECT rows_at)) AS row_at, unnest((SELECT debits)) AS debits,
                       unnest((SELECT credits)) AS credits,
                       unnest((SELECT last_sequences)) AS last_sequence
            ) AS x
            WHERE x.last_sequence IS NOT NULL LIMIT (SELECT account_count)
        ) AS u
        WHERE a.ctid = u.row_at AND a.book_id = p_book;
        GET DIAGNOSTICS k = ROW_COUNT;
    END IF;
    IF k <> cardinality(array_remove(last_sequences, NULL)) THEN
        RAISE EXCEPTION '% accounts moved, % found', cardinality(array_remove(last_sequences, NULL)), k USING ERRCODE = 'QK004';
    END IF;
    IF NOT same_day THEN
        PERFORM ledger.move_days_v1(p_book, array_agg(t.account_id), array_agg(t.day), array_agg(t.debits), array_agg(t.credits))
        FROM (
            SELECT ids[u.account] AS account_id, u.day, sum(u.debits)::bigint AS debits, sum(u.credits)::bigint AS credits
            FROM (
                SELECT unnest(p_debit) AS account, unnest(amounts) AS debits, 0::bigint AS credits,
                       unnest(posting_sequences) AS sequence, unnest(e.days) AS day
                FROM (SELECT ledger.days_of_v1(p_effective_on, p_posting_count) AS days) AS e
                UNION ALL
                SELECT unnest(p_credit), 0, unnest(amounts), unnest(posting_sequences), unnest(e.days)
                FROM (SELECT ledger.days_of_v1(p_effective_on, p_posting_count) AS days) AS e
            ) AS u
            WHERE u.sequence > 0
            GROUP BY ids[u.account], u.day
        ) AS t;
    END IF;

    -- One row goes by VALUES, which is a little cheaper to start.
    IF entry_count = 1 THEN
        INSERT INTO ledger.entries (book_id, sequence, recorded_at, block_number, key, effective_on, kind, caller, metadata,
                                    booked_on, occurred_at, group_first, draws_on, drawn_minor, drawable_minor, reverses,
                                    hold_action, hold)
        VALUES (p_book, sequence, posted_at, head_block + 1, p_key[1], p_effective_on[1], p_kind[1], p_caller[1], p_metadata[1],
                booked_on[1], p_occurred_at[1], group_firsts[1], draws_on[1], p_drawn_minor[1], p_drawable_minor[1],
                reverses[1], p_hold_action[1], holds[1]);
    ELSIF plain THEN
        INSERT INTO ledger.entries (book_id, sequence, recorded_at, block_number, key, effective_on, kind, caller, metadata)
        SELECT p_book, u.sequence, posted_at, head_block + 1, u.key, u.effective_on, u.kind, u.caller, u.metadata
        FROM (SELECT unnest(new_sequences) AS sequence, unnest(p_key) AS key, unnest(p_effective_on) AS effective_on,
                     unnest(p_kind) AS kind, unnest(p_caller) AS caller, unnest(p_metadata) AS metadata) AS u
        WHERE u.sequence > 0;
    ELSE
        INSERT INTO ledger.entries (book_id, sequence, recorded_at, block_number, key, effective_on, kind, caller, metadata,
                                    booked_on, occurred_at, group_first, draws_on, drawn_minor, drawable_minor, reverses,
                                    hold_action, hold)
        SELECT p_book, u.sequence, posted_at, head_block + 1, u.key, u.effective_on, u.kind, u.caller, u.metadata,
               u.booked_on, u.occurred_at, u.group_first, u.draws_on, u.drawn_minor, u.drawable_minor, u.reverses,
               u.hold_action, u.hold
        FROM (SELECT unnest(new_sequences) AS sequence, unnest(p_key) AS key, unnest(p_effective_on) AS effective_on,
                     unnest(p_kind) AS kind, unnest(p_caller) AS caller, unnest(p_metadata) AS metadata,
                     unnest(booked_on) AS booked_on, unnest(p_occurred_at) AS occurred_at, unnest(group_firsts) AS group_first,
                     unnest(draws_on) AS draws_on, unnest(p_drawn_minor) AS drawn_minor,
                     unnest(p_drawable_minor) AS drawable_minor, unnest(reverses) AS reverses,
                     unnest(p_hold_action) AS hold_action, unnest(holds) AS hold) AS u
        WHERE u.sequence > 0;
    END IF;

    IF posting_count = 1 AND posting_sequences[1] > 0 THEN
        d := p_debit[1];
        c := p_credit[1];
        INSERT INTO ledger.postings (book_id, sequence, recorded_at, debit_account, credit_account, amount_minor,
                                     debit_balance_after, credit_balance_after, line, reverses_line, available_on, up_to_minor)
        VALUES (p_book, sequence, posted_at, ids[d], ids[c], amounts[1], debit_after[1] * signs[d], credit_after[1] * signs[c],
                1, p_reverses_line[1], p_available_on[1], CASE WHEN p_up_to[1] > 0 THEN p_amount_minor[1] END);
    ELSIF plain AND p_available_on IS NULL THEN
        INSERT INTO ledger.postings (book_id, sequence, recorded_at, debit_account, credit_account, amount_minor,
                                     debit_balance_after, credit_balance_after, line)
        SELECT p_book, u.sequence, posted_at, ids[u.d], ids[u.c], u.amount_minor, u.debit_after * signs[u.d],
               u.credit_after * signs[u.c], u.line
        FROM (SELECT unnest(posting_sequences) AS sequence, unnest(lines) AS line, unnest(p_debit) AS d,
                     unnest(p_credit) AS c, unnest(amounts) AS amount_minor, unnest(debit_after) AS debit_after,
                     unnest(credit_after) AS credit_after) AS u
        WHERE u.sequence > 0;
    ELSE
        INSERT INTO ledger.postings (book_id, sequence, recorded_at, debit_account, credit_account, amount_minor,
                                     debit_balance_after, credit_balance_after, line, reverses_line, available_on, up_to_minor)
        SELECT p_book, u.sequence, posted_at, ids[u.d], ids[u.c], u.amount_minor, u.debit_after * signs[u.d],
               u.credit_after * signs[u.c], u.line, u.reverses_line, u.available_on,
               CASE WHEN u.up_to > 0 THEN u.asked_minor END
        FROM (SELECT unnest(posting_sequences) AS sequence, unnest(lines) AS line, unnest(p_debit) AS d, unnest(p_credit) AS c,
                     unnest(amounts) AS amount_minor, unnest(debit_after) AS debit_after, unnest(credit_after) AS credit_after,
                     unnest(p_available_on) AS available_on, unnest(p_reverses_line) AS reverses_line, unnest(p_up_to) AS up_to,
                     unnest(p_amount_minor) AS asked_minor) AS u
        WHERE u.sequence > 0;
    END IF;

    IF cardinality(p_reference_entry) > 0 THEN
        INSERT INTO ledger.entry_references (book_id, scheme, value, sequence)
        SELECT p_book, u.scheme, u.value, new_sequences[u.entry]
        FROM (SELECT unnest(p_reference_entry) AS entry, unnest(p_reference_scheme) AS scheme,
                     unnest(p_reference_value) AS value) AS u
        WHERE new_sequences[u.entry] > 0;
    END IF;
    IF NOT plain THEN
        IF entry_count = 1 THEN
            IF p_drawable_minor[1] IS NOT NULL THEN
                INSERT INTO ledger.entry_caps (book_id, sequence, drawable_minor, drawn_minor)
                VALUES (p_book, sequence, p_drawable_minor[1], 0);
            END IF;
        ELSIF p_drawable_minor IS NOT NULL THEN
            INSERT INTO ledger.entry_caps (book_id, sequence, drawable_minor, drawn_minor)
            SELECT p_book, u.sequence, u.drawable_minor, 0
            FROM unnest(new_sequences, p_drawable_minor) AS u(sequence, drawable_minor)
            WHERE u.sequence > 0 AND u.drawable_minor IS NOT NULL;
        END IF;
        IF has_draws THEN
            UPDATE ledger.entry_caps AS e SET drawn_minor = u.drawn_minor
            FROM (
                SELECT c.row_at, o.drawn_minor
                FROM unnest((SELECT original_sequences), (SELECT original_drawn)) AS o(sequence, drawn_minor)
                CROSS JOIN LATERAL (
                    SELECT r.ctid AS row_at FROM ledger.entry_caps AS r
                    WHERE r.book_id = p_book AND r.sequence = o.sequence LIMIT 1
                ) AS c
                LIMIT (SELECT cardinality(original_sequences))
            ) AS u
            WHERE e.ctid = u.row_at AND e.book_id = p_book AND e.drawn_minor <> u.drawn_minor;
        END IF;
        IF has_holds THEN
            PERFORM ledger.write_holds_v1(p_book, p_hold_action, p_hold_expires_at, holds, new_sequences, p_posting_count,
                                          p_debit, p_credit, amounts, ids);
        END IF;
    END IF;

    -- bench: hash begins
    IF single AND plain AND p_available_on IS NULL AND p_reference_entry IS NULL THEN
        IF entry_count = 1 THEN
            leaves := sha256(sha256(
                ledger.leaf_head_v1(p_book, sequence, posted_at, head_block + 1, p_key[1], p_effective_on[1], p_kind[1],
                                    p_caller[1], p_metadata[1])
                || '\x000000010000000000'::bytea
                || ledger.leaf_line_v1(1::smallint, ids[d], ids[c], amounts[1], debit_after[1] * signs[d],
                                       credit_after[1] * signs[c], NULL)));
        ELSE
            SELECT sha256(string_agg(sha256(
                ledger.leaf_head_v1(p_book, u.sequence, posted_at, head_block + 1, u.key, u.effective_on, u.kind, u.caller,
                                    u.metadata)
                || '\x000000010000000000'::bytea
                || ledger.leaf_line_v1(1::smallint, ids[u.d], ids[u.c], u.amount_minor, u.debit_after * signs[u.d],
                                       u.credit_after * signs[u.c], NULL)
            ), ''::bytea)) INTO leaves
            FROM (SELECT unnest(new_sequences) AS sequence, unnest(p_key) AS key, unnest(p_effective_on) AS effective_on,
                         unnest(p_kind) AS kind, unnest(p_caller) AS caller, unnest(p_metadata) AS metadata,
                         unnest(p_debit) AS d, unnest(p_credit) AS c, unnest(amounts) AS amount_minor,
                         unnest(debit_after) AS debit_after, unnest(credit_after) AS credit_after) AS u
            WHERE u.sequence > 0;
        END IF;
    ELSIF num_nonnulls(p_original_key, p_reverses_key, p_hold_action, p_group, p_occurred_at, p_up_to) > 0 THEN
        leaves := ledger.leaves_hash_v1(p_book, head_sequence, sequence, posted_at);
    ELSIF entry_count > 3 THEN
        leaves := ledger.given_leaves_hash_v1(
            p_book, head_block + 1, posted_at, new_sequences, p_key, p_effective_on, p_kind, p_caller, p_metadata,
            booked_on, p_drawable_minor, posting_sequences, lines, p_debit, p_credit, amounts, debit_after, credit_after,
            p_available_on, ids, signs, p_reference_entry, p_reference_scheme, p_reference_value);
    ELSE  -- of few, expressions cost less than a statement that aggregates
        leaves := ''::bytea;
        last_posting := 0;
        FOR i IN 1..entry_count LOOP
            first_posting := last_posting + 1;
            last_posting := last_posting + p_posting_count[i];
            CONTINUE WHEN new_sequences[i] = 0;
            leaf_lines := ''::bytea;
            FOR j IN first_posting..last_posting LOOP
                d := p_debit[j];
                c := p_credit[j];
                leaf_lines := leaf_lines || ledger.leaf_line_v1(
                    lines[j], ids[d], ids[c], amounts[j], debit_after[j] * signs[d], credit_after[j] * signs[c],
                    p_available_on[j]);
            END LOOP;
            k := 0;
            IF cardinality(p_reference_entry) > 0 THEN
                SELECT count(*), leaf_lines || coalesce(string_agg(
                    ledger.leaf_name_v1(u.scheme, u.value), ''::bytea ORDER BY u.scheme COLLATE "C", u.value COLLATE "C"), '')
                INTO k, leaf_lines
                FROM (SELECT unnest(p_reference_entry) AS entry, unnest(p_reference_scheme) AS scheme,
                             unnest(p_reference_value) AS value) AS u
                WHERE u.entry = i;
            END IF;
            leaves := leaves || sha256(
                ledger.leaf_head_v1(p_book, new_sequences[i], posted_at, head_block + 1, p_key[i], p_effective_on[i], p_kind[i],
                                    p_caller[i], p_metadata[i])
                || int4send(p_posting_count[i]) || int4send(k) || ledger.leaf_rare_v1(booked_on[i], p_drawable_minor[i])
                || leaf_lines);
        END LOOP;
        leaves := sha256(leaves);
    END IF;
    -- bench: hash ends
    INSERT INTO ledger.blocks (book_id, recorded_at, block_number, incarnation, layout_version, first_sequence,
                               last_sequence, previous_hash, hash)
    VALUES (p_book, posted_at, head_block + 1, head_incarnation, 1, head_sequence + 1, sequence, head_hash,
            ledger.block_hash_v1(head_hash, 1::smallint, p_book, head_incarnation, head_block + 1,
                                 head_sequence + 1, sequence, posted_at, leaves));
    -- What is acknowledged is durable, whatever a session or role was set to in order to be faster elsewhere.
    IF current_setting('synchronous_commit') = 'off' THEN
        setting := set_config('synchronous_commit', 'on', true);
    END IF;
    setting := set_config('transaction_read_only', 'on', true);
    RETURN (refusals, sequences, posted_at, replayed_at, breaches, found_ids, posted_minor)::ledger.answer_v1;
END
$function$
