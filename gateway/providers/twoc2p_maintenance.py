"""2C2P's Payment Maintenance 4.3: XML, sealed for its reader and signed by its sender, both ways.

What is sent is a JWS (PS256, the merchant's key) over a JWE (RSA-OAEP, 2C2P's key) over XML; what comes back is the
same the other way round. An answer that is not so sealed is believed in one thing only: that it did not let us in.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from lxml import etree

from gateway.foundation.clock import BANGKOK
from gateway.providers import twoc2p_jose as jose
from gateway.providers.base import FactKind
from gateway.providers.twoc2p_wire import Misunderstood, moment, satang
from ledger.money import to_text

VERSION: Final = "4.3"
REQUEST: Final = "PaymentProcessRequest"
RESPONSE: Final = "PaymentProcessResponse"
STAMP_FORMAT: Final = "%d%m%y%H%M%S"

KEYS_KEPT: Final = 64
"""Accounts whose keys stay read: checking an RSA key takes a tenth of a second, during which nothing else runs."""

VOID: Final = "V"
REFUND: Final = "R"
REFUND_STATUS: Final = "RS"

OK: Final = "00"
NO_SUCH_TRANSACTION: Final = "16"
REFUND_PENDING: Final = "42"
ALREADY_GIVEN_BACK: Final = frozenset({"29", "49"})
"""Voided or refunded in full before – perhaps by the very request whose answer was lost."""
NOT_VOIDABLE: Final = frozenset({"12", "21", "36", "39", "54"})
"""Too late or settled: nothing was voided, a refund may do it."""
NOT_REFUNDABLE_YET: Final = frozenset({"12", "41"})
"""Not settled (12), or refund not allowed, which may be the same: nothing was refunded, a void may do it."""
STATUS_NOT_VALID: Final = "12"
NOT_LET_IN: Final = frozenset({"03", "13", "14", "96"})
"""Merchant, hash or encryption is wrong: the request was not looked at."""
REFUSALS: Final = {
    "02": "invalid_request",
    "10": "invalid_request",
    "11": "invalid_request",
    "15": "invalid_request",
    "16": "charge_not_found",
    "17": "invalid_request",
    "18": "invalid_request",
    "21": "refund_refused",
    "22": "refund_refused",
    "25": "refund_refused",
    "30": "refund_refused",
    "36": "refund_refused",
    "39": "refund_refused",
    "40": "refund_refused",
    "41": "refund_refused",
    "43": "partial_refund_not_allowed",
    "44": "refund_refused",
    "45": "refund_failed",
    "46": "provider_balance_insufficient",
    "54": "refund_refused",
    "97": "invalid_request",
}
"""A certain no, with our word for it. What is not here (50, 95, 99 and words of tomorrow) is unknown."""

REFUND_KINDS: Final = {
    "RF": FactKind.REFUND_SUCCEEDED,
    "RP": FactKind.REFUND_PENDING,
    "RFF": FactKind.REFUND_FAILED,
    "RR": FactKind.REFUND_FAILED,
    "RR1": FactKind.REFUND_FAILED,
    "RR2": FactKind.REFUND_FAILED,
    "RR3": FactKind.REFUND_FAILED,
}
VOID_KINDS: Final = {"V": FactKind.REFUND_SUCCEEDED, "VP": FactKind.REFUND_PENDING}
VOID_SUFFIX: Final = "V"
"""ASSUMED: a void has no reference of its own, `referenceNo` is the payment's tranRef. With this suffix it is the id of
the void on every road; the statement's format derives the same."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One request of the maintenance API."""

    merchant_id: str
    process_type: str
    invoice_no: str
    idempotency_id: str
    stamped_at: datetime
    amount_minor: int | None = None
    notify_url: str | None = None


class ListedRefund(msgspec.Struct, frozen=True, kw_only=True):
    """A refund of the list that a status request answers."""

    amount_minor: int
    status: str
    reference: str
    at: datetime


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """An opened answer, or what a refund's notification holds."""

    code: str
    description: str = ""
    process_type: str = ""
    invoice_no: str = ""
    status: str = ""
    amount: str = ""
    reference: str = ""
    refund_reference: str = ""
    stamped: str = ""
    refunds: tuple[ListedRefund, ...] = ()

    @property
    def stamped_at(self) -> datetime:
        """When 2C2P wrote it.

        Raises:
            Misunderstood: it does not say.
        """
        return moment(self.stamped, STAMP_FORMAT)


