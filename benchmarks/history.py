"""A book with a long past, made by the server itself: real rows of entries, postings, accounts and days.

Only the hashes are made up, and the opening entries are moved to the beginning, past the guards, as a superuser can.
"""

import asyncio
import time
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final

import asyncpg
import msgspec

from benchmarks.server import Database
from benchmarks.workload import ACCOUNTS, AMOUNT_MINOR, DAY, open_filled
from ledger.months import month_after
from ledger.queries import load_queries

SQL: Final = load_queries(Path(__file__).parent / "history.sql")
BOOK: Final = 1
DAYS: Final = 300
CHUNK: Final = 100_000
WRITERS: Final = 2
ENDED_BEFORE: Final = timedelta(hours=1)
MOVED: Final = ("idempotency_keys", "entries", "postings", "blocks")
SETTINGS: Final = {"synchronous_commit": "off", "work_mem": "512MB"}


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """What was made: `entries` after `base` opening ones, on business dates from `first_on` for DAYS days."""

    base: int
    entries: int
    first_on: date

    @property
    def balance_minor(self) -> int:
        """What every account holds at the end: one amount for its opening and one for each sweep."""
        return AMOUNT_MINOR * (1 + self.entries // ACCOUNTS)


async def fill(database: Database, entries: int) -> Past:
    """Fill book 1 of an empty database.

    Args:
        database: migrated, without books.
        entries: how many; a multiple of 10,000.
    """
    assert entries % ACCOUNTS == 0, "whole sweeps over the accounts"
    await open_filled(database.app_dsn, BOOK)
    past = Past(base=ACCOUNTS, entries=entries, first_on=DAY - timedelta(days=DAYS))
    connection = await asyncpg.connect(database.superuser_dsn, server_settings=SETTINGS)
    started = time.perf_counter()

    def done(stage: str) -> None:
        print(f"{stage} after {time.perf_counter() - started:.0f} s", flush=True)

    try:
        await connection.execute("CREATE SCHEMA bench")
        now = await connection.fetchval("SELECT clock_timestamp()")
        lasted = timedelta(days=DAYS)
        started_at = now - ENDED_BEFORE - lasted
        await _make_months(connection, started_at, now)
        await _move_opening(connection, started_at - timedelta(hours=1), past.first_on)
        await connection.execute(SQL["numbered"])
        await connection.execute(SQL["pairs"])
        await _write(database, past, started_at, lasted)
        done("entries, keys and postings written")
        await connection.execute(SQL["blocks"], entries, started_at, lasted, past.base)
        for name in ("totals", "debit_days", "credit_days"):
            await connection.execute(SQL[name], past.base, entries, past.first_on, DAYS)
        await connection.execute(SQL["before"])
        done("accounts and days added up")
        await connection.execute("VACUUM (ANALYZE)")
        done("vacuumed")
    finally:
        await connection.close()
    return past


async def _make_months(connection: asyncpg.Connection, started_at: datetime, now: datetime) -> None:
    """Partitions of the months behind; the ledger itself makes only near ones."""
    month = month_after(started_at.date(), -1)
    while month <= now.date():
        name = month.strftime("%Y_%m")
        if await connection.fetchval("SELECT to_regclass($1) IS NULL", f"ledger.entries_{name}"):
            for table in ("entries", "postings", "blocks"):
                await connection.execute(
                    f"CREATE TABLE ledger.{table}_{name} PARTITION OF ledger.{table}"
                    f" FOR VALUES FROM ('{month} 00:00+00') TO ('{month_after(month, 1)} 00:00+00')"
                )
            await connection.execute(f"ALTER TABLE ledger.entries_{name} ADD PRIMARY KEY (book_id, sequence)")
            await connection.execute(f"ALTER TABLE ledger.postings_{name} ALTER COLUMN book_id SET (n_distinct = 50)")
        month = month_after(month, 1)


async def _move_opening(connection: asyncpg.Connection, to: datetime, on: date) -> None:
    """What opened the accounts was recorded before everything else."""
    first_at = await connection.fetchval(f"SELECT min(recorded_at) FROM ledger.blocks WHERE book_id = {BOOK}")
    for table in MOVED:
        await connection.execute(f"ALTER TABLE ledger.{table} DISABLE TRIGGER append_only")
        await connection.execute(
            f"UPDATE ledger.{table} SET recorded_at = recorded_at - $1::interval WHERE book_id = {BOOK}", first_at - to
        )
    await connection.execute(f"UPDATE ledger.entries SET effective_on = $1 WHERE book_id = {BOOK}", on)
    for table in MOVED:
        await connection.execute(f"ALTER TABLE ledger.{table} ENABLE ALWAYS TRIGGER append_only")


async def _write(database: Database, past: Past, started_at: datetime, lasted: timedelta) -> None:
    """Entries, keys and postings, in chunks, by several writers."""
    chunks = iter(range(1, past.entries + 1, CHUNK))

    async def writer() -> None:
        connection = await asyncpg.connect(database.superuser_dsn, server_settings=SETTINGS)
        try:
            places = await connection.fetchrow(SQL["arrays"])
            assert places is not None, "an aggregate gives one row"
            for first in chunks:
                last = min(first + CHUNK - 1, past.entries)
                common = (first, last, past.entries, started_at, lasted)
                await connection.execute(SQL["entries"], *common, past.first_on, DAYS, past.base)
                await connection.execute(SQL["idempotency_keys"], past.base, first, last)
                await connection.execute(SQL["postings"], *common, past.base, places["debits"], places["credits"])
        finally:
            await connection.close()

    await asyncio.gather(*(writer() for _ in range(WRITERS)))
