"""Payments, refunds and disputes as merchants see them: in answers and in events, from the same function."""

from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from gateway.payments.dispute_records import DisputeRow
from gateway.payments.records import AttemptRow, IntentRow, RefundRow
from gateway.payments.states import AttemptStatus, DisputeStatus, IntentStatus, Qualifier, RefundStatus
from gateway.providers.base import Method, NextAction
from gateway.providers.dispute_terms import DisputeStage


class LastError(msgspec.Struct, frozen=True, kw_only=True):
    """Why the latest attempt came to nothing.

    Attributes:
        code: our stable word; `provider_not_attempted` where the provider certainly was not reached,
            `provider_answer_lost` where its QR never reached us and was given up.
        provider_code: the provider's own word.
        retryable: whether a new payment may well succeed unchanged.
        reason: why the payer is blocked, where the code is `payer_blocked`.
    """

    code: str
    provider_code: str | None
    retryable: bool
    reason: str | None = None


class LatestAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """The last try at a provider. `status` is `unknown` where nobody knows yet what became of it."""

    id: str
    provider: str
    status: AttemptStatus
    provider_reference: str | None
    created_at: datetime


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """A payment. All amounts are whole minor units of `currency`.

    Attributes:
        amount_received: all money that came; `amount_captured`: the part that is the merchant's, `amount_held`:
            the part held for the payer (too little, too much, paid twice or late) and not disputed by him.
        amount_returned: what was held for the payer and went back.
        amount_refundable: what a refund may still ask for; count on this figure, never on your own sum.
        amount_disputed: what payers' banks question or decided against you; it cannot be refunded, nor can what of it
            was held for the payer be accepted or given back.
        amount_capturable: what a capture may still take of an authorised payment; capture_before: until when.
        latest_attempt: None until the payment is confirmed.
        version: grows with every change; order events of one payment by it.
    """

    object: Literal["payment_intent"] = "payment_intent"
    id: str
    livemode: bool
    amount: int
    currency: str
    status: IntentStatus
    qualifiers: list[Qualifier]
    payment_method: Method | None
    capture_method: Literal["automatic", "manual"]
    amount_capturable: int
    amount_received: int
    amount_captured: int
    amount_held: int
    amount_returned: int
    amount_refunded: int
    amount_refundable: int
    amount_disputed: int
    next_action: NextAction | None
    last_error: LastError | None
    customer: str | None
    payment_link: str | None
    merchant_reference: str | None
    description: str
    metadata: dict[str, str]
    created_at: datetime
    expires_at: datetime | None
    capture_before: datetime | None
    version: int
    latest_attempt: LatestAttempt | None


class RefundError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a refund failed: our stable word and the provider's own."""

    code: str
    provider_code: str | None


class Refund(msgspec.Struct, frozen=True, kw_only=True):
    """A refund of a payment. Until it has succeeded or failed its money is set aside and it is `pending`.

    Attributes:
        status: `requires_action` while the payer has not claimed it.
        claim: the claim by which the payer gets it; None where the provider gives it back.
        claim_token: for the payer, in the answer that makes the refund and never again.
    """

    object: Literal["refund"] = "refund"
    id: str
    livemode: bool
    payment_intent: str
    amount: int
    currency: str
    status: str
    reason: str
    last_error: RefundError | None
    claim: str | None = None
    claim_token: str | None = None
    metadata: dict[str, str]
    created_at: datetime
    version: int


class Dispute(msgspec.Struct, frozen=True, kw_only=True):
    """A payer's bank questions a payment.

    Attributes:
        stage: how far it has gone; a later stage opens it anew. status: `warning` and `needs_response` wait for you.
        receipt: which money it is about: its `fact` in the payment's timeline.
        amount_held_part: what of `amount` is of money that was held for the payer, and pays first; none of it is yours.
        amount_withdrawn: what the provider took and did not give back; until then it is held.
        reason_code: why, in our words; provider_reason: in the provider's.
        evidence_due_at: until when you may answer.
        version: grows with every change; order events of one dispute by it.
    """

    object: Literal["dispute"] = "dispute"
    id: str
    livemode: bool
    payment_intent: str
    receipt: str | None
    amount: int
    amount_held_part: int
    currency: str
    stage: DisputeStage
    status: DisputeStatus
    amount_withdrawn: int
    reason_code: str
    provider_reason: str | None
    provider_reference: str
    evidence_due_at: datetime | None
    evidence_submitted_at: datetime | None
    created_at: datetime
    closed_at: datetime | None
    version: int


DECLINED_CODE: Final = "declined"
NOT_ATTEMPTED_CODE: Final = "provider_not_attempted"
ANSWER_LOST_CODE: Final = "provider_answer_lost"
_WIRE_STATUS: Final = {
    RefundStatus.REQUIRES_ACTION: "requires_action",
    RefundStatus.SUCCEEDED: "succeeded",
    RefundStatus.FAILED: "failed",
    RefundStatus.CONFLICTED: "conflicted",
}
_SHOWS_ACTION: Final = frozenset({IntentStatus.REQUIRES_ACTION})


