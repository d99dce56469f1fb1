"""Precedence: when several rules are broken, the first of `refusals.py` is the answer."""

from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from ledger.accounts import freeze_account
from ledger.balances import all_balances, balances
from ledger.feed import head
from ledger.journal import AccountRef, Draw, Posted, Refused
from ledger.money import AMOUNT_MINOR_MAX
from ledger.posting import post_entries
from ledger.refusals import Refusal
from tests.ledger.entries import AUTHORISING, AVAILABLE, BANK, BOOK, CLEARING, PAYOUTS, entry, posting, received

UNKNOWN: Any = 999
DOLLARS = AccountRef(BANK.kind, "main", "USD")
ORIGINAL = received(100, drawable_minor=10)
PLAIN = received(1)
SOUND = posting(CLEARING, BANK, 1)
FROZEN = posting(CLEARING, PAYOUTS, 1)
LOWERS = posting(AVAILABLE, CLEARING, 500)
OVERFLOWS = posting(AVAILABLE, CLEARING, AMOUNT_MINOR_MAX)

BROKEN = {
    Refusal.ENTRY_KIND_UNKNOWN: entry(kind=UNKNOWN, draw=Draw(uuid4(), 0)),
    Refusal.ENTRY_MUST_HAVE_POSTINGS: entry(draw=Draw(uuid4(), 0), kind=AUTHORISING),
    Refusal.AMOUNT_MUST_BE_POSITIVE: entry(
        LOWERS, posting(BANK, BANK, 1), posting(BANK, CLEARING, 0), draw=Draw(uuid4(), 1), kind=AUTHORISING
    ),
    Refusal.ACCOUNTS_MUST_DIFFER: entry(
        FROZEN, posting(BANK, DOLLARS, 1), posting(BANK, BANK, 1), draw=Draw(uuid4(), 1), kind=AUTHORISING
    ),
    Refusal.CURRENCIES_MUST_MATCH: entry(SOUND, posting(BANK, DOLLARS, 1), draw=Draw(uuid4(), 1), kind=AUTHORISING),
    Refusal.ORIGINAL_NOT_FOUND: entry(FROZEN, draw=Draw(uuid4(), 100), kind=AUTHORISING),
    Refusal.ORIGINAL_NOT_DRAWABLE: entry(FROZEN, draw=Draw(PLAIN.key, 100), kind=AUTHORISING),
    Refusal.EXCEEDS_ORIGINAL: entry(FROZEN, LOWERS, draw=Draw(ORIGINAL.key, 11), kind=AUTHORISING),
    Refusal.RELEASE_EXCEEDS_DRAWS: entry(FROZEN, LOWERS, draw=Draw(ORIGINAL.key, -1), kind=AUTHORISING),
    Refusal.ACCOUNT_FROZEN: entry(LOWERS, FROZEN, OVERFLOWS, kind=AUTHORISING),
    Refusal.BELOW_FLOOR: entry(SOUND, OVERFLOWS, OVERFLOWS, kind=AUTHORISING),
    Refusal.BALANCE_OVERFLOW: entry(posting(CLEARING, BANK, AMOUNT_MINOR_MAX), SOUND),
}


async def prepared(app: asyncpg.Connection) -> None:
    await post_entries(app, BOOK, [ORIGINAL, PLAIN, entry(posting(CLEARING, PAYOUTS, 5))])
    assert await freeze_account(app, BOOK, PAYOUTS, debits=False, credits_=True, actor="op_1", reason="test")


async def test_first_rule_broken_is_the_answer_and_nothing_moves(app: asyncpg.Connection) -> None:
    await prepared(app)
    before = await all_balances(app, BOOK)
    results = await post_entries(app, BOOK, list(BROKEN.values()))
    assert results == [Refused(key=each.key, refusal=refusal) for refusal, each in BROKEN.items()]
    for refusal, each in BROKEN.items():
        assert await post_entries(app, BOOK, [each]) == [Refused(key=each.key, refusal=refusal)]
    assert (await all_balances(app, BOOK), await head(app, BOOK)) == (before, 3)
    assert set(BROKEN) == set(Refusal) - {Refusal.KEY_REUSED_WITH_OTHER_CONTENT, Refusal.GROUP_REFUSED}


async def test_used_key_comes_before_every_other_rule(app: asyncpg.Connection) -> None:
    await prepared(app)
    results = await post_entries(app, BOOK, [entry(kind=UNKNOWN, key=PLAIN.key), PLAIN])
    assert results[0] == Refused(key=PLAIN.key, refusal=Refusal.KEY_REUSED_WITH_OTHER_CONTENT)
    assert isinstance(results[1], Posted)
    assert (results[1].sequence, results[1].replayed) == (2, True)


async def test_replay_stands_even_if_it_would_be_refused_now(app: asyncpg.Connection) -> None:
    await prepared(app)
    drawn = entry(SOUND, draw=Draw(ORIGINAL.key, 10), kind=AUTHORISING)
    [first] = await post_entries(app, BOOK, [drawn])
    [again] = await post_entries(app, BOOK, [drawn])
    assert isinstance(first, Posted)
    assert isinstance(again, Posted)
    assert (again.sequence, again.recorded_at, again.replayed) == (first.sequence, first.recorded_at, True)


async def test_who_asks_is_not_content(app: asyncpg.Connection) -> None:
    [_, again] = await post_entries(app, BOOK, [received(1, key=PLAIN.key), received(1, key=PLAIN.key, caller="op_1")])
    assert isinstance(again, Posted)
    assert again.replayed


async def test_frozen_account_takes_recording_entries_and_says_so(app: asyncpg.Connection) -> None:
    await prepared(app)
    [posted] = await post_entries(app, BOOK, [entry(FROZEN)])
    assert isinstance(posted, Posted)
    assert (posted.freeze_breached, posted.floor_breached) == (True, False)


@pytest.mark.parametrize("amount", [1, 2**31, 2**53 - 1, 2**53 + 1, AMOUNT_MINOR_MAX])
async def test_amounts_up_to_the_end_of_bigint_are_exact(app: asyncpg.Connection, amount: int) -> None:
    results = await post_entries(app, BOOK, [received(amount), received(AMOUNT_MINOR_MAX - amount + 1)])
    assert isinstance(results[0], Posted)
    assert isinstance(results[1], Refused)
    assert results[1].refusal == Refusal.BALANCE_OVERFLOW
    assert (await balances(app, BOOK, [AVAILABLE]))[AVAILABLE].balance_minor == amount


async def test_floor_of_an_account_already_below_lets_money_in(app: asyncpg.Connection) -> None:
    await post_entries(app, BOOK, [entry(posting(AVAILABLE, BANK, 50))])
    [raised] = await post_entries(app, BOOK, [entry(posting(BANK, AVAILABLE, 20), kind=AUTHORISING)])
    assert isinstance(raised, Posted)
    assert not raised.floor_breached
