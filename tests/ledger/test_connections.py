"""A book keeps its connection while its entries follow each other, and no longer."""

import asyncio
from collections.abc import Callable
from datetime import date
from typing import cast

import asyncpg
import pytest

from ledger.accounts import open_accounts, open_book
from ledger.balances import balances
from ledger.coalescing import HALVED_FROM
from ledger.errors import EntryMalformed, LedgerUnavailable
from ledger.journal import Posted, Refused
from ledger.posting import Ledger, keeps_nothing, post_entries
from ledger.refusals import Refusal
from tests.conftest import ClonedDatabase
from tests.ledger.entries import AVAILABLE, BOOK, paid_out, received

OTHER_BOOK = BOOK + 1
POSTS = 20
CALLERS = 2 * HALVED_FROM
AVAILABLE_MINOR = CALLERS - 150


class Watched:
    """A pool that notes what is taken from it and given back."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self.taken: list[asyncpg.pool.PoolConnectionProxy] = []
        self.given_back = 0
        self.came_back = asyncio.Event()
        self.both_taken = asyncio.Event()

    async def acquire(self) -> asyncpg.pool.PoolConnectionProxy:
        self.taken.append(await self._pool.acquire())
        if len(self.taken) == 2:
            self.both_taken.set()
        return self.taken[-1]

    async def release(self, connection: asyncpg.pool.PoolConnectionProxy) -> None:
        self.given_back += 1
        await self._pool.release(connection)
        self.came_back.set()


def over(watched: Watched, on_posted: Callable[[int, int], None] | None = None) -> Ledger:
    """A ledger whose connections are watched."""
    return Ledger(cast("asyncpg.Pool", watched), on_posted=on_posted)


async def test_entries_that_follow_each_other_go_out_on_one_connection(pool: asyncpg.Pool) -> None:
    watched = Watched(pool)
    ledger = over(watched)
    for _ in range(POSTS):
        assert isinstance(await ledger.post(BOOK, received(1)), Posted)
    await ledger.close()
    assert (len(watched.taken), watched.given_back) == (1, 1)
    assert pool.get_idle_size() == pool.get_size()


async def test_many_callers_share_two_calls_and_a_floor_lets_through_what_is_there(
    pool: asyncpg.Pool, app: asyncpg.Connection
) -> None:
    """Two calls of one book are on the way at a time, and neither sees money that the other took."""
    watched = Watched(pool)
    ledger = over(watched)
    await ledger.post(BOOK, received(AVAILABLE_MINOR))
    watched.taken.clear()
    results = await asyncio.gather(*(ledger.post(BOOK, paid_out(1)) for _ in range(CALLERS)))
    await ledger.close()
    posted = [result for result in results if isinstance(result, Posted)]
    assert len(posted) == AVAILABLE_MINOR
    assert sorted(result.sequence for result in posted) == list(range(2, AVAILABLE_MINOR + 2))
    assert {result.refusal for result in results if not isinstance(result, Posted)} == {Refusal.BELOW_FLOOR}
    assert (await balances(app, BOOK, [AVAILABLE]))[AVAILABLE].balance_minor == 0
    assert len(watched.taken) == 2
    assert pool.get_idle_size() == pool.get_size()


async def test_both_calls_that_lose_their_lines_are_asked_again_and_nothing_is_doubled(
    pool: asyncpg.Pool, app: asyncpg.Connection
) -> None:
    watched = Watched(pool)
    ledger = over(watched)
    entries = [received(1) for _ in range(CALLERS)]
    await app.execute("BEGIN")
    await post_entries(app, BOOK, [received(1)])
    posting = asyncio.gather(*(ledger.post(BOOK, entry) for entry in entries))
    await watched.both_taken.wait()
    await asyncio.sleep(0.1)  # both halves are on their way to the book
    for connection in list(watched.taken):
        connection.terminate()
    await app.execute("COMMIT")
    results = await posting
    await ledger.close()
    assert all(isinstance(result, Posted) for result in results)
    assert (await balances(app, BOOK, [AVAILABLE]))[AVAILABLE].balance_minor == CALLERS + 1


async def test_connection_is_given_back_when_nothing_follows(pool: asyncpg.Pool) -> None:
    watched = Watched(pool)
    ledger = over(watched)
    for _ in range(2):
        watched.came_back.clear()
        await ledger.post(BOOK, received(1))
        await asyncio.wait_for(watched.came_back.wait(), 5)
    assert (len(watched.taken), watched.given_back) == (2, 2)
    await ledger.close()


async def test_busy_book_lets_another_have_the_only_connection(
    database: ClonedDatabase, app: asyncpg.Connection
) -> None:
    await open_book(app, OTHER_BOOK, code="other", mode="test")
    turns: list[int] = []
    async with asyncpg.create_pool(database.app_dsn, min_size=1, max_size=1, reset=keeps_nothing) as only:
        ledger = Ledger(only, on_posted=lambda book_id, _: turns.append(book_id))

        async def post_to(book_id: int) -> None:
            for _ in range(POSTS):
                await ledger.post(book_id, received(1))

        async with asyncio.timeout(30):
            await asyncio.gather(post_to(BOOK), post_to(OTHER_BOOK))
        await ledger.close()
    assert sorted(turns) == [BOOK] * POSTS + [OTHER_BOOK] * POSTS
    waits = [turns.index(OTHER_BOOK), turns.index(BOOK)]
    assert max(waits) <= 2, "who waits gets the connection after the flush in flight"


async def test_kept_connection_that_died_is_not_asked(pool: asyncpg.Pool) -> None:
    watched = Watched(pool)
    ledger = over(watched, on_posted=lambda *_: watched.taken[-1].terminate())
    for _ in range(3):
        result = await ledger.post(BOOK, received(1))
        assert isinstance(result, Posted)
        assert not result.replayed
    await ledger.close()
    assert (len(watched.taken), watched.given_back) == (3, 3)


async def test_a_list_is_posted_in_its_order_beside_many_callers(pool: asyncpg.Pool) -> None:
    ledger = Ledger(pool, max_batch=CALLERS)
    listed = [received(1) for _ in range(2 * CALLERS + 1)]
    others = asyncio.gather(*(ledger.post(BOOK, received(1)) for _ in range(CALLERS)))
    results = await ledger.post_in_order(BOOK, listed)
    await others
    await ledger.close()
    sequences = [result.sequence for result in results if isinstance(result, Posted)]
    assert len(sequences) == len(listed)
    assert sequences == sorted(sequences)
    assert await ledger.post_in_order(BOOK, []) == []


async def test_of_a_list_each_entry_has_its_own_outcome(pool: asyncpg.Pool) -> None:
    ledger = Ledger(pool)
    listed = [received(2), paid_out(3), received(1), received(1, effective_on=date.max), paid_out(3)]
    results = await ledger.post_in_order(BOOK, listed)
    await ledger.close()
    assert [type(result) for result in results] == [Posted, Refused, Posted, EntryMalformed, Posted]


async def test_server_that_takes_no_writes_is_unavailable(app: asyncpg.Connection, database: ClonedDatabase) -> None:
    """A standby, before or after a fail-over: nobody's fault, and another try may find the primary."""
    standby = {"default_transaction_read_only": "on"}
    async with asyncpg.create_pool(database.app_dsn, min_size=1, max_size=2, server_settings=standby) as pool:
        ledger = Ledger(pool)
        with pytest.raises(LedgerUnavailable, match="takes no writes"):
            await ledger.post(BOOK, received(1))
        await ledger.close()
        async with pool.acquire() as connection:
            with pytest.raises(LedgerUnavailable, match="takes no writes"):
                await open_accounts(connection, BOOK, [AVAILABLE])
    assert (await balances(app, BOOK, [AVAILABLE]))[AVAILABLE].balance_minor == 0
