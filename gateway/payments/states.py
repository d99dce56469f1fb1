"""The states of intents, attempts, refunds, claims, links and disputes, and which moves between them are legal.

The same moves stand in `gateway.legal_moves`; the writer joins every move against that table and a test compares
the two, so neither can drift.
"""

from enum import StrEnum
from typing import Final


class IntentStatus(StrEnum):
    """Where a payment stands for its merchant."""

    REQUIRES_PAYMENT_METHOD = "requires_payment_method"
    REQUIRES_CONFIRMATION = "requires_confirmation"
    REQUIRES_ACTION = "requires_action"
    PROCESSING = "processing"
    REQUIRES_CAPTURE = "requires_capture"
    SUCCEEDED = "succeeded"
    CANCELED = "canceled"
    EXPIRED = "expired"
    CONFLICTED = "conflicted"


class Qualifier(StrEnum):
    """What else is true of the money: what is over, short or late is held for the payer, never the merchant's.

    Attributes:
        MARKED_MANUALLY: two people, not the provider, said that it was paid; see `overrides.py`.
    """

    PARTIALLY_PAID = "partially_paid"
    OVERPAID = "overpaid"
    PAID_LATE = "paid_late"
    MARKED_MANUALLY = "marked_manually"


class AttemptStatus(StrEnum):
    """Where one try at one provider stands; in order of rank, the later of two wins.

    Attributes:
        ABANDONED: given up by us, because nobody can pay it: the provider's answer was lost, with all that its payer
            would have needed. Money that comes all the same is booked as of any other attempt.
    """

    SUBMITTED = "submitted"
    NOT_ATTEMPTED = "not_attempted"
    UNKNOWN = "unknown"
    PENDING = "pending"
    ABANDONED = "abandoned"
    AUTHORIZED = "authorized"
    DECLINED = "declined"
    EXPIRED = "expired"
    VOIDED = "voided"
    CAPTURED = "captured"


class RefundStatus(StrEnum):
    """Where a refund stands inside; merchants see all before the end as `pending`.

    Attributes:
        REQUESTED: row committed, the ledger not asked yet or its answer not recorded.
        REQUIRES_ACTION: the money is set aside and the payer has not claimed it yet.
        RESERVED: the money is set aside and the provider certainly was not reached.
        SUBMITTED: the provider is being called.
        CONFLICTED: the provider said both succeeded and failed; a person must look.
    """

    REQUESTED = "requested"
    REQUIRES_ACTION = "requires_action"
    RESERVED = "reserved"
    SUBMITTED = "submitted"
    UNKNOWN = "unknown"
    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CONFLICTED = "conflicted"


class ClaimState(StrEnum):
    """How far the claim of a payer got: until it is claimed it is an offer, then a transfer to the payer's bank.

    Attributes:
        OPEN: the payer has not named a bank account yet; CLAIMED: has, and an operator must let the transfer go.
        SUBMITTED to PAID: as of payouts; paid only by a line of the bank's statement.
        REJECTED: by an operator or by the bank, before any debit.
    """

    OPEN = "open"
    CLAIMED = "claimed"
    APPROVED = "approved"
    SUBMITTED = "submitted"
    UNKNOWN = "unknown"
    IN_TRANSIT = "in_transit"
    PAID = "paid"
    RETURNED = "returned"
    EXPIRED = "expired"
    REJECTED = "rejected"


class LinkStatus(StrEnum):
    """Whether a payment link takes payments."""

    ACTIVE = "active"
    INACTIVE = "inactive"


class DisputeStatus(StrEnum):
    """Where a dispute stands.

    Attributes:
        WARNING: a question before any claim; NEEDS_RESPONSE: a claim that waits for evidence.
        ACCEPTED: the merchant gave in; EXPIRED: nobody answered in time.
        CONFLICTED: the provider said both won and lost; a person must look.
    """

    WARNING = "warning"
    NEEDS_RESPONSE = "needs_response"
    UNDER_REVIEW = "under_review"
    WON = "won"
    LOST = "lost"
    ACCEPTED = "accepted"
    EXPIRED = "expired"
    CONFLICTED = "conflicted"


