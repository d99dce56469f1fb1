"""GBPrimePay's settlement report of a day: CSV in UTF-8, one line a payment, void or refund.

ASSUMED throughout: no layout is public. Columns as in `COLUMNS`, dates ddMMyyyy and times HHmmss in Bangkok, amounts
in baht with two decimals, gross, what goes back negative. The file states no totals; its head proves that the export
ran, so a head without lines is a quiet day, and a file that does not end with a line's end was cut off. On each line
Amount − Fee − VAT − WHT must be the Net Amount.

Reference No is the short form of our key that GBPrimePay knows, so it is a weak reference.
"""

import csv
import re
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

PROVIDER: Final = "gbprimepay"
BANGKOK: Final = ZoneInfo("Asia/Bangkok")
COLUMNS: Final = (
    "Settlement Date",
    "Transaction Date",
    "Transaction Time",
    "GBP Reference No",
    "Reference No",
    "Payment Type",
    "Amount",
    "Fee",
    "VAT",
    "WHT",
    "Net Amount",
    "Status",
)
KINDS_BY_STATUS: Final[Mapping[str, LineKind]] = {
    "S": LineKind.PAYMENT,
    "R": LineKind.REFUND,
    "V": LineKind.REVERSAL,
}
"""ASSUMED letters. Payments are positive, the others negative."""

_AMOUNT: Final = re.compile(r"-?[0-9]{1,13}\.[0-9]{2}")
_DAY: Final = re.compile(r"[0-9]{8}")
_TIME: Final = re.compile(r"[0-9]{6}")
_REFERENCE: Final = re.compile(r"[0-9A-Za-z_-]{1,40}")

Row = Mapping[str, str]


def parse(content: bytes) -> ParsedStatement:
    """Read a report: one line each, net of the fee and the VAT on it that the line states.

    Raises:
        StatementRefused: empty, not UTF-8, cut off, or not of these columns.
    """
    lines, rejects = [], []
    for number, cells in enumerate(_rows(content), start=2):
        try:
            lines.append(_line(_row(cells), number))
        except Unreadable as error:
            rejects.append(
                RejectedLine(line_number=number, field=error.field, reason=error.reason, detail=error.detail)
            )
    return ParsedStatement(account=PROVIDER, header={}, lines=tuple(lines), rejects=tuple(rejects))


FORMAT: Final = StatementFormat(source="gbprimepay_settlement", side=Side.PROVIDER, parse=parse)


def _rows(content: bytes) -> list[list[str]]:
    if not content:
        raise StatementRefused("empty_file", "no byte")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StatementRefused("wrong_encoding", f"byte {error.start} is not UTF-8") from error
    try:
        rows = list(csv.reader(text.splitlines(), strict=True))
    except csv.Error as error:
        raise StatementRefused("malformed", f"not CSV: {error}") from error
    if not rows or tuple(rows[0]) != COLUMNS:
        raise StatementRefused("malformed", f"the head is not {','.join(COLUMNS)}", line_number=1)
    if not text.endswith("\n"):
        raise StatementRefused("cut_off", "the last line has no end", line_number=len(rows))
    return rows[1:]


def _row(cells: list[str]) -> Row:
    if len(cells) != len(COLUMNS):
        raise Unreadable("line", "missing", f"{len(cells)} columns, {len(COLUMNS)} are due")
    return dict(zip(COLUMNS, cells, strict=True))


def _line(row: Row, line_number: int) -> StatementLine:
    kind = KINDS_BY_STATUS.get(row["Status"])
    if kind is None:
        raise Unreadable("Status", "unknown_value", f"{row['Status']!r} is not known")
    amount, fee, vat, withheld, net = (_amount(row, name) for name in ("Amount", "Fee", "VAT", "WHT", "Net Amount"))
    sign = 1 if kind is LineKind.PAYMENT else -1
    if amount * sign <= 0 or fee * sign < 0 or vat * sign < 0:
        raise Unreadable("Amount", "not_an_amount", f"{row['Amount']}, {row['Fee']}, {row['VAT']} for a {kind}")
    if withheld:
        # A line cannot say it, and a fee that took it in would be wrong: a person decides.
        raise Unreadable("WHT", "unknown_value", f"{row['WHT']} withheld")
    if net != amount - fee - vat:
        raise Unreadable("Net Amount", "unknown_value", f"{row['Net Amount']} is not the amount less fee and VAT")
    transaction_on, at = _day(row, "Transaction Date"), _time(row)
    occurred_at = datetime.combine(transaction_on, at, BANGKOK).astimezone(UTC)
    settles_on = _day(row, "Settlement Date")
    identifier = _reference(row, "GBP Reference No")
    return StatementLine(
        line_number=line_number,
        account=PROVIDER,
        kind=kind,
        amount_minor=net,
        fee_minor=fee,
        vat_minor=vat,
        currency="THB",
        value_on=transaction_on,
        occurred_at=occurred_at,
        available_at=datetime.combine(settles_on, time.min, BANGKOK).astimezone(UTC),
        provider=PROVIDER,
        references=(
            LineReference(PROVIDER, identifier),
            LineReference(PROVIDER, _reference(row, "Reference No"), strong=False),
        ),
        identity=identifier,
        description=f"{row['Payment Type']} {row['Status']}",
    )


def _amount(row: Row, name: str) -> int:
    if not _AMOUNT.fullmatch(row[name]):
        raise Unreadable(name, "not_an_amount", f"{row[name]!r} is not baht with two decimals")
    amount_minor = from_text(row[name], "THB")
    if abs(amount_minor) > AMOUNT_MINOR_MAX:
        raise Unreadable(name, "not_an_amount", f"{row[name]!r} is more than can be held")
    return amount_minor


def _day(row: Row, name: str) -> date:
    text = row[name]
    try:
        if _DAY.fullmatch(text):
            return date(int(text[4:]), int(text[2:4]), int(text[:2]))
    except ValueError:
        pass
    raise Unreadable(name, "not_a_date", f"{text!r} is not ddMMyyyy")


def _time(row: Row) -> time:
    text = row["Transaction Time"]
    try:
        if _TIME.fullmatch(text):
            return time(int(text[:2]), int(text[2:4]), int(text[4:]))
    except ValueError:
        pass
    raise Unreadable("Transaction Time", "not_a_date", f"{text!r} is not HHmmss")


def _reference(row: Row, name: str) -> str:
    if not _REFERENCE.fullmatch(row[name]):
        raise Unreadable(name, "missing", f"{row[name]!r} is not a reference")
    return row[name]
