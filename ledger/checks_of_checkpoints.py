"""The check of published checkpoints: what was said of the books outside of them is still what they say."""

from collections.abc import Awaitable, Callable, Sequence

from ledger.checkpoint_folder import CheckpointSink
from ledger.checkpoint_format import NO_CHECKPOINT, Checkpoint, SignedCheckpoint, parse
from ledger.checkpoints import PROOF_QUERIES, ask, fault_of, is_taken_back, recorded_checkpoints
from ledger.checks import Problems, Row
from ledger.errors import CheckpointMalformed
from ledger.posting import Connection


def against(
    sink: CheckpointSink, public_keys: Sequence[bytes]
) -> Callable[[Connection, int, int], Awaitable[Problems]]:
    """The check as `verify` runs the others: of everything that a place has published."""

    async def check(connection: Connection, book_id: int, cut: int) -> Problems:  # noqa: ARG001
        # In this order: what is recorded was published before, so a checkpoint made meanwhile is no fault.
        recorded = await recorded_checkpoints(connection, book_id)
        published = await sink.published(book_id)
        return await published_checkpoints(connection, book_id, published, public_keys, recorded=recorded)

    return check


async def published_checkpoints(
    connection: Connection,
    book_id: int,
    published: Sequence[tuple[str, bytes]],
    public_keys: Sequence[bytes],
    *,
    recorded: Sequence[SignedCheckpoint] | None = None,
) -> Problems:
    """Every published checkpoint is signed, follows the one before and agrees with the books, or a restore says why.

    Takes no lock and keeps no snapshot. A checkpoint of archived blocks is only compared with its neighbours
    (that older blocks may be away at all is for the check of the chain to say).

    Args:
        connection: outside any transaction; rights to read are enough.
        book_id: the book.
        published: every (name, content) of the book, as `CheckpointSink.published` gives them.
        public_keys: raw Ed25519 keys with which they may be signed.
        recorded: those that must be among them; None = all that are recorded now, so nobody may make one meanwhile.
    """
    problems = Problems()
    restorations = await ask(connection, "restorations", book_id)
    signed = _readable(book_id, published, public_keys, problems)
    by_hash = {each.checkpoint.hash: each.checkpoint for each in signed}
    oldest = await connection.fetchval(PROOF_QUERIES["oldest_block"], book_id)
    taken_back = archived = 0
    for each in signed:
        checkpoint = each.checkpoint
        problems.rows += 1
        before = by_hash.get(checkpoint.previous_checkpoint)
        if fault := _fault_in_order(checkpoint, before):
            problems.add(f"checkpoint {checkpoint.name} {fault}")
        if is_taken_back(checkpoint, restorations):
            taken_back += 1
        elif oldest is not None and checkpoint.first_block < oldest:
            archived += 1
        elif fault := await fault_of(connection, checkpoint, before.recorded_at if before else None):
            problems.add(f"checkpoint {checkpoint.name} {fault}")
    found = set(signed)
    for each in await recorded_checkpoints(connection, book_id) if recorded is None else recorded:
        if each not in found:
            problems.add(f"checkpoint {each.checkpoint.name} is recorded and not published as it is recorded")
    await _check_restorations(connection, book_id, restorations, by_hash, problems)
    agree = problems.rows - taken_back - archived
    problems.note = f"{agree} checkpoints agree with the books" if problems.rows else "none is published yet"
    if taken_back:
        acts = (f"incarnation {row['incarnation']} by {row['actor']} ({row['reason']})" for row in restorations)
        problems.note += f"; {taken_back} taken back on the record: {', '.join(acts)}"
    if archived:
        problems.note += f"; {archived} of archived blocks"
    return problems


def _readable(
    book_id: int, published: Sequence[tuple[str, bytes]], public_keys: Sequence[bytes], problems: Problems
) -> list[SignedCheckpoint]:
    found: list[SignedCheckpoint] = []
    for name, content in published:
        try:
            each = parse(content)
        except CheckpointMalformed as error:
            problems.add(f"checkpoint {name}: {error}")
            continue
        if not any(each.is_signed_by(key) for key in public_keys):
            problems.add(f"checkpoint {name} is not signed with the key")
        elif each.checkpoint.book != book_id or each.checkpoint.name != name:
            problems.add(f"checkpoint {name} is that of book {each.checkpoint.book}, {each.checkpoint.name}")
        else:
            found.append(each)
    return found


def _fault_in_order(checkpoint: Checkpoint, before: Checkpoint | None) -> str | None:
    if checkpoint.previous_checkpoint == NO_CHECKPOINT:
        is_first = (checkpoint.number, checkpoint.first_block) == (1, 0)
        return None if is_first else "is not the first and follows none"
    if before is None:
        return "follows one that is not published"
    follows = (
        checkpoint.number == before.number + 1
        and checkpoint.first_block == before.last_block + 1
        and checkpoint.incarnation >= before.incarnation
        and checkpoint.last_sequence >= before.last_sequence
    )
    return None if follows else f"does not begin where {before.name} ends"


async def _check_restorations(
    connection: Connection,
    book_id: int,
    restorations: Sequence[Row],
    by_hash: dict[bytes, Checkpoint],
    problems: Problems,
) -> None:
    """Every restore has its block and names a published checkpoint; every block without entries has its restore."""
    said = {(row["block_number"], row["incarnation"]) for row in restorations}
    empty = await ask(connection, "empty_blocks", book_id)
    found = {(row["block_number"], row["incarnation"]) for row in empty}
    for block_number, incarnation in sorted(found - said):
        problems.add(f"incarnation {incarnation} began at block {block_number} without an act on the record")
    for row in restorations:
        if (row["block_number"], row["incarnation"]) not in found:
            problems.add(f"the restore of incarnation {row['incarnation']} has no block {row['block_number']}")
        if row["published_hash"] is not None and row["published_hash"] not in by_hash:
            problems.add(f"the restore of incarnation {row['incarnation']} names a checkpoint that is not published")
