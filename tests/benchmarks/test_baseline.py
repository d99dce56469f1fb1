"""The baselines write what posting writes: the same rows, column for column, into the same tables."""

import json
from collections.abc import Iterable
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from benchmarks.baselines import Baseline, Twin, Way, install
from ledger.accounts import open_book
from ledger.holds import place_hold
from ledger.journal import EntryKind, ExternalReference, HoldAct, HoldAction, JournalEntry, Posted
from ledger.posting import post_entries
from tests.conftest import ClonedDatabase
from tests.ledger.entries import (
    AVAILABLE,
    BANK,
    BOOK,
    CLEARING,
    DAY,
    FEES,
    PAYOUTS,
    PENDING,
    drawing,
    entry,
    paid_out,
    posting,
    received,
)

TWIN_BOOK = 2000
JOURNAL = ("idempotency_keys", "entries", "postings", "blocks", "entry_references", "holds", "hold_resolutions")
EVERY_TABLE = """
    SELECT c.relname FROM pg_class AS c
    WHERE c.relnamespace = 'ledger'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
        AND EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = 'book_id')"""


def batches():
    """Entries to start from, which open every account, and two calls that have all that a baseline can write."""
    original = received(90_000, to=AVAILABLE, drawable_minor=90_000)
    first = [
        original,
        received(5_000, to=PENDING),
        received(5_000, to=CLEARING),
        received(1, to=FEES),
        paid_out(10),
    ]
    own = received(500, to=AVAILABLE, drawable_minor=400)
    second = [
        entry(posting(BANK, AVAILABLE, 700), metadata=b'{"a": 1}', caller="acct_1"),
        entry(
            posting(BANK, PENDING, 300),
            posting(PENDING, FEES, 100),
            references=(ExternalReference("scb", "1"), ExternalReference("payment_intent", "pi_1")),
        ),
        drawing(original, 250),
        own,
        drawing(own, 400),
        paid_out(60),
    ]
    place, place_too = (
        place_hold(key=uuid4(), posting=posting(AVAILABLE, PAYOUTS, amount), effective_on=DAY) for amount in (40, 41)
    )
    second += [place, place_too, resolved(place, HoldAction.POST, 15)]
    third = [
        resolved(place_too, HoldAction.RELEASE, 41),
        received(11),
        drawing(original, -50),
        entry(posting(CLEARING, BANK, 5), metadata=bytes(range(256))),
    ]
    return first, [second, third]


async def rows_of(connection: asyncpg.Connection, table: str, book_id: int) -> list[dict[str, Any]]:
    """Every column of every row but the book's number, in the order in which the rows lie."""
    rows = await connection.fetch(
        f"SELECT to_jsonb(t) - 'book_id' AS columns FROM {table} AS t WHERE t.book_id = $1 ORDER BY t.tableoid, t.ctid",
        book_id,
    )
    return [json.loads(row["columns"]) for row in rows]


def resolved(placed: JournalEntry, action: HoldAction, amount_minor: int) -> JournalEntry:
    kind = EntryKind.HOLD_POSTED if action == HoldAction.POST else EntryKind.HOLD_RELEASED
    act = HoldAct(action=action, hold_key=placed.key)
    return entry(posting(AVAILABLE, PAYOUTS, amount_minor), kind=kind, hold=act)


def by_text(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=repr)


async def post_to_both(database, app, superuser, way, twin):
    """Open a book, let a baseline continue it, post the same to both; the sequence at which they parted."""
    first, later = batches()
    results = await post_entries(app, BOOK, first)
    assert all(isinstance(result, Posted) for result in results)
    await install(superuser)
    async with asyncpg.create_pool(database.superuser_dsn, min_size=1, max_size=1) as pool:
        baseline = await Baseline.open(pool, like=BOOK, book_id=TWIN_BOOK, way=way, twin=twin)
        for number, entries in enumerate(later, 2):
            results = await post_entries(app, BOOK, entries)
            assert all(isinstance(result, Posted) for result in results)
            block = await superuser.fetchrow(
                "SELECT * FROM ledger.blocks WHERE book_id = $1 AND block_number = $2", BOOK, number
            )
            await baseline.write(entries, recorded_at=block["recorded_at"], block_hash=block["hash"])
    return len(first)


