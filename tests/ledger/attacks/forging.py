"""What a superuser can do who knows the layout: compute the whole chain again over changed rows."""

from collections import defaultdict
from typing import Any

import asyncpg

from ledger.chain import GENESIS_PREVIOUS, block_hash, leaf_hash
from tests.ledger.entries import BOOK


async def recompute_chain(superuser: asyncpg.Connection) -> None:
    """Every block's hash and the hash that it follows, from the rows as they stand now; guards are off meanwhile."""
    leaves: dict[int, bytes] = {}
    postings, references = defaultdict[int, list[Any]](list), defaultdict[int, list[Any]](list)
    for row in await superuser.fetch("SELECT * FROM ledger.postings WHERE book_id = $1", BOOK):
        postings[row["sequence"]].append(row)
    for row in await superuser.fetch("SELECT * FROM ledger.entry_references WHERE book_id = $1", BOOK):
        references[row["sequence"]].append(row)
    for row in await superuser.fetch("SELECT * FROM ledger.entries WHERE book_id = $1", BOOK):
        leaves[row["sequence"]] = leaf_hash(dict(row), postings[row["sequence"]], references[row["sequence"]])
    previous = GENESIS_PREVIOUS
    for row in await superuser.fetch("SELECT * FROM ledger.blocks WHERE book_id = $1 ORDER BY block_number", BOOK):
        block = dict(row) | {"previous_hash": previous}
        inside = range(block["first_sequence"], block["last_sequence"] + 1)
        new = block_hash(block, [leaves[sequence] for sequence in inside])
        await superuser.execute(
            "UPDATE ledger.blocks SET previous_hash = $3, hash = $4 WHERE book_id = $1 AND block_number = $2",
            BOOK,
            block["block_number"],
            previous,
            new,
        )
        previous = new
