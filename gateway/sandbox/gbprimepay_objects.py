"""GBPrimePay's words as the sandbox says them: fields in, refusals, transactions, callbacks, the settlement report."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NoReturn
from urllib.parse import urlencode

import msgspec

from gateway.foundation.clock import BANGKOK
from gateway.sandbox import acquirer, callbacks
from gateway.sandbox.wire import Answer, AnyRequest, MalformedBody, Refusal, Row, baht, read_fields, satang, short_id
from gateway.sandbox.world import World

NAME: Final = "gbprimepay"
BAHT_CODE: Final = "764"
REFERENCE: Final = re.compile(r"[0-9A-Za-z]{1,15}")
FORM_AMOUNT: Final = re.compile(r"[0-9]{1,10}\.[0-9]{2}")
ADDRESS: Final = re.compile(r"https?://[^\s]{1,500}")
MERCHANT_DEFINED: Final = tuple(f"merchantDefined{number}" for number in range(1, 6))
HANDED_BACK: Final = (
    "detail",
    "customerName",
    "customerEmail",
    "customerAddress",
    "customerTelephone",
    *MERCHANT_DEFINED,
)
PAYMENT_TYPES: Final = {
    "card": "C",
    "promptpay": "Q",
    "truemoney": "T",
    "rabbit_linepay": "L",
    "shopeepay": "S",
    "mobile_banking": "M",
}
"""ASSUMED for ShopeePay; the others are the plugins' letters."""
BY_FORM: Final = frozenset({"truemoney", "rabbit_linepay", "shopeepay", "mobile_banking"})
RESULT_CODES: Final = {
    "insufficient_fund": "51",
    "stolen_or_lost_card": "43",
    "payment_rejected": "05",
    "failed_processing": "96",
}
"""ASSUMED: the bank's ISO 8583 code for what the test cards and faults call by Omise's words."""
OTHER_DECLINE: Final = "05"
MOVEMENT_STATUSES: Final = {"done": "S", "pending": "G", "failed": "D"}
REPORT_COLUMNS: Final = (
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
REPORT_STATUSES: Final = {"payment": "S", "refund": "R", "void": "V"}

_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")
_DECODER: Final = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)


def answer(fields: Mapping[str, Any], status: int = 200) -> Answer:
    """JSON, with amounts as numbers of two decimals."""
    return Answer(status=status, body=_ENCODER.encode(fields))


def page(text: str, status: int = 200) -> Answer:
    """What the payer's browser sees; `text` is ours alone."""
    return Answer(status=status, body=f"<!doctype html><p>{text}</p>".encode(), media_type="text/html")


def refuse(code: str, message: str, status: int = 200) -> NoReturn:
    """Say no by a result code.

    Raises:
        Refusal: always.
    """
    raise Refusal(answer({"resultCode": code, "resultMessage": message}, status))


def refuse_text(message: str, status: int) -> NoReturn:
    """Say no in plain text.

    Raises:
        Refusal: always.
    """
    raise Refusal(Answer(status=status, body=message.encode(), media_type="text/plain"))


async def json_fields(request: AnyRequest) -> dict[str, Any]:
    """The fields of a JSON body, its numbers exact.

    Raises:
        Refusal: 02, where it is none.
    """
    if not request.headers.get("content-type", "").startswith("application/json"):
        refuse("02", "Content-Type must be application/json", 400)
    try:
        return _DECODER.decode(await request.body())
    except (msgspec.DecodeError, UnicodeDecodeError):
        refuse("02", "Invalid data", 400)


async def form_fields(request: AnyRequest) -> dict[str, Any]:
    """The fields of a form.

    Raises:
        Refusal: plain text, where it is none.
    """
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        refuse_text("Incomplete information", 400)
    try:
        return await read_fields(request)
    except MalformedBody:
        refuse_text("Incomplete information", 400)


def json_amount(value: Any) -> int | None:
    """Satang of a JSON number of baht with at most two decimals."""
    is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
    return satang(str(value)) if is_number else None


def form_amount(value: Any) -> int | None:
    """Satang of the exact text `1234.50`."""
    return satang(value) if isinstance(value, str) and FORM_AMOUNT.fullmatch(value) else None


def text_of(fields: Mapping[str, Any], name: str, pattern: re.Pattern[str]) -> str | None:
    """The field, where it is text of that pattern."""
    value = fields.get(name)
    return value if isinstance(value, str) and pattern.fullmatch(value) else None


def handed_back(fields: Mapping[str, Any]) -> dict[str, str]:
    """What of a request's fields every answer and callback repeats."""
    return {name: str(fields[name]) for name in HANDED_BACK if fields.get(name) not in (None, "")}


def new_gbp_reference() -> str:
    """An id of GBPrimePay's."""
    return short_id("gbp")


def result_code_of(failure_code: str | None) -> str:
    """The bank's code of a decline; two digits stand as they are."""
    if failure_code is not None and re.fullmatch(r"[0-9]{2}", failure_code):
        return failure_code
    return RESULT_CODES.get(failure_code or "", OTHER_DECLINE)


