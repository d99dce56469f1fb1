"""What is posted: one entry of one posting between two accounts of 10,000 + 10,000."""

import random
from collections.abc import Callable, Sequence
from datetime import date
from enum import StrEnum
from itertools import accumulate, cycle
from typing import Final

import asyncpg

from gateway.foundation.ids import uuid7
from ledger.accounts import open_book
from ledger.chart_of_accounts import AccountKind
from ledger.journal import AccountRef, EntryKind, JournalEntry, Posted, Posting
from ledger.posting import Connection, post_entries

ACCOUNTS: Final = 10_000
ZIPF_EXPONENT: Final = 0.99
DRAWN: Final = 1 << 16
DAY: Final = date(2026, 11, 23)
METADATA: Final = b'{"order": "12345678"}'
AMOUNT_MINOR: Final = 500
BATCH: Final = 2_000
DEBITS: Final = tuple(AccountRef(AccountKind.BANK, f"b{n}") for n in range(ACCOUNTS))
CREDITS: Final = tuple(AccountRef(AccountKind.CLEARING, f"c{n}") for n in range(ACCOUNTS))

Make = Callable[[], JournalEntry]


class Case(StrEnum):
    """How the accounts of an entry are drawn.

    hot: debit uniform, credit always the same account; spread: both uniform; zipf: both by Zipf's law, s = 0.99.
    """

    HOT = "hot"
    SPREAD = "spread"
    ZIPF = "zipf"


def numbers_of(case: Case) -> tuple[Callable[[], int], Callable[[], int]]:
    """Draws of the debit's and of the credit's number, 0 … 9,999."""

    def uniform() -> int:
        return int(random.random() * ACCOUNTS)

    if case is Case.HOT:
        return uniform, lambda: 0
    if case is Case.SPREAD:
        return uniform, uniform
    weights = list(accumulate(1 / (rank**ZIPF_EXPONENT) for rank in range(1, ACCOUNTS + 1)))
    debits, credits_ = (cycle(random.choices(range(ACCOUNTS), cum_weights=weights, k=DRAWN - n)) for n in (0, 1))
    return debits.__next__, credits_.__next__


def maker(case: Case) -> Make:
    """Makes fresh entries with time-ordered keys."""
    debit, credit = numbers_of(case)
    return lambda: entry(DEBITS[debit()], CREDITS[credit()])


def entry(
    debit: AccountRef,
    credit: AccountRef,
    amount_minor: int = AMOUNT_MINOR,
    kind: EntryKind = EntryKind.PROVIDER_SETTLED,
) -> JournalEntry:
    """A fresh entry with one posting."""
    posting = Posting(debit=debit, credit=credit, amount_minor=amount_minor)
    return JournalEntry(key=uuid7(), kind=kind, effective_on=DAY, postings=(posting,), metadata=METADATA)


def every_account() -> list[JournalEntry]:
    """One entry for each pair of accounts.

    Whoever posts these to a filled book knows every account's number from then on, as a peer's caller is given its ids.
    """
    return [entry(debit, credit) for debit, credit in zip(DEBITS, CREDITS, strict=True)]


async def open_filled(app_dsn: str, book_id: int, entries: Sequence[JournalEntry] | None = None) -> None:
    """Open a book and move every account once (or post the entries given), so that no cell opens any."""
    given = entries or every_account()
    connection = await asyncpg.connect(app_dsn)
    try:
        await open_book(connection, book_id, code=f"bench-{book_id}", mode="test")
        await post_all(connection, book_id, given)
    finally:
        await connection.close()


async def post_all(connection: Connection, book_id: int, entries: Sequence[JournalEntry]) -> None:
    """Post entries in batches; each must be accepted."""
    for start in range(0, len(entries), BATCH):
        results = await post_entries(connection, book_id, entries[start : start + BATCH])
        assert all(isinstance(result, Posted) for result in results), "setting up is never refused"