class Keys(msgspec.Struct, frozen=True):
    """The two keys of an account that it works with."""

    private: RSAPrivateKey
    provider: RSAPublicKey

    @classmethod
    def of(cls, credentials: Mapping[str, str]) -> "Keys":
        """Read from `merchant_private_key` and `provider_public_key`, both PEM.

        Raises:
            ValueError: one of them is no RSA key.
        """
        return _keys(credentials["merchant_private_key"], credentials["provider_public_key"])


@lru_cache(maxsize=KEYS_KEPT)
def _keys(private_pem: str, public_pem: str) -> Keys:
    private = load_pem_private_key(private_pem.encode(), password=None)
    provider = load_pem_public_key(public_pem.encode())
    if not isinstance(private, RSAPrivateKey) or not isinstance(provider, RSAPublicKey):
        raise ValueError("2C2P works with RSA keys")  # noqa: TRY004 - a wrong credential is a wrong value
    return Keys(private, provider)


def request_xml(order: Order) -> bytes:
    """The request before it is sealed; what has no value is an empty element, as documented."""
    fields = {
        "version": VERSION,
        "timeStamp": order.stamped_at.astimezone(BANGKOK).strftime(STAMP_FORMAT),
        "merchantID": order.merchant_id,
        "invoiceNo": order.invoice_no,
        "actionAmount": None if order.amount_minor is None else to_text(order.amount_minor, "THB"),
        "processType": order.process_type,
        "bankCode": None,
        "accountName": None,
        "accountNumber": None,
        "notifyURL": order.notify_url,
        "idempotencyID": order.idempotency_id,
    }
    root = etree.Element(REQUEST)
    for name, value in fields.items():
        etree.SubElement(root, name).text = value
    return bytes(etree.tostring(root))


def seal(xml: bytes, keys: Keys) -> bytes:
    """Encrypt for 2C2P, sign as the merchant."""
    return jose.sign_ps256(jose.encrypt(xml, keys.provider).encode(), keys.private).encode()


def open_sealed(body: bytes, keys: Keys) -> Reply:
    """Check 2C2P's signature, decrypt, read.

    Raises:
        Misunderstood: forged, for another reader, or not the XML that is documented.
    """
    try:
        sealed = jose.verify_ps256(body.decode("ascii").strip(), keys.provider)
        return read_reply(jose.decrypt(sealed.decode("ascii"), keys.private))
    except (jose.NotGenuine, UnicodeDecodeError) as error:
        raise Misunderstood(f"not sealed by 2C2P for us: {error}") from None


def read_reply(xml: bytes) -> Reply:
    """The XML of an answer.

    Raises:
        Misunderstood: something else, or with a document type.
    """
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(xml, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise Misunderstood(f"not XML: {type(error).__name__}") from None
    if root.tag != RESPONSE or root.getroottree().docinfo.doctype:
        raise Misunderstood("not a maintenance answer")
    texts = {child.tag: (child.text or "").strip() for child in root if isinstance(child.tag, str)}
    if not texts.get("respCode"):
        raise Misunderstood("an answer without respCode")
    return Reply(
        code=texts["respCode"],
        description=texts.get("respDesc", ""),
        process_type=texts.get("processType", ""),
        invoice_no=texts.get("invoiceNo", ""),
        status=texts.get("status", ""),
        amount=texts.get("amount", ""),
        reference=texts.get("referenceNo", ""),
        refund_reference=texts.get("refundReferenceNo", ""),
        stamped=texts.get("timeStamp", ""),
        refunds=tuple(_listed(item) for item in root.iterfind("refundList/refund")),
    )


def _listed(item: etree._Element) -> ListedRefund:
    status, reference = item.get("status", ""), item.get("referenceNo", "")
    if status not in REFUND_KINDS or not reference:
        raise Misunderstood(f"refund status {status!r}")
    return ListedRefund(
        amount_minor=satang(item.get("amount", "")),
        status=status,
        reference=reference,
        at=moment(item.get("dateTime", "")),
    )
