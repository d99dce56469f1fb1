"""What an entry is told does not depend on the call that it came in, nor on who came with it."""

import asyncio
from uuid import UUID, uuid4

import asyncpg

from ledger.feed import head
from ledger.holds import place_hold
from ledger.journal import (
    AccountRef,
    EntryKind,
    HoldAct,
    HoldAction,
    JournalEntry,
    LinkedGroup,
    Posting,
    PostingResult,
    Refused,
    UpTo,
)
from ledger.money import AMOUNT_MINOR_MAX
from ledger.posting import Ledger, post_entries
from ledger.refusals import Refusal
from tests.ledger.entries import (
    BOOK,
    DAY,
    entry,
    posting,
    received,
)

HELD_MAX = 4 * 10**18


def codes(results: list[PostingResult]) -> list[Refusal | None]:
    return [each.refusal if isinstance(each, Refused) else None for each in results]


def group(*entries: JournalEntry) -> LinkedGroup:
    return LinkedGroup(entries)


def held(debit: AccountRef, credit: AccountRef, amount_minor: int, *, key: UUID | None = None) -> JournalEntry:
    return place_hold(key=key or uuid4(), posting=posting(debit, credit, amount_minor), effective_on=DAY)


def resolving(placed: JournalEntry, action: HoldAction, amount_minor: int | None = None) -> JournalEntry:
    [line] = placed.postings
    amount = line.amount_minor if amount_minor is None else amount_minor
    return entry(
        posting(line.debit, line.credit, amount),
        kind=EntryKind(699 + action),
        hold=HoldAct(action=action, hold_key=placed.key),
    )


def reversing(original: JournalEntry, debit: AccountRef, credit: AccountRef, amount_minor: int) -> JournalEntry:
    line = Posting(debit=debit, credit=credit, amount_minor=amount_minor, reverses_line=1)
    return entry(line, kind=EntryKind.ENTRY_REVERSED, reverses=original.key)


def balancing(debit: AccountRef, credit: AccountRef, up_to: UpTo, amount_minor: int = AMOUNT_MINOR_MAX) -> Posting:
    return Posting(debit=debit, credit=credit, amount_minor=amount_minor, up_to=up_to)


async def test_empty_group_beside_others_gets_its_own_empty_answer(pool: asyncpg.Pool, app: asyncpg.Connection) -> None:
    ledger = Ledger(pool)
    await ledger.post(BOOK, received(1))
    results = await asyncio.gather(
        ledger.post_group(BOOK, [received(1), received(2)]), ledger.post_group(BOOK, []), ledger.post(BOOK, received(3))
    )
    await ledger.close()
    assert [len(each) for each in results[:2]] == [2, 0]
    assert await head(app, BOOK) == 4
    assert await post_entries(app, BOOK, [group()]) == []
