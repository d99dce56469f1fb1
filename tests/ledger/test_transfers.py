"""Money between books: exactly once wherever it breaks off, nothing on refusal, and nothing left in between."""

import random
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from ledger.accounts import open_book
from ledger.balances import balances
from ledger.chart_of_accounts import AccountKind
from ledger.errors import BookNotFound, EntryMalformed, InvariantBroken, LedgerUnavailable
from ledger.feed import head
from ledger.journal import AccountRef, EntryKind, JournalEntry, Posted, PostingResult, Refused
from ledger.posting import Ledger, post_entries
from ledger.posting_rules.transfers import book_transfer_sent, clearing_with
from ledger.refusals import Refusal
from ledger.transfers import Transfer, clearing_left, settle_transfers, transfer, transfers_in_flight
from ledger.verification import verify
from tests.ledger.entries import AVAILABLE, BOOK, DAY, PENDING, received

BOOKS = (BOOK, 1001, 1002)
NOWHERE = 4711


class Crashing(Ledger):
    """Dies before or after receiving, when it is told to."""

    crash = "never"

    async def post(self, book_id: int, entry: JournalEntry) -> PostingResult:
        receiving = entry.kind == EntryKind.BOOK_TRANSFER_RECEIVED
        if receiving and self.crash == "before":
            raise LedgerUnavailable
        result = await super().post(book_id, entry)
        if receiving and self.crash == "after":
            raise LedgerUnavailable
        return result


@pytest.fixture
async def ledger(pool: asyncpg.Pool, app: asyncpg.Connection):
    for book in BOOKS[1:]:
        await open_book(app, book, code=f"test-{book}", mode="test")
    ledger = Crashing(pool)
    yield ledger
    await ledger.close()


def wanted(
    amount_minor: int, from_book: int = BOOK, to_book: int = 1001, *, transfer_id: UUID | None = None
) -> Transfer:
    return Transfer(
        transfer_id=transfer_id or uuid4(),
        from_book=from_book,
        to_book=to_book,
        from_account=AVAILABLE,
        to_account=AVAILABLE,
        amount_minor=amount_minor,
        effective_on=DAY,
    )


async def held(app: asyncpg.Connection, book: int) -> int:
    return (await balances(app, book, [AVAILABLE]))[AVAILABLE].balance_minor


async def test_transfer_arrives_once_however_often_it_is_asked_for(app: asyncpg.Connection, ledger: Crashing) -> None:
    await post_entries(app, BOOK, [received(100)])
    asked = wanted(70)
    first, again = await transfer(ledger, asked), await transfer(ledger, asked)
    assert isinstance(first, Posted)
    assert isinstance(again, Posted)
    assert (first.replayed, again.replayed) == (False, True)
    assert (await held(app, BOOK), await held(app, 1001)) == (30, 70)
    assert await clearing_left(app, (BOOK, 1001), ["THB"]) == {}
    assert [(await verify(app, book)).passed for book in BOOKS] == [True] * 3


async def test_refused_transfer_moves_nothing_in_either_book(app: asyncpg.Connection, ledger: Crashing) -> None:
    refused = await transfer(ledger, wanted(1))
    assert isinstance(refused, Refused)
    assert refused.refusal == Refusal.BELOW_FLOOR
    assert [await head(app, book) for book in BOOKS] == [0, 0, 0]


@pytest.mark.parametrize("crash", ["before", "after"])
async def test_sweeper_finishes_what_a_crash_left(app: asyncpg.Connection, ledger: Crashing, crash: str) -> None:
    await post_entries(app, BOOK, [received(100)])
    ledger.crash, asked = crash, wanted(40)
    with pytest.raises(LedgerUnavailable):
        await transfer(ledger, asked)
    ledger.crash = "never"
    expected = [asked] if crash == "before" else []
    assert await transfers_in_flight(app, BOOK) == expected
    # Clearing is on its credit side in the sending book: below zero while the money is on its way.
    assert await clearing_left(app, (BOOK, 1001), ["THB"]) == ({"THB": -40} if expected else {})
    finished, last = await settle_transfers(app, ledger, BOOK)
    assert (finished, last) == (len(expected), 2)
    assert await settle_transfers(app, ledger, BOOK, after=last) == (0, 2)
    assert (await held(app, BOOK), await held(app, 1001)) == (60, 40)
    assert await clearing_left(app, (BOOK, 1001), ["THB"]) == {}


