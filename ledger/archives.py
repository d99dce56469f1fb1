"""Archived months: what the books go on from when the rows of a closed month are away."""

from collections.abc import Awaitable, Callable
from datetime import date, datetime
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from ledger.checks import Head, Problems, Start
from ledger.errors import MonthArchived
from ledger.posting import Connection
from ledger.queries import QUERIES

T = TypeVar("T")


class Archive(msgspec.Struct, frozen=True, kw_only=True):
    """The newest month of a book that is away.

    Attributes:
        month: its first day.
        head: the book's newest block then.
        last_day: the latest business date of all that was archived so far.
    """

    month: date
    head: Head
    last_day: date


class ArchivePlace(StrEnum):
    """Where the rows of a month that was archived are now."""

    BOOKS = "books"
    """It was restored."""
    ARCHIVE = "ledger_archive"
    """In tables of that schema, from where it can be restored at once."""
    EXPORT = "export"
    """In the files of its export only."""


class ArchivedMonth(msgspec.Struct, frozen=True, kw_only=True):
    """A month of a book that was archived, also where it was restored since.

    Attributes:
        month: its first day.
        head_hash: of the book's last block in the month.
        merkle_root: over its block hashes of the month, RFC 6962.
        manifest_hash: SHA-256 of the manifest of the first export.
    """

    book_id: int
    month: date
    first_sequence: int
    last_sequence: int
    head_hash: bytes
    merkle_root: bytes
    manifest_hash: bytes
    archived_at: datetime
    place: ArchivePlace


async def archived_months(connection: Connection) -> list[ArchivedMonth]:
    """Every month that was archived, of every book, oldest first."""
    rows = await connection.fetch(QUERIES["archived_months"])
    return [ArchivedMonth(**{**row, "place": ArchivePlace(row["place"])}) for row in rows]


async def newest_archive(connection: Connection, book_id: int) -> Archive | None:
    """The month that the books go on from; None while every month is in the books."""
    row: Any = await connection.fetchrow(QUERIES["newest_archive"], book_id)
    if row is None:
        return None
    head = Head(
        block_number=row["last_block"],
        recorded_at=row["ends_at"],
        last_sequence=row["last_sequence"],
        hash=row["head_hash"],
        incarnation=row["incarnation"],
    )
    return Archive(month=row["month"], head=head, last_day=row["last_day"])


async def archive_before(
    connection: Connection,
    book_id: int,
    *,
    cut: int | None = None,
    from_on: date | None = None,
    to_on: date | None = None,
) -> Archive | None:
    """The archive that an answer up to a cut, about business dates from … to, has to be built upon.

    Raises:
        MonthArchived: the cut lies in the archive, or the dates would divide it.
    """
    archive = await newest_archive(connection, book_id)
    if archive is None:
        return None
    refuse_archived(cut, archived_through=archive.head.last_sequence, month=archive.month)
    if (from_on is not None and from_on <= archive.last_day) or (to_on is not None and to_on < archive.last_day):
        raise MonthArchived(f"business dates up to {archive.last_day} were archived with {archive.month:%Y-%m}")
    return archive


async def over_one_archive(
    connection: Connection,
    book_id: int,
    ask: Callable[[Archive | None], Awaitable[T]],
    *,
    cut: int | None = None,
    from_on: date | None = None,
    to_on: date | None = None,
) -> T:
    """What `ask` finds, told of the archive to build upon; for answers of more than one statement.

    Between two statements a month may go away or come back. Then it is asked again, so that nothing is left out.

    Raises:
        MonthArchived: as `archive_before` does.
    """
    while True:
        archive = await archive_before(connection, book_id, cut=cut, from_on=from_on, to_on=to_on)
        answer = await ask(archive)
        if await newest_archive(connection, book_id) == archive:
            return answer


def refuse_archived(cut: int | None, *, archived_through: int | None, month: date | None) -> None:
    """A cut before the end of the newest month that is away, None where none is, cannot be answered.

    Raises:
        MonthArchived: the cut lies in the archive.
    """
    if cut is not None and archived_through is not None and cut < archived_through:
        raise MonthArchived(f"entries up to {archived_through} were archived with {month:%Y-%m}: {cut} is among them")


async def verification_start(connection: Connection, book_id: int) -> Start:
    """Where verification begins: before genesis, or at the end of the newest month that is away."""
    archive = await newest_archive(connection, book_id)
    if archive is None:
        return Start()
    balances = await connection.fetch(QUERIES["archived_balances"], book_id, archive.month)
    draws = await connection.fetch(QUERIES["archived_draws"], book_id, archive.month)
    return Start(
        head=archive.head,
        totals={
            row["account_id"]: (row["debits_posted"], row["credits_posted"], row["last_sequence"]) for row in balances
        },
        held={row["account_id"]: (row["debits_held"], row["credits_held"]) for row in balances},
        drawn={row["sequence"]: row["drawn_minor"] for row in draws},
    )


async def archives(connection: Connection, book_id: int, cut: int) -> Problems:  # noqa: ARG001
    """Archived months follow each other and their balances are balanced; the last block and all contents were kept."""
    problems = Problems()
    for row in await connection.fetch(QUERIES["archives_in_order"], book_id):
        problems.rows += 1
        month = f"{row['month']:%Y-%m}"
        if (row["first_sequence"], row["first_block"]) != (row["last_before"] + 1, row["block_before"] + 1):
            problems.add(f"the archive of {month} does not follow the one before")
        if row["difference_minor"] != 0:
            problems.add(f"the archived balances of {month} do not add up")
        if row["kept_hash"] != row["head_hash"]:
            problems.add(f"the block at the end of {month} is not the archived one")
        entries = row["first_sequence"], row["last_sequence"]
        if await connection.fetchval(QUERIES["archived_contents_hash"], book_id, *entries) != row["contents_hash"]:
            problems.add(f"what was kept of the contents of {month} is not what it was")
    return problems
