"""KBank's QR product: `/v1/qrpayment/…` of its open API, and what a payment of a QR says."""

import hmac
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final, NoReturn, TypeAlias

from litestar import Controller, Response, post

from gateway.foundation.ids import uuid7
from gateway.sandbox import acquirer, callbacks, emvco
from gateway.sandbox.faults import Fault, FaultKind
from gateway.sandbox.kbank_settlement import is_settled
from gateway.sandbox.kbank_tokens import world_of_token
from gateway.sandbox.kbank_wire import NAME, Fields, amount, answer, encoded, number, read_json, text
from gateway.sandbox.service import InjectedSandbox, Sandbox
from gateway.sandbox.wire import Answer, AnyRequest, Refusal, Row, baht
from gateway.sandbox.world import World

METHOD: Final = "promptpay"
LIFE: Final = timedelta(minutes=10)
BILLER_ID: Final = "010753600099999"
"""Invented: on KBank's QRs the bank itself is the biller."""
BANK_CODE: Final = "004"
ACCOUNT_NAME: Final = "QUICKKUB SHOP"
UID: Final = re.compile(r"[0-9A-Za-z]{1,15}")
REQUEST_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?\+07:00")
REFERENCE_LENGTH_MAX: Final = 100
METADATA_LENGTH_MAX: Final = 500
THAI_QR: Final = "3"

DECLINES: Final = {"charge": "payment_exceed_limit", "cancel": "bad_request", "refund": "settlement_error"}
"""The error of a decline that was ordered without one of the bank's own codes."""
ERRORS: Final = frozenset(
    {
        "account_error",
        "authentication_error",
        "bad_request",
        "duplicate_request",
        "general_error",
        "internal_error",
        "invalid_currency_code",
        "invalid_account",
        "invalid_merchant",
        "invalid_origPartnerTxnUid",
        "invalid_qr_type",
        "invalid_reference1",
        "invalid_txn_amount",
        "merchant_closed",
        "payment_exceed_limit",
        "qr_cancelled",
        "qr_expired",
        "qr_paid",
        "qr_void",
        "settlement_error",
    }
)

QrAct: TypeAlias = Callable[[World, Fields, str, Fault | None], Awaitable[dict[str, Any]]]


def _refuse(code: str, uid: str = "") -> NoReturn:
    """The bank's no: HTTP 200 all the same."""
    words = {"statusCode": "10", "errorCode": code, "errorDesc": code.replace("_", " ")}
    raise Refusal(answer({"partnerTxnUid": uid or None, **words}))


