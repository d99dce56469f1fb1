"""GBPrimePay's words on the wire and what they mean in facts. An unknown word is never guessed."""

import base64
import hashlib
import hmac
import re
from datetime import datetime
from decimal import Decimal
from typing import Final

import msgspec

from gateway.foundation.clock import BANGKOK
from gateway.providers.base import Fact, FactKind, FactSource, Method

NAME: Final = "gbprimepay"
BAHT_CODE: Final = "764"
SUCCESS: Final = "00"
INVALID_DATA: Final = "02"
"""Wrong or incomplete data; ASSUMED to be said of a `referenceNo` that a card was charged under before, too, and of
one that an inquiry does not find. So it is a certain no only once the inquiry knows nothing of the charge."""
INCOMPLETE: Final = b"Incomplete information"
"""The plain text that stands for `02` where a form is wrong."""

REFERENCE_LENGTH_MAX: Final = 15
"""Of `referenceNo`: A–Z, a–z and 0–9, unique for the merchant. Our keys are longer; see `reference_of`."""
REFERENCE: Final = re.compile(r"[0-9A-Za-z]{1,15}")
GBP_REFERENCE: Final = re.compile(r"[0-9A-Za-z_-]{1,40}")
"""ASSUMED shape of `gbpReferenceNo`: opaque, and safe as a reference of ours."""
MOMENT: Final = re.compile(r"[0-9]{14}")

CHARGE_KINDS: Final = {
    "S": FactKind.CAPTURED,
    "V": FactKind.CAPTURED,
    "G": FactKind.PENDING,
    "A": FactKind.PENDING,
    "D": FactKind.DECLINED,
    "": FactKind.PENDING,
}
"""`S` is documented; the others are ASSUMED. `A` is authorised on its way to the capture that GBPrimePay makes by
itself; `V` is given back, so the money did come; no status at all is a transaction that nobody finished."""
REFUND_KINDS: Final = {
    "S": FactKind.REFUND_SUCCEEDED,
    "G": FactKind.REFUND_PENDING,
    "D": FactKind.REFUND_FAILED,
}
"""ASSUMED, with the calls that give money back: the letters of a charge, said of a refund."""
FAILURE_CODES: Final = {
    "05": "do_not_honor",
    "14": "invalid_card",
    "33": "expired_card",
    "41": "lost_or_stolen_card",
    "43": "lost_or_stolen_card",
    "51": "insufficient_funds",
    "54": "invalid_card",
    "55": "authentication_failed",
    "57": "do_not_honor",
    "59": "suspected_fraud",
    "61": "limit_exceeded",
    "62": "do_not_honor",
    "96": "processing_error",
}
"""54 is documented: the card, or the token of it, is expired or used. The others are ASSUMED: the bank's ISO 8583
codes, passed through. A code that is not here is unknown as an answer."""
OTHER_FAILURE: Final = "declined"
"""Where the status itself says that the charge failed, any code beside it is a decline, kept in their words."""

METHODS_BY_PAYMENT_TYPE: Final = {
    "C": Method.CARD,
    "Q": Method.PROMPTPAY,
    "L": Method.RABBIT_LINEPAY,
    "T": Method.TRUEMONEY,
    "M": Method.MOBILE_BANKING,
}
"""Letters from the plugins. None is known for ShopeePay."""


class Misunderstood(Exception):
    """GBPrimePay used a word or shape that is not known here, or speaks of another charge."""


class Transaction(msgspec.Struct, frozen=True, rename="camel"):
    """`txn` of the inquiry: one attempt to pay, or (ASSUMED) one refund.

    Attributes:
        date, time: ASSUMED to be there as in the callback (ddMMyyyy and HHmmss, Bangkok); optional.
    """

    amount: Decimal
    reference_no: str
    gbp_reference_no: str
    result_code: str = ""
    status: str = ""
    payment_type: str = ""
    merchant_defined1: str | None = None
    date: str | None = None
    time: str | None = None


