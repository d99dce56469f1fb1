"""Leaves are hashed from what a call was given wherever that says all: nothing is read back that was just written.

So nothing may be written that is not hashed.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import asyncpg
import msgspec
import pytest

from ledger.accounts import open_book
from ledger.chart_of_accounts import AccountKind
from ledger.encoding import arguments_of
from ledger.journal import AccountRef, ExternalReference, JournalEntry, Posted, Refused, UpTo
from ledger.posting import POST_ENTRIES, post_entries
from ledger.verification import verify
from tests.ledger.entries import AUTHORISING, BOOK, entry, posting

PAYER, TAKER = AccountRef(AccountKind.BANK, "bank"), AccountRef(AccountKind.MERCHANT_AVAILABLE, "shop")
LINE = posting(PAYER, TAKER, 5)
NAMES = (ExternalReference("bank", "b"), ExternalReference("bank", "a"))


def with_names() -> JournalEntry:
    return entry(LINE, references=NAMES)


@pytest.mark.parametrize(
    ("entries", "is_read_back"),
    [
        ([entry(LINE)], False),
        ([entry(LINE, LINE)], False),
        ([with_names()], False),
        ([entry(LINE), with_names(), entry(LINE, LINE)], False),
        ([entry(LINE, drawable_minor=5, references=NAMES)], False),
        ([entry(msgspec.structs.replace(LINE, up_to=UpTo.DEBIT_LIMIT))], True),
    ],
    ids=["one line", "two lines", "named", "of all sorts", "to be drawn on", "balancing"],
)
async def test_only_what_a_call_does_not_say_is_read_back(
    entries: Sequence[JournalEntry], is_read_back: bool, app: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    await open_book(app, BOOK, code="test", mode="test")
    await superuser.execute("SET track_functions = 'all'")
    async with superuser.transaction():
        results = await post_entries(superuser, BOOK, entries)
        calls = await superuser.fetchval(
            "SELECT pg_stat_get_xact_function_calls(oid) FROM pg_proc WHERE proname = 'leaves_hash_v1'"
        )
    assert all(isinstance(result, Posted) for result in results)
    assert bool(calls) is is_read_back


@pytest.mark.parametrize(
    ("name", "given"),
    [("p_reverses_line", [1, 1]), ("p_drawn_minor", [5])],
    ids=["lines of no original", "a draw on no original"],
)
@pytest.mark.parametrize("drawable_minor", [None, 5])
async def test_what_would_be_written_and_not_hashed_is_refused(
    name: str, given: list[int], drawable_minor: int | None, app: asyncpg.Connection
) -> None:
    await open_book(app, BOOK, code="test", mode="test")
    arguments, _ = arguments_of([entry(LINE, LINE, references=NAMES, drawable_minor=drawable_minor)], None, None)
    place = await app.fetchval(
        "SELECT array_position(proargnames, $1) FROM pg_proc WHERE proname = 'post_entries_v1'", name
    )
    changed = [*arguments[: place - 2], given, *arguments[place - 1 :]]  # the first is the book
    with pytest.raises(asyncpg.PostgresError) as refused:
        await app.fetch(POST_ENTRIES, BOOK, *changed)
    assert refused.value.sqlstate == "QK003"
    assert await app.fetchval("SELECT count(*) FROM ledger.entries WHERE book_id = $1", BOOK) == 0


@pytest.mark.parametrize(
    ("name", "kind"), [("p_available_on", "date"), ("p_drawable_minor", "bigint"), ("p_occurred_at", "timestamptz")]
)
async def test_array_that_begins_elsewhere_is_refused(name: str, kind: str, app: asyncpg.Connection) -> None:
    """What is unnested where it is written and picked by its number where it is hashed would be two values."""
    await open_book(app, BOOK, code="test", mode="test")
    waiting = AccountRef(AccountKind.MERCHANT_PENDING, "shop")
    given = entry(posting(PAYER, waiting, 5), drawable_minor=5, occurred_at=datetime(2026, 1, 1, tzinfo=UTC))
    arguments, _ = arguments_of([given], None, None)
    place = await app.fetchval(
        "SELECT array_position(proargnames, $1) FROM pg_proc WHERE proname = 'post_entries_v1'", name
    )
    call = POST_ENTRIES.replace(f"${place}", f"(SELECT array_fill((${place}::{kind}[])[1], ARRAY[1], ARRAY[0]))")
    with pytest.raises(asyncpg.PostgresError) as refused:
        await app.fetch(call, BOOK, *arguments)
    assert refused.value.sqlstate == "QK003"
    assert await app.fetchval("SELECT count(*) FROM ledger.entries WHERE book_id = $1", BOOK) == 0


@pytest.mark.parametrize("beside", range(5))
async def test_leaves_of_few_and_of_many_are_what_the_rows_say(beside: int, app: asyncpg.Connection) -> None:
    """Calls of up to three entries are hashed by expressions, longer ones by a statement."""
    await open_book(app, BOOK, code="test", mode="test")
    waiting = AccountRef(AccountKind.MERCHANT_PENDING, "shop")
    names = (*NAMES, ExternalReference("a", "é"), ExternalReference("B", "0"))
    captured = entry(
        posting(PAYER, waiting, 5), posting(waiting, TAKER, 1), drawable_minor=5, references=names, metadata=b"\x00"
    )
    others = [entry(LINE), entry(LINE, LINE), with_names(), entry(LINE, drawable_minor=0)][:beside]
    refused = entry(posting(TAKER, PAYER, 10**9), kind=AUTHORISING, references=NAMES)
    results = await post_entries(app, BOOK, [*others, captured, refused])
    assert [type(result) for result in results] == [Posted] * (beside + 1) + [Refused]
    report = await verify(app, BOOK)
    assert [check.name for check in report.checks if not check.passed] == []
