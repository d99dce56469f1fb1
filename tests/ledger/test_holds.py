"""Holds: counted at once, posted in part, resolved at most once, expired at their exact moment."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from ledger.balances import balances
from ledger.feed import read_entries
from ledger.holds import (
    Hold,
    expire_hold,
    expire_holds,
    expired_holds,
    hold_by_key,
    place_hold,
    post_hold,
    release_hold,
)
from ledger.journal import HoldAction, JournalEntry, Posted, PostingResult, Refused, UpTo
from ledger.posting import Ledger, post_entries
from ledger.refusals import Refusal
from ledger.verification import verify
from tests.ledger.entries import AVAILABLE, BOOK, DAY, PAYOUTS, posting, received

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def held(amount_minor: int, *, key: UUID | None = None, expires_at: datetime | None = None) -> JournalEntry:
    return place_hold(
        key=key or uuid4(), posting=posting(AVAILABLE, PAYOUTS, amount_minor), effective_on=DAY, expires_at=expires_at
    )


async def placed(app: asyncpg.Connection, amount_minor: int, expires_at: datetime | None = None) -> Hold:
    entry = held(amount_minor, expires_at=expires_at)
    [result] = await post_entries(app, BOOK, [entry])
    assert isinstance(result, Posted)
    hold = await hold_by_key(app, BOOK, entry.key)
    assert hold is not None
    assert (hold.sequence, hold.amount_minor, hold.resolved_by) == (result.sequence, amount_minor, None)
    return hold


async def money(app: asyncpg.Connection) -> tuple[int, int, int]:
    """(balance, held against it, what an authorising entry could still take) of AVAILABLE."""
    found = (await balances(app, BOOK, [AVAILABLE]))[AVAILABLE]
    return found.balance_minor, found.held_debits_minor, found.available_minor or 0


def codes(results: list[PostingResult]) -> list[Refusal | None]:
    return [each.refusal if isinstance(each, Refused) else None for each in results]


async def test_held_money_is_still_there_and_nobody_can_take_it(app: asyncpg.Connection) -> None:
    await post_entries(app, BOOK, [received(100)])
    await placed(app, 60)
    assert await money(app) == (100, 60, 40)
    assert codes(await post_entries(app, BOOK, [held(41), held(40), held(1)])) == [
        Refusal.BELOW_FLOOR,
        None,
        Refusal.BELOW_FLOOR,
    ]
    assert await money(app) == (100, 100, 0)
    assert (await verify(app, BOOK)).passed


async def test_hold_posted_in_part_frees_the_rest(app: asyncpg.Connection) -> None:
    await post_entries(app, BOOK, [received(100)])
    hold = await placed(app, 60)
    too_much = post_hold(hold, key=uuid4(), effective_on=DAY, amount_minor=61)
    assert codes(await post_entries(app, BOOK, [too_much])) == [Refusal.EXCEEDS_HOLD]
    part = post_hold(hold, key=uuid4(), effective_on=DAY, amount_minor=25)
    assert codes(await post_entries(app, BOOK, [part, part])) == [None, None]
    assert await money(app) == (75, 0, 75)
    now = await hold_by_key(app, BOOK, hold.key)
    assert now is not None
    assert (now.resolved_by, now.posted_minor) == (HoldAction.POST, 25)
    assert (await verify(app, BOOK)).passed


async def test_hold_is_resolved_once_whatever_comes_second(app: asyncpg.Connection) -> None:
    await post_entries(app, BOOK, [received(100)])
    hold = await placed(app, 60)
    assert codes(await post_entries(app, BOOK, [release_hold(hold, key=uuid4(), effective_on=DAY)])) == [None]
    second = [post_hold(hold, key=uuid4(), effective_on=DAY), release_hold(hold, key=uuid4(), effective_on=DAY)]
    assert codes(await post_entries(app, BOOK, second)) == [Refusal.HOLD_ALREADY_RESOLVED] * 2
    assert await money(app) == (100, 0, 100)


async def test_hold_placed_posted_and_placed_again_in_one_call(app: asyncpg.Connection) -> None:
    first = held(100)
    hold = Hold(
        key=first.key, sequence=0, debit=AVAILABLE, credit=PAYOUTS, amount_minor=100, expires_at=None,
        resolved_by=None, posted_minor=0,
    )  # fmt: skip
    batch = [
        received(100),
        first,
        held(1),
        post_hold(hold, key=uuid4(), effective_on=DAY, amount_minor=30),
        held(70),
        held(1),
        release_hold(hold, key=uuid4(), effective_on=DAY),
    ]
    expected = [None, None, Refusal.BELOW_FLOOR, None, None, Refusal.BELOW_FLOOR, Refusal.HOLD_ALREADY_RESOLVED]
    assert codes(await post_entries(app, BOOK, batch)) == expected
    assert await money(app) == (70, 70, 0)
    assert (await verify(app, BOOK)).passed


async def test_expired_hold_counts_until_the_sweeper_and_cannot_be_posted(
    app: asyncpg.Connection, pool: asyncpg.Pool
) -> None:
    await post_entries(app, BOOK, [received(100)])
    hold, open_hold = await placed(app, 60, LONG_AGO), await placed(app, 10)
    assert await money(app) == (100, 70, 30)
    results = await post_entries(
        app, BOOK, [post_hold(hold, key=uuid4(), effective_on=DAY), expire_hold(open_hold, effective_on=DAY)]
    )
    assert codes(results) == [Refusal.HOLD_EXPIRED, Refusal.HOLD_NOT_EXPIRED]
    now = datetime.now(UTC)
    assert [each.key for each in await expired_holds(app, BOOK, at=now, limit=10)] == [hold.key]
    just_before = LONG_AGO - timedelta(microseconds=1)
    for since, found in ((just_before, [hold.key]), (LONG_AGO, [])):
        assert [each.key for each in await expired_holds(app, BOOK, at=now, limit=10, since=since)] == found
    ledger = Ledger(pool)
    assert await expire_holds(app, ledger, BOOK, at=now, effective_on=DAY, since=LONG_AGO) == []
    assert await money(app) == (100, 70, 30)
    swept = await expire_holds(app, ledger, BOOK, at=now, effective_on=DAY)
    await ledger.close()
    assert [isinstance(each, Posted) for each in swept] == [True]
    assert await expired_holds(app, BOOK, at=now, limit=10) == []
    assert await money(app) == (100, 10, 90)
    assert (await verify(app, BOOK)).passed


async def test_hold_differs_from_what_resolves_it(app: asyncpg.Connection) -> None:
    await post_entries(app, BOOK, [received(100)])
    hold = await placed(app, 60)
    other = Hold(
        **{name: getattr(hold, name) for name in hold.__struct_fields__} | {"credit": AVAILABLE, "debit": PAYOUTS}
    )
    unknown = Hold(**{name: getattr(hold, name) for name in hold.__struct_fields__} | {"key": uuid4()})
    attempts = [
        post_hold(other, key=uuid4(), effective_on=DAY),
        post_hold(unknown, key=uuid4(), effective_on=DAY),
    ]
    assert codes(await post_entries(app, BOOK, attempts)) == [Refusal.POSTING_DIFFERS_FROM_HOLD, Refusal.HOLD_NOT_FOUND]
    assert await money(app) == (100, 60, 40)


async def test_hold_is_replayed_like_any_entry(app: asyncpg.Connection) -> None:
    await post_entries(app, BOOK, [received(100)])
    entry = held(60, expires_at=LONG_AGO + timedelta(days=900))
    [first] = await post_entries(app, BOOK, [entry])
    [again] = await post_entries(app, BOOK, [entry])
    assert isinstance(first, Posted)
    assert isinstance(again, Posted)
    assert (again.sequence, again.replayed) == (first.sequence, True)
    assert codes(await post_entries(app, BOOK, [held(60, key=entry.key)])) == [Refusal.KEY_REUSED_WITH_OTHER_CONTENT]
    hold = await hold_by_key(app, BOOK, entry.key)
    assert hold is not None
    release = release_hold(hold, key=uuid4(), effective_on=DAY)
    results = await post_entries(app, BOOK, [release, release])
    assert codes(results) == [None, None]
    assert [isinstance(each, Posted) and each.replayed for each in results] == [False, True]
    assert await money(app) == (100, 0, 100)


@pytest.mark.parametrize("expires_in_seconds", [None, 0.25])
async def test_of_many_that_race_for_one_hold_exactly_one_wins(
    app: asyncpg.Connection, pool: asyncpg.Pool, expires_in_seconds: float | None
) -> None:
    """Posting, releasing and expiring at once, on many connections; with an expiry in the middle of the race."""
    await post_entries(app, BOOK, [received(100)])
    expires_at = None
    if expires_in_seconds is not None:
        expires_at = datetime.now(UTC) + timedelta(seconds=expires_in_seconds)
    hold = await placed(app, 60, expires_at)
    ledgers = [Ledger(pool) for _ in range(8)]

    async def race(n: int) -> PostingResult:
        await asyncio.sleep(n * 0.01)
        if n % 2:
            return await ledgers[n % 8].post(BOOK, post_hold(hold, key=uuid4(), effective_on=DAY, amount_minor=n + 1))
        return await ledgers[n % 8].post(
            BOOK,
            expire_hold(hold, effective_on=DAY) if expires_at else release_hold(hold, key=uuid4(), effective_on=DAY),
        )

    results = await asyncio.gather(*(race(n) for n in range(50)))
    won = {each.sequence for each in results if isinstance(each, Posted)}
    assert len(won) == 1
    [ending] = [each for each in await read_entries(app, BOOK, after=0, limit=100) if each.sequence in won]
    if expires_at is not None:
        assert (ending.hold_action == HoldAction.EXPIRE) == (ending.recorded_at >= expires_at)
    assert (await money(app))[1] == 0
    assert (await verify(app, BOOK)).passed
    for ledger in ledgers:
        await ledger.close()


async def test_hold_of_as_much_as_there_is_is_our_bug(app: asyncpg.Connection) -> None:
    await post_entries(app, BOOK, [received(100)])
    whole = held(60)
    [line] = whole.postings
    with pytest.raises(AssertionError, match="no balancing posting"):
        msgspec.structs.replace(whole, postings=(msgspec.structs.replace(line, up_to=UpTo.DEBIT_LIMIT),))
    # Past the guard of Python: the database says the same, and nothing was held.
    msgspec.structs.force_setattr(line, "up_to", UpTo.DEBIT_LIMIT)
    with pytest.raises(AssertionError, match="do not belong together"):
        await post_entries(app, BOOK, [received(1), whole])
    assert await money(app) == (100, 0, 100)