class Found(msgspec.Struct, frozen=True, rename="camel"):
    """Answer of the inquiry: `txn`, or `txns` where there were several attempts."""

    result_code: str
    txn: Transaction | None = None
    txns: tuple[Transaction, ...] = ()

    @property
    def transactions(self) -> tuple[Transaction, ...]:
        """All of them, each once."""
        known = {transaction.gbp_reference_no for transaction in self.txns}
        single = () if self.txn is None or self.txn.gbp_reference_no in known else (self.txn,)
        return (*self.txns, *single)


class Charged(msgspec.Struct, frozen=True, rename="camel"):
    """Answer of a card's charge."""

    result_code: str
    amount: Decimal | None = None
    reference_no: str = ""
    gbp_reference_no: str = ""
    result_message: str = ""


class IssuedQr(msgspec.Struct, frozen=True, rename="camel"):
    """Answer of a QR call."""

    result_code: str
    reference_no: str = ""
    gbp_reference_no: str = ""
    qrcode: str = ""
    result_message: str = ""


class GivenBack(msgspec.Struct, frozen=True, rename="camel"):
    """Answer of the ASSUMED void and refund calls."""

    result_code: str
    amount: Decimal | None = None
    reference_no: str = ""
    gbp_reference_no: str = ""
    status: str = ""
    result_message: str = ""
    date: str | None = None
    time: str | None = None


class Notice(msgspec.Struct, frozen=True, rename="camel"):
    """A background callback, as far as we read it; a form has the same names."""

    amount: Decimal
    reference_no: str
    gbp_reference_no: str
    result_code: str
    currency_code: str = BAHT_CODE
    merchant_defined1: str | None = None
    date: str | None = None
    time: str | None = None


def reference_of(provider_key: str) -> str:
    """The `referenceNo` of a provider key: the key itself where it fits, else 75 bits of its SHA-256 in base 32.

    Of a `referenceNo` it gives that very `referenceNo`, so both find the charge.
    """
    if len(provider_key) <= REFERENCE_LENGTH_MAX:
        return provider_key
    return base64.b32encode(hashlib.sha256(provider_key.encode()).digest()).decode()[:REFERENCE_LENGTH_MAX]


def checksum(secret_key: str, *parts: str) -> bytes:
    """HMAC-SHA256 over the parts as they are posted, without a separator; forms carry it in lower-case hex."""
    return hmac.digest(secret_key.encode(), "".join(parts).encode(), "sha256")


def satang(amount: Decimal) -> int:
    """`1234.50` as 123450.

    Raises:
        Misunderstood: not a positive amount in whole satang.
    """
    if not amount.is_finite() or amount <= 0 or amount >= Decimal(10**15):
        raise Misunderstood(f"amount {amount} is not above zero")
    amount_minor = amount.scaleb(2)
    if amount_minor != amount_minor.to_integral_value():
        raise Misunderstood(f"amount {amount} is finer than a satang")
    return int(amount_minor)


def moment(date: str | None, time: str | None) -> datetime | None:
    """`01012026` and `090000` (Bangkok) as an aware time; None where there is no date.

    Raises:
        Misunderstood: not a date and a time.
    """
    if not date:
        return None
    text = f"{date}{time or '000000'}"
    if not MOMENT.fullmatch(text):
        raise Misunderstood(f"{date!r} and {time!r} are not ddMMyyyy and HHmmss")
    try:
        return datetime.strptime(text, "%d%m%Y%H%M%S").replace(tzinfo=BANGKOK)
    except ValueError:
        raise Misunderstood(f"{date!r} and {time!r} are no moment") from None


def our_failure_code(result_code: str) -> str:
    """Our word for a decline."""
    return FAILURE_CODES.get(result_code, OTHER_FAILURE)


