"""Checkpoints: signed statements about the chain, published outside the database; made daily and on demand.

A checkpoint is first published, then recorded. What stopped between the two is finished by the next call: the file is
compared with the books and recorded as it is. Publishing never overwrites, so of two callers at once one makes the
checkpoint and the other records the same.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import asyncpg
import msgspec

from ledger.checkpoint_folder import CheckpointSink
from ledger.checkpoint_format import NO_CHECKPOINT, Checkpoint, SignedCheckpoint, Signer, parse, signed
from ledger.errors import BookNotFound, CheckpointContradicted, CheckpointMalformed
from ledger.merkle import MerkleRoot
from ledger.posting import Connection, ledger_error
from ledger.queries import load_queries

BLOCKS_AT_ONCE: Final = 20_000
PROOF_QUERIES: Final = load_queries(Path(__file__).parent / "sql" / "proofs.sql")
_RECORD: Final = f"SELECT ledger.record_checkpoint_v1({', '.join(f'${n}' for n in range(1, 13))})"

Row = Mapping[str, Any]


async def make_checkpoint(
    connection: Connection, book_id: int, *, signer: Signer, sink: CheckpointSink
) -> SignedCheckpoint | None:
    """Publish and record a checkpoint of everything since the last one; None when nothing is new.

    Args:
        connection: outside any transaction; takes no lock of the book.
        book_id: the book.
        signer: signs, and says which signatures are ours.
        sink: where it is published before it is recorded.

    Raises:
        BookNotFound: there is no such book.
        CheckpointContradicted: what is published does not follow from the books; after a restore from a backup
            `restored` comes first.
        CheckpointMalformed: a published file cannot be read or is not signed by the signer.
    """
    last, adopted = await _resumed(connection, book_id, signer=signer, sink=sink)
    head: Any = await connection.fetchrow(PROOF_QUERIES["newest_block"], book_id)
    if head is None:
        raise BookNotFound(f"no book {book_id}")
    if last is not None and last.last_block >= head["block_number"]:
        return adopted
    tree = MerkleRoot()
    async for block in block_hashes(connection, book_id, last.recorded_at if last else None, head["recorded_at"]):
        tree.add(block["hash"])
    checkpoint = Checkpoint(
        book=book_id,
        incarnation=head["incarnation"],
        number=last.number + 1 if last else 1,
        first_block=last.last_block + 1 if last else 0,
        last_block=head["block_number"],
        last_sequence=head["last_sequence"],
        recorded_at=head["recorded_at"],
        head_hash=head["hash"],
        merkle_root=tree.root(),
        previous_checkpoint=last.hash if last else NO_CHECKPOINT,
    )
    assert tree.size == checkpoint.last_block - checkpoint.first_block + 1, "blocks are missing; run verify"
    made = signed(checkpoint, signer)
    if await sink.publish(book_id, checkpoint.name, made.to_bytes()) != made.to_bytes():
        # Somebody else was faster; theirs is recorded as it is.
        _, adopted = await _resumed(connection, book_id, signer=signer, sink=sink)
        return adopted
    await record(connection, made)
    return made


async def ask(connection: Connection, name: str, *arguments: Any) -> list[Row]:
    """The rows of a statement of `sql/proofs.sql`."""
    rows: list[Any] = await connection.fetch(PROOF_QUERIES[name], *arguments)
    return rows


async def block_hashes(
    connection: Connection, book_id: int, after_at: datetime | None, until_at: datetime
) -> AsyncIterator[Row]:
    """`block_number` and `hash` of the blocks recorded after one moment through another, in order, read in chunks."""
    while rows := await ask(connection, "block_hashes", book_id, after_at, until_at, BLOCKS_AT_ONCE):
        for row in rows:
            yield row
        after_at = rows[-1]["recorded_at"]


async def fault_of(connection: Connection, checkpoint: Checkpoint, after_at: datetime | None) -> str | None:
    """How the books contradict a checkpoint; None when they do not.

    Args:
        connection: may be in no transaction or any.
        checkpoint: what was published.
        after_at: `recorded_at` of the checkpoint before; None for the first.
    """
    row: Any = await connection.fetchrow(PROOF_QUERIES["block_at"], checkpoint.book, checkpoint.recorded_at)
    if row is None:
        head: Any = await connection.fetchrow(PROOF_QUERIES["newest_block"], checkpoint.book)
        if head is None or checkpoint.last_block > head["block_number"]:
            end = "hold nothing" if head is None else f"end at block {head['block_number']}"
            return f"lies ahead of the books: it ends at block {checkpoint.last_block}, they {end}"
        return f"differs from the books: its block {checkpoint.last_block} is not there"
    ours = (row["block_number"], row["incarnation"], row["last_sequence"], row["hash"])
    if ours != (checkpoint.last_block, checkpoint.incarnation, checkpoint.last_sequence, checkpoint.head_hash):
        return f"differs from the books: its block {checkpoint.last_block} is another than theirs"
    tree = MerkleRoot()
    async for block in block_hashes(connection, checkpoint.book, after_at, checkpoint.recorded_at):
        if block["block_number"] != checkpoint.first_block + tree.size:
            return f"differs from the books: block {checkpoint.first_block + tree.size} is not in its place"
        tree.add(block["hash"])
    if tree.root() != checkpoint.merkle_root:
        return "differs from the books: its Merkle root is another than that of their blocks"
    return None


def is_taken_back(checkpoint: Checkpoint, restorations: Sequence[Row]) -> bool:
    """Whether a restore that is on the record took a published checkpoint back (as in `sql/proofs.sql`)."""
    return any(
        checkpoint.incarnation < row["incarnation"]
        and checkpoint.last_block >= row["first_lost_block"]
        and row["published_number"] is not None
        and (checkpoint.incarnation, checkpoint.number) <= (row["published_incarnation"], row["published_number"])
        for row in restorations
    )


async def recorded_checkpoints(connection: Connection, book_id: int) -> list[SignedCheckpoint]:
    """Every recorded checkpoint of a book, oldest first."""
    return [of_row(row) for row in await ask(connection, "checkpoints", book_id)]


class BookBehind(msgspec.Struct, frozen=True, kw_only=True):
    """A book whose newest block no checkpoint covers.

    Attributes:
        made_at: when its last checkpoint was made; None when it has none.
        since: the same, or when it was opened.
    """

    book_id: int
    made_at: datetime | None
    since: datetime


async def books_behind(connection: Connection) -> list[BookBehind]:
    """Every book of which something is in no checkpoint, by number."""
    return [BookBehind(**dict(row)) for row in await ask(connection, "books_behind")]


def of_row(row: Row) -> SignedCheckpoint:
    """A row of `ledger.checkpoints`."""
    fields = {name: row[name] for name in Checkpoint.__struct_fields__ if name not in {"book", "number"}}
    return SignedCheckpoint(
        checkpoint=Checkpoint(book=row["book_id"], number=row["checkpoint_number"], **fields),
        signature=row["signature"],
    )


async def record(connection: Connection, made: SignedCheckpoint) -> None:
    """Record what is published; the same again changes nothing."""
    fields = (getattr(made.checkpoint, name) for name in Checkpoint.__struct_fields__)
    try:
        await connection.fetchval(_RECORD, *fields, made.checkpoint.hash, made.signature)
    except asyncpg.PostgresError as error:
        raise ledger_error(error) from error


async def _resumed(
    connection: Connection, book_id: int, *, signer: Signer, sink: CheckpointSink
) -> tuple[Checkpoint | None, SignedCheckpoint | None]:
    """Record what was published and not recorded; the newest checkpoint, and the newest recorded just now."""
    restorations = await ask(connection, "restorations", book_id)
    rows = await ask(connection, "newest_checkpoint", book_id)
    last, adopted = of_row(rows[0]).checkpoint if rows else None, None
    for name, content in await sink.published(book_id, after=last.name if last else ""):
        found = parse(content)
        checkpoint = found.checkpoint
        if is_taken_back(checkpoint, restorations):
            continue
        if checkpoint.book != book_id or checkpoint.name != name or not found.is_signed_by(signer.public_key):
            raise CheckpointMalformed(f"published checkpoint {name} of book {book_id} is not one of ours")
        fault = await fault_of(connection, checkpoint, last.recorded_at if last else None)
        if checkpoint.previous_checkpoint != (last.hash if last else NO_CHECKPOINT):
            fault = fault or "does not follow the last one that is recorded"
        if fault is not None:
            raise CheckpointContradicted(f"published checkpoint {name} of book {book_id} {fault}")
        await record(connection, found)
        last, adopted = checkpoint, found
    return last, adopted
