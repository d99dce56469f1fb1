"""2C2P's words on the wire (PGW v4.3) and what they mean in facts. An unknown word is never guessed."""

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from gateway.foundation.clock import BANGKOK
from gateway.providers.base import Fact, FactKind, FactSource
from ledger.money import from_text

NAME: Final = "2c2p"
CURRENCY: Final = "THB"
KEY: Final = re.compile(r"[A-Z0-9]{1,20}")
"""Our provider key, which is the invoice number; a payment token is longer and has small letters."""

SUCCESS: Final = "0000"
NOT_FOUND: Final = "2002"
FINISHED: Final = "2000"
CANCELED: Final = "0003"
CHARGEBACK: Final = "4130"
CAPTURED: Final = frozenset({SUCCESS, "4110", "4120", "4121", "4122", CHARGEBACK})
"""Paid; settled, refunded, refund rejected, refund failed, charged back: the money came in all of them."""
PENDING: Final = frozenset({"0001", "0004", "1003", "1005", "2001"})
EXPIRED: Final = frozenset({"5009", "5017", "9020"})
PAID_MORE: Final = "5015"
PAID_LESS: Final = "5016"
UNCERTAIN: Final = frozenset({"0999", "2003", "5002", "5005", "9015"})
"""System error, failed inquiry, time-out and the two words for a known invoice: they say nothing of the money."""
FAILURE_CODES: Final = {
    CANCELED: "canceled",
    "4005": "do_not_honor",
    "4033": "expired_card",
    "4041": "lost_or_stolen_card",
    "4043": "lost_or_stolen_card",
    "4051": "insufficient_funds",
    "4054": "expired_card",
    "4080": "canceled_by_payer",
    "4081": "authentication_failed",
    "4091": "processing_error",
    "4096": "processing_error",
    "4099": "processing_error",
    "9035": "declined",
}
"""ASSUMED: 4041 and 4043, by the pattern of the documented ones: 40 and the two digits of ISO 8583."""
OTHER_FAILURE: Final = "declined"
_DECLINED: Final = re.compile(r"40[0-9]{2}|50[0-9]{2}")
"""Documented as classes: what is not named above is a decline all the same, with their word beside it."""

ASKED_FIELD: Final = "userDefined1"
"""Where the amount that was asked for travels: handed back, it tells whether `amount` is what really came."""
TIME_FORMAT: Final = "%Y%m%d%H%M%S"
EXPIRY_FORMAT: Final = "%Y-%m-%d %H:%M:%S"

_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


class Misunderstood(Exception):
    """2C2P used a word or shape that is not known here."""


class Envelope(msgspec.Struct, frozen=True):
    """Every signed body, theirs and ours."""

    payload: str


class Plain(msgspec.Struct, frozen=True, rename="camel"):
    """An answer without a signature: errors of the signed calls."""

    resp_code: str
    resp_desc: str = ""


class IssuedToken(msgspec.Struct, frozen=True, rename="camel"):
    """Claims of the answer to paymentToken."""

    resp_code: str
    resp_desc: str = ""
    payment_token: str = ""


class Done(msgspec.Struct, frozen=True, rename="camel"):
    """Answer to Do Payment; `data` is the QR's text or an address."""

    resp_code: str
    resp_desc: str | None = None
    data: str | None = None
    invoice_no: str | None = None


class Transaction(msgspec.Struct, frozen=True, rename="camel"):
    """Claims of a notification and of an inquiry, as far as we read them."""

    resp_code: str
    invoice_no: str = ""
    merchant_id: str = msgspec.field(name="merchantID", default="")
    amount: Decimal | None = None
    currency_code: str | None = None
    transaction_date_time: str | None = None
    tran_ref: str | None = None
    channel_code: str | None = None
    user_defined1: str | None = msgspec.field(name=ASKED_FIELD, default=None)
    resp_desc: str | None = None


def claims_of(fields: Mapping[str, Any]) -> bytes:
    """Fields as JSON; a decimal stands as a number with all its digits."""
    return _ENCODER.encode(fields)


def satang(amount: Decimal | str | None) -> int:
    """`1234.5` as 123450.

    Raises:
        Misunderstood: not a positive amount in baht, or finer than a satang.
    """
    if amount is None:
        raise Misunderstood("no amount")
    try:
        amount_minor = from_text(amount if isinstance(amount, str) else f"{amount:f}", CURRENCY)
    except ValueError as error:
        raise Misunderstood(str(error)) from None
    if amount_minor <= 0:
        raise Misunderstood(f"amount {amount} is not above zero")
    return amount_minor


def moment(text: str, form: str = TIME_FORMAT) -> datetime:
    """`20260101090000`, which is Bangkok's, as an aware time.

    Raises:
        Misunderstood: not such a time.
    """
    try:
        # strptime alone would take fewer digits.
        value = datetime.strptime(text, form).replace(tzinfo=BANGKOK)
    except ValueError:
        raise Misunderstood(f"{text!r} is not a time") from None
    if value.strftime(form) != text:
        raise Misunderstood(f"{text!r} is not a time")
    return value


def kind_of(code: str) -> FactKind | None:
    """What a response code says of a charge; None where it says nothing certain."""
    if code in CAPTURED or code in {PAID_MORE, PAID_LESS}:
        return FactKind.CAPTURED
    if code in PENDING:
        return FactKind.PENDING
    if code in EXPIRED:
        return FactKind.EXPIRED
    if code not in UNCERTAIN and (code in FAILURE_CODES or _DECLINED.fullmatch(code)):
        return FactKind.DECLINED
    return None


def our_failure_code(code: str) -> str:
    """Our word for a decline."""
    return FAILURE_CODES.get(code, OTHER_FAILURE)


def charge_fact(transaction: Transaction, source: FactSource, at: datetime) -> Fact:
    """What a notification or an inquiry says.

    Args:
        transaction: its claims, signature checked.
        source: the road.
        at: when it happened, where no money moved and they do not say.

    Raises:
        Misunderstood: a word is not known, or something that proves a payment is missing.
    """
    code = transaction.resp_code
    kind = kind_of(code)
    if kind is None:
        raise Misunderstood(f"respCode {code!r}")
    if transaction.currency_code != CURRENCY:
        raise Misunderstood(f"currency {transaction.currency_code!r} is not baht")
    amount_minor = satang(transaction.amount)
    declined, captured = kind is FactKind.DECLINED, kind is FactKind.CAPTURED
    if captured and not (transaction.tran_ref and transaction.transaction_date_time):
        raise Misunderstood("a payment without tranRef or time")
    if code in {PAID_MORE, PAID_LESS}:
        _check_paid_otherwise(transaction, amount_minor)
    return Fact(
        provider=NAME,
        kind=kind,
        provider_reference=transaction.invoice_no,
        provider_transaction_id=(transaction.tran_ref if captured else None) or transaction.invoice_no,
        amount_minor=amount_minor,
        currency=CURRENCY,
        occurred_at=moment(transaction.transaction_date_time) if transaction.transaction_date_time else at,
        source=source,
        failure_code=our_failure_code(code) if declined else None,
        provider_code=code if declined else None,
    )


def _check_paid_otherwise(transaction: Transaction, amount_minor: int) -> None:
    """That `amount` is what came: it differs, as the code says, from what was asked for.

    Raises:
        Misunderstood: it may be the amount that was asked for; then the statement decides.
    """
    asked_minor = satang(transaction.user_defined1)
    more = transaction.resp_code == PAID_MORE
    if (amount_minor > asked_minor) if more else (amount_minor < asked_minor):
        return
    raise Misunderstood(f"respCode {transaction.resp_code} does not say how much came")
