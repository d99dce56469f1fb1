"""What can be written into the books: entries made of postings.

A posting names its debit account, its credit account and one amount, so it is balanced by construction.
An entry is one or more postings that are true together.
"""

from datetime import date, datetime
from enum import IntEnum
from typing import Final
from uuid import UUID

import msgspec

from ledger.chart_of_accounts import HOUSE, AccountKind
from ledger.money import AMOUNT_MINOR_MAX
from ledger.refusals import Refusal


class EntryKind(IntEnum):
    """What happened. The database's `ledger.entry_kinds` says which are recording and which authorising."""

    PAYMENT_CAPTURED = 100
    PAYER_MONEY_HELD = 101
    PAYER_MONEY_ACCEPTED = 102
    PAYER_MONEY_RETURNED = 103
    REFUND_RESERVED = 200
    REFUND_SUCCEEDED = 201
    REFUND_FAILED = 202
    BECAME_AVAILABLE = 300
    MERCHANT_DEBT_RECOGNISED = 302
    MERCHANT_DEBT_RECOVERED = 303
    PROVIDER_SETTLED = 310
    PROVIDER_FEE_CHARGED = 311
    BANK_FEE_CHARGED = 312
    UNIDENTIFIED_CREDIT = 313
    RECEIPT_IDENTIFIED = 314
    PAYOUT_REQUESTED = 400
    PAYOUT_PAID = 401
    PAYOUT_REJECTED = 402
    PAYOUT_RETURNED = 403
    OPERATOR_ENTRY = 900


AUTHORISING: Final = frozenset({EntryKind.REFUND_RESERVED, EntryKind.PAYOUT_REQUESTED, EntryKind.OPERATOR_ENTRY})
"""Entries that respect floors, freezes and closed periods. All others record what already happened."""


class AccountRef(msgspec.Struct, frozen=True, order=True):
    """An account of a book by what it is. Opened on first use."""

    kind: AccountKind
    owner: str = HOUSE
    currency: str = "THB"


class Posting(msgspec.Struct, frozen=True, kw_only=True):
    """One amount from the credit account to the debit account.

    Attributes:
        available_on: business date on which money in `merchant_pending` becomes available; set on every
            posting that touches that account and on no other.
    """

    debit: AccountRef
    credit: AccountRef
    amount_minor: int
    available_on: date | None = None

    def __post_init__(self) -> None:
        """Hold what the type cannot say: bigint range, and `available_on` exactly where it belongs."""
        assert self.amount_minor <= AMOUNT_MINOR_MAX, "amount beyond bigint"
        pending = AccountKind.MERCHANT_PENDING in {self.debit.kind, self.credit.kind}
        assert pending == (self.available_on is not None), "available_on belongs to merchant_pending, always"


class ExternalReference(msgspec.Struct, frozen=True):
    """What others call this entry: (`scb`, `qk0000000000000001`), (`payment_intent`, `pi_…`)."""

    scheme: str
    value: str


class Draw(msgspec.Struct, frozen=True):
    """The earlier entry that this one draws on, by that entry's key.

    Attributes:
        amount_minor: > 0 draws on the original, < 0 gives a draw back. Σ draws − releases ≤ original, always.
    """

    original_key: UUID
    amount_minor: int


class JournalEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry to be posted. Everything in it is decided by the caller's own row, so a retry is identical.

    Attributes:
        key: permanent idempotency key; same key and content → the first entry again.
        effective_on: business date (Asia/Bangkok) of what happened.
        drawable_minor: how much later entries may draw on this one; None = nothing can.
        metadata: bytes as received, sealed as they are; no names, account numbers or e-mail in them.
        caller: who asked, an opaque id (`acct_…`, `op_…`, `system`).
    """

    key: UUID
    kind: EntryKind
    effective_on: date
    postings: tuple[Posting, ...]
    references: tuple[ExternalReference, ...] = ()
    draw: Draw | None = None
    drawable_minor: int | None = None
    metadata: bytes = b""
    caller: str = "system"


class Posted(msgspec.Struct, frozen=True, kw_only=True):
    """The entry is in the books.

    Attributes:
        sequence: gapless number within the book.
        replayed: an earlier call posted it; this is that entry.
        floor_breached: a recording entry took an account below its floor: alert.
        freeze_breached: a recording entry moved a frozen account: alert.
    """

    key: UUID
    sequence: int
    recorded_at: datetime
    replayed: bool = False
    floor_breached: bool = False
    freeze_breached: bool = False


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """The entry is not in the books and left no trace."""

    key: UUID
    refusal: Refusal


PostingResult = Posted | Refused
