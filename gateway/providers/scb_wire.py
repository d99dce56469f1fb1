"""SCB's words on the wire: envelope, payment rows, times and amounts. What does not fit is refused, never guessed."""

from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec

from gateway.providers.base import NOT_JSON
from gateway.providers.promptpay import BAHT_CODE
from ledger.money import from_text

Data = TypeVar("Data")

REVERSE_FLAGS: Final = {"", "N", "Y"}
"""ASSUMED: the field is documented, its values are not; anything else is not understood."""


class MalformedRow(Exception):
    """An answer of SCB's is not what its documentation says; the message says where."""


class Status(msgspec.Struct, frozen=True):
    """`status` of every answer; `code` 1000 is success."""

    code: int
    description: str = ""


class Envelope(msgspec.Struct, frozen=True):
    """Every JSON answer."""

    status: Status
    data: msgspec.Raw = msgspec.Raw(b"null")


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """An envelope, opened as far as its code."""

    code: int
    description: str
    data: bytes

    def data_as(self, kind: type[Data]) -> Data:
        """The data as a wire type.

        Raises:
            MalformedRow: the data is something else.
        """
        try:
            return msgspec.json.decode(self.data, type=kind)
        except NOT_JSON as error:
            raise MalformedRow(str(error)) from None


class AccessToken(msgspec.Struct, frozen=True, rename="camel"):
    """Data of the token call; `expires_in` in seconds."""

    access_token: str
    expires_in: int


class IssuedQr(msgspec.Struct, frozen=True, rename="camel"):
    """Data of a QR call."""

    qr_raw_data: str


class PaymentRow(msgspec.Struct, frozen=True, rename="camel"):
    """A row of the inquiry. `transactionDateandTime` is SCB's own spelling."""

    transaction_id: str
    amount: str
    bill_payment_ref1: str = msgspec.field(name="billPaymentRef1")
    transaction_date_and_time: str = msgspec.field(name="transactionDateandTime")
    currency_code: str = BAHT_CODE
    payee_proxy_id: str = ""
    reverse_flag: str = ""

    def __post_init__(self) -> None:
        """Refuse a flag that nobody has told us of."""
        if self.reverse_flag not in REVERSE_FLAGS:
            message = f"reverseFlag {self.reverse_flag!r} is not known"
            raise ValueError(message)


class Confirmation(msgspec.Struct, frozen=True, rename="camel"):
    """A payment confirmation, as far as we read it: payer's names and accounts stay in the sealed raw body."""

    transaction_id: str
    payee_proxy_id: str
    bill_payment_ref1: str = msgspec.field(name="billPaymentRef1")
    transaction_date_and_time: str = msgspec.field(name="transactionDateandTime")


def envelope(body: bytes) -> Reply | None:
    """The opened envelope, or None where the body is none."""
    try:
        opened = msgspec.json.decode(body, type=Envelope)
    except NOT_JSON:
        return None
    return Reply(code=opened.status.code, description=opened.status.description, data=bytes(opened.data))


def satang(text: Any) -> int:
    """`1234.56` as 123456.

    Raises:
        MalformedRow: not a positive amount in baht.
    """
    try:
        amount_minor = from_text(text, "THB")
    except ValueError as error:
        raise MalformedRow(str(error)) from None
    if amount_minor <= 0:
        raise MalformedRow(f"amount {text} is not above zero")
    return amount_minor


def moment(text: str) -> datetime:
    """`2026-01-01T09:00:00.000+07:00` as an aware time.

    Raises:
        MalformedRow: not a time with an offset.
    """
    try:
        value = datetime.fromisoformat(text)
    except ValueError as error:
        raise MalformedRow(str(error)) from None
    if value.tzinfo is None:
        raise MalformedRow(f"time {text!r} has no offset")
    return value


def currency(code: str) -> str:
    """`764` as `THB`.

    Raises:
        MalformedRow: any other currency; this rail moves baht.
    """
    if code != BAHT_CODE:
        raise MalformedRow(f"currency {code!r} is not baht")
    return "THB"
