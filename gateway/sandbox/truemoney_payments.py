"""TrueMoney's payments: debits by code, checkouts, refunds, what an inquiry and a notification say of them.

Which codes the wallets of the sandbox show: any 16 to 18 digits, each once; those of `POOR_WALLETS` have no money.
"""

import re
import secrets
import string
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, Final

from gateway.foundation.clock import BANGKOK, business_date_of
from gateway.sandbox import acquirer, acquirer_orders, callbacks
from gateway.sandbox.client import PayBody
from gateway.sandbox.faults import Fault, FaultKind
from gateway.sandbox.truemoney_wire import moment_text, refusal, refuse, success
from gateway.sandbox.wire import Answer, Row, baht, json_answer, refuse_control
from gateway.sandbox.world import World

NAME: Final = "truemoney"
METHOD: Final = "truemoney"
ISV: Final = "QUICKKUB"
CUSTOMER: Final = "tmn.0001"
PAYMENT_METHOD: Final = "BALANCE"
POOR_WALLETS: Final = {"0000000000000051"}
REFERENCE: Final = re.compile(r"[A-Za-z0-9]{1,50}")
MERCHANT: Final = re.compile(r"[0-9]{21}")
AMOUNT: Final = re.compile(r"[1-9][0-9]{0,14}")
PAYMENT_CODE: Final = re.compile(r"[0-9]{16,18}")
DESCRIPTION: Final = re.compile(r".{1,20}", re.DOTALL)
WEB_ADDRESS: Final = re.compile(r"https?://\S{1,2000}")
AMOUNT_MINOR_MIN: Final = 1_00
AMOUNT_MINOR_MAX: Final = 50_000_00
CHECKOUT_LIFE: Final = timedelta(hours=2)
REFUND_DAYS_MAX: Final = 30
"""ASSUMED: the contract decides."""
ID_DIGITS: Final = 17

DECLINES: Final = {
    "insufficient_fund": "The customer's balance is not sufficient",
    "invalid_payment_code": "The payment code is invalid or expired",
}
"""The two words that clients show; a fault with another word is played as the first."""
RAILS: Final = {METHOD: acquirer.Rail(rate=acquirer.WALLET.rate, identifier=lambda _, charge: str(charge["id"]))}
STATUSES: Final = {"captured": "succeeded", "pending": "pending", "failed": "failed", "expired": "failed"}
"""Of a charge; `pending` is ASSUMED, and that an unpaid checkout ends as failed."""
EXPIRED: Final = "payment_expired"
REFUND_STATUSES: Final = {"done": "succeeded", "pending": "pending", "failed": "failed"}


def text(fields: Mapping[str, Any], name: str, pattern: re.Pattern[str]) -> str:
    """A required text field.

    Raises:
        Refusal: it is missing or has another form.
    """
    value = fields.get(name)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        refuse(400, "invalid_request", f"{name} is missing or invalid")
    return value


def amount_of(fields: Mapping[str, Any]) -> int | None:
    """`request_amount`, satang as text; None where it is none."""
    value = fields.get("request_amount")
    return int(value) if isinstance(value, str) and AMOUNT.fullmatch(value) else None


async def debit(world: World, fields: Mapping[str, Any], fault: Fault | None) -> Answer:
    """`POST /payments`: take the money of the wallet whose code was scanned, now."""
    reference, amount_minor, details = await _order(world, fields)
    if fields.get("payment_method") != PAYMENT_METHOD:
        refuse(400, "invalid_request", "payment_method is missing or not available")
    code = text(fields, "payment_code", re.compile(r".{1,64}"))
    word = await _declined(world, code, fault)
    if word == "invalid_payment_code":
        # Nobody's wallet: nothing is left of it.
        refuse(400, word, DECLINES[word])
    charge = await acquirer.create(
        world,
        NAME,
        identifier=_new_id("9"),
        reference=reference,
        method=METHOD,
        amount_minor=amount_minor,
        expires_at=None,
        status="failed" if word else "pending",
        failure_code=word,
        details={**details, "payment_code": code},
    )
    if word:
        return refusal(400, word, DECLINES[word])
    await acquirer.capture(world, charge, amount_minor, acquirer.WALLET, identifier=charge["id"])
    return success({"payment_id": charge["id"]})


