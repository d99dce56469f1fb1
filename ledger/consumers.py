"""Consumers of the feed: each follows the entries in order with a cursor of its own, and none is skipped.

Order of sequence is order of commit, so `sequence > cursor` misses nothing. The cursor lies in the database and moves
forward only, after the batch was handled; a crash in between brings the batch again (at least once). Who needs exactly
once writes its effect and calls `advance` in one transaction. One process a consumer works at a time: a lease that it
renews with every batch, and that runs out when it dies. Nothing is locked and no snapshot stays open while a handler
works, so posting never waits for a consumer.

A NOTIFY is a hint that there is something new, nothing more: `Hints` sends it after COMMIT on another connection,
because inside a posting transaction it would take one lock for the whole server. A lost hint costs a poll interval.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import msgspec

from ledger.errors import CursorLost, LedgerError
from ledger.feed import RecordedEntry, read_entries
from ledger.posting import CONNECTION_LOST, Connection, ledger_error
from ledger.queries import QUERIES

CHANNEL: Final = "ledger_feed"
BATCH_ENTRIES: Final = 500
LEASE_SECONDS: Final = 30
POLL_SECONDS: Final = 1.0
HINT_SECONDS: Final = 0.05

Handler = Callable[[Sequence[RecordedEntry]], Awaitable[None]]


class Consumer(msgspec.Struct, frozen=True, kw_only=True):
    """Who follows a book.

    Attributes:
        sequence: the last entry that was handled.
        behind: entries that are not yet.
        leased_until: somebody's turn ends then, unless renewed; None: nobody is at it.
    """

    name: str
    sequence: int
    behind: int
    leased_until: datetime | None


async def consumers(connection: Connection, book_id: int) -> list[Consumer]:
    """Everybody who ever followed the book, by name."""
    return [Consumer(**row) for row in await connection.fetch(QUERIES["consumers"], book_id)]


async def claim(
    connection: Connection, book_id: int, name: str, *, holder: UUID, start: int = 0, lease_seconds: int = LEASE_SECONDS
) -> int | None:
    """Take or renew a consumer's lease; the sequence it has come to, or None where another process has it.

    Args:
        connection: its COMMIT makes the lease hold.
        book_id: the book followed.
        name: of the consumer; a new one begins after `start`.
        holder: names this process' turn.
        start: last sequence that a new consumer does not want.
        lease_seconds: how long the lease holds without renewal; longer than a batch takes.

    Raises:
        BookNotFound: there is no such book.
    """
    claimed: int | None = await _call(
        connection, "SELECT ledger.claim_consumer_v1($1, $2, $3, $4, $5)", book_id, name, holder, lease_seconds, start
    )
    return claimed


async def advance(connection: Connection, book_id: int, name: str, *, holder: UUID, after: int, through: int) -> None:
    """Move the cursor from `after` to `through`; with the effect in the same transaction this is exactly once.

    Raises:
        CursorLost: the lease is another's by now, or the cursor is not there, or `through` is beyond the head.
    """
    moved = await _call(
        connection, "SELECT ledger.advance_consumer_v1($1, $2, $3, $4, $5)", book_id, name, holder, after, through
    )
    if not moved:
        raise CursorLost(f"consumer {name} of book {book_id} is not at {after} any more, or not ours")


async def rewind(connection: Connection, book_id: int, name: str, *, to: int, actor: str, reason: str) -> bool:
    """Take a consumer back to an earlier sequence, on the record; False where it is not beyond it."""
    return bool(
        await _call(
            connection, "SELECT ledger.rewind_consumer_v1($1, $2, $3, $4, $5)", book_id, name, to, actor, reason
        )
    )


async def consume_once(
    pool: asyncpg.Pool, book_id: int, name: str, handler: Handler, *, holder: UUID, limit: int = BATCH_ENTRIES
) -> int:
    """Hand the next batch to the handler and move the cursor; how many entries (0: nothing new, or not our turn)."""
    async with pool.acquire() as connection:
        after = await claim(connection, book_id, name, holder=holder)
        if after is None:
            return 0
        entries = await read_entries(connection, book_id, after=after, limit=limit)
    if not entries:
        return 0
    await handler(entries)
    async with pool.acquire() as connection:
        await advance(connection, book_id, name, holder=holder, after=after, through=entries[-1].sequence)
    return len(entries)


async def consume(
    pool: asyncpg.Pool,
    book_id: int,
    name: str,
    handler: Handler,
    *,
    stop: asyncio.Event,
    hint: asyncio.Event | None = None,
    poll_seconds: float = POLL_SECONDS,
    holder: UUID | None = None,
    until_idle: bool = False,
) -> None:
    """Follow a book until `stop` is set, batch by batch; a hint makes the next look come at once.

    Args:
        pool: lends a connection for each step; none is kept while the handler works.
        book_id: the book followed.
        name: of the consumer.
        handler: gets each batch, at least once.
        stop: ends it, after the batch at hand.
        hint: set when something may be new.
        poll_seconds: between two looks when nothing is.
        holder: whose turn it is; None = of this call.
        until_idle: return as soon as nothing is new, or it is not our turn.

    Raises:
        LedgerError: the database is away, or the cursor was lost; call again.
    """
    holder, woken = holder or uuid4(), hint or asyncio.Event()
    try:
        while not stop.is_set():
            woken.clear()
            if await consume_once(pool, book_id, name, handler, holder=holder):
                continue
            if until_idle:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), poll_seconds)
    finally:
        with suppress(LedgerError, *CONNECTION_LOST, asyncpg.PostgresError):  # else the lease runs out by itself
            async with pool.acquire() as connection:
                await claim(connection, book_id, name, holder=holder, lease_seconds=0)


class Hints:
    """Tells consumers that a book has something new, at most once in `HINT_SECONDS` for each book.

    Args:
        pool: lends the connection that says so; never one that is posting.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._waiting: dict[int, int] = {}
        self._sender: asyncio.Task[None] | None = None

    def on_posted(self, book_id: int, last_sequence: int) -> None:
        """Called after COMMIT; never waits and never fails."""
        self._waiting[book_id] = max(last_sequence, self._waiting.get(book_id, 0))
        if self._sender is None:
            self._sender = asyncio.create_task(self._send())

    async def close(self) -> None:
        """Return when what was to be said is said."""
        if self._sender is not None:
            await asyncio.wait([self._sender])

    async def _send(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(HINT_SECONDS)
                said, self._waiting = self._waiting, {}
                with suppress(*CONNECTION_LOST, asyncpg.PostgresError):  # a hint may be lost
                    async with self._pool.acquire() as connection:
                        for book_id, sequence in said.items():
                            await connection.fetchval("SELECT pg_notify($1, $2)", CHANNEL, f"{book_id} {sequence}")
        finally:
            self._sender = None


async def listen(connection: asyncpg.Connection, book_id: int, hint: asyncio.Event) -> None:
    """Set `hint` whenever the book is said to have something new, as long as the connection lives."""

    def heard(_connection: Any, _pid: int, _channel: str, payload: Any) -> None:
        if str(payload).partition(" ")[0] == str(book_id):
            hint.set()

    await connection.add_listener(CHANNEL, heard)


async def _call(connection: Connection, statement: str, *arguments: Any) -> Any:
    try:
        return await connection.fetchval(statement, *arguments)
    except (asyncpg.PostgresError, *CONNECTION_LOST) as error:
        raise ledger_error(error) from error
