"""KBank's settlement report of a day: QR payments and cards, each line with its fee and VAT.

ASSUMED: that the night run settles by the day and withholds fee and VAT is documented, but no sample of a report that
says so line by line is public; banks agree its form with each merchant. Read here is CSV in UTF-8 with CRLF:

- `H,kbank_settlement,1,merchant,day`
- `D,number,PAYMENT|VOID|REFUND,QR|CARD,transaction,order,reference,day,time,gross,fee,VAT,net,batch`
- `S,batch,day,gross,fee,VAT,net`: a payment of the net to the bank account
- `T,number of D,gross,fee,VAT,net`

Days are dd/MM/yyyy and times those of Bangkok, amounts baht with two decimals, negative where they go back. A line's
amount is its net. The T record must be the sum of the D records, so a D record whose amounts cannot be read refuses the
file; a bad day, type or reference rejects its line only.
"""

import csv
import re
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

PROVIDER: Final = "kbank"
SOURCE: Final = "kbank_settlement"
VERSION: Final = "1"
BANGKOK: Final = ZoneInfo("Asia/Bangkok")
KINDS: Final[Mapping[str, LineKind]] = {
    "PAYMENT": LineKind.PAYMENT,
    "VOID": LineKind.REVERSAL,
    "REFUND": LineKind.REFUND,
}
PRODUCTS: Final = frozenset({"QR", "CARD"})
LENGTHS: Final[Mapping[str, int]] = {"H": 5, "D": 14, "S": 7, "T": 6}
"""Fields of each record, its letter included."""

_DAY: Final = re.compile(r"(\d{2})/(\d{2})/(\d{4})", re.ASCII)
_TIME: Final = re.compile(r"(\d{2}):(\d{2}):(\d{2})", re.ASCII)
_AMOUNT: Final = re.compile(r"-?\d{1,13}\.\d{2}", re.ASCII)

Record = Sequence[str]


class _Amounts(msgspec.Struct, frozen=True):
    gross_minor: int
    fee_minor: int
    vat_minor: int
    net_minor: int


def parse(content: bytes) -> ParsedStatement:
    """Read a settlement report.

    Raises:
        StatementRefused: wrong encoding, records out of order or cut off, an unreadable amount, or wrong totals.
    """
    records = _records(content)
    head, total = records[0], records[-1]
    _check_frame(records)
    details = [(number, record) for number, record in enumerate(records, start=1) if record[0] == "D"]
    amounts = {number: _amounts(record[9:13], number) for number, record in details}
    control_totals = _check_total(total, list(amounts.values()), len(records))
    lines: list[StatementLine] = []
    rejects: list[RejectedLine] = []
    for number, record in details:
        try:
            lines.append(_line(record, amounts[number], number))
        except Unreadable as error:
            rejects.append(
                RejectedLine(
                    line_number=number,
                    field=error.field,
                    reason=error.reason,
                    detail=error.detail,
                    amount_minor=amounts[number].net_minor,
                )
            )
    for number, record in enumerate(records, start=1):
        if record[0] == "S":
            lines.append(_transfer(record, number))
    return ParsedStatement(
        account=PROVIDER,
        header={"merchant_id": head[3], "day": head[4]},
        lines=tuple(lines),
        rejects=tuple(rejects),
        control_totals=control_totals,
    )


FORMAT: Final = StatementFormat(source=SOURCE, side=Side.PROVIDER, parse=parse)


def _records(content: bytes) -> list[Record]:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise StatementRefused("wrong_encoding", f"byte {error.start} is not UTF-8") from error
    if not text:
        raise StatementRefused("empty_file", "no byte in it")
    if not text.endswith("\r\n"):
        raise StatementRefused("cut_off", "the last record does not end")
    try:
        records: list[Record] = list(csv.reader(text.split("\r\n")[:-1], strict=True))
    except csv.Error as error:
        raise StatementRefused("malformed", f"not CSV: {error}") from error
    for number, record in enumerate(records, start=1):
        letter = record[0] if record else ""
        if letter not in LENGTHS:
            raise StatementRefused("malformed", f"record {letter!r} is not known", line_number=number)
        if len(record) != LENGTHS[letter]:
            detail = f"{len(record)} fields instead of {LENGTHS[letter]}"
            raise StatementRefused("wrong_length", detail, line_number=number)
    return records


def _check_frame(records: list[Record]) -> None:
    letters = "".join(record[0] for record in records)
    if letters[0] != "H" or tuple(records[0][1:3]) != (SOURCE, VERSION):
        raise StatementRefused("malformed", f"not the head of a {SOURCE} file, version {VERSION}", line_number=1)
    if letters[-1] != "T":
        raise StatementRefused("cut_off", "the last record is no T", line_number=len(records))
    if re.fullmatch("HD*S*T", letters) is None:
        raise StatementRefused("wrong_order", "records do not come as H, D, S, T")
    if _day_of(records[0][4]) is None:
        raise StatementRefused("malformed", f"{records[0][4]!r} is no day", line_number=1, field="day")
    for wanted, record in enumerate((record for record in records if record[0] == "D"), start=1):
        if record[1] != str(wanted):
            detail = f"number {record[1]!r} instead of {wanted}"
            raise StatementRefused("wrong_order", detail, line_number=wanted + 1, field="number")


