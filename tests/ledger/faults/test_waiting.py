"""Who waits too long is told so, and what was not taken was not posted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from ledger.errors import LedgerBusy, LedgerUnavailable
from ledger.feed import head, read_entries
from ledger.journal import JournalEntry, Posted
from ledger.posting import Ledger, keeps_nothing, post_entries
from ledger.verification import verify
from tests.conftest import ClonedDatabase
from tests.ledger.entries import BOOK, received


@asynccontextmanager
async def book_held(database: ClonedDatabase) -> AsyncIterator[None]:
    """Somebody has posted and does not commit; in the end it rolls back."""
    holder = await asyncpg.connect(database.app_dsn)
    transaction = holder.transaction()
    await transaction.start()
    await post_entries(holder, BOOK, [received(999)])
    try:
        yield
    finally:
        await transaction.rollback()
        await holder.close()


def pool_with(database: ClonedDatabase, **settings: str) -> asyncpg.pool.Pool:
    """As the product has it: giving a connection back asks the server nothing, so no time-out falls into that."""
    return asyncpg.create_pool(database.app_dsn, min_size=0, max_size=2, server_settings=settings, reset=keeps_nothing)


async def everybody_had_a_turn() -> None:
    """Return when every task that was started has run until it waits for something outside, or is done."""
    for _ in range(3):  # the callers, the flusher that the first of them starts, and who hears of it
        await asyncio.sleep(0)


@pytest.mark.parametrize("setting", ["lock_timeout", "statement_timeout"])
async def test_everybody_is_told_busy_while_another_holds_the_book(
    app: asyncpg.Connection, database: ClonedDatabase, setting: str
) -> None:
    entries = [received(1) for _ in range(30)]
    async with pool_with(database, **{setting: "100ms"}) as pool:
        ledger = Ledger(pool)
        async with book_held(database):
            results = await asyncio.gather(*(ledger.post(BOOK, each) for each in entries), return_exceptions=True)
            assert {type(each) for each in results} == {LedgerBusy}
            assert await head(app, BOOK) == 0
        await ledger.close()
    async with pool_with(database) as pool:
        ledger = Ledger(pool)
        again = await asyncio.gather(*(ledger.post(BOOK, each) for each in entries))
        await ledger.close()
    assert [isinstance(each, Posted) and each.replayed for each in again] == [False] * 30
    report = await verify(app, BOOK)
    assert (report.passed, report.head) == (True, 30)


async def test_batch_cut_short_by_statement_timeout_leaves_nothing(
    app: asyncpg.Connection, database: ClonedDatabase
) -> None:
    """The time-out falls into the work itself, after the book was locked."""
    entries = [received(1) for _ in range(2_000)]
    async with pool_with(database, statement_timeout="3ms") as pool, pool.acquire() as connection:
        with pytest.raises(LedgerBusy) as busy:
            await post_entries(connection, BOOK, entries)
        assert busy.value.retryable
    assert await head(app, BOOK) == 0
    assert await app.fetchval("SELECT count(*) FROM ledger.idempotency_keys") == 0
    assert await app.fetchval("SELECT count(*) FROM ledger.accounts") == 0
    await post_entries(app, BOOK, entries[:10])
    assert (await verify(app, BOOK)).passed


async def test_full_queue_refuses_the_next_caller_and_keeps_those_it_took(
    app: asyncpg.Connection, database: ClonedDatabase
) -> None:
    entries = [received(amount) for amount in range(1, 21)]
    async with pool_with(database) as pool:
        ledger = Ledger(pool, max_batch=1, queue_limit=5)
        async with book_held(database):
            first = asyncio.create_task(ledger.post(BOOK, entries[0]))
            await waited_for(app, waiting=1)
            callers = [asyncio.create_task(ledger.post(BOOK, each)) for each in entries[1:]]
            await everybody_had_a_turn()
            taken, refused = callers[:5], callers[5:]
            assert [each.done() for each in callers] == [False] * 5 + [True] * 14
            assert {type(each.exception()) for each in refused} == {LedgerBusy}
        results = await asyncio.gather(first, *taken)
        await ledger.close()
    assert [each.sequence for each in results if isinstance(each, Posted)] == [1, 2, 3, 4, 5, 6]
    recorded = await read_entries(app, BOOK, after=0, limit=100)
    assert [each.key for each in recorded] == [each.key for each in entries[:6]]
    assert (await verify(app, BOOK)).passed


async def test_callers_wait_for_a_connection_when_others_have_them_all(
    app: asyncpg.Connection, database: ClonedDatabase
) -> None:
    entries = [received(1) for _ in range(8)]
    async with pool_with(database) as pool:
        ledger = Ledger(pool, max_batch=4, queue_limit=4)
        async with pool.acquire(), pool.acquire():
            callers: list[asyncio.Task[object]] = [asyncio.create_task(post(ledger, each)) for each in entries[:4]]
            await everybody_had_a_turn()  # the flusher has these four and waits for a connection
            callers += [asyncio.create_task(post(ledger, each)) for each in entries[4:]]
            await everybody_had_a_turn()
            assert [each.done() for each in callers] == [False] * 8
            with pytest.raises(LedgerBusy):
                await ledger.post(BOOK, received(1))
        assert {type(each) for each in await asyncio.gather(*callers)} == {Posted}
        await ledger.close()
    assert (await verify(app, BOOK)).head == 8


async def test_server_that_takes_no_more_connections_is_unavailable_and_nothing_was_posted(
    app: asyncpg.Connection, superuser: asyncpg.Connection, database: ClonedDatabase
) -> None:
    entry = received(1)
    async with pool_with(database) as pool:
        ledger = Ledger(pool)
        await superuser.execute(f"ALTER DATABASE {database.name} CONNECTION LIMIT 1")
        with pytest.raises(LedgerUnavailable):
            await ledger.post(BOOK, entry)
        assert await head(app, BOOK) == 0
        await superuser.execute(f"ALTER DATABASE {database.name} CONNECTION LIMIT -1")
        posted = await ledger.post(BOOK, entry)
        await ledger.close()
    assert isinstance(posted, Posted)
    assert (posted.sequence, posted.replayed) == (1, False)


async def test_holder_of_the_book_that_is_terminated_frees_it_and_leaves_nothing(
    app: asyncpg.Connection, superuser: asyncpg.Connection, database: ClonedDatabase
) -> None:
    """Callers wait behind a transaction that has posted; its backend is killed, not theirs: they all get through."""
    lost, entries = [received(5), received(6)], [received(1) for _ in range(20)]
    async with pool_with(database, lock_timeout="10s") as pool:
        ledger = Ledger(pool)
        for _ in range(5):
            holder = await asyncpg.connect(database.app_dsn)
            await holder.execute("BEGIN")
            await post_entries(holder, BOOK, lost)
            callers = [asyncio.create_task(ledger.post(BOOK, entries.pop())) for _ in range(4)]
            await waited_for(app, waiting=1)
            await superuser.execute("SELECT pg_terminate_backend($1, 5000)", holder.get_server_pid())
            assert {type(each) for each in await asyncio.gather(*callers)} == {Posted}
            holder.terminate()
        await ledger.close()
    assert (await verify(app, BOOK)).head == 20
    results = await post_entries(app, BOOK, lost)
    assert [isinstance(each, Posted) and each.replayed for each in results] == [False, False]


async def test_frozen_holder_of_the_book_is_put_out_and_cannot_commit_when_it_wakes(
    app: asyncpg.Connection, database: ClonedDatabase
) -> None:
    """A process that stands still between posting and COMMIT: sessions that post may idle so long and no longer."""
    lost, entries = received(5), [received(1) for _ in range(10)]
    frozen = await asyncpg.connect(database.app_dsn)
    await frozen.execute("BEGIN")
    await post_entries(frozen, BOOK, [lost])
    # Only now: on a busy machine it may well stand still between BEGIN and posting, which is another story.
    await frozen.execute("SET idle_in_transaction_session_timeout = '50ms'")
    async with pool_with(database, lock_timeout="10s") as pool:
        ledger = Ledger(pool)
        results = await asyncio.gather(*(ledger.post(BOOK, each) for each in entries))
        await ledger.close()
    assert {type(each) for each in results} == {Posted}
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)):
        await frozen.execute("COMMIT")
    frozen.terminate()
    report = await verify(app, BOOK)
    assert (report.passed, report.head) == (True, 10)
    [again] = await post_entries(app, BOOK, [lost])
    assert isinstance(again, Posted)
    assert (again.sequence, again.replayed) == (11, False)


async def post(ledger: Ledger, entry: JournalEntry) -> object:
    return await ledger.post(BOOK, entry)


async def waited_for(app: asyncpg.Connection, *, waiting: int) -> None:
    """Return when so many backends of this database wait for a lock."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while True:
        if await app.fetchval(query) >= waiting:
            return
        await asyncio.sleep(0.005)
