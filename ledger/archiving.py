"""Archiving a closed month: verified, exported to files that can be verified alone, and taken out of the books."""

import hashlib
from collections.abc import Callable, Sequence
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import asyncpg
import msgspec

from ledger.archived_exports import MANIFEST, BookOfExport, Manifest
from ledger.errors import ArchivingRefused
from ledger.month_exports import Progress, export_month, prove_export, said_to_nobody
from ledger.months import months_made
from ledger.posting import CONNECTION_LOST, Connection, ledger_error
from ledger.queries import QUERIES
from ledger.verification import verify

REFUSED: Final = "QK007"
ENTRIES_AT_ONCE: Final = 12_000
"""As archive_contents_v1 wants it: whole rows of 120."""


class MonthState(msgspec.Struct, frozen=True, kw_only=True):
    """A month that is in the books.

    Attributes:
        month: its first day.
        obstacles: why it cannot be archived now, in words, most general first; nothing: it can.
    """

    month: date
    obstacles: tuple[str, ...]


async def months_in_books(connection: Connection, *, at: datetime) -> list[MonthState]:
    """Every month that is in the books, oldest first, with what keeps it there.

    Args:
        connection: of a role that may read the books.
        at: the moment asked about.
    """
    return [
        MonthState(month=month, obstacles=await obstacles(connection, month, at=at))
        for month in sorted(await months_made(connection))
    ]


async def obstacles(connection: Connection, month: date, *, at: datetime) -> tuple[str, ...]:
    """Why a month cannot be archived at a moment, in words, most general first; nothing: it can.

    Args:
        connection: of a role that may read the books.
        month: any day of it, in UTC.
        at: the moment asked about.
    """
    return tuple(row["reason"] for row in await connection.fetch(QUERIES["archive_refusals"], month, at))


async def archive_month(
    owner: Connection,
    month: date,
    *,
    folder: Path,
    actor: str,
    reason: str,
    readers: Sequence[Connection] = (),
    progress: Progress = said_to_nobody,
) -> Manifest:
    """Verify every book of a month, export the month, prove the export, then take the month out of the books.

    Before the last step hashes of the entries' contents are kept, so that a repeated one is still known. The export
    stays where it was written when a later step is refused. Posting waits only for the last step, which detaches three
    partitions in one transaction.

    Args:
        owner: of the owner of the books, outside any transaction; for the last two steps only.
        month: any day of it, in UTC.
        folder: new folder for the export; its parent is there.
        actor: who archives, for the record.
        reason: why, for the record.
        readers: one connection or more, outside any transaction, of a role that may read the books; none = the
            owner's.
        progress: called after each piece of the work.

    Raises:
        ArchivingRefused: a book does not verify, or the month is too new, not closed, holds an open hold, or an older
            one is still in the books. Nothing was changed.
        LedgerBusy: the last step waited too long for those who post; nothing was changed.
    """
    reader, *beside = readers or [owner]
    if found := await obstacles(reader, month, at=await reader.fetchval("SELECT clock_timestamp()")):
        raise ArchivingRefused("; ".join(found))
    manifest = await export_month(reader, month, folder=folder, progress=progress)
    for book in manifest.books:
        verifying = partial(progress, f"verifying book {book.book_id}")
        report = await verify(reader, book.book_id, beside=beside, progress=verifying)
        if not report.passed:
            broken = ", ".join(check.name for check in report.checks if not check.passed)
            raise ArchivingRefused(f"book {book.book_id} does not verify: {broken}")
    progress("proving the export", 0, 1)
    await prove_export(folder)
    for book in manifest.books:
        await _keep_contents(owner, book, partial(progress, f"keeping contents of book {book.book_id}"))
    await _called(
        owner,
        "SELECT ledger.archive_month_v1($1, $2, $3, $4, $5, $6, $7)",
        month,
        [book.book_id for book in manifest.books],
        [bytes.fromhex(book.head_hash) for book in manifest.books],
        [bytes.fromhex(book.merkle_root) for book in manifest.books],
        hashlib.sha256((folder / MANIFEST).read_bytes()).digest(),
        actor,
        reason,
    )
    return manifest


async def restore_month(owner: Connection, month: date, *, actor: str, reason: str) -> None:
    """Take the newest archived month back into the books, from its tables in the schema `ledger_archive`.

    Args:
        owner: of the owner of the books.
        month: any day of it, in UTC.
        actor: who restores, for the record.
        reason: why, for the record.

    Raises:
        ArchivingRefused: it is not the newest archived month, or its tables are not there.
        LedgerBusy: it waited too long for those who post; nothing was changed.
    """
    await _called(owner, "SELECT ledger.restore_month_v1($1, $2, $3)", month, actor, reason)


async def _keep_contents(owner: Connection, book: BookOfExport, progress: Callable[[int, int], None]) -> None:
    total = book.last_sequence - book.first_sequence + 1
    for first in range(book.first_sequence, book.last_sequence + 1, ENTRIES_AT_ONCE):
        last = min(first + ENTRIES_AT_ONCE - 1, book.last_sequence)
        await _called(owner, "SELECT ledger.archive_contents_v1($1, $2, $3)", book.book_id, first, last)
        progress(last - book.first_sequence + 1, total)


async def _called(connection: Connection, sql: str, *arguments: Any) -> None:
    try:
        await connection.execute(sql, *arguments)
    except asyncpg.PostgresError as error:
        raise (ArchivingRefused(str(error)) if error.sqlstate == REFUSED else ledger_error(error)) from error
    except CONNECTION_LOST as error:
        raise ledger_error(error) from error
