"""TrueMoney's words on the wire (ISV API) and what they mean in facts. An unknown word is never guessed."""

import re
from datetime import datetime
from typing import Annotated, Final, TypeVar

import msgspec

from gateway.providers.base import NOT_JSON, Fact, FactKind, FactSource

Data = TypeVar("Data")

NAME: Final = "truemoney"
CURRENCY: Final = "THB"
SUCCESS: Final = "success"
NOT_FOUND: Final = "payment_not_found"
DUPLICATE_PAYMENT: Final = "duplicate_isv_payment_ref"
DUPLICATE_REFUND: Final = "duplicate_isv_refund_ref"
"""ASSUMED, as the two above: only `success`, `invalid_payment_code` and `insufficient_fund` were seen in clients. Were
the true words others, they would be unknown to us, so that the payment is inquired about and nothing is lost."""
NOT_LET_IN: Final = {"invalid_signature", "invalid_api_key"}
"""ASSUMED words for a request that was not looked at."""
CHARGE_REFUSALS: Final = {
    "insufficient_fund": "insufficient_funds",
    "invalid_payment_code": "wallet_code_invalid",
    "invalid_request": "invalid_request",
}
"""The first two were seen; `invalid_request`, for a field that is missing or wrong, is ASSUMED."""
REFUND_REFUSALS: Final = {
    "refund_amount_exceeded": "refund_refused",
    "refund_not_allowed": "refund_refused",
    "payment_not_found": "charge_not_found",
    "invalid_request": "invalid_request",
}
"""All ASSUMED: no client shows the words of a refused refund."""
BUSINESS_WORDS: Final = {SUCCESS, DUPLICATE_PAYMENT, DUPLICATE_REFUND, *CHARGE_REFUSALS, *REFUND_REFUSALS}

CHARGE_KINDS: Final = {
    "succeeded": FactKind.CAPTURED,
    "failed": FactKind.DECLINED,
    "pending": FactKind.PENDING,
    "processing": FactKind.PENDING,
}
"""`pending` and `processing` are ASSUMED; succeeded and failed were seen."""
REFUND_KINDS: Final = {
    "succeeded": FactKind.REFUND_SUCCEEDED,
    "failed": FactKind.REFUND_FAILED,
    "pending": FactKind.REFUND_PENDING,
    "processing": FactKind.REFUND_PENDING,
}
"""Only `succeeded` was seen; the others are ASSUMED to be those of a payment."""
FAILURE_CODES: Final = {**CHARGE_REFUSALS, "payment_expired": "expired"}
"""`payment_expired`, of a checkout that nobody paid, is ASSUMED."""
OTHER_FAILURE: Final = "declined"
"""A payment that failed has failed, whatever the word for it; theirs stands beside ours."""
OUR_KEY: Final = re.compile(r"[A-Z0-9]{1,20}")
"""What a provider key of ours looks like. A refund under another reference (made in TrueMoney's portal, or its own for
a notification that was not taken) is nobody's whom we could tell."""

PaymentId = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,32}\Z")]
"""ASSUMED: every id that was seen is digits only; so our key, which has letters, is never taken for one."""
PAYMENT_ID: Final = re.compile(r"[0-9]{1,32}")
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
AmountMinor = Annotated[int, msgspec.Meta(gt=0, lt=2**53)]


class Misunderstood(Exception):
    """TrueMoney used a word or shape that is not known here."""


class Status(msgspec.Struct, frozen=True):
    """`status` of every answer."""

    code: str
    message: str = ""