def intent_view(intent: IntentRow, attempt: AttemptRow | None) -> Intent:
    """The payment with its latest attempt, if there was one."""
    return Intent(
        id=intent.intent_id,
        livemode=intent.livemode,
        amount=intent.amount_minor,
        currency=intent.currency.lower(),
        status=intent.status,
        qualifiers=sorted(intent.qualifiers),
        payment_method=intent.method,
        capture_method="manual" if intent.capture_later else "automatic",
        amount_capturable=_capturable_minor(intent),
        amount_received=intent.captured_minor + intent.held_minor,
        amount_captured=intent.captured_minor,
        amount_held=max(0, intent.held_minor - intent.returned_minor - intent.disputed_held_minor),
        amount_returned=intent.returned_minor,
        amount_refunded=intent.refunded_minor,
        amount_refundable=intent.refundable_minor if intent.status is IntentStatus.SUCCEEDED else 0,
        amount_disputed=intent.disputed_minor,
        next_action=attempt.next_action if attempt is not None and intent.status in _SHOWS_ACTION else None,
        last_error=_last_error(intent, attempt),
        customer=intent.customer_id,
        payment_link=intent.payment_link_id,
        merchant_reference=intent.merchant_reference,
        description=intent.description,
        metadata=intent.metadata,
        created_at=intent.created_at,
        expires_at=intent.expires_at,
        capture_before=None if attempt is None else attempt.capture_before,
        version=intent.version,
        latest_attempt=None if attempt is None else attempt_view(attempt),
    )


def attempt_view(attempt: AttemptRow) -> LatestAttempt:
    """The attempt."""
    return LatestAttempt(
        id=attempt.attempt_id,
        provider=attempt.provider,
        status=attempt.status,
        provider_reference=attempt.provider_reference,
        created_at=attempt.created_at,
    )


def _capturable_minor(intent: IntentRow) -> int:
    is_waiting = intent.status is IntentStatus.REQUIRES_CAPTURE and intent.capture_requested_at is None
    return intent.amount_minor if is_waiting else 0


def refund_view(refund: RefundRow, *, claim_token: str | None = None) -> Refund:
    """The refund; `claim_token` only in the answer that makes it."""
    return Refund(
        id=refund.refund_id,
        livemode=refund.livemode,
        payment_intent=refund.intent_id,
        amount=refund.amount_minor,
        currency=refund.currency.lower(),
        status=_WIRE_STATUS.get(refund.status, "pending"),
        reason=refund.reason,
        last_error=None
        if refund.failure_code is None
        else RefundError(code=refund.failure_code, provider_code=refund.provider_code),
        claim=refund.claim_id,
        claim_token=claim_token,
        metadata=refund.metadata,
        created_at=refund.created_at,
        version=refund.version,
    )


def dispute_view(dispute: DisputeRow) -> Dispute:
    """The dispute; never its evidence, which may tell of the payer."""
    return Dispute(
        id=dispute.dispute_id,
        livemode=dispute.livemode,
        payment_intent=dispute.intent_id,
        receipt=dispute.receipt_id,
        amount=dispute.amount_minor,
        amount_held_part=dispute.payer_minor,
        currency=dispute.currency.lower(),
        stage=dispute.stage,
        status=dispute.status,
        amount_withdrawn=dispute.withdrawn_minor,
        reason_code=dispute.reason_code,
        provider_reason=dispute.provider_reason,
        provider_reference=dispute.provider_dispute_id,
        evidence_due_at=dispute.evidence_due_at,
        evidence_submitted_at=dispute.evidence_submitted_at,
        created_at=dispute.created_at,
        closed_at=dispute.closed_at,
        version=dispute.version,
    )


def encoded(view: Any) -> bytes:
    """A view as the JSON of answers and events."""
    return msgspec.json.encode(view)


def _last_error(intent: IntentRow, attempt: AttemptRow | None) -> LastError | None:
    if intent.refused_code is not None and intent.status is IntentStatus.REQUIRES_PAYMENT_METHOD:
        return LastError(code=intent.refused_code, provider_code=None, retryable=False, reason=intent.refused_reason)
    if attempt is None:
        return None
    match attempt.status:
        case AttemptStatus.NOT_ATTEMPTED:
            return LastError(code=NOT_ATTEMPTED_CODE, provider_code=attempt.provider_code, retryable=True)
        case AttemptStatus.ABANDONED | AttemptStatus.VOIDED if intent.status is IntentStatus.REQUIRES_PAYMENT_METHOD:
            code = attempt.failure_code or ANSWER_LOST_CODE
            return LastError(code=code, provider_code=attempt.provider_code, retryable=code == ANSWER_LOST_CODE)
        case AttemptStatus.DECLINED | AttemptStatus.VOIDED:
            failure = attempt.failure_code or (DECLINED_CODE if attempt.status is AttemptStatus.DECLINED else None)
            return LastError(code=failure, provider_code=attempt.provider_code, retryable=False) if failure else None
        case _:
            return None
