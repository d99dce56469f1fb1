"""No call reads more than it names, whatever the statistics were when its plans were made.

The planner believes its statistics. Made before a book was filled, they say that there is nothing in it: every index
that begins with `book_id` looks alike then, and reading the whole book looks like finding one row. So what is counted
is neither time nor the shape of a plan, but how often a call looks at a page, in a session of its own.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import msgspec
import pytest

from ledger.accounts import open_book
from ledger.chart_of_accounts import AccountKind
from ledger.encoding import AccountNumbers
from ledger.holds import Hold, place_hold, post_hold, release_hold
from ledger.journal import AccountRef, Draw, EntryKind, ExternalReference, JournalEntry, Posted, UpTo
from ledger.posting import call_of, post_entries
from tests.conftest import ClonedDatabase
from tests.ledger.entries import AUTHORISING, BOOK, DAY, drawing, entry, posting

OTHER_BOOK = BOOK - 1
FILLED, IN_A_CALL = 1_000, 50
PAGES_AN_ENTRY_MAX = 200
CALLS_UNTIL_PLANNED = 8
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
PAYERS = [AccountRef(AccountKind.BANK, f"bank-{n}") for n in range(FILLED)]
TAKERS = [AccountRef(AccountKind.MERCHANT_AVAILABLE, f"shop-{n}") for n in range(FILLED)]
WAITING = [AccountRef(AccountKind.MERCHANT_PENDING, f"shop-{n}") for n in range(FILLED)]
NEW = [AccountRef(AccountKind.CLEARING, f"new-{n}") for n in range(IN_A_CALL)]

Calls = dict[str, Sequence[JournalEntry]]


def captured(number: int) -> JournalEntry:
    """Money of a payer and a taker of its own, that can be drawn on and has a name outside."""
    lines = (posting(PAYERS[number], TAKERS[number], 100), posting(PAYERS[number], WAITING[number], 1))
    return entry(*lines, drawable_minor=100, references=(ExternalReference("bank", f"{number}"),))


def balancing(number: int) -> JournalEntry:
    return entry(msgspec.structs.replace(posting(TAKERS[number], PAYERS[number], 1), up_to=UpTo.DEBIT_LIMIT))


def held(number: int) -> JournalEntry:
    return place_hold(key=uuid4(), posting=posting(TAKERS[number], PAYERS[number], 1), effective_on=DAY)


def as_placed(original: JournalEntry) -> Hold:
    [line] = original.postings
    return Hold(
        key=original.key,
        sequence=0,
        debit=line.debit,
        credit=line.credit,
        amount_minor=line.amount_minor,
        expires_at=None,
        resolved_by=None,
        posted_minor=0,
    )


def reversing(original: JournalEntry) -> JournalEntry:
    lines = [
        msgspec.structs.replace(line, debit=line.credit, credit=line.debit, reverses_line=number)
        for number, line in enumerate(original.postings, 1)
    ]
    return entry(*lines, kind=EntryKind.ENTRY_REVERSED, reverses=original.key, draw=Draw(original.key, 100))


async def fill(app: asyncpg.Connection, book_id: int) -> list[list[JournalEntry]]:
    """One entry of each sort on every account; what was posted."""
    await open_book(app, book_id, code="test", mode="test")
    posted = []
    for make in (captured, balancing, held):
        entries = [make(number) for number in range(FILLED)]
        assert all(isinstance(result, Posted) for result in await post_entries(app, book_id, entries))
        posted.append(entries)
    return posted


def calls_of_all_sorts(posted: list[list[JournalEntry]]) -> Calls:
    first, balanced, placed = (entries[-IN_A_CALL:] for entries in posted)
    which = range(FILLED - IN_A_CALL, FILLED)
    holds = [as_placed(each) for each in placed]
    lines = [(TAKERS[n], PAYERS[n]) for n in which]
    return {
        "ordinary": [entry(posting(taker, payer, 1)) for taker, payer in lines],
        "of all sorts": [captured(n) for n in which],
        "to new accounts": [entry(posting(new, PAYERS[n], 1)) for new, n in zip(NEW, which, strict=True)],
        "drawing": [drawing(each, 1) for each in first],
        "reversing": [reversing(each) for each in first],
        "holding": [held(n) for n in which],
        "posting holds": [post_hold(hold, key=uuid4(), effective_on=DAY) for hold in holds],
        "releasing holds": [release_hold(hold, key=uuid4(), effective_on=DAY) for hold in holds],
        "balancing": [balancing(n) for n in which],
        "refused": [entry(posting(taker, payer, 10**9), kind=AUTHORISING) for taker, payer in lines],
        "late": [entry(posting(taker, payer, 1), effective_on=DAY - timedelta(days=9)) for taker, payer in lines],
        "early": [entry(posting(taker, payer, 1), effective_on=DAY + timedelta(days=9)) for taker, payer in lines],
        "imported": [entry(posting(taker, payer, 1), occurred_at=LONG_AGO) for taker, payer in lines],
        "repeated": first,
        "repeated, balancing": balanced,
        "repeated, holding": placed,
    }


async def autovacuum_off(superuser: asyncpg.Connection) -> None:
    await superuser.execute("SET quickkub.ledger_change = 'statistics'")
    tables = "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'ledger'::regnamespace AND relkind = 'r'"
    for (table,) in await superuser.fetch(tables):
        await superuser.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")


async def pages_looked_at(
    dsn: str, entries: Sequence[JournalEntry], numbers: AccountNumbers | None, *, times: int = 1
) -> int:
    """Pages that a call looks at, the last of some in a new session; each is taken back."""
    call, arguments, _ = call_of(entries, None, numbers)
    connection = await asyncpg.connect(dsn)
    try:
        for _ in range(times):
            transaction = connection.transaction()
            await transaction.start()
            told = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {call}", BOOK, *arguments)
            await transaction.rollback()
    finally:
        await connection.close()
    plan = json.loads(told)[0]["Plan"]
    return sum(plan[f"Shared {what} Blocks"] for what in ("Hit", "Read"))


@pytest.mark.parametrize("analysed", ["never", "before the book was filled", "afterwards"])
async def test_no_call_looks_at_more_pages_than_what_it_names(
    analysed: str, database: ClonedDatabase, app: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    await autovacuum_off(superuser)
    if analysed == "before the book was filled":
        await fill(app, OTHER_BOOK)
        await superuser.execute("ANALYZE")
    posted = await fill(app, BOOK)
    calls = calls_of_all_sorts(posted)
    if analysed == "afterwards":
        await superuser.execute("ANALYZE")
    numbers = AccountNumbers()
    await post_entries(app, BOOK, [entry(posting(PAYERS[n], TAKERS[n], 1)) for n in range(FILLED)], numbers=numbers)
    pages = {
        f"{name}, by {how}": await pages_looked_at(database.app_dsn, entries, known) / IN_A_CALL
        for name, entries in calls.items()
        for how, known in (("name", None), ("number", numbers))
    }
    assert {name: found for name, found in pages.items() if found > PAGES_AN_ENTRY_MAX} == {}
    # A call of one entry has statements of its own. What its first calls read of the catalogue is not counted.
    alone = {
        name: await pages_looked_at(database.app_dsn, calls[name][:1], numbers, times=CALLS_UNTIL_PLANNED)
        for name in ("ordinary", "of all sorts", "drawing", "refused", "holding", "balancing")
    }
    assert {name: found for name, found in alone.items() if found > PAGES_AN_ENTRY_MAX} == {}
