"""Omise's transactions and transfers, as `GET /transactions` and `GET /transfers` list them.

Each file is one JSON document `{"object": "list", "data": […]}`, its pages put together. What a transaction is
follows from the prefix of its `origin` (`chrg_`, `rfnd_`, `trsf_` …), never from its `key`: keys are an open set
and are only kept as the line's description. A charge's transaction states the net amount and not the fee, so
`fee_minor` stays None and matching derives it from the ledger's gross amount.

A list may state its `total`; it is then a control total. An empty list is believed only with `total: 0`, since a
failed export looks the same.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from ledger.money import AMOUNT_MINOR_MAX, CURRENCY_EXPONENTS
from reconciliation.errors import StatementRefused
from reconciliation.statements.base import (
    ControlTotal,
    LineKind,
    LineReference,
    ParsedStatement,
    RejectedLine,
    Side,
    StatementFormat,
    StatementLine,
    Unreadable,
)

PROVIDER: Final = "omise"
BANGKOK: Final = ZoneInfo("Asia/Bangkok")

KINDS_BY_ORIGIN: Final[Mapping[str, LineKind]] = {
    "chrg": LineKind.PAYMENT,
    "rfnd": LineKind.REFUND,
    "trsf": LineKind.TRANSFER_DEBIT,
    "dspt": LineKind.DISPUTE,
    "rcpt": LineKind.FEE,
}

_SIGNS: Final = {"credit": 1, "debit": -1}

Item = Mapping[str, Any]


def parse_transactions(content: bytes) -> ParsedStatement:
    """Read a list of transactions: one line each, signed in the view of the Omise balance.

    Raises:
        StatementRefused: not UTF-8 JSON, cut off, not a list, nothing in it, or not as many as it says.
    """
    return _parse(content, _transaction)


def parse_transfers(content: bytes) -> ParsedStatement:
    """Read a list of transfers: one line each, negative (money leaves the Omise balance for the bank).

    Raises:
        StatementRefused: as `parse_transactions`.
    """
    return _parse(content, _transfer)


TRANSACTIONS: Final = StatementFormat(source="omise_transactions", side=Side.PROVIDER, parse=parse_transactions)
TRANSFERS: Final = StatementFormat(source="omise_transfers", side=Side.PROVIDER, parse=parse_transfers)


def _parse(content: bytes, read: Callable[[Item, int], StatementLine]) -> ParsedStatement:
    document = _document(content)
    items = document["data"]
    total = document.get("total")
    if total is not None and total != len(items):
        detail = f"the list says {total!r} items and holds {len(items)}"
        raise StatementRefused("wrong_total", detail, field="total")
    if not items and total is None:
        raise StatementRefused("zero_rows", "an empty list that does not say total: 0", field="data")
    lines, rejects = [], []
    for number, item in enumerate(items, start=1):
        try:
            lines.append(read(_mapping(item), number))
        except Unreadable as error:
            rejects.append(
                RejectedLine(line_number=number, field=error.field, reason=error.reason, detail=error.detail)
            )
    return ParsedStatement(
        account=PROVIDER,
        header={name: str(document[name]) for name in ("from", "to", "location") if document.get(name) is not None},
        lines=tuple(lines),
        rejects=tuple(rejects),
        control_totals=() if total is None else (ControlTotal(name="total", stated=total, found=len(items)),),
    )


def _document(content: bytes) -> dict[str, Any]:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise StatementRefused("wrong_encoding", f"byte {error.start} is not UTF-8") from error
    try:
        document = msgspec.json.decode(content)
    except msgspec.DecodeError as error:
        reason = "cut_off" if "truncated" in str(error) else "malformed"
        raise StatementRefused(reason, f"not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("object") != "list":
        raise StatementRefused("malformed", 'not a document {"object": "list", …}', field="object")
    if not isinstance(document.get("data"), list):
        raise StatementRefused("malformed", "no list of items", field="data")
    return document


def _transaction(item: Item, line_number: int) -> StatementLine:
    identifier, origin = _text(item, "id"), _text(item, "origin")
    sign = _SIGNS.get(_text(item, "direction"))
    if sign is None:
        raise Unreadable("direction", "unknown_value", f"{item['direction']!r} is neither credit nor debit")
    created_at = _moment(item, "created_at")
    kind = KINDS_BY_ORIGIN.get(origin.partition("_")[0], LineKind.CREDIT if sign > 0 else LineKind.DEBIT)
    net_of_unstated_fee = kind is LineKind.PAYMENT
    return StatementLine(
        line_number=line_number,
        account=PROVIDER,
        kind=kind,
        amount_minor=sign * _amount(item, "amount"),
        fee_minor=None if net_of_unstated_fee else 0,
        vat_minor=None if net_of_unstated_fee else 0,
        currency=_currency(item),
        value_on=created_at.astimezone(BANGKOK).date(),
        occurred_at=created_at,
        available_at=created_at if item.get("transferable_at") is None else _moment(item, "transferable_at"),
        provider=PROVIDER,
        references=(LineReference(PROVIDER, identifier), LineReference(PROVIDER, origin)),
        batch_reference=origin if kind is LineKind.TRANSFER_DEBIT else None,
        identity=identifier,
        description=str(item.get("key") or ""),
    )


def _transfer(item: Item, line_number: int) -> StatementLine:
    identifier, created_at = _text(item, "id"), _moment(item, "created_at")
    amount, fee, vat = _amount(item, "amount"), _amount(item, "fee", least=0), _amount(item, "fee_vat", least=0)
    if item.get("net") is not None and _amount(item, "net", least=0) != amount - fee - vat:
        raise Unreadable("net", "unknown_value", f"{item['net']} is not {amount} − {fee} − {vat}")
    return StatementLine(
        line_number=line_number,
        account=PROVIDER,
        kind=LineKind.TRANSFER,
        amount_minor=-amount,
        fee_minor=fee,
        vat_minor=vat,
        currency=_currency(item),
        value_on=created_at.astimezone(BANGKOK).date(),
        occurred_at=created_at,
        available_at=created_at,
        provider=PROVIDER,
        references=(LineReference(PROVIDER, identifier),),
        batch_reference=identifier,
        identity=identifier,
        description="transfer",
    )


def _mapping(item: object) -> Item:
    if not isinstance(item, dict):
        raise Unreadable("data", "unknown_value", "not an object")
    return item


def _text(item: Item, name: str) -> str:
    value = item.get(name)
    if not isinstance(value, str) or not value:
        raise Unreadable(name, "missing", f"{value!r} is not text")
    return value


def _amount(item: Item, name: str, *, least: int = 1) -> int:
    value = item.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= AMOUNT_MINOR_MAX:
        raise Unreadable(name, "not_an_amount", f"{value!r} is not a whole number of minor units >= {least}")
    return value


def _currency(item: Item) -> str:
    currency = _text(item, "currency").upper()
    if currency not in CURRENCY_EXPONENTS:
        raise Unreadable("currency", "not_a_currency", f"{item['currency']!r} is not known")
    return currency


def _moment(item: Item, name: str) -> datetime:
    text = _text(item, name)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Unreadable(name, "not_a_date", f"{text!r} is not a time") from error
    if moment.tzinfo is None:
        raise Unreadable(name, "not_a_date", f"{text!r} names no time zone")
    return moment.astimezone(UTC)
