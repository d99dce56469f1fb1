"""KBank's words on the wire, of both products, and what they mean in facts. An unknown word is never guessed.

QR ("openapi"): every answer is HTTP 200 with `statusCode`; a charge is known by the `partnerTxnUid` of its request.
Cards (KGP v2): every answer is a charge object; a charge is known by its id and by our `reference_order`.
"""

import hashlib
import hmac
import re
from datetime import datetime, time, timedelta
from decimal import Decimal
from typing import Final

import msgspec

from gateway.foundation.clock import BANGKOK
from gateway.providers.base import NOT_JSON, Fact, FactKind, FactSource

NAME: Final = "kbank"

UID_LENGTH: Final = 15
"""Of `partnerTxnUid`: the bank's paper says 15, newer clients send up to 32. What fits both is sent."""
SETTLES_AT: Final = time(23)
"""ASSUMED: when the night run settles the day's payments (Bangkok). Documented is only that a void is refused after."""

SUCCESS: Final = "00"
ERROR: Final = "10"
"""`statusCode` 11 (and any other) means that nobody knows yet."""

QR_KINDS: Final = {
    "REQUESTED": FactKind.PENDING,
    "PAID": FactKind.CAPTURED,
    "VOIDED": FactKind.CAPTURED,
    "CANCELLED": FactKind.VOIDED,
    "EXPIRED": FactKind.EXPIRED,
}
"""A voided QR was paid: the money came, and went back by a refund that has a reference of its own."""
QR_NOT_FOUND: Final = "NOT_FOUND"

CARD_SUCCESS: Final = "success"
CARD_FAIL: Final = "fail"
CARD_KINDS: Final = {
    (CARD_SUCCESS, "Initialize"): FactKind.PENDING,
    (CARD_SUCCESS, "Pre-Authorized"): FactKind.PENDING,
    (CARD_SUCCESS, "Authorized"): FactKind.CAPTURED,
    (CARD_SUCCESS, "Settled"): FactKind.CAPTURED,
    (CARD_SUCCESS, "Refund Sent"): FactKind.CAPTURED,
    (CARD_SUCCESS, "Refunded"): FactKind.CAPTURED,
    (CARD_SUCCESS, "Declined"): FactKind.DECLINED,
    (CARD_FAIL, "Declined"): FactKind.DECLINED,
}
"""By `status` and `transaction_state`: a charge is paid only where both say so. `Settled` is ASSUMED."""
CARD_UNDONE: Final = {"Voided", "Reversed"}
"""The money went back if it ever came, which `approval_code` tells. ASSUMED: it stays in the object of a voided charge;
in that of one that only waits for its payer it is documented to be empty."""
CARD_SETTLED: Final = "Settled"
REFUND_KINDS: Final = {"Refund Sent": FactKind.REFUND_SUCCEEDED, "Refunded": FactKind.REFUND_SUCCEEDED}
VOID_SUFFIX: Final = "-void"
"""ASSUMED: a KGP void has no id of its own; there is at most one for each charge, so this names it."""
FAILURE_CODES: Final = {
    "insufficient_fund": "insufficient_funds",
    "stolen_or_lost_card": "lost_or_stolen_card",
    "payment_rejected": "do_not_honor",
    "failed_processing": "processing_error",
    "authentication_failed": "authentication_failed",
}
"""ASSUMED: that declines carry a `failure_code` is documented, the words are not."""
OTHER_FAILURE: Final = "declined"

CHECKSUM_PLACES: Final = 4
AMOUNT_DIGITS_MAX: Final = 12
"""`decimal(12,2)`: also what keeps an absurd exponent from being written out."""
_SATANG: Final = Decimal(100)
_CREATED: Final = re.compile(r"\d{17}", re.ASCII)
_DAY_IN_NUMBER: Final = re.compile(r"(\d{4})(\d{2})(\d{2})\d{4,12}", re.ASCII)


class Misunderstood(Exception):
    """KBank used a word or shape that is not known here."""


class QrReply(msgspec.Struct, frozen=True, rename="camel"):
    """An answer of the QR product, as far as we read it."""

    status_code: str
    error_code: str | None = None
    error_desc: str | None = None
    partner_txn_uid: str | None = None
    partner_id: str | None = None
    qr_code: str | None = None
    txn_status: str | None = None
    txn_amount: Decimal | None = None
    txn_currency_code: str | None = None
    txn_no: str | None = None
    reference1: str | None = None


