"""The rows of a range of the books as columns: each in one value, which NumPy reads as it lies.

The database strings the values of a column together in its binary format, so that a range is a handful of values and
not one message a row. What it sends of a number, a moment, a key or a hash is as wide in every row; a NULL is left out,
which the size shows. Text and bytes come as an array, every one with its length before it, as it is sealed.
"""

from collections.abc import Mapping
from struct import Struct
from typing import Any, Final

import asyncpg
import msgspec
import numpy as np
from numpy.typing import NDArray

from ledger.checks import Range, one_row
from ledger.posting import Connection

Numbers = NDArray[np.int64]

LENGTH_BYTES: Final = 4
_NOTHING_RARE_BYTES: Final = LENGTH_BYTES + 1

_BIGINT, _INTEGER, _SMALLINT, _BOOLEAN = (np.dtype(kind) for kind in (">i8", ">i4", ">i2", "u1"))
_KEY: Final = np.dtype([("high", ">u8"), ("low", ">u8")])
_TEXT, _BYTEA = 25, 17
_ARRAY_HEAD: Final = Struct(">iiiii")
"""Dimensions, whether there are NULLs, type; then of the one dimension how many and the number of the first."""
_length: Final = Struct(">i").unpack_from

_UNLIKE_THE_TABLES: Final = (asyncpg.UndefinedFunctionError, asyncpg.ProgramLimitExceededError)
"""A column is of another type than its table promises; a column of a range is larger than a value may be."""


class OutOfStep(Exception):
    """Rows are not as their tables promise: they have to be looked at one by one."""


def require(condition: object) -> None:
    """Give up unless it holds.

    Raises:
        OutOfStep: it does not.
    """
    if not condition:
        raise OutOfStep


class Pieces(msgspec.Struct, frozen=True):
    """Bytes of many lengths: where in `data` each begins, and how long it is."""

    data: NDArray[np.uint8]
    starts: Numbers
    lengths: Numbers

    def without_length(self) -> "Pieces":
        """The same, of pieces that begin with their length, without it."""
        return Pieces(self.data, self.starts + LENGTH_BYTES, self.lengths - LENGTH_BYTES)

    def tolist(self) -> list[bytes]:
        """Each by itself."""
        data, starts = self.data.tobytes(), self.starts
        return [data[start:end] for start, end in zip(starts.tolist(), (starts + self.lengths).tolist(), strict=True)]


class Columns(msgspec.Struct, frozen=True):
    """Rows by column: the fixed ones, numbers as int64, are found by index too.

    Attributes:
        counts: what was counted along with them.
    """

    rows: int
    fixed: dict[str, NDArray[Any]]
    varying: dict[str, Pieces]
    counts: dict[str, int]

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.fixed[name]

    def values(self, name: str) -> list[bytes]:
        """Each value of a varying column."""
        return self.varying[name].without_length().tolist()

    def by(self, *names: str) -> "Columns":
        """The same rows in the order of some fixed columns, the first foremost."""
        order = np.lexsort([self.fixed[name] for name in reversed(names)])
        fixed = {name: column[order] for name, column in self.fixed.items()}
        varying = {
            name: Pieces(pieces.data, pieces.starts[order], pieces.lengths[order])
            for name, pieces in self.varying.items()
        }
        return Columns(self.rows, fixed, varying, self.counts)


class _Question(msgspec.Struct, frozen=True):
    """A question that answers `row_count`, these columns – what a value looks like, or its type – and these counts."""

    name: str
    fixed: dict[str, np.dtype[Any]]
    varying: dict[str, int] = {}
    counts: tuple[str, ...] = ()

    async def ask(self, connection: Connection, arguments: Mapping[str, Any]) -> Columns:
        try:
            row = await one_row(connection, self.name, arguments)
        except _UNLIKE_THE_TABLES as error:
            raise OutOfStep from error
        rows = row["row_count"]
        return Columns(
            rows,
            {name: _fixed(row[name] or b"", kind, rows) for name, kind in self.fixed.items()},
            {name: _varying(row[name], kind, rows) for name, kind in self.varying.items()},
            {name: row[name] for name in self.counts},
        )


def _fixed(data: bytes, kind: np.dtype[Any], rows: int) -> NDArray[Any]:
    require(len(data) == rows * kind.itemsize)
    column = np.frombuffer(data, kind)
    return column.astype(np.int64) if kind.kind in "iu" else column


