"""What can be written into the books: entries made of postings.

A posting names its debit account, its credit account and one amount, so it is balanced by construction.
An entry is one or more postings that are true together. None of these can be part of a cycle, so the garbage collector
need not walk them (`gc=False`): a program that posts makes thousands a second.
"""

from datetime import date, datetime
from enum import IntEnum, IntFlag, StrEnum
from typing import Final
from uuid import UUID

import msgspec

from ledger.chart_of_accounts import HOUSE, AccountKind
from ledger.money import AMOUNT_MINOR_MAX
from ledger.refusals import Refusal

_PENDING: Final = AccountKind.MERCHANT_PENDING


class EntryKind(IntEnum):
    """What happened. The database's `ledger.entry_kinds` says which are recording and which authorising."""

    PAYMENT_CAPTURED = 100
    PAYER_MONEY_HELD = 101
    PAYER_MONEY_ACCEPTED = 102
    PAYER_MONEY_RETURNED = 103
    PAYER_MONEY_CAME_BACK = 104
    PAYMENT_MARKED = 105
    PAYMENT_MARK_PROVED = 106
    REFUND_RESERVED = 200
    REFUND_SUCCEEDED = 201
    REFUND_FAILED = 202
    REFUND_PAID = 203
    REFUND_CAME_BACK = 204
    REFUND_MARKED = 205
    REFUND_MARK_PROVED = 206
    REFUND_MARK_UNDONE = 207
    DISPUTE_HELD = 220
    DISPUTE_RELEASED = 221
    DISPUTE_FUNDS_WITHDRAWN = 222
    DISPUTE_FUNDS_REINSTATED = 223
    DISPUTE_FEE_CHARGED = 224
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
    PAYOUT_MARKED = 404
    PAYOUT_MARK_PROVED = 405
    FX_EXCHANGED = 500
    FX_REVALUED = 501
    BOOK_TRANSFER_SENT = 600
    BOOK_TRANSFER_RECEIVED = 601
    HOLD_PLACED = 700
    HOLD_POSTED = 701
    HOLD_RELEASED = 702
    HOLD_EXPIRED = 703
    OPERATOR_ENTRY = 900
    ENTRY_REVERSED = 901
    PERIOD_ADJUSTED = 902
    YEAR_CLOSED = 903
    HISTORY_IMPORTED = 904


class EntryMode(StrEnum):
    """What may refuse an entry, by its kind.

    `recording` says what happened: no floor, freeze or closed period refuses it. `authorising` asks: all of them do.
    `adjusting` asks too, and may still go into a period that is closing.
    """

    RECORDING = "recording"
    AUTHORISING = "authorising"
    ADJUSTING = "adjusting"


AUTHORISING: Final = frozenset(
    {
        EntryKind.REFUND_RESERVED,
        EntryKind.PAYOUT_REQUESTED,
        EntryKind.FX_EXCHANGED,
        EntryKind.FX_REVALUED,
        EntryKind.BOOK_TRANSFER_SENT,
        EntryKind.HOLD_PLACED,
        EntryKind.HOLD_POSTED,
        EntryKind.OPERATOR_ENTRY,
        EntryKind.ENTRY_REVERSED,
    }
)
ADJUSTING: Final = frozenset({EntryKind.PERIOD_ADJUSTED, EntryKind.YEAR_CLOSED})
POSTABLE: Final = frozenset(
    {
        EntryKind.FX_EXCHANGED,
        EntryKind.FX_REVALUED,
        EntryKind.HOLD_PLACED,
        EntryKind.HOLD_POSTED,
        EntryKind.HOLD_RELEASED,
        EntryKind.OPERATOR_ENTRY,
        EntryKind.ENTRY_REVERSED,
        EntryKind.PERIOD_ADJUSTED,
    }
)
"""What operators may post by themselves; every other entry is made by the part of the product whose event it is."""


def mode_of(kind: EntryKind) -> EntryMode:
    """The mode of a kind, as the database's `entry_kinds` has it."""
    if kind in ADJUSTING:
        return EntryMode.ADJUSTING
    return EntryMode.AUTHORISING if kind in AUTHORISING else EntryMode.RECORDING


class AccountRef(msgspec.Struct, frozen=True, order=True, gc=False, cache_hash=True):
    """An account of a book by what it is. Opened on first use."""

    kind: AccountKind
    owner: str = HOUSE
    currency: str = "THB"


class UpTo(IntFlag):
    """Whose limit a balancing posting stops at: it posts as much as there is, up to its amount."""

    DEBIT_LIMIT = 1
    CREDIT_LIMIT = 2


