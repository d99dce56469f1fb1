"""Committed entries in order, with a cursor that cannot skip: order of sequence is order of commit."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from ledger.archives import archive_before
from ledger.balances import columns_of
from ledger.encoding import account_ref
from ledger.journal import AccountRef, EntryKind, ExternalReference, HoldAction
from ledger.posting import Connection
from ledger.queries import QUERIES

SEQUENCE_MAX: Final = 2**63 - 1


class RecordedPosting(msgspec.Struct, frozen=True, kw_only=True):
    """A posting as the books hold it.

    Attributes:
        line: number within the entry, from 1.
        debit_balance_after: the debit account's balance after this posting, on its normal side.
        credit_balance_after: the credit account's balance after this posting, on its normal side.
        reverses_line: in a reversal, the line of the original that this posting undoes.
        up_to_minor: what a balancing posting asked for; `amount_minor` is what there was.
    """

    sequence: int
    line: int
    debit: AccountRef
    credit: AccountRef
    amount_minor: int
    available_on: date | None
    debit_balance_after: int
    credit_balance_after: int
    reverses_line: int | None = None
    up_to_minor: int | None = None


class RecordedEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry as the books hold it.

    Attributes:
        draws_on: sequence of the entry that this one draws on.
        drawn_minor: > 0 drew on it, < 0 gave a draw back.
        drawable_minor: how much later entries may draw on this one.
        booked_on: first open day of the books, where the business date lay in a period that was closing or closed.
        occurred_at: for imported history, when it happened elsewhere.
        group_first: first sequence of the linked group that this entry was posted with.
        reverses: sequence of the entry that this one undoes.
        hold_action: what this entry did to a hold.
        hold: sequence of the entry that placed the hold which this one resolves.
    """

    sequence: int
    key: UUID
    kind: EntryKind
    effective_on: date
    recorded_at: datetime
    postings: tuple[RecordedPosting, ...]
    references: tuple[ExternalReference, ...]
    metadata: bytes
    caller: str
    draws_on: int | None
    drawn_minor: int | None
    drawable_minor: int | None
    block_number: int
    booked_on: date | None = None
    occurred_at: datetime | None = None
    group_first: int | None = None
    reverses: int | None = None
    hold_action: HoldAction | None = None
    hold: int | None = None


class PendingMark(NamedTuple):
    """A promise about the days through `through`, apart from `open_days`.

    What they sum to at sequence `cut` is nothing, or has been or will be taken out by entries of its own after the
    cut. So a day that no later entry touches has no open sum.
    """

    cut: int
    through: date
    open_days: tuple[date, ...]


class PendingDay(NamedTuple):
    """What is still pending of a merchant's money that becomes available on a day. Never zero."""

    owner: str
    currency: str
    available_on: date
    amount_minor: int


async def head(connection: Connection, book_id: int) -> int:
    """The last sequence of the book; 0 when nothing was posted or there is no such book."""
    return await connection.fetchval(QUERIES["head"], book_id) or 0


async def read_entries(connection: Connection, book_id: int, *, after: int, limit: int) -> list[RecordedEntry]:
    """The next entries after a sequence, oldest first. Follow with `after` = the last sequence got.

    Raises:
        MonthArchived: the next entry is not in the books any more.
    """
    rows = await connection.fetch(QUERIES["entries_after"], book_id, after, limit)
    if not rows or rows[0]["sequence"] != after + 1:
        await archive_before(connection, book_id, cut=after)
    return await _whole(connection, book_id, rows)


async def entry_by_key(connection: Connection, book_id: int, key: UUID) -> RecordedEntry | None:
    """The entry posted under a key.

    Raises:
        MonthArchived: it was posted, and is not in the books any more.
    """
    found = await _whole(connection, book_id, await connection.fetch(QUERIES["entry_by_key"], book_id, key))
    if found:
        return found[0]
    for row in await connection.fetch(QUERIES["keys_at"], book_id, [key]):
        await archive_before(connection, book_id, cut=row["sequence"] - 1)
    return None


async def entry_by_sequence(connection: Connection, book_id: int, sequence: int) -> RecordedEntry | None:
    """The entry with a sequence.

    Raises:
        MonthArchived: it is not in the books any more.
    """
    found = await entries_at(connection, book_id, [sequence])
    if found:
        return found[0]
    if sequence > 0:
        await archive_before(connection, book_id, cut=sequence - 1)
    return None


async def entries_at(connection: Connection, book_id: int, sequences: Sequence[int]) -> list[RecordedEntry]:
    """The entries with these sequences, oldest first."""
    return await _whole(connection, book_id, await connection.fetch(QUERIES["entries_at"], book_id, list(sequences)))


async def entries_by_reference(
    connection: Connection, book_id: int, scheme: str, values: Sequence[str]
) -> dict[str, list[RecordedEntry]]:
    """The entries that carry each of these references, oldest first; values without any are absent.

    Raises:
        MonthArchived: one of them is not in the books any more.
    """
    rows = await connection.fetch(QUERIES["sequences_by_reference"], book_id, scheme, list(values))
    found = await entries_at(connection, book_id, sorted({row["sequence"] for row in rows}))
    entries = {entry.sequence: entry for entry in found}
    for row in rows:
        if row["sequence"] not in entries:
            await archive_before(connection, book_id, cut=row["sequence"] - 1)
    by_value: dict[str, list[RecordedEntry]] = defaultdict(list)
    for row in rows:
        by_value[row["value"]].append(entries[row["sequence"]])
    return dict(by_value)