def _varying(data: bytes | None, kind: int, rows: int) -> Pieces:
    if data is None:
        require(rows == 0)
        return Pieces(np.empty(0, np.uint8), np.empty(0, np.int64), np.empty(0, np.int64))
    require(data.startswith(_ARRAY_HEAD.pack(1, 0, kind, rows, 1)))
    (length,) = _length(data, _ARRAY_HEAD.size)
    width, every = LENGTH_BYTES + length, np.frombuffer(data, np.uint8)
    if _ARRAY_HEAD.size + rows * width == len(data):
        heads = np.ndarray(rows, _INTEGER, data, _ARRAY_HEAD.size, (width,))
        if (heads == length).all():
            return Pieces(every, _ARRAY_HEAD.size + width * np.arange(rows), np.full(rows, width))
    starts, at = [], _ARRAY_HEAD.size
    for _ in range(rows):
        starts.append(at)
        at += LENGTH_BYTES + _length(data, at)[0]
    ends = np.array([*starts, at])
    return Pieces(every, ends[:-1], np.diff(ends))


ENTRIES: Final = _Question(
    "entry_columns",
    {
        "sequence": _BIGINT,
        "recorded_at": _BIGINT,
        "block_number": _BIGINT,
        "key": _KEY,
        "effective_on": _INTEGER,
        "kind": _SMALLINT,
        "hold_action": _SMALLINT,
    },
    {"caller": _TEXT, "metadata": _BYTEA, "rare": _BYTEA},
    ("cap_count",),
)
POSTINGS: Final = _Question(
    "posting_columns",
    {
        "sequence": _BIGINT,
        "recorded_at": _BIGINT,
        "line": _SMALLINT,
        "debit_account": _BIGINT,
        "credit_account": _BIGINT,
        "amount_minor": _BIGINT,
        "debit_balance_after": _BIGINT,
        "credit_balance_after": _BIGINT,
        "has_available_on": _BOOLEAN,
    },
    {"rare": _BYTEA},
)
REFERENCES: Final = _Question("reference_columns", {"sequence": _BIGINT}, {"scheme": _TEXT, "value": _TEXT})
BLOCKS: Final = _Question(
    "block_columns",
    {
        "recorded_at": _BIGINT,
        "block_number": _BIGINT,
        "incarnation": _INTEGER,
        "layout_version": _SMALLINT,
        "first_sequence": _BIGINT,
        "last_sequence": _BIGINT,
    },
    {"previous_hash": _BYTEA, "hash": _BYTEA},
)
KEYS: Final = _Question(
    "key_columns", {"key": _KEY, "sequence": _BIGINT, "recorded_at": _BIGINT}, counts=("beyond_count",)
)


class RangeColumns(msgspec.Struct, frozen=True, kw_only=True):
    """A range: entries by sequence, postings by sequence and line, references by bytes, blocks by time."""

    range: Range
    entries: Columns
    postings: Columns
    references: Columns
    blocks: Columns

    @property
    def plain(self) -> bool:
        """Whether nothing in it is rare: no hold, draw, cap, reversal or group, nothing that is available later."""
        rare = (each.varying["rare"].lengths != _NOTHING_RARE_BYTES for each in (self.entries, self.postings))
        return not self.entries.counts["cap_count"] and not any(each.any() for each in rare)


async def read_columns(connection: Connection, range_: Range) -> RangeColumns:
    """Read a range.

    Raises:
        OutOfStep: a value is missing, or of another type than its column should be.
    """
    arguments = range_.arguments()
    # Blocks first, as whoever posts and whoever archives a month meets them.
    blocks = await BLOCKS.ask(connection, arguments)
    entries = await ENTRIES.ask(connection, arguments)
    postings = (await POSTINGS.ask(connection, arguments)).by("sequence", "line")
    references = await REFERENCES.ask(connection, arguments)
    return RangeColumns(range=range_, entries=entries, postings=postings, references=references, blocks=blocks)


async def read_keys(connection: Connection, arguments: Mapping[str, Any]) -> Columns:
    """A page of keys in their order, with how many of them lead beyond the head of the same moment.

    Raises:
        OutOfStep: a value is missing.
    """
    return await KEYS.ask(connection, arguments)
