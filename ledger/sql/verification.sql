-- What `verify` asks of each range of the books; nothing here is code of posting.
-- :book; :after < sequence <= :last; blocks :after_at < recorded_at <= :last_at; :cut is the last sequence verified.
-- The *_columns are strung together here and added up by range_sums.py. The others re-add what is rare in the database and
-- answer (row_count, fault_count, faults): how many rows were looked at, how many faults, the first in words.

-- name: entry_columns
-- What is rarely there comes as the bytes that are sealed (chain.py).
SELECT count(*) AS row_count,
       string_agg(int8send(x.sequence), '') AS sequence, string_agg(timestamptz_send(x.recorded_at), '') AS recorded_at,
       string_agg(int8send(x.block_number), '') AS block_number, string_agg(uuid_send(x.key), '') AS key,
       string_agg(date_send(x.effective_on), '') AS effective_on, string_agg(int2send(x.kind), '') AS kind,
       string_agg(int2send(coalesce(x.hold_action, 0::smallint)), '') AS hold_action,
       string_agg(textsend(x.caller), '') AS caller, string_agg(int4send(octet_length(x.caller)), '') AS caller_bytes,
       string_agg(x.metadata, '') AS metadata, string_agg(int4send(octet_length(x.metadata)), '') AS metadata_bytes,
       string_agg(x.rare, '') AS rare, string_agg(int4send(octet_length(x.rare)), '') AS rare_bytes,
       (SELECT count(*) FROM ledger.entry_caps AS c
        WHERE c.book_id = :book AND c.sequence > :after AND c.sequence <= :last) AS cap_count
FROM (
    SELECT e.*,
           CASE WHEN num_nonnulls(e.booked_on, e.occurred_at, e.group_first, e.draws_on, e.drawn_minor, e.drawable_minor,
                                  e.reverses, e.hold_action, e.hold, h.sequence) = 0 THEN '\x00'::bytea
                ELSE '\x01'::bytea || record_send(ROW(
                    e.booked_on, e.occurred_at, e.group_first, e.draws_on, e.drawn_minor, e.drawable_minor, e.reverses,
                    e.hold_action, e.hold, h.debit_account, h.credit_account, h.amount_minor, h.expires_at)) END AS rare
    FROM ledger.entries AS e
    LEFT JOIN ledger.holds AS h
        ON h.book_id = :book AND h.sequence = e.sequence AND h.sequence > :after AND h.sequence <= :last
    WHERE e.book_id = :book AND e.sequence > :after AND e.sequence <= :last
    ORDER BY e.sequence
) AS x;

-- name: posting_columns
-- By sequence only, which an index has; lines are put in order where they are read.
SELECT count(*) AS row_count,
       string_agg(int8send(x.sequence), '') AS sequence, string_agg(timestamptz_send(x.recorded_at), '') AS recorded_at,
       string_agg(int2send(x.line), '') AS line, string_agg(int8send(x.debit_account), '') AS debit_account,
       string_agg(int8send(x.credit_account), '') AS credit_account, string_agg(int8send(x.amount_minor), '') AS amount_minor,
       string_agg(int8send(x.debit_balance_after), '') AS debit_balance_after,
       string_agg(int8send(x.credit_balance_after), '') AS credit_balance_after,
       string_agg(boolsend(x.available_on IS NOT NULL), '') AS has_available_on,
       string_agg(x.rare, '') AS rare, string_agg(int4send(octet_length(x.rare)), '') AS rare_bytes
FROM (
    SELECT p.*,
           CASE WHEN num_nonnulls(p.reverses_line, p.available_on, p.up_to_minor) = 0 THEN '\x00'::bytea
                ELSE '\x01'::bytea || record_send(ROW(p.reverses_line, p.available_on, p.up_to_minor)) END AS rare
    FROM ledger.postings AS p
    WHERE p.book_id = :book AND p.sequence > :after AND p.sequence <= :last
    ORDER BY p.sequence
) AS x;

-- name: reference_columns
SELECT count(*) AS row_count, string_agg(int8send(x.sequence), '') AS sequence,
       string_agg(textsend(x.scheme), '') AS scheme, string_agg(int4send(octet_length(x.scheme)), '') AS scheme_bytes,
       string_agg(textsend(x.value), '') AS value, string_agg(int4send(octet_length(x.value)), '') AS value_bytes
