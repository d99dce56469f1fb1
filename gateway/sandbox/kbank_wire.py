"""What both products of KBank share in the sandbox: bodies in, answers out, exact amounts."""

from decimal import Decimal
from typing import Any, Final

import msgspec

from gateway.sandbox.wire import SATANG_PER_BAHT, Answer, AnyRequest, baht

NAME: Final = "kbank"
AMOUNT_DIGITS_MAX: Final = 12
Fields = dict[str, msgspec.Raw]

_NUMBERS: Final = msgspec.json.Encoder(decimal_format="number")


def encoded(value: Any) -> bytes:
    """JSON in which an amount is a number with all its decimals."""
    return _NUMBERS.encode(value)


def answer(value: Any, status: int = 200) -> Answer:
    """`value` as a JSON answer."""
    return Answer(status=status, body=encoded(value))


def number(amount_minor: int) -> Decimal:
    """Satang as the baht that stands in JSON."""
    return Decimal(baht(amount_minor))


async def read_json(request: AnyRequest) -> Fields | None:
    """The fields of a JSON body, their values untouched; None where it is none."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        return None
    try:
        return msgspec.json.decode(await request.body(), type=Fields)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def text(fields: Fields, name: str, length_max: int) -> str | None:
    """A text field of 1 to `length_max` characters; None where it is missing or something else."""
    try:
        value = msgspec.json.decode(fields[name], type=str)
    except (KeyError, msgspec.DecodeError):
        return None
    return value if 1 <= len(value) <= length_max else None


def amount(fields: Fields, name: str, *, as_text: bool = False) -> int | None:
    """Satang of a field in baht; None unless it is a positive amount with at most two decimals.

    Args:
        fields: of the body.
        name: of the field.
        as_text: whether a text (`"100.50"`) is taken as well as a number.
    """
    raw = bytes(fields.get(name, b""))
    if raw.startswith(b'"') and not as_text:
        return None
    try:
        value = msgspec.json.decode(raw, type=Decimal)
    except msgspec.DecodeError:
        return None
    if not value.is_finite() or value <= 0 or value.adjusted() >= AMOUNT_DIGITS_MAX:
        return None
    minor = value * SATANG_PER_BAHT
    return int(minor) if minor == minor.to_integral_value() else None