async def open_checkout(world: World, fields: Mapping[str, Any], fault: Fault | None) -> Answer:
    """`POST /payments/checkout` (ASSUMED): a page for the payer to visit; he is not known before he does."""
    reference, amount_minor, details = await _order(world, fields)
    return_url = text(fields, "return_url", WEB_ADDRESS)
    if fault is not None and fault.kind is FaultKind.DECLINE:
        word = _word(fault)
        refuse(400, word, DECLINES[word])
    charge = await acquirer.create(
        world,
        NAME,
        identifier=_new_id("9"),
        reference=reference,
        method=METHOD,
        amount_minor=amount_minor,
        expires_at=world.now + CHECKOUT_LIFE,
        details={**details, "return_url": return_url, "checkout": secrets.token_urlsafe(16)},
    )
    return success({"payment_id": charge["id"], "payment_url": _payment_url(world, charge)})


async def by_id(world: World, payment_id: str) -> Answer:
    """`GET /payments/{payment_id}`."""
    return success(await payment_data(world, await _find(world, payment_id)))


async def by_reference(world: World, reference: str, on: date) -> Answer:
    """`GET /payments?isv_payment_ref=…&transaction_date=…`: the payment that was ordered on that day."""
    charges = await acquirer.by_reference(world, NAME, reference)
    found = [charge for charge in charges if business_date_of(charge["created_at"]) == on]
    if not found:
        refuse(404, "payment_not_found", "Payment is not found")
    return success(await payment_data(world, found[0]))


async def refund(world: World, payment_id: str, fields: Mapping[str, Any], fault: Fault | None) -> Answer:
    """`POST /payments/{payment_id}/refunds`: all of it or a part, until all is given back."""
    charge = await _find(world, payment_id)
    reference, amount_minor = text(fields, "isv_refund_ref", REFERENCE), amount_of(fields)
    if amount_minor is None:
        refuse(400, "invalid_request", "request_amount is missing or invalid")
    if await _is_refunded(world, reference):
        refuse(409, "duplicate_isv_refund_ref", "isv_refund_ref is already used")
    payments = await acquirer.movements_of(world, charge, "payment")
    is_old = any((world.today - row["booked_on"]).days > REFUND_DAYS_MAX for row in payments)
    if not payments or is_old or (fault is not None and fault.kind is FaultKind.DECLINE):
        refuse(400, "refund_not_allowed", "The payment cannot be refunded")
    if amount_minor > charge["captured_minor"] - charge["returned_minor"]:
        refuse(400, "refund_amount_exceeded", "The refund is larger than what is left of the payment")
    fails_later = fault is not None and fault.kind is FaultKind.REFUND_FAILS_LATER
    after = fault.seconds if fault is not None and fails_later else None
    _, movement = await acquirer.give_back(
        world,
        charge,
        amount_minor,
        kind="refund",
        identifier=_new_id("8"),
        reference=reference,
        ends_as="failed" if fails_later else None,
        ends_after=None if after is None else timedelta(seconds=after),
    )
    # ASSUMED: the field `type` was seen, its words were not.
    kind = "FULL" if amount_minor == charge["captured_minor"] else "PARTIAL"
    return success({"refund_id": movement["id"], "type": kind})


