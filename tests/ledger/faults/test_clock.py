"""Clocks that jump and dates far from today: the books' order never follows the clock backwards."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import asyncpg
import pytest

from ledger.balances import balances
from ledger.feed import RecordedEntry, read_entries
from ledger.journal import Posted
from ledger.posting import Ledger, post_entries
from ledger.verification import verify
from tests.ledger.entries import AVAILABLE, BOOK, DAY, received
from tests.ledger.faults.clock import server_clock

MICROSECOND = timedelta(microseconds=1)


async def one_each(app: asyncpg.Connection, count: int) -> None:
    for _ in range(count):
        await post_entries(app, BOOK, [received(1)])


async def feed(app: asyncpg.Connection) -> list[RecordedEntry]:
    return await read_entries(app, BOOK, after=0, limit=1_000)


async def assert_rises_strictly(app: asyncpg.Connection, *, entries: int) -> None:
    times = [each.recorded_at for each in await feed(app)]
    assert len(times) == entries
    assert all(earlier < later for earlier, later in pairwise(times))
    assert (await verify(app, BOOK)).passed


@pytest.mark.parametrize("jump", ["1 hour", "1 month", "2 months"])
async def test_time_goes_on_from_a_block_that_lies_in_the_future(
    app: asyncpg.Connection, superuser: asyncpg.Connection, jump: str
) -> None:
    """The clock ran ahead and was put right: until it gets there, each block is a microsecond after the last."""
    await one_each(app, 2)
    async with server_clock(superuser, jump):
        await one_each(app, 2)
    await one_each(app, 3)
    recorded = await feed(app)
    assert recorded[3].recorded_at > datetime.now(UTC) + timedelta(minutes=59)
    assert [each.recorded_at - recorded[3].recorded_at for each in recorded[4:]] == [n * MICROSECOND for n in (1, 2, 3)]
    await assert_rises_strictly(app, entries=7)


@pytest.mark.parametrize("jump", ["-1 second", "-1 day", "-1 year"])
async def test_time_stands_nearly_still_while_the_clock_is_behind(
    app: asyncpg.Connection, superuser: asyncpg.Connection, jump: str
) -> None:
    await one_each(app, 2)
    async with server_clock(superuser, jump):
        await one_each(app, 3)
    await one_each(app, 2)
    recorded = await feed(app)
    assert [each.recorded_at - recorded[1].recorded_at for each in recorded[2:5]] == [
        n * MICROSECOND for n in (1, 2, 3)
    ]
    assert recorded[5].recorded_at - recorded[4].recorded_at > MICROSECOND
    await assert_rises_strictly(app, entries=7)


async def test_callers_of_the_batcher_notice_nothing_of_a_clock_that_jumps_to_and_fro(
    app: asyncpg.Connection, superuser: asyncpg.Connection, pool: asyncpg.Pool
) -> None:
    ledger, entries = Ledger(pool, max_batch=5), [received(1) for _ in range(60)]
    for number, jump in enumerate(("1 day", "-1 day", "40 days", "-400 days")):
        async with server_clock(superuser, jump):
            some = entries[number * 15 : number * 15 + 15]
            results = await asyncio.gather(*(ledger.post(BOOK, each) for each in some))
            assert [each.sequence for each in results if isinstance(each, Posted)] == [
                number * 15 + n for n in range(1, 16)
            ]
    await ledger.close()
    again = await post_entries(app, BOOK, entries)
    assert [isinstance(each, Posted) and each.replayed for each in again] == [True] * 60
    times = [each.recorded_at for each in await feed(app)]
    assert times == sorted(times)
    assert (await verify(app, BOOK)).passed


async def test_business_dates_are_kept_as_given_whatever_the_day(app: asyncpg.Connection) -> None:
    """A day and a month behind and ahead, leap days, both sides of a year's end, far past and future."""
    today = datetime.now(UTC).date()
    days = [
        *(today + timedelta(days=n) for n in (-1, 1, -31, 31)),
        date(2028, 2, 29),
        date(2024, 2, 29),
        date(2026, 12, 31),
        date(2027, 1, 1),
        date(1999, 12, 31),
        date(2000, 1, 1),
        date(1970, 1, 1),
        date(2099, 12, 31),
    ]
    await post_entries(app, BOOK, [received(1 << n, effective_on=day) for n, day in enumerate(days)])
    for n, day in enumerate(reversed(days)):  # each later one comes late or early against those before it
        await post_entries(app, BOOK, [received(1 << n, effective_on=day)])
    assert [each.effective_on for each in await feed(app)] == [*days, *reversed(days)]
    found = (await balances(app, BOOK, [AVAILABLE]))[AVAILABLE]
    assert found.balance_minor == 2 * ((1 << len(days)) - 1)
    report = await verify(app, BOOK)
    assert [check for check in report.checks if not check.passed] == []


async def test_business_date_is_content_of_the_key(app: asyncpg.Connection) -> None:
    """A caller whose midnight has passed must repeat the date that it first said; the default tells it so."""
    first = received(1, effective_on=DAY)
    await post_entries(app, BOOK, [first])
    [result] = await post_entries(app, BOOK, [received(1, key=first.key, effective_on=DAY + timedelta(days=1))])
    assert getattr(result, "refusal", None) is not None
    assert len(await feed(app)) == 1
