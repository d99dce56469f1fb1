"""Bill payments at SCB: a payer scans a tag-30 QR, the money is on the account the same second, SCB calls back.

The rail knows no expiry and no single use: a late, a second or a wrong payment arrives like any other.
"""

from datetime import date, datetime
from typing import Any, Final, Self

import msgspec

from gateway.foundation.clock import BANGKOK
from gateway.sandbox import bank_account, callbacks
from gateway.sandbox.client import PayBody
from gateway.sandbox.faults import Fault, FaultKind, strike
from gateway.sandbox.wire import Row, baht, refuse_control, short_id
from gateway.sandbox.world import World

SCB_CODE: Final = "014"
SENDING_BANK_CODE: Final = "014"
PAYER_NAME: Final = "TEST PAYER"
PAYEE_NAME: Final = "QUICKKUB"
WRONG_BY_MINOR: Final = 1_00
"""How much too little a payer of the wrong amount pays, unless the order says what he pays."""


_REMEMBER_QR: Final = (
    "INSERT INTO sandbox.qr_codes (world, ref1, ref2, ref3, amount_minor, qr_data, created_at, expires_at)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (world, ref1, ref2, ref3) DO UPDATE"
    " SET amount_minor = $5, qr_data = $6, expires_at = $8"
)
_RECEIVE: Final = (
    "INSERT INTO sandbox.bill_payments"
    " (world, transaction_id, ref1, ref2, ref3, amount_minor, sending_bank_code, paid_at, paid_on)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
)


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """What a payer pays for: SCB knows a charge by its references only."""

    ref1: str
    ref2: str = ""
    ref3: str = ""
    amount_minor: int


class Payee(msgspec.Struct, frozen=True, kw_only=True):
    """Who is paid: the biller and its account."""

    biller_id: str
    account_number: str

    @classmethod
    def of(cls, world: World) -> Self:
        """The biller of a world; zeros stand for an account that was never registered."""
        scb, bank = world.credentials("scb"), world.credentials("bank")
        return cls(biller_id=scb.get("biller_id", "0" * 15), account_number=bank.get("account_number", "0" * 10))


def remember_qr(world: World, bill: Bill, qr_data: str, expires_at: datetime | None) -> None:
    """Keep an issued QR; issuing it again for the same references replaces it."""
    references = (bill.ref1, bill.ref2, bill.ref3)
    world.later(_REMEMBER_QR, world.name, *references, bill.amount_minor, qr_data, world.now, expires_at)


async def find_bill(world: World, reference: str, amount_minor: int | None) -> Bill | None:
    """The bill behind ref1 or a whole QR text; one that the world never issued needs an amount."""
    ref1 = reference
    row = await world.connection.fetchrow(
        "SELECT ref1, ref2, ref3, amount_minor FROM sandbox.qr_codes WHERE world = $1 AND (ref1 = $2 OR qr_data = $2) "
        "ORDER BY created_at DESC LIMIT 1",
        world.name,
        ref1,
    )
    if row is not None:
        bill = msgspec.convert(dict(row), Bill)
        return bill if amount_minor is None else msgspec.structs.replace(bill, amount_minor=amount_minor)
    if amount_minor is None:
        return None
    prefix = world.credentials("scb").get("ref3_prefix", "")
    return Bill(ref1=ref1, ref3=prefix, amount_minor=amount_minor)


async def pay(world: World, bill: Bill, *, count: int, silent: bool) -> list[Row]:
    """A payer pays a bill `count` times; returns the payments. Faults of operation `pay` may bend amount and count.

    Args:
        world: locked.
        bill: with the amount that is paid.
        count: how many times.
        silent: SCB does not call back.
    """
    fault = await strike(
        world, provider="scb", operation="pay", amount_minor=bill.amount_minor, fingerprint=f"pay {bill.ref1}"
    )
    if fault and fault.kind is FaultKind.PAY_TWICE:
        count += 1
    amount_minor = _paid_minor(bill.amount_minor, fault)
    payee = Payee.of(world)
    return [await _receive(world, bill, amount_minor, payee, silent=silent) for _ in range(count)]