class Posting(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One amount from the credit account to the debit account.

    Attributes:
        available_on: business date on which money in `merchant_pending` becomes available; set on every
            posting that touches that account and on no other.
        up_to: a balancing posting: what is posted is the amount or as much as the limits of these accounts leave,
            whichever is less; nothing at all is refused (`nothing_available`).
        reverses_line: in a reversal, the line of the original that this posting undoes.
    """

    debit: AccountRef
    credit: AccountRef
    amount_minor: int
    available_on: date | None = None
    up_to: UpTo | None = None
    reverses_line: int | None = None

    def __post_init__(self) -> None:
        """Hold what the type cannot say: bigint range, and `available_on` exactly where it belongs."""
        assert self.amount_minor <= AMOUNT_MINOR_MAX, "amount beyond bigint"
        pending = self.touches_pending(self.debit, self.credit)
        assert pending == (self.available_on is not None), "available_on belongs to merchant_pending, always"

    @staticmethod
    def touches_pending(debit: AccountRef, credit: AccountRef) -> bool:
        """Whether a posting between these accounts needs `available_on`."""
        return _PENDING in (debit.kind, credit.kind)  # a set would hash both, in Python


class ExternalReference(msgspec.Struct, frozen=True, gc=False):
    """What others call this entry: (`scb`, `qk0000000000000001`), (`payment_intent`, `pi_…`)."""

    scheme: str
    value: str


class Draw(msgspec.Struct, frozen=True, gc=False):
    """The earlier entry that this one draws on, by that entry's key.

    Attributes:
        amount_minor: > 0 draws on the original, < 0 gives a draw back. Σ draws − releases ≤ original, always.
    """

    original_key: UUID
    amount_minor: int


class HoldAction(IntEnum):
    """What an entry does to a hold; 2 … 4 resolve it, which happens at most once."""

    PLACE = 1
    POST = 2
    RELEASE = 3
    EXPIRE = 4


class HoldAct(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Makes an entry place or resolve a hold; see `holds.py`, which builds such entries.

    Attributes:
        hold_key: key of the entry that placed the hold; None when placing.
        expires_at: when placing, the moment from which the hold cannot be posted any more; None = never.
    """

    action: HoldAction
    hold_key: UUID | None = None
    expires_at: datetime | None = None

    def __post_init__(self) -> None:
        """A hold is placed by itself and resolved by name."""
        assert (self.action == HoldAction.PLACE) == (self.hold_key is None), "who resolves names the hold"
        assert self.expires_at is None or self.action == HoldAction.PLACE, "a hold expires as it was placed"


class JournalEntry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An entry to be posted. Everything in it is decided by the caller's own row, so a retry is identical.

    Attributes:
        key: permanent idempotency key; same key and content → the first entry again.
        effective_on: business date (Asia/Bangkok) of what happened.
        drawable_minor: how much later entries may draw on this one; None = nothing can.
        metadata: bytes as received, sealed as they are; no names, account numbers or e-mail in them.
        caller: who asked, an opaque id (`acct_…`, `op_…`, `system`).
        reverses: key of the entry that this one undoes, in full or in part (kind `ENTRY_REVERSED`; `reversals.py`).
        hold: what this entry does to a hold (kinds `HOLD_…`). Only HOLD_POSTED moves money.
        occurred_at: for imported history, when it happened elsewhere: never before the last imported moment of the
            book, never in the future.
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
    reverses: UUID | None = None
    hold: HoldAct | None = None
    occurred_at: datetime | None = None

    def __post_init__(self) -> None:
        """A hold is of one amount: how much was there would be another question at each resolution."""
        if self.hold is not None:
            assert not any(posting.up_to for posting in self.postings), "a hold has no balancing posting"


class LinkedGroup(msgspec.Struct, frozen=True, gc=False):
    """Entries that are posted all or none: one refusal refuses them all (the others with `group_refused`)."""

    entries: tuple[JournalEntry, ...]


class Posted(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The entry is in the books.

    Attributes:
        sequence: gapless number within the book.
        replayed: an earlier call posted it; this is that entry.
        floor_breached: a recording entry took an account below its floor: alert.
        freeze_breached: a recording entry moved a frozen account: alert.
        ceiling_breached: a recording entry took an account above its ceiling: alert.
        closed_breached: a recording entry moved a closed account: alert.
        booked_later: its business date lies in a period that is closing or closed, so it is booked on the first open
            day and keeps its date.
        amounts_minor: what the postings moved, where one was balancing; else empty.
    """

    key: UUID
    sequence: int
    recorded_at: datetime
    replayed: bool = False
    floor_breached: bool = False
    freeze_breached: bool = False
    ceiling_breached: bool = False
    closed_breached: bool = False
    booked_later: bool = False
    amounts_minor: tuple[int, ...] = ()


class Refused(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The entry is not in the books and left no trace."""

    key: UUID
    refusal: Refusal


PostingResult = Posted | Refused
