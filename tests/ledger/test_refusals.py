"""Precedence: when several rules are broken, the first of `refusals.py` is the answer."""

from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from ledger.accounts import close_account, freeze_account, limit_account, open_accounts
from ledger.balances import all_balances, balances
from ledger.feed import head
from ledger.holds import place_hold
from ledger.journal import (
    AccountRef,
    Draw,
    EntryKind,
    HoldAct,
    HoldAction,
    JournalEntry,
    Posted,
    Posting,
    Refused,
    UpTo,
)
from ledger.money import AMOUNT_MINOR_MAX
from ledger.periods import begin_closing, close_period, open_period
from ledger.posting import post_entries
from ledger.refusals import Refusal
from tests.ledger.entries import AUTHORISING, AVAILABLE, BANK, BOOK, CLEARING, DAY, PAYOUTS, entry, posting, received

UNKNOWN: Any = 999
DOLLARS = AccountRef(BANK.kind, "main", "USD")
ORIGINAL = received(100, drawable_minor=10)
PLAIN = received(1)
SOUND = posting(CLEARING, BANK, 1)
FROZEN = posting(CLEARING, PAYOUTS, 1)
LOWERS = posting(AVAILABLE, CLEARING, 500)
OVERFLOWS = posting(AVAILABLE, CLEARING, AMOUNT_MINOR_MAX)
CLOSED, CAPPED = AccountRef(BANK.kind, "closed"), AccountRef(BANK.kind, "capped")
IN_CLOSED_PERIOD = date(2026, 1, 15)
EXPIRED, OPEN, RELEASED = (
    place_hold(key=uuid4(), posting=posting(CLEARING, BANK, 5), effective_on=DAY, expires_at=expires_at)
    for expires_at in (datetime(2026, 1, 1, tzinfo=UTC), None, None)
)


def resolving(placed: UUID, action: HoldAction, *postings: Posting, **fields: Any) -> JournalEntry:
    return entry(*postings, kind=EntryKind(699 + action), hold=HoldAct(action=action, hold_key=placed), **fields)


def reversing(original: UUID, *postings: Posting, **fields: Any) -> JournalEntry:
    return entry(*postings, kind=EntryKind.ENTRY_REVERSED, reverses=original, **fields)


def line(number: int, debit: AccountRef, credit: AccountRef, amount_minor: int) -> Posting:
    return Posting(debit=debit, credit=credit, amount_minor=amount_minor, reverses_line=number)


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
    Refusal.REVERSAL_DIFFERS_FROM_ORIGINAL: reversing(
        PLAIN.key, line(1, BANK, PAYOUTS, 1), effective_on=IN_CLOSED_PERIOD
    ),
    Refusal.HOLD_NOT_FOUND: resolving(PLAIN.key, HoldAction.POST, FROZEN, effective_on=IN_CLOSED_PERIOD),
    Refusal.HOLD_ALREADY_RESOLVED: resolving(RELEASED.key, HoldAction.POST, FROZEN, effective_on=IN_CLOSED_PERIOD),
    Refusal.HOLD_EXPIRED: resolving(EXPIRED.key, HoldAction.POST, FROZEN, effective_on=IN_CLOSED_PERIOD),
    Refusal.HOLD_NOT_EXPIRED: resolving(OPEN.key, HoldAction.EXPIRE, FROZEN),
    Refusal.POSTING_DIFFERS_FROM_HOLD: resolving(OPEN.key, HoldAction.POST, LOWERS, effective_on=IN_CLOSED_PERIOD),
    Refusal.EXCEEDS_HOLD: resolving(
        OPEN.key, HoldAction.POST, posting(CLEARING, BANK, 6), effective_on=IN_CLOSED_PERIOD
    ),
    Refusal.PERIOD_CLOSED: entry(FROZEN, LOWERS, kind=AUTHORISING, effective_on=IN_CLOSED_PERIOD),
    Refusal.IMPORT_OUT_OF_ORDER: entry(FROZEN, LOWERS, kind=AUTHORISING, occurred_at=datetime(2999, 1, 1, tzinfo=UTC)),
    Refusal.ACCOUNT_CLOSED: entry(FROZEN, posting(CLOSED, CLEARING, 1), LOWERS, kind=AUTHORISING),
    Refusal.ACCOUNT_FROZEN: entry(LOWERS, FROZEN, OVERFLOWS, kind=AUTHORISING),
    Refusal.NOTHING_AVAILABLE: entry(
        LOWERS,
        Posting(debit=AVAILABLE, credit=CLEARING, amount_minor=1, up_to=UpTo.DEBIT_LIMIT),
        kind=AUTHORISING,
    ),
    Refusal.BELOW_FLOOR: entry(SOUND, OVERFLOWS, OVERFLOWS, kind=AUTHORISING),
    Refusal.ABOVE_CEILING: entry(posting(CAPPED, CLEARING, 11), kind=AUTHORISING),
    Refusal.BALANCE_OVERFLOW: entry(posting(CLEARING, BANK, AMOUNT_MINOR_MAX), SOUND),
}


async def prepared(app: asyncpg.Connection) -> None:
    await post_entries(app, BOOK, [ORIGINAL, PLAIN, entry(posting(CLEARING, PAYOUTS, 5)), EXPIRED, OPEN, RELEASED])
    released = resolving(RELEASED.key, HoldAction.RELEASE, posting(CLEARING, BANK, 5))
    assert isinstance((await post_entries(app, BOOK, [released]))[0], Posted)
    assert await freeze_account(app, BOOK, PAYOUTS, debits=False, credits_=True, actor="op_1", reason="test")
    await open_accounts(app, BOOK, [CLOSED, CAPPED])
    act: dict[str, Any] = {"actor": "op_1", "reason": "test"}
    assert await close_account(app, BOOK, CLOSED, **act) is None
    assert await limit_account(app, BOOK, CAPPED, floor_minor=None, ceiling_minor=10, **act) is None
    assert await open_period(app, BOOK, starts_on=date(2026, 1, 1), ends_on=date(2026, 1, 31), **act) is None
    assert await begin_closing(app, BOOK, ends_on=date(2026, 1, 31), **act) is None
    assert await close_period(app, BOOK, ends_on=date(2026, 1, 31), **act) is None


async def test_first_rule_broken_is_the_answer_and_nothing_moves(app: asyncpg.Connection) -> None:
    await prepared(app)
    before = await all_balances(app, BOOK)
    results = await post_entries(app, BOOK, list(BROKEN.values()))
    assert results == [Refused(key=each.key, refusal=refusal) for refusal, each in BROKEN.items()]
    for refusal, each in BROKEN.items():
        assert await post_entries(app, BOOK, [each]) == [Refused(key=each.key, refusal=refusal)], refusal
    assert (await all_balances(app, BOOK), await head(app, BOOK)) == (before, 7)
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


def test_what_may_be_accepted_later_is_marked() -> None:
    assert {each.code for each in Refusal if each.transient} == {
        "original_not_found",
        "exceeds_original",
        "release_exceeds_draws",
        "hold_not_found",
        "hold_not_expired",
        "period_closed",
        "account_closed",
        "account_frozen",
        "nothing_available",
        "below_floor",
        "above_ceiling",
        "group_refused",
    }
