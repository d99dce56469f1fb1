"""What a mirror keeps of accounts, caps and holds, and the columns that it writes."""

import struct
from collections.abc import Sequence
from typing import Any, Final

import msgspec

MOVED: Final = ("debits_posted", "credits_posted", "last_sequence", "debits_held", "credits_held")
POSTING: Final = (
    "sequence",
    "debit_account",
    "credit_account",
    "amount_minor",
    "debit_balance_after",
    "credit_balance_after",
    "line",
    "available_on",
)
HOLD: Final = ("sequence", "debit_account", "credit_account", "amount_minor", "expires_at")
RESOLUTION: Final = ("hold", "action", "posted_minor", "sequence")

COPY_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_HEADER_BYTES: Final = len(COPY_HEADER)
COPY_END: Final = b"\xff\xff"
INT2, INT4, INT8 = struct.Struct(">h"), struct.Struct(">i"), struct.Struct(">q")

Columns = dict[str, Sequence[Any]]


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """What one call writes.

    Attributes:
        shared: columns whose value is the same on every row of the call, wherever a table has them.
        inserted: table of the schema `ledger` → its other columns; one that is left out is NULL or its default.
        caps: new versions of caps, as columns.
        accounts: the accounts of which a new version is written, as they stand now.
    """

    shared: dict[str, Any]
    inserted: dict[str, Columns]
    caps: Columns
    accounts: Sequence["Account"]


class Account:
    """Totals of an account, the sign of its normal side, and every column that posting leaves alone.

    `rest` are those columns; `encoded` the same as binary COPY has them, made once: a baseline is not to spend its
    time on values that never change.
    """

    __slots__ = (
        "account_id",
        "credits",
        "credits_held",
        "debits",
        "debits_held",
        "encoded",
        "last_sequence",
        "rest",
        "sign",
    )

    def __init__(self, row: dict[str, Any]) -> None:
        self.sign = 1 if row.pop("normal_side") == "D" else -1
        self.account_id = row["account_id"]
        totals = [row.pop(name) for name in MOVED]
        self.debits, self.credits, self.last_sequence, self.debits_held, self.credits_held = totals
        self.rest = tuple(row.values())
        self.encoded = b""


class Hold:
    """A hold placed by this mirror."""

    __slots__ = ("amount", "credit", "debit", "sequence")

    def __init__(self, sequence: int, debit: Account, credit: Account, amount: int) -> None:
        self.sequence, self.debit, self.credit, self.amount = sequence, debit, credit, amount


class Cap:
    """What may be drawn on an entry, and what was."""

    __slots__ = ("drawable", "drawn", "sequence")

    def __init__(self, sequence: int, drawable: int, drawn: int) -> None:
        self.sequence, self.drawable, self.drawn = sequence, drawable, drawn


def split_copied(data: bytes) -> dict[int, bytes]:
    """What binary COPY gave, as (first column, a bigint) → the other columns of the row, still encoded."""
    found, at = {}, COPY_HEADER_BYTES
    while (columns := INT2.unpack_from(data, at)[0]) >= 0:
        at += INT2.size
        number = INT8.unpack_from(data, at + INT4.size)[0]
        start = at + INT4.size + INT8.size
        for _ in range(columns):
            at += INT4.size + max(INT4.unpack_from(data, at)[0], 0)
        found[number] = data[start:at]
    return found


def columns_of(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> Columns:
    """Rows turned into columns; nothing when there are none."""
    return dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else {}


def cap_columns(caps: Sequence[Cap]) -> Columns:
    """Caps as they stand, as columns; nothing when there are none."""
    if not caps:
        return {}
    return {
        "sequence": [cap.sequence for cap in caps],
        "drawable_minor": [cap.drawable for cap in caps],
        "drawn_minor": [cap.drawn for cap in caps],
    }
