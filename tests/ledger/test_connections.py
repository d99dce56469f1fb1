"""A book keeps its connection while its entries follow each other, and no longer."""

import asyncio

import asyncpg

from ledger.accounts import open_book
from ledger.journal import Posted
from ledger.posting import Ledger, keeps_nothing
from tests.conftest import ClonedDatabase
from tests.ledger.entries import BOOK, received

OTHER_BOOK = BOOK + 1
POSTS = 20


class Watched:
    """A pool that notes what is taken from it and given back."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self.taken: list[asyncpg.pool.PoolConnectionProxy] = []
        self.given_back = 0
        self.came_back = asyncio.Event()

    async def acquire(self) -> asyncpg.pool.PoolConnectionProxy:
        self.taken.append(await self._pool.acquire())
        return self.taken[-1]

    async def release(self, connection: asyncpg.pool.PoolConnectionProxy) -> None:
        self.given_back += 1
        await self._pool.release(connection)
        self.came_back.set()


async def test_entries_that_follow_each_other_go_out_on_one_connection(pool: asyncpg.Pool) -> None:
    watched = Watched(pool)
    ledger = Ledger(watched)  # type: ignore[arg-type]
    for _ in range(POSTS):
        assert isinstance(await ledger.post(BOOK, received(1)), Posted)
    await ledger.close()
    assert (len(watched.taken), watched.given_back) == (1, 1)
    assert pool.get_idle_size() == pool.get_size()


async def test_connection_is_given_back_when_nothing_follows(pool: asyncpg.Pool) -> None:
    watched = Watched(pool)
    ledger = Ledger(watched)  # type: ignore[arg-type]
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
    ledger = Ledger(watched, on_posted=lambda *_: watched.taken[-1].terminate())  # type: ignore[arg-type]
    for _ in range(3):
        result = await ledger.post(BOOK, received(1))
        assert isinstance(result, Posted)
        assert not result.replayed
    await ledger.close()
    assert (len(watched.taken), watched.given_back) == (3, 3)
