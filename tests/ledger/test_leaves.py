"""Leaves are hashed from what a call was given wherever that says all: nothing is read back that was just written."""

from collections.abc import Sequence

import asyncpg
import msgspec
import pytest

from ledger.accounts import open_book
from ledger.chart_of_accounts import AccountKind
from ledger.journal import AccountRef, ExternalReference, JournalEntry, Posted, UpTo
from ledger.posting import post_entries
from tests.ledger.entries import BOOK, entry, posting

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