def key_of(reference: str, reference_no: str, merchant_defined1: str | None) -> str:
    """Our provider key of what GBPrimePay speaks of.

    Args:
        reference: by which we asked: the provider key or its `referenceNo`.
        reference_no: theirs.
        merchant_defined1: where we put the whole key; ASSUMED to come back of every method. Where it does not, what
            we asked by names the charge just as well.

    Raises:
        Misunderstood: they speak of another charge, or the key is not the one of that reference.
    """
    if reference_no != reference_of(reference):
        raise Misunderstood("the transaction is not the one that was asked about")
    key = merchant_defined1 or reference
    if reference_of(key) != reference_no or (len(reference) > REFERENCE_LENGTH_MAX and key != reference):
        raise Misunderstood("merchantDefined1 is not the key of that referenceNo")
    return key


def charge_facts(
    transactions: tuple[Transaction, ...], reference: str, created_at: datetime, source: FactSource
) -> tuple[Fact, ...]:
    """What the attempts to pay one charge say: every payment; where there is none, the last attempt.

    Args:
        transactions: in their order.
        reference: by which we asked.
        created_at: the time of what bears none itself.
        source: by which road they came.

    Raises:
        Misunderstood: a status is not known, or contradicts its result code, or a transaction is of another charge.
    """
    facts = tuple(_charge_fact(transaction, reference, created_at, source) for transaction in transactions)
    return tuple(fact for fact in facts if fact.kind is FactKind.CAPTURED) or facts[-1:]


def paid_transactions(transactions: tuple[Transaction, ...]) -> tuple[Transaction, ...]:
    """Those that brought money."""
    return tuple(
        transaction
        for transaction in transactions
        if CHARGE_KINDS.get(transaction.status) is FactKind.CAPTURED and transaction.result_code in {"", SUCCESS}
    )


def refund_fact(
    said: Transaction | GivenBack, provider_key: str, amount_minor: int, created_at: datetime, source: FactSource
) -> Fact:
    """What GBPrimePay says of a refund of ours.

    Raises:
        Misunderstood: its status is not known, or it is of another amount or reference.
    """
    kind = REFUND_KINDS.get(said.status)
    if kind is None:
        raise Misunderstood(f"status {said.status!r} of a refund")
    if said.amount is None or satang(said.amount) != amount_minor or said.reference_no != reference_of(provider_key):
        raise Misunderstood("the refund is not the one that was asked for")
    if not GBP_REFERENCE.fullmatch(said.gbp_reference_no):
        raise Misunderstood("the refund has no gbpReferenceNo")
    return Fact(
        provider=NAME,
        kind=kind,
        provider_reference=provider_key,
        provider_transaction_id=said.gbp_reference_no,
        amount_minor=amount_minor,
        currency="THB",
        occurred_at=moment(said.date, said.time) or created_at,
        source=source,
        failure_code="refund_failed" if kind is FactKind.REFUND_FAILED else None,
        provider_code=said.result_code if kind is FactKind.REFUND_FAILED else None,
    )


def _charge_fact(transaction: Transaction, reference: str, created_at: datetime, source: FactSource) -> Fact:
    key = key_of(reference, transaction.reference_no, transaction.merchant_defined1)
    kind = CHARGE_KINDS.get(transaction.status)
    if kind is None:
        raise Misunderstood(f"status {transaction.status!r}")
    captured, declined = kind is FactKind.CAPTURED, kind is FactKind.DECLINED
    if captured and transaction.result_code not in {"", SUCCESS}:
        raise Misunderstood(f"status {transaction.status} with result code {transaction.result_code!r}")
    if captured and not GBP_REFERENCE.fullmatch(transaction.gbp_reference_no):
        raise Misunderstood("the payment has no gbpReferenceNo")
    return Fact(
        provider=NAME,
        kind=kind,
        provider_reference=key,
        provider_transaction_id=transaction.gbp_reference_no if captured else key,
        amount_minor=satang(transaction.amount),
        currency="THB",
        occurred_at=moment(transaction.date, transaction.time) or created_at,
        source=source,
        failure_code=our_failure_code(transaction.result_code) if declined else None,
        provider_code=transaction.result_code if declined else None,
    )