def _check_total(record: Record, amounts: list[_Amounts], line_number: int) -> tuple[ControlTotal, ...]:
    if not (record[1].isascii() and record[1].isdigit()):
        raise StatementRefused("malformed", f"{record[1]!r} is not a number", line_number=line_number, field="count")
    stated = _amounts(record[2:6], line_number)
    pairs = {
        "count": (int(record[1]), len(amounts)),
        "gross": (stated.gross_minor, sum(item.gross_minor for item in amounts)),
        "fee": (stated.fee_minor, sum(item.fee_minor for item in amounts)),
        "vat": (stated.vat_minor, sum(item.vat_minor for item in amounts)),
        "net": (stated.net_minor, sum(item.net_minor for item in amounts)),
    }
    for name, (said, found) in pairs.items():
        if said != found:
            detail = f"the file says {said}, its lines make {found}"
            raise StatementRefused("wrong_total", detail, line_number=line_number, field=name)
    return tuple(ControlTotal(name=name, stated=said, found=found) for name, (said, found) in pairs.items())


def _amounts(fields: Sequence[str], line_number: int) -> _Amounts:
    values = []
    for name, text in zip(("gross", "fee", "vat", "net"), fields, strict=True):
        if not _AMOUNT.fullmatch(text) or abs(from_text(text, "THB")) > AMOUNT_MINOR_MAX:
            raise StatementRefused("malformed", f"{text!r} is not an amount", line_number=line_number, field=name)
        values.append(from_text(text, "THB"))
    amounts = _Amounts(*values)
    if amounts.net_minor != amounts.gross_minor - amounts.fee_minor - amounts.vat_minor:
        raise StatementRefused("malformed", "net is not gross − fee − VAT", line_number=line_number, field="net")
    return amounts


def _line(record: Record, amounts: _Amounts, line_number: int) -> StatementLine:
    _, _, word, product, transaction_id, order, reference, day, time_of_day, *_, batch = record
    kind = KINDS.get(word)
    if kind is None or product not in PRODUCTS:
        raise Unreadable("type", "unknown_value", f"{word!r} of {product!r} is not known")
    if (amounts.gross_minor > 0) != (kind is LineKind.PAYMENT) or amounts.gross_minor == 0:
        raise Unreadable("gross", "not_an_amount", f"{amounts.gross_minor} for a {word}")
    if not transaction_id or not order:
        raise Unreadable("transaction", "missing", "no transaction or no order")
    value_on, occurred_at = _moment(day, time_of_day)
    references = [LineReference(PROVIDER, transaction_id)]
    if reference:
        references.append(LineReference(PROVIDER, reference, strong=False))
    return StatementLine(
        line_number=line_number,
        account=PROVIDER,
        kind=kind,
        amount_minor=amounts.net_minor,
        fee_minor=amounts.fee_minor,
        vat_minor=amounts.vat_minor,
        currency="THB",
        value_on=value_on,
        occurred_at=occurred_at,
        provider=PROVIDER,
        references=tuple(references),
        batch_reference=batch or None,
        identity=transaction_id,
        description=f"{product} {word}",
    )


def _transfer(record: Record, line_number: int) -> StatementLine:
    _, batch, day, *amounts = record
    value_on = _day_of(day)
    if not batch or value_on is None:
        raise StatementRefused("malformed", "a batch without name or day", line_number=line_number, field="batch")
    return StatementLine(
        line_number=line_number,
        account=PROVIDER,
        kind=LineKind.TRANSFER,
        amount_minor=-_amounts(amounts, line_number).net_minor,
        currency="THB",
        value_on=value_on,
        provider=PROVIDER,
        references=(LineReference(PROVIDER, batch),),
        batch_reference=batch,
        identity=batch,
        description="settlement",
    )


def _moment(day: str, time_of_day: str) -> tuple[date, datetime]:
    value_on, parts = _day_of(day), _TIME.fullmatch(time_of_day)
    if value_on is None or parts is None:
        raise Unreadable("day", "not_a_date", f"{day!r} {time_of_day!r} is not dd/MM/yyyy HH:mm:ss")
    try:
        at = datetime(
            value_on.year,
            value_on.month,
            value_on.day,
            int(parts[1]),
            int(parts[2]),
            int(parts[3]),
            tzinfo=BANGKOK,
        )
    except ValueError as error:
        raise Unreadable("time", "not_a_date", f"{time_of_day!r} is no time") from error
    return value_on, at.astimezone(UTC)


def _day_of(text: str) -> date | None:
    parts = _DAY.fullmatch(text)
    if parts is None:
        return None
    try:
        return date(int(parts[3]), int(parts[2]), int(parts[1]))
    except ValueError:
        return None
