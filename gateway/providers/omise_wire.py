"""Omise's words on the wire (API version 2019-05-29) and what they mean in facts. An unknown word is never guessed."""

import base64
import binascii
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec

from gateway.providers.base import CallbackRejected, Fact, FactKind, FactSource

NAME: Final = "omise"
SIGNATURE_HEADER: Final = "omise-signature"
TIMESTAMP_HEADER: Final = "omise-signature-timestamp"
TOLERANCE_SECONDS: Final = 300
KEY_IN_METADATA: Final = "provider_key"
"""Where our provider key travels: Omise documents no idempotency key for charges, but hands metadata back."""

CHARGE_KINDS: Final = {
    "pending": FactKind.PENDING,
    "successful": FactKind.CAPTURED,
    "failed": FactKind.DECLINED,
    "expired": FactKind.EXPIRED,
    "reversed": FactKind.VOIDED,
}
REFUND_KINDS: Final = {
    "pending": FactKind.REFUND_PENDING,
    "closed": FactKind.REFUND_SUCCEEDED,
    "failed": FactKind.REFUND_FAILED,
}
"""`failed` is ASSUMED; pending and closed are documented."""
FAILURE_CODES: Final = {
    "insufficient_fund": "insufficient_funds",
    "insufficient_balance": "insufficient_funds",
    "stolen_or_lost_card": "lost_or_stolen_card",
    "payment_rejected": "do_not_honor",
    "failed_fraud_check": "suspected_fraud",
    "failed_processing": "processing_error",
    "invalid_security_code": "invalid_security_code",
    "payment_cancelled": "canceled_by_payer",
    "payment_expired": "expired",
}
OTHER_FAILURE: Final = "declined"
"""Omise's list of failure codes is open; what is new to us is a decline all the same, with their word beside it."""

Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Misunderstood(Exception):
    """Omise used a word or shape that is not known here."""


class Image(msgspec.Struct, frozen=True):
    """`scannable_code.image`."""

    download_uri: str


class ScannableCode(msgspec.Struct, frozen=True):
    """`source.scannable_code`."""

    image: Image


class Source(msgspec.Struct, frozen=True):
    """`charge.source`."""

    type: str
    scannable_code: ScannableCode | None = None


class Refund(msgspec.Struct, frozen=True):
    """A refund; amounts in satang."""

    id: str
    status: str
    amount: int
    currency: str
    created_at: Moment
    metadata: dict[str, Any] = {}


class Refunds(msgspec.Struct, frozen=True):
    """A charge's refunds: at most 15, so always one page."""

    data: tuple[Refund, ...] = ()


class Charge(msgspec.Struct, frozen=True):
    """A charge, as far as we read it; amounts in satang."""

    id: str
    status: str
    amount: int
    currency: str
    created_at: Moment
    captured_amount: int | None = None
    authorized: bool = False
    fee: int = 0
    fee_vat: int = 0
    refunds: Refunds = Refunds()
    metadata: dict[str, Any] = {}
    source: Source | None = None
    failure_code: str | None = None
    failure_message: str | None = None
    authorize_uri: str | None = None
    paid_at: Moment | None = None
    expires_at: Moment | None = None
    expired_at: Moment | None = None
    reversed_at: Moment | None = None


class Found(msgspec.Struct, frozen=True):
    """A hit of the search: only its id and our key are read, the charge itself is fetched."""

    id: str
    metadata: dict[str, Any] = {}


class Page(msgspec.Struct, frozen=True):
    """A page of a list, its items untouched."""

    data: tuple[msgspec.Raw, ...]
    total: int


class Error(msgspec.Struct, frozen=True, tag_field="object", tag="error"):
    """Every 4xx and 5xx."""

    code: str
    message: str = ""


class Subject(msgspec.Struct, frozen=True):
    """What an event is about: a charge's id, or of a refund also the charge's."""

    id: str
    charge: str | None = None


class Event(msgspec.Struct, frozen=True):
    """A webhook's body. Its data is written in the account's default API version, so the charge is fetched anew."""

    id: str
    key: str
    livemode: bool
    data: msgspec.Raw


