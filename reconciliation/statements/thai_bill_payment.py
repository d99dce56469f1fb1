"""The Thai banks' end-of-day bill payment file: 256 characters a record, CP874, CRLF.

Records: H (head), D (one payment), T (totals), numbered 1, 2, 3 … through the file; amounts have two
implied decimals. Offsets are those of
`FIELDS`, 0-based and half-open. The T record must equal the sums of the D records; a D record whose amount or
kind cannot be read breaks that proof, so it refuses the file, while a bad date or reference rejects its line only.

No bank's own specification is public: the layout is the one that published parsers agree on. The spare field at
211 carries the bank's transaction id where a bank fills it and is then the strong reference; Ref1 is a weak one,
because a payer may pay one QR twice.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

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

RECORD_LENGTH: Final = 256
BANGKOK: Final = ZoneInfo("Asia/Bangkok")

PROVIDERS_BY_BANK_CODE: Final[Mapping[str, str]] = {"002": "bbl", "004": "kbank", "014": "scb"}
"""Bank code of the Bank of Thailand → our provider name."""

FIELDS: Final[Mapping[str, Mapping[str, slice]]] = {
    "H": {
        "sequence": slice(1, 7),
        "bank_code": slice(7, 10),
        "account": slice(10, 20),
        "effective_on": slice(60, 68),
        "service_code": slice(68, 76),
    },
    "D": {
        "sequence": slice(1, 7),
        "bank_code": slice(7, 10),
        "account": slice(10, 20),
        "paid_on": slice(20, 28),
        "paid_time": slice(28, 34),
        "ref1": slice(84, 104),
        "kind": slice(152, 153),
        "transaction_code": slice(153, 156),
        "amount": slice(163, 176),
        "transaction_id": slice(211, 243),
    },
    "T": {
        "sequence": slice(1, 7),
        "bank_code": slice(7, 10),
        "account": slice(10, 20),
        "debit_amount": slice(20, 33),
        "debit_count": slice(33, 39),
        "credit_amount": slice(39, 52),
        "credit_count": slice(52, 58),
    },
}

_SIGNS: Final = {"C": 1, "D": -1}


class _Movement(msgspec.Struct, frozen=True):
    """What a D record must yield even when the rest of it is unreadable: the totals depend on it."""

    kind: str
    amount_minor: int


def parse(content: bytes) -> ParsedStatement:
    """Read a bill payment file.

    Raises:
        StatementRefused: wrong encoding or record length, records out of order, cut off, or wrong totals.
    """
    records = _records(content)
    head, details, total = records[0], records[1:-1], records[-1]
    _check_frame(records)
    bank_code = _field(head, "H", "bank_code")
    provider = PROVIDERS_BY_BANK_CODE.get(bank_code)
    if provider is None:
        raise StatementRefused("unsupported", f"bank code {bank_code!r}", line_number=1, field="bank_code")
    movements = [_movement(record, number) for number, record in enumerate(details, start=2)]
    control_totals = _check_totals(total, movements, len(records))
    lines, rejects = [], []
    for number, (record, movement) in enumerate(zip(details, movements, strict=True), start=2):
        try:
            lines.append(_line(record, movement, number, provider))
        except Unreadable as error:
            rejects.append(
                RejectedLine(
                    line_number=number,
                    field=error.field,
                    reason=error.reason,
                    detail=error.detail,
                    amount_minor=_SIGNS[movement.kind] * movement.amount_minor,
                )
            )
    return ParsedStatement(
        account=_field(head, "H", "account"),
        header={name: _field(head, "H", name) for name in ("bank_code", "effective_on", "service_code")},
        lines=tuple(lines),
        rejects=tuple(rejects),
        control_totals=control_totals,
    )


FORMAT: Final = StatementFormat(source="thai_bill_payment", side=Side.PROVIDER, parse=parse)


def _records(content: bytes) -> list[str]:
    raw = content.split(b"\r\n")
    if raw[-1] == b"":
        raw.pop()
    for number, record in enumerate(raw, start=1):
        try:
            text = record.decode("cp874")
        except UnicodeDecodeError as error:
            raise StatementRefused("wrong_encoding", f"byte {error.start} is not CP874", line_number=number) from error
        if len(text) != RECORD_LENGTH:
            last = number == len(raw)
            raise StatementRefused(
                "cut_off" if last and len(text) < RECORD_LENGTH and number > 1 else "wrong_length",
                f"{len(text)} characters instead of {RECORD_LENGTH} (another encoding, line end or a lost piece)",
                line_number=number,
            )
    return [record.decode("cp874") for record in raw]


def _check_frame(records: list[str]) -> None:
    last = len(records)
    for number, record in enumerate(records, start=1):
        wanted = "H" if number == 1 else "T" if number == last else "D"
        if record[0] != wanted:
            reason = "cut_off" if number == last else "wrong_order"
            raise StatementRefused(reason, f"record {record[0]!r} where {wanted!r} belongs", line_number=number)
        if _field(record, wanted, "sequence") != f"{number:06d}":
            detail = f"number {_field(record, wanted, 'sequence')!r} instead of {number:06d}"
            raise StatementRefused("wrong_order", detail, line_number=number, field="sequence")
        for name in ("bank_code", "account"):
            if _field(record, wanted, name) != _field(records[0], "H", name):
                raise StatementRefused("malformed", "differs from the head's", line_number=number, field=name)
    if last == 1:
        raise StatementRefused("cut_off", "only a head", line_number=1)


def _check_totals(record: str, movements: list[_Movement], line_number: int) -> tuple[ControlTotal, ...]:
    totals = []
    for kind, word in (("D", "debit"), ("C", "credit")):
        amounts = [movement.amount_minor for movement in movements if movement.kind == kind]
        for name, found in ((f"{word}_amount", sum(amounts)), (f"{word}_count", len(amounts))):
            stated = _digits(record, "T", name, line_number)
            if stated != found:
                detail = f"the file says {stated}, its lines make {found}"
                raise StatementRefused("wrong_total", detail, line_number=line_number, field=name)
            totals.append(ControlTotal(name=name, stated=stated, found=found))
    return tuple(totals)


def _movement(record: str, line_number: int) -> _Movement:
    kind = _field(record, "D", "kind")
    if kind not in _SIGNS:
        raise StatementRefused("malformed", f"{kind!r} is neither C nor D", line_number=line_number, field="kind")
    return _Movement(kind, _digits(record, "D", "amount", line_number))


def _line(record: str, movement: _Movement, line_number: int, provider: str) -> StatementLine:
    paid_at = _paid_at(record)
    if movement.amount_minor == 0:
        raise Unreadable("amount", "not_an_amount", "zero")
    ref1, transaction_id = _field(record, "D", "ref1"), _field(record, "D", "transaction_id")
    if not ref1:
        raise Unreadable("ref1", "missing", "no Ref1")
    references = [LineReference(provider, ref1, strong=False)]
    if transaction_id:
        references.insert(0, LineReference(provider, transaction_id))
    return StatementLine(
        line_number=line_number,
        account=_field(record, "D", "account"),
        kind=LineKind.PAYMENT if movement.kind == "C" else LineKind.REVERSAL,
        amount_minor=_SIGNS[movement.kind] * movement.amount_minor,
        currency="THB",
        value_on=paid_at.date(),
        occurred_at=paid_at.astimezone(UTC),
        available_at=paid_at.astimezone(UTC),
        provider=provider,
        references=tuple(references),
        identity=transaction_id or None,
        description=_field(record, "D", "transaction_code"),
    )


def _paid_at(record: str) -> datetime:
    day, time = _field(record, "D", "paid_on"), _field(record, "D", "paid_time")
    try:
        on = date(int(day[4:]), int(day[2:4]), int(day[:2]))
        return datetime(on.year, on.month, on.day, int(time[:2]), int(time[2:4]), int(time[4:]), tzinfo=BANGKOK)
    except ValueError as error:
        raise Unreadable("paid_on", "not_a_date", f"{day!r} {time!r} is not ddMMyyyy HHmmss") from error


def _field(record: str, kind: str, name: str) -> str:
    return record[FIELDS[kind][name]].strip()


def _digits(record: str, kind: str, name: str, line_number: int) -> int:
    text = record[FIELDS[kind][name]]
    if not (text.isascii() and text.isdigit()):
        raise StatementRefused("malformed", f"{text!r} is not a number", line_number=line_number, field=name)
    return int(text)
