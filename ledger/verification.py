"""Verification: re-adds the books by another road and says whether they are what they claim to be.

Every check is named and stands alone in `checks.py`. The books are read forward in chunks, each statement a
transaction of its own, so no snapshot stays open and posting goes on meanwhile: what is verified is the books up to
the head at the start. Memory grows with the number of accounts and of entries drawn on, not with the history.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec

from ledger.checks import SCANS, SINGLE_CHECKS, Chunk, Problems, Row
from ledger.errors import BookNotFound
from ledger.posting import Connection
from ledger.queries import QUERIES

CHUNK_BLOCKS: Final = 2_000
CHUNK_ENTRIES: Final = 5_000
PROBLEMS_SHOWN: Final = 5

Progress = Callable[[int, int], None]
"""Told (entries read, entries to read) after each chunk."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One named check.

    Attributes:
        detail: the first problems, or what was found in order.
        rows: how many rows it looked at.
    """

    name: str
    passed: bool
    detail: str
    rows: int


class VerificationReport(msgspec.Struct, frozen=True, kw_only=True):
    """What verification found, up to the head at its start.

    Attributes:
        head: the last sequence verified.
        head_hash: hash of the block that holds it: compare it with a checkpoint kept elsewhere.
    """

    book_id: int
    head: int
    head_hash: bytes
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)


async def verify(connection: Connection, book_id: int, *, progress: Progress | None = None) -> VerificationReport:
    """Run every check on a book; takes no lock.

    Args:
        connection: outside any transaction; rights to read are enough (app or auditor).
        book_id: the book.
        progress: called after each chunk.

    Raises:
        BookNotFound: there is no such book.
    """
    assert not connection.is_in_transaction(), "verification must not keep a snapshot open"
    return await run_checks(connection, book_id, progress)


async def run_checks(connection: Connection, book_id: int, progress: Progress | None = None) -> VerificationReport:
    """`verify` without its care for snapshots: for tests that roll back what they did to the books."""
    newest: Any = await connection.fetchrow(QUERIES["newest_block"], book_id)
    if newest is None:
        raise BookNotFound(f"no book {book_id}, or it has lost all its blocks")
    cut = newest["last_sequence"]
    scans = [scan() for scan in SCANS]
    async for chunk in _chunks(connection, book_id, newest):
        for scan in scans:
            scan.read(chunk)
        if progress is not None:
            progress(min(chunk.last, cut), cut)
    checks = [await _finished(scan.name, scan.finish, connection, book_id, cut) for scan in scans]
    checks += [await _finished(name, check, connection, book_id, cut) for name, check in SINGLE_CHECKS.items()]
    return VerificationReport(book_id=book_id, head=cut, head_hash=newest["hash"], checks=tuple(checks))


async def _finished(
    name: str,
    finish: Callable[[Connection, int, int], Awaitable[Problems]],
    connection: Connection,
    book_id: int,
    cut: int,
) -> Check:
    problems = await finish(connection, book_id, cut)
    shown = "; ".join(problems.found[:PROBLEMS_SHOWN])
    if problems.count > PROBLEMS_SHOWN:
        shown += f"; and {problems.count - PROBLEMS_SHOWN} more"
    return Check(name=name, passed=problems.count == 0, detail=shown or problems.note, rows=problems.rows)


async def _chunks(connection: Connection, book_id: int, newest: Row) -> AsyncIterator[Chunk]:
    """Whole blocks in order, with every row that lies in their range of sequences, up to the newest block."""

    async def rows(name: str, *arguments: Any) -> list[Any]:
        return list(await connection.fetch(QUERIES[name], book_id, *arguments))

    # A block that lies about its range must not send us counting to 2⁶³.
    [greatest] = await rows("greatest_sequence")
    after_at, after = None, 0
    while blocks := _at_most(await rows("blocks_after", after_at, newest["recorded_at"], CHUNK_BLOCKS), CHUNK_ENTRIES):
        last = max(min(blocks[-1]["last_sequence"], greatest["sequence"]), after)
        entries = await rows("entries_between", after, last)
        yield Chunk(
            first=after + 1,
            last=last,
            blocks=blocks,
            entries=entries,
            postings=_by_sequence(await rows("postings_between", after, last)),
            references=_by_sequence(await rows("references_between", after, last)),
            keys={row["key"]: row for row in await rows("keys_at", [entry["key"] for entry in entries])},
        )
        after_at, after = blocks[-1]["recorded_at"], last


def _at_most(blocks: Sequence[Row], entries: int) -> list[Row]:
    """The first blocks that together hold about that many entries; one at least."""
    chosen: list[Row] = []
    for block in blocks:
        chosen.append(block)
        entries -= block["last_sequence"] - block["first_sequence"] + 1
        if entries <= 0:
            break
    return chosen


def _by_sequence(rows: Sequence[Any]) -> dict[int, list[Row]]:
    grouped: defaultdict[int, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row["sequence"]].append(row)
    return dict(grouped)
