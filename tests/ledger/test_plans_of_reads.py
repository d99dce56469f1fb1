"""No question reads more than it asks for, whatever the statistics were when its plan was made (see test_plans.py).

Counted are the pages of the ledger's tables and indexes that a question looks at: planned for its own arguments, and
planned for any. There are five months; three accounts or entries are asked about, of a thousand of each sort.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from ledger.account_listing import AccountFilter, accounts, metadata_of
from ledger.accounts import open_accounts, open_book, write_metadata
from ledger.balances import balances, balances_at, balances_effective
from ledger.checkpoints import PROOF_QUERIES
from ledger.feed import (
    account_postings,
    entries_at,
    entries_by_reference,
    entry_by_key,
    entry_by_sequence,
    head,
    pending_on,
    read_entries,
)
from ledger.holds import expired_holds, hold_by_key, place_hold, release_hold
from ledger.journal import AccountRef, JournalEntry, Posted
from ledger.posting import Connection, post_entries
from ledger.queries import QUERIES
from ledger.statements import statement, statement_by_dates
from ledger.verification import verify
from tests.conftest import ClonedDatabase
from tests.ledger.entries import BANK, BOOK, DAY, entry, posting
from tests.ledger.test_plans import FILLED, OTHER_BOOK, PAYERS, TAKERS, WAITING, as_placed, autovacuum_off, captured

Question = Callable[[Connection], Awaitable[Any]]
FEW, LINES = 3, 20
LAST = FILLED - 1
RESOLVED = 2
SMALL_BOOKS = range(2000, 2040)
LARGE, DEPTH_OF_NAMES = 20_000, 3
VERIFIED_PAGES_MAX = 60
"""An entry, in a book so small that a table is read rather than its index."""
EXPIRES_AT = datetime(2126, 12, 24, tzinfo=UTC)
PLANS = ("force_custom_plan", "force_generic_plan")
STATEMENTS = 28
"""Of which the questions are made."""
CUSTOM_PLANS = 5
"""PostgreSQL plans a prepared statement so often before it compares what a plan for any arguments would cost."""
ANALYSED = ("never", "when nothing was there", "other books full", "each book with one entry", "afterwards")


async def fill(app: asyncpg.Connection, book_id: int, numbers: Sequence[int]) -> list[list[JournalEntry]]:
    """On every account money comes in, goes on to one bank, and is held; the first holds are resolved."""
    await open_book(app, book_id, code="test", mode="test")
    came_in = [captured(n) for n in numbers]
    went_on = [entry(posting(TAKERS[n], BANK, 1), effective_on=DAY + timedelta(days=1)) for n in numbers]
    held = [
        place_hold(key=uuid4(), posting=posting(TAKERS[n], PAYERS[n], 1), effective_on=DAY, expires_at=EXPIRES_AT)
        for n in numbers
    ]
    released = [release_hold(as_placed(each), key=uuid4(), effective_on=DAY) for each in held[:RESOLVED]]
    posted = [came_in, went_on, held, released]
    for entries in posted:
        assert all(isinstance(result, Posted) for result in await post_entries(app, book_id, entries))
    await write_metadata(app, book_id, TAKERS[numbers[-1]], b"{}", actor="op_1")
    return posted


def questions(posted: Sequence[Sequence[JournalEntry]]) -> dict[str, tuple[Question, tuple[int, int]]]:
    """Each with the most pages that it may look at, by PLANS: a tenth more than it did. Planning looks at some too."""
    few, last = TAKERS[-FEW:], TAKERS[LAST]
    came_in, _, held, _ = posted
    return {
        # A row that was moved to another page leaves its old place in the index: a page more.
        "balances": (lambda c: balances(c, BOOK, few), (12, 12)),
        "balances_at": (lambda c: balances_at(c, BOOK, few, FILLED), (205, 50)),
        "balances_effective": (lambda c: balances_effective(c, BOOK, few, DAY), (30, 30)),
        "balances_effective, cut": (lambda c: balances_effective(c, BOOK, few, DAY, FILLED), (155, 105)),
        "statement of all": (lambda c: statement(c, BOOK, BANK, after=FILLED, limit=LINES), (365, 220)),
        "statement of one": (lambda c: statement(c, BOOK, last, limit=LINES), (100, 40)),
        "statement by dates": (
            lambda c: statement_by_dates(c, BOOK, last, from_on=DAY, to_on=DAY, limit=LINES),
            (460, 165),
        ),
        "head": (lambda c: head(c, BOOK), (12, 8)),
        "read_entries": (lambda c: read_entries(c, BOOK, after=FILLED, limit=FEW), (110, 80)),
        "entry_by_key": (lambda c: entry_by_key(c, BOOK, came_in[LAST].key), (60, 30)),
        "entry_by_sequence": (lambda c: entry_by_sequence(c, BOOK, FILLED), (60, 30)),
        "entries_at": (lambda c: entries_at(c, BOOK, [1, FILLED, 2 * FILLED]), (100, 70)),
        "entries_by_reference": (lambda c: entries_by_reference(c, BOOK, "bank", ["1", "2", f"{LAST}"]), (110, 80)),
        "account_postings of few": (lambda c: account_postings(c, BOOK, few, limit=FEW), (145, 110)),
        "account_postings of all": (lambda c: account_postings(c, BOOK, [BANK], limit=FEW), (85, 50)),
        # A day is read whole: a thousand postings.
        "pending_on": (lambda c: pending_on(c, BOOK, WAITING[LAST], DAY), (70, 50)),
        "hold_by_key": (lambda c: hold_by_key(c, BOOK, held[LAST].key), (45, 30)),
        "hold_by_key, resolved": (lambda c: hold_by_key(c, BOOK, held[0].key), (45, 30)),
        "expired_holds": (lambda c: expired_holds(c, BOOK, at=EXPIRES_AT, limit=FEW), (80, 60)),
        "metadata_of": (lambda c: metadata_of(c, BOOK, last), (6, 6)),
        # Each kind of account is looked into.
        "accounts of an owner": (lambda c: accounts(c, BOOK, AccountFilter(owner=last.owner)), (60, 60)),
        "accounts, a page": (lambda c: accounts(c, BOOK, after=TAKERS[5], limit=FEW), (55, 55)),
        "account_ids": (lambda c: c.fetch(QUERIES["account_ids"], BOOK, [31], [last.owner], ["THB"]), (4, 4)),
        "accounts_by_number": (lambda c: c.fetch(QUERIES["accounts_by_number"], BOOK, [1, 2, FILLED]), (15, 15)),
        "keys_at": (lambda c: c.fetch(QUERIES["keys_at"], BOOK, [each.key for each in came_in[:FEW]]), (55, 45)),
        # Nothing was posted after the two last ones.
        "cap_at": (lambda c: c.fetchval(QUERIES["cap_at"], BOOK, FILLED, 3 * FILLED), (70, 55)),
        "block_of_entry": (lambda c: c.fetch(PROOF_QUERIES["block_of_entry"], BOOK, FILLED), (30, 15)),
    }


async def pages(connection: asyncpg.Connection) -> int:
    """Pages of the ledger that all sessions looked at, this one's until now."""
    await connection.execute("SELECT pg_stat_force_next_flush()")
    found: int = await connection.fetchval(
        "SELECT sum(heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit)::bigint FROM pg_statio_all_tables"
        " WHERE schemaname = 'ledger'"
    )
    return found


