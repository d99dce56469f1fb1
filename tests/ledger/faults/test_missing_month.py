"""The books have no room for the month: callers are told so, lose nothing, and get through when it is made."""

import asyncio
from datetime import UTC, datetime

import asyncpg
import pytest

from ledger.errors import LedgerError, MonthMissing
from ledger.feed import head, read_entries
from ledger.journal import JournalEntry, Posted, PostingResult
from ledger.months import make_months, month_after
from ledger.posting import Ledger, post_entries
from ledger.verification import verify
from tests.conftest import ClonedDatabase
from tests.ledger.entries import BOOK, received
from tests.ledger.faults.clock import server_clock

TABLES = ("entries", "postings", "blocks")
HALF_WRITTEN = """SELECT (SELECT count(*) FROM ledger.idempotency_keys WHERE book_id = $1)
    + (SELECT count(*) FROM ledger.accounts WHERE book_id = $1)"""


def month(table: str, months: int) -> str:
    return f"ledger.{table}_{month_after(datetime.now(UTC).date(), months):%Y_%m}"


async def post_until_there_is_room(ledger: Ledger, entry: JournalEntry, told: list[str]) -> PostingResult:
    while True:
        try:
            return await ledger.post(BOOK, entry)
        except LedgerError as error:
            if not error.retryable:
                raise
            told.append(error.code)
            await asyncio.sleep(0.02)


async def all_told(told: list[str], callers: list[asyncio.Task[PostingResult]]) -> None:
    """Return when every caller has been told at least once that the month is missing."""
    while len(told) < len(callers):
        assert not any(each.done() for each in callers)
        await asyncio.sleep(0.01)


async def attach(superuser: asyncpg.Connection, table: str, months: int) -> None:
    starts, ends = (month_after(datetime.now(UTC).date(), months + n) for n in (0, 1))
    await superuser.execute(
        f"ALTER TABLE ledger.{table} ATTACH PARTITION {month(table, months)}"
        f" FOR VALUES FROM ('{starts} 00:00+00') TO ('{ends} 00:00+00')"
    )


async def assert_all_posted_once(app: asyncpg.Connection, results: list[PostingResult]) -> None:
    assert sorted(each.sequence for each in results if isinstance(each, Posted)) == list(range(1, len(results) + 1))
    assert not any(each.replayed for each in results if isinstance(each, Posted))
    recorded = await read_entries(app, BOOK, after=0, limit=1_000)
    assert {each.key for each in recorded} == {each.key for each in results}
    assert [check for check in (await verify(app, BOOK)).checks if not check.passed] == []


@pytest.mark.parametrize("table", ["entries", "postings"])
async def test_waiting_callers_get_through_when_this_month_comes_back(
    app: asyncpg.Connection, superuser: asyncpg.Connection, pool: asyncpg.Pool, table: str
) -> None:
    ledger, told = Ledger(pool, max_batch=8), list[str]()
    await superuser.execute(f"ALTER TABLE ledger.{table} DETACH PARTITION {month(table, 0)}")
    callers = [asyncio.create_task(post_until_there_is_room(ledger, received(n), told)) for n in range(1, 31)]
    await all_told(told, callers)
    assert set(told) == {MonthMissing.code}
    assert await head(app, BOOK) == 0
    assert await app.fetchval(HALF_WRITTEN, BOOK) == 0
    await attach(superuser, table, 0)
    await assert_all_posted_once(app, await asyncio.gather(*callers))
    await ledger.close()


async def test_waiting_callers_get_through_when_the_next_month_is_made(
    app: asyncpg.Connection, superuser: asyncpg.Connection, pool: asyncpg.Pool
) -> None:
    """The job that makes months ahead did not run and the clock passes midnight of the first."""
    for table in TABLES:
        await superuser.execute(f"DROP TABLE {month(table, 1)}")
    ledger, told = Ledger(pool, max_batch=8), list[str]()
    async with server_clock(superuser, "1 month"):
        callers = [asyncio.create_task(post_until_there_is_room(ledger, received(n), told)) for n in range(1, 31)]
        await all_told(told, callers)
        assert set(told) == {MonthMissing.code}
        assert await app.fetchval(HALF_WRITTEN, BOOK) == 0
        assert await make_months(app, today=month_after(datetime.now(UTC).date(), 1), ahead=0) == 1
        results = await asyncio.gather(*callers)
    await ledger.close()
    await assert_all_posted_once(app, results)


@pytest.mark.parametrize("table", TABLES)
async def test_a_month_without_one_of_its_tables_takes_nothing(
    app: asyncpg.Connection, superuser: asyncpg.Connection, table: str
) -> None:
    """The books of earlier months are there, so only the last insert of a call finds that there is no room."""
    await post_entries(app, BOOK, [received(1)])
    entries = [received(n) for n in (2, 3)]
    await superuser.execute(f"ALTER TABLE ledger.{table} DETACH PARTITION {month(table, 1)}")
    async with server_clock(superuser, "1 month"):
        with pytest.raises(MonthMissing):
            await post_entries(app, BOOK, entries)
        assert await head(app, BOOK) == 1
        assert await app.fetchval("SELECT count(*) FROM ledger.idempotency_keys WHERE book_id = $1", BOOK) == 1
        assert (await verify(app, BOOK)).head == 1
        await attach(superuser, table, 1)
        results = await post_entries(app, BOOK, entries)
    assert [each.sequence for each in results if isinstance(each, Posted)] == [2, 3]
    assert (await verify(app, BOOK)).passed


async def test_months_are_made_beside_an_open_posting_and_an_open_reader(
    app: asyncpg.Connection, superuser: asyncpg.Connection, database: ClonedDatabase
) -> None:
    """Neither waits for the other: a month made late is made while everybody posts."""
    for table in TABLES:
        await superuser.execute(f"DROP TABLE {month(table, 3)}")
    reader, poster = await asyncpg.connect(database.app_dsn), await asyncpg.connect(database.app_dsn)
    await reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    assert await head(reader, BOOK) == 0
    assert await read_entries(reader, BOOK, after=0, limit=1) == []
    await poster.execute("BEGIN")
    await post_entries(poster, BOOK, [received(1)])
    await app.execute("SET lock_timeout = '2s'")
    assert await make_months(app, today=datetime.now(UTC).date(), ahead=3) == 1
    assert await read_entries(reader, BOOK, after=0, limit=1) == []
    await poster.execute("COMMIT")
    await post_entries(poster, BOOK, [received(2)])
    await reader.close()
    await poster.close()
    report = await verify(app, BOOK)
    assert (report.passed, report.head) == (True, 2)