class KbankQrController(Controller):
    """`https://openapi-sandbox.kasikornbank.com`."""

    path = "/kbank/v1/qrpayment"

    @post("/request", status_code=200)
    async def create(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """Issue a Thai QR that lives for ten minutes."""
        return await _answer(request, sandbox, "charge", _issue)

    @post("/v4/inquiry", status_code=200)
    async def inquire(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """What became of a QR."""
        return await _answer(request, sandbox, "inquiry", _inquire)

    @post("/cancel", status_code=200)
    async def cancel(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """Cancel an unpaid QR."""
        return await _answer(request, sandbox, "cancel", _cancel)

    @post("/void", status_code=200)
    async def void(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """Give the whole payment back on its day."""
        return await _answer(request, sandbox, "refund", _void)


async def _answer(request: AnyRequest, sandbox: Sandbox, operation: str, act: QrAct) -> Response[bytes]:
    try:
        world_name = await world_of_token(request, sandbox)
        fields = await read_json(request)
        if fields is None:
            _refuse("bad_request")
        uid = text(fields, "partnerTxnUid", 15)
        if uid is None or not UID.fullmatch(uid):
            _refuse("bad_request")

        async def in_world(world: World, fault: Fault | None) -> Answer:
            await _check(world, fields, uid)
            if fault is not None and fault.kind is FaultKind.DECLINE:
                _refuse(fault.code if fault.code in ERRORS else DECLINES[operation], uid)
            words = {"statusCode": "00", "errorCode": None, "errorDesc": None}
            partner_id = world.credentials(NAME)["partner_id"]
            return answer(
                {"partnerTxnUid": uid, "partnerId": partner_id, **words, **await act(world, fields, uid, fault)}
            )

        # Not a digest of the body: requestDt is another one on every retry.
        replied = await sandbox.perform(
            world_name,
            in_world,
            provider=NAME,
            operation=operation,
            amount_minor=await _amount_of(sandbox, world_name, fields),
            fingerprint=f"{request.url.path} {uid}",
        )
    except Refusal as refusal:
        replied = refusal.answer
    return replied.response()


async def _amount_of(sandbox: Sandbox, world_name: str, fields: Fields) -> int | None:
    """What magic amounts go by: the amount asked for, or that of the QR that the request is about."""
    if "txnAmount" in fields:
        return amount(fields, "txnAmount", as_text=True)
    found: int | None = await sandbox.worlds.pool.fetchval(
        "SELECT amount_minor FROM sandbox.acquired_charges WHERE world = $1 AND provider = $2 AND id = $3",
        world_name,
        NAME,
        text(fields, "origPartnerTxnUid", 15),
    )
    return found


async def _check(world: World, fields: Fields, uid: str) -> None:
    """What every request must have."""
    known = world.credentials(NAME)
    partner_id, secret = text(fields, "partnerId", 10), text(fields, "partnerSecret", 32)
    if partner_id is None or secret is None or partner_id != known["partner_id"]:
        _refuse("authentication_error", uid)
    if not hmac.compare_digest(secret.encode(), known["partner_secret"].encode()):
        _refuse("authentication_error", uid)
    if not REQUEST_TIME.fullmatch(text(fields, "requestDt", 40) or ""):
        _refuse("bad_request", uid)
    if text(fields, "merchantId", 15) != known["merchant_id"] or text(fields, "terminalId", 8) != known["terminal_id"]:
        _refuse("invalid_merchant", uid)
    if text(fields, "qrType", 1) != THAI_QR:
        _refuse("invalid_qr_type", uid)
    if await _is_used(world, uid):
        _refuse("duplicate_request", uid)


async def _is_used(world: World, uid: str) -> bool:
    """Whether a request that did something had this uid: those that only asked are not kept."""
    used: bool = await world.connection.fetchval(
        "SELECT EXISTS (SELECT FROM sandbox.acquired_charges WHERE world = $1 AND provider = $2 AND id = $3)"
        " OR EXISTS (SELECT FROM sandbox.acquired_movements WHERE world = $1 AND provider = $2 AND id = $3)",
        world.name,
        NAME,
        uid,
    )
    return used


async def _issue(world: World, fields: Fields, uid: str, _: Fault | None) -> dict[str, Any]:
    amount_minor = amount(fields, "txnAmount", as_text=True)
    if amount_minor is None:
        _refuse("invalid_txn_amount", uid)
    if text(fields, "txnCurrencyCode", 3) != "THB":
        _refuse("invalid_currency_code", uid)
    reference1 = text(fields, "reference1", REFERENCE_LENGTH_MAX)
    if reference1 is None:
        _refuse("invalid_reference1", uid)
    others = {name: text(fields, name, REFERENCE_LENGTH_MAX) for name in ("reference2", "reference3", "reference4")}
    if any(name in fields and bytes(fields[name]) != b"null" and value is None for name, value in others.items()):
        _refuse("bad_request", uid)
    if "metadata" in fields and text(fields, "metadata", METADATA_LENGTH_MAX) is None:
        _refuse("bad_request", uid)
    qr_data = emvco.bill_payment_qr(BILLER_ID, uid.upper(), "", "", baht(amount_minor), acquirer_code=BANK_CODE)
    await acquirer.create(
        world,
        NAME,
        identifier=uid,
        reference=reference1,
        method=METHOD,
        amount_minor=amount_minor,
        expires_at=world.now + LIFE,
        qr_data=qr_data,
        details={name: value for name, value in others.items() if value is not None},
    )
    return {"accountName": ACCOUNT_NAME, "qrCode": qr_data, "sof": ["PP"]}


async def _original(world: World, fields: Fields, uid: str) -> Row:
    original = text(fields, "origPartnerTxnUid", 15)
    charge = await acquirer.find(world, NAME, original) if original else None
    if charge is None or (charge["id"], charge["method"]) != (original, METHOD):
        _refuse("invalid_origPartnerTxnUid", uid)
    return charge


async def _inquire(world: World, fields: Fields, uid: str, _: Fault | None) -> dict[str, Any]:
    charge = await _original(world, fields, uid)
    payments = await acquirer.movements_of(world, charge, "payment")
    status = _status(charge)
    can_be_voided = status == "PAID" and not is_settled(world, payments[0])
    return {
        "txnStatus": status,
        "txnAmount": number(charge["amount_minor"]),
        "txnCurrencyCode": "THB",
        "txnNo": payments[0]["id"] if payments else None,
        "loyaltyId": None,
        "sof": "PP",
        "cardScheme": None,
        "allowVoid": "Y" if can_be_voided else "N",
        "channel": "KPLUS" if payments else None,
        **_references(charge),
    }


async def _cancel(world: World, fields: Fields, uid: str, _: Fault | None) -> dict[str, Any]:
    charge = await _original(world, fields, uid)
    status = _status(charge)
    if status != "REQUESTED":
        _refuse({"PAID": "qr_paid", "VOIDED": "qr_void", "EXPIRED": "qr_expired"}.get(status, "qr_cancelled"), uid)
    await acquirer.end(world, charge, "canceled")
    return {}


async def _void(world: World, fields: Fields, uid: str, _: Fault | None) -> dict[str, Any]:
    charge = await _original(world, fields, uid)
    status = _status(charge)
    if status != "PAID":
        # ASSUMED: that an unpaid QR cannot be voided is documented, the word for it is not.
        words = {"VOIDED": "qr_void", "EXPIRED": "qr_expired", "CANCELLED": "qr_cancelled"}
        _refuse(words.get(status, "bad_request"), uid)
    (payment,) = await acquirer.movements_of(world, charge, "payment")
    if text(fields, "txnNo", 20) != payment["id"] and "txnNo" in fields:
        _refuse("bad_request", uid)
    if is_settled(world, payment):
        _refuse("settlement_error", uid)
    await acquirer.give_back(
        world, charge, charge["captured_minor"], kind="void", identifier=uid, reference=charge["reference"]
    )
    return {}


def _status(charge: Row) -> str:
    if charge["returned_minor"]:
        return "VOIDED"
    return {"pending": "REQUESTED", "captured": "PAID", "canceled": "CANCELLED"}.get(charge["status"], "EXPIRED")


def _references(charge: Row) -> dict[str, Any]:
    others = {name: charge["details"].get(name) for name in ("reference2", "reference3", "reference4")}
    return {"reference1": charge["reference"], **others}


def transaction_number(world: World, _: Row) -> str:
    """A `txnNo` of 20 digits that begins with the day, as the bank's example does."""
    return f"{world.today:%Y%m%d}{uuid7().int % 10**12:012d}"


async def notify(world: World, charge: Row, payment: Row) -> None:
    """Queue the notification of a payment; a forger tells of one that never was."""
    await callbacks.enqueue(
        world,
        provider=NAME,
        subject=f"paid {payment['id']}",
        amount_minor=payment["amount_minor"],
        body=notice(world, charge, payment["id"], payment["amount_minor"]),
        forged_body=notice(world, charge, transaction_number(world, charge), payment["amount_minor"] * 10),
    )


def notice(world: World, charge: Row, txn_no: str, amount_minor: int) -> bytes:
    """The body of a payment notification; it has no signature."""
    known = world.credentials(NAME)
    return encoded(
        {
            "partnerTxnUid": charge["id"],
            "partnerId": known["partner_id"],
            "statusCode": "00",
            "errorCode": None,
            "errorDesc": None,
            "merchantId": known["merchant_id"],
            "txnAmount": number(amount_minor),
            "txnCurrencyCode": "THB",
            "txnNo": txn_no,
            "loyaltyId": None,
            "additionalInfo": None,
            **_references(charge),
            "qrType": THAI_QR,
        }
    )
