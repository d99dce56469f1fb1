"""What Bangkok Bank says of payments: rows of the inquiry, notifications, datafeeds, the merchant report."""

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from gateway.foundation.clock import BANGKOK, business_date_of
from gateway.sandbox import acquirer
from gateway.sandbox.callbacks import FORM, JSON, enqueue
from gateway.sandbox.wire import Row, baht, refuse_control, short_id
from gateway.sandbox.world import World

NAME: Final = "bbl"
SUCCESS: Final = "000"
ERRORS: Final[Mapping[str, str]] = {
    "052": "Biller or service is not registered",
    "054": "System unavailable",
    "209": "No such transaction",
    "210": "Time-out",
    "211": "Invalid data",
    "212": "Duplicate transaction reference",
    "213": "Invalid amount",
    "214": "Contact provider",
    "331": "Invalid reference",
    "332": "Invalid payee",
    "341": "Provider not ready",
    "411": "Reference expired",
    "412": "Already paid",
    "429": "Too many requests",
    "888": "Other",
}
BAHT_CODE: Final = "764"
PAYER_NAME: Final = "TEST PAYER"
SENDING_BANK: Final = "014"
MOBILE: Final = "80"
STRANGERS_KEY: Final = "not the secret of anybody"
REPORT_COLUMNS: Final = (
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
_REPORT_STATUS: Final = {"payment": "Accepted", "void": "Voided", "refund": "Refunded"}
_REPORT_METHODS: Final = {"card": "VISA", "promptpay": "THAIQR"}


def digits_of(identifier: str, length: int) -> str:
    """Digits that belong to an id: approval codes and the bank's references, the same on every road."""
    number = int.from_bytes(hashlib.sha256(identifier.encode()).digest()[:8])
    return str(number % 10**length).zfill(length)


def inquiry_row(charge: Row, movement: Row, *, undone: bool) -> dict[str, Any]:
    """A payment as the inquiry tells it; the amount is a JSON number with two decimals."""
    paid_at = movement["occurred_at"].astimezone(BANGKOK)
    return {
        "billerId": charge["details"]["biller_id"],
        "reference1": charge["reference"],
        "reference2": charge["details"]["reference2"],
        "amount": msgspec.Raw(baht(movement["amount_minor"]).encode()),
        "transactionId": movement["id"],
        "approvalCode": digits_of(movement["id"], 6),
        "transDate": f"{paid_at:%Y-%m-%d}",
        "transTime": f"{paid_at:%H:%M:%S}",
        "statusCode": SUCCESS,
        "statusMesg": "Success",
        "txnType": "D" if undone else "C",
        "transFee": "0.00",
        "termType": MOBILE,
        "fromBank": SENDING_BANK,
        "fromName": PAYER_NAME,
        "bankRef": digits_of(f"bank {movement['id']}", 10),
    }


async def announce(world: World, charge: Row, movement: Row) -> None:
    """Queue the callback about a payment: a notification of a QR, a datafeed of a card."""
    if charge["method"] == "card":
        await feed(world, charge, amount_minor=movement["amount_minor"])
        return
    forged = {"id": short_id("X"), "amount_minor": movement["amount_minor"], "occurred_at": world.now}
    await enqueue(
        world,
        provider=NAME,
        subject=f"payment {movement['id']}",
        amount_minor=movement["amount_minor"],
        body=_notification(charge, movement),
        forged_body=_notification(charge, forged),
        content_type=JSON,
    )


async def feed(
    world: World, charge: Row, *, amount_minor: int, success_code: str = "0", codes: tuple[str, str] = ("0", "0")
) -> None:
    """Queue the datafeed about a card; `codes`: primary and secondary."""
    credentials = world.credentials(NAME)
    stranger = {**credentials, "secure_hash_secret": STRANGERS_KEY}
    await enqueue(
        world,
        provider=NAME,
        subject=f"feed {charge['id']} {success_code}",
        amount_minor=amount_minor,
        body=_datafeed(credentials, charge, amount_minor, success_code, codes),
        forged_body=_datafeed(stranger, charge, amount_minor, "0", ("0", "0")),
        content_type=FORM,
    )


async def forge(world: World, reference: str) -> bytes:
    """The callback of a payment that never happened.

    Raises:
        Refusal: `unknown_reference`.
    """
    charge = await acquirer.find(world, NAME, reference)
    if charge is None:
        refuse_control(404, "unknown_reference", "no such charge")
    if charge["method"] == "card":
        stranger = {**world.credentials(NAME), "secure_hash_secret": STRANGERS_KEY}
        return _datafeed(stranger, charge, charge["amount_minor"], "0", ("0", "0"))
    return _notification(
        charge, {"id": short_id("X"), "amount_minor": charge["amount_minor"], "occurred_at": world.now}
    )


def secure_hash(credentials: Mapping[str, str], *parts: str) -> str:
    """PayDollar's hash of fields and secret, by the account's algorithm."""
    algorithm = credentials.get("secure_hash_algorithm") or "sha512"
    return hashlib.new(algorithm, "|".join((*parts, credentials["secure_hash_secret"])).encode()).hexdigest()


async def report(world: World, on: date) -> bytes:
    """The merchant report of a business date (ASSUMED layout): one line a movement, cards and QR alike."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\r\n")
    table.writerow(REPORT_COLUMNS)
    table.writerows(_report_line(world, row) for row in await acquirer.of_day(world, NAME, on))
    return text.getvalue().encode()


def _report_line(world: World, row: Row) -> Sequence[str]:
    happened_at = row["occurred_at"].astimezone(BANGKOK)
    if business_date_of(row["occurred_at"]) != row["booked_on"]:
        # A refund that the bank approved on a later day stands on that day.
        happened_at = datetime.combine(row["booked_on"], datetime.min.time(), BANGKOK)
    payment_ref = row["id"] if row["kind"] == "payment" else row["details"]["payment_ref"]
    # A void gives the fee back: it is stored negative, and the status says the direction of the whole line.
    fee_minor, vat_minor = abs(row["fee_minor"]), abs(row["fee_vat_minor"])
    return (
        f"{happened_at:%Y-%m-%d %H:%M:%S}",
        row["charge_reference"],
        payment_ref,
        "THB",
        baht(row["amount_minor"]),
        _REPORT_METHODS[row["method"]],
        _REPORT_STATUS[row["kind"]],
        digits_of(payment_ref, 6),
        (row["booked_on"] + timedelta(days=world.settings.acquirer_days)).isoformat(),
        baht(fee_minor),
        baht(vat_minor),
        baht(row["amount_minor"] - fee_minor - vat_minor),
    )


def _notification(charge: Row, movement: Row) -> bytes:
    row = inquiry_row(charge, movement, undone=False)
    return msgspec.json.encode(
        {
            "billerId": row["billerId"],
            "transDate": row["transDate"],
            "transTime": row["transTime"],
            "termType": MOBILE,
            "amount": baht(movement["amount_minor"]),
            "reference1": row["reference1"],
            "reference2": row["reference2"],
            "reference3": "",
            "fromBank": SENDING_BANK,
            "fromBranch": "",
            "fromName": PAYER_NAME,
            "bankRef": row["bankRef"],
            "approvalCode": row["approvalCode"],
            "txnType": "C",
            "retryFlag": "N",
        }
    )


def _datafeed(
    credentials: Mapping[str, str], charge: Row, amount_minor: int, success_code: str, codes: tuple[str, str]
) -> bytes:
    primary, secondary = codes
    fields = {
        "src": secondary,
        "prc": primary,
        "successcode": success_code,
        "Ref": charge["reference"],
        "PayRef": charge["id"],
        "Amt": baht(amount_minor),
        "Cur": BAHT_CODE,
        "Ord": digits_of(f"bank {charge['id']}", 8),
        "Holder": PAYER_NAME,
        "AuthId": digits_of(charge["id"], 6),
        "remark": charge["details"]["remark"],
        "eci": "05",
        "payerAuth": "Y",
        "sourceIp": "192.0.2.1",
        "ipCountry": "TH",
        "cc0104": "4918",
        "cc1316": "5005",
        **{f"orderRef{number}": "" for number in range(1, 6)},
        "mpMemberId": "",
    }
    signed = [fields[name] for name in ("src", "prc", "successcode", "Ref", "PayRef", "Cur", "Amt", "payerAuth")]
    return urlencode({**fields, "secureHash": secure_hash(credentials, *signed)}).encode()
