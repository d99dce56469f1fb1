"""Proofs: that an entry is in the books, or that a range of entries is all there is, up to a signed checkpoint.

Both are one JSON object, which `verify_proof.py` checks with nothing else of ours:

    format            "quickkub-proof 1"
    book_id, first_sequence, last_sequence
    blocks            every block from the one with the first entry to the one with the last: its header, previous_hash,
                      hash, and leaves in order of sequence: an object for each entry of the range (every sealed column,
                      its postings and references), a hash for each entry that is somebody else's
    path              the Merkle nodes from the last block's hash to the root, leaf upwards
    checkpoint        the bytes that were signed, as text
    signature         of Ed25519

The layout version in a block's header says how its leaves are made. Blocks of a range name each other, so one path,
that of the last block, proves them all: whoever changed or left out an earlier one would have to break its hash.
Amounts are whole minor units; bytes are hexadecimal; times are UTC to the microsecond. What an account is stands in
`ledger.accounts`; an entry names it by number.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from datetime import UTC, date, datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from ledger.chain import SEALED_BLOCK_COLUMNS, SEALED_ENTRY_COLUMNS, SEALED_POSTING_COLUMNS, block_hash, leaf_hash
from ledger.checkpoint_format import NO_CHECKPOINT, SignedCheckpoint
from ledger.checkpoints import Row, ask, block_hashes, of_row
from ledger.errors import InvariantBroken, NotProvable
from ledger.merkle import MerkleRoot, root_from_path, sibling_ranges
from ledger.posting import Connection

FORMAT: Final = "quickkub-proof 1"
BLOCKS_AT_ONCE: Final = 500
ENTRIES_AT_ONCE: Final = 5_000

Progress = Callable[[int, int], None]
"""Told (entries done, entries to do)."""


class _Rows(msgspec.Struct, frozen=True):
    """Rows of some whole blocks."""

    entries: dict[int, Row]
    postings: dict[int, list[Row]]
    references: dict[int, list[Row]]


async def prove(
    connection: Connection, book_id: int, first: int, last: int, *, progress: Progress | None = None
) -> AsyncIterator[bytes]:
    """The proof of the entries from one sequence through another (the same: of that entry), in pieces to be written.

    Memory grows with the largest block, not with the range; each statement is a transaction of its own.

    Raises:
        NotProvable: an entry is not there, or no checkpoint covers the range yet; before the first piece.
        InvariantBroken: the books contradict themselves or their checkpoint; run `verify`.
    """
    assert 1 <= first <= last
    covering = await ask(connection, "checkpoint_over", book_id, last)
    ends = [await ask(connection, "block_of_entry", book_id, sequence) for sequence in (first, last)]
    if not all(ends):
        raise NotProvable(f"book {book_id} has no entries {first} … {last}")
    if not covering:
        raise NotProvable(f"no checkpoint of book {book_id} covers entry {last} yet: make one first")
    [first_block], [last_block] = ends
    signed = of_row(covering[0])
    path = await _path_to(connection, signed, last_block)
    head = {"format": FORMAT, "book_id": book_id, "first_sequence": first, "last_sequence": last}
    yield msgspec.json.encode(head)[:-1] + b',"blocks":[\n'
    separator = b""
    async for block, rows in _blocks(connection, first_block, last_block):
        yield separator + msgspec.json.encode(_shown_block(block, rows, first, last))
        separator = b",\n"
        if progress is not None:
            progress(min(block["last_sequence"], last) - first + 1, last - first + 1)
    foot = {
        "path": [node.hex() for node in path],
        "checkpoint": signed.checkpoint.to_bytes().decode("ascii"),
        "signature": signed.signature.hex(),
    }
    yield b"\n]," + msgspec.json.encode(foot)[1:] + b"\n"


class SealedEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry as its leaf is made: `sealed` has exactly the fields that a proof shows, `leaf` is their hash."""

    sealed: dict[str, Any]
    leaf: str


async def sealed_entries(
    connection: Connection, book_id: int, first: int, last: int, *, from_at: datetime, to_at: datetime
) -> dict[int, SealedEntry]:
    """Every entry from one sequence through another, recorded between two times, as the chain seals it; by sequence.

    Archived entries are not among them.
    """
    layouts = {
        block["recorded_at"]: block["layout_version"]
        for block in await ask(connection, "blocks_from", book_id, from_at, to_at, last - first + 1)
    }
    rows = await _rows_between(connection, book_id, first, last, (from_at, to_at))
    found = {}
    for sequence, entry in rows.entries.items():
        postings, references = rows.postings.get(sequence, []), rows.references.get(sequence, [])
        found[sequence] = SealedEntry(
            sealed=_shown_entry(entry, postings, references),
            leaf=leaf_hash(entry, postings, references, layouts[entry["recorded_at"]]).hex(),
        )
    return found


