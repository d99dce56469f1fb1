"""TrueMoney's settlement file: CSV in UTF-8, a row for each payment and refund of a day, with its fee and VAT.

ASSUMED, the whole layout: none is public. The columns are those of `COLUMNS`; amounts are in baht with two decimals,
times are Bangkok's. A refund's row has its own id and reference in `payment_id` and `isv_payment_ref`, and its amount
and net are below zero. There is no row of totals, so only the last line's end shows that nothing was cut off, and a
file of a day without payments is its header alone.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from ledger.money import AMOUNT_MINOR_MAX, from_text
from reconciliation.errors import StatementRefused
from reconciliation.statements.base import (
    LineKind,
    LineReference,
    ParsedStatement,
    RejectedLine,
    Side,
    StatementFormat,
    StatementLine,
    Unreadable,
)

PROVIDER: Final = "truemoney"
BANGKOK: Final = ZoneInfo("Asia/Bangkok")
CURRENCY: Final = "THB"
COLUMNS: Final = (
    "settlement_date",
    "transaction_date",
    "payment_id",
    "isv_payment_ref",
    "type",
    "amount",
    "fee",
    "vat",
    "net",
    "status",
)
SETTLED: Final = "SUCCESS"
KINDS: Final[Mapping[str, LineKind]] = {"PAYMENT": LineKind.PAYMENT, "REFUND": LineKind.REFUND}

_AMOUNT: Final = re.compile(r"-?[0-9]{1,15}\.[0-9]{2}")
_MOMENT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")

Row = Mapping[str, str]


def parse(content: bytes) -> ParsedStatement:
    """Read a settlement file: one line for each row, signed in the view of the merchant's balance.

    Raises:
        StatementRefused: empty, not UTF-8, cut off, not CSV, or with other columns.
    """
    rows = _rows(content)
    lines, rejects = [], []
    for number, cells in enumerate(rows[1:], start=2):
        try:
            lines.append(_line(cells, number))
        except Unreadable as error:
            rejects.append(
                RejectedLine(
                    line_number=number,
                    field=error.field,
                    reason=error.reason,
                    detail=error.detail,
                    amount_minor=_amount_if_readable(cells),
                )
            )
    return ParsedStatement(account=PROVIDER, header={}, lines=tuple(lines), rejects=tuple(rejects))


FORMAT: Final = StatementFormat(source="truemoney_settlement", side=Side.PROVIDER, parse=parse)


def _rows(content: bytes) -> list[list[str]]:
    if not content:
        raise StatementRefused("empty_file", "not even a header")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StatementRefused("wrong_encoding", f"byte {error.start} is not UTF-8") from error
    try:
        rows = list(csv.reader(text.splitlines(keepends=True), strict=True))
    except csv.Error as error:
        raise StatementRefused("malformed", f"not CSV: {error}") from error
    if not rows or tuple(rows[0]) != COLUMNS:
        raise StatementRefused("malformed", "the first line does not name the columns", line_number=1)
    if not text.endswith("\n"):
        raise StatementRefused("cut_off", "the last line does not end", line_number=len(rows))
    return rows


def _line(cells: Sequence[str], line_number: int) -> StatementLine:
    if len(cells) != len(COLUMNS):
        raise Unreadable("columns", "missing", f"{len(cells)} cells instead of {len(COLUMNS)}")
    row = dict(zip(COLUMNS, cells, strict=True))
    kind = KINDS.get(row["type"])
    if kind is None:
        raise Unreadable("type", "unknown_value", f"{row['type']!r} is neither PAYMENT nor REFUND")
    if row["status"] != SETTLED:
        raise Unreadable("status", "unknown_value", f"{row['status']!r} is not {SETTLED}")
    identifier, reference = _text(row, "payment_id"), _text(row, "isv_payment_ref")
    amount, fee, vat, net = (_amount(row, name) for name in ("amount", "fee", "vat", "net"))
    if amount == 0 or (amount < 0) != (kind is LineKind.REFUND):
        raise Unreadable("amount", "not_an_amount", f"{row['amount']} is not the amount of a {row['type']}")
    if net != amount - fee - vat:
        raise Unreadable("net", "unknown_value", f"{row['net']} is not {row['amount']} − {row['fee']} − {row['vat']}")
    occurred_at = _moment(row, "transaction_date")
    return StatementLine(
        line_number=line_number,
        account=PROVIDER,
        kind=kind,
        amount_minor=net,
        fee_minor=fee,
        vat_minor=vat,
        currency=CURRENCY,
        value_on=occurred_at.date(),
        occurred_at=occurred_at,
        available_at=_moment(row, "settlement_date"),
        provider=PROVIDER,
        references=(LineReference(PROVIDER, identifier), LineReference(PROVIDER, reference, strong=False)),
        identity=identifier,
        description=row["type"],
    )


def _text(row: Row, name: str) -> str:
    value = row[name].strip()
    if not value:
        raise Unreadable(name, "missing", "nothing in it")
    return value


def _amount(row: Row, name: str) -> int:
    text = row[name]
    amount_minor = from_text(text, CURRENCY) if _AMOUNT.fullmatch(text) else AMOUNT_MINOR_MAX
    if abs(amount_minor) >= AMOUNT_MINOR_MAX:
        raise Unreadable(name, "not_an_amount", f"{text!r} is not an amount in baht with two decimals")
    return amount_minor


def _amount_if_readable(cells: Sequence[str]) -> int | None:
    try:
        return _amount(dict(zip(COLUMNS, cells, strict=False)), "amount")
    except (KeyError, Unreadable):
        return None


def _moment(row: Row, name: str) -> datetime:
    text = row[name]
    try:
        # What is not in the one form is handed on as a text that is no time at all.
        return datetime.fromisoformat(text if _MOMENT.fullmatch(text) else "").replace(tzinfo=BANGKOK)
    except ValueError as error:
        raise Unreadable(name, "not_a_date", f"{text!r} is not a time yyyy-MM-dd HH:mm:ss") from error
