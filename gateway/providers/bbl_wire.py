"""Bangkok Bank's Open API on the wire: signed requests, envelope, payment rows. What does not fit is refused."""

import base64
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, TypeVar

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.foundation.clock import BANGKOK
from gateway.providers.base import NOT_JSON, Declined, NotAttempted, Outcome, Unknown
from ledger.money import from_text

Data = TypeVar("Data")

SUCCESS: Final = "000"
NOT_YET: Final = "209"
"""No such transaction, or not yet: never proof that none will come."""
REFUSED_FOR_CERTAIN: Final = {"211", "213", "331", "332"}
"""Invalid data, amount, reference or payee: nothing was done because of what the request holds."""
NOT_LET_IN: Final = {"052", "429"}
"""The biller or service is not registered, or too many calls: the request was not looked at."""
DONE: Final = "C"
REVERSED: Final = "D"
TRANSACTION_TYPES: Final = {DONE, REVERSED}
"""`txnType`: payment, and payment cancelled. Documented for the notification; ASSUMED for the inquiry, where a row
without it is a payment."""
PAID_STATUSES: Final = {"", SUCCESS}
"""`statusCode` of a row of the inquiry. ASSUMED: the field is known from clients, its values are the response codes."""


class MalformedAnswer(ValueError):
    """An answer is not what the documents say; the message says where."""


class KeyUnusable(Exception):
    """The account's private key is no RSA key in PEM."""


class Envelope(msgspec.Struct, frozen=True, rename="camel"):
    """Every JSON answer of the API. `responseMesg` is the bank's own spelling."""

    response_code: str
    response_mesg: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """An envelope, opened as far as its code."""

    code: str
    message: str
    data: bytes

    def data_as(self, kind: type[Data]) -> Data:
        """The data as a wire type.

        Raises:
            MalformedAnswer: the data is something else.
        """
        try:
            return msgspec.json.decode(self.data, type=kind)
        except NOT_JSON as error:
            raise MalformedAnswer(str(error)) from None


class AccessToken(msgspec.Struct, frozen=True):
    """Answer of the token call; both spellings of the token are seen, and seconds as number or as text."""

    access_token: str = ""
    access_token_camel: str = msgspec.field(name="accessToken", default="")
    expires_in: int | str | None = None

    @property
    def text(self) -> str:
        """The token, empty where there is none."""
        return self.access_token_camel or self.access_token


class IssuedQr(msgspec.Struct, frozen=True, rename="camel"):
    """Data of the QR call."""

    qr_data: str


class PaymentRow(msgspec.Struct, frozen=True, rename="camel"):
    """A payment in the inquiry, as far as we read it: payers' names stay with the bank."""

    transaction_id: str
    amount: Decimal
    trans_date: str
    trans_time: str
    biller_id: str = ""
    reference1: str = ""
    reference2: str = ""
    prompt_pay_ref1: str = msgspec.field(name="promptPayRef1", default="")
    approval_code: str = ""
    status_code: str = ""
    txn_type: str = DONE

    @property
    def amount_minor(self) -> int:
        """Satang.

        Raises:
            MalformedAnswer: not a positive amount in baht.
        """
        return satang(str(self.amount))

    @property
    def paid_at(self) -> datetime:
        """When the payer paid.

        Raises:
            MalformedAnswer: not a time.
        """
        return moment(self.trans_date, self.trans_time)


class Notification(msgspec.Struct, frozen=True, rename="camel"):
    """A payment notification (`NOTIFY_PPBP`), as far as we read it."""

    biller_id: str
    trans_date: str
    trans_time: str
    amount: str
    reference1: str
    bank_ref: str
    approval_code: str
    txn_type: str


def envelope(body: bytes) -> Reply | None:
    """The opened envelope, or None where the body is none."""
    try:
        opened = msgspec.json.decode(body, type=Envelope)
    except NOT_JSON:
        return None
    return Reply(code=opened.response_code, message=opened.response_mesg, data=bytes(opened.data))


def rows(reply: Reply) -> tuple[PaymentRow, ...]:
    """The payments of an inquiry.

    ASSUMED: the data is an object for one payment, as clients read it, and a list of them where a QR was paid again.

    Raises:
        MalformedAnswer: the data is neither.
    """
    if reply.data.lstrip().startswith(b"["):
        return reply.data_as(tuple[PaymentRow, ...])
    return (reply.data_as(PaymentRow),)


def refusal(reply: Reply, failure_code: str) -> Outcome:
    """What a code other than success means for a request that was to change something."""
    if reply.code in REFUSED_FOR_CERTAIN:
        return Declined(failure_code=failure_code, provider_code=reply.code, message=reply.message)
    if reply.code in NOT_LET_IN:
        return NotAttempted(reason=reply.message, provider_code=reply.code)
    return Unknown(reason=f"code {reply.code}")


def satang(text: str) -> int:
    """`1234.50` as 123450.

    Raises:
        MalformedAnswer: not a positive amount in baht.
    """
    try:
        amount_minor = from_text(text, "THB")
    except ValueError as error:
        raise MalformedAnswer(str(error)) from None
    if amount_minor <= 0:
        raise MalformedAnswer(f"amount {text} is not above zero")
    return amount_minor


def moment(day: str, time: str) -> datetime:
    """`2026-01-01` and `09:00:00`, Bangkok time.

    Raises:
        MalformedAnswer: not a day and a time.
    """
    try:
        value = datetime.fromisoformat(f"{day}T{time}")
    except ValueError as error:
        raise MalformedAnswer(str(error)) from None
    if value.tzinfo is not None:
        raise MalformedAnswer(f"time {time!r} has an offset")
    return value.replace(tzinfo=BANGKOK)


def signed(private_key: str, claims: Mapping[str, Any]) -> str:
    """The claims as a JWT, RS256.

    Raises:
        KeyUnusable: the key is no RSA key in PEM.
    """
    try:
        key = load_pem_private_key(private_key.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise KeyUnusable
    parts = [_base64url(msgspec.json.encode(part)) for part in ({"typ": "JWT", "alg": "RS256"}, claims)]
    text = ".".join(parts)
    return f"{text}.{_base64url(key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
