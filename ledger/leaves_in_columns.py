"""Hashes of blocks from columns: the bytes of `chain.py`, layout version 1, for all entries of a range at once."""

from hashlib import sha256
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ledger.range_columns import LENGTH_BYTES, Columns, RangeColumns

Counts = NDArray[np.int64]

NOTHING_RARE: Final = b"\x00\x00\x00\x01\x00"
"""Of an entry or a posting, with its length: nothing is there that rarely is."""

_KEY: Final = [("high", ">u8"), ("low", ">u8")]
_HEAD: Final = np.dtype(
    [
        ("layout", ">i2"),
        ("book_id", ">i8"),
        ("sequence", ">i8"),
        ("recorded_at", ">i8"),
        ("block_number", ">i8"),
        ("key", _KEY),
        ("effective_on", ">i4"),
        ("kind", ">i2"),
    ]
)
_LINE: Final = np.dtype(
    [
        ("line", ">i2"),
        ("debit_account", ">i8"),
        ("credit_account", ">i8"),
        ("amount_minor", ">i8"),
        ("debit_balance_after", ">i8"),
        ("credit_balance_after", ">i8"),
    ]
)
_HEADER: Final = (
    (">i2", 21, "layout_version"),
    (">i8", 20, "book_id"),
    (">i4", 23, "incarnation"),
    (">i8", 20, "block_number"),
    (">i8", 20, "first_sequence"),
    (">i8", 20, "last_sequence"),
    (">i8", 1184, "recorded_at"),
)
"""The record that seals a block: width, type in the database, column."""


def block_hashes(columns: RangeColumns, entry_counts: Counts, posting_counts: Counts) -> list[bytes]:
    """The hash of each block, computed from the rows.

    Args:
        columns: a range whose entries lie in its blocks one after the other.
        entry_counts: how many entries each block has.
        posting_counts: how many postings each entry has.
    """
    leaves, blocks = _leaves(columns, posting_counts), columns.blocks
    hashes = []
    for start_end, header, previous in zip(
        pairwise([0, *np.cumsum(entry_counts).tolist()]),
        _headers(blocks, columns.range.book_id),
        blocks["previous_hash"].tolist(),
        strict=True,
    ):
        inside = sha256(b"".join(leaves[slice(*start_end)])).digest()
        hashes.append(sha256(previous + header + inside).digest())
    return hashes


def _leaves(columns: RangeColumns, posting_counts: Counts) -> list[bytes]:
    lines = _lines_of_entries(columns, posting_counts)
    counts = np.zeros((len(posting_counts), 2), ">i4")
    counts[:, 0] = posting_counts
    for position, parts in _references(columns).items():
        lines[position] += b"".join(parts)
        counts[position, 1] = len(parts) // 2
    heads = _packed(columns.entries, _HEAD, layout=1, book_id=columns.range.book_id)
    return [
        sha256(b"".join((head, caller, metadata, count, rare[LENGTH_BYTES:], line))).digest()
        for head, caller, metadata, count, rare, line in zip(
            heads, columns.callers, columns.metadata, _rows(counts), columns.rare, lines, strict=True
        )
    ]


def _lines_of_entries(columns: RangeColumns, posting_counts: Counts) -> list[bytes]:
    lines = _packed(columns.postings, _LINE)
    lines = [line + rare[LENGTH_BYTES:] for line, rare in zip(lines, columns.posting_rare, strict=True)]
    if (posting_counts == 1).all():
        return lines
    ends = np.cumsum(posting_counts).tolist()
    return [b"".join(lines[start:end]) for start, end in pairwise([0, *ends])]


def _references(columns: RangeColumns) -> dict[int, list[bytes]]:
    """Scheme, value, scheme, value, … of the entries that have references, by position of the entry."""
    found: dict[int, list[bytes]] = {}
    positions = (columns.references["sequence"] - (columns.range.after + 1)).tolist()
    for position, scheme, value in zip(positions, columns.schemes, columns.values, strict=True):
        found.setdefault(position, []).extend((scheme, value))
    return found


def _headers(blocks: Columns, book_id: int) -> list[bytes]:
    parts: list[tuple[str, str]] = [("#", ">i4")]
    constants: dict[str, Any] = {"#": len(_HEADER), "book_id": book_id}
    for width, type_number, name in _HEADER:
        parts += [(f"type of {name}", ">i4"), (f"length of {name}", ">i4"), (name, width)]
        constants |= {f"type of {name}": type_number, f"length of {name}": np.dtype(width).itemsize}
    return _packed(blocks, np.dtype(parts), **constants)


def _packed(columns: Columns, packed: np.dtype[Any], **constants: int) -> list[bytes]:
    """Each row as the bytes of its fields, one after the other."""
    rows = np.empty(len(columns), packed)
    for name in packed.names or ():
        rows[name] = constants[name] if name in constants else columns[name]
    return _rows(rows)


def _rows(rows: NDArray[Any]) -> list[bytes]:
    width = rows.nbytes // max(len(rows), 1)
    return rows.view(f"V{width}").ravel().tolist() if width else []
