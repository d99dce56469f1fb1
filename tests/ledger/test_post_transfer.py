"""One amount between two accounts goes the short way: the same answer and the same rows as by the long one, always.

Each situation is made in two books. One side knows its accounts' numbers and posts by `post_transfer_v1`, the other
names them and posts by `post_entries_v1`.
"""

from collections.abc import Awaitable, Callable
from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from ledger.accounts import close_account, freeze_account, limit_account, open_book
from ledger.encoding import AccountNumbers, transfer_arguments_of
from ledger.errors import AccountNumbersStale, BookNotFound
from ledger.holds import place_hold
from ledger.journal import EntryKind, ExternalReference, JournalEntry, LinkedGroup, Posted, PostingResult, Refused, UpTo
from ledger.periods import begin_closing, define_periods
from ledger.posting import POST_TRANSFER, post_entries
from ledger.verification import verify
from tests.ledger.entries import (
    AUTHORISING,
    AVAILABLE,
    BANK,
    BOOK,
    CLEARING,
    DAY,
    FEES,
    PAYOUTS,
    PENDING,
    entry,
    paid_out,
    posting,
    received,
)

TWIN = 2000
BY = {"actor": "op_1", "reason": "test"}
USED = UUID(int=2 << 100 | 7 << 76 | 2 << 62)
FIRST = (received(1_000, key=USED), received(1, to=CLEARING), received(1, to=FEES), paid_out(100))
TABLES = ("idempotency_keys", "entries", "postings", "blocks", "accounts", "account_days")
UNLIKE = (
    "book_id",
    "recorded_at",
    "opened_at",
    "previous_hash",
    "hash",
    "key",
    "account_id",
    "debit_account",
    "credit_account",
)

Situation = Callable[[asyncpg.Connection, int], Awaitable[Any]]


async def nothing(app: asyncpg.Connection, book_id: int) -> None: ...


async def frozen(app: asyncpg.Connection, book_id: int) -> None:
    assert await freeze_account(app, book_id, AVAILABLE, debits=True, credits_=True, **BY)


async def closed(app: asyncpg.Connection, book_id: int) -> None:
    await post_entries(app, book_id, [entry(posting(CLEARING, BANK, 1))])
    assert await close_account(app, book_id, CLEARING, **BY) is None


async def limited(app: asyncpg.Connection, book_id: int) -> None:
    assert await limit_account(app, book_id, BANK, floor_minor=None, ceiling_minor=2_000, **BY) is None


async def held(app: asyncpg.Connection, book_id: int) -> None:
    hold = place_hold(key=uuid4(), posting=posting(AVAILABLE, PAYOUTS, 500), effective_on=DAY)
    assert isinstance((await post_entries(app, book_id, [hold]))[0], Posted)


async def closing(app: asyncpg.Connection, book_id: int, through: date = DAY) -> None:
    assert await define_periods(app, book_id, [(DAY.replace(day=1), through)], **BY) is None
    assert await begin_closing(app, book_id, ends_on=through, **BY) is None


async def closed_before(app: asyncpg.Connection, book_id: int) -> None:
    await closing(app, book_id, DAY - timedelta(days=1))


async def big(app: asyncpg.Connection, book_id: int) -> None:
    assert isinstance((await post_entries(app, book_id, [entry(posting(BANK, CLEARING, 1 << 61))]))[0], Posted)


async def nearly_full(app: asyncpg.Connection, book_id: int) -> None:
    for amount_minor in (1 << 61, 1 << 61, 1 << 61, 10):
        [posted] = await post_entries(app, book_id, [entry(posting(BANK, CLEARING, amount_minor))])
        assert isinstance(posted, Posted)


