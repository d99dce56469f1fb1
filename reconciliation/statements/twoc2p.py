"""2C2P's reconcile report v2.4 (not for instalments): CSV of 67 columns without a header line.

A total row (H) states how many rows (D) follow it and what they add up to: gross, fee, VAT on it, withholding tax that
2C2P credits back, and net. Each row states the same of itself, and net = gross − fee − VAT + withholding tax. A file is
refused whole where a total does not fit its rows, an amount is none, or a row has another number of columns; a row that
cannot be read otherwise is rejected with its amount.

The columns that have no published name are not read.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from ledger.money import AMOUNT_MINOR_MAX, from_text
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

PROVIDER: Final = "2c2p"
BANGKOK: Final = ZoneInfo("Asia/Bangkok")

COLUMNS: Final = 67
BATCH: Final = 1
COUNT: Final = 2
RECORD_TYPE: Final = 3
TRANSACTION_DATE: Final = 8
TRANSACTION_TIME: Final = 9
SETTLED_ON: Final = 10
MERCHANT: Final = 12
INVOICE: Final = 13
PAYMENT_TYPE: Final = 15
SCHEME: Final = 16
GROSS: Final = 18
FEE: Final = 21
VAT: Final = 22
WITHHELD: Final = 29
NET: Final = 30
CURRENCY: Final = 32
TRAN_REF: Final = 45
"""Positions of the published samples, 1-based. ASSUMED: that 10 is when it counts, and that 45 is the tranRef."""
VOID_SUFFIX: Final = "V"
"""ASSUMED: refunds and voids are rows with negative amounts, and a void bears the tranRef of its payment, which stands
in the same file since it is of the same day. With this suffix it is the void's own id; the adapter derives the same."""
AMOUNTS: Final[Mapping[int, str]] = {GROSS: "gross", FEE: "fee", VAT: "vat", WITHHELD: "withholding_tax", NET: "net"}
DATE_FORMAT: Final = "%d/%m/%Y"
TIME_FORMAT: Final = "%d/%m/%Y %H%M%S"

Row = list[str]


class _Group(msgspec.Struct):
    """A total row and what was found behind it."""

    line_number: int
    count: int
    stated: dict[int, int]
    found: dict[int, int]
    rows: list[tuple[int, Row]]


def parse_settlement(content: bytes) -> ParsedStatement:
    """Read a report: one line for each row, in the view of what 2C2P owes.

    Raises:
        StatementRefused: not UTF-8 CSV of 67 columns, cut off, or a total that does not fit its rows.
    """
    rows = _rows(content)
    groups = _groups(rows)
    paid = {
        row[TRAN_REF - 1] for group in groups for _, row in group.rows if not row[GROSS - 1].strip().startswith("-")
    }
    lines, rejects = [], []
    for group in groups:
        for number, row in group.rows:
            try:
                lines.append(_line(number, row, paid))
            except Unreadable as error:
                rejects.append(
                    RejectedLine(
                        line_number=number,
                        field=error.field,
                        reason=error.reason,
                        detail=error.detail,
                        amount_minor=_amount(row, GROSS),
                    )
                )
    return ParsedStatement(
        account=rows[0][1][MERCHANT - 1] or PROVIDER,
        header=_header(groups),
        lines=tuple(lines),
        rejects=tuple(rejects),
        control_totals=tuple(_control_totals(groups)),
    )


FORMAT: Final = StatementFormat(source="2c2p_settlement", side=Side.PROVIDER, parse=parse_settlement)


def _rows(content: bytes) -> list[tuple[int, Row]]:
    if not content.strip():
        raise StatementRefused("empty_file", "a day without a movement still has its total")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StatementRefused("wrong_encoding", f"byte {error.start} is not UTF-8") from error
    try:
        rows = list(enumerate(csv.reader(io.StringIO(text, newline=""), strict=True), start=1))
    except csv.Error as error:
        raise StatementRefused("malformed", f"not CSV: {error}") from error
    for number, row in rows:
        if len(row) != COLUMNS:
            reason = "cut_off" if number == len(rows) else "wrong_length"
            raise StatementRefused(reason, f"{len(row)} columns, not {COLUMNS}", line_number=number)
    return rows


def _groups(rows: list[tuple[int, Row]]) -> list[_Group]:
    groups: list[_Group] = []
    for number, row in rows:
        record_type = row[RECORD_TYPE - 1]
        amounts = {column: _frame_amount(row, column, number) for column in AMOUNTS}
        if record_type == "H":
            groups.append(_Group(number, _count(row, number), amounts, dict.fromkeys(AMOUNTS, 0), []))
        elif record_type == "D" and groups:
            groups[-1].rows.append((number, row))
            groups[-1].found = {column: groups[-1].found[column] + amounts[column] for column in AMOUNTS}
        else:
            detail = f"record type {record_type!r}" if groups else "the first row is no total"
            raise StatementRefused("wrong_order", detail, line_number=number, field="record type")
    for group in groups:
        if len(group.rows) != group.count:
            reason = "cut_off" if group is groups[-1] and len(group.rows) < group.count else "wrong_total"
            detail = f"{group.count} rows stated, {len(group.rows)} found"
            raise StatementRefused(reason, detail, line_number=group.line_number, field="sequence")
        for column, name in AMOUNTS.items():
            if group.stated[column] != group.found[column]:
                detail = f"{group.stated[column]} stated, {group.found[column]} found, in minor units"
                raise StatementRefused("wrong_total", detail, line_number=group.line_number, field=name)
    return groups