FROM (
    SELECT r.* FROM ledger.entry_references AS r
    WHERE r.book_id = :book AND r.sequence > :after AND r.sequence <= :last
    ORDER BY r.sequence, r.scheme, r.value
) AS x;

-- name: block_columns
SELECT count(*) AS row_count,
       string_agg(timestamptz_send(x.recorded_at), '') AS recorded_at, string_agg(int8send(x.block_number), '') AS block_number,
       string_agg(int4send(x.incarnation), '') AS incarnation, string_agg(int2send(x.layout_version), '') AS layout_version,
       string_agg(int8send(x.first_sequence), '') AS first_sequence, string_agg(int8send(x.last_sequence), '') AS last_sequence,
       string_agg(x.previous_hash, '') AS previous_hash,
       string_agg(int4send(octet_length(x.previous_hash)), '') AS previous_hash_bytes,
       string_agg(x.hash, '') AS hash, string_agg(int4send(octet_length(x.hash)), '') AS hash_bytes
FROM (
    SELECT b.* FROM ledger.blocks AS b
    WHERE b.book_id = :book AND b.recorded_at > :after_at AND b.recorded_at <= :last_at
    ORDER BY b.recorded_at
) AS x;

-- name: key_columns
-- With the last sequence of the same moment: no key leads beyond it.
SELECT count(*) AS row_count, string_agg(uuid_send(x.key), '') AS key, string_agg(int8send(x.sequence), '') AS sequence,
       string_agg(timestamptz_send(x.recorded_at), '') AS recorded_at,
       count(*) FILTER (WHERE x.sequence > (SELECT b.last_sequence FROM ledger.blocks AS b
                                            WHERE b.book_id = :book ORDER BY b.recorded_at DESC LIMIT 1)) AS beyond_count
FROM (
    SELECT q.key, q.sequence, q.recorded_at FROM ledger.idempotency_keys AS q
    WHERE q.book_id = :book AND q.key >= :from_key::uuid ORDER BY q.key LIMIT :limit
) AS x;

-- name: accounts_named
SELECT a.account_id, a.kind, a.currency, k.normal_side
FROM ledger.accounts AS a JOIN ledger.account_kinds AS k ON k.kind = a.kind
WHERE a.book_id = :book AND a.account_id = ANY(:accounts::bigint[]);

-- name: totals_page
-- The accounts after number :after_account with their totals as of sequence :cut: their rows less what was posted and
-- held since, in one snapshot. `verify` runs after the head, so that little was.
SELECT a.account_id, a.last_sequence, coalesce(s.moved, false) AS moved_since,
       (a.debits_posted - coalesce(s.debits, 0))::bigint AS debits,
       (a.credits_posted - coalesce(s.credits, 0))::bigint AS credits,
       (a.debits_held - coalesce(s.debits_held, 0))::bigint AS debits_held,
       (a.credits_held - coalesce(s.credits_held, 0))::bigint AS credits_held
FROM (SELECT y.* FROM ledger.accounts AS y WHERE y.book_id = :book AND y.account_id > :after_account
      ORDER BY y.account_id LIMIT :limit) AS a
LEFT JOIN (
    SELECT x.account_id, sum(x.debits) AS debits, sum(x.credits) AS credits, sum(x.debits_held) AS debits_held,
           sum(x.credits_held) AS credits_held, bool_or(x.moved) AS moved
    FROM (
        SELECT v.account_id, v.debits, v.credits, 0::bigint AS debits_held, 0::bigint AS credits_held, true AS moved
        FROM ledger.postings AS p
        CROSS JOIN LATERAL (VALUES (p.debit_account, p.amount_minor, 0::bigint),
                                   (p.credit_account, 0::bigint, p.amount_minor)) AS v(account_id, debits, credits)
        WHERE p.book_id = :book AND p.sequence > :cut
        UNION ALL
        SELECT v.account_id, 0, 0, v.debits, v.credits, false
        FROM ledger.holds AS h
        CROSS JOIN LATERAL (VALUES (h.debit_account, h.amount_minor, 0::bigint),
                                   (h.credit_account, 0::bigint, h.amount_minor)) AS v(account_id, debits, credits)
        WHERE h.book_id = :book AND h.sequence > :cut
        UNION ALL
        SELECT v.account_id, 0, 0, -v.debits, -v.credits, false
        FROM ledger.entries AS e
        JOIN ledger.holds AS h ON h.book_id = :book AND h.sequence = e.hold
        CROSS JOIN LATERAL (VALUES (h.debit_account, h.amount_minor, 0::bigint),
                                   (h.credit_account, 0::bigint, h.amount_minor)) AS v(account_id, debits, credits)
        WHERE e.book_id = :book AND e.sequence > :cut AND e.hold_action IN (2, 3, 4)
    ) AS x
    GROUP BY x.account_id
) AS s ON s.account_id = a.account_id
ORDER BY a.account_id;