async def account_postings(
    connection: Connection,
    book_id: int,
    accounts: Sequence[AccountRef],
    *,
    before: int | None = None,
    after: int | None = None,
    limit: int,
) -> list[RecordedPosting]:
    """Postings that touch any of the accounts, newest first.

    Args:
        connection: any snapshot.
        book_id: the book.
        accounts: those never used add nothing.
        before: only entries before this sequence (the next page: the last sequence got).
        after: only entries after this sequence.
        limit: how many at least, if there are; an entry's postings are never cut in two, so it may be a few more.
    """
    ids = await connection.fetch(QUERIES["account_ids"], book_id, *columns_of(accounts))
    rows = await connection.fetch(
        QUERIES["account_postings"],
        book_id,
        [row["account_id"] for row in ids],
        SEQUENCE_MAX if before is None else before,
        after or 0,
        limit,
    )
    return [_posting(row) for row in rows]


async def pending_by_day(
    connection: Connection, book_id: int, *, through: date, since: PendingMark | None = None
) -> list[PendingDay]:
    """What is still pending and due by a day, for each merchant, currency and day; oldest day first.

    A day is added up whole or not at all, so the sums are exact for late entries of any age. With a mark only those
    days are added up that can have an open sum; without one, every day of the book.

    Args:
        connection: in a snapshot, where the answer must belong to one head.
        book_id: the book.
        through: the last day asked about.
        since: what an earlier caller has seen to.
    """
    seen = since or PendingMark(cut=SEQUENCE_MAX, through=date.min, open_days=())
    rows = await connection.fetch(
        QUERIES["pending_days"], book_id, through, seen.cut, seen.through, list(seen.open_days)
    )
    rows = await connection.fetch(QUERIES["pending_by_day"], book_id, [row["available_on"] for row in rows])
    return [PendingDay(row["owner"], row["currency"], row["available_on"], row["amount_minor"]) for row in rows]


async def pending_on(connection: Connection, book_id: int, account: AccountRef, day: date) -> int:
    """What of one merchant's pending account is still pending for a day, in minor units; zero once it was moved.

    Of days in months that were archived nothing is known.
    """
    rows = await connection.fetch(QUERIES["account_ids"], book_id, *columns_of([account]))
    if not rows:
        return 0
    amount_minor: int = await connection.fetchval(QUERIES["pending_on_day"], book_id, rows[0]["account_id"], day)
    return amount_minor


async def _whole(connection: Connection, book_id: int, rows: Sequence[Any]) -> list[RecordedEntry]:
    """Entries with their postings and references, in two more statements however many entries."""
    if not rows:
        return []
    sequences = [row["sequence"] for row in rows]
    times = [row["recorded_at"] for row in rows]
    postings = _by_sequence(await connection.fetch(QUERIES["postings_of"], book_id, sequences, min(times), max(times)))
    for row in rows:  # one without its postings: its month went away between the two statements
        if row["hold_action"] in {None, HoldAction.POST} and row["sequence"] not in postings:
            await archive_before(connection, book_id, cut=row["sequence"] - 1)
    references = _by_sequence(await connection.fetch(QUERIES["references_of"], book_id, sequences))
    return [_entry(row, postings[row["sequence"]], references[row["sequence"]]) for row in rows]


def _by_sequence(rows: Iterable[Any]) -> defaultdict[int, list[Any]]:
    grouped: defaultdict[int, list[Any]] = defaultdict(list)
    for row in rows:
        grouped[row["sequence"]].append(row)
    return grouped


def _entry(row: Any, postings: Sequence[Any], references: Sequence[Any]) -> RecordedEntry:
    return RecordedEntry(
        sequence=row["sequence"],
        key=row["key"],
        kind=EntryKind(row["kind"]),
        effective_on=row["effective_on"],
        recorded_at=row["recorded_at"],
        postings=tuple(map(_posting, postings)),
        references=tuple(ExternalReference(each["scheme"], each["value"]) for each in references),
        metadata=row["metadata"],
        caller=row["caller"],
        draws_on=row["draws_on"],
        drawn_minor=row["drawn_minor"],
        drawable_minor=row["drawable_minor"],
        block_number=row["block_number"],
        booked_on=row["booked_on"],
        occurred_at=row["occurred_at"],
        group_first=row["group_first"],
        reverses=row["reverses"],
        hold_action=row["hold_action"] and HoldAction(row["hold_action"]),
        hold=row["hold"],
    )


def _posting(row: Any) -> RecordedPosting:
    return RecordedPosting(
        sequence=row["sequence"],
        line=row["line"],
        debit=account_ref(row["debit_kind"], row["debit_owner"], row["currency"]),
        credit=account_ref(row["credit_kind"], row["credit_owner"], row["currency"]),
        amount_minor=row["amount_minor"],
        available_on=row["available_on"],
        debit_balance_after=row["debit_balance_after"],
        credit_balance_after=row["credit_balance_after"],
        reverses_line=row["reverses_line"],
        up_to_minor=row["up_to_minor"],
    )