def _control_totals(groups: Sequence[_Group]) -> list[ControlTotal]:
    totals = [
        ControlTotal(
            name="rows", stated=sum(group.count for group in groups), found=sum(len(group.rows) for group in groups)
        )
    ]
    for column, name in AMOUNTS.items():
        stated = sum(group.stated[column] for group in groups)
        totals.append(ControlTotal(name=name, stated=stated, found=sum(group.found[column] for group in groups)))
    return totals


def _header(groups: Sequence[_Group]) -> dict[str, str]:
    batches = sorted({row[BATCH - 1] for group in groups for _, row in group.rows} - {""})
    withheld = sum(group.stated[WITHHELD] for group in groups)
    return {"batches": " ".join(batches), "withholding_tax_minor": str(withheld)}


def _line(number: int, row: Row, paid: set[str]) -> StatementLine:
    gross, fee, vat, withheld, net = (_frame_amount(row, column, number) for column in AMOUNTS)
    if net != gross - fee - vat + withheld:
        raise Unreadable("net", "unknown_value", f"{net} is not {gross} − {fee} − {vat} + {withheld}")
    if gross == 0:
        raise Unreadable("gross", "not_an_amount", "nothing moved")
    reference, invoice = _text(row, TRAN_REF, "tranRef"), _text(row, INVOICE, "invoiceNo")
    kind = LineKind.PAYMENT
    if gross < 0:
        kind = LineKind.REVERSAL if reference in paid else LineKind.REFUND
    own = reference + VOID_SUFFIX if kind is LineKind.REVERSAL else reference
    currency = _text(row, CURRENCY, "currency")
    if currency != "THB":
        raise Unreadable("currency", "not_a_currency", f"{currency!r} is not settled here")
    return StatementLine(
        line_number=number,
        account=_text(row, MERCHANT, "merchantID"),
        kind=kind,
        amount_minor=gross - fee - vat,
        fee_minor=fee,
        vat_minor=vat,
        currency=currency,
        value_on=_date(row, SETTLED_ON, "settled on"),
        occurred_at=_moment(row),
        provider=PROVIDER,
        references=(LineReference(PROVIDER, own), LineReference(PROVIDER, invoice, strong=False)),
        batch_reference=row[BATCH - 1] or None,
        identity=own,
        description=f"{row[SCHEME - 1]} {row[PAYMENT_TYPE - 1]}".strip(),
    )


def _text(row: Row, column: int, name: str) -> str:
    value = row[column - 1].strip()
    if not value:
        raise Unreadable(name, "missing", f"column {column} is empty")
    return value


def _amount(row: Row, column: int) -> int | None:
    """Minor units of `1600.00000`; None where it is no amount, or finer than a minor unit."""
    text = row[column - 1].strip()
    if not text or text.startswith("+"):
        return None
    try:
        amount = from_text(text, "THB")
    except ValueError:
        return None
    return amount if abs(amount) <= AMOUNT_MINOR_MAX else None


def _frame_amount(row: Row, column: int, number: int) -> int:
    """An amount that totals need: without it nothing adds up, so the file is refused."""
    amount = _amount(row, column)
    if amount is None:
        detail = f"{row[column - 1]!r} is not an amount"
        raise StatementRefused("malformed", detail, line_number=number, field=AMOUNTS[column])
    return amount


def _count(row: Row, number: int) -> int:
    text = row[COUNT - 1]
    if not (text.isascii() and text.isdigit()):
        raise StatementRefused("malformed", f"{text!r} is not a number", line_number=number, field="sequence")
    return int(text)


def _date(row: Row, column: int, name: str) -> date:
    text = _text(row, column, name)
    try:
        return datetime.strptime(text, DATE_FORMAT).replace(tzinfo=BANGKOK).date()
    except ValueError as error:
        raise Unreadable(name, "not_a_date", f"{text!r} is not dd/MM/yyyy") from error


def _moment(row: Row) -> datetime:
    text = f"{_text(row, TRANSACTION_DATE, 'transaction date')} {_text(row, TRANSACTION_TIME, 'transaction time')}"
    try:
        return datetime.strptime(text, TIME_FORMAT).replace(tzinfo=BANGKOK).astimezone(UTC)
    except ValueError as error:
        raise Unreadable("transaction time", "not_a_date", f"{text!r} is not dd/MM/yyyy HHmmss") from error
