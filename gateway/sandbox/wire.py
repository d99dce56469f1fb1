"""What all protocols share on the wire: bodies in, answers out, ids, amounts in baht."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any, Final, NoReturn, Protocol, TypeAlias
from urllib.parse import parse_qsl

import msgspec
from litestar import Request, Response
from litestar.datastructures import State

from gateway.foundation.ids import uuid7, uuid_to_text

PARTS_PER_MILLION: Final = 1_000_000
SATANG_PER_BAHT: Final = 100
BAHT_TEXT_LENGTH_MAX: Final = 13
WHOLE_NUMBER: Final = re.compile(r"-?[0-9]{1,20}")
BIGINT_LIMIT: Final = 2**63

AnyRequest: TypeAlias = Request[Any, Any, State]


class Row(Protocol):
    """A database row or anything that is read like one."""

    def __getitem__(self, key: str, /) -> Any:
        """The value of a column."""
        ...


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP answer, rendered."""

    status: int = 200
    body: bytes = b""
    media_type: str = "application/json; charset=utf-8"

    def response(self) -> Response[bytes]:
        """The answer as litestar sends it; a charset of our own goes past litestar, which adds its own to any text."""
        response = Response(self.body, status_code=self.status, media_type=self.media_type)
        if "charset=" in self.media_type:
            response.headers["content-type"] = self.media_type
        return response


class Refusal(Exception):
    """The provider says no in its own words; what the operation did is rolled back."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class MalformedBody(Exception):
    """The request's body is neither JSON nor a form."""


def json_answer(value: Any, status: int = 200) -> Answer:
    """`value` as a JSON answer."""
    return Answer(status=status, body=msgspec.json.encode(value))


def refuse_control(status: int, code: str, message: str) -> NoReturn:
    """Say no in the words of the control interface.

    Raises:
        Refusal: always.
    """
    raise Refusal(json_answer({"code": code, "message": message}, status))


async def read_fields(request: AnyRequest) -> dict[str, Any]:
    """The request's fields from JSON or from a form, where `card[number]` nests.

    Raises:
        MalformedBody: unreadable, or not an object.
    """
    raw = await request.body()
    if not raw:
        return {}
    try:
        if request.headers.get("content-type", "").startswith("application/json"):
            return msgspec.json.decode(raw, type=dict[str, Any])
        return _nested(parse_qsl(raw.decode(), keep_blank_values=True))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedBody from error


def _nested(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        outer, bracket, inner = name.partition("[")
        if not bracket:
            fields[outer] = value
        elif inner == "]":
            fields.setdefault(outer, []).append(value)
        else:
            inside = fields.setdefault(outer, {})
            if not isinstance(inside, dict):
                raise MalformedBody
            inside[inner.rstrip("]")] = value
    return fields


def whole_number(value: Any) -> int | None:
    """The whole number that JSON or a form gave; None for a float, for true, and for what no column could hold."""
    if isinstance(value, str) and WHOLE_NUMBER.fullmatch(value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if abs(value) < BIGINT_LIMIT else None


def truth(value: Any, *, default: bool) -> bool:
    """The boolean that JSON or a form gave."""
    return default if value is None else str(value).lower() == "true"


def baht(amount_minor: int) -> str:
    """`123456` → `1234.56`."""
    return f"{amount_minor // SATANG_PER_BAHT}.{amount_minor % SATANG_PER_BAHT:02d}"


def satang(text: Any) -> int | None:
    """`1234.56` → `123456`; None unless it is a positive amount with at most two decimals."""
    if not isinstance(text, str) or len(text) > BAHT_TEXT_LENGTH_MAX:
        return None
    try:
        amount = Decimal(text) * SATANG_PER_BAHT
    except InvalidOperation:
        return None
    return int(amount) if amount.is_finite() and amount > 0 and amount == amount.to_integral_value() else None


def share(amount_minor: int, rate_ppm: int) -> int:
    """`rate_ppm` of an amount, half up to the satang."""
    return int((Decimal(amount_minor) * rate_ppm / PARTS_PER_MILLION).quantize(Decimal(1), ROUND_HALF_UP))


def omise_id(prefix: str) -> str:
    """An Omise id in test mode, sortable by its making: `chrg_test_01k8…`."""
    return f"{prefix}_test_{uuid_to_text(uuid7())}"


def short_id(letter: str) -> str:
    """16 capital letters and digits, sortable by their making: what fits `:61:` of an MT940 and a bank's reference."""
    text = uuid_to_text(uuid7()).upper()
    return f"{letter}{text[:10]}{text[-5:]}"


def utc_text(moment: datetime | None) -> str | None:
    """`2026-01-01T09:00:00Z`."""
    return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def text_metadata(value: Any) -> dict[str, str]:
    """Metadata as it is kept: text to text."""
    return {str(key): str(item) for key, item in value.items()} if isinstance(value, Mapping) else {}