-- name: entries_without_key
SELECT e.sequence
FROM ledger.entries AS e
LEFT JOIN ledger.idempotency_keys AS q ON q.book_id = :book AND q.key = e.key
WHERE e.book_id = :book AND e.sequence > :after AND e.sequence <= :last
    AND (q.sequence IS DISTINCT FROM e.sequence OR q.recorded_at IS DISTINCT FROM e.recorded_at)
ORDER BY e.sequence;

-- name: keys_without_entry
SELECT q.key, q.sequence
FROM ledger.idempotency_keys AS q
LEFT JOIN ledger.entries AS e
    ON e.book_id = :book AND e.sequence = q.sequence AND e.recorded_at = q.recorded_at AND e.key = q.key
WHERE q.book_id = :book AND q.key >= :from_key::uuid AND (q.key < :to_key::uuid OR :to_key IS NULL)
    AND (q.sequence > :from_sequence AND q.sequence <= :cut OR q.sequence < 1) AND e.book_id IS NULL
ORDER BY q.key;

-- name: caps
SELECT count(c.sequence) AS row_count, count(*) FILTER (WHERE c.drawable_minor IS DISTINCT FROM e.drawable_minor) AS fault_count,
       (array_agg(format('the cap of entry %s is not what the entry says', coalesce(e.sequence, c.sequence)))
            FILTER (WHERE c.drawable_minor IS DISTINCT FROM e.drawable_minor))[1:100] AS faults
FROM (SELECT y.sequence, y.drawable_minor FROM ledger.entries AS y
      WHERE y.book_id = :book AND y.sequence > :after AND y.sequence <= :last AND y.drawable_minor IS NOT NULL) AS e
FULL JOIN (SELECT y.sequence, y.drawable_minor FROM ledger.entry_caps AS y
           WHERE y.book_id = :book AND y.sequence > :after AND y.sequence <= :last) AS c ON c.sequence = e.sequence;

-- name: draws
-- One row an entry that was drawn on: the sum, and the least and the greatest it ever was within the range.
SELECT x.draws_on, c.drawable_minor, x.drawn, x.least, x.greatest, x.first_sequence, x.faulty
FROM (
    SELECT y.draws_on, sum(y.drawn_minor)::bigint AS drawn, min(y.running)::bigint AS least, max(y.running)::bigint AS greatest,
           min(y.sequence) AS first_sequence,
           bool_or(y.draws_on IS NULL OR y.drawn_minor IS NULL OR y.draws_on >= y.sequence) AS faulty
    FROM (
        SELECT e.draws_on, e.drawn_minor, e.sequence,
               sum(e.drawn_minor) OVER (PARTITION BY e.draws_on ORDER BY e.sequence) AS running
        FROM ledger.entries AS e
        WHERE e.book_id = :book AND e.sequence > :after AND e.sequence <= :last
            AND (e.draws_on IS NOT NULL OR e.drawn_minor IS NOT NULL)
    ) AS y
    GROUP BY y.draws_on
) AS x
LEFT JOIN ledger.entry_caps AS c ON c.book_id = :book AND c.sequence = x.draws_on;

-- name: drawn_caps
SELECT c.sequence, c.drawn_minor FROM ledger.entry_caps AS c
WHERE c.book_id = :book AND c.sequence > :after_sequence AND c.sequence <= :cut AND c.drawn_minor <> 0
ORDER BY c.sequence LIMIT :limit;

-- name: holds
-- A hold stands beside the entry that places it; the entry that resolves it, its row of hold_resolutions and the money
-- agree. Resolutions after :cut are not looked at yet.
SELECT count(*) AS row_count, count(x.fault) AS fault_count,
       (array_agg(format('entry %s %s', x.sequence, x.fault)) FILTER (WHERE x.fault IS NOT NULL))[1:100] AS faults