class Envelope(msgspec.Struct, frozen=True):
    """Every JSON answer."""

    status: Status
    data: msgspec.Raw = msgspec.Raw(b"null")


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that TrueMoney signed, opened as far as its code."""

    code: str
    message: str
    data: bytes

    def data_as(self, kind: type[Data]) -> Data:
        """The data as a wire type.

        Raises:
            Misunderstood: the data is something else.
        """
        try:
            return msgspec.json.decode(self.data, type=kind)
        except NOT_JSON as error:
            raise Misunderstood(str(error)) from None


class Debited(msgspec.Struct, frozen=True):
    """Data of `POST /payments`: the money is taken."""

    payment_id: PaymentId


class Opened(msgspec.Struct, frozen=True):
    """Data of the hosted checkout."""

    payment_url: Annotated[str, msgspec.Meta(pattern=r"^https?://")]
    payment_id: PaymentId | None = None


class IssuedRefund(msgspec.Struct, frozen=True):
    """Data of a refund call; whether the money went is in the payment's list of refunds."""

    refund_id: PaymentId


class Refund(msgspec.Struct, frozen=True):
    """One of a payment's refunds; amount in satang."""

    refund_id: PaymentId
    amount: AmountMinor
    status: str
    created: Moment
    isv_refund_ref: str = ""
    response_code: str = ""
    response_message: str = ""


class Payment(msgspec.Struct, frozen=True):
    """Data of an inquiry, as far as we read it; amount in satang.

    Attributes:
        payment_url: ASSUMED: a checkout that waits says its address again.
    """

    payment_id: PaymentId
    isv_payment_ref: str
    merchant: str
    amount: AmountMinor
    currency: str
    status: str
    created: Moment
    updated: Moment
    response_code: str = ""
    response_message: str = ""
    refunds: tuple[Refund, ...] = ()
    payment_url: str | None = None


class Notification(msgspec.Struct, frozen=True):
    """A checkout notification, as far as we read it. ASSUMED to hold the inquiry's data beside `notify_id`."""

    notify_id: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    payment_id: PaymentId
    merchant: str = ""


class NotifyId(msgspec.Struct, frozen=True):
    """As much of a notification as its reply needs."""

    notify_id: str


def payment_kind(payment: Payment) -> FactKind:
    """How far a payment got.

    Raises:
        Misunderstood: its status is not known.
    """
    kind = CHARGE_KINDS.get(payment.status)
    if kind is None:
        raise Misunderstood(f"payment status {payment.status!r}")
    return kind


def payment_facts(payment: Payment, source: FactSource) -> tuple[Fact, ...]:
    """What a payment and our refunds of it say.

    Raises:
        Misunderstood: a status is not known.
    """
    ours = [refund for refund in payment.refunds if OUR_KEY.fullmatch(refund.isv_refund_ref)]
    return (_payment_fact(payment, source), *(refund_fact(refund, source) for refund in ours))


def refund_fact(refund: Refund, source: FactSource) -> Fact:
    """What a refund says.

    Raises:
        Misunderstood: its status is not known.
    """
    kind = REFUND_KINDS.get(refund.status)
    if kind is None:
        raise Misunderstood(f"refund status {refund.status!r}")
    failed = kind is FactKind.REFUND_FAILED
    return Fact(
        provider=NAME,
        kind=kind,
        provider_reference=refund.isv_refund_ref,
        provider_transaction_id=refund.refund_id,
        amount_minor=refund.amount,
        currency=CURRENCY,
        occurred_at=refund.created,
        source=source,
        failure_code="refund_failed" if failed else None,
        provider_code=refund.response_code if failed else None,
    )


def our_failure_code(code: str) -> str:
    """Our word for a decline."""
    return FAILURE_CODES.get(code, OTHER_FAILURE)


def _payment_fact(payment: Payment, source: FactSource) -> Fact:
    kind = payment_kind(payment)
    captured, declined = kind is FactKind.CAPTURED, kind is FactKind.DECLINED
    return Fact(
        provider=NAME,
        kind=kind,
        provider_reference=payment.isv_payment_ref,
        provider_transaction_id=payment.payment_id if captured else payment.isv_payment_ref,
        amount_minor=payment.amount,
        currency=payment.currency,
        # A refund moves `updated` away from when the payer paid.
        occurred_at=payment.created if payment.refunds else payment.updated,
        source=source,
        failure_code=our_failure_code(payment.response_code) if declined else None,
        provider_code=payment.response_code if declined else None,
    )
