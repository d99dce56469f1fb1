"""Many callers, one winner; a lost server, one truth."""

import asyncio
from collections import Counter

import asyncpg
import pytest

from ledger.balances import balances
from ledger.errors import BookNotFound, EntryMalformed, LedgerBusy, LedgerUnavailable, OutcomeUnknown
from ledger.feed import entry_by_key, head, read_entries
from ledger.journal import AccountRef, JournalEntry, Posted, PostingResult, Refused
from ledger.posting import Ledger, post_entries
from ledger.verification import verify
from tests.conftest import ClonedDatabase
from tests.ledger.entries import AVAILABLE, BOOK, PAYOUTS, drawing, paid_out, received

RACERS = 40


async def race(pool: asyncpg.Pool, entries: list[JournalEntry]) -> list[PostingResult]:
    """Each entry by a caller and a connection of its own, all at once."""

    async def post(entry: JournalEntry) -> PostingResult:
        async with pool.acquire() as connection:
            [result] = await post_entries(connection, BOOK, [entry])
            return result

    return await asyncio.gather(*map(post, entries))


def outcome(result: PostingResult) -> str:
    if isinstance(result, Refused):
        return result.refusal.code
    return "replayed" if result.replayed else "posted"


async def test_one_posts_and_the_others_are_its_replays_when_racing_for_one_key(
    pool: asyncpg.Pool, app: asyncpg.Connection
) -> None:
    same = received(100)
    results = await race(pool, [same] * RACERS)
    assert Counter(map(outcome, results)) == {"posted": 1, "replayed": RACERS - 1}
    assert {each.sequence for each in results if isinstance(each, Posted)} == {1}
    assert len({each.recorded_at for each in results if isinstance(each, Posted)}) == 1
    assert (await balances(app, BOOK, [AVAILABLE]))[AVAILABLE].balance_minor == 100


async def test_other_content_under_one_key_is_refused_when_racing(pool: asyncpg.Pool) -> None:
    first = received(1)
    results = await race(pool, [received(amount, key=first.key) for amount in range(1, RACERS + 1)])
    assert Counter(map(outcome, results)) == {"posted": 1, "key_reused_with_other_content": RACERS - 1}


async def test_cap_holds_when_racing_for_it(pool: asyncpg.Pool, app: asyncpg.Connection) -> None:
    original = received(100, drawable_minor=100)
    await post_entries(app, BOOK, [original])
    results = await race(pool, [drawing(original, 30) for _ in range(RACERS)])
    assert Counter(map(outcome, results)) == {"posted": 3, "exceeds_original": RACERS - 3}
    assert await head(app, BOOK) == 4


async def test_floor_holds_when_racing_for_a_balance(pool: asyncpg.Pool, app: asyncpg.Connection) -> None:
    await post_entries(app, BOOK, [received(100)])
    results = await race(pool, [paid_out(30) for _ in range(RACERS)])
    assert Counter(map(outcome, results)) == {"posted": 3, "below_floor": RACERS - 3}
    found = await balances(app, BOOK, [AVAILABLE, PAYOUTS])
    assert (found[AVAILABLE].balance_minor, found[PAYOUTS].balance_minor) == (10, 90)


async def test_ledger_posts_for_a_thousand_callers_in_few_blocks(pool: asyncpg.Pool, app: asyncpg.Connection) -> None:
    ledger = Ledger(pool, max_batch=400)
    entries = [received(1) for _ in range(1_000)]
    results = await asyncio.gather(*(ledger.post(BOOK, each) for each in entries))
    await ledger.close()
    assert [each.key for each in results] == [each.key for each in entries]
    assert sorted(each.sequence for each in results if isinstance(each, Posted)) == list(range(1, 1_001))
    assert await app.fetchval("SELECT count(*) FROM ledger.blocks WHERE book_id = $1", BOOK) <= 1 + 1 + 3
    assert (await verify(app, BOOK)).passed