async def payment_data(world: World, charge: Row) -> dict[str, Any]:
    """What an inquiry says of a payment, and a notification too."""
    movements = await acquirer.movements_of(world, charge)
    refunds = [row for row in movements if row["kind"] == "refund"]
    code, message = _response_of(charge)
    data = {
        "payment_id": charge["id"],
        "isv_payment_ref": charge["reference"],
        "isv": ISV,
        "merchant": charge["details"]["merchant_id"],
        "amount": charge["amount_minor"],
        "currency": "THB",
        "customer": CUSTOMER if charge["captured_minor"] else "",
        "status": STATUSES[charge["status"]],
        "response_code": code,
        "response_message": message,
        "refunded": sum(row["amount_minor"] for row in refunds if row["status"] == "done"),
        "created": moment_text(charge["created_at"]),
        "updated": moment_text(max([charge["created_at"], *(row["occurred_at"] for row in movements)])),
        "metadata": {
            **charge["details"]["metadata"],
            "description": charge["details"]["description"],
            "payment_code": charge["details"].get("payment_code", ""),
        },
        "refunds": [_refund_data(row) for row in refunds],
    }
    if charge["status"] == "pending":
        # ASSUMED, as is the call that makes checkouts.
        data["payment_url"] = _payment_url(world, charge)
    return data


async def pay_ordered(world: World, body: PayBody) -> list[dict[str, Any]]:
    """`POST /_control/pay`: a payer pays his checkout.

    Raises:
        Refusal: as `acquirer_orders.pay_ordered`.
    """
    return await acquirer_orders.pay_ordered(world, body, RAILS, _announce)


async def forge(world: World, reference: str) -> bytes:
    """A notification of a payment that never happened.

    Raises:
        Refusal: `unknown_reference`.
    """
    charge = await acquirer.find(world, NAME, reference)
    if charge is None:
        refuse_control(404, "unknown_reference", "no such payment")
    return _notification(await _paid_data(world, charge))


async def statement(world: World, on: date) -> Answer:
    """The settlement file of a day that is over.

    Raises:
        Refusal: it is not.
    """
    if not world.opened_on <= on < world.today:
        refuse(404, "settlement_not_found", "The settlement file of this day is not available")
    rows = await acquirer.of_day(world, NAME, on)
    settled_on = on + timedelta(days=world.settings.acquirer_days)
    lines = [",".join(COLUMNS), *(_statement_line(row, settled_on) for row in rows)]
    return Answer(body="".join(f"{line}\r\n" for line in lines).encode(), media_type="text/csv")


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
"""ASSUMED, all of it. A refund's line has its own id and reference in the columns of the payment's, and amount and net
below zero; its fee is nothing, because the fee of the payment is not given back."""


def _statement_line(row: Row, settled_on: date) -> str:
    is_refund = row["kind"] == "refund"
    amount_minor = -row["amount_minor"] if is_refund else row["amount_minor"]
    amounts = (
        amount_minor,
        row["fee_minor"],
        row["fee_vat_minor"],
        amount_minor - row["fee_minor"] - row["fee_vat_minor"],
    )
    return ",".join(
        (
            f"{settled_on:%Y-%m-%d} 00:00:00",
            f"{row['occurred_at'].astimezone(BANGKOK):%Y-%m-%d %H:%M:%S}",
            row["id"] if is_refund else row["charge_id"],
            row["reference"],
            "REFUND" if is_refund else "PAYMENT",
            *(f"{'-' if amount < 0 else ''}{baht(abs(amount))}" for amount in amounts),
            "SUCCESS",
        )
    )


async def _order(world: World, fields: Mapping[str, Any]) -> tuple[str, int, dict[str, Any]]:
    """What every payment is asked with: reference, amount, and what is kept of the rest."""
    reference = text(fields, "isv_payment_ref", REFERENCE)
    credentials = world.credentials(NAME)
    if text(fields, "merchant_id", MERCHANT) != credentials["merchant_id"]:
        refuse(400, "invalid_request", "merchant_id is not of this key")
    if fields.get("currency") != "THB":
        refuse(400, "invalid_request", "currency is missing or invalid")
    amount_minor = amount_of(fields)
    if amount_minor is None or not AMOUNT_MINOR_MIN <= amount_minor <= AMOUNT_MINOR_MAX:
        refuse(400, "invalid_request", "request_amount is missing or invalid")
    description, metadata = text(fields, "description", DESCRIPTION), fields.get("metadata")
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        refuse(400, "invalid_request", "metadata is missing or invalid")
    if metadata.get("shop_id") != credentials["shop_id"]:
        refuse(400, "invalid_request", "shop_id is not of this key")
    if await acquirer.by_reference(world, NAME, reference):
        refuse(409, "duplicate_isv_payment_ref", "isv_payment_ref is already used")
    details = {"merchant_id": credentials["merchant_id"], "description": description, "metadata": metadata}
    return reference, amount_minor, details


