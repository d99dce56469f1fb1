"""Bualuang iPay's words on the wire (PayDollar family): secure hashes, datafeed, records, what they mean in facts."""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from urllib.parse import parse_qsl

import msgspec
from lxml import etree

from gateway.foundation.clock import BANGKOK
from gateway.providers.base import CallbackRejected, Fact, FactKind, FactSource
from gateway.providers.bbl_wire import MalformedAnswer, satang
from gateway.providers.promptpay import BAHT_CODE

NAME: Final = "bbl"
SALE: Final = "N"
AUTHORIZE: Final = "H"
HASH_ALGORITHM: Final = "sha512"
"""ASSUMED default: PayDollar's plugins use SHA-1, a recent client of this bank SHA-512; credential
`secure_hash_algorithm` (sha1, sha512) overrides it."""
HASH_ALGORITHMS: Final = ("sha1", "sha512")
MARK_LENGTH: Final = 40

AUTHORIZED: Final = "Authorized"
ACCEPTED: Final = "Accepted"
REJECTED: Final = "Rejected"
REFUND_REQUESTED: Final = "RequestRefund"
REFUNDED: Final = "Refunded"
REFUND_REJECTED: Final = "RefundRejected"
"""ASSUMED word for a refund that the bank did not approve: the documents say that it decides, not how it says no."""
PAID_STATUSES: Final = {ACCEPTED, REFUND_REQUESTED, REFUNDED, REFUND_REJECTED, "PartialRefunded"}
"""The money came, whatever was given back since. ASSUMED beyond Accepted."""
UNDONE_STATUSES: Final = {"Voided", "Cancelled"}
"""ASSUMED: both words stand for a void; whether of a sale or of an authorisation, only our mark tells."""
PLAIN_KINDS: Final = {
    AUTHORIZED: FactKind.AUTHORIZED,
    REJECTED: FactKind.DECLINED,
    "Pending": FactKind.PENDING,
}
SUCCESS_CODES: Final = {"0", "1", "-1"}
"""`successcode` of a datafeed: succeeded, failed, error. ASSUMED beyond 0 and 1."""

ISSUER_CODES: Final = {
    "05": "do_not_honor",
    "41": "lost_or_stolen_card",
    "43": "lost_or_stolen_card",
    "51": "insufficient_funds",
    "54": "expired_card",
}
"""`src` where the issuer said no (`prc` 1): ISO 8583 response codes. ASSUMED from the PayDollar family."""
PRIMARY_CODES: Final = {
    "3": "authentication_failed",
    "-1": "invalid_request",
    "-2": "processing_error",
    "-8": "suspected_fraud",
    "-9": "processing_error",
}
"""`prc` where it was not the issuer. ASSUMED from the PayDollar family."""
OTHER_FAILURE: Final = "declined"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One payment under an order, as the inquiry tells it; payers' names and cards are not read."""

    status: str
    order_ref: str
    pay_ref: str
    amount_minor: int
    occurred_at: datetime
    primary_code: str
    secondary_code: str
    settled: bool
    remark: str


class Flat(msgspec.Struct, frozen=True, kw_only=True):
    """A flat answer `resultCode=…&orderStatus=…`."""

    result_code: str
    status: str
    pay_ref: str
    message: str


class Feed(msgspec.Struct, frozen=True, kw_only=True):
    """A datafeed whose hash fits."""

    order_ref: str
    pay_ref: str
    success_code: str


def secure_hash(credentials: Mapping[str, str], *parts: str) -> str:
    """`hash(part|part|…|secret)`, hex in lower case.

    Raises:
        ValueError: the account names another algorithm.
    """
    algorithm = credentials.get("secure_hash_algorithm") or HASH_ALGORITHM
    if algorithm not in HASH_ALGORITHMS:
        message = f"secure hash algorithm {algorithm!r} is none of {', '.join(HASH_ALGORITHMS)}"
        raise ValueError(message)
    text = "|".join((*parts, credentials["secure_hash_secret"]))
    return hashlib.new(algorithm, text.encode()).hexdigest()


def mark(credentials: Mapping[str, str], order_ref: str, pay_type: str) -> str:
    """What we send as `remark`, which every record repeats: whether the order was a sale or an authorisation.

    The inquiry does not tell the two apart once they are void, and the payer's browser carries the form, so the mark
    is bound to the order and to the secret.

    Raises:
        ValueError: as `secure_hash`.
    """
    return secure_hash(credentials, credentials["merchant_id"], order_ref, pay_type)[:MARK_LENGTH]


def read_records(body: bytes) -> tuple[Record, ...]:
    """The records of an inquiry; none where the order has none.

    Raises:
        MalformedAnswer: not such an answer, a flat refusal, or a field that cannot be read.
    """
    try:
        parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
        document = etree.fromstring(body.strip(), parser)
    except (etree.XMLSyntaxError, ValueError):
        raise MalformedAnswer("the answer is no list of records") from None
    if document.tag != "records" or document.getroottree().docinfo.doctype:
        raise MalformedAnswer("the answer is no list of records")
    return tuple(_record(element) for element in document)


def read_flat(body: bytes) -> Flat:
    """A flat answer.

    Raises:
        MalformedAnswer: there is no result code in it.
    """
    fields = _fields(body)
    if "resultCode" not in fields:
        raise MalformedAnswer("the answer has no resultCode")
    return Flat(
        result_code=fields["resultCode"],
        status=fields.get("orderStatus", ""),
        pay_ref=fields.get("payRef", ""),
        message=fields.get("errMsg", ""),
    )