ANSWERABLE_DISPUTES: Final = frozenset({DisputeStatus.WARNING, DisputeStatus.NEEDS_RESPONSE})
"""Disputes that wait for the merchant: evidence may be sent, or the claim accepted."""

ENDED_DISPUTES: Final = frozenset(
    {DisputeStatus.WON, DisputeStatus.LOST, DisputeStatus.ACCEPTED, DisputeStatus.EXPIRED, DisputeStatus.CONFLICTED}
)
"""Disputes in which nothing is to be done, until a later stage opens them again."""

OPEN_ATTEMPTS: Final = frozenset(
    {AttemptStatus.SUBMITTED, AttemptStatus.UNKNOWN, AttemptStatus.PENDING, AttemptStatus.AUTHORIZED}
)
"""Attempts that may still bring money: an intent has at most one, and the janitor asks about it."""

RESERVED_REFUNDS: Final = frozenset(
    {
        RefundStatus.REQUIRES_ACTION,
        RefundStatus.RESERVED,
        RefundStatus.SUBMITTED,
        RefundStatus.UNKNOWN,
        RefundStatus.PENDING,
    }
)
"""Refunds whose money is set aside and whose end is open."""

ENDED_REFUNDS: Final = frozenset({RefundStatus.SUCCEEDED, RefundStatus.FAILED, RefundStatus.CONFLICTED})
"""Refunds that nobody needs to ask about again."""

_I, _R, _C, _D = IntentStatus, RefundStatus, ClaimState, DisputeStatus

_ANY_END: Final = frozenset({_I.REQUIRES_PAYMENT_METHOD, _I.SUCCEEDED, _I.CANCELED, _I.EXPIRED, _I.CONFLICTED})

INTENT_MOVES: Final[dict[IntentStatus, frozenset[IntentStatus]]] = {
    # To the paid states where a provider that we thought out of reach had the request after all.
    _I.REQUIRES_PAYMENT_METHOD: frozenset(IntentStatus) - {_I.REQUIRES_PAYMENT_METHOD},
    _I.REQUIRES_CONFIRMATION: _ANY_END | {_I.REQUIRES_ACTION, _I.PROCESSING, _I.REQUIRES_CAPTURE},
    _I.REQUIRES_ACTION: _ANY_END | {_I.PROCESSING, _I.REQUIRES_CAPTURE},
    # To `requires_action` when the same request, sent again under the same key, tells the payer what to do after all.
    _I.PROCESSING: _ANY_END | {_I.REQUIRES_ACTION, _I.REQUIRES_CAPTURE},
    _I.REQUIRES_CAPTURE: _ANY_END,
    # Money paid in time and reported late: expiry and cancelling ask the provider first, but an answer can be behind.
    _I.EXPIRED: frozenset({_I.SUCCEEDED, _I.CANCELED, _I.CONFLICTED}),
    _I.CANCELED: frozenset({_I.SUCCEEDED, _I.CONFLICTED}),
    _I.SUCCEEDED: frozenset({_I.CONFLICTED}),
    _I.CONFLICTED: frozenset(),
}
"""Every status an intent may go to. Out of `conflicted` only a person leads."""

ATTEMPT_MOVES: Final[dict[AttemptStatus, frozenset[AttemptStatus]]] = {
    status: frozenset(list(AttemptStatus)[rank + 1 :]) for rank, status in enumerate(AttemptStatus)
}
"""An attempt only rises in rank."""