async def _declined(world: World, code: str, fault: Fault | None) -> str | None:
    """The word for which a wallet's code gives no money, or None."""
    if fault is not None and fault.kind is FaultKind.DECLINE:
        return _word(fault)
    used = await world.connection.fetchval(
        "SELECT EXISTS (SELECT FROM sandbox.acquired_charges WHERE world = $1 AND provider = $2"
        " AND details ->> 'payment_code' = $3)",
        world.name,
        NAME,
        code,
    )
    if used or not PAYMENT_CODE.fullmatch(code):
        return "invalid_payment_code"
    return "insufficient_fund" if code in POOR_WALLETS else None


def _word(fault: Fault) -> str:
    return fault.code if fault.code in DECLINES else "insufficient_fund"


async def _find(world: World, payment_id: str) -> Row:
    charge = await acquirer.find(world, NAME, payment_id)
    if charge is None or charge["id"] != payment_id:
        refuse(404, "payment_not_found", "Payment is not found")
    return charge


async def _is_refunded(world: World, reference: str) -> bool:
    used: bool = await world.connection.fetchval(
        "SELECT EXISTS (SELECT FROM sandbox.acquired_movements WHERE world = $1 AND provider = $2 AND kind = 'refund'"
        " AND reference = $3)",
        world.name,
        NAME,
        reference,
    )
    return used


def _response_of(charge: Row) -> tuple[str, str]:
    if charge["status"] == "expired":
        return EXPIRED, "Nobody paid in time"
    if charge["status"] == "failed":
        return charge["failure_code"], DECLINES[charge["failure_code"]]
    return ("success", "Success") if charge["status"] == "captured" else ("pending", "Waiting for the customer")


def _refund_data(row: Row) -> dict[str, Any]:
    done = row["status"] == "done"
    return {
        "refund_id": row["id"],
        "isv_refund_ref": row["reference"],
        "amount": row["amount_minor"],
        "created": moment_text(row["occurred_at"]),
        "status": REFUND_STATUSES[row["status"]],
        "response_code": "success" if done else f"refund_{row['status']}",
        "response_message": "Success" if done else "",
    }


def _payment_url(world: World, charge: Row) -> str:
    return f"{world.sandbox_url}/truemoney-checkout/{world.name}/{charge['id']}/{charge['details']['checkout']}"


async def _announce(world: World, charge: Row, movement: Row) -> None:
    await callbacks.enqueue(
        world,
        provider=NAME,
        subject=f"payment {movement['id']}",
        amount_minor=movement["amount_minor"],
        body=_notification(await payment_data(world, charge)),
        forged_body=_notification({**await payment_data(world, charge), "amount": charge["amount_minor"] * 10}),
    )


async def _paid_data(world: World, charge: Row) -> dict[str, Any]:
    data = await payment_data(world, charge)
    data.pop("payment_url", None)
    return {
        **data,
        "customer": CUSTOMER,
        "status": "succeeded",
        "response_code": "success",
        "response_message": "Success",
        "updated": moment_text(world.now),
    }


def _notification(data: Mapping[str, Any]) -> bytes:
    return json_answer({"notify_id": _new_id("7"), **data}).body


def _new_id(first: str) -> str:
    """18 digits, as TrueMoney's are; the first tells what it is of."""
    return first + "".join(secrets.choice(string.digits) for _ in range(ID_DIGITS))
