-- Months that were taken out of the books: what verification and balances go on from. Their tables lie in a schema of
-- their own, from where an operator exports and drops them. A month is archived while its partition of entries is away.
-- statement
CREATE SCHEMA ledger_archive
-- statement
-- `contents_hash` is over the month's rows of archived_contents and archived_amounts. `last_day` is the latest business
-- date, effective or booked, of all that was archived so far; `last_occurred_at` the latest moment that was imported.
CREATE TABLE ledger.archives (
    book_id bigint NOT NULL, month date NOT NULL, first_sequence bigint NOT NULL, last_sequence bigint NOT NULL,
    first_block bigint NOT NULL, last_block bigint NOT NULL, ends_at timestamptz NOT NULL, incarnation integer NOT NULL,
    head_hash bytea NOT NULL, merkle_root bytea NOT NULL, manifest_hash bytea NOT NULL, contents_hash bytea NOT NULL,
    last_day date NOT NULL, last_occurred_at timestamptz, archived_at timestamptz NOT NULL,
    PRIMARY KEY (book_id, month))
-- statement
-- What every account held at the end of the month, by all entries up to its last.
CREATE TABLE ledger.archived_balances (
    book_id bigint NOT NULL, month date NOT NULL, account_id bigint NOT NULL,
    debits_posted bigint NOT NULL, credits_posted bigint NOT NULL, debits_held bigint NOT NULL,
    credits_held bigint NOT NULL, last_sequence bigint NOT NULL,
    PRIMARY KEY (book_id, month, account_id))
-- statement
-- What had been drawn on each entry by the end of the month, where that was not nothing.
CREATE TABLE ledger.archived_draws (
    book_id bigint NOT NULL, month date NOT NULL, sequence bigint NOT NULL, drawn_minor bigint NOT NULL,
    PRIMARY KEY (book_id, month, sequence))
-- statement
-- What merchant_pending accounts still held by day of becoming available, of all that was archived so far.
CREATE TABLE ledger.archived_pending (
    book_id bigint NOT NULL, month date NOT NULL, account_id bigint NOT NULL, available_on date NOT NULL,
    amount_minor bigint NOT NULL,
    PRIMARY KEY (book_id, month, account_id, available_on))
-- statement
-- By which a repetition of an archived entry is known: of each of up to 120 entries from `first_sequence` on, one
-- after the other, the first 16 bytes of SHA-256 over its content.
CREATE TABLE ledger.archived_contents (
    book_id bigint NOT NULL, first_sequence bigint NOT NULL, hashes bytea NOT NULL,
    PRIMARY KEY (book_id, first_sequence))
-- statement
-- What balancing postings moved, which their content does not say.
CREATE TABLE ledger.archived_amounts (
    book_id bigint NOT NULL, sequence bigint NOT NULL, line smallint NOT NULL, amount_minor bigint NOT NULL,
    PRIMARY KEY (book_id, sequence, line))
