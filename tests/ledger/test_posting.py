"""What is posted is there as it was given; what is refused left nothing."""

import secrets
from datetime import UTC, date, datetime
from typing import Any

import asyncpg
import pytest

from ledger.balances import balances
from ledger.errors import BookNotFound, EntryMalformed
from ledger.feed import entry_by_key, head, read_entries
from ledger.journal import AccountRef, EntryKind, ExternalReference, Posted, Refused
from ledger.posting import post_entries
from ledger.refusals import Refusal
from tests.ledger.entries import AVAILABLE, BANK, BOOK, CLEARING, DAY, FEES, PAYOUTS, entry, paid_out, posting, received


async def test_entry_is_recorded_as_given(app: asyncpg.Connection) -> None:
    given = entry(
        posting(BANK, AVAILABLE, 1_000),
        posting(AVAILABLE, FEES, 30),
        references=(ExternalReference("scb", "b"), ExternalReference("payment_intent", "a")),
        drawable_minor=1_000,
        metadata=b'{"order":1}',
        caller="acct_1",
    )
    [posted] = await post_entries(app, BOOK, [given])
    assert isinstance(posted, Posted)
    assert (posted.sequence, posted.replayed, posted.floor_breached) == (1, False, False)
    [recorded] = await read_entries(app, BOOK, after=0, limit=10)
    assert recorded == await entry_by_key(app, BOOK, given.key)
    assert (recorded.sequence, recorded.key, recorded.kind, recorded.effective_on) == (1, given.key, given.kind, DAY)
    assert (recorded.recorded_at, recorded.block_number, recorded.caller) == (posted.recorded_at, 1, "acct_1")
    assert (recorded.draws_on, recorded.drawn_minor, recorded.drawable_minor) == (None, None, 1_000)
    assert recorded.metadata == b'{"order":1}'
    assert set(recorded.references) == set(given.references)
    first, second = recorded.postings
    assert (first.line, first.debit, first.credit, first.amount_minor) == (1, BANK, AVAILABLE, 1_000)
    assert (first.debit_balance_after, first.credit_balance_after) == (1_000, 1_000)
    assert (second.line, second.debit, second.credit, second.amount_minor) == (2, AVAILABLE, FEES, 30)
    assert (second.debit_balance_after, second.credit_balance_after) == (970, 30)


async def test_balances_stand_on_the_normal_side_and_unused_accounts_have_zero(app: asyncpg.Connection) -> None:
    await post_entries(app, BOOK, [received(500), entry(posting(CLEARING, BANK, 700))])
    found = await balances(app, BOOK, [BANK, AVAILABLE, CLEARING, FEES])
    assert {account: (b.balance_minor, b.debits_minor, b.credits_minor) for account, b in found.items()} == {
        BANK: (-200, 500, 700),
        AVAILABLE: (500, 0, 500),
        CLEARING: (700, 700, 0),
        FEES: (0, 0, 0),
    }
    assert [found[account].last_sequence for account in (BANK, AVAILABLE, CLEARING, FEES)] == [2, 1, 2, 0]


async def test_refusal_leaves_no_trace_and_the_key_stays_free(app: asyncpg.Connection) -> None:
    refused = paid_out(600)
    results = await post_entries(app, BOOK, [received(500), refused, received(50)])
    assert results[1] == Refused(key=refused.key, refusal=Refusal.BELOW_FLOOR)
    assert await head(app, BOOK) == 2
    assert await entry_by_key(app, BOOK, refused.key) is None
    assert await app.fetchval("SELECT count(*) FROM ledger.accounts WHERE kind = $1", int(PAYOUTS.kind)) == 0
    [again] = await post_entries(app, BOOK, [paid_out(550, key=refused.key)])
    assert isinstance(again, Posted)
    assert (again.sequence, again.replayed) == (3, False)


