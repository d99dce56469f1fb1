"""Consumers: every entry once and in order, whatever crashes; one process a name; hints are hints."""

import asyncio
from uuid import uuid4

import asyncpg
import pytest

from ledger.consumers import Hints, advance, claim, consume, consume_once, listen, rewind
from ledger.errors import BookNotFound, CursorLost
from ledger.feed import head
from ledger.posting import Ledger, post_entries
from tests.conftest import ClonedDatabase
from tests.ledger.entries import BOOK, received


async def ignored(_: object) -> None:
    """A handler that does nothing."""


async def test_follower_misses_nothing_while_many_post(pool: asyncpg.Pool, app: asyncpg.Connection) -> None:
    seen: list[int] = []
    stop = asyncio.Event()

    async def keep(entries) -> None:
        seen.extend(entry.sequence for entry in entries)
        if len(seen) == 400:
            stop.set()

    following = asyncio.create_task(consume(pool, BOOK, "reports", keep, stop=stop, poll_seconds=0.01))
    ledgers = [Ledger(pool, max_batch=7) for _ in range(4)]
    await asyncio.gather(*(ledgers[n % 4].post(BOOK, received(1)) for n in range(400)))
    await asyncio.wait_for(following, 30)
    for ledger in ledgers:
        await ledger.close()
    assert seen == list(range(1, 401))


async def test_batch_comes_again_when_its_handler_failed(pool: asyncpg.Pool, app: asyncpg.Connection) -> None:
    await post_entries(app, BOOK, [received(1) for _ in range(5)])
    batches: list[list[int]] = []

    async def fail_once(entries) -> None:
        batches.append([entry.sequence for entry in entries])
        if len(batches) == 1:
            raise RuntimeError("crashed")

    holder = uuid4()
    with pytest.raises(RuntimeError, match="crashed"):
        await consume_once(pool, BOOK, "reports", fail_once, holder=holder, limit=3)
    assert await consume_once(pool, BOOK, "reports", fail_once, holder=holder, limit=3) == 3
    assert await consume_once(pool, BOOK, "reports", fail_once, holder=holder, limit=3) == 2
    assert await consume_once(pool, BOOK, "reports", fail_once, holder=holder, limit=3) == 0
    assert batches == [[1, 2, 3], [1, 2, 3], [4, 5]]
    assert await consume_once(pool, BOOK, "other", fail_once, holder=holder, limit=9) == 5


async def test_one_process_a_name_until_its_lease_is_over(pool: asyncpg.Pool, app: asyncpg.Connection) -> None:
    await post_entries(app, BOOK, [received(1)])
    first, second = uuid4(), uuid4()
    assert await claim(app, BOOK, "reports", holder=first, lease_seconds=30) == 0
    assert await claim(app, BOOK, "reports", holder=second) is None
    assert await consume_once(pool, BOOK, "reports", ignored, holder=second) == 0
    assert await claim(app, BOOK, "reports", holder=first, lease_seconds=-1) == 0
    assert await claim(app, BOOK, "reports", holder=second) == 0
    with pytest.raises(CursorLost):
        await advance(app, BOOK, "reports", holder=first, after=0, through=1)
    await advance(app, BOOK, "reports", holder=second, after=0, through=1)
    with pytest.raises(BookNotFound):
        await claim(app, 77, "reports", holder=first)


async def test_cursor_never_passes_the_head_and_goes_back_on_the_record_only(app: asyncpg.Connection) -> None:
    await post_entries(app, BOOK, [received(1), received(2)])
    holder = uuid4()
    assert await claim(app, BOOK, "reports", holder=holder) == 0
    for after, through in ((0, 3), (1, 2), (0, 0)):
        with pytest.raises(CursorLost):
            await advance(app, BOOK, "reports", holder=holder, after=after, through=through)
    await advance(app, BOOK, "reports", holder=holder, after=0, through=2)
    assert not await rewind(app, BOOK, "reports", to=2, actor="op_1", reason="test")
    assert await rewind(app, BOOK, "reports", to=1, actor="op_1", reason="test")
    act = await app.fetchrow("SELECT actor, subject FROM ledger.ledger_acts WHERE act = 'rewind_consumer'")
    assert tuple(act) == ("op_1", f"{BOOK}/reports from 2 to 1")
    assert await claim(app, BOOK, "reports", holder=uuid4()) == 1
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await app.execute("UPDATE ledger.feed_consumers SET sequence = 0")


async def test_effect_and_cursor_in_one_transaction_are_exactly_once(app: asyncpg.Connection) -> None:
    await post_entries(app, BOOK, [received(1)])
    holder = uuid4()
    await claim(app, BOOK, "reports", holder=holder)
    await app.execute("CREATE TEMP TABLE effects (sequence bigint)")
    with pytest.raises(RuntimeError):
        async with app.transaction():
            await app.execute("INSERT INTO effects VALUES (1)")
            await advance(app, BOOK, "reports", holder=holder, after=0, through=1)
            raise RuntimeError
    assert await app.fetchval("SELECT count(*) FROM effects") == 0
    assert await claim(app, BOOK, "reports", holder=holder) == 0


async def test_hint_wakes_and_a_lost_one_costs_a_poll(
    pool: asyncpg.Pool, app: asyncpg.Connection, database: ClonedDatabase
) -> None:
    hint, stop, seen = asyncio.Event(), asyncio.Event(), asyncio.Event()
    ear = await asyncpg.connect(database.app_dsn)
    await listen(ear, BOOK, hint)

    async def see(_: object) -> None:
        seen.set()

    following = asyncio.create_task(consume(pool, BOOK, "reports", see, stop=stop, hint=hint, poll_seconds=60))
    await asyncio.sleep(0.2)
    hints = Hints(pool)
    ledger = Ledger(pool, on_posted=hints.on_posted)
    await asyncio.gather(*(ledger.post(BOOK, received(1)) for _ in range(50)))
    await asyncio.wait_for(seen.wait(), 10)
    await hints.close()
    await ledger.close()
    stop.set()
    hint.set()
    await following
    await ear.close()

    seen.clear()
    stop.clear()
    await post_entries(app, BOOK, [received(1)])  # nobody says so
    following = asyncio.create_task(consume(pool, BOOK, "reports", see, stop=stop, poll_seconds=0.05))
    await asyncio.wait_for(seen.wait(), 10)
    stop.set()
    await following
    assert await head(app, BOOK) == 51


async def test_slow_handler_holds_nothing_that_posting_needs(pool: asyncpg.Pool, app: asyncpg.Connection) -> None:
    await post_entries(app, BOOK, [received(1)])
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_: object) -> None:
        reached.set()
        await go_on.wait()

    working = asyncio.create_task(consume_once(pool, BOOK, "reports", slow, holder=uuid4()))
    await reached.wait()
    open_transactions = await app.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND (state LIKE 'idle in transaction%' OR backend_xmin IS NOT NULL)"
    )
    assert open_transactions == 0
    await asyncio.wait_for(post_entries(app, BOOK, [received(1)]), 2)
    go_on.set()
    assert await working == 1
