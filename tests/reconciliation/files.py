"""Statement files, made by hand and by another road than the parsers read them."""

import json
from datetime import date, datetime
from typing import Any

BILLER_ACCOUNT = "0001234567"
BANK_ACCOUNT = "0009876543"


def bill_detail(
    sequence: int,
    *,
    ref1: str,
    amount_minor: int,
    kind: str = "C",
    paid: str = "23112026101500",
    transaction_id: str = "",
    name: str = "ผู้จ่าย",
) -> str:
    return (
        f"D{sequence:06d}014{BILLER_ACCOUNT}{paid}{name:<50}{ref1:<20}{'':<20}{'QKB':<20}{'0001':<4}{'':<4}{kind}"
        f"{'PMH':<3}{'':<7}{amount_minor:013d}{'':<3}{'':<17}{'099999999999901':<15}{transaction_id:<32}{'004':<3}{'':<10}"
    )


def bill_head(effective: str = "23112026") -> str:
    return f"H{1:06d}014{BILLER_ACCOUNT}{'QUICKKUB':<40}{effective}{'QKSVC':<8}".ljust(256)


def bill_total(sequence: int, *, debit: tuple[int, int] = (0, 0), credit: tuple[int, int]) -> str:
    return f"T{sequence:06d}014{BILLER_ACCOUNT}{debit[0]:013d}{debit[1]:06d}{credit[0]:013d}{credit[1]:06d}".ljust(256)


def bill_file(details: list[dict[str, Any]], *, effective: str = "23112026") -> bytes:
    """A whole, correct file; each dict is given to `bill_detail`."""
    rows = [bill_detail(number, **detail) for number, detail in enumerate(details, start=2)]
    paid = [detail["amount_minor"] for detail in details if detail.get("kind", "C") == "C"]
    reversed_ = [detail["amount_minor"] for detail in details if detail.get("kind", "C") == "D"]
    total = bill_total(len(rows) + 2, debit=(sum(reversed_), len(reversed_)), credit=(sum(paid), len(paid)))
    return "".join(f"{row}\r\n" for row in [bill_head(effective), *rows, total]).encode("cp874")


def omise_transaction(identifier: str, origin: str, amount: int, **fields: Any) -> dict[str, Any]:
    return {
        "object": "transaction",
        "id": identifier,
        "direction": "credit",
        "key": "charge.captured.net",
        "origin": origin,
        "amount": amount,
        "currency": "THB",
        "transferable_at": "2026-11-24T01:00:00Z",
        "created_at": "2026-11-23T03:15:00Z",
        **fields,
    }


def omise_transfer(identifier: str, amount: int, *, fee: int = 3000, vat: int = 210, **fields: Any) -> dict[str, Any]:
    return {
        "object": "transfer",
        "id": identifier,
        "amount": amount,
        "fee": fee,
        "fee_vat": vat,
        "net": amount - fee - vat,
        "currency": "THB",
        "sent": True,
        "paid": False,
        "created_at": "2026-11-24T02:00:00Z",
        **fields,
    }


def omise_list(items: list[dict[str, Any]], **fields: Any) -> bytes:
    return json.dumps({"object": "list", "data": items, "total": len(items), **fields}).encode()


def mt940_statement(
    lines: list[tuple[int, str]],
    *,
    on: date = date(2026, 11, 23),
    opening_minor: int = 0,
    closing_minor: int | None = None,
    account: str = BANK_ACCOUNT,
    number: int = 1,
) -> str:
    """A statement of one day: (signed satang, `:86:` text) for each line."""
    day = on.strftime("%y%m%d")
    closing = opening_minor + sum(amount for amount, _ in lines) if closing_minor is None else closing_minor
    rows = [":20:QKSTATEMENT", f":25:{account}", f":28C:{number}/1", f":60F:{_balance(day, opening_minor)}"]
    for position, (amount, text) in enumerate(lines, start=1):
        mark = "C" if amount > 0 else "D"
        rows += [f":61:{day}{on:%m%d}{mark}{_baht(abs(amount))}NTRFLINE{position:04d}", f":86:{text}"]
    rows += [f":62F:{_balance(day, closing)}", "-"]
    return "".join(f"{row}\r\n" for row in rows)


def _balance(day: str, amount_minor: int) -> str:
    return f"{'C' if amount_minor >= 0 else 'D'}{day}THB{_baht(abs(amount_minor))}"


def _baht(amount_minor: int) -> str:
    return f"{amount_minor // 100},{amount_minor % 100:02d}"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}+00:00")