SHORT: list[tuple[str, Situation, JournalEntry]] = [
    ("a fact", nothing, received(5, metadata=b"\x00\xff", caller="acct_1")),
    ("as much as the floor leaves", nothing, paid_out(900)),
    ("as much as a hold leaves", held, paid_out(400)),
    ("as much as the ceiling leaves", limited, received(998, kind=AUTHORISING)),
    ("after a period that closes", closed_before, received(5)),
]
LONG: list[tuple[str, Situation, JournalEntry]] = [
    ("key used for the same", nothing, FIRST[0]),
    ("key used for another", nothing, received(5, key=USED)),
    ("below the floor", nothing, paid_out(901)),
    ("a fact below the floor", nothing, entry(posting(AVAILABLE, BANK, 901))),
    ("more than a hold leaves", held, paid_out(401)),
    ("above the ceiling", limited, received(999, kind=AUTHORISING)),
    ("a fact above the ceiling", limited, received(999)),
    ("frozen", frozen, received(5, kind=AUTHORISING)),
    ("a fact on a frozen account", frozen, received(5)),
    ("closed", closed, received(5, to=CLEARING, kind=AUTHORISING)),
    ("a fact on a closed account", closed, received(5, to=CLEARING)),
    ("in a closing period", closing, received(5, kind=AUTHORISING)),
    ("a fact in a closing period", closing, received(5)),
    ("an earlier day", nothing, received(5, effective_on=DAY - timedelta(days=1))),
    ("a later day", nothing, received(5, effective_on=DAY + timedelta(days=1))),
    ("nothing", nothing, received(0)),
    ("less than nothing", nothing, received(-5)),
    ("no such kind", nothing, msgspec.structs.replace(received(5), kind=5)),
    ("beyond bigint", big, entry(posting(BANK, CLEARING, (1 << 63) - 1))),
    ("totals beyond bigint", nearly_full, entry(posting(BANK, CLEARING, (1 << 61) - 1))),
    ("totals that are large", big, entry(posting(BANK, CLEARING, 1))),
]
"""(What, what was before, entry); the long ones are decided by post_entries_v1."""


async def prepared(app: asyncpg.Connection, situation: Situation) -> AccountNumbers:
    """Both books with the same history; the numbers of the first one's accounts."""
    await open_book(app, TWIN, code="twin", mode="test")
    numbers = AccountNumbers()
    for book_id, side in ((BOOK, numbers), (TWIN, None)):
        for each in FIRST:
            await post_entries(app, book_id, [each, each], numbers=side)
        await situation(app, book_id)
    # Whoever looked them up once knows them.
    await post_entries(app, BOOK, [FIRST[0], FIRST[1], FIRST[2], FIRST[3]], numbers=numbers)
    return numbers


async def rows(app: asyncpg.Connection, table: str, book_id: int) -> list[str]:
    """Every row but what differs from book to book; accounts by totals, since numbers are the book's own."""
    found = await app.fetch(
        f"SELECT (to_jsonb(t) - $2::text[])::text AS line FROM ledger.{table} AS t WHERE t.book_id = $1 ORDER BY 1",
        book_id,
        UNLIKE,
    )
    return [row["line"] for row in found]


def comparable(result: PostingResult) -> PostingResult:
    return msgspec.structs.replace(result, recorded_at=None) if isinstance(result, Posted) else result


@pytest.mark.parametrize(
    ("situation", "given"), [case[1:] for case in SHORT + LONG], ids=[case[0] for case in SHORT + LONG]
)
async def test_both_ways_answer_and_write_the_same(
    situation: Situation, given: JournalEntry, app: asyncpg.Connection
) -> None:
    numbers = await prepared(app, situation)
    assert transfer_arguments_of(given, numbers) is not None
    for _ in range(2):  # the second time is a replay, or the same refusal again
        [short] = await post_entries(app, BOOK, [given], numbers=numbers)
        [long] = await post_entries(app, TWIN, [given])
        assert comparable(short) == comparable(long)
    for table in TABLES:
        assert await rows(app, table, BOOK) == await rows(app, table, TWIN), table
    for book_id in (BOOK, TWIN):
        report = await verify(app, book_id)
        assert [check.name for check in report.checks if not check.passed] == []


