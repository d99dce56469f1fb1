-- The journal. No foreign keys, identity columns or row triggers on insert: each halves the rate, and the function and
-- `verify` do their work. What grows is partitioned by month of recorded_at. Keys that only grow at their end leave no
-- room in their pages.
-- Sequences are found by (book_id, sequence), no wider: a page that is full in the middle of an index is left full, not cut
-- in half, when its keys grow at one place and are at most two bigints. So is every book's place but the last one's.
-- In entries that is the primary key of each month (create_month_v1); a key of the whole would have to hold recorded_at.
-- statement
CREATE TABLE ledger.entries (
    book_id bigint NOT NULL, sequence bigint NOT NULL, recorded_at timestamptz NOT NULL, block_number bigint NOT NULL,
    key uuid NOT NULL, effective_on date NOT NULL, kind smallint NOT NULL, caller text NOT NULL, metadata bytea NOT NULL,
    booked_on date, occurred_at timestamptz, group_first bigint,
    draws_on bigint, drawn_minor bigint, drawable_minor bigint,
    reverses bigint, hold_action smallint, hold bigint) PARTITION BY RANGE (recorded_at)
-- statement
CREATE INDEX entries_reverses ON ledger.entries (book_id, reverses) WHERE reverses IS NOT NULL
-- statement
CREATE INDEX entries_occurred ON ledger.entries (book_id, sequence) WHERE occurred_at IS NOT NULL
-- statement
CREATE TABLE ledger.postings (
    book_id bigint NOT NULL, sequence bigint NOT NULL, recorded_at timestamptz NOT NULL,
    debit_account bigint NOT NULL, credit_account bigint NOT NULL, amount_minor bigint NOT NULL,
    debit_balance_after bigint NOT NULL, credit_balance_after bigint NOT NULL, line smallint NOT NULL,
    reverses_line smallint, available_on date, up_to_minor bigint) PARTITION BY RANGE (recorded_at)
-- statement
CREATE INDEX postings_sequence ON ledger.postings (book_id, sequence) WITH (fillfactor = 100)
-- statement
CREATE INDEX postings_debit ON ledger.postings (book_id, debit_account, sequence)
-- statement
CREATE INDEX postings_credit ON ledger.postings (book_id, credit_account, sequence)
-- statement
CREATE INDEX postings_available ON ledger.postings (book_id, available_on) WHERE available_on IS NOT NULL
-- statement
-- recorded_at rises strictly within a book, so this key also finds the newest block and forbids a fork.
CREATE TABLE ledger.blocks (
    book_id bigint NOT NULL, recorded_at timestamptz NOT NULL, block_number bigint NOT NULL,
    incarnation integer NOT NULL, layout_version smallint NOT NULL, first_sequence bigint NOT NULL,
    last_sequence bigint NOT NULL, previous_hash bytea NOT NULL, hash bytea NOT NULL,
    PRIMARY KEY (book_id, recorded_at)) PARTITION BY RANGE (recorded_at)