@pytest.mark.parametrize("way", list(Way))
@pytest.mark.parametrize("twin", list(Twin))
async def test_a_baseline_writes_the_rows_that_posting_writes(database: ClonedDatabase, app, superuser, way, twin):
    last = await post_to_both(database, app, superuser, way, twin)
    for table in JOURNAL:
        real = await rows_of(superuser, f"ledger.{table}", BOOK)
        copied = await rows_of(superuser, f"ledger.{table}", TWIN_BOOK)
        number = "last_sequence" if table == "blocks" else "sequence"
        assert by_text(copied) == by_text(row for row in real if row[number] > last), table
        assert copied, table


@pytest.mark.parametrize("way", list(Way))
async def test_the_last_version_of_each_changed_row_is_the_row_of_the_books(
    database: ClonedDatabase, app, superuser, way
):
    last = await post_to_both(database, app, superuser, way, Twin.INDEXED)
    for table, key, versions_written in (("accounts", "account_id", 6 + 2 + 3 + 2), ("entry_caps", "sequence", 2 + 1)):
        real = {row[key]: row for row in await rows_of(superuser, f"ledger.{table}", BOOK)}
        versions = await rows_of(superuser, f"bench.{table}_indexed", TWIN_BOOK)
        newest = {row[key]: row for row in versions}
        assert newest == {number: real[number] for number in newest}
        assert newest.keys() >= {number for number, row in real.items() if row.get("last_sequence", 0) > last}
        assert len(versions) == versions_written


async def test_posting_writes_into_no_table_that_a_baseline_leaves_out(database: ClonedDatabase, app, superuser):
    """Every table with a book that has rows of the real book has rows of the baseline's, there or in a twin."""
    await post_to_both(database, app, superuser, Way.COPY, Twin.BARE)
    tables = {row["relname"] for row in await superuser.fetch(EVERY_TABLE)}
    filled = {
        table
        for table in tables
        if await superuser.fetchval(f"SELECT count(*) FROM ledger.{table} WHERE book_id = $1", BOOK)
    }
    written = {
        table
        for table in tables
        if await superuser.fetchval(f"SELECT count(*) FROM ledger.{table} WHERE book_id = $1", TWIN_BOOK)
    }
    twins = {
        table
        for table in ("accounts", "entry_caps")
        if await superuser.fetchval(f"SELECT count(*) FROM bench.{table}_bare")
    }
    assert written | twins == filled - {"books"}


async def test_twins_have_the_columns_checks_and_indexes_of_the_tables(database: ClonedDatabase, app, superuser):
    await install(superuser)
    shape = """
        SELECT attname, format_type(atttypid, atttypmod), attnotnull
        FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 ORDER BY attnum"""
    checks = """
        SELECT pg_get_constraintdef(oid)
        FROM pg_constraint WHERE conrelid = $1::regclass AND contype = 'c' ORDER BY 1"""
    indexed = "SELECT indkey::text FROM pg_index WHERE indrelid = $1::regclass ORDER BY 1"
    for table in ("accounts", "entry_caps"):
        for asked in (shape, checks, indexed):
            real = await superuser.fetch(asked, f"ledger.{table}")
            assert await superuser.fetch(asked, f"bench.{table}_indexed") == real
            assert real


async def test_the_book_that_is_continued_is_left_alone(database: ClonedDatabase, app, superuser):
    await open_book(app, TWIN_BOOK + 1, code="other", mode="test")
    await post_to_both(database, app, superuser, Way.COPY, Twin.BARE)
    heads = await superuser.fetch("SELECT book_id, max(last_sequence) FROM ledger.blocks GROUP BY 1 ORDER BY 1")
    assert [tuple(row) for row in heads] == [(BOOK, 18), (TWIN_BOOK, 18), (TWIN_BOOK + 1, 0)]
