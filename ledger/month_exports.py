"""Files of a month: written from the books, and loaded back beside them.

An export is a folder: `entries.csv.gz`, `postings.csv.gz`, `blocks.csv.gz`, `references.csv.gz`, `holds.csv.gz` (a
header line, text as PostgreSQL writes it, moments in UTC, bytes in hex, by book and sequence) and `manifest.json`: the
SHA-256 and number of rows of each file; for each book the range, the hash that it follows, its head hash and the Merkle
root over its block hashes (RFC 6962). `archived_exports.py` proves it with nothing but the files.
"""

import asyncio
import gzip
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from ledger.archived_exports import MANIFEST, BookOfExport, FileOfExport, Manifest, manifest_of, verify_export
from ledger.archives import ArchivePlace, archived_months
from ledger.errors import ArchivingRefused
from ledger.merkle import MerkleRoot
from ledger.months import month_after
from ledger.posting import Connection
from ledger.queries import QUERIES

PARTITIONED: Final = ("entries", "postings", "blocks")
PROBLEMS_SHOWN: Final = 5
PIECE_BYTES: Final = 1 << 20
BY_SEQUENCE: Final = ("entries", "postings", "references", "holds")
ROWS_AT_ONCE: Final = 100_000
SETTINGS: Final = """SELECT set_config('TimeZone', 'UTC', true), set_config('DateStyle', 'ISO, YMD', true),
    set_config('bytea_output', 'hex', true)"""

Progress = Callable[[str, int, int], None]
"""Told what is done at the moment, how much of it is done, and how much there is."""


def said_to_nobody(doing: str, done: int, total: int) -> None:
    """For who does not watch."""


async def export_month(
    connection: Connection, month: date, *, folder: Path, progress: Progress = said_to_nobody
) -> Manifest:
    """Write the rows of a month, of every book, into a new folder.

    Args:
        connection: outside any transaction, of a role that may read the books.
        month: any day of it, in UTC; it must be over.
        folder: made here; its parent is there.
        progress: called after each piece.
    """
    starts, ends = (datetime(day.year, day.month, 1, tzinfo=UTC) for day in (month, month_after(month, 1)))
    books: Sequence[Any] = await connection.fetch(QUERIES["books_of_month"], starts, ends)
    by_sequence = [
        (row["book_id"], after, min(after + ROWS_AT_ONCE, row["last_sequence"]))
        for row in books
        for after in range(max(row["first_sequence"] - 1, 0), row["last_sequence"], ROWS_AT_ONCE)
    ]
    days = [starts + timedelta(days=day) for day in range((ends - starts).days)]
    by_day = [(row["book_id"], day, day + timedelta(days=1)) for row in books for day in days]
    await asyncio.to_thread(folder.mkdir)
    spans_of: dict[str, Sequence[tuple[Any, ...]]] = {**dict.fromkeys(BY_SEQUENCE, by_sequence), "blocks": by_day}
    done, total = 0, sum(map(len, spans_of.values()))

    def piece_done() -> None:
        nonlocal done
        done += 1
        progress("exporting", done, total)

    files = {
        name: await _export(connection, name, spans, folder / f"{name}.csv.gz", piece_done)
        for name, spans in spans_of.items()
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


async def prove_export(folder: Path) -> Manifest:
    """Prove an export with nothing but its files; what it holds.

    Raises:
        ArchivingRefused: the export does not verify.
    """
    problems = await asyncio.to_thread(verify_export, folder)
    if problems:
        raise ArchivingRefused(f"the export does not verify: {'; '.join(problems[:PROBLEMS_SHOWN])}")
    return manifest_of(folder)


async def load_export(connection: Connection, month: date, folder: Path) -> None:
    """Make the tables of an archived month in `ledger_archive` again, from an export of just that month.

    Args:
        connection: of the owner of the books.
        month: any day of it, in UTC.
        folder: the export.

    Raises:
        ArchivingRefused: the export does not verify, or is not the archived month's, or its tables are there.
    """
    manifest, suffix = await prove_export(folder), f"{month:%Y_%m}"
    said = {each.book_id: (each.head_hash, each.merkle_root) for each in manifest.books}
    archived = [each for each in await archived_months(connection) if each.month == month.replace(day=1)]
    if said != {each.book_id: (each.head_hash.hex(), each.merkle_root.hex()) for each in archived}:
        raise ArchivingRefused(f"{folder} is not the export of month {suffix}, as it was archived")
    if any(each.place is not ArchivePlace.EXPORT for each in archived):
        raise ArchivingRefused(f"the tables of month {suffix} are there")
    async with connection.transaction():
        for name in PARTITIONED:
            table = f"{name}_{suffix}"
            await connection.execute(f"CREATE TABLE ledger_archive.{table} (LIKE ledger.{name} INCLUDING ALL)")
            if name == "entries":
                await connection.execute(f"ALTER TABLE ledger_archive.{table} ADD PRIMARY KEY (book_id, sequence)")
            if name == "postings":  # as create_month_v1 has it
                await connection.execute(
                    f"ALTER TABLE ledger_archive.{table} ALTER COLUMN book_id SET (n_distinct = 50)"
                )
            rows = _unpacked(folder / f"{name}.csv.gz")
            await connection.copy_to_table(table, schema_name="ledger_archive", source=rows, format="csv", header=True)


async def _export(
    connection: Connection, name: str, spans: Sequence[tuple[Any, ...]], path: Path, piece_done: Callable[[], None]
) -> FileOfExport:
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
            piece_done()
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