def _paid_minor(amount_minor: int, fault: Fault | None) -> int:
    if fault is None or fault.kind is not FaultKind.PAY_WRONG_AMOUNT:
        return amount_minor
    if fault.paid_minor is not None:
        return fault.paid_minor
    return amount_minor - WRONG_BY_MINOR if amount_minor > WRONG_BY_MINOR else amount_minor + WRONG_BY_MINOR


async def _receive(world: World, bill: Bill, amount_minor: int, payee: Payee, *, silent: bool) -> Row:
    transaction_id = short_id("T")
    row = {
        "transaction_id": transaction_id,
        "ref1": bill.ref1,
        "ref2": bill.ref2,
        "ref3": bill.ref3,
        "amount_minor": amount_minor,
        "sending_bank_code": SENDING_BANK_CODE,
        "paid_at": world.now,
    }
    world.later(_RECEIVE, world.name, *row.values(), world.today)
    bank_account.book(
        world,
        world.today,
        amount_minor,
        reference=transaction_id,
        description=f"BILLPAY {bill.ref1} {transaction_id}",
    )
    if not silent:
        body = confirmation(row, payee)
        forged = {**body, "transactionId": short_id("X"), "amount": baht(amount_minor + WRONG_BY_MINOR)}
        await callbacks.enqueue(
            world,
            provider="scb",
            subject=f"payment {bill.ref1}",
            amount_minor=amount_minor,
            body=msgspec.json.encode(body),
            forged_body=msgspec.json.encode(forged),
        )
    return row


async def pay_ordered(world: World, body: PayBody) -> list[dict[str, Any]]:
    """`POST /_control/pay`.

    Raises:
        Refusal: `unknown_reference`.
    """
    bill = await find_bill(world, body.reference, body.amount_minor)
    if bill is None:
        refuse_control(
            404, "unknown_reference", "no QR with this reference was issued; say an amount to pay it all the same"
        )
    rows = await pay(world, bill, count=body.transaction_count, silent=body.silent)
    return [{"transaction_id": row["transaction_id"], "amount_minor": row["amount_minor"]} for row in rows]


async def forge(world: World, reference: str) -> bytes:
    """A confirmation of a payment that never happened; its transaction is in no inquiry and in no file.

    Raises:
        Refusal: `unknown_reference`.
    """
    bill = await find_bill(world, reference, None)
    if bill is None:
        refuse_control(404, "unknown_reference", "no QR with this reference was issued")
    row = {
        "transaction_id": short_id("X"),
        "ref1": bill.ref1,
        "ref2": bill.ref2,
        "ref3": bill.ref3,
        "amount_minor": bill.amount_minor,
        "sending_bank_code": SENDING_BANK_CODE,
        "paid_at": world.now,
    }
    return msgspec.json.encode(confirmation(row, Payee.of(world)))


async def charges(world: World) -> list[dict[str, Any]]:
    """Issued QR codes and what was paid on them, also on references that were never issued; see `books.py`."""
    issued = await world.connection.fetch(
        "SELECT ref1, amount_minor, created_at, expires_at FROM sandbox.qr_codes WHERE world = $1 ORDER BY created_at",
        world.name,
    )
    paid: dict[str, list[dict[str, Any]]] = {}
    for row in await world.connection.fetch(
        "SELECT ref1, transaction_id, amount_minor, paid_at FROM sandbox.bill_payments WHERE world = $1 "
        "ORDER BY paid_at, transaction_id",
        world.name,
    ):
        paid.setdefault(row["ref1"], []).append(
            {"transaction_id": row["transaction_id"], "amount_minor": row["amount_minor"], "paid_at": row["paid_at"]}
        )
    asked = {row["ref1"]: dict(row) for row in issued}
    bills = []
    for ref1 in {**asked, **paid}:
        received = paid.get(ref1, [])
        qr = asked.get(ref1, {})
        bills.append(
            {
                "provider": "scb",
                "method": "promptpay",
                "reference": ref1,
                "status": "paid" if received else "pending",
                "amount_minor": qr.get("amount_minor"),
                "received_minor": sum(payment["amount_minor"] for payment in received),
                "received": received,
                "refunded_minor": 0,
                "fee_minor": 0,
                "fee_vat_minor": 0,
                "created_at": qr.get("created_at"),
                "expires_at": qr.get("expires_at"),
            }
        )
    return bills


