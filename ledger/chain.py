"""The chain of blocks: what is sealed, byte by byte. Layout version 1.

Each call that posts writes one block. Integers are big-endian; a date is int4 days and a timestamptz int8
microseconds, both since 2000-01-01 (UTC); text is UTF-8.

    entry     0x00 ‖ 0x01 ‖ int8 book_id ‖ int8 sequence ‖ int8 recorded_at ‖ int8 block_number ‖ 16 bytes key
              ‖ int4 effective_on ‖ int2 kind ‖ text caller ‖ bytes metadata
              ‖ int4 number of postings ‖ int4 number of references ‖ rare
    rare      0x00 when all of these are NULL, else 0x01 ‖ record(booked_on, occurred_at, group_first, draws_on,
              drawn_minor, drawable_minor, reverses, hold_action, hold, and of the hold that this entry placed:
              hold_debit_account, hold_credit_account, hold_amount_minor, hold_expires_at)
    posting   int2 line ‖ int8 debit_account ‖ int8 credit_account ‖ int8 amount_minor
              ‖ int8 debit_balance_after ‖ int8 credit_balance_after
              ‖ (0x00 when all of these are NULL, else 0x01 ‖ record(reverses_line, available_on, up_to_minor))
    reference text scheme ‖ text value
    leaf    = SHA-256(entry ‖ its postings by line ‖ its references by the bytes of scheme, value)
    header  = record(layout_version, book_id, incarnation, block_number, first_sequence, last_sequence, recorded_at)
    block   = SHA-256(previous block ‖ header ‖ SHA-256(leaves in order of sequence))

Text and bytes are an int4 length and that many bytes. A record is PostgreSQL's `record_send`: int4 number of columns;
for each column int4 type, int4 length (−1 = NULL) and that many bytes. A posting's book, sequence and recorded_at are
its entry's, so they are sealed with it. The genesis block is number 0, holds no entry (first 1, last 0) and follows
32 zero bytes; the block that follows a restore holds no entry either (last = first − 1).
This module is the second road: it computes from columns in plain Python what `post_entries_v1` computed in SQL.
`verify_proof.py` is a third, for people who have nothing of ours.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from hashlib import sha256
from itertools import starmap
from operator import itemgetter
from struct import Struct
from typing import Any, Final

LAYOUT_VERSION: Final = 1
"""What is written today."""
GENESIS_PREVIOUS: Final = bytes(32)

Row = Mapping[str, Any]

_EPOCH_DAY: Final = date(2000, 1, 1).toordinal()
_EPOCH_AT: Final = datetime(2000, 1, 1, tzinfo=UTC)
_BIGINT, _SMALLINT, _INTEGER, _DATE, _TIMESTAMPTZ = 20, 21, 23, 1082, 1184
_PAIR: Final = Struct(">ii")
_LENGTH: Final = Struct(">i")
_ENTRY: Final = Struct(">BBqqqq16sihi")
_POSTING: Final = Struct(">hqqqqqB")

_RARE: Final = (
    ("booked_on", _DATE),
    ("occurred_at", _TIMESTAMPTZ),
    ("group_first", _BIGINT),
    ("draws_on", _BIGINT),
    ("drawn_minor", _BIGINT),
    ("drawable_minor", _BIGINT),
    ("reverses", _BIGINT),
    ("hold_action", _SMALLINT),
    ("hold", _BIGINT),
)
_HOLD: Final = (
    ("hold_debit_account", _BIGINT),
    ("hold_credit_account", _BIGINT),
    ("hold_amount_minor", _BIGINT),
    ("hold_expires_at", _TIMESTAMPTZ),
)
_POSTING_RARE: Final = (("reverses_line", _SMALLINT), ("available_on", _DATE), ("up_to_minor", _BIGINT))
_HEADER: Final = (
    ("layout_version", _SMALLINT),
    ("book_id", _BIGINT),
    ("incarnation", _INTEGER),
    ("block_number", _BIGINT),
    ("first_sequence", _BIGINT),
    ("last_sequence", _BIGINT),
    ("recorded_at", _TIMESTAMPTZ),
)
_RARE_KINDS: Final = tuple(kind for _, kind in _RARE + _HOLD)
_POSTING_RARE_KINDS: Final = tuple(kind for _, kind in _POSTING_RARE)
_HEADER_KINDS: Final = tuple(kind for _, kind in _HEADER)
SEALED_ENTRY_COLUMNS: Final = (
    *("book_id", "sequence", "recorded_at", "block_number", "key", "effective_on", "kind", "caller", "metadata"),
    *(name for name, _ in _RARE + _HOLD),
)
"""What of an entry is sealed by layout 1, and so shown by proofs."""
SEALED_POSTING_COLUMNS: Final = (
    *("line", "debit_account", "credit_account", "amount_minor", "debit_balance_after", "credit_balance_after"),
    *(name for name, _ in _POSTING_RARE),
)
SEALED_BLOCK_COLUMNS: Final = (*(name for name, _ in _HEADER), "previous_hash")
_NO_HOLD: Final = (None,) * len(_HOLD)
_NOTHING_RARE: Final = (None,) * len(_RARE_KINDS)
_NOTHING_RARE_OF_POSTING: Final = (None,) * len(_POSTING_RARE)

_Values = Callable[[Any], tuple[Any, ...]]
_rare_of: Final[_Values] = itemgetter(*(name for name, _ in _RARE))
_hold_of: Final[_Values] = itemgetter(*(name for name, _ in _HOLD))
_posting_rare_of: Final[_Values] = itemgetter(*(name for name, _ in _POSTING_RARE))
_header_of: Final[_Values] = itemgetter(*(name for name, _ in _HEADER))
_line_of: Final[Callable[[Any], int]] = itemgetter("line")


def leaf_hash(
    entry: Row, postings: Sequence[Row], references: Sequence[Row], layout_version: int = LAYOUT_VERSION
) -> bytes:
    """The leaf of an entry, from the columns of its rows; postings and references in any order.

    Args:
        entry: the columns of `ledger.entries`, and `hold_*` of the hold that it placed; those may be left out.
        postings: the columns of its rows in `ledger.postings`.
        references: its schemes and values.
        layout_version: of its block.

    Raises:
        KeyError: the layout version is unknown, or a column is missing.
    """
    return LAYOUTS[layout_version](entry, postings, references)


def block_hash(block: Row, leaves: Iterable[bytes]) -> bytes:
    """The hash of a block, from its columns (with `previous_hash`) and its leaves in order of sequence."""
    header = _record(_HEADER_KINDS, _header_of(block))
    return sha256(block["previous_hash"] + header + sha256(b"".join(leaves)).digest()).digest()


def _leaf_v1(entry: Row, postings: Sequence[Row], references: Sequence[Row]) -> bytes:
    caller, metadata = entry["caller"].encode(), entry["metadata"]
    parts = [
        _ENTRY.pack(
            0,
            1,
            entry["book_id"],
            entry["sequence"],
            _microseconds(entry["recorded_at"]),
            entry["block_number"],
            entry["key"].bytes,
            entry["effective_on"].toordinal() - _EPOCH_DAY,
            entry["kind"],
            len(caller),
        ),
        caller,
        _LENGTH.pack(len(metadata)),
        metadata,
        _PAIR.pack(len(postings), len(references)),
        _rare_v1(entry),
    ]
    if len(postings) > 1:
        postings = sorted(postings, key=_line_of)
    for posting in postings:
        rare = _posting_rare_of(posting)
        has_rare = rare != _NOTHING_RARE_OF_POSTING
        parts.append(
            _POSTING.pack(
                posting["line"],
                posting["debit_account"],
                posting["credit_account"],
                posting["amount_minor"],
                posting["debit_balance_after"],
                posting["credit_balance_after"],
                has_rare,
            )
        )
        if has_rare:
            parts.append(_record(_POSTING_RARE_KINDS, rare))
    if references:
        pairs = sorted((row["scheme"].encode(), row["value"].encode()) for row in references)
        parts += (
            b"".join((_LENGTH.pack(len(scheme)), scheme, _LENGTH.pack(len(value)), value)) for scheme, value in pairs
        )
    return sha256(b"".join(parts)).digest()


LAYOUTS: Final[dict[int, Callable[[Row, Sequence[Row], Sequence[Row]], bytes]]] = {1: _leaf_v1}
"""How a leaf is computed, by the layout version of its block."""


def _rare_v1(entry: Row) -> bytes:
    values = _rare_of(entry) + (_hold_of(entry) if "hold_debit_account" in entry else _NO_HOLD)
    return b"\x00" if values == _NOTHING_RARE else b"\x01" + _record(_RARE_KINDS, values)


def _record(kinds: Sequence[int], values: Sequence[Any]) -> bytes:
    return _LENGTH.pack(len(kinds)) + b"".join(starmap(_column, zip(kinds, values, strict=True)))


def _column(kind: int, value: Any) -> bytes:
    if value is None:
        return _PAIR.pack(kind, -1)
    data = _BYTES_OF[kind](value)
    return _PAIR.pack(kind, len(data)) + data


@lru_cache(maxsize=64)
def _microseconds(moment: datetime) -> int:
    """Microseconds since 2000; the entries of a block share theirs."""
    since = moment - _EPOCH_AT
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


_BYTES_OF: Final[dict[int, Callable[[Any], bytes]]] = {
    _BIGINT: Struct(">q").pack,
    _SMALLINT: Struct(">h").pack,
    _INTEGER: Struct(">i").pack,
    _DATE: lambda day: _LENGTH.pack(day.toordinal() - _EPOCH_DAY),
    _TIMESTAMPTZ: lambda moment: Struct(">q").pack(_microseconds(moment)),
}
