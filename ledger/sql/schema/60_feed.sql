-- Who follows the feed, and how far each has come. One process a consumer works at a time: the one with the lease.
-- statement
CREATE TABLE ledger.feed_consumers (
    book_id bigint NOT NULL, name text COLLATE "C" NOT NULL CHECK (octet_length(name) BETWEEN 1 AND 100),
    sequence bigint NOT NULL CHECK (sequence >= 0), holder uuid, leased_until timestamptz,
    PRIMARY KEY (book_id, name))
WITH (fillfactor = 50)