def read_feed(credentials: Mapping[str, str], body: bytes) -> Feed:
    """Prove that iPay sent this datafeed. While the secret rotates it holds several hashes.

    Raises:
        CallbackRejected: `malformed`, `signature_invalid` or `unknown_status`.
    """
    try:
        fields = _fields(body)
        signed = [fields[name] for name in ("src", "prc", "successcode", "Ref", "PayRef", "Cur", "Amt", "payerAuth")]
        given = fields["secureHash"]
    except KeyError as error:
        raise CallbackRejected("malformed", f"{error.args[0]} is missing") from None
    except MalformedAnswer as error:
        raise CallbackRejected("malformed", str(error)) from None
    try:
        expected = secure_hash(credentials, *signed).encode()
    except ValueError as error:
        raise CallbackRejected("signature_invalid", str(error)) from None
    # All are compared, none ends the loop: the time tells nothing of which fitted.
    fits = [hmac.compare_digest(expected, each.strip().encode()) for each in given.split(",")]
    if not any(fits):
        raise CallbackRejected("signature_invalid", "no hash fits the fields")
    if fields["successcode"] not in SUCCESS_CODES:
        raise CallbackRejected("unknown_status", f"successcode {fields['successcode']!r}")
    if fields["Cur"] != BAHT_CODE:
        raise CallbackRejected("malformed", f"currency {fields['Cur']!r} is not baht")
    return Feed(order_ref=fields["Ref"], pay_ref=fields["PayRef"], success_code=fields["successcode"])


def facts(
    credentials: Mapping[str, str], reference: str, records: Sequence[Record], source: FactSource
) -> tuple[Fact, ...]:
    """What the records of an order say.

    A payer whose card was refused may try another one on the same page, so a refusal counts only where nothing else
    came of the order.

    Raises:
        MalformedAnswer: a record is of another order, or its status is not known.
    """
    found = [_fact(credentials, reference, record, source) for record in records]
    others = [fact for fact in found if fact.kind is not FactKind.DECLINED]
    return tuple(others or found[-1:])


def failure_code(record: Record) -> str:
    """Our word for a refused card."""
    if record.primary_code == "1":
        return ISSUER_CODES.get(record.secondary_code, OTHER_FAILURE)
    return PRIMARY_CODES.get(record.primary_code, OTHER_FAILURE)


def _fact(credentials: Mapping[str, str], reference: str, record: Record, source: FactSource) -> Fact:
    if record.order_ref != reference:
        raise MalformedAnswer("it is not of the order that was asked about")
    kind = _kind(credentials, record)
    declined = kind is FactKind.DECLINED
    moved = kind not in {FactKind.DECLINED, FactKind.PENDING}
    return Fact(
        provider=NAME,
        kind=kind,
        provider_reference=reference,
        provider_transaction_id=record.pay_ref if moved else reference,
        amount_minor=record.amount_minor,
        currency="THB",
        occurred_at=record.occurred_at,
        source=source,
        failure_code=failure_code(record) if declined else None,
        provider_code=f"{record.primary_code}/{record.secondary_code}" if declined else None,
    )


def _kind(credentials: Mapping[str, str], record: Record) -> FactKind:
    if record.status in PAID_STATUSES:
        return FactKind.CAPTURED
    if record.status in UNDONE_STATUSES:
        # A sale's money came before it was given back; an authorisation's never did.
        return FactKind.VOIDED if _was_authorisation(credentials, record) else FactKind.CAPTURED
    kind = PLAIN_KINDS.get(record.status)
    if kind is None:
        raise MalformedAnswer(f"order status {record.status!r}")
    return kind


def was_sale(credentials: Mapping[str, str], record: Record) -> bool:
    """Whether the order bears our mark of a sale."""
    return _is_marked(credentials, record, SALE)


def _was_authorisation(credentials: Mapping[str, str], record: Record) -> bool:
    if _is_marked(credentials, record, AUTHORIZE):
        return True
    if was_sale(credentials, record):
        return False
    raise MalformedAnswer("the record does not bear our mark")


def _is_marked(credentials: Mapping[str, str], record: Record, pay_type: str) -> bool:
    return hmac.compare_digest(record.remark.encode(), mark(credentials, record.order_ref, pay_type).encode())


def _record(element: etree._Element) -> Record:
    fields = {child.tag: (child.text or "").strip() for child in element}
    missing = [name for name in ("orderStatus", "ref", "payRef", "amt", "cur", "txTime") if not fields.get(name)]
    if missing:
        raise MalformedAnswer(f"{missing[0]} is missing in a record")
    if fields["cur"] != BAHT_CODE:
        raise MalformedAnswer(f"currency {fields['cur']!r} is not baht")
    try:
        occurred_at = datetime.fromisoformat(fields["txTime"])
    except ValueError as error:
        raise MalformedAnswer(str(error)) from None
    if occurred_at.tzinfo is not None:
        raise MalformedAnswer("txTime has an offset")
    return Record(
        status=fields["orderStatus"],
        order_ref=fields["ref"],
        pay_ref=fields["payRef"],
        amount_minor=satang(fields["amt"]),
        occurred_at=occurred_at.replace(tzinfo=BANGKOK),
        primary_code=fields.get("prc", ""),
        secondary_code=fields.get("src", ""),
        settled=fields.get("settle") == "T",
        remark=fields.get("remark", ""),
    )


def _fields(body: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(body.decode().strip(), keep_blank_values=True, strict_parsing=True)
    except (UnicodeDecodeError, ValueError) as error:
        raise MalformedAnswer(f"not a form: {error}") from None
    if len(dict(pairs)) != len(pairs):
        raise MalformedAnswer("a field comes twice")
    return dict(pairs)
