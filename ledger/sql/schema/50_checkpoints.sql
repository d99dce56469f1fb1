-- What was signed and published of a book's chain, and the restores that took published history back.
-- statement
-- `hash` is that of the canonical bytes (ledger/checkpoints.py), which are made of these columns; head_hash is the hash
-- of block last_block, recorded at recorded_at. The truth is the published file; these rows find it and feed proofs.
CREATE TABLE ledger.checkpoints (
    book_id bigint NOT NULL, incarnation integer NOT NULL, checkpoint_number bigint NOT NULL,
    first_block bigint NOT NULL, last_block bigint NOT NULL, last_sequence bigint NOT NULL,
    recorded_at timestamptz NOT NULL, head_hash bytea NOT NULL, merkle_root bytea NOT NULL,
    previous_checkpoint bytea NOT NULL, hash bytea NOT NULL, signature bytea NOT NULL, made_at timestamptz NOT NULL,
    CHECK (checkpoint_number > 0 AND first_block BETWEEN 0 AND last_block),
    PRIMARY KEY (book_id, incarnation, checkpoint_number))
-- statement
-- One row an incarnation after the first. What was published in an earlier incarnation of blocks from first_lost_block
-- on, through the named checkpoint, is lost on the record; nothing published at all is NULL.
CREATE TABLE ledger.restorations (
    book_id bigint NOT NULL, incarnation integer NOT NULL, block_number bigint NOT NULL,
    first_lost_block bigint NOT NULL, first_lost_sequence bigint NOT NULL, last_lost_sequence bigint,
    published_incarnation integer, published_number bigint, published_hash bytea,
    restored_at timestamptz NOT NULL, actor text NOT NULL, reason text NOT NULL CHECK (reason <> ''),
    PRIMARY KEY (book_id, incarnation))