class QrNotice(msgspec.Struct, frozen=True, rename="camel"):
    """A payment notification: unsigned, so only names are read."""

    partner_txn_uid: str
    partner_id: str
    merchant_id: str
    txn_no: str | None = None


class GatewayError(msgspec.Struct, frozen=True):
    """What the bank's API gateway says instead of the product: the request did not pass it."""

    code: str
    message: str = ""


class AccessToken(msgspec.Struct, frozen=True):
    """Of the token call; `expires_in` is a text of seconds."""

    access_token: str
    expires_in: str


class CardRefund(msgspec.Struct, frozen=True):
    """An item of `refund_info`. ASSUMED: the field is documented, its shape is not.

    Attributes:
        reason: as we sent it, so our provider key of the refund.
    """

    id: str
    amount: Decimal
    state: str
    reason: str = ""
    created: str = ""


class Charge(msgspec.Struct, frozen=True, tag_field="object", tag="charge"):
    """A KGP charge. ASSUMED: `reference_order` comes back; where it does not, the charge's id stands for it."""

    id: str
    amount: Decimal
    currency: str
    status: str
    transaction_state: str
    created: str
    reference_order: str | None = None
    approval_code: str | None = None
    failure_code: str | None = None
    failure_message: str | None = None
    redirect_url: str | None = None
    refund_info: msgspec.Raw = msgspec.Raw(b"null")


class CardNotice(Charge, frozen=True, kw_only=True, tag_field="object", tag="charge"):
    """A webhook of KGP: the charge and its checksum."""

    checksum: str


class CardError(msgspec.Struct, frozen=True, tag_field="object", tag="error"):
    """A 4xx of KGP; the shape is ASSUMED."""

    code: str
    message: str = ""