async def test_recording_entry_passes_the_floor_and_says_so(app: asyncpg.Connection) -> None:
    [posted] = await post_entries(app, BOOK, [entry(posting(AVAILABLE, BANK, 5))])
    assert isinstance(posted, Posted)
    assert posted.floor_breached
    assert (await balances(app, BOOK, [AVAILABLE]))[AVAILABLE].balance_minor == -5


async def test_floor_is_about_what_the_whole_entry_leaves(app: asyncpg.Connection) -> None:
    out_and_in = entry(posting(AVAILABLE, PAYOUTS, 100), posting(CLEARING, AVAILABLE, 100), kind=paid_out(1).kind)
    [posted] = await post_entries(app, BOOK, [out_and_in])
    assert isinstance(posted, Posted)
    assert not posted.floor_breached


async def test_nothing_but_commit_may_follow_a_posting(app: asyncpg.Connection) -> None:
    transaction = app.transaction()
    await transaction.start()
    await post_entries(app, BOOK, [received(1)])
    with pytest.raises(AssertionError, match="read-only transaction"):
        await post_entries(app, BOOK, [received(1)])
    await transaction.rollback()
    await transaction_that_posts_and_then_writes(app)
    assert await head(app, BOOK) == 0
    async with app.transaction():
        await post_entries(app, BOOK, [received(1)])
    assert await head(app, BOOK) == 1


async def transaction_that_posts_and_then_writes(app: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        async with app.transaction():
            await post_entries(app, BOOK, [received(1)])
            await app.execute("CREATE TABLE public.too_late ()")


async def test_posting_outside_read_committed_is_our_bug(app: asyncpg.Connection) -> None:
    with pytest.raises(AssertionError, match="READ COMMITTED"):
        async with app.transaction(isolation="repeatable_read"):
            await post_entries(app, BOOK, [received(1)])


async def test_unknown_book_is_an_error(app: asyncpg.Connection) -> None:
    with pytest.raises(BookNotFound):
        await post_entries(app, 77, [received(1)])


@pytest.mark.parametrize("owner", ["", "x" * 201, "nul\x00"])
async def test_account_that_cannot_be_stored_is_an_error(app: asyncpg.Connection, owner: str) -> None:
    with pytest.raises(EntryMalformed):
        await post_entries(app, BOOK, [received(1, to=AccountRef(AVAILABLE.kind, owner))])
    assert await head(app, BOOK) == 0


async def test_reference_longer_than_an_index_takes_is_an_error(app: asyncpg.Connection) -> None:
    endless = ExternalReference("scb", secrets.token_hex(6_000))
    with pytest.raises(EntryMalformed):
        await post_entries(app, BOOK, [received(1, references=(endless,))])
    assert await head(app, BOOK) == 0


async def test_error_shows_the_values_that_cannot_be_sent(app: asyncpg.Connection) -> None:
    """As many as are handed over flat, in encoding.py."""
    wrong: dict[str, Any] = {"caller": 7}
    with pytest.raises(EntryMalformed, match=r"\[7, 7, 7, "):
        await post_entries(app, BOOK, [received(1, **wrong)] * 25)


async def test_no_entries_is_no_block(app: asyncpg.Connection) -> None:
    assert await post_entries(app, BOOK, []) == []
    assert await app.fetchval("SELECT count(*) FROM ledger.blocks") == 1


@pytest.mark.parametrize(
    "endless",
    [
        {"effective_on": date.max},
        {"effective_on": date.min},
        {"occurred_at": datetime.min.replace(tzinfo=UTC), "kind": EntryKind.HISTORY_IMPORTED},
    ],
)
async def test_what_never_happens_is_not_sealed(app: asyncpg.Connection, endless: dict[str, Any]) -> None:
    """PostgreSQL takes the ends of Python's calendar for infinity, which has no place in the chain."""
    with pytest.raises(EntryMalformed):
        await post_entries(app, BOOK, [received(1, **endless)])
    assert await head(app, BOOK) == 0