REFUND_MOVES: Final[dict[RefundStatus, frozenset[RefundStatus]]] = {
    _R.REQUESTED: frozenset({_R.REQUIRES_ACTION, _R.SUBMITTED, _R.FAILED}),
    _R.REQUIRES_ACTION: frozenset({_R.PENDING, _R.FAILED}),
    _R.RESERVED: frozenset({_R.SUBMITTED, _R.PENDING, _R.SUCCEEDED, _R.FAILED, _R.CONFLICTED}),
    _R.SUBMITTED: frozenset({_R.RESERVED, _R.UNKNOWN, _R.PENDING, _R.SUCCEEDED, _R.FAILED, _R.CONFLICTED}),
    _R.UNKNOWN: frozenset({_R.PENDING, _R.SUCCEEDED, _R.FAILED, _R.CONFLICTED}),
    _R.PENDING: frozenset({_R.SUCCEEDED, _R.FAILED, _R.CONFLICTED}),
    # To `failed` where the payer's bank sent a claimed refund back.
    _R.SUCCEEDED: frozenset({_R.FAILED, _R.CONFLICTED}),
    _R.FAILED: frozenset({_R.CONFLICTED}),
    _R.CONFLICTED: frozenset(),
}
"""Every status a refund may go to."""

CLAIM_MOVES: Final[dict[ClaimState, frozenset[ClaimState]]] = {
    _C.OPEN: frozenset({_C.CLAIMED, _C.EXPIRED, _C.REJECTED}),
    _C.CLAIMED: frozenset({_C.APPROVED, _C.REJECTED}),
    _C.APPROVED: frozenset({_C.SUBMITTED, _C.REJECTED}),
    _C.SUBMITTED: frozenset({_C.IN_TRANSIT, _C.UNKNOWN, _C.PAID, _C.REJECTED}),
    _C.UNKNOWN: frozenset({_C.IN_TRANSIT, _C.PAID, _C.REJECTED}),
    _C.IN_TRANSIT: frozenset({_C.PAID, _C.REJECTED}),
    _C.PAID: frozenset({_C.RETURNED}),
    _C.RETURNED: frozenset(),
    _C.EXPIRED: frozenset(),
    _C.REJECTED: frozenset(),
}
"""Every state a claim may go to."""

LINK_MOVES: Final[dict[LinkStatus, frozenset[LinkStatus]]] = {
    LinkStatus.ACTIVE: frozenset({LinkStatus.INACTIVE}),
    LinkStatus.INACTIVE: frozenset(),
}
"""A link is taken back once and for all."""


_REOPENED: Final = frozenset({_D.NEEDS_RESPONSE, _D.UNDER_REVIEW})

DISPUTE_MOVES: Final[dict[DisputeStatus, frozenset[DisputeStatus]]] = {
    _D.WARNING: _REOPENED | ENDED_DISPUTES,
    _D.NEEDS_RESPONSE: frozenset({_D.UNDER_REVIEW}) | ENDED_DISPUTES,
    _D.UNDER_REVIEW: frozenset({_D.NEEDS_RESPONSE, _D.WON, _D.LOST, _D.CONFLICTED}),
    # Out of an end leads the next stage, whichever of its facts comes first, and the provider's decision.
    _D.WON: _REOPENED | {_D.LOST, _D.CONFLICTED},
    _D.LOST: _REOPENED | {_D.WON, _D.CONFLICTED},
    _D.ACCEPTED: _REOPENED | {_D.WON, _D.LOST, _D.CONFLICTED},
    _D.EXPIRED: _REOPENED | {_D.WON, _D.LOST, _D.CONFLICTED},
    _D.CONFLICTED: frozenset(),
}
"""Every status a dispute may go to."""


def legal_moves() -> frozenset[tuple[str, str, str]]:
    """All legal moves as (object, from, to): the content of `gateway.legal_moves`."""
    return frozenset(
        (subject, before.value, after.value)
        for subject, moves in (
            ("intent", INTENT_MOVES),
            ("attempt", ATTEMPT_MOVES),
            ("refund", REFUND_MOVES),
            ("claim", CLAIM_MOVES),
            ("payment_link", LINK_MOVES),
            ("dispute", DISPUTE_MOVES),
        )
        for before, afters in moves.items()
        for after in afters
    )