async def looked_at(dsn: str, question: Question, plan: str) -> int:
    """Pages that a question looks at in a session that has asked it before."""
    connection = await asyncpg.connect(dsn, server_settings={"plan_cache_mode": plan})
    try:
        await question(connection)
        before = await pages(connection)
        await question(connection)
        return await pages(connection) - before
    finally:
        await connection.close()


async def fill_and_analyse(
    analysed: str, app: asyncpg.Connection, superuser: asyncpg.Connection
) -> list[list[JournalEntry]]:
    """What was posted to the book; the statistics are as old as `analysed` says, and stay so."""
    await autovacuum_off(superuser)
    if analysed == "other books full":
        await fill(app, OTHER_BOOK, range(FILLED))
    if analysed == "each book with one entry":
        for book_id in SMALL_BOOKS:
            await fill(app, book_id, [book_id - SMALL_BOOKS.start])
    if analysed not in {"never", "afterwards"}:
        await superuser.execute("ANALYZE")
    posted = await fill(app, BOOK, range(FILLED))
    if analysed == "afterwards":
        await superuser.execute("ANALYZE")
    return posted


@pytest.mark.parametrize("analysed", ANALYSED)
async def test_no_question_looks_at_more_pages_than_what_it_asks_for(
    analysed: str, database: ClonedDatabase, app: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    posted = await fill_and_analyse(analysed, app, superuser)
    found = {
        (name, plan): (await looked_at(database.app_dsn, question, plan), most)
        for name, (question, bounds) in questions(posted).items()
        for plan, most in zip(PLANS, bounds, strict=True)
    }
    assert {name: count for name, (count, most) in found.items() if count > most} == {}


async def test_a_large_book_is_not_read_for_an_account_where_each_book_had_one_when_it_was_analysed(
    database: ClonedDatabase, app: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    """The index of names is a level deeper than that of numbers, so of two that find one row it would be the dearer."""
    await autovacuum_off(superuser)
    for book_id in SMALL_BOOKS:
        await open_book(app, book_id, code="test", mode="test")
        await open_accounts(app, book_id, [BANK])
    await superuser.execute("ANALYZE")
    await open_accounts(app, BOOK, [AccountRef(BANK.kind, f"{uuid4()}") for _ in range(LARGE)] + [BANK])
    for plan in PLANS:
        assert await looked_at(database.app_dsn, lambda c: balances(c, BOOK, [BANK]), plan) == DEPTH_OF_NAMES + 1


@pytest.mark.parametrize("analysed", ANALYSED)
async def test_verification_does_not_read_all_days_for_each_account(
    analysed: str, database: ClonedDatabase, app: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    posted = await fill_and_analyse(analysed, app, superuser)
    found = await looked_at(database.app_dsn, lambda c: verify(c, BOOK), PLANS[0])
    assert found <= VERIFIED_PAGES_MAX * sum(map(len, posted))


@pytest.mark.parametrize("analysed", ANALYSED)
async def test_every_question_is_planned_for_its_own_arguments_five_times_and_then_for_any(
    analysed: str, database: ClonedDatabase, app: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    posted = await fill_and_analyse(analysed, app, superuser)
    connection = await asyncpg.connect(database.app_dsn)
    for question, _ in questions(posted).values():
        for _ in range(CUSTOM_PLANS + 1):
            await question(connection)
    names = {text: name for name, text in (QUERIES | PROOF_QUERIES).items()}
    rows = await connection.fetch("SELECT statement, custom_plans, generic_plans FROM pg_prepared_statements")
    await connection.close()
    plans = {
        names[row["statement"]]: (row["custom_plans"], row["generic_plans"])
        for row in rows
        if row["statement"] in names
    }
    assert {name: counts for name, counts in plans.items() if counts[0] != CUSTOM_PLANS or counts[1] == 0} == {}
    assert len(plans) == STATEMENTS