def uid_of(provider_key: str) -> str:
    """The `partnerTxnUid` of a request: 15 of A–Z 0–9 derived from our key, so that it is the same on every retry.

    77 bits of a SHA-256: two of a partner's requests never share one. `reference1` carries our key in full.
    """
    number = int.from_bytes(hashlib.sha256(provider_key.encode()).digest(), "big")
    characters = []
    for _ in range(UID_LENGTH):
        number, digit = divmod(number, 36)
        characters.append("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[digit])
    return "".join(characters)


def satang(amount: Decimal | None) -> int:
    """Baht as satang, exactly.

    Raises:
        Misunderstood: missing, not above zero, too long, or finer than a satang.
    """
    if amount is None or not amount.is_finite() or amount <= 0 or amount.adjusted() >= AMOUNT_DIGITS_MAX:
        raise Misunderstood("the amount is missing or none")
    minor = amount * _SATANG
    if minor != minor.to_integral_value():
        raise Misunderstood("the amount is finer than a satang")
    return int(minor)


def baht_only(currency: str | None) -> str:
    """`THB`.

    Raises:
        Misunderstood: any other currency.
    """
    if currency != "THB":
        raise Misunderstood(f"currency {currency!r} is not baht")
    return currency


def moment(created: str) -> datetime:
    """`20260101090000000` (Bangkok, milliseconds) as an aware time.

    Raises:
        Misunderstood: another form.
    """
    if not _CREATED.fullmatch(created):
        raise Misunderstood(f"time {created!r} is not yyyyMMddHHmmssSSS")
    try:
        whole = datetime.strptime(created[:14], "%Y%m%d%H%M%S").replace(tzinfo=BANGKOK)
    except ValueError as error:
        raise Misunderstood(str(error)) from None
    return whole + timedelta(milliseconds=int(created[14:]))


def paid_at(txn_no: str, asked_about: datetime) -> datetime:
    """When a QR was paid: the bank does not say, so the moment asked about, moved to the day that `txnNo` begins with.

    A QR lives for ten minutes, so the attempt's or the notification's moment is right but for the day around midnight.
    ASSUMED: the day at the front of `txnNo`, as in the bank's example; a number without one moves nothing.
    """
    found = _DAY_IN_NUMBER.fullmatch(txn_no)
    if found is None:
        return asked_about
    try:
        midnight = datetime(int(found[1]), int(found[2]), int(found[3]), tzinfo=BANGKOK)
    except ValueError:
        return asked_about
    last = midnight + timedelta(days=1) - timedelta(seconds=1)
    return min(max(asked_about, midnight), last)


def qr_facts(reply: QrReply, asked: str, asked_about: datetime, source: FactSource) -> tuple[Fact, ...]:
    """What an inquiry says of a QR.

    Args:
        reply: a successful answer.
        asked: the reference asked about: our provider key, or the uid of the request.
        asked_about: see `paid_at`.
        source: of the facts.

    Raises:
        Misunderstood: a status is not known, or the answer is about another charge.
    """
    kind = QR_KINDS.get(reply.txn_status or "")
    if kind is None:
        raise Misunderstood(f"txnStatus {reply.txn_status!r}")
    reference = reply.reference1 or asked
    if reference != asked and uid_of(reference) != asked:
        raise Misunderstood("the answer is about another reference")
    captured = kind is FactKind.CAPTURED
    if captured and not reply.txn_no:
        raise Misunderstood("paid without a txnNo")
    transaction_id = reply.txn_no if captured and reply.txn_no else reference
    return (
        Fact(
            provider=NAME,
            kind=kind,
            provider_reference=reference,
            provider_transaction_id=transaction_id,
            amount_minor=satang(reply.txn_amount),
            currency=baht_only(reply.txn_currency_code),
            occurred_at=paid_at(transaction_id, asked_about) if captured else asked_about,
            source=source,
        ),
    )


def card_kind(charge: Charge) -> FactKind:
    """What status and state say together.

    Raises:
        Misunderstood: the pair is not known.
    """
    if charge.status == CARD_SUCCESS and charge.transaction_state in CARD_UNDONE:
        return FactKind.CAPTURED if charge.approval_code else FactKind.DECLINED
    kind = CARD_KINDS.get((charge.status, charge.transaction_state))
    if kind is None:
        raise Misunderstood(f"charge {charge.status!r}, {charge.transaction_state!r}")
    return kind


def card_facts(charge: Charge, reference: str, source: FactSource) -> tuple[Fact, ...]:
    """What a charge object says, and its refunds that we asked for.

    Args:
        charge: the object.
        reference: what stands for it where it does not name our order.
        source: of the facts.

    Raises:
        Misunderstood: a word is not known.
    """
    kind = card_kind(charge)
    declined = kind is FactKind.DECLINED
    fact = Fact(
        provider=NAME,
        kind=kind,
        provider_reference=charge.reference_order or reference,
        provider_transaction_id=charge.id,
        amount_minor=satang(charge.amount),
        currency=baht_only(charge.currency),
        occurred_at=moment(charge.created),
        source=source,
        failure_code=our_failure_code(charge.failure_code) if declined else None,
        provider_code=charge.failure_code if declined else None,
    )
    try:
        refunds = tuple(refund_fact(refund, source) for refund in refunds_of(charge) if refund.reason)
    except Misunderstood:
        # What is only assumed of refunds must not hide that the money came; whoever asks about a refund is told.
        refunds = ()
    return (fact, *refunds)


def refunds_of(charge: Charge) -> tuple[CardRefund, ...]:
    """The items of `refund_info`.

    Raises:
        Misunderstood: it has another shape than the one that we assume.
    """
    try:
        return msgspec.json.decode(charge.refund_info, type=tuple[CardRefund, ...] | None) or ()
    except NOT_JSON as error:
        raise Misunderstood(str(error)) from None


def refund_fact(refund: CardRefund, source: FactSource) -> Fact:
    """What an item of `refund_info` says.

    Raises:
        Misunderstood: its state is not known.
    """
    kind = REFUND_KINDS.get(refund.state)
    if kind is None:
        raise Misunderstood(f"refund state {refund.state!r}")
    return Fact(
        provider=NAME,
        kind=kind,
        provider_reference=refund.reason,
        provider_transaction_id=refund.id,
        amount_minor=satang(refund.amount),
        currency="THB",
        occurred_at=moment(refund.created),
        source=source,
    )


def our_failure_code(failure_code: str | None) -> str:
    """Our word for a decline; KBank's stands beside it."""
    return FAILURE_CODES.get(failure_code or "", OTHER_FAILURE)


def checksum(charge: Charge, secret_key: str) -> str:
    """`hex SHA-256(id + amount with four decimals + currency + status + transaction_state + secret key)`."""
    satang(charge.amount)
    text = (
        f"{charge.id}{charge.amount:.{CHECKSUM_PLACES}f}{charge.currency}{charge.status}"
        f"{charge.transaction_state}{secret_key}"
    )
    return hashlib.sha256(text.encode()).hexdigest()


def is_signed(notice: CardNotice, secret_key: str) -> bool:
    """Whether the checksum is that of the fields, compared in constant time.

    Raises:
        Misunderstood: the amount is none.
    """
    expected = checksum(notice, secret_key)
    return hmac.compare_digest(expected.encode(), notice.checksum.lower().encode())
