-- Opens what is missing of some accounts, with the limits of their kind, under the book's lock; their numbers, in order.
CREATE FUNCTION ledger.open_accounts_v1(p_book bigint, p_kind smallint[], p_owner text[], p_currency text[])
RETURNS bigint[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off
AS $function$
DECLARE
    opened_at timestamptz;
    last_account bigint;
    account_ids bigint[];
    missing bigint[];
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'accounts are opened in READ COMMITTED' USING ERRCODE = 'QK002';
    END IF;
    PERFORM 1 FROM ledger.books AS b WHERE b.book_id = p_book FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no book %', p_book USING ERRCODE = 'QK001';
    END IF;
    IF EXISTS (SELECT FROM unnest((SELECT p_kind), (SELECT p_currency)) AS u(kind, currency)
               LEFT JOIN ledger.account_kinds AS k ON k.kind = u.kind
               LEFT JOIN ledger.currencies AS c ON c.currency = u.currency
               WHERE k.kind IS NULL OR c.currency IS NULL)
    THEN
        RAISE EXCEPTION 'no such kind of account, or no such currency' USING ERRCODE = '22023';
    END IF;
    SELECT b.recorded_at INTO opened_at FROM ledger.blocks AS b
    WHERE b.book_id = p_book ORDER BY b.recorded_at DESC LIMIT 1;
    opened_at := greatest(clock_timestamp(), opened_at);
    last_account := coalesce((
        SELECT a.account_id FROM ledger.accounts AS a WHERE a.book_id = p_book ORDER BY a.account_id DESC LIMIT 1), 0);
    -- A look-up each, in the order of the one index that is meant: see post_entries_v1.
    SELECT array_agg(t.n ORDER BY t.n) INTO missing
    FROM (
        SELECT DISTINCT ON (u.kind, u.owner, u.currency) u.n,
               (SELECT a.account_id FROM ledger.accounts AS a
                WHERE a.book_id = p_book AND (a.kind, a.owner, a.currency) >= (u.kind, u.owner, u.currency)
                    AND (a.kind, a.owner, a.currency) <= (u.kind, u.owner, u.currency)
                ORDER BY a.kind, a.owner, a.currency LIMIT 1) AS account_id
        FROM unnest((SELECT p_kind), (SELECT p_owner), (SELECT p_currency)) WITH ORDINALITY AS u(kind, owner, currency, n)
        ORDER BY u.kind, u.owner, u.currency, u.n
    ) AS t
    WHERE t.account_id IS NULL;
    INSERT INTO ledger.accounts (book_id, account_id, fingerprint, opened_at, kind, sign, currency, owner,
                                 floor_minor, ceiling_minor)
    SELECT p_book, last_account + m.position,
           ('x' || encode(substr(sha256(int2send(m.kind) || convert_to(m.owner, 'UTF8') || '\x00'
                                        || convert_to(m.currency, 'UTF8')), 1, 8), 'hex'))::bit(64)::bigint,
           opened_at, m.kind, CASE k.normal_side WHEN 'D' THEN 1 ELSE -1 END, m.currency, m.owner,
           k.floor_minor, k.ceiling_minor
    FROM (SELECT p_kind[x.n] AS kind, p_owner[x.n] AS owner, p_currency[x.n] AS currency, x.position
          FROM unnest((SELECT missing)) WITH ORDINALITY AS x(n, position)) AS m
    JOIN ledger.account_kinds AS k ON k.kind = m.kind;
    SELECT array_agg((SELECT a.account_id FROM ledger.accounts AS a
                      WHERE a.book_id = p_book AND (a.kind, a.owner, a.currency) >= (u.kind, u.owner, u.currency)
                          AND (a.kind, a.owner, a.currency) <= (u.kind, u.owner, u.currency)
                      ORDER BY a.kind, a.owner, a.currency LIMIT 1) ORDER BY u.n)
    INTO account_ids
    FROM unnest((SELECT p_kind), (SELECT p_owner), (SELECT p_currency)) WITH ORDINALITY AS u(kind, owner, currency, n);
    RETURN account_ids;
END
$function$
