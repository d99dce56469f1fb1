"""Metamorphic: how entries are cut into batches is nobody's business, and the order of independent ones neither."""

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.accounts import new_book_id, open_book
from ledger.balances import all_balances
from ledger.feed import RecordedEntry, read_entries
from ledger.journal import JournalEntry, Posted, PostingResult
from ledger.posting import post_entries
from tests.conftest import ClonedDatabase
from tests.ledger.faults.scale import scaled
from tests.ledger.faults.workloads import mixture, receipts

T = TypeVar("T")
EXAMPLES = scaled(12, long=300)
ENTRIES = 60
NO_TIME = datetime(2000, 1, 1, tzinfo=UTC)
FIXED = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


class Books:
    """Books of one database, for a test that is not a coroutine."""

    def __init__(self, dsn: str) -> None:
        self._loop = asyncio.new_event_loop()
        self.connection: asyncpg.Connection = self.wait(asyncpg.connect(dsn))

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    def close(self) -> None:
        self.wait(self.connection.close())
        self._loop.close()

    def posted(self, batches: Sequence[Sequence[JournalEntry]]) -> tuple[int, list[PostingResult]]:
        """A new book with these batches in it."""

        async def post() -> tuple[int, list[PostingResult]]:
            async with self.connection.transaction():
                book = await new_book_id(self.connection)
                await open_book(self.connection, book, code="batches", mode="test")
            return book, [result for batch in batches for result in await post_entries(self.connection, book, batch)]

        return self.wait(post())

    def feed(self, book: int) -> list[RecordedEntry]:
        """The feed without what the cutting may change: the number of the block and the time."""
        recorded = self.wait(read_entries(self.connection, book, after=0, limit=10_000))
        return [msgspec.structs.replace(each, block_number=0, recorded_at=NO_TIME) for each in recorded]

    def balances(self, book: int) -> dict[object, tuple[int, int]]:
        found = self.wait(all_balances(self.connection, book))
        return {each.account: (each.debits_minor, each.credits_minor) for each in found}


@contextmanager
def books_of(database: ClonedDatabase) -> Iterator[Books]:
    books = Books(database.app_dsn)
    try:
        yield books
    finally:
        books.close()


def outcomes(results: Sequence[PostingResult]) -> list[object]:
    """Results without their time."""
    return [
        (each.key, each.sequence, each.replayed, each.floor_breached, each.freeze_breached)
        if isinstance(each, Posted)
        else each
        for each in results
    ]


def cut(entries: Sequence[JournalEntry], at: set[int]) -> list[Sequence[JournalEntry]]:
    edges = [0, *sorted(at), len(entries)]
    return [entries[start:end] for start, end in pairwise(edges) if start < end]


@pytest.mark.timeout(900)
def test_any_cutting_into_batches_gives_the_same_entries(database: ClonedDatabase) -> None:
    """Refusals and replays too: a tenth of the entries come twice."""

    @FIXED
    @given(seed=st.integers(0, 5), at=st.sets(st.integers(1, ENTRIES + 5), max_size=ENTRIES))
    def check(seed: int, at: set[int]) -> None:
        entries = mixture(seed, ENTRIES)
        entries += entries[::10]
        one_by_one, results = books.posted([[each] for each in entries])
        cut_up, other_results = books.posted(cut(entries, at))
        assert outcomes(results) == outcomes(other_results)
        assert books.feed(one_by_one) == books.feed(cut_up)
        assert books.balances(one_by_one) == books.balances(cut_up)

    with books_of(database) as books:
        check()


@pytest.mark.timeout(900)
def test_any_order_of_independent_entries_gives_the_same_balances(database: ClonedDatabase) -> None:
    entries = receipts(7, ENTRIES)

    @FIXED
    @given(order=st.permutations(entries), at=st.sets(st.integers(1, ENTRIES - 1), max_size=6))
    def check(order: list[JournalEntry], at: set[int]) -> None:
        book, results = books.posted(cut(order, at))
        assert {each.key for each in results if isinstance(each, Posted)} == {each.key for each in entries}
        assert books.balances(book) == expected
        assert content_by_key(books.feed(book)) == recorded

    with books_of(database) as books:
        first, _ = books.posted([entries])
        expected, recorded = books.balances(first), content_by_key(books.feed(first))
        check()


def content_by_key(feed: Sequence[RecordedEntry]) -> dict[UUID, tuple[object, ...]]:
    """What does not depend on the order: no sequence, no balance after."""
    return {
        each.key: (
            each.kind,
            each.effective_on,
            [(line.debit, line.credit, line.amount_minor, line.available_on) for line in each.postings],
            each.references,
            each.metadata,
            each.caller,
        )
        for each in feed
    }
