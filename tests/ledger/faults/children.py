"""Children that run `caller.py`, and what they said."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg

from ledger.feed import RecordedEntry, read_entries
from ledger.journal import JournalEntry
from ledger.posting import post_entries
from ledger.verification import verify


class Child:
    """One process that posts; `posted` holds what it was told, `refused` the keys that were refused."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.posted: dict[UUID, int] = {}
        self.refused: set[UUID] = set()
        self.done = False
        self._reading = asyncio.create_task(self._read())
        self._news = asyncio.Event()

    async def acknowledged(self, count: int) -> None:
        """Wait until it was told of so many, or has ended."""
        while len(self.posted) + len(self.refused) < count and not self._reading.done():
            self._news.clear()
            await asyncio.wait(
                [asyncio.ensure_future(self._news.wait()), self._reading], return_when=asyncio.FIRST_COMPLETED
            )

    async def ended(self) -> int:
        """Its exit code, after everything it said was read."""
        await self._reading
        return await self.process.wait()

    def kill(self) -> None:
        """kill −9."""
        self.process.kill()

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            word, *rest = line.decode().split()
            if word == "posted":
                assert UUID(rest[0]) not in self.posted, "told twice"
                self.posted[UUID(rest[0])] = int(rest[1])
            elif word == "refused":
                self.refused.add(UUID(rest[0]))
            self.done = word == "done"
            self._news.set()
        self._news.set()


@asynccontextmanager
async def child(
    dsn: str, book_id: int, seed: int, *, entries: int, callers: int, workload: str = "receipts"
) -> AsyncIterator[Child]:
    """A child that posts a workload, killed at the end of the block if it still runs."""
    words = [workload, *map(str, (book_id, seed, entries, callers))]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.ledger.faults.caller",
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(dsn.encode() + b"\n")
    process.stdin.close()
    running = Child(process)
    try:
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await running.ended()


async def everything(connection: asyncpg.Connection, book_id: int) -> list[RecordedEntry]:
    """The whole feed of a book."""
    found: list[RecordedEntry] = []
    while page := await read_entries(connection, book_id, after=len(found), limit=2_000):
        found += page
    return found


async def assert_nothing_lost_or_doubled(
    connection: asyncpg.Connection, book_id: int, told: dict[UUID, int], entries: list[JournalEntry]
) -> None:
    """What was acknowledged is there, once and at its place; what was not can be asked for by its key; all verifies.

    Args:
        connection: of the app role, outside a transaction.
        book_id: the book, which holds nothing but these entries.
        told: key → sequence of what callers were told.
        entries: everything that was to be posted; none of them is refused.
    """
    before = {each.key: each.sequence for each in await everything(connection, book_id)}
    assert told.items() <= before.items()
    results = await post_entries(connection, book_id, entries)
    assert {result.key for result in results if getattr(result, "replayed", False)} == before.keys()
    recorded = await everything(connection, book_id)
    assert sorted(each.key for each in recorded) == sorted(each.key for each in entries)
    assert {each.key: each.sequence for each in recorded}.items() >= before.items()
    report = await verify(connection, book_id)
    assert [check for check in report.checks if not check.passed] == []
