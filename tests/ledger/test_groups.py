"""Linked groups are all or nothing; balancing postings take what there is; imported history keeps its order."""

from datetime import UTC, datetime
from uuid import uuid4

import asyncpg

from ledger.balances import all_balances, balances
from ledger.feed import head, read_entries
from ledger.journal import Draw, EntryKind, JournalEntry, LinkedGroup, Posted, Posting, PostingResult, Refused, UpTo
from ledger.money import AMOUNT_MINOR_MAX
from ledger.posting import Ledger, post_entries
from ledger.refusals import Refusal
from ledger.verification import verify
from tests.ledger.entries import AVAILABLE, BANK, BOOK, CLEARING, PAYOUTS, drawing, entry, paid_out, posting, received


def codes(results: list[PostingResult]) -> list[Refusal | None]:
    return [each.refusal if isinstance(each, Refused) else None for each in results]


def group(*entries: JournalEntry) -> LinkedGroup:
    return LinkedGroup(entries)


async def test_one_refusal_refuses_its_group_and_nobody_else(app: asyncpg.Connection) -> None:
    capture = received(100, drawable_minor=100)
    results = await post_entries(
        app,
        BOOK,
        [
            capture,
            group(drawing(capture, 70), paid_out(100), paid_out(1)),
            group(drawing(capture, 100), paid_out(100)),
            paid_out(1),
        ],
    )
    assert codes(results) == [
        None,
        Refusal.GROUP_REFUSED,
        Refusal.GROUP_REFUSED,
        Refusal.BELOW_FLOOR,
        None,
        None,
        Refusal.BELOW_FLOOR,
    ]
    assert [each.sequence for each in results if isinstance(each, Posted)] == [1, 2, 3]
    entries = await read_entries(app, BOOK, after=0, limit=10)
    assert [each.group_first for each in entries] == [None, 2, 2]
    assert (await verify(app, BOOK)).passed


async def test_group_is_repeated_as_a_whole(app: asyncpg.Connection) -> None:
    both = group(received(5), paid_out(5))
    first = await post_entries(app, BOOK, [both])
    again = await post_entries(app, BOOK, [both, group(received(1), paid_out(7))])
    assert codes(first) == [None, None]
    assert codes(again) == [None, None, Refusal.GROUP_REFUSED, Refusal.BELOW_FLOOR]
    assert [each.replayed for each in again if isinstance(each, Posted)] == [True, True]
    assert await head(app, BOOK) == 2


async def test_key_repeated_inside_a_refused_group_is_free_again(app: asyncpg.Connection) -> None:
    twice = received(5)
    results = await post_entries(app, BOOK, [received(3), group(twice, twice, paid_out(100)), twice])
    assert codes(results) == [None, Refusal.GROUP_REFUSED, Refusal.GROUP_REFUSED, Refusal.BELOW_FLOOR, None]
    assert isinstance(results[-1], Posted)
    assert (results[-1].sequence, results[-1].replayed) == (2, False)
    assert (await verify(app, BOOK)).passed


async def test_batcher_posts_groups_among_others(pool: asyncpg.Pool, app: asyncpg.Connection) -> None:
    ledger = Ledger(pool)
    assert codes(await ledger.post_group(BOOK, [received(10), paid_out(10)])) == [None, None]
    assert codes(await ledger.post_group(BOOK, [received(10), paid_out(11)])) == [
        Refusal.GROUP_REFUSED,
        Refusal.BELOW_FLOOR,
    ]
    await ledger.close()
    assert await head(app, BOOK) == 2


def sweep(up_to: UpTo, amount_minor: int = AMOUNT_MINOR_MAX) -> JournalEntry:
    line = Posting(debit=AVAILABLE, credit=PAYOUTS, amount_minor=amount_minor, up_to=up_to)
    return entry(line, kind=EntryKind.OPERATOR_ENTRY)


async def test_balancing_posting_takes_what_there_is(app: asyncpg.Connection) -> None:
    nothing = await post_entries(app, BOOK, [received(1, to=PAYOUTS), sweep(UpTo.DEBIT_LIMIT)])
    assert codes(nothing) == [None, Refusal.NOTHING_AVAILABLE]
    everything, some = sweep(UpTo.DEBIT_LIMIT), sweep(UpTo.DEBIT_LIMIT, 40)
    results = await post_entries(app, BOOK, [received(100), some, everything, everything])
    assert [each.amounts_minor for each in results if isinstance(each, Posted)] == [(), (40,), (60,), (60,)]
    [again] = await post_entries(app, BOOK, [everything])
    assert isinstance(again, Posted)
    assert (again.replayed, again.amounts_minor) == (True, (60,))
    assert (await balances(app, BOOK, [AVAILABLE]))[AVAILABLE].balance_minor == 0
    assert codes(await post_entries(app, BOOK, [sweep(UpTo.DEBIT_LIMIT, 7)])) == [Refusal.NOTHING_AVAILABLE]
    assert (await verify(app, BOOK)).passed


async def test_imported_history_is_in_order_and_in_the_past(app: asyncpg.Connection) -> None:
    def old(day: int, year: int = 2020) -> JournalEntry:
        return received(1, kind=EntryKind.HISTORY_IMPORTED, occurred_at=datetime(year, 1, day, tzinfo=UTC))

    results = await post_entries(app, BOOK, [old(5), old(4), old(5), old(7), received(1)])
    assert codes(results) == [None, Refusal.IMPORT_OUT_OF_ORDER, None, None, None]
    assert codes(await post_entries(app, BOOK, [old(6), old(8, 2999), old(9)])) == [
        Refusal.IMPORT_OUT_OF_ORDER,
        Refusal.IMPORT_OUT_OF_ORDER,
        None,
    ]
    assert (await verify(app, BOOK)).passed


async def test_refused_group_leaves_no_account_open(app: asyncpg.Connection) -> None:
    before = await all_balances(app, BOOK)
    refused = group(received(1, draw=Draw(uuid4(), 1)), entry(posting(BANK, PAYOUTS, 1)))
    assert codes(await post_entries(app, BOOK, [refused])) == [Refusal.ORIGINAL_NOT_FOUND, Refusal.GROUP_REFUSED]
    assert await all_balances(app, BOOK) == before == []


async def test_balancing_entry_ends_where_a_total_would_pass_bigint(app: asyncpg.Connection) -> None:
    """What its other lines would find is not known then, so they add no refusal of their own, though an earlier one."""
    assert codes(await post_entries(app, BOOK, [entry(posting(BANK, CLEARING, AMOUNT_MINOR_MAX))])) == [None]
    [empty] = sweep(UpTo.DEBIT_LIMIT).postings
    over = posting(BANK, CLEARING, 1)
    assert codes(await post_entries(app, BOOK, [entry(over, empty)])) == [Refusal.BALANCE_OVERFLOW]
    assert codes(await post_entries(app, BOOK, [entry(empty, over)])) == [Refusal.NOTHING_AVAILABLE]
    assert await head(app, BOOK) == 1


async def test_refused_group_leaves_no_moment_behind(app: asyncpg.Connection) -> None:
    def old(day: int) -> JournalEntry:
        return received(1, kind=EntryKind.HISTORY_IMPORTED, occurred_at=datetime(2020, 1, day, tzinfo=UTC))

    results = await post_entries(app, BOOK, [group(old(9), paid_out(100)), old(5)])
    assert codes(results) == [Refusal.GROUP_REFUSED, Refusal.BELOW_FLOOR, None]
