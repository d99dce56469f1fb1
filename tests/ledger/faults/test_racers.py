"""Many racers, an exact number of winners: on one balance, one cap, one key; alone and through the batcher."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import asyncpg
import pytest

from ledger.balances import balances
from ledger.errors import LedgerBusy
from ledger.feed import head
from ledger.journal import JournalEntry, Posted, PostingResult, Refused
from ledger.posting import Ledger, post_entries
from ledger.verification import verify
from tests.conftest import ClonedDatabase
from tests.ledger.entries import AVAILABLE, BOOK, PAYOUTS, drawing, paid_out, received
from tests.ledger.faults.scale import scaled

RACERS = scaled(100, long=1_000)
CONNECTIONS = scaled(8, long=40)
PER_RACER = 30


@pytest.fixture
async def racing(database: ClonedDatabase, app: asyncpg.Connection) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(
        database.app_dsn, min_size=CONNECTIONS, max_size=CONNECTIONS, server_settings={"lock_timeout": "60s"}
    ) as pool:
        yield pool


async def race(pool: asyncpg.Pool, entries: list[JournalEntry], *, batched: bool) -> Counter[str]:
    """How often each outcome came."""
    ledgers = [Ledger(pool, max_batch=7) for _ in range(3)]

    async def alone(entry: JournalEntry) -> PostingResult:
        async with pool.acquire() as connection:
            [result] = await post_entries(connection, BOOK, [entry])
            return result

    if batched:
        calls = [ledgers[n % 3].post(BOOK, each) for n, each in enumerate(entries)]
    else:
        calls = [alone(each) for each in entries]
    results = await asyncio.gather(*calls)
    for ledger in ledgers:
        await ledger.close()
    return Counter(map(outcome, results))


def outcome(result: PostingResult) -> str:
    if isinstance(result, Refused):
        return result.refusal.code
    return "replayed" if result.replayed else "posted"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("batched", [False, True], ids=["alone", "batched"])
async def test_racers_have_exactly_the_winners_that_there_is_room_for(
    racing: asyncpg.Pool, app: asyncpg.Connection, batched: bool
) -> None:
    room = RACERS // 3
    original = received(room * PER_RACER + PER_RACER - 1, drawable_minor=room * PER_RACER + PER_RACER - 1)
    await post_entries(app, BOOK, [original])

    floor = await race(racing, [paid_out(PER_RACER) for _ in range(RACERS)], batched=batched)
    assert floor == {"posted": room, "below_floor": RACERS - room}
    found = await balances(app, BOOK, [AVAILABLE, PAYOUTS])
    assert (found[AVAILABLE].balance_minor, found[PAYOUTS].balance_minor) == (PER_RACER - 1, room * PER_RACER)

    cap = await race(racing, [drawing(original, PER_RACER) for _ in range(RACERS)], batched=batched)
    assert cap == {"posted": room, "exceeds_original": RACERS - room}

    same = received(7)
    key = await race(racing, [same] * RACERS, batched=batched)
    assert key == {"posted": 1, "replayed": RACERS - 1}

    first = received(1)
    content = await race(racing, [received(n, key=first.key) for n in range(1, RACERS + 1)], batched=batched)
    assert content == {"posted": 1, "key_reused_with_other_content": RACERS - 1}

    report = await verify(app, BOOK)
    assert [check for check in report.checks if not check.passed] == []
    assert report.head == 1 + room + room + 1 + 1


async def test_racers_for_a_place_in_the_queue_are_posted_or_told_busy_and_nothing_between(
    racing: asyncpg.Pool, app: asyncpg.Connection
) -> None:
    ledger, entries = Ledger(racing, max_batch=5, queue_limit=RACERS // 4), [received(1) for _ in range(RACERS)]
    results = await asyncio.gather(*(ledger.post(BOOK, each) for each in entries), return_exceptions=True)
    await ledger.close()
    taken = [each.key for each in results if isinstance(each, Posted)]
    assert {type(each) for each in results} == {Posted, LedgerBusy}
    assert len(taken) == RACERS // 4
    assert await head(app, BOOK) == len(taken)
    again = await post_entries(app, BOOK, entries)
    assert {each.key for each in again if isinstance(each, Posted) and each.replayed} == set(taken)
