"""Hashes of blocks from columns: the bytes of `chain.py`, layout version 1, for all entries of a range at once."""

from hashlib import sha256
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ledger.grouping import runs, stable_order
from ledger.range_columns import Columns, Numbers, Pieces, RangeColumns

HASH_BYTES: Final = 32
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
        ("caller_bytes", ">i4"),
    ]
)
_LENGTH_OF: Final = {name: np.dtype([(f"{name}_bytes", ">i4")]) for name in ("metadata", "scheme", "value")}
_COUNTS: Final = np.dtype([("postings", ">i4"), ("references", ">i4")])
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


def block_hashes(columns: RangeColumns, entry_counts: Numbers, posting_counts: Numbers) -> list[bytes]:
    """The hash of each block, computed from the rows.

    Args:
        columns: a range whose entries lie in its blocks one after the other.
        entry_counts: how many entries each block has.
        posting_counts: how many postings each entry has.
    """
    leaves, blocks = _leaves(columns, posting_counts), columns.blocks
    ends = (HASH_BYTES * np.cumsum(entry_counts)).tolist()
    return [
        sha256(previous + header + sha256(leaves[start:end]).digest()).digest()
        for (start, end), header, previous in zip(
            pairwise([0, *ends]),
            _headers(blocks, columns.range.book_id),
            blocks.varying["previous_hash"].tolist(),
            strict=True,
        )
    ]


def _leaves(columns: RangeColumns, posting_counts: Numbers) -> bytes:
    """The leaves of all entries, one after the other."""
    messages = _messages(columns, posting_counts)
    sealed, ends = messages.data.tobytes(), np.cumsum(messages.lengths).tolist()
    return b"".join([sha256(sealed[start:end]).digest() for start, end in pairwise([0, *ends])])


def _messages(columns: RangeColumns, posting_counts: Numbers) -> Pieces:
    """What the leaf of each entry is the hash of, one after the other."""
    entries, postings, references = columns.entries, columns.postings, columns.references
    entry, posting, reference = (np.arange(len(each)) for each in (entries, postings, references))
    of_posting, of_reference = (each["sequence"] - (columns.range.after + 1) for each in (postings, references))
    lines = _joined(len(postings), (posting, _packed(postings, _LINE)), (posting, postings.varying["rare"]))
    pairs = _joined(
        len(references),
        *((reference, each) for name in ("scheme", "value") for each in _with_length(references, name)),
    )
    reference_counts = np.bincount(of_reference, minlength=len(entries))
    return _joined(
        len(entries),
        (entry, _packed(entries, _HEAD, layout=1, book_id=columns.range.book_id)),
        (entry, entries.varying["caller"]),
        *((entry, each) for each in _with_length(entries, "metadata")),
        (entry, _packed(entries, _COUNTS, postings=posting_counts, references=reference_counts)),
        (entry, entries.varying["rare"]),
        (of_posting, lines),
        (of_reference, pairs),
    )


def _with_length(columns: Columns, name: str) -> tuple[Pieces, Pieces]:
    return _packed(columns, _LENGTH_OF[name]), columns.varying[name]


def _joined(owners: int, *parts: tuple[Numbers, Pieces]) -> Pieces:
    """One piece an owner: those that are its own (owner of each, pieces), in the order of the parts."""
    owner = np.concatenate([owner for owner, _ in parts])
    lengths = np.concatenate([pieces.lengths for _, pieces in parts])
    order = stable_order(owner, owners)
    places = np.empty_like(lengths)
    places[order] = np.cumsum(lengths[order]) - lengths[order]
    data, first = np.empty(lengths.sum(), np.uint8), 0
    for _, pieces in parts:
        last = first + len(pieces.lengths)
        _copy(pieces, data, places[first:last])
        first = last
    joined = np.zeros(owners, np.int64)
    np.add.at(joined, owner, lengths)
    return Pieces.in_turn(data, joined)


def _copy(pieces: Pieces, data: NDArray[np.uint8], places: Numbers) -> None:
    """Put each piece at its place, all of one length at once."""
    order = stable_order(pieces.lengths, int(pieces.lengths.max(initial=0)) + 1)
    for first, last in zip(*runs(pieces.lengths[order]), strict=True):
        chosen = order[first : last + 1]
        length = int(pieces.lengths[chosen[0]])
        if length:
            _every(data, length)[places[chosen]] = _every(pieces.data, length)[pieces.starts[chosen]]


def _every(data: NDArray[np.uint8], length: int) -> NDArray[Any]:
    """What lies in `length` bytes from each byte on."""
    return np.ndarray(len(data) - length + 1, f"V{length}", data, strides=(1,))


def _headers(blocks: Columns, book_id: int) -> list[bytes]:
    parts: list[tuple[str, str]] = [("#", ">i4")]
    constants: dict[str, Any] = {"#": len(_HEADER), "book_id": book_id}
    for width, type_number, name in _HEADER:
        parts += [(f"type of {name}", ">i4"), (f"length of {name}", ">i4"), (name, width)]
        constants |= {f"type of {name}": type_number, f"length of {name}": np.dtype(width).itemsize}
    return _packed(blocks, np.dtype(parts), **constants).tolist()


def _packed(columns: Columns, packed: np.dtype[Any], **given: Any) -> Pieces:
    """Each row as the bytes of its fields, one after the other."""
    rows = np.empty(len(columns), packed)
    for name in packed.names or ():
        rows[name] = given[name] if name in given else columns[name]
    return Pieces.in_turn(rows.view(np.uint8), np.full(len(rows), packed.itemsize))