@pytest.mark.parametrize(
    ("situation", "given", "is_short"),
    [(*case[1:], cases is SHORT) for cases in (SHORT, LONG) for case in cases],
    ids=[case[0] for case in SHORT + LONG],
)
async def test_only_what_asks_for_a_rule_goes_the_long_way(
    situation: Situation, given: JournalEntry, is_short: bool, app: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    numbers = await prepared(app, situation)
    await superuser.execute("SET track_functions = 'all'")
    async with superuser.transaction():
        [result] = await post_entries(superuser, BOOK, [given], numbers=numbers)
        calls = await superuser.fetch(
            "SELECT coalesce(pg_stat_get_xact_function_calls(oid), 0) AS calls FROM pg_proc"
            " WHERE proname IN ('post_transfer_v1', 'post_entries_v1') ORDER BY proname DESC"
        )
    assert [row["calls"] for row in calls] == [1, 0 if is_short else 1]
    assert isinstance(result, Posted if is_short else Posted | Refused)


@pytest.mark.parametrize(
    "given",
    [
        entry(),
        entry(posting(BANK, BANK, 5)),
        entry(posting(BANK, AVAILABLE, 5), posting(BANK, AVAILABLE, 5)),
        received(5, to=PENDING),
        received(5, references=(ExternalReference("bank", "1"),)),
        received(5, drawable_minor=5),
        received(5, reverses=USED, kind=EntryKind.ENTRY_REVERSED),
        entry(msgspec.structs.replace(posting(BANK, AVAILABLE, 5), up_to=UpTo.DEBIT_LIMIT)),
        received(5, to=msgspec.structs.replace(AVAILABLE, owner="somebody new")),
    ],
    ids=["no posting", "one account", "two", "pending", "named", "drawable", "reversal", "up to", "an unknown account"],
)
async def test_what_is_more_than_an_amount_is_no_transfer(given: JournalEntry, app: asyncpg.Connection) -> None:
    numbers = await prepared(app, nothing)
    numbers.learn(PENDING, 1)
    assert transfer_arguments_of(given, numbers) is None


async def test_group_of_one_is_a_group(app: asyncpg.Connection) -> None:
    numbers = await prepared(app, nothing)
    [posted] = await post_entries(app, BOOK, [LinkedGroup((received(5),))], numbers=numbers)
    assert isinstance(posted, Posted)
    assert await app.fetchval("SELECT group_first FROM ledger.entries WHERE group_first = sequence") == posted.sequence


async def test_number_that_became_another_accounts_is_refused_and_forgotten(app: asyncpg.Connection) -> None:
    numbers = await prepared(app, nothing)
    [(bank, _)] = [each for each in numbers.of_all([BANK]) if each]
    numbers.learn(AVAILABLE, bank)
    given = received(5)
    before = await rows(app, "entries", BOOK)
    with pytest.raises(AccountNumbersStale):
        await post_entries(app, BOOK, [given], numbers=numbers)
    assert await rows(app, "entries", BOOK) == before
    assert numbers.of_all([BANK, AVAILABLE]) == [None, None]
    [posted] = await post_entries(app, BOOK, [given], numbers=numbers)
    assert isinstance(posted, Posted)


async def test_no_such_book_and_one_account_twice_are_errors_that_move_nothing(app: asyncpg.Connection) -> None:
    numbers = await prepared(app, nothing)
    with pytest.raises(BookNotFound):
        await post_entries(app, 1, [received(5)], numbers=numbers)
    arguments = list(transfer_arguments_of(received(5), numbers) or ())
    arguments[8], arguments[10] = arguments[7], arguments[9]
    before = await rows(app, "accounts", BOOK)
    with pytest.raises(asyncpg.PostgresError) as refused:
        await app.fetchval(POST_TRANSFER, BOOK, *arguments)
    assert refused.value.sqlstate == "QK004"
    assert await rows(app, "accounts", BOOK) == before


@pytest.mark.parametrize("isolation", ["repeatable_read", "serializable"])
async def test_older_snapshot_is_refused(isolation: str, app: asyncpg.Connection) -> None:
    numbers = await prepared(app, nothing)
    with pytest.raises(AssertionError, match="READ COMMITTED"):
        async with app.transaction(isolation=isolation):
            await post_entries(app, BOOK, [received(5)], numbers=numbers)


async def test_nothing_can_be_written_after_it(app: asyncpg.Connection) -> None:
    numbers = await prepared(app, nothing)
    with pytest.raises(AssertionError, match="called wrongly"):
        async with app.transaction():
            await post_entries(app, BOOK, [received(5)], numbers=numbers)
            await post_entries(app, BOOK, [received(6)], numbers=numbers)
    assert await app.fetchval("SELECT count(*) FROM ledger.entries WHERE book_id = $1", BOOK) == len(FIRST)
