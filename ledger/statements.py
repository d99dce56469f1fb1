"""The statement of one account: opening balance, lines with the balance after each, closing balance, page by page.

By sequence it says what was recorded between two entries; by dates what happened between two business dates, as the
books had it at a cut. Lines stand in the order of the record, so a page once read never changes.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from ledger.archives import Archive, newest_archive, over_one_archive, refuse_archived
from ledger.balances import balances_effective, on_normal_side
from ledger.chart_of_accounts import CHART
from ledger.encoding import account_ref
from ledger.feed import head
from ledger.journal import AccountRef, EntryKind
from ledger.posting import Connection
from ledger.queries import QUERIES

PAGE_LINES: Final = 100
RECORDED_BEFORE: Final = timedelta(days=2)
RECORDED_AFTER: Final = timedelta(days=8)
"""When the entries of a business date are nearly always recorded: statements of banks come some days later."""


class StatementCursor(msgspec.Struct, frozen=True):
    """Where a page ended, as text in `encode`.

    Attributes:
        cut: what the whole statement is about: entries up to this sequence.
        through: no line comes after this sequence.
        sequence: the last entry shown.
        balance_minor: the balance after it.
    """

    cut: int
    through: int
    sequence: int
    balance_minor: int

    def encode(self) -> str:
        """Opaque to callers."""
        return f"{self.cut}.{self.through}.{self.sequence}.{self.balance_minor}"

    @classmethod
    def decode(cls, text: str) -> "StatementCursor":
        """The inverse of `encode`.

        Raises:
            ValueError: it is no cursor.
        """
        cut, through, sequence, balance_minor = (int(part) for part in text.split("."))
        return cls(cut, through, sequence, balance_minor)


class StatementLine(msgspec.Struct, frozen=True, kw_only=True):
    """A posting as the account sees it.

    Attributes:
        line: number of the posting within its entry.
        other: the account on the other side.
        debit_minor: the amount where it was debited, else 0.
        credit_minor: the amount where it was credited, else 0.
        balance_minor: after this line, on the account's normal side.
    """

    sequence: int
    line: int
    key: UUID
    kind: EntryKind
    effective_on: date
    recorded_at: datetime
    other: AccountRef
    debit_minor: int
    credit_minor: int
    balance_minor: int


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """One page; opening and closing are those of the whole statement.

    Attributes:
        cut: entries up to this sequence; give it again and the statement is the same.
        next: where the next page begins; None on the last.
    """

    account: AccountRef
    cut: int
    opening_minor: int
    lines: tuple[StatementLine, ...]
    closing_minor: int
    next: StatementCursor | None


async def statement(
    connection: Connection,
    book_id: int,
    account: AccountRef,
    *,
    after: int = 0,
    through: int | None = None,
    cursor: StatementCursor | None = None,
    limit: int = PAGE_LINES,
) -> Statement:
    """What was recorded on an account, by sequence.

    Args:
        connection: any snapshot.
        book_id: the book.
        account: one never used has an empty statement.
        after: opening is the balance after this entry.
        through: closing is the balance after this entry; None = the head.
        cursor: `next` of the page before.
        limit: most lines of a page; an entry is never cut in two, so one that is longer has a page of its own.
    """
    named = int(account.kind), account.owner, account.currency
    begins, ends, asked = (cursor.sequence, cursor.cut, after) if cursor else (after, through, None)
    while True:
        row: Any = await connection.fetchrow(QUERIES["statement_start"], book_id, *named, begins, ends, asked)
        cut, closing = row["cut"], row["closing_minor"]
        refuse_archived(min(after, cut), archived_through=row["archived_through"], month=row["archived_month"])
        bounds = begins, cursor.through if cursor else cut, row["after_at"], row["cut_at"]
        rows = await connection.fetch(QUERIES["statement_lines"], book_id, row["account_id"], *bounds, limit + 1)
        if await _archived_through(connection, book_id, rows) == row["archived_through"]:
            break  # no month went away or came back between the two
    # What the first page opens with stands in its first line; where there is none, nothing moved.
    opening = row["opening_minor"] if cursor else _before(account, rows[0]) if rows else closing
    start = cursor or StatementCursor(cut, cut, after, opening)
    return _page(account, start, rows, limit, opening=opening, closing=closing)


async def _archived_through(connection: Connection, book_id: int, rows: Sequence[Any]) -> int | None:
    """The last entry that was away when these lines were read."""
    if rows:
        archived_through: int | None = rows[0]["archived_through"]
        return archived_through
    archive = await newest_archive(connection, book_id)
    return None if archive is None else archive.head.last_sequence


async def statement_by_dates(
    connection: Connection,
    book_id: int,
    account: AccountRef,
    *,
    from_on: date,
    to_on: date,
    cut: int | None = None,
    cursor: StatementCursor | None = None,
    limit: int = PAGE_LINES,
) -> Statement:
    """What happened on an account between two business dates, both included, by the true date.

    Its lines are looked for where they should have been recorded, from some days before the first date to some days
    after the last. The account's days say what they must add up to, so a line recorded elsewhere is noticed: then
    the whole account is read.

    Args:
        connection: any snapshot.
        book_id: the book.
        account: one never used has an empty statement.
        from_on: opening is the balance before this day.
        to_on: closing is the balance at the end of this day.
        cut: what the books said at this sequence; None = the head.
        cursor: `next` of the page before; it brings its cut with it.
        limit: most lines of a page, as in `statement`.

    Raises:
        MonthArchived: the dates or the cut lie in an archived month.
    """
    cut = cursor.cut if cursor else await head(connection, book_id) if cut is None else cut
    before = from_on - timedelta(days=1)

    async def page(_: Archive | None) -> Statement:
        opening = (await balances_effective(connection, book_id, [account], before, cut))[account]
        closing = (await balances_effective(connection, book_id, [account], to_on, cut))[account]
        start = cursor
        if start is None:
            turnover = closing.debits_minor - opening.debits_minor, closing.credits_minor - opening.credits_minor
            after, through = await _stretch(
                connection, book_id, account, dates=(from_on, to_on), cut=cut, turnover=turnover
            )
            start = StatementCursor(cut, through, after, opening.balance_minor)
        bounds = book_id, await _number(connection, book_id, account), start.sequence, start.through
        rows = await connection.fetch(QUERIES["statement_lines_of_dates"], *bounds, from_on, to_on, limit + 1)
        return _page(account, start, rows, limit, opening=opening.balance_minor, closing=closing.balance_minor)

    return await over_one_archive(connection, book_id, page, cut=cut, from_on=from_on)


async def _stretch(
    connection: Connection,
    book_id: int,
    account: AccountRef,
    *,
    dates: tuple[date, date],
    cut: int,
    turnover: tuple[int, int],
) -> tuple[int, int]:
    """(after, through]: sequences between which every line of those dates was recorded.

    Proved by adding up: amounts are above zero, so what adds up to the whole turnover leaves nothing out.
    """
    if turnover == (0, 0):
        return cut, cut
    starts_at, ends_at = (datetime.combine(day, time(), UTC) for day in dates)
    after = await connection.fetchval(QUERIES["recorded_before"], book_id, starts_at - RECORDED_BEFORE) or 0
    through = await connection.fetchval(QUERIES["recorded_before"], book_id, ends_at + RECORDED_AFTER) or 0
    number = await _number(connection, book_id, account)
    row = await connection.fetchrow(QUERIES["statement_turnover"], book_id, number, after, min(through, cut), *dates)
    assert row is not None, "sums are one row"
    found = int(row["debits"]), int(row["credits"])
    return (after, min(through, cut)) if found == turnover else (0, cut)


async def _number(connection: Connection, book_id: int, account: AccountRef) -> int | None:
    number: int | None = await connection.fetchval(
        QUERIES["account_ids"], book_id, [int(account.kind)], [account.owner], [account.currency]
    )
    return number


def _page(
    account: AccountRef, start: StatementCursor, rows: Sequence[Any], limit: int, *, opening: int, closing: int
) -> Statement:
    """A page of rows of which there is one more than the page has, where there is another page."""
    shown, more = _whole_entries(rows, limit)
    lines = _lines(account, shown, start.balance_minor)
    return Statement(
        account=account,
        cut=start.cut,
        opening_minor=opening,
        lines=lines,
        closing_minor=closing,
        next=StatementCursor(start.cut, start.through, lines[-1].sequence, lines[-1].balance_minor) if more else None,
    )


def _whole_entries(rows: Sequence[Any], limit: int) -> tuple[Sequence[Any], bool]:
    """The rows of a page and whether there may be another; one entry alone may be longer than the page."""
    if len(rows) <= limit:
        return rows, False
    whole = [row for row in rows if row["sequence"] != rows[-1]["sequence"]]
    return whole or rows, True


def _before(account: AccountRef, row: Any) -> int:
    """The balance before a line."""
    balance_minor: int = row["balance_after"] - on_normal_side(CHART[account.kind].normal_side, *_sides(row))
    return balance_minor


def _sides(row: Any) -> tuple[int, int]:
    """What a line debits the account with, and what it credits it with: one of them is 0."""
    return (row["amount_minor"], 0) if row["debited"] else (0, row["amount_minor"])


def _lines(account: AccountRef, rows: Sequence[Any], balance_minor: int) -> tuple[StatementLine, ...]:
    side = CHART[account.kind].normal_side
    lines = []
    for row in rows:
        debit_minor, credit_minor = _sides(row)
        balance_minor += on_normal_side(side, debit_minor, credit_minor)
        lines.append(
            StatementLine(
                sequence=row["sequence"],
                line=row["line"],
                key=row["key"],
                kind=EntryKind(row["entry_kind"]),
                effective_on=row["effective_on"],
                recorded_at=row["recorded_at"],
                other=account_ref(row["kind"], row["owner"], row["currency"]),
                debit_minor=debit_minor,
                credit_minor=credit_minor,
                balance_minor=balance_minor,
            )
        )
    return tuple(lines)
