"""The rows of a range of the books as columns: each in one value, which NumPy reads as it lies.

The database strings the values of a column together in its binary format, so that a range is a handful of values and
not one message a row. What it sends of a number, a moment or a key is as wide in every row; of text and bytes it sends
how long each is, too. A NULL is left out, which the size shows.
"""

from collections.abc import Mapping
from typing import Any, Final

import asyncpg
import msgspec
import numpy as np
from numpy.typing import NDArray

from ledger.checks import Range, one_row
from ledger.posting import Connection

Numbers = NDArray[np.int64]

_BIGINT, _INTEGER, _SMALLINT, _BOOLEAN = (np.dtype(kind) for kind in (">i8", ">i4", ">i2", "u1"))
_KEY: Final = np.dtype([("high", ">u8"), ("low", ">u8")])
_NOTHING_RARE_BYTES: Final = 1

_UNLIKE_THE_TABLES: Final = (
    asyncpg.UndefinedFunctionError,
    asyncpg.InvalidCachedStatementError,
    asyncpg.ProgramLimitExceededError,
)
"""A column is of another type than its table promises, or just became so; or a range has too much for one value."""


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

    @classmethod
    def in_turn(cls, data: NDArray[np.uint8], lengths: Numbers) -> "Pieces":
        """Those that lie one after the other."""
        return cls(data, np.cumsum(lengths) - lengths, lengths)

    def tolist(self) -> list[bytes]:
        """Each by itself."""
        data, ends = self.data.tobytes(), self.starts + self.lengths
        return [data[start:end] for start, end in zip(self.starts.tolist(), ends.tolist(), strict=True)]


class Columns(msgspec.Struct, frozen=True):
    """Rows by column: the fixed ones, numbers as int64, are found by index too.

    Attributes:
        varying: text and bytes; how long each is stands among the fixed columns as `…_bytes`.
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
    """A question that answers `row_count`, columns – those that are fixed by what a value looks like – and counts."""

    name: str
    fixed: dict[str, np.dtype[Any]]
    varying: tuple[str, ...] = ()
    counts: tuple[str, ...] = ()

    async def ask(self, connection: Connection, arguments: Mapping[str, Any]) -> Columns:
        try:
            row = await one_row(connection, self.name, arguments)
        except _UNLIKE_THE_TABLES as error:
            raise OutOfStep from error
        rows, kinds = row["row_count"], self.fixed | {f"{name}_bytes": _INTEGER for name in self.varying}
        fixed = {name: _fixed(row[name] or b"", kind, rows) for name, kind in kinds.items()}
        varying = {name: _varying(row[name] or b"", fixed[f"{name}_bytes"]) for name in self.varying}
        return Columns(rows, fixed, varying, {name: row[name] for name in self.counts})


def _fixed(data: bytes, kind: np.dtype[Any], rows: int) -> NDArray[Any]:
    require(len(data) == rows * kind.itemsize)
    column = np.frombuffer(data, kind)
    return column.astype(np.int64) if kind.kind in "iu" else column


def _varying(data: bytes, lengths: Numbers) -> Pieces:
    # Text where bytes should be comes as text.
    require(isinstance(data, bytes) and len(data) == lengths.sum())
    return Pieces.in_turn(np.frombuffer(data, np.uint8), lengths)


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
    ("caller", "metadata", "rare"),
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
    ("rare",),
)
REFERENCES: Final = _Question("reference_columns", {"sequence": _BIGINT}, ("scheme", "value"))
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
    ("previous_hash", "hash"),
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
        rare = any((each["rare_bytes"] > _NOTHING_RARE_BYTES).any() for each in (self.entries, self.postings))
        return not rare and not self.entries.counts["cap_count"]


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
