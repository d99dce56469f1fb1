"""The chain of blocks: what is sealed, byte by byte. Layout version 1.

Each call that posts writes one block. Everything is in PostgreSQL's binary record format (`record_send`), which is
length-prefixed: int32 number of columns; for each column int32 type, int32 length (−1 = NULL) and that many bytes.
Integers are big-endian; a date is int32 days and a timestamptz int64 microseconds, both since 2000-01-01 (UTC).

    record(entry)     book_id, sequence, recorded_at, block_number, key, kind, effective_on, caller,
                      draws_on, drawn_minor, drawable_minor, metadata
    record(posting)   line, debit_account, credit_account, amount_minor, available_on,
                      debit_balance_after, credit_balance_after
    record(reference) scheme, value
    leaf   = SHA-256(0x00 ‖ 0x01 ‖ record(entry) ‖ its postings by line ‖ its references by scheme, value)
    header = record(layout_version, book_id, incarnation, block_number, first_sequence, last_sequence, recorded_at)
    block  = SHA-256(previous block ‖ header ‖ SHA-256(leaves in order of sequence))

A posting's book, sequence and recorded_at are its entry's, so they are sealed with it. Text is UTF-8; references sort
by their bytes. The genesis block is number 0, holds no entry (first 1, last 0) and follows 32 zero bytes.
This module is the second road: it computes from columns in plain Python what `post_entries_v1` computed in SQL.
"""

import hashlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

LAYOUT_VERSION: Final = 1
GENESIS_PREVIOUS: Final = bytes(32)

_LEAF_PREFIX: Final = bytes((0x00, LAYOUT_VERSION))
_EPOCH_ON: Final = date(2000, 1, 1)
_EPOCH_AT: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_BYTEA, _INT8, _INT2, _INT4, _TEXT, _DATE, _TIMESTAMPTZ, _UUID = 17, 20, 21, 23, 25, 1082, 1184, 2950
_INTEGERS: Final = {_INT2: ">h", _INT4: ">i", _INT8: ">q"}

_ENTRY: Final = (
    ("book_id", _INT8),
    ("sequence", _INT8),
    ("recorded_at", _TIMESTAMPTZ),
    ("block_number", _INT8),
    ("key", _UUID),
    ("kind", _INT2),
    ("effective_on", _DATE),
    ("caller", _TEXT),
    ("draws_on", _INT8),
    ("drawn_minor", _INT8),
    ("drawable_minor", _INT8),
    ("metadata", _BYTEA),
)
_POSTING: Final = (
    ("line", _INT2),
    ("debit_account", _INT8),
    ("credit_account", _INT8),
    ("amount_minor", _INT8),
    ("available_on", _DATE),
    ("debit_balance_after", _INT8),
    ("credit_balance_after", _INT8),
)
_REFERENCE: Final = (("scheme", _TEXT), ("value", _TEXT))
_HEADER: Final = (
    ("layout_version", _INT2),
    ("book_id", _INT8),
    ("incarnation", _INT4),
    ("block_number", _INT8),
    ("first_sequence", _INT8),
    ("last_sequence", _INT8),
    ("recorded_at", _TIMESTAMPTZ),
)

Row = Mapping[str, Any]


def leaf_hash(entry: Row, postings: Sequence[Row], references: Sequence[Row]) -> bytes:
    """The leaf of an entry, from the columns of its rows; postings and references in any order."""
    digest = hashlib.sha256(_LEAF_PREFIX)
    digest.update(_record(_ENTRY, entry))
    for posting in sorted(postings, key=lambda row: row["line"]):
        digest.update(_record(_POSTING, posting))
    for reference in sorted(references, key=lambda row: (row["scheme"].encode(), row["value"].encode())):
        digest.update(_record(_REFERENCE, reference))
    return digest.digest()


def block_hash(block: Row, leaves: Iterable[bytes]) -> bytes:
    """The hash of a block, from its columns (with `previous_hash`) and its leaves in order of sequence."""
    body = hashlib.sha256(b"".join(leaves)).digest()
    return hashlib.sha256(block["previous_hash"] + _record(_HEADER, block) + body).digest()


def _record(columns: Sequence[tuple[str, int]], row: Row) -> bytes:
    parts = [struct.pack(">i", len(columns))]
    for name, kind in columns:
        value = row[name]
        if value is None:
            parts.append(struct.pack(">ii", kind, -1))
        else:
            data = _bytes_of(kind, value)
            parts.append(struct.pack(">ii", kind, len(data)) + data)
    return b"".join(parts)


def _bytes_of(kind: int, value: Any) -> bytes:
    if kind in _INTEGERS:
        return struct.pack(_INTEGERS[kind], value)
    if kind == _DATE:
        return struct.pack(">i", (value - _EPOCH_ON).days)
    if kind == _TIMESTAMPTZ:
        return struct.pack(">q", (value - _EPOCH_AT) // _MICROSECOND)
    if kind == _UUID:
        return bytes(value.bytes)
    return value.encode() if kind == _TEXT else bytes(value)
