-- Read-only statements of the ledger. $1 is always the book. Rows never change, so `sequence <= cut` is stable.

-- name: head
SELECT b.last_sequence FROM ledger.blocks AS b WHERE b.book_id = $1 ORDER BY b.recorded_at DESC LIMIT 1;

-- name: consumers
SELECT c.name, c.sequence, greatest(coalesce(h.last_sequence, 0) - c.sequence, 0) AS behind,
       CASE WHEN c.leased_until > clock_timestamp() THEN c.leased_until END AS leased_until
FROM ledger.feed_consumers AS c
LEFT JOIN LATERAL (
    SELECT b.last_sequence FROM ledger.blocks AS b WHERE b.book_id = $1 ORDER BY b.recorded_at DESC LIMIT 1
) AS h ON true
WHERE c.book_id = $1 ORDER BY c.name;

-- name: lock_opening
-- One opener of books at a time, until its transaction ends. The next statement sees what the last one opened.
SELECT pg_advisory_xact_lock(7453010364987428);

-- name: wait_for_locks
-- How long this transaction waits for a lock from now on.
SELECT set_config('lock_timeout', $1, true);

-- name: lock_timeout
SELECT current_setting('lock_timeout');

-- name: next_book_id
-- Test books count from 1000.
SELECT greatest(max(b.book_id) + 1, 1000) FROM ledger.books AS b;

-- name: newest_block
SELECT b.* FROM ledger.blocks AS b WHERE b.book_id = $1 ORDER BY b.recorded_at DESC LIMIT 1;

-- name: blocks_after
SELECT b.* FROM ledger.blocks AS b
WHERE b.book_id = $1 AND b.recorded_at > coalesce($2::timestamptz, '-infinity') AND b.recorded_at <= $3
ORDER BY b.recorded_at LIMIT $4;

-- name: postings_between
SELECT p.*, d.kind AS debit_kind, d.currency AS debit_currency, dk.normal_side AS debit_normal_side,
       c.kind AS credit_kind, c.currency AS credit_currency, ck.normal_side AS credit_normal_side
FROM ledger.postings AS p
LEFT JOIN ledger.accounts AS d ON d.book_id = $1 AND d.account_id = p.debit_account
LEFT JOIN ledger.account_kinds AS dk ON dk.kind = d.kind
LEFT JOIN ledger.accounts AS c ON c.book_id = $1 AND c.account_id = p.credit_account
LEFT JOIN ledger.account_kinds AS ck ON ck.kind = c.kind
WHERE p.book_id = $1 AND p.sequence > $2 AND p.sequence <= $3;

-- name: references_between
SELECT r.sequence, r.scheme, r.value FROM ledger.entry_references AS r
WHERE r.book_id = $1 AND r.sequence > $2 AND r.sequence <= $3;

-- name: keys_after
SELECT q.key, q.sequence, e.key IS NOT NULL AS found
FROM (
    SELECT x.* FROM ledger.idempotency_keys AS x
    WHERE x.book_id = $1 AND x.key > coalesce($2::uuid, '00000000-0000-0000-0000-000000000000')
    ORDER BY x.key LIMIT $3
) AS q
LEFT JOIN ledger.entries AS e
    ON e.book_id = $1 AND e.sequence = q.sequence AND e.recorded_at = q.recorded_at AND e.key = q.key
ORDER BY q.key;

-- name: beyond_head
WITH head AS (
    SELECT b.last_sequence FROM ledger.blocks AS b WHERE b.book_id = $1 ORDER BY b.recorded_at DESC LIMIT 1
), outside AS (
    SELECT 'entries' AS table_name, e.sequence FROM ledger.entries AS e, head AS h
    WHERE e.book_id = $1 AND (e.sequence < 1 OR e.sequence > h.last_sequence)
    UNION ALL
    SELECT 'postings', p.sequence FROM ledger.postings AS p, head AS h
    WHERE p.book_id = $1 AND (p.sequence < 1 OR p.sequence > h.last_sequence)
    UNION ALL
    SELECT 'entry_references', r.sequence FROM ledger.entry_references AS r, head AS h
    WHERE r.book_id = $1 AND (r.sequence < 1 OR r.sequence > h.last_sequence)
    UNION ALL
    SELECT 'entry_caps', c.sequence FROM ledger.entry_caps AS c, head AS h
    WHERE c.book_id = $1 AND (c.sequence < 1 OR c.sequence > h.last_sequence)
)
SELECT o.table_name, count(*) AS row_count, max(h.last_sequence) AS head
FROM outside AS o, head AS h GROUP BY o.table_name ORDER BY o.table_name;

