"""Layout version 1, byte by byte: what a leaf and a block are the hashes of."""

from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from uuid import UUID

import pytest

from ledger.chain import LAYOUTS, block_hash, leaf_hash

AT = datetime(2000, 1, 2, 0, 0, 1, 7, tzinfo=UTC)
ENTRY = {
    "book_id": 1000,
    "sequence": 5,
    "recorded_at": AT,
    "block_number": 3,
    "key": UUID("0123456789abcdef0123456789abcdef"),
    "effective_on": date(1999, 12, 31),
    "kind": 310,
    "caller": "acct_ก",
    "metadata": b"\x00\xff",
    "booked_on": None,
    "occurred_at": None,
    "group_first": None,
    "draws_on": None,
    "drawn_minor": None,
    "drawable_minor": None,
    "reverses": None,
    "hold_action": None,
    "hold": None,
}
POSTING = {
    "line": 1,
    "debit_account": 1,
    "credit_account": 2,
    "amount_minor": 1_000,
    "debit_balance_after": 1_000,
    "credit_balance_after": -1,
    "reverses_line": None,
    "available_on": None,
    "up_to_minor": None,
}
FIXED = (
    "0001 00000000000003e8 0000000000000005 000000141de6a247 0000000000000003 0123456789abcdef0123456789abcdef"
    "ffffffff 0136 00000008 616363745fe0b881 00000002 00ff"
)
LINE = "0000000000000001 0000000000000002 00000000000003e8 00000000000003e8 ffffffffffffffff"
NULLS = "0000043affffffff 000004a0ffffffff" + "00000014ffffffff" * 5 + "00000015ffffffff 00000014ffffffff"


def sealed(*parts: str) -> bytes:
    return sha256(bytes.fromhex("".join(parts))).digest()


def test_a_plain_entry():
    assert leaf_hash(ENTRY, [POSTING], []) == sealed(FIXED, "00000001 00000000 00", "0001", LINE, "00")


def test_an_entry_without_anything_optional():
    plain = {**ENTRY, "caller": "", "metadata": b""}
    fixed = FIXED.replace("00000008 616363745fe0b881 00000002 00ff", "00000000 00000000")
    assert leaf_hash(plain, [], []) == sealed(fixed, "00000000 00000000 00")


def test_postings_are_by_line_and_references_by_their_bytes():
    second = {**POSTING, "line": 2, "reverses_line": 1, "available_on": date(2000, 1, 3), "up_to_minor": None}
    references = [
        {"scheme": "scb", "value": "ก"},
        {"scheme": "scb", "value": "b"},
        {"scheme": "sca", "value": ""},
    ]
    expected = sealed(
        FIXED,
        "00000002 00000003 00",
        *("0001", LINE, "00"),
        *("0002", LINE, "01 00000003 00000015 00000002 0001 0000043a 00000004 00000002 00000014 ffffffff"),
        *("00000003 736361 00000000", "00000003 736362 00000001 62", "00000003 736362 00000003 e0b881"),
    )
    assert leaf_hash(ENTRY, [POSTING, second], references) == expected
    assert leaf_hash(ENTRY, [second, POSTING], references[::-1]) == expected


def test_a_hold_that_the_entry_placed_is_sealed_and_the_columns_may_be_missing():
    nothing = {f"hold_{name}": None for name in ("debit_account", "credit_account", "amount_minor", "expires_at")}
    assert leaf_hash({**ENTRY, **nothing}, [POSTING], []) == leaf_hash(ENTRY, [POSTING], [])
    placed = {
        **ENTRY,
        **nothing,
        "hold_action": 1,
        "hold_debit_account": 7,
        "hold_credit_account": 8,
        "hold_amount_minor": 9,
    }
    rare = NULLS.replace("00000015ffffffff", "00000015 00000002 0001")
    hold = "00000014 00000008 0000000000000007 00000014 00000008 0000000000000008 00000014 00000008 0000000000000009"
    assert leaf_hash(placed, [], []) == sealed(FIXED, "00000000 00000000 01 0000000d", rare, hold, "000004a0 ffffffff")
    assert leaf_hash({**placed, "hold_expires_at": AT}, [], []) == sealed(
        FIXED, "00000000 00000000 01 0000000d", rare, hold, "000004a0 00000008 000000141de6a247"
    )


CHANGES = {
    "booked_on": date(2026, 1, 1),
    "occurred_at": AT,
    "group_first": 4,
    "draws_on": 2,
    "drawn_minor": -3,
    "drawable_minor": 1,
    "reverses": 4,
    "hold_action": 2,
    "hold": 1,
    "book_id": 1001,
    "sequence": 6,
    "recorded_at": AT + timedelta(microseconds=1),
    "block_number": 4,
    "key": UUID(int=1),
    "effective_on": date(2000, 1, 1),
    "kind": 311,
    "caller": "acct_",
    "metadata": b"\x00",
}


def test_every_column_is_sealed_and_the_layout_version_must_be_known():
    assert CHANGES.keys() == ENTRY.keys()
    leaves = {leaf_hash({**ENTRY, name: value}, [POSTING], []) for name, value in CHANGES.items()}
    changes = {**{name: value + 1 for name, value in POSTING.items() if value is not None}, "reverses_line": 1}
    changes |= {"available_on": AT.date(), "up_to_minor": 0}
    assert changes.keys() == POSTING.keys()
    leaves |= {leaf_hash(ENTRY, [{**POSTING, name: value}], []) for name, value in changes.items()}
    leaves |= {leaf_hash(ENTRY, [POSTING], []), leaf_hash(ENTRY, [], [])}
    assert len(leaves) == len(CHANGES) + len(changes) + 2
    assert list(LAYOUTS) == [1]
    with pytest.raises(KeyError):
        leaf_hash(ENTRY, [POSTING], [], 2)


def test_a_block_seals_its_header_the_block_before_and_its_leaves():
    block = {
        "layout_version": 1,
        "book_id": 1000,
        "incarnation": 2,
        "block_number": 3,
        "first_sequence": 5,
        "last_sequence": 6,
        "recorded_at": AT,
        "previous_hash": bytes(range(32)),
    }
    header = (
        "00000007 00000015 00000002 0001 00000014 00000008 00000000000003e8 00000017 00000004 00000002"
        "00000014 00000008 0000000000000003 00000014 00000008 0000000000000005 00000014 00000008 0000000000000006"
        "000004a0 00000008 000000141de6a247"
    )
    leaves = [bytes(32), bytes([1] * 32)]
    body = sha256(b"".join(leaves)).hexdigest()
    assert block_hash(block, leaves) == sealed(bytes(range(32)).hex(), header, body)
    assert block_hash(block, []) == sealed(bytes(range(32)).hex(), header, sha256().hexdigest())
