"""Reversals: in full or in part, never more than the original, whoever races and in whatever call."""

import asyncio
from uuid import uuid4

import asyncpg
import pytest

from ledger.balances import balances
from ledger.feed import RecordedEntry, entry_by_key, head
from ledger.journal import Draw, EntryKind, JournalEntry, Posted, Posting, PostingResult, Refused
from ledger.posting import Ledger, post_entries
from ledger.refusals import Refusal
from ledger.reversals import reversal_of
from ledger.verification import verify
from tests.ledger.entries import AVAILABLE, BANK, BOOK, CLEARING, DAY, drawing, entry, posting, received


def codes(results: list[PostingResult]) -> list[Refusal | None]:
    return [each.refusal if isinstance(each, Refused) else None for each in results]


async def recorded(app: asyncpg.Connection, original: JournalEntry) -> RecordedEntry:
    await post_entries(app, BOOK, [original])
    found = await entry_by_key(app, BOOK, original.key)
    assert found is not None
    return found


async def test_reversal_undoes_every_line_once(app: asyncpg.Connection) -> None:
    original = await recorded(app, entry(posting(BANK, CLEARING, 100), posting(CLEARING, AVAILABLE, 30)))
    undone = reversal_of(original, key=uuid4(), effective_on=DAY)
    assert codes(await post_entries(app, BOOK, [undone, reversal_of(original, key=uuid4(), effective_on=DAY)])) == [
        None,
        Refusal.EXCEEDS_ORIGINAL,
    ]
    found = await balances(app, BOOK, [BANK, CLEARING, AVAILABLE])
    assert {each.balance_minor for each in found.values()} == {0}
    entry_found = await entry_by_key(app, BOOK, undone.key)
    assert entry_found is not None
    assert (entry_found.reverses, [line.reverses_line for line in entry_found.postings]) == (original.sequence, [1, 2])
    assert (await verify(app, BOOK)).passed


async def test_parts_add_up_to_the_original_in_one_call_or_many(app: asyncpg.Connection) -> None:
    original = await recorded(app, entry(posting(BANK, CLEARING, 100)))

    def part(amount: int) -> JournalEntry:
        return reversal_of(original, key=uuid4(), effective_on=DAY, amounts_minor={1: amount})

    assert codes(await post_entries(app, BOOK, [part(60), part(41), part(30)])) == [
        None,
        Refusal.EXCEEDS_ORIGINAL,
        None,
    ]
    assert codes(await post_entries(app, BOOK, [part(11), part(10), part(1)])) == [
        Refusal.EXCEEDS_ORIGINAL,
        None,
        Refusal.EXCEEDS_ORIGINAL,
    ]
    assert (await balances(app, BOOK, [BANK]))[BANK].balance_minor == 0
    assert (await verify(app, BOOK)).passed


async def test_entry_and_reversal_of_the_reversal_in_one_call(app: asyncpg.Connection) -> None:
    original = entry(posting(BANK, CLEARING, 100))
    undone = entry(
        posting(CLEARING, BANK, 100).__class__(debit=CLEARING, credit=BANK, amount_minor=100, reverses_line=1),
        kind=EntryKind.ENTRY_REVERSED,
        reverses=original.key,
    )
    redone = entry(
        posting(BANK, CLEARING, 40).__class__(debit=BANK, credit=CLEARING, amount_minor=40, reverses_line=1),
        kind=EntryKind.ENTRY_REVERSED,
        reverses=undone.key,
    )
    other = entry(
        posting(BANK, CLEARING, 1).__class__(debit=BANK, credit=CLEARING, amount_minor=1, reverses_line=2),
        kind=EntryKind.ENTRY_REVERSED,
        reverses=undone.key,
    )
    results = await post_entries(app, BOOK, [original, undone, redone, other])
    assert codes(results) == [None, None, None, Refusal.REVERSAL_DIFFERS_FROM_ORIGINAL]
    assert (await balances(app, BOOK, [BANK]))[BANK].balance_minor == 40
    assert [isinstance(each, Posted) and each.replayed for each in await post_entries(app, BOOK, [redone, undone])] == [
        True,
        True,
    ]
    assert (await verify(app, BOOK)).passed