-- name: totals_by_currency
SELECT a.currency, count(*) AS accounts, sum(a.debits_posted) AS debits, sum(a.credits_posted) AS credits
FROM ledger.accounts AS a WHERE a.book_id = $1 GROUP BY a.currency ORDER BY a.currency;

-- name: tables_and_guards
-- Every table of the ledger with its guards (triggers that fire ALWAYS) and with whoever but the owner may write.
SELECT t.relname AS table_name,
       t.relkind = 'r' AND NOT t.relispartition
           AND t.relname ~ '^(entries|postings|blocks|idempotency_keys)_' AS unbound,
       EXISTS (SELECT FROM pg_trigger AS g WHERE g.tgrelid = t.oid AND g.tgname = 'append_only'
               AND g.tgenabled = 'A' AND g.tgtype & 8 = 8 AND g.tgtype & 16 = 16) AS row_guarded,
       EXISTS (SELECT FROM pg_trigger AS g WHERE g.tgrelid = t.oid AND g.tgname = 'append_only_truncate'
               AND g.tgenabled = 'A') AS truncate_guarded,
       ARRAY(SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END
             FROM aclexplode(t.relacl) AS a
             WHERE a.grantee <> t.relowner AND a.privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')
             ORDER BY 1) AS writers
FROM pg_class AS t
WHERE t.relnamespace = 'ledger'::regnamespace AND t.relkind IN ('r', 'p')
ORDER BY t.relname;

-- name: ddl_guard
SELECT count(*) = 2 FROM pg_event_trigger AS e
JOIN pg_proc AS p ON p.oid = e.evtfoid AND p.proname = 'guard_ddl_v1'
JOIN pg_namespace AS n ON n.oid = p.pronamespace AND n.nspname = 'ledger_fence'
WHERE e.evtname IN ('ledger_ddl_guard', 'ledger_drop_guard') AND e.evtenabled = 'A';

-- name: end_backend
-- Ends a backend of this role and waits until it is gone; no row where it is gone already.
SELECT pg_terminate_backend(a.pid, 5000) FROM pg_stat_activity AS a
WHERE a.pid = $1 AND a.usename = current_user AND a.pid <> pg_backend_pid();

-- name: functions
-- Every function in the ledger's schemas, as far as it decides what happens.
SELECT p.proname AS name, p.oid::regprocedure::text AS signature, p.prosrc AS body, l.lanname AS language,
       p.prosecdef AS security_definer, coalesce(p.proconfig, '{}') AS settings,
       CASE p.provolatile WHEN 'i' THEN 'IMMUTABLE' WHEN 's' THEN 'STABLE' ELSE 'VOLATILE' END AS volatility,
       p.proowner = n.nspowner AS owned_by_owner,
       p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) AS a WHERE a.grantee = 0) AS for_everybody
FROM pg_proc AS p
JOIN pg_language AS l ON l.oid = p.prolang
JOIN pg_namespace AS n ON n.oid = p.pronamespace
WHERE n.nspname IN ('ledger', 'ledger_fence')
ORDER BY p.proname, p.oid;

-- name: additions
-- What can swallow, change or hide rows of the ledger's tables and is no guard of ours.
SELECT t.oid::regclass::text AS table_name, x.what
FROM pg_class AS t
CROSS JOIN LATERAL (
    SELECT 'trigger ' || g.tgname AS what FROM pg_trigger AS g
    JOIN pg_proc AS p ON p.oid = g.tgfoid
    WHERE g.tgrelid = t.oid AND NOT g.tgisinternal AND NOT (
        g.tgname IN ('append_only', 'append_only_truncate') AND p.proname = 'refuse_change_v1'
        AND p.pronamespace = t.relnamespace AND g.tgqual IS NULL)
    UNION ALL
    SELECT 'rule ' || r.rulename FROM pg_rewrite AS r WHERE r.ev_class = t.oid
    UNION ALL
    SELECT 'policy ' || p.polname FROM pg_policy AS p WHERE p.polrelid = t.oid
    UNION ALL
    SELECT 'row security' WHERE t.relrowsecurity OR t.relforcerowsecurity
) AS x
WHERE t.relnamespace = 'ledger'::regnamespace AND t.relkind IN ('r', 'p')
ORDER BY 1, 2;

