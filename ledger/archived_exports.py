"""Proving an exported month with nothing but its files: no database, no part of posting."""

import csv
import gzip
import hashlib
import io
from collections.abc import Iterator
from datetime import UTC, date, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec

from ledger.chain import block_hash, leaf_hash
from ledger.merkle import MerkleRoot

MANIFEST: Final = "manifest.json"
_BYTES: Final = frozenset({"metadata", "hash", "previous_hash"})
_DATES: Final = frozenset({"effective_on", "booked_on", "available_on"})
_TEXTS: Final = frozenset({"caller", "scheme", "value"})


class FileOfExport(msgspec.Struct, frozen=True, kw_only=True):
    """One file: how many rows, and its SHA-256 in hex."""

    rows: int
    sha256: str


class BookOfExport(msgspec.Struct, frozen=True, kw_only=True):
    """One book of the month; hashes in hex.

    Attributes:
        previous_hash: of the last block before the month; zeros before the first.
        head_hash: of its last block in the month.
        merkle_root: over its block hashes of the month, RFC 6962.
    """

    book_id: int
    first_sequence: int
    last_sequence: int
    previous_hash: str
    head_hash: str
    merkle_root: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What an export holds. `month` is YYYY-MM."""

    month: str
    files: dict[str, FileOfExport]
    books: list[BookOfExport]


def manifest_of(folder: Path) -> Manifest:
    """The manifest of an export.

    Raises:
        MsgspecError: it is none.
    """
    return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)


def verify_export(folder: Path) -> list[str]:
    """What is wrong with an export, in words; nothing when it proves itself.

    Every file is the manifest's; every block's hash is computed again from the rows; blocks and entries follow each
    other without a gap; the last hash and the Merkle root of each book are the manifest's. Compare these with a
    checkpoint or with `ledger.archives` to know that the manifest is the month's.
    """
    try:
        manifest = manifest_of(folder)
    except msgspec.MsgspecError as error:
        return [f"the manifest cannot be read: {error}"]
    problems = []
    for name, file in manifest.files.items():
        with (folder / f"{name}.csv.gz").open("rb") as raw:
            if hashlib.file_digest(raw, "sha256").hexdigest() != file.sha256:
                problems.append(f"{name}.csv.gz is not the manifest's")
    if problems:
        return problems
    leaves = _leaves(folder)
    found = set()
    for book_id, rows in groupby(_rows(folder, "blocks"), key=lambda row: int(row["book_id"])):
        book = next((each for each in manifest.books if each.book_id == book_id), None)
        if book is None:
            problems.append(f"book {book_id} is not in the manifest")
            continue
        found.add(book_id)
        problems += _problems_of(book, rows, leaves)
    if next(leaves, None) is not None:
        problems.append("there are entries of no block")
    return problems + [f"book {each.book_id} is missing" for each in manifest.books if each.book_id not in found]


def _problems_of(
    book: BookOfExport, blocks: Iterator[dict[str, Any]], leaves: Iterator[tuple[int, int, bytes]]
) -> list[str]:
    tree, previous, last = MerkleRoot(), bytes.fromhex(book.previous_hash), book.first_sequence - 1
    problems: list[str] = []
    for block in blocks:
        inside = []
        for expected in range(block["first_sequence"], block["last_sequence"] + 1):
            book_id, sequence, leaf = next(leaves, (0, 0, b""))
            if (book_id, sequence) != (book.book_id, expected):
                return [*problems, f"book {book.book_id}: entry {expected} is missing"]
            inside.append(leaf)
        if block["first_sequence"] != last + 1 or block["previous_hash"] != previous:
            problems.append(f"book {book.book_id}: block {block['block_number']} does not follow the one before")
        if block_hash(block, inside) != block["hash"]:
            problems.append(f"book {book.book_id}: block {block['block_number']} is not what its hash says")
        previous, last = block["hash"], block["last_sequence"]
        tree.add(previous)
    if (previous.hex(), tree.root().hex(), last) != (book.head_hash, book.merkle_root, book.last_sequence):
        problems.append(f"book {book.book_id} does not end as the manifest says")
    return problems


def _leaves(folder: Path) -> Iterator[tuple[int, int, bytes]]:
    """(book, sequence, leaf) of every entry; rows of the other files are taken as their entry comes."""
    postings, references, holds = (_Beside(_rows(folder, name)) for name in ("postings", "references", "holds"))
    for entry in _rows(folder, "entries"):
        place = (entry["book_id"], entry["sequence"])
        hold = holds.at(place)
        names = ("debit_account", "credit_account", "amount_minor", "expires_at")
        of_hold = {f"hold_{name}": hold[0][name] if hold else None for name in names}
        yield *place, leaf_hash({**entry, **of_hold}, postings.at(place), references.at(place))


class _Beside:
    """Rows in order of book and sequence, given out by place; what has no place stays and spoils the next hash."""

    def __init__(self, rows: Iterator[dict[str, Any]]) -> None:
        self._groups = groupby(rows, key=lambda row: (row["book_id"], row["sequence"]))
        self._next: tuple[Any, list[dict[str, Any]]] | None = None

    def at(self, place: tuple[int, int]) -> list[dict[str, Any]]:
        if self._next is None:
            self._next = next(((key, list(rows)) for key, rows in self._groups), None)
        if self._next is None or self._next[0] > place:
            return []
        _, rows = self._next
        self._next = None
        return rows


def _rows(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    with gzip.open(folder / f"{name}.csv.gz", "rb") as packed:
        for row in csv.DictReader(io.TextIOWrapper(packed, encoding="utf-8", newline="")):
            yield {column: _value(column, text) for column, text in row.items()}


def _value(column: str, text: str) -> Any:
    if column in _TEXTS:
        return text
    if text == "":
        return None
    if column in _BYTES:
        return bytes.fromhex(text.removeprefix("\\x"))
    if column in _DATES:
        return date.fromisoformat(text)
    if column.endswith("_at"):
        return datetime.fromisoformat(text).astimezone(UTC)
    return UUID(text) if column == "key" else int(text)