def charge_facts(charge: Charge, source: FactSource) -> tuple[Fact, ...]:
    """What the charge and its refunds say.

    Raises:
        Misunderstood: a status is not known.
    """
    return (_charge_fact(charge, source), *(refund_fact(refund, source) for refund in charge.refunds.data))


def refund_fact(refund: Refund, source: FactSource) -> Fact:
    """What a refund says.

    Raises:
        Misunderstood: its status is not known.
    """
    kind = REFUND_KINDS.get(refund.status)
    if kind is None:
        raise Misunderstood(f"refund status {refund.status!r}")
    return Fact(
        provider=NAME,
        kind=kind,
        provider_reference=provider_key_in(refund.metadata) or refund.id,
        provider_transaction_id=refund.id,
        amount_minor=refund.amount,
        currency=refund.currency.upper(),
        occurred_at=refund.created_at,
        source=source,
        failure_code="refund_failed" if kind is FactKind.REFUND_FAILED else None,
    )


def provider_key_in(metadata: Mapping[str, object]) -> str | None:
    """Our provider key, where the object is one that we asked for."""
    key = metadata.get(KEY_IN_METADATA)
    return key if isinstance(key, str) and key else None


def our_failure_code(failure_code: str | None) -> str:
    """Our word for a decline."""
    return FAILURE_CODES.get(failure_code or "", OTHER_FAILURE)


def check_signature(webhook_secret: str, headers: Mapping[str, str], body: bytes, received_at: datetime) -> None:
    """Prove that Omise sent this body, not long ago. While the secret rotates the header holds two signatures.

    Args:
        webhook_secret: base64, as the dashboard shows it.
        headers: any case.
        body: raw bytes.
        received_at: real time of arrival.

    Raises:
        CallbackRejected: `signature_invalid` or `timestamp_outside_tolerance`.
    """
    given = {name.lower(): value for name, value in headers.items()}
    timestamp, signatures = given.get(TIMESTAMP_HEADER, ""), given.get(SIGNATURE_HEADER, "")
    if not (timestamp.isascii() and timestamp.isdigit() and signatures):
        raise CallbackRejected("signature_invalid", "signature or timestamp is missing")
    try:
        secret = base64.b64decode(webhook_secret, validate=True)
    except binascii.Error:
        raise CallbackRejected("signature_invalid", "the account's webhook secret is not base64") from None
    expected = hmac.digest(secret, timestamp.encode() + b"." + body, "sha256").hex().encode()
    # All are compared, none ends the loop: the time tells nothing of which fitted.
    fits = [hmac.compare_digest(expected, signature.strip().encode()) for signature in signatures.split(",")]
    if not any(fits):
        raise CallbackRejected("signature_invalid", "no signature fits the body")
    if abs(received_at.timestamp() - int(timestamp)) > TOLERANCE_SECONDS:
        raise CallbackRejected("timestamp_outside_tolerance", f"signed at {timestamp}")


def _charge_fact(charge: Charge, source: FactSource) -> Fact:
    kind = CHARGE_KINDS.get(charge.status)
    if kind is None:
        raise Misunderstood(f"charge status {charge.status!r}")
    if kind is FactKind.PENDING and charge.authorized:
        kind = FactKind.AUTHORIZED
    captured = kind is FactKind.CAPTURED
    declined = kind is FactKind.DECLINED
    return Fact(
        provider=NAME,
        kind=kind,
        provider_reference=provider_key_in(charge.metadata) or charge.id,
        # Not `transaction`: it is absent in some answers, and the same movement must bear the same id on every road.
        provider_transaction_id=charge.id,
        amount_minor=charge.amount if not captured or charge.captured_amount is None else charge.captured_amount,
        currency=charge.currency.upper(),
        occurred_at=charge.paid_at or charge.expired_at or charge.reversed_at or charge.created_at,
        source=source,
        provider_fee_minor=charge.fee if captured else None,
        provider_fee_vat_minor=charge.fee_vat if captured else None,
        failure_code=our_failure_code(charge.failure_code) if declined else None,
        provider_code=charge.failure_code if declined else None,
    )
