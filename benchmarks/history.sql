-- Fills book 1 with a made-up past. Every account is moved once in each sweep of 10,000 entries, in another order for
-- debits and credits, so that the balances after a posting follow from the number of its sweep.
-- "i" counts the entries from 1; "base" is the number of entries that were there before.

-- name: numbered
CREATE TABLE bench.numbered AS
SELECT substr(a.owner, 2)::integer AS n, a.kind, a.account_id FROM ledger.accounts AS a WHERE a.book_id = 1;

-- name: pairs
CREATE TABLE bench.pairs AS
SELECT d.n, d.account_id AS debit, c.account_id AS credit
FROM bench.numbered AS d JOIN bench.numbered AS c ON c.n = d.n WHERE d.kind = 11 AND c.kind = 40;

-- name: arrays
SELECT array_agg(p.debit ORDER BY p.n) AS debits, array_agg(p.credit ORDER BY p.n) AS credits FROM bench.pairs AS p;

-- name: entries
-- $1 … $2 i; $3 entries in all; $4 moment of the first; $5 how long all lasted; $6 first business date; $7 days; $8 base.
INSERT INTO ledger.entries (book_id, sequence, recorded_at, block_number, key, effective_on, kind, caller, metadata)
SELECT 1, $8::bigint + i, $4::timestamptz + $5::interval * (((i - 1) / 1000)::float8 / (1 + $3::bigint / 1000)),
       100 + (i - 1) / 1000,
       (lpad(to_hex((extract(epoch FROM $4::timestamptz + $5::interval * (i::float8 / $3::bigint)) * 1000)::bigint), 12, '0')
        || '7' || substr(md5(i::text), 1, 3) || '8' || substr(md5(i::text), 4, 15))::uuid,
       $6::date + ((i - 1) * $7::integer / $3::bigint)::integer, 310, 'system', '\x7b226f72646572223a20223132333435363738227d'
FROM generate_series($1::bigint, $2::bigint) AS i;

-- name: idempotency_keys
-- $1 base; $2 … $3 i.
INSERT INTO ledger.idempotency_keys (book_id, key, sequence, recorded_at)
SELECT 1, e.key, e.sequence, e.recorded_at FROM ledger.entries AS e
WHERE e.book_id = 1 AND e.sequence BETWEEN $1::bigint + $2::bigint AND $1::bigint + $3::bigint;

-- name: postings
-- $1 … $5 as above; $6 base; $7 and $8 numbers of the accounts by place.
INSERT INTO ledger.postings (book_id, sequence, recorded_at, debit_account, credit_account, amount_minor,
                             debit_balance_after, credit_balance_after, line)
SELECT 1, $6::bigint + i, $4::timestamptz + $5::interval * (((i - 1) / 1000)::float8 / (1 + $3::bigint / 1000)),
       ($7::bigint[])[1 + i * 7919 % 10000],
       ($8::bigint[])[1 + (i * 1237 + (i - 1) / 10000 * 17) % 10000], 500,
       500 * (2 + (i - 1) / 10000), -500 * (2 + (i - 1) / 10000), 1
FROM generate_series($1::bigint, $2::bigint) AS i;

-- name: blocks
-- $1 entries in all; $2 moment of the first; $3 how long all lasted; $4 base. One hash for all: nobody verifies this book.
INSERT INTO ledger.blocks (book_id, recorded_at, block_number, incarnation, layout_version, first_sequence,
                           last_sequence, previous_hash, hash)
SELECT 1, $2::timestamptz + $3::interval * (b::float8 / (1 + $1::bigint / 1000)), 100 + b, 1, 1, $4::bigint + b * 1000 + 1,
       least($4::bigint + (b + 1) * 1000, $4::bigint + $1::bigint), sha256('hash'), sha256('hash')
FROM generate_series(0, ($1::bigint - 1) / 1000) AS b;

-- name: totals
-- $1 base; $2 entries in all; $3 first business date; $4 days; so below.
-- Each account stands where its last posting left it: one of the last sweep.
UPDATE ledger.accounts AS a
SET debits_posted = greatest(t.balance, 0), credits_posted = greatest(-t.balance, 0), last_sequence = t.sequence,
    effective_on = $3::date + ((t.sequence - $1::bigint - 1) * $4::integer / $2::bigint)::integer
FROM (
    SELECT p.debit_account AS account_id, p.debit_balance_after AS balance, p.sequence FROM ledger.postings AS p
    WHERE p.book_id = 1 AND p.sequence > $1::bigint + $2::bigint - 10000
    UNION ALL
    SELECT p.credit_account, p.credit_balance_after, p.sequence FROM ledger.postings AS p
    WHERE p.book_id = 1 AND p.sequence > $1::bigint + $2::bigint - 10000
) AS t
WHERE a.book_id = 1 AND a.account_id = t.account_id;

-- name: debit_days
INSERT INTO ledger.account_days (book_id, account_id, effective_on, debits_posted, credits_posted)
SELECT 1, d.account_id, d.day, d.amount, 0
FROM (
    SELECT p.debit_account AS account_id, sum(p.amount_minor) AS amount,
           $3::date + (greatest(p.sequence - $1::bigint - 1, 0) * $4::integer / $2::bigint)::integer AS day
    FROM ledger.postings AS p WHERE p.book_id = 1 GROUP BY 1, 3
) AS d
JOIN ledger.accounts AS a ON a.book_id = 1 AND a.account_id = d.account_id WHERE d.day < a.effective_on;

-- name: credit_days
INSERT INTO ledger.account_days (book_id, account_id, effective_on, debits_posted, credits_posted)
SELECT 1, d.account_id, d.day, 0, d.amount
FROM (
    SELECT p.credit_account AS account_id, sum(p.amount_minor) AS amount,
           $3::date + (greatest(p.sequence - $1::bigint - 1, 0) * $4::integer / $2::bigint)::integer AS day
    FROM ledger.postings AS p WHERE p.book_id = 1 GROUP BY 1, 3
) AS d
JOIN ledger.accounts AS a ON a.book_id = 1 AND a.account_id = d.account_id WHERE d.day < a.effective_on;

-- name: before
UPDATE ledger.accounts AS a SET debits_before = d.debits, credits_before = d.credits
FROM (SELECT x.account_id, sum(x.debits_posted) AS debits, sum(x.credits_posted) AS credits
      FROM ledger.account_days AS x WHERE x.book_id = 1 GROUP BY x.account_id) AS d
WHERE a.book_id = 1 AND a.account_id = d.account_id;
