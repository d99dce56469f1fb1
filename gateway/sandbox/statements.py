"""The files that a bank gives out, as pure functions of what it booked: bill payment file and MT940."""

from collections.abc import Sequence
from datetime import date
from typing import Final

import msgspec

from gateway.foundation.clock import BANGKOK
from gateway.sandbox.bill_payments import SCB_CODE, Payee
from gateway.sandbox.wire import Row, baht

RECORD_LENGTH: Final = 256
ACCOUNT_LENGTH: Final = 10
LINE_END: Final = "\r\n"
PAYER_NAME: Final = "ผู้ชำระเงินทดสอบ"
"""In Thai, so that nobody reads the file in another encoding unnoticed."""


def bill_payment_file(on: date, payments: Sequence[Row], payee: Payee) -> bytes:
    """The 256-character file of a business date: H, one D a payment, T, in CP874 with CRLF.

    The layout that the Thai banks share; the spare field of D at 211 carries the transaction id.
    """
    account = payee.account_number[-ACCOUNT_LENGTH:].rjust(ACCOUNT_LENGTH, "0")
    records = [_header(on, account)]
    records += [_detail(number, row, account, payee.biller_id) for number, row in enumerate(payments, start=2)]
    total_minor = sum(row["amount_minor"] for row in payments)
    records.append(_total(len(payments) + 2, account, total_minor, len(payments)))
    assert all(len(record) == RECORD_LENGTH for record in records)
    return "".join(record + LINE_END for record in records).encode("cp874")


def _header(on: date, account: str) -> str:
    record = f"H{1:06d}{SCB_CODE}{account}{'QUICKKUB CO LTD':<40}{on:%d%m%Y}{'QKSVC':<8}"
    return record.ljust(RECORD_LENGTH)


def _detail(number: int, row: Row, account: str, biller_id: str) -> str:
    paid_at = row["paid_at"].astimezone(BANGKOK)
    record = (
        f"D{number:06d}{SCB_CODE}{account}{paid_at:%d%m%Y%H%M%S}{PAYER_NAME:<50}"
        f"{row['ref1']:<20}{row['ref2']:<20}{row['ref3']:<20}{'0111'}{'0001'}C{'PPY'}"
        f"{'':7}{row['amount_minor']:013d}{'':3}{'':17}{biller_id:<15}{row['transaction_id']:<32}"
        f"{row['sending_bank_code']}"
    )
    return record.ljust(RECORD_LENGTH)


def _total(number: int, account: str, credit_minor: int, credits_count: int) -> str:
    record = f"T{number:06d}{SCB_CODE}{account}{0:013d}{0:06d}{credit_minor:013d}{credits_count:06d}"
    return record.ljust(RECORD_LENGTH)


class AccountDay(msgspec.Struct, frozen=True, kw_only=True):
    """A bank account on one business date.

    Attributes:
        number: of the statement, one more each day.
        opening_minor: satang, negative where overdrawn.
        lines: rows of `sandbox.bank_lines`.
    """

    on: date
    number: int
    account_number: str
    opening_minor: int
    lines: Sequence[Row]


def mt940(day: AccountDay) -> bytes:
    """The MT940 statement of a day: its closing balance is the next day's opening balance."""
    closing_minor = day.opening_minor + sum(line["amount_minor"] for line in day.lines)
    records = [
        f":20:QK{day.on:%y%m%d}{day.number % 10_000:04d}",
        f":25:{day.account_number}",
        f":28C:{day.number:05d}/001",
        f":60F:{_balance(day.on, day.opening_minor)}",
    ]
    for line in day.lines:
        mark, amount = ("C" if line["amount_minor"] > 0 else "D"), _amount(line["amount_minor"])
        records.append(f":61:{day.on:%y%m%d}{day.on:%m%d}{mark}{amount}NTRF{line['reference']}//{line['id']}")
        records.append(f":86:{line['description']}")
    records.append(f":62F:{_balance(day.on, closing_minor)}")
    return (LINE_END.join(records) + LINE_END + "-" + LINE_END).encode("ascii")


def _balance(on: date, amount_minor: int) -> str:
    return f"{'C' if amount_minor >= 0 else 'D'}{on:%y%m%d}THB{_amount(amount_minor)}"


def _amount(amount_minor: int) -> str:
    return baht(abs(amount_minor)).replace(".", ",")
