"""Bangkok Bank's merchant report: one CSV a day, one line a movement, fee and VAT stated on each.

ASSUMED as a whole: the report is downloaded from the portal and its layout is not published. The columns are those of
`COLUMNS`, in that order, UTF-8 (a mark of byte order is allowed), amounts `1234.50` in baht and never negative: the
status says which way the money went. PromptPay payments stand in the same report as cards. `Net` proves each line:
it is amount less MDR and VAT.

`Payment Ref.` is the bank's id of the payment. A refund or void repeats it, and has no id of its own.
"""

import csv
import io
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
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

PROVIDER: Final = "bbl"
BANGKOK: Final = ZoneInfo("Asia/Bangkok")
COLUMNS: Final = (
    "Transaction Date",
    "Merchant Ref.",
    "Payment Ref.",
    "Currency",
    "Amount",
    "Payment Method",
    "Status",
    "Approval Code",
    "Settle Date",
    "MDR",
    "VAT",
    "Net",
)
"""ASSUMED."""
KINDS_BY_STATUS: Final[Mapping[str, LineKind]] = {
    "Accepted": LineKind.PAYMENT,
    "Refunded": LineKind.REFUND,
    "Voided": LineKind.REVERSAL,
}
"""ASSUMED: the words of the inquiry."""

Row = Mapping[str, str]


def parse(content: bytes) -> ParsedStatement:
    """Read a merchant report: payments > 0, refunds and voids < 0, net of the MDR and VAT that each line states.

    Raises:
        StatementRefused: not UTF-8, other columns, a line with too few or too many fields, or cut off.
    """
    rows = _rows(content)
    lines, rejects = [], []
    for number, row in enumerate(rows, start=2):
        try:
            lines.append(_line(row, number))
        except Unreadable as error:
            rejects.append(
                RejectedLine(line_number=number, field=error.field, reason=error.reason, detail=error.detail)
            )
    return ParsedStatement(account=PROVIDER, header={}, lines=tuple(lines), rejects=tuple(rejects))


FORMAT: Final = StatementFormat(source="bbl_settlement", side=Side.PROVIDER, parse=parse)


def _rows(content: bytes) -> list[Row]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StatementRefused("wrong_encoding", f"byte {error.start} is not UTF-8") from error
    if not text:
        raise StatementRefused("empty_file", "not even a head")
    if not text.endswith("\n"):
        raise StatementRefused("cut_off", "the last line does not end")
    try:
        table = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise StatementRefused("malformed", f"not CSV: {error}") from error
    if tuple(table[0]) != COLUMNS:
        raise StatementRefused("malformed", f"columns {table[0]!r}", line_number=1)
    for number, fields in enumerate(table[1:], start=2):
        if len(fields) != len(COLUMNS):
            detail = f"{len(fields)} fields instead of {len(COLUMNS)}"
            raise StatementRefused("malformed", detail, line_number=number)
    return [dict(zip(COLUMNS, fields, strict=True)) for fields in table[1:]]


def _line(row: Row, line_number: int) -> StatementLine:
    kind = KINDS_BY_STATUS.get(row["Status"])
    if kind is None:
        raise Unreadable("Status", "unknown_value", f"{row['Status']!r} is not known")
    if row["Currency"] != "THB":
        raise Unreadable("Currency", "not_a_currency", f"{row['Currency']!r} is not baht")
    occurred_at = _moment(row)
    payment_reference, merchant_reference = _text(row, "Payment Ref."), _text(row, "Merchant Ref.")
    sign = 1 if kind is LineKind.PAYMENT else -1
    gross, fee, vat = _amount(row, "Amount", least=1), _amount(row, "MDR"), _amount(row, "VAT")
    net = _amount(row, "Net")
    if net != gross - fee - vat:
        raise Unreadable("Net", "unknown_value", f"{row['Net']} is not {row['Amount']} − {row['MDR']} − {row['VAT']}")
    return StatementLine(
        line_number=line_number,
        account=PROVIDER,
        kind=kind,
        amount_minor=sign * net,
        fee_minor=sign * fee,
        vat_minor=sign * vat,
        currency="THB",
        value_on=occurred_at.date(),
        occurred_at=occurred_at.astimezone(UTC),
        available_at=datetime.combine(_date(row, "Settle Date"), time.min, BANGKOK).astimezone(UTC),
        provider=PROVIDER,
        references=(
            LineReference(PROVIDER, payment_reference),
            LineReference(PROVIDER, merchant_reference, strong=False),
        ),
        identity=payment_reference if kind is LineKind.PAYMENT else None,
        description=f"{row['Payment Method']} {row['Status']}",
    )


def _text(row: Row, name: str) -> str:
    if not row[name].strip():
        raise Unreadable(name, "missing", "empty")
    return row[name].strip()


def _amount(row: Row, name: str, *, least: int = 0) -> int:
    try:
        amount_minor = from_text(row[name], "THB")
    except ValueError as error:
        raise Unreadable(name, "not_an_amount", str(error)) from error
    if not least <= amount_minor <= AMOUNT_MINOR_MAX:
        raise Unreadable(name, "not_an_amount", f"{row[name]!r} is out of range")
    return amount_minor


def _moment(row: Row) -> datetime:
    text = row["Transaction Date"]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Unreadable("Transaction Date", "not_a_date", f"{text!r} is not a time") from error
    if moment.tzinfo is not None or " " not in text:
        raise Unreadable("Transaction Date", "not_a_date", f"{text!r} is not yyyy-MM-dd HH:mm:ss")
    return moment.replace(tzinfo=BANGKOK)


def _date(row: Row, name: str) -> date:
    try:
        return date.fromisoformat(row[name])
    except ValueError as error:
        raise Unreadable(name, "not_a_date", f"{row[name]!r} is not yyyy-MM-dd") from error