FROM (
    SELECT coalesce(e.sequence, h.sequence) AS sequence, CASE
               WHEN e.sequence IS NULL OR (h.sequence IS NULL) = (e.hold_action = 1)
                   THEN 'places a hold that is not there, or there is a hold that it does not place'
               WHEN r.hold IS NOT NULL AND s.sequence IS NULL
                   THEN 'places a hold whose resolution no entry makes' END AS fault
    FROM (SELECT y.sequence, y.hold_action FROM ledger.entries AS y
          WHERE y.book_id = :book AND y.sequence > :after AND y.sequence <= :last AND y.hold_action = 1) AS e
    FULL JOIN (SELECT y.sequence FROM ledger.holds AS y
               WHERE y.book_id = :book AND y.sequence > :after AND y.sequence <= :last) AS h ON h.sequence = e.sequence
    LEFT JOIN ledger.hold_resolutions AS r ON r.book_id = :book AND r.hold = h.sequence AND r.sequence <= :cut
    LEFT JOIN ledger.entries AS s ON s.book_id = :book AND s.sequence = r.sequence AND s.hold = r.hold
    UNION ALL
    SELECT e.sequence, CASE
               WHEN e.hold_action IS NULL OR e.hold_action NOT IN (2, 3, 4) OR h.sequence IS NULL OR h.sequence >= e.sequence
                   THEN 'resolves a hold that is not there'
               WHEN r.sequence IS DISTINCT FROM e.sequence OR r.action <> e.hold_action
                   THEN 'resolves a hold that was resolved otherwise'
               WHEN r.posted_minor <> m.posted_minor OR m.posted_minor > h.amount_minor OR m.elsewhere
                   OR (e.hold_action = 2) <> (m.posted_minor > 0)
                   THEN 'does not move what its hold and its resolution say' END
    FROM ledger.entries AS e
    LEFT JOIN ledger.holds AS h ON h.book_id = :book AND h.sequence = e.hold
    LEFT JOIN ledger.hold_resolutions AS r ON r.book_id = :book AND r.hold = e.hold
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(p.amount_minor), 0) AS posted_minor,
               coalesce(bool_or(p.debit_account <> h.debit_account OR p.credit_account <> h.credit_account), false) AS elsewhere
        FROM ledger.postings AS p WHERE p.book_id = :book AND p.sequence = e.sequence
    ) AS m
    WHERE e.book_id = :book AND e.sequence > :after AND e.sequence <= :last
        AND (e.hold IS NOT NULL OR e.hold_action > 1)
) AS x;

-- name: held
-- One row an account: by how much its held sums grew.
SELECT v.account_id, sum(v.debits)::bigint AS debits_held, sum(v.credits)::bigint AS credits_held
FROM (
    SELECT h.debit_account, h.credit_account, h.amount_minor AS amount FROM ledger.holds AS h
    WHERE h.book_id = :book AND h.sequence > :after AND h.sequence <= :last
    UNION ALL
    SELECT h.debit_account, h.credit_account, -h.amount_minor
    FROM ledger.entries AS e
    JOIN ledger.holds AS h ON h.book_id = :book AND h.sequence = e.hold
    WHERE e.book_id = :book AND e.sequence > :after AND e.sequence <= :last AND e.hold_action IN (2, 3, 4)
) AS x
CROSS JOIN LATERAL (VALUES (x.debit_account, x.amount, 0::bigint), (x.credit_account, 0::bigint, x.amount)
    ) AS v(account_id, debits, credits)
GROUP BY v.account_id;

-- name: reversals
-- A posting that reverses mirrors its line; all that reverse a line come to no more than the line; and of an entry that
-- can be drawn on, what is undone of its first line is drawn, so that nobody else can draw it as well. What reverses an
-- entry of an archived month (at or below :from_sequence) can be compared with the archive only. OFFSET 0: what is reversed
-- is looked up line by line; as a join the planner may sort every posting of the book for each range.
WITH reversing AS MATERIALIZED (
    SELECT p.sequence, p.line, p.reverses_line, p.debit_account, p.credit_account, p.amount_minor FROM ledger.postings AS p
    WHERE p.book_id = :book AND p.sequence > :after AND p.sequence <= :last AND p.reverses_line IS NOT NULL
    UNION
    SELECT p.sequence, p.line, p.reverses_line, p.debit_account, p.credit_account, p.amount_minor
    FROM ledger.entries AS e
    JOIN ledger.postings AS p ON p.book_id = :book AND p.sequence = e.sequence
    WHERE e.book_id = :book AND e.sequence > :after AND e.sequence <= :last AND e.reverses IS NOT NULL
)
SELECT count(*) AS row_count, count(x.fault) AS fault_count,
       (array_agg(format('posting %s/%s %s', x.sequence, x.line, x.fault)) FILTER (WHERE x.fault IS NOT NULL))[1:100] AS faults
