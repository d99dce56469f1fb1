"""Archiving a closed month: verified, exported to files that can be verified alone, and taken out of the books.

An export is a folder: `entries.csv.gz`, `postings.csv.gz`, `blocks.csv.gz`, `references.csv.gz`, `holds.csv.gz` (a
header line, text as PostgreSQL writes it, moments in UTC, bytes in hex, by book and sequence) and `manifest.json`: the
SHA-256 and number of rows of each file; for each book the range, the hash that it follows, its head hash and the Merkle
root over its block hashes (RFC 6962). `archived_exports.py` proves it with nothing but the files.
"""

import asyncio
import gzip
import hashlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg
import msgspec

from ledger.archived_exports import MANIFEST, BookOfExport, FileOfExport, Manifest, verify_export
from ledger.errors import ArchivingRefused
from ledger.merkle import MerkleRoot
from ledger.months import month_after
from ledger.posting import Connection
from ledger.queries import QUERIES
from ledger.verification import verify

REFUSED: Final = "QK007"
PARTITIONED: Final = ("entries", "postings", "blocks")
PROBLEMS_SHOWN: Final = 5
PIECE_BYTES: Final = 1 << 20
BY_SEQUENCE: Final = ("entries", "postings", "references", "holds")
ROWS_AT_ONCE: Final = 100_000
SETTINGS: Final = """SELECT set_config('TimeZone', 'UTC', true), set_config('DateStyle', 'ISO, YMD', true),
    set_config('bytea_output', 'hex', true)"""


async def archive_month(
    connection: Connection, month: date, *, folder: Path, actor: str, reason: str, beside: Sequence[Connection] = ()
) -> Manifest:
    """Verify every book of a month, export the month, prove the export, then take the month out of the books.

    The export stays where it was written when the last step is refused. Posting waits only for the last step, which
    detaches three partitions in one transaction.

    Args:
        connection: of the owner of the books, outside any transaction.
        month: any day of it, in UTC.
        folder: new folder for the export; its parent is there.
        actor: who archives, for the record.
        reason: why, for the record.
        beside: more connections, for verification.

    Raises:
        ArchivingRefused: a book does not verify, or the month is too new, not closed, holds an open hold, or an older
            one is still in the books. Nothing was changed.
    """
    manifest = await export_month(connection, month, folder=folder)
    for book in manifest.books:
        report = await verify(connection, book.book_id, beside=beside)
        if not report.passed:
            broken = ", ".join(check.name for check in report.checks if not check.passed)
            raise ArchivingRefused(f"book {book.book_id} does not verify: {broken}")
    problems = await asyncio.to_thread(verify_export, folder)
    if problems:
        raise ArchivingRefused(f"the export does not verify: {'; '.join(problems[:PROBLEMS_SHOWN])}")
    await _called(
        connection,
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


async def restore_month(connection: Connection, month: date, *, actor: str, reason: str) -> None:
    """Take the newest archived month back into the books, from its tables in the schema `ledger_archive`.

    Args:
        connection: of the owner of the books.
        month: any day of it, in UTC.
        actor: who restores, for the record.
        reason: why, for the record.

    Raises:
        ArchivingRefused: it is not the newest archived month, or its tables are not there.
    """
    await _called(connection, "SELECT ledger.restore_month_v1($1, $2, $3)", month, actor, reason)


async def load_export(connection: Connection, folder: Path) -> Manifest:
    """Make the tables of an archived month in `ledger_archive` again, from an export that proves itself.

    Args:
        connection: of the owner of the books.
        folder: the export.

    Raises:
        ArchivingRefused: the export does not verify.
    """
    problems = await asyncio.to_thread(verify_export, folder)
    if problems:
        raise ArchivingRefused(f"the export does not verify: {'; '.join(problems[:PROBLEMS_SHOWN])}")
    manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    suffix = manifest.month.replace("-", "_")
    async with connection.transaction():
        for name in PARTITIONED:
            table = f"{name}_{suffix}"
            await connection.execute(f"CREATE TABLE ledger_archive.{table} (LIKE ledger.{name} INCLUDING ALL)")
            rows = _unpacked(folder / f"{name}.csv.gz")
            await connection.copy_to_table(table, schema_name="ledger_archive", source=rows, format="csv", header=True)
    return manifest


async def export_month(connection: Connection, month: date, *, folder: Path) -> Manifest:
    """Write the rows of a month, of every book, into a new folder.

    Args:
        connection: outside any transaction, of a role that may read the books.
        month: any day of it, in UTC; it must be over.
        folder: made here; its parent is there.
    """
    starts, ends = (datetime(day.year, day.month, 1, tzinfo=UTC) for day in (month, month_after(month, 1)))
    books: Sequence[Any] = await connection.fetch(QUERIES["books_of_month"], starts, ends)
    by_sequence = [
        (row["book_id"], after, min(after + ROWS_AT_ONCE, row["last_sequence"]))
        for row in books
        for after in range(row["first_sequence"] - 1, row["last_sequence"], ROWS_AT_ONCE)
    ]
    days = [starts + timedelta(days=day) for day in range((ends - starts).days)]
    by_day = [(row["book_id"], day, day + timedelta(days=1)) for row in books for day in days]
    await asyncio.to_thread(folder.mkdir)
    spans_of: dict[str, Sequence[tuple[Any, ...]]] = {**dict.fromkeys(BY_SEQUENCE, by_sequence), "blocks": by_day}
    files = {
        name: await _export(connection, name, spans, folder / f"{name}.csv.gz") for name, spans in spans_of.items()
    }
    manifest = Manifest(
        month=f"{starts:%Y-%m}",
        files=files,
        books=[
            BookOfExport(
                book_id=row["book_id"],
                first_sequence=row["first_sequence"],
                last_sequence=row["last_sequence"],
                previous_hash=row["previous_hash"].hex(),
                head_hash=row["head_hash"].hex(),
                merkle_root=(await _merkle_root(connection, row["book_id"], starts, ends)).hex(),
            )
            for row in books
        ],
    )
    (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2))
    return manifest


async def _export(connection: Connection, name: str, spans: Sequence[tuple[Any, ...]], path: Path) -> FileOfExport:
    """Write one file, span after span, each in a transaction of its own."""
    rows, first = 0, True
    with path.open("wb") as file, gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0) as packed:

        async def write(data: bytes) -> None:
            packed.write(data)

        for span in spans:
            async with connection.transaction():
                await connection.execute(SETTINGS)
                status = await connection.copy_from_query(
                    QUERIES[f"export_{name}"], *span, output=write, format="csv", header=first
                )
            rows, first = rows + int(status.split()[-1]), False
    with path.open("rb") as written:
        digest = hashlib.file_digest(written, "sha256").hexdigest()
    return FileOfExport(rows=rows, sha256=digest)


async def _unpacked(path: Path) -> AsyncIterator[bytes]:
    with gzip.open(path, "rb") as packed:
        while data := packed.read(PIECE_BYTES):
            yield data


async def _merkle_root(connection: Connection, book_id: int, starts: datetime, ends: datetime) -> bytes:
    tree = MerkleRoot()
    async with connection.transaction():
        async for row in connection.cursor(QUERIES["block_hashes_of_month"], book_id, starts, ends, prefetch=10_000):
            tree.add(row["hash"])
    return tree.root()


async def _called(connection: Connection, sql: str, *arguments: Any) -> None:
    try:
        await connection.execute(sql, *arguments)
    except asyncpg.PostgresError as error:
        if error.sqlstate == REFUSED:
            raise ArchivingRefused(str(error)) from error
        raise