async def test_random_transfers_among_three_books_with_crashes_lose_and_double_nothing(
    app: asyncpg.Connection, ledger: Crashing
) -> None:
    chance = random.Random(11)
    for book in BOOKS:
        await post_entries(app, book, [received(1_000)])
    for _ in range(60):
        from_book, to_book = chance.sample(BOOKS, 2)
        ledger.crash = chance.choice(("never", "never", "before", "after"))
        asked = wanted(chance.randint(1, 400), from_book, to_book)
        for _ in range(2):
            try:
                await transfer(ledger, asked)
            except LedgerUnavailable:
                ledger.crash = chance.choice(("never", "before"))
    ledger.crash = "never"
    for book in BOOKS:
        await settle_transfers(app, ledger, book)
        assert await transfers_in_flight(app, book) == []
    assert sum([await held(app, book) for book in BOOKS]) == 3_000
    for pair in ((BOOKS[0], BOOKS[1]), (BOOKS[0], BOOKS[2]), (BOOKS[1], BOOKS[2])):
        assert await clearing_left(app, pair, ["THB"]) == {}
    assert [(await verify(app, book)).passed for book in BOOKS] == [True] * 3


@pytest.mark.parametrize(
    ("to_book", "to_account", "error"),
    [
        (NOWHERE, AVAILABLE, BookNotFound),
        (1001, PENDING, AssertionError),
        (1001, clearing_with(BOOK, "THB"), AssertionError),
        (1001, AccountRef(AccountKind.MERCHANT_AVAILABLE, "x" * 201), EntryMalformed),
    ],
)
async def test_transfer_that_cannot_arrive_is_not_sent(
    app: asyncpg.Connection, ledger: Crashing, to_book: int, to_account: AccountRef, error: type[Exception]
) -> None:
    await post_entries(app, BOOK, [received(100)])
    with pytest.raises(error):
        await transfer(ledger, msgspec.structs.replace(wanted(70, to_book=to_book), to_account=to_account))
    assert (await head(app, BOOK), await held(app, BOOK)) == (1, 100)


def sent(amount_minor: int, to_book: int = 1001, **destination: object) -> JournalEntry:
    """The sending half alone, as a crash leaves it or another program posts it."""
    says = {"to_book": to_book, "kind": "merchant_available", "owner": "merchant", "from_book": BOOK} | destination
    return book_transfer_sent(
        transfer=uuid4(),
        to_book=to_book,
        from_account=AVAILABLE,
        amount_minor=amount_minor,
        effective_on=DAY,
        metadata=msgspec.json.encode(says),
        caller="system",
    )


async def test_one_that_cannot_arrive_keeps_no_other_waiting(app: asyncpg.Connection, ledger: Crashing) -> None:
    await post_entries(app, BOOK, [received(100), sent(70, NOWHERE), sent(5), sent(1, NOWHERE)])
    assert await settle_transfers(app, ledger, BOOK) == (1, 1)  # the next call looks from the stuck one on
    assert (await held(app, BOOK), await held(app, 1001)) == (24, 5)
    assert [each.amount_minor for each in await transfers_in_flight(app, BOOK)] == [70, 1]
    await open_book(app, NOWHERE, code="there now", mode="test")
    assert await settle_transfers(app, ledger, BOOK, after=1) == (2, 4)
    assert await held(app, NOWHERE) == 71


@pytest.mark.parametrize(
    "destination",
    [
        {"kind": "merchant_pending"},
        {"kind": "clearing", "owner": f"book:{BOOK}"},
        {"kind": "no such kind"},
        {"owner": "x" * 201},
        {"owner": 7},
        {"from_book": 1001},
    ],
)
async def test_what_says_of_no_place_that_takes_it_stays_on_its_way(
    app: asyncpg.Connection, ledger: Crashing, destination: dict[str, object]
) -> None:
    await post_entries(app, BOOK, [received(100), sent(70, **destination), sent(5)])
    assert await settle_transfers(app, ledger, BOOK) == (1, 1)
    assert (await held(app, BOOK), await held(app, 1001)) == (25, 5)


async def test_a_book_that_contradicts_itself_is_not_passed_over(
    app: asyncpg.Connection, ledger: Crashing, pool: asyncpg.Pool
) -> None:
    class Broken(Ledger):
        async def post(self, book_id: int, entry: JournalEntry) -> PostingResult:
            raise InvariantBroken(f"{book_id} {entry.key}")

    await post_entries(app, BOOK, [received(100), sent(70)])
    with pytest.raises(InvariantBroken):
        await settle_transfers(app, Broken(pool), BOOK)
    assert await settle_transfers(app, ledger, BOOK) == (1, 2)


async def test_two_books_may_use_the_same_id(app: asyncpg.Connection, ledger: Crashing) -> None:
    same = uuid4()
    for book in (BOOK, 1002):
        await post_entries(app, book, [received(100)])
        assert isinstance(await transfer(ledger, wanted(70, book, transfer_id=same)), Posted)
    assert [await held(app, book) for book in BOOKS] == [30, 140, 30]
    for book in (BOOK, 1002):
        assert await clearing_left(app, (book, 1001), ["THB"]) == {}