def payment_id(charge: Row) -> str:
    """A charge and its first payment are one transaction; a QR that is paid again begins another."""
    identifier: str = charge["id"]
    return identifier if charge["captured_minor"] == 0 else new_gbp_reference()


async def transactions_of(world: World, charge: Row) -> list[dict[str, Any]]:
    """The charge as the inquiry shows it: each payment, or the attempt that brought none."""
    payments = await acquirer.movements_of(world, charge, "payment")
    if not payments:
        failed = charge["status"] == "failed"
        said = {"status": "D", "resultCode": charge["failure_code"]} if failed else {"status": "G"}
        return [_transaction(charge, charge["id"], charge["amount_minor"], charge["created_at"], said)]
    status = "V" if charge["returned_minor"] >= charge["captured_minor"] else "S"
    return [
        _transaction(charge, row["id"], row["amount_minor"], row["occurred_at"], {"status": status, "resultCode": "00"})
        for row in payments
    ]


def refund_object(charge: Row, movement: Row) -> dict[str, Any]:
    """A void or refund as the inquiry and its own answer show it."""
    status = MOVEMENT_STATUSES[movement["status"]]
    return {
        "amount": Decimal(baht(movement["amount_minor"])),
        "referenceNo": movement["reference"],
        "gbpReferenceNo": movement["id"],
        "resultCode": OTHER_DECLINE if status == "D" else "00",
        "status": status,
        "paymentType": PAYMENT_TYPES[charge["method"]],
        **movement["details"],
        **_when(movement["occurred_at"]),
    }


def callback_body(charge: Row, gbp_reference_no: str, amount_minor: int, result_code: str, at: datetime) -> bytes:
    """A background callback: a form for what began with a form, else JSON."""
    amount = Decimal(baht(amount_minor))
    fields = {
        "amount": amount,
        "retryFlag": "N",
        "referenceNo": charge["reference"],
        "gbpReferenceNo": gbp_reference_no,
        "currencyCode": BAHT_CODE,
        "resultCode": result_code,
        "totalAmount": amount,
        "fee": 0,
        "vat": 0,
        "thbAmount": amount,
        **_when(at),
        "paymentType": PAYMENT_TYPES[charge["method"]],
        **charge["details"]["fields"],
    }
    return urlencode(fields).encode() if charge["method"] in BY_FORM else _ENCODER.encode(fields)


async def announce(world: World, charge: Row, gbp_reference_no: str, amount_minor: int, result_code: str) -> None:
    """Queue the callback about a payment or a decline; a forger speaks of one that never was."""
    await callbacks.enqueue(
        world,
        provider=NAME,
        subject=f"{result_code} {gbp_reference_no}",
        amount_minor=amount_minor,
        body=callback_body(charge, gbp_reference_no, amount_minor, result_code, world.now),
        forged_body=callback_body(charge, new_gbp_reference(), amount_minor, "00", world.now),
        url=charge["details"]["backgroundUrl"],
        content_type=callbacks.FORM if charge["method"] in BY_FORM else callbacks.JSON,
    )


def settlement_report(world: World, on: date, movements: Sequence[Row]) -> bytes:
    """The report of a day (ASSUMED): what goes back is negative, and WHT is nought."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(REPORT_COLUMNS)
    settles_on = on + timedelta(days=world.settings.acquirer_days)
    for row in movements:
        amount_minor = row["amount_minor"] if row["kind"] == "payment" else -row["amount_minor"]
        fee_minor, vat_minor = row["fee_minor"], row["fee_vat_minor"]
        moment = row["occurred_at"].astimezone(BANGKOK)
        writer.writerow(
            (
                f"{settles_on:%d%m%Y}",
                f"{moment:%d%m%Y}",
                f"{moment:%H%M%S}",
                row["id"],
                row["reference"],
                PAYMENT_TYPES[row["method"]],
                _signed(amount_minor),
                _signed(fee_minor),
                _signed(vat_minor),
                "0.00",
                _signed(amount_minor - fee_minor - vat_minor),
                REPORT_STATUSES[row["kind"]],
            )
        )
    return file.getvalue().encode()


def _transaction(
    charge: Row, identifier: str, amount_minor: int, at: datetime, said: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "amount": Decimal(baht(amount_minor)),
        "referenceNo": charge["reference"],
        "gbpReferenceNo": identifier,
        **said,
        "paymentType": PAYMENT_TYPES[charge["method"]],
        **charge["details"]["fields"],
        **_when(at),
    }


def _when(at: datetime) -> dict[str, str]:
    moment = at.astimezone(BANGKOK)
    return {"date": f"{moment:%d%m%Y}", "time": f"{moment:%H%M%S}"}


def _signed(amount_minor: int) -> str:
    return f"-{baht(-amount_minor)}" if amount_minor < 0 else baht(amount_minor)
