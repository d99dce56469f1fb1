-- Books and their accounts.
-- statement
CREATE TABLE ledger.books (
    book_id bigint PRIMARY KEY, code text NOT NULL, mode text NOT NULL CHECK (mode IN ('live', 'test')),
    created_at timestamptz NOT NULL)
-- statement
-- What never or rarely changes of an account is checked by its type, when it is written. A CHECK of the table is read
-- and made ready anew by every statement that updates it, and a posting updates nothing but totals.
CREATE DOMAIN ledger.account_sign AS smallint CHECK (VALUE IN (1, -1))
-- statement
CREATE DOMAIN ledger.account_owner AS text COLLATE "C" CHECK (octet_length(VALUE) BETWEEN 1 AND 200)
-- statement
CREATE DOMAIN ledger.account_limit AS bigint CHECK (abs(VALUE) <= 4000000000000000000)
-- statement
-- One row an account: what it is, what it may do, and its totals. Only totals and switches change, by functions only.
-- No index on a changing column, and half-empty pages, so that an update stays on its page. `fingerprint` is the first
-- 8 bytes of the hash of what the account is: who names it by number must know that too.
-- `effective_on` is the latest business date that moved the account; *_before are its totals of all earlier dates,
-- which `account_days` holds one by one. `sign` is 1 where the account grows on the debit side, else −1.
CREATE TABLE ledger.accounts (
    book_id bigint NOT NULL, account_id bigint NOT NULL, fingerprint bigint NOT NULL,
    debits_posted bigint NOT NULL DEFAULT 0, credits_posted bigint NOT NULL DEFAULT 0,
    last_sequence bigint NOT NULL DEFAULT 0,
    debits_held bigint NOT NULL DEFAULT 0, credits_held bigint NOT NULL DEFAULT 0,
    debits_before bigint NOT NULL DEFAULT 0, credits_before bigint NOT NULL DEFAULT 0,
    opened_at timestamptz NOT NULL, effective_on date NOT NULL DEFAULT '-infinity', kind smallint NOT NULL,
    sign ledger.account_sign NOT NULL,
    debits_frozen boolean NOT NULL DEFAULT false, credits_frozen boolean NOT NULL DEFAULT false,
    closed boolean NOT NULL DEFAULT false,
    currency text COLLATE "C" NOT NULL,
    owner ledger.account_owner NOT NULL,
    floor_minor ledger.account_limit,
    ceiling_minor ledger.account_limit,
    CHECK (least(debits_posted, credits_posted, debits_held, credits_held) >= 0),
    PRIMARY KEY (book_id, account_id),
    UNIQUE (book_id, kind, owner, currency))
WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000)
-- statement
-- Where two indexes begin with book_id, the planner is told how many books there are, not left to find it out: where each
-- book has one row when it looks, it believes that later too, and reading the book looks like finding one row.
ALTER TABLE ledger.accounts ALTER COLUMN book_id SET (n_distinct = 50)
-- statement
-- What moved an account on each business date before its latest: a late entry adds to one row, nothing is rewritten.
CREATE TABLE ledger.account_days (
    book_id bigint NOT NULL, account_id bigint NOT NULL, effective_on date NOT NULL,
    debits_posted bigint NOT NULL, credits_posted bigint NOT NULL,
    PRIMARY KEY (book_id, account_id, effective_on))
WITH (fillfactor = 90)
-- statement
-- What is written on an account beside its totals; the newest version holds.
CREATE TABLE ledger.account_metadata (
    book_id bigint NOT NULL, account_id bigint NOT NULL, version integer NOT NULL, metadata bytea NOT NULL,
    written_at timestamptz NOT NULL, actor text NOT NULL,
    PRIMARY KEY (book_id, account_id, version))
-- statement
-- Accounting periods follow each other without a gap and close in order.
CREATE TABLE ledger.periods (
    book_id bigint NOT NULL, starts_on date NOT NULL, ends_on date NOT NULL,
    state text NOT NULL CHECK (state IN ('open', 'closing', 'closed')),
    changed_at timestamptz NOT NULL, closed_at_sequence bigint,
    CHECK (starts_on <= ends_on),
    PRIMARY KEY (book_id, ends_on))