-- name: keyless
-- Tables and partitions of the ledger whose primary key is gone or not valid. Postings have none, entries one a month.
SELECT t.oid::regclass::text AS table_name
FROM pg_class AS t
WHERE t.relnamespace = 'ledger'::regnamespace AND t.relkind IN ('r', 'p')
    AND t.relname <> 'entries' AND t.relname !~ '^postings(_[0-9]{4}_[0-9]{2})?$'
    AND NOT EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = t.oid AND i.indisprimary AND i.indisvalid)
ORDER BY 1;

-- name: greatest_sequence
SELECT coalesce(max(e.sequence), 0) AS sequence FROM ledger.entries AS e WHERE e.book_id = $1;

-- name: months_made
-- The months that have a partition of all three tables, attached.
SELECT to_date(right(c.relname, 7), 'YYYY_MM') AS month
FROM pg_catalog.pg_inherits AS i
JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent IN ('ledger.entries'::regclass, 'ledger.postings'::regclass, 'ledger.blocks'::regclass)
GROUP BY 1
HAVING count(*) = 3;

-- name: blocks_between
SELECT b.* FROM ledger.blocks AS b
WHERE b.book_id = $1 AND b.recorded_at > $2 AND b.recorded_at <= $3 ORDER BY b.recorded_at;

-- name: holds_placed_or_resolved
-- Holds that the entries after $2 through $3 placed, and those that they resolved.
SELECT h.* FROM ledger.holds AS h WHERE h.book_id = $1 AND h.sequence > $2 AND h.sequence <= $3
UNION
SELECT h.*
FROM ledger.entries AS e
JOIN ledger.holds AS h ON h.book_id = $1 AND h.sequence = e.hold
WHERE e.book_id = $1 AND e.sequence > $2 AND e.sequence <= $3 AND e.hold_action IN (2, 3, 4);

-- name: entries_with_holds_between
-- Entries with every column that is sealed in them: a placed hold stands in a table of its own.
SELECT e.*, h.debit_account AS hold_debit_account, h.credit_account AS hold_credit_account,
       h.amount_minor AS hold_amount_minor, h.expires_at AS hold_expires_at
FROM ledger.entries AS e
LEFT JOIN ledger.holds AS h ON h.book_id = $1 AND h.sequence = e.sequence
WHERE e.book_id = $1 AND e.sequence > $2 AND e.sequence <= $3 ORDER BY e.sequence;

-- name: archive_refusals
SELECT r.reason FROM ledger.archive_refusals_v1($1, $2) AS r;

-- name: archived_months
-- Every month of every book that was ever archived, and where its rows are now.
SELECT a.book_id, a.month, a.first_sequence, a.last_sequence, a.head_hash, a.merkle_root, a.manifest_hash, a.archived_at,
       CASE WHEN bool_or(c.nspname = 'ledger') THEN 'books' WHEN count(c.nspname) > 0 THEN 'ledger_archive' ELSE 'export' END
           AS place
FROM ledger.archives AS a
LEFT JOIN (
    SELECT n.nspname, t.relname FROM pg_catalog.pg_class AS t JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace
    WHERE n.nspname IN ('ledger', 'ledger_archive')
) AS c ON c.relname = 'entries_' || to_char(a.month, 'YYYY_MM')
GROUP BY a.book_id, a.month ORDER BY a.month, a.book_id;

-- name: newest_archive
-- Of the months that are away: the one that the books go on from.
SELECT a.* FROM ledger.archives AS a
WHERE a.book_id = $1 AND to_regclass('ledger.entries_' || to_char(a.month, 'YYYY_MM')) IS NULL
ORDER BY a.month DESC LIMIT 1;