async def test_malformed_entry_fails_alone_among_many(pool: asyncpg.Pool, app: asyncpg.Connection) -> None:
    ledger = Ledger(pool)
    entries = [received(1) for _ in range(50)]
    entries[17] = received(1, to=AccountRef(AVAILABLE.kind, "nul\x00"))
    results = await asyncio.gather(*(ledger.post(BOOK, each) for each in entries), return_exceptions=True)
    assert [n for n, each in enumerate(results) if not isinstance(each, Posted)] == [17]
    assert isinstance(results[17], EntryMalformed)
    assert await head(app, BOOK) == 49


async def test_errors_reach_the_caller_by_name(pool: asyncpg.Pool, app: asyncpg.Connection) -> None:
    ledger = Ledger(pool, queue_limit=1)
    with pytest.raises(BookNotFound):
        await ledger.post(77, received(1))
    first, second = await asyncio.gather(
        ledger.post(BOOK, received(1)), ledger.post(BOOK, received(1)), return_exceptions=True
    )
    assert isinstance(first, Posted)
    assert isinstance(second, LedgerBusy)
    assert await head(app, BOOK) == 1


async def test_book_held_by_another_is_busy_after_lock_timeout(
    database: ClonedDatabase, app: asyncpg.Connection
) -> None:
    other = await asyncpg.connect(database.app_dsn, server_settings={"lock_timeout": "100ms"})
    async with app.transaction():
        await post_entries(app, BOOK, [received(1)])
        with pytest.raises(LedgerBusy):
            await post_entries(other, BOOK, [received(1)])
    assert await head(other, BOOK) == 1
    await other.close()


async def test_killed_transaction_posted_nothing_and_says_so(
    app: asyncpg.Connection, superuser: asyncpg.Connection, database: ClonedDatabase
) -> None:
    victim = await asyncpg.connect(database.app_dsn)
    transaction = victim.transaction()
    await transaction.start()
    lost = received(5)
    await post_entries(victim, BOOK, [lost])
    await superuser.execute("SELECT pg_terminate_backend($1)", victim.get_server_pid())
    with pytest.raises(LedgerUnavailable):
        await post_entries(victim, BOOK, [received(1)])
    victim.terminate()
    assert await entry_by_key(app, BOOK, lost.key) is None
    [posted] = await post_entries(app, BOOK, [lost])
    assert isinstance(posted, Posted)
    assert (posted.sequence, posted.replayed) == (1, False)


async def test_every_acknowledged_entry_is_there_once_when_backends_are_killed(
    pool: asyncpg.Pool, app: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    """Kill posting backends at random moments; whatever a caller was told must be what the books say."""
    ledger = Ledger(pool, max_batch=20)
    running = True

    async def kill() -> None:
        killed = 0  # not without end: on a busy machine no batch would ever come between two
        while running and killed < 100:
            killed += len(
                await superuser.fetch(
                    "SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity AS a"
                    " WHERE a.query LIKE '%ledger.post_%' AND a.datname = current_database()"
                    " AND a.pid NOT IN ($1, pg_backend_pid()) LIMIT 1",
                    app.get_server_pid(),
                )
            )
            await asyncio.sleep(0.02)

    async def post(entry: JournalEntry) -> PostingResult:
        while True:
            try:
                return await ledger.post(BOOK, entry)
            except (OutcomeUnknown, LedgerUnavailable):
                await asyncio.sleep(0.01)

    killer = asyncio.create_task(kill())
    entries = [received(1) for _ in range(600)]
    results = await asyncio.gather(*map(post, entries))
    running = False
    await killer
    await ledger.close()
    recorded = await read_entries(app, BOOK, after=0, limit=1_000)
    assert {each.key: each.sequence for each in recorded} == {
        each.key: each.sequence for each in results if isinstance(each, Posted)
    }
    assert len(recorded) == 600
    assert (await verify(app, BOOK)).passed


async def test_cancelled_caller_does_not_stop_the_others(pool: asyncpg.Pool, app: asyncpg.Connection) -> None:
    ledger = Ledger(pool)
    callers = [asyncio.create_task(ledger.post(BOOK, received(1))) for _ in range(10)]
    await asyncio.sleep(0)
    callers[3].cancel()
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert [n for n, each in enumerate(results) if not isinstance(each, Posted)] == [3]
    assert await head(app, BOOK) in {9, 10}