async def _path_to(connection: Connection, signed: SignedCheckpoint, block: Row) -> list[bytes]:
    """The path from a block to the checkpoint's root; reads the hashes once and keeps log₂ n of them."""
    checkpoint, after_at = signed.checkpoint, None
    if checkpoint.previous_checkpoint != NO_CHECKPOINT:
        [before] = await ask(connection, "checkpoint_by_hash", checkpoint.book, checkpoint.previous_checkpoint)
        after_at = before["recorded_at"]
    index, size = block["block_number"] - checkpoint.first_block, checkpoint.last_block - checkpoint.first_block + 1
    ranges = sibling_ranges(index, size)
    subtrees = {first: MerkleRoot() for first, _ in ranges}
    current = MerkleRoot()
    position = 0
    async for row in block_hashes(connection, checkpoint.book, after_at, checkpoint.recorded_at):
        current = subtrees.get(position, MerkleRoot() if position == index else current)
        current.add(row["hash"])
        position += 1
    path = [subtrees[first].root() for first, _ in ranges]
    if position != size or root_from_path(block["hash"], index, size, path) != checkpoint.merkle_root:
        raise InvariantBroken(f"the books contradict checkpoint {checkpoint.name} of book {checkpoint.book}")
    return path


async def _blocks(connection: Connection, first: Row, last: Row) -> AsyncIterator[tuple[Row, _Rows]]:
    """Every block between two, with the rows of all its entries."""
    book_id, from_at = first["book_id"], first["recorded_at"]
    while blocks := await ask(connection, "blocks_from", book_id, from_at, last["recorded_at"], BLOCKS_AT_ONCE):
        while blocks:
            chosen = _at_most(blocks, ENTRIES_AT_ONCE)
            rows = await _rows(connection, chosen)
            for block in chosen:
                yield block, rows
            blocks = blocks[len(chosen) :]
            from_at = chosen[-1]["recorded_at"] + datetime.resolution


def _at_most(blocks: list[Row], entries: int) -> list[Row]:
    """The first blocks that together hold about that many entries; one at least."""
    for number, block in enumerate(blocks, 1):
        entries -= block["last_sequence"] - block["first_sequence"] + 1
        if entries <= 0:
            return blocks[:number]
    return blocks


async def _rows(connection: Connection, blocks: list[Row]) -> _Rows:
    first, last = blocks[0], blocks[-1]
    return await _rows_between(
        connection,
        first["book_id"],
        first["first_sequence"],
        last["last_sequence"],
        (first["recorded_at"], last["recorded_at"]),
    )


async def _rows_between(
    connection: Connection, book_id: int, first: int, last: int, between: tuple[datetime, datetime]
) -> _Rows:
    entries = await ask(connection, "sealed_entries", book_id, first, last, *between)
    postings, references = defaultdict(list), defaultdict(list)
    for row in await ask(connection, "sealed_postings", book_id, first, last, *between):
        postings[row["sequence"]].append(row)
    for row in await ask(connection, "sealed_references", book_id, first, last):
        references[row["sequence"]].append(row)
    return _Rows({row["sequence"]: row for row in entries}, postings, references)


def _shown_block(block: Row, rows: _Rows, first: int, last: int) -> dict[str, Any]:
    """The block as it stands in the proof: entries of the range with their rows, others as hashes."""
    leaves: list[bytes] = []
    shown: list[Any] = []
    for sequence in range(block["first_sequence"], block["last_sequence"] + 1):
        entry = rows.entries.get(sequence)
        if entry is None:
            raise InvariantBroken(f"entry {sequence} of book {block['book_id']} is missing")
        postings, references = rows.postings.get(sequence, []), rows.references.get(sequence, [])
        leaves.append(leaf_hash(entry, postings, references, block["layout_version"]))
        shown.append(_shown_entry(entry, postings, references) if first <= sequence <= last else leaves[-1].hex())
    if block_hash(block, leaves) != block["hash"]:
        raise InvariantBroken(f"block {block['block_number']} of book {block['book_id']} is not what its hash says")
    return {**{name: _shown(block[name]) for name in (*SEALED_BLOCK_COLUMNS, "hash")}, "leaves": shown}


def _shown_entry(entry: Row, postings: list[Row], references: list[Row]) -> dict[str, Any]:
    return {
        **{name: _shown(entry[name]) for name in SEALED_ENTRY_COLUMNS},
        "postings": [{name: _shown(row[name]) for name in SEALED_POSTING_COLUMNS} for row in postings],
        "references": [{"scheme": row["scheme"], "value": row["value"]} for row in references],
    }


def _shown(value: Any) -> Any:
    match value:
        case bytes():
            return value.hex()
        case datetime():
            return f"{value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
        case date() | UUID():
            return str(value)
        case _:
            return value