-- name: archived_balances
SELECT o.account_id, o.debits_posted, o.credits_posted, o.debits_held, o.credits_held, o.last_sequence
FROM ledger.archived_balances AS o WHERE o.book_id = $1 AND o.month = $2;

-- name: archived_draws
SELECT o.sequence, o.drawn_minor FROM ledger.archived_draws AS o WHERE o.book_id = $1 AND o.month = $2;

-- name: archives_in_order
-- Every archive with the one before, the block that the books kept of it, and the sum of its balances.
SELECT a.month, a.first_sequence, a.last_sequence, a.first_block, a.head_hash, a.contents_hash, b.hash AS kept_hash,
       to_regclass('ledger.entries_' || to_char(a.month, 'YYYY_MM')) IS NULL AS away,
       lag(a.last_sequence, 1, 0::bigint) OVER (ORDER BY a.month) AS last_before,
       lag(a.last_block, 1, -1::bigint) OVER (ORDER BY a.month) AS block_before,
       (SELECT coalesce(sum(o.debits_posted) - sum(o.credits_posted), 0) FROM ledger.archived_balances AS o
        WHERE o.book_id = $1 AND o.month = a.month) AS difference_minor
FROM ledger.archives AS a
LEFT JOIN ledger.blocks AS b ON b.book_id = $1 AND b.recorded_at = a.ends_at
WHERE a.book_id = $1 ORDER BY a.month;

-- name: archived_contents_hash
-- Over what is kept of the archived entries $2 through $3: their contents, and what their balancing postings moved.
SELECT sha256(coalesce((
    SELECT string_agg(sha256(int8send(c.first_sequence) || c.hashes), ''::bytea ORDER BY c.first_sequence)
    FROM ledger.archived_contents AS c WHERE c.book_id = $1 AND c.first_sequence BETWEEN $2 AND $3), '')
|| coalesce((
    SELECT string_agg(int8send(m.sequence) || int2send(m.line) || int8send(m.amount_minor), ''::bytea
                      ORDER BY m.sequence, m.line)
    FROM ledger.archived_amounts AS m WHERE m.book_id = $1 AND m.sequence BETWEEN $2 AND $3), '')) AS hash;

-- name: books_of_month
-- The books that have blocks in the half-open span $1 … $2: of what they hold there, the hash that it follows, and its last.
SELECT b.book_id, min(b.first_sequence) AS first_sequence, max(b.last_sequence) AS last_sequence,
       (array_agg(b.previous_hash ORDER BY b.recorded_at))[1] AS previous_hash,
       (array_agg(b.hash ORDER BY b.recorded_at DESC))[1] AS head_hash
FROM ledger.blocks AS b WHERE b.recorded_at >= $1 AND b.recorded_at < $2 GROUP BY b.book_id ORDER BY b.book_id;

-- name: block_hashes_of_month
SELECT b.hash FROM ledger.blocks AS b
WHERE b.book_id = $1 AND b.recorded_at >= $2 AND b.recorded_at < $3 ORDER BY b.recorded_at;

-- name: export_entries
SELECT e.* FROM ledger.entries AS e WHERE e.book_id = $1 AND e.sequence > $2 AND e.sequence <= $3 ORDER BY e.sequence;

-- name: export_postings
SELECT p.* FROM ledger.postings AS p
WHERE p.book_id = $1 AND p.sequence > $2 AND p.sequence <= $3 ORDER BY p.sequence, p.line;

-- name: export_references
SELECT r.* FROM ledger.entry_references AS r
WHERE r.book_id = $1 AND r.sequence > $2 AND r.sequence <= $3 ORDER BY r.sequence, r.scheme, r.value;

-- name: export_holds
SELECT h.* FROM ledger.holds AS h
WHERE h.book_id = $1 AND h.sequence > $2 AND h.sequence <= $3 ORDER BY h.sequence;

-- name: export_blocks
SELECT b.* FROM ledger.blocks AS b
WHERE b.book_id = $1 AND b.recorded_at >= $2 AND b.recorded_at < $3 ORDER BY b.recorded_at;
