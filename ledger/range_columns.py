"""The rows of a range of the books as columns: COPY in PostgreSQL's binary format, cut up without decoding each value.

The format (PostgreSQL documentation, COPY, "Binary Format"): 19 bytes of header, then for every row int2 number of
fields and for each field int4 length and that many bytes, all big-endian; at the end int2 −1. A row begins with fields
of fixed width, which NumPy reads as they lie; those that vary in length come last and stay bytes.
"""

import struct
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from ledger.checks import Range, copied
from ledger.posting import Connection

Columns = NDArray[Any]
"""A structured array, a row each; numbers as they came, big-endian."""

HEADER_BYTES: Final = 19
TRAILER_BYTES: Final = 2
LENGTH_BYTES: Final = 4
HASH_BYTES: Final = 32

_BIGINT, _INTEGER, _SMALLINT, _BOOLEAN, _HASH = ">i8", ">i4", ">i2", "u1", f"V{HASH_BYTES}"
_KEY: Final = ("key", [("high", ">u8"), ("low", ">u8")])
_length: Final = struct.Struct(">i").unpack_from


class OutOfStep(Exception):
    """Rows are not as wide as their tables promise: they have to be looked at one by one."""


def require(condition: object) -> None:
    """Give up unless it holds.

    Raises:
        OutOfStep: it does not.
    """
    if not condition:
        raise OutOfStep


class _Table(msgspec.Struct, frozen=True):
    """The fields of a question in order: those of fixed width, and how many follow that vary.

    `fixed` also names what stands before them: "#" their number, and "#name" the length of each.
    """

    fixed: np.dtype[Any]
    expected: dict[str, int]
    varying: int

    @classmethod
    def of(cls, *fields: tuple[str, Any], varying: int = 0) -> "_Table":
        expected, parts = {"#": len(fields) + varying}, [("#", _SMALLINT)]
        for name, kind in fields:
            expected[f"#{name}"] = np.dtype(kind).itemsize
            parts += [(f"#{name}", _INTEGER), (name, kind)]
        return cls(np.dtype(parts), expected, varying)

    def cut(self, data: bytes, rows: int) -> tuple[Columns, list[list[bytes]]]:
        """The fixed fields of all rows, and each varying one as a list of bytes, its length before it."""
        try:
            columns, varying = self._alike(data, rows) or self._one_by_one(data, rows)
        except struct.error as error:
            raise OutOfStep from error
        require(all((columns[name] == value).all() for name, value in self.expected.items()))
        return columns, varying

    def _alike(self, data: bytes, rows: int) -> tuple[Columns, list[list[bytes]]] | None:
        """All rows at once, if every one is as long as the first, field by field."""
        fields = {name: (kind, offset) for name, (kind, offset, *_) in (self.fixed.fields or {}).items()}
        width, lengths = self.fixed.itemsize, list[int]()
        for number in range(self.varying if rows else 0):
            lengths += _length(data, HEADER_BYTES + width)
            require(lengths[-1] >= 0)
            size = LENGTH_BYTES + lengths[-1]
            fields |= {f"#{number}": (np.dtype(_INTEGER), width), str(number): (np.dtype(f"V{size}"), width)}
            width += size
        if HEADER_BYTES + rows * width + TRAILER_BYTES != len(data):
            return None
        kinds, offsets = zip(*fields.values(), strict=True)
        row = np.dtype({"names": list(fields), "formats": kinds, "offsets": offsets, "itemsize": width})
        columns = np.frombuffer(data, row, rows, HEADER_BYTES)
        if not all((columns[f"#{number}"] == length).all() for number, length in enumerate(lengths)):
            return None
        return columns, [columns[str(number)].tolist() if rows else [] for number in range(self.varying)]

    def _one_by_one(self, data: bytes, rows: int) -> tuple[Columns, list[list[bytes]]]:
        varying: list[list[bytes]] = [[] for _ in range(self.varying)]
        heads, width, at = [], self.fixed.itemsize, HEADER_BYTES
        for _ in range(rows):
            start, at = at, at + width
            heads.append(data[start:at])
            for found in varying:
                start, at = at, at + LENGTH_BYTES + _length(data, at)[0]
                found.append(data[start:at])
        require(at == len(data) - TRAILER_BYTES)
        return np.frombuffer(b"".join(heads), self.fixed), varying


ENTRIES: Final = _Table.of(
    ("sequence", _BIGINT),
    ("recorded_at", _BIGINT),
    ("block_number", _BIGINT),
    _KEY,
    ("effective_on", _INTEGER),
    ("kind", _SMALLINT),
    ("hold_action", _SMALLINT),
    varying=3,
)
POSTINGS: Final = _Table.of(
    ("sequence", _BIGINT),
    ("recorded_at", _BIGINT),
    ("line", _SMALLINT),
    ("debit_account", _BIGINT),
    ("credit_account", _BIGINT),
    ("amount_minor", _BIGINT),
    ("debit_balance_after", _BIGINT),
    ("credit_balance_after", _BIGINT),
    ("has_available_on", _BOOLEAN),
    varying=1,
)
REFERENCES: Final = _Table.of(("sequence", _BIGINT), varying=2)
BLOCKS: Final = _Table.of(
    ("recorded_at", _BIGINT),
    ("block_number", _BIGINT),
    ("incarnation", _INTEGER),
    ("layout_version", _SMALLINT),
    ("first_sequence", _BIGINT),
    ("last_sequence", _BIGINT),
    ("previous_hash", _HASH),
    ("hash", _HASH),
)
KEYS: Final = _Table.of(_KEY, ("sequence", _BIGINT), ("recorded_at", _BIGINT), ("newest_sequence", _BIGINT))


class RangeColumns(msgspec.Struct, frozen=True, kw_only=True):
    """A range: entries by sequence, postings by sequence and line, references by bytes, blocks by time.

    Every bytes begins with its length, as it is sealed.

    Attributes:
        rare: of each entry what is rarely there, as it is sealed; and so of each posting.
    """

    range: Range
    entries: Columns
    callers: list[bytes]
    metadata: list[bytes]
    rare: list[bytes]
    postings: Columns
    posting_rare: list[bytes]
    references: Columns
    schemes: list[bytes]
    values: list[bytes]
    blocks: Columns


async def read_columns(connection: Connection, range_: Range) -> RangeColumns:
    """Read a range.

    Raises:
        OutOfStep: a value is missing, or wider than its column should be.
    """
    arguments = range_.arguments()
    # Blocks first, as whoever posts and whoever archives a month meets them.
    blocks, _ = await _read(connection, BLOCKS, "block_columns", arguments)
    entries, (callers, metadata, rare) = await _read(connection, ENTRIES, "entry_columns", arguments)
    postings, (posting_rare,) = await _read(connection, POSTINGS, "posting_columns", arguments)
    references, (schemes, values) = await _read(connection, REFERENCES, "reference_columns", arguments)
    return RangeColumns(
        range=range_,
        entries=entries,
        callers=callers,
        metadata=metadata,
        rare=rare,
        postings=postings,
        posting_rare=posting_rare,
        references=references,
        schemes=schemes,
        values=values,
        blocks=blocks,
    )


async def read_keys(connection: Connection, arguments: Mapping[str, Any]) -> Columns:
    """A page of keys in their order (`key_columns`).

    Raises:
        OutOfStep: a value is missing.
    """
    keys, _ = await _read(connection, KEYS, "key_columns", arguments)
    return keys


async def _read(
    connection: Connection, table: _Table, question: str, arguments: Mapping[str, Any]
) -> tuple[Columns, list[list[bytes]]]:
    return table.cut(*await copied(connection, question, arguments))