async def test_what_was_drawn_on_cannot_be_reversed_as_well(app: asyncpg.Connection) -> None:
    original = await recorded(app, received(100, drawable_minor=100))
    await post_entries(app, BOOK, [drawing(received(1, key=original.key), 70)])
    whole, rest = (
        reversal_of(original, key=uuid4(), effective_on=DAY),
        reversal_of(original, key=uuid4(), effective_on=DAY, amounts_minor={1: 30}),
    )
    assert codes(await post_entries(app, BOOK, [whole, rest])) == [Refusal.EXCEEDS_ORIGINAL, None]
    assert (await verify(app, BOOK)).passed


async def test_of_racing_partial_reversals_no_more_than_the_original_win(
    app: asyncpg.Connection, pool: asyncpg.Pool
) -> None:
    original = await recorded(app, entry(posting(BANK, CLEARING, 100)))
    ledgers = [Ledger(pool) for _ in range(8)]
    results = await asyncio.gather(
        *(
            ledgers[n % 8].post(BOOK, reversal_of(original, key=uuid4(), effective_on=DAY, amounts_minor={1: 7}))
            for n in range(64)
        )
    )
    assert sum(isinstance(each, Posted) for each in results) == 14
    assert {each.refusal for each in results if isinstance(each, Refused)} == {Refusal.EXCEEDS_ORIGINAL}
    assert (await balances(app, BOOK, [BANK]))[BANK].balance_minor == 2
    assert await head(app, BOOK) == 15
    for ledger in ledgers:
        await ledger.close()


@pytest.mark.parametrize(
    ("refunded", "drawn", "reason"),
    [
        (1_000, -1, Refusal.REVERSAL_DIFFERS_FROM_ORIGINAL),
        (999, 1, Refusal.REVERSAL_DIFFERS_FROM_ORIGINAL),
        (0, 999, Refusal.REVERSAL_DIFFERS_FROM_ORIGINAL),
        (1, 1_000, Refusal.EXCEEDS_ORIGINAL),
        (0, 1_000, None),
    ],
)
@pytest.mark.parametrize("together", [False, True])
async def test_what_can_be_drawn_is_drawn_by_its_reversal(
    app: asyncpg.Connection, refunded: int, drawn: int, reason: Refusal | None, together: bool
) -> None:
    """Else it could be refunded and reversed."""
    capture = received(1_000, drawable_minor=1_000)
    undone = JournalEntry(
        key=uuid4(),
        kind=EntryKind.ENTRY_REVERSED,
        effective_on=DAY,
        postings=(Posting(debit=AVAILABLE, credit=BANK, amount_minor=1_000, reverses_line=1),),
        draw=Draw(capture.key, drawn),
        reverses=capture.key,
    )
    before = [received(5_000), capture, *([drawing(capture, refunded)] if refunded else [])]
    if together:
        results = await post_entries(app, BOOK, [*before, undone])
    else:
        results = await post_entries(app, BOOK, before) + await post_entries(app, BOOK, [undone])
    assert codes(results) == [None] * len(before) + [reason]
    left = 5_000 if reason is None else 6_000
    assert (await balances(app, BOOK, [AVAILABLE]))[AVAILABLE].balance_minor == left
    assert (await verify(app, BOOK)).passed


@pytest.mark.parametrize("together", [False, True])
async def test_entry_of_which_nothing_can_be_drawn_can_be_reversed(app: asyncpg.Connection, together: bool) -> None:
    original = received(100, drawable_minor=0)
    mirrored = Posting(debit=AVAILABLE, credit=BANK, amount_minor=100, reverses_line=1)
    undone = entry(mirrored, kind=EntryKind.ENTRY_REVERSED, reverses=original.key)
    if together:
        assert codes(await post_entries(app, BOOK, [original, undone])) == [None, None]
    else:
        undone = reversal_of(await recorded(app, original), key=uuid4(), effective_on=DAY)
        assert codes(await post_entries(app, BOOK, [undone])) == [None]
    assert (await balances(app, BOOK, [AVAILABLE]))[AVAILABLE].balance_minor == 0
    assert (await verify(app, BOOK)).passed


async def test_other_lines_draw_nothing(app: asyncpg.Connection) -> None:
    captured = entry(posting(BANK, CLEARING, 1_000), posting(CLEARING, AVAILABLE, 30), drawable_minor=1_000)
    original = await recorded(app, captured)
    parts = [
        reversal_of(original, key=uuid4(), effective_on=DAY, amounts_minor=amounts) for amounts in ({2: 30}, {1: 1_000})
    ]
    assert [each.draw and each.draw.amount_minor for each in parts] == [None, 1_000]
    assert codes(await post_entries(app, BOOK, parts)) == [None, None]
    assert (await verify(app, BOOK)).passed
