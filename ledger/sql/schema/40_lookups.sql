-- Beside the journal, over all months: keys, references, caps, holds; and the record of acts.
-- statement
CREATE TABLE ledger.idempotency_keys (
    book_id bigint NOT NULL, key uuid NOT NULL, sequence bigint NOT NULL, recorded_at timestamptz NOT NULL,
    PRIMARY KEY (book_id, key)) PARTITION BY RANGE (key)
-- statement
CREATE TABLE ledger.entry_references (
    book_id bigint NOT NULL, scheme text COLLATE "C" NOT NULL, value text COLLATE "C" NOT NULL, sequence bigint NOT NULL,
    PRIMARY KEY (book_id, scheme, value, sequence))
-- statement
CREATE INDEX entry_references_sequence ON ledger.entry_references (book_id, sequence)
-- statement
ALTER TABLE ledger.entry_references ALTER COLUMN book_id SET (n_distinct = 50)
-- statement
CREATE TABLE ledger.entry_caps (
    book_id bigint NOT NULL, sequence bigint NOT NULL, drawable_minor bigint NOT NULL,
    drawn_minor bigint NOT NULL, CHECK (drawn_minor BETWEEN 0 AND drawable_minor),
    PRIMARY KEY (book_id, sequence))
WITH (fillfactor = 80)
-- statement
-- A hold is placed by an entry without postings; what it reserves stands here.
CREATE TABLE ledger.holds (
    book_id bigint NOT NULL, sequence bigint NOT NULL, debit_account bigint NOT NULL, credit_account bigint NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor > 0), expires_at timestamptz,
    PRIMARY KEY (book_id, sequence))
-- statement
-- At most one row a hold: it is resolved once. 2 posted, 3 released, 4 expired.
CREATE TABLE ledger.hold_resolutions (
    book_id bigint NOT NULL, hold bigint NOT NULL, action smallint NOT NULL CHECK (action BETWEEN 2 AND 4),
    posted_minor bigint NOT NULL, sequence bigint NOT NULL,
    PRIMARY KEY (book_id, hold))
-- statement
CREATE INDEX holds_expiring ON ledger.holds (book_id, expires_at) WHERE expires_at IS NOT NULL
-- statement
ALTER TABLE ledger.holds ALTER COLUMN book_id SET (n_distinct = 50)
-- statement
CREATE TABLE ledger.ledger_acts (
    act_id uuid PRIMARY KEY, acted_at timestamptz NOT NULL, act text NOT NULL, actor text NOT NULL,
    subject text NOT NULL, reason text NOT NULL)
