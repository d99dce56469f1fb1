"""The act after a restore from a backup: what was published and is lost is said once, on the record.

Run it before anything is posted again: what the published checkpoints hold and the books do not is then the lost range
exactly. A new incarnation begins with a block without entries; what was signed of the lost blocks stays true of them.
"""

from typing import Any

import asyncpg
import msgspec

from ledger.checkpoint_folder import CheckpointSink
from ledger.checkpoint_format import Checkpoint, parse
from ledger.checkpoints import PROOF_QUERIES, ask, fault_of, is_taken_back
from ledger.errors import BookNotFound, CheckpointMalformed
from ledger.posting import Connection, ledger_error


class Restoration(msgspec.Struct, frozen=True, kw_only=True):
    """What was put on the record.

    Attributes:
        incarnation: the new one.
        published: name of the last published checkpoint; None when there is none.
        first_lost_sequence: the first entry that is no longer there.
        last_lost_sequence: the last one that a published checkpoint knows of; None when none knows of a loss (what
            was posted after the last checkpoint and is lost, no checkpoint knows).
    """

    incarnation: int
    published: str | None
    first_lost_sequence: int
    last_lost_sequence: int | None


async def restored(
    connection: Connection, book_id: int, *, sink: CheckpointSink, public_key: bytes, actor: str, reason: str
) -> Restoration:
    """Raise the book's incarnation, naming the last published checkpoint and what of it is lost. Locks the book.

    Args:
        connection: outside any transaction.
        book_id: the book that was restored.
        sink: where checkpoints are published.
        public_key: raw key of their signatures: a forged file must not widen what is excused.
        actor: who decided, an opaque id.
        reason: why, for the auditor; no personal data.

    Raises:
        BookNotFound: there is no such book.
        CheckpointMalformed: a published file cannot be read or is not signed with the key.
    """
    head: Any = await connection.fetchrow(PROOF_QUERIES["newest_block"], book_id)
    if head is None:
        raise BookNotFound(f"no book {book_id}")
    published = [_ours(book_id, name, content, public_key) for name, content in await sink.published(book_id)]
    restorations = await ask(connection, "restorations", book_id)
    by_hash = {checkpoint.hash: checkpoint for checkpoint in published}
    first_block, first_sequence, last_sequence = head["block_number"] + 1, head["last_sequence"] + 1, None
    for checkpoint in published:
        if is_taken_back(checkpoint, restorations):
            continue
        before = by_hash.get(checkpoint.previous_checkpoint)
        if await fault_of(connection, checkpoint, before.recorded_at if before else None) is None:
            continue
        last_sequence = max(last_sequence or 0, checkpoint.last_sequence)
        if checkpoint.last_block <= head["block_number"]:  # the books went on in another way
            first_block = min(first_block, checkpoint.first_block)
            first_sequence = min(first_sequence, before.last_sequence + 1 if before else 1)
    last = published[-1] if published else None
    try:
        incarnation = await connection.fetchval(
            "SELECT ledger.restored_v1($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            book_id,
            last and last.incarnation,
            last and last.number,
            last and last.hash,
            first_block,
            first_sequence,
            last_sequence,
            actor,
            reason,
        )
    except asyncpg.PostgresError as error:
        raise ledger_error(error) from error
    return Restoration(
        incarnation=incarnation,
        published=last.name if last else None,
        first_lost_sequence=first_sequence,
        last_lost_sequence=last_sequence,
    )


def _ours(book_id: int, name: str, content: bytes, public_key: bytes) -> Checkpoint:
    found = parse(content)
    if found.checkpoint.book != book_id or found.checkpoint.name != name or not found.is_signed_by(public_key):
        raise CheckpointMalformed(f"published checkpoint {name} of book {book_id} is not one of ours")
    return found.checkpoint