async def of_day(world: World, on: date) -> list[Row]:
    """The payments of a business date, oldest first."""
    return list(
        await world.connection.fetch(
            "SELECT * FROM sandbox.bill_payments WHERE world = $1 AND paid_on = $2 ORDER BY paid_at, transaction_id",
            world.name,
            on,
        )
    )


async def of_reference(world: World, ref1: str, on: date) -> list[Row]:
    """The payments of a reference on a business date, oldest first."""
    return list(
        await world.connection.fetch(
            "SELECT * FROM sandbox.bill_payments WHERE world = $1 AND ref1 = $2 AND paid_on = $3"
            " ORDER BY paid_at, transaction_id",
            world.name,
            ref1,
            on,
        )
    )


def confirmation(row: Row, payee: Payee) -> dict[str, str]:
    """The body of a payment confirmation."""
    return {
        "payeeProxyId": payee.biller_id,
        "payeeProxyType": "BILLERID",
        "payeeAccountNumber": payee.account_number,
        "payeeName": PAYEE_NAME,
        "payerProxyId": "",
        "payerProxyType": "",
        "payerAccountNumber": "0000000002",
        "payerName": PAYER_NAME,
        "sendingBankCode": row["sending_bank_code"],
        "receivingBankCode": SCB_CODE,
        "amount": baht(row["amount_minor"]),
        "channelCode": "PMH",
        "transactionId": row["transaction_id"],
        "transactionDateandTime": _bangkok_text(row["paid_at"]),
        "billPaymentRef1": row["ref1"],
        "billPaymentRef2": row["ref2"],
        "billPaymentRef3": row["ref3"],
        "currencyCode": "764",
        "transactionType": "Domestic Transfers",
    }


def inquiry_row(row: Row, payee: Payee) -> dict[str, str]:
    """A row of the bill payment inquiry."""
    return {
        "eventCode": "00300100",
        "reverseFlag": "N",
        "fastEasySlipNumber": "",
        "equivalentAmount": "",
        "equivalentCurrencyCode": "",
        "exchangeRate": "",
        "partnerTransactionId": "",
        "tepaCode": "",
        **confirmation(row, payee),
    }


def slip(row: Row, payee: Payee) -> dict[str, Any]:
    """What slip verification tells; account numbers are masked."""
    paid_at = row["paid_at"].astimezone(BANGKOK)
    masked = f"xxx-x-x{payee.account_number[-5:-1]}-x"
    return {
        "transRef": row["transaction_id"],
        "sendingBank": row["sending_bank_code"],
        "receivingBank": SCB_CODE,
        "transDate": paid_at.strftime("%Y%m%d"),
        "transTime": paid_at.strftime("%H:%M:%S"),
        "sender": _party(PAYER_NAME, "", "", "xxx-x-x0000-x"),
        "receiver": _party(PAYEE_NAME, "BILLERID", payee.biller_id, masked),
        "amount": baht(row["amount_minor"]),
        "paidLocalAmount": baht(row["amount_minor"]),
        "paidLocalCurrency": "764",
        "countryCode": "TH",
        "transFeeAmount": "0.00",
        "ref1": row["ref1"],
        "ref2": row["ref2"],
        "ref3": row["ref3"],
        "toMerchantId": "",
    }


def _party(name: str, proxy_type: str, proxy: str, account: str) -> dict[str, Any]:
    return {
        "displayName": name,
        "name": name,
        "proxy": {"type": proxy_type, "value": proxy},
        "account": {"type": "BANKAC", "value": account},
    }


def _bangkok_text(moment: datetime) -> str:
    """`2026-01-01T09:00:00.000+07:00`."""
    return moment.astimezone(BANGKOK).isoformat(timespec="milliseconds")
