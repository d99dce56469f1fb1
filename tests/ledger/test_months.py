"""Months are made ahead once each, gaps are seen, and a missing month refuses nothing for good."""

import asyncio
from datetime import UTC, date, datetime

import asyncpg
import pytest

from ledger.errors import MonthMissing
from ledger.feed import head
from ledger.journal import Posted
from ledger.months import make_months, month_after, months_ahead
from ledger.posting import post_entries
from tests.ledger.entries import BOOK, received


def partition(table: str, months: int) -> str:
    return f"ledger.{table}_{month_after(datetime.now(UTC).date(), months):%Y_%m}"


async def drop_month(superuser: asyncpg.Connection, months: int) -> None:
    for table in ("entries", "postings", "blocks"):
        await superuser.execute(f"DROP TABLE {partition(table, months)}")


def test_month_after_crosses_the_year() -> None:
    assert month_after(date(2026, 11, 30), 0) == date(2026, 11, 1)
    assert month_after(date(2026, 11, 30), 1) == date(2026, 12, 1)
    assert month_after(date(2026, 11, 30), 14) == date(2028, 1, 1)


async def test_missing_months_are_made_once_by_racing_workers(
    app: asyncpg.Connection, pool: asyncpg.Pool, superuser: asyncpg.Connection
) -> None:
    today = datetime.now(UTC).date()
    assert await months_ahead(app, today=today) == 3
    for months in (2, 3):
        await drop_month(superuser, months)
    assert await months_ahead(app, today=today) == 1

    async def make() -> int:
        async with pool.acquire() as connection:
            return await make_months(connection, today=today, ahead=3)

    acts = "SELECT count(*) FROM ledger.ledger_acts WHERE act = 'create_month'"
    before = await app.fetchval(acts)
    assert sum(await asyncio.gather(*(make() for _ in range(6)))) == 2
    assert await months_ahead(app, today=today) == 3
    assert await make() == 0
    assert await app.fetchval(acts) == before + 2


async def test_a_month_with_one_of_its_tables_detached_does_not_count(
    app: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    today = datetime.now(UTC).date()
    await superuser.execute(f"ALTER TABLE ledger.postings DETACH PARTITION {partition('postings', 1)}")
    assert await months_ahead(app, today=today) == 0
    await superuser.execute(f"ALTER TABLE ledger.entries DETACH PARTITION {partition('entries', 0)}")
    assert await months_ahead(app, today=today) == -1


async def test_posting_into_a_missing_month_says_so_and_can_be_done_again(
    app: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    before, entry = await head(app, BOOK), received(1_000)
    this_month, starts, ends = partition("entries", 0), *(month_after(datetime.now(UTC).date(), n) for n in (0, 1))
    await superuser.execute(f"ALTER TABLE ledger.entries DETACH PARTITION {this_month}")
    with pytest.raises(MonthMissing) as missing:
        await post_entries(app, BOOK, [entry])
    assert missing.value.retryable
    assert await head(app, BOOK) == before
    await superuser.execute(
        f"ALTER TABLE ledger.entries ATTACH PARTITION {this_month}"
        f" FOR VALUES FROM ('{starts} 00:00+00') TO ('{ends} 00:00+00')"
    )
    assert isinstance((await post_entries(app, BOOK, [entry]))[0], Posted)


async def test_partitions_that_are_only_inserted_into_are_frozen_early(app: asyncpg.Connection) -> None:
    options = await app.fetch(
        """SELECT c.relname, c.reloptions FROM pg_catalog.pg_inherits AS i
           JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid
           WHERE i.inhparent IN ('ledger.entries'::regclass, 'ledger.postings'::regclass, 'ledger.blocks'::regclass,
                                 'ledger.idempotency_keys'::regclass)"""
    )
    wanted = {"autovacuum_freeze_min_age=0", "autovacuum_vacuum_insert_scale_factor=0"}
    assert len(options) > 30
    assert [row["relname"] for row in options if not wanted <= set(row["reloptions"] or ())] == []