FROM (
    SELECT p.sequence, p.line, CASE
               WHEN e.reverses IS NULL OR p.reverses_line IS NULL THEN 'reverses a line of no entry, or an entry without a line'
               WHEN e.reverses <= :from_sequence THEN NULL
               WHEN o.sequence IS NULL OR e.reverses >= p.sequence THEN 'reverses what was not there'
               WHEN o.debit_account <> p.credit_account OR o.credit_account <> p.debit_account
                   THEN 'does not mirror the line that it reverses'
               WHEN t.reversed_minor > o.amount_minor THEN 'reverses a line that others reverse too, beyond its amount'
               WHEN c.drawable_minor > 0 AND p.reverses_line = 1 AND (e.draws_on IS DISTINCT FROM e.reverses
                       OR e.drawn_minor < least(p.amount_minor, c.drawable_minor)) THEN 'undoes what can be drawn and does not draw it' END AS fault
    FROM reversing AS p
    LEFT JOIN ledger.entries AS e ON e.book_id = :book AND e.sequence = p.sequence AND e.sequence > :after AND e.sequence <= :last
    LEFT JOIN LATERAL (
        SELECT q.sequence, q.debit_account, q.credit_account, q.amount_minor FROM ledger.postings AS q
        WHERE q.book_id = :book AND q.sequence = e.reverses AND q.line = p.reverses_line OFFSET 0
    ) AS o ON true
    LEFT JOIN LATERAL (
        SELECT f.drawable_minor FROM ledger.entries AS f WHERE f.book_id = :book AND f.sequence = e.reverses OFFSET 0
    ) AS c ON true
    LEFT JOIN LATERAL (
        SELECT sum(q.amount_minor) AS reversed_minor
        FROM ledger.entries AS f
        JOIN ledger.postings AS q ON q.book_id = :book AND q.sequence = f.sequence AND q.reverses_line = p.reverses_line
        WHERE f.book_id = :book AND f.reverses = e.reverses AND f.sequence <= p.sequence
    ) AS t ON true
) AS x;

-- name: groups
SELECT coalesce(sum(x.entry_count), 0)::bigint AS row_count, count(*) FILTER (WHERE x.fault) AS fault_count,
       (array_agg(format('the group of entry %s does not lie together in one block', x.group_first)) FILTER (WHERE x.fault))[1:100]
           AS faults
FROM (
    SELECT e.group_first, count(*) AS entry_count,
           min(e.sequence) <> e.group_first OR max(e.sequence) <> e.group_first + count(*) - 1
           OR min(e.block_number) <> max(e.block_number) AS fault
    FROM ledger.entries AS e
    WHERE e.book_id = :book AND e.sequence > :after AND e.sequence <= :last AND e.group_first IS NOT NULL
    GROUP BY e.group_first
) AS x;

-- name: references
SELECT count(*) AS row_count, count(*) FILTER (WHERE e.sequence IS NULL) AS fault_count,
       (array_agg(format('%s=%s names entry %s, which is not there', r.scheme, r.value, r.sequence))
            FILTER (WHERE e.sequence IS NULL))[1:100] AS faults
FROM ledger.entry_references AS r
LEFT JOIN ledger.entries AS e ON e.book_id = :book AND e.sequence = r.sequence AND e.sequence > :after AND e.sequence <= :last
WHERE r.book_id = :book AND r.sequence > :after AND r.sequence <= :last;

-- name: range_end
-- The first block after :after_at that reaches :wanted, among the next :limit blocks; else the last of these.
SELECT x.block_number, x.recorded_at, x.last_sequence, x.hash, x.incarnation
FROM (
    SELECT b.block_number, b.recorded_at, b.last_sequence, b.hash, b.incarnation FROM ledger.blocks AS b
    WHERE b.book_id = :book AND b.recorded_at > :after_at AND b.recorded_at <= :last_at
    ORDER BY b.recorded_at LIMIT :limit
) AS x
ORDER BY (x.last_sequence >= :wanted) DESC, CASE WHEN x.last_sequence >= :wanted THEN x.recorded_at END, x.recorded_at DESC
LIMIT 1;
