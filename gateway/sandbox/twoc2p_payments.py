"""2C2P's payments: tokens and what is paid under them, in the acquirer's books; what is told of them.

A charge is kept from the moment its payment token is given out, with the token as its id, and can be paid once Do
Payment has chosen a channel.
"""

import hashlib
import re
import secrets
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NoReturn

import msgspec

from gateway.foundation.clock import BANGKOK
from gateway.sandbox import acquirer, callbacks, cards, emvco
from gateway.sandbox.acquirer import Rail
from gateway.sandbox.acquirer_orders import pay_ordered
from gateway.sandbox.client import PayBody
from gateway.sandbox.faults import Fault, FaultKind
from gateway.sandbox.twoc2p_jose import jwt
from gateway.sandbox.wire import BIGINT_LIMIT, SATANG_PER_BAHT, Answer, Refusal, Row, baht, json_answer, refuse_control
from gateway.sandbox.world import World

NAME: Final = "2c2p"
TOKEN_LIFE: Final = timedelta(minutes=30)
TIME_FORMAT: Final = "%Y%m%d%H%M%S"
EXPIRY_FORMAT: Final = "%Y-%m-%d %H:%M:%S"
FORGED_KEY: Final = "not the secret key of anybody"
BILLER: Final = "099999999999902"
AMOUNT: Final = re.compile(rb"[0-9]{1,7}(\.[0-9]{1,5})?")

CHANNELS: Final = {
    "PPQR": ("promptpay", "QR"),
    "SHPQR": ("shopeepay", "QR"),
    "CC": ("card", "CC"),
    "TRUEMONEY": ("truemoney", "DPAY"),
    "LINE": ("rabbit_linepay", "DPAY"),
}
"""channelCode → method and paymentChannel. ASSUMED: the paymentChannel of wallets."""
PAYMENT_CHANNELS: Final = {"QR": "promptpay", "CC": "card", "DPAY": "truemoney"}
RAILS: Final = {
    "promptpay": Rail(rate=lambda world: world.settings.acquirer_qr_rate_ppm, late=True, other_amount=True),
    "card": acquirer.CARD,
    "truemoney": acquirer.WALLET,
    "shopeepay": acquirer.WALLET,
    "rabbit_linepay": acquirer.WALLET,
}
"""A Thai QR of 2C2P's is paid once; late, short and over it has words for (AE, AL, AM)."""
QR_TYPES: Final = frozenset({"RAW", "BASE64", "URL", "ALL"})

DECLINES: Final = {
    "insufficient_fund": "4051",
    "stolen_or_lost_card": "4043",
    "failed_processing": "4096",
    "payment_rejected": "4005",
}
"""Omise's words, in which faults and test cards are ordered, as 2C2P says them."""
OTHER_DECLINE: Final = "4005"
FIELD_CODES: Final = {
    "merchantID": "9004",
    "invoiceNo": "9005",
    "description": "9006",
    "amount": "9007",
    "currencyCode": "9008",
    "paymentExpiry": "9009",
    "paymentChannel": "9057",
}
"""ASSUMED: which field has which of the documented codes; all others are 9010."""
TEXT_LENGTHS: Final = {
    "nonceStr": 32,
    "idempotencyID": 100,
    "locale": 10,
    "frontendReturnUrl": 255,
    "backendReturnUrl": 255,
    **{f"userDefined{number}": 150 for number in range(1, 6)},
}

_START: Final = (
    "UPDATE sandbox.acquired_charges SET method = $4, qr_data = $5, details = details || $6"
    " WHERE world = $1 AND provider = $2 AND id = $3 RETURNING *"
)


class _Code(msgspec.Struct):
    channelCode: str  # noqa: N815 – 2C2P's own name


class _Payment(msgspec.Struct):
    code: _Code
    data: dict[str, Any] = {}


class PaymentBody(msgspec.Struct):
    """Do Payment."""

    paymentToken: str  # noqa: N815 – 2C2P's own names
    clientID: str  # noqa: N815
    payment: _Payment
    locale: str = "en"
    responseReturnUrl: str = ""  # noqa: N815


def refuse(code: str, description: str) -> NoReturn:
    """Say no as 2C2P does: plain JSON, HTTP 200.

    Raises:
        Refusal: always.
    """
    raise Refusal(json_answer({"respCode": code, "respDesc": description}))


def amount_of(raw: msgspec.Raw | None) -> int | None:
    """Satang of a JSON number in baht; None unless it is one, above zero and not finer than a satang."""
    text = b"" if raw is None else bytes(raw)
    if not AMOUNT.fullmatch(text):
        return None
    minor = Decimal(text.decode()) * SATANG_PER_BAHT
    return int(minor) if 0 < minor < BIGINT_LIMIT and minor == minor.to_integral_value() else None


async def issue_token(world: World, claims: bytes) -> Row:
    """A charge under a new payment token, or the one of the same request before.

    Raises:
        Refusal: a field is missing or wrong, or the invoice is known under another request.
    """
    fields = msgspec.json.decode(claims, type=dict[str, msgspec.Raw])
    invoice_no = _text(fields, "invoiceNo", r"[A-Za-z0-9]{1,50}")
    _text(fields, "description", r"(?s).{1,250}")
    amount_minor = amount_of(fields.get("amount"))
    if amount_minor is None:
        refuse(FIELD_CODES["amount"], "amount is invalid")
    _text(fields, "currencyCode", "THB")
    channel = _channel(fields)
    if channel == "QR":
        _text(fields, "invoiceNo", r"[A-Za-z0-9]{1,20}")
    for name, length in TEXT_LENGTHS.items():
        _text(fields, name, rf"(?s).{{0,{length}}}", optional=True)
    request = {"id": _text(fields, "idempotencyID", ".+", optional=True), "sha256": hashlib.sha256(claims).hexdigest()}
    earlier = await acquirer.by_reference(world, NAME, invoice_no)
    if earlier:
        # Without an idempotency id nothing is the same request.
        if not request["id"] or earlier[0]["details"]["request"] != request:
            refuse("9015", "invoice number already exists")
        return earlier[0]
    return await acquirer.create(
        world,
        NAME,
        identifier="kSA" + secrets.token_urlsafe(48),
        reference=invoice_no,
        method=PAYMENT_CHANNELS[channel],
        amount_minor=amount_minor,
        expires_at=_expiry(world, fields),
        details={
            "request": request,
            "payment_channel": channel,
            "notify": _text(fields, "backendReturnUrl", ".+", optional=True),
            **{name: _text(fields, name, ".*", optional=True) for name in TEXT_LENGTHS if name.startswith("user")},
        },
    )


async def pay_with(world: World, charge: Row, body: PaymentBody, fault: Fault | None) -> Answer:
    """Do Payment: choose a channel, once; sent again it says the same again.

    Raises:
        Refusal: the channel is not one of the token's, or its data are missing.
    """
    channel = body.payment.code.channelCode
    method, payment_channel = CHANNELS.get(channel, ("", ""))
    if payment_channel != charge["details"]["payment_channel"]:
        refuse("9057", "payment channel is not available")
    started = charge["details"].get("channel")
    if started not in {None, channel}:
        refuse("9058", "payment channel was chosen before")
    ended = {"captured": "2000", "failed": "2000", "expired": "9020", "canceled": "0003"}.get(charge["status"])
    if ended is not None:
        return _flow(charge, channel, ended, "")
    if started is None:
        charge = await _start(world, charge, body, method)
        decline = DECLINES.get(charge["details"].get("card_fails") or "")
        if fault is not None and fault.kind is FaultKind.DECLINE:
            decline = _decline_code(fault)
        if decline is not None:
            charge = await acquirer.end(world, charge, "failed", decline)
            await announce(world, charge, None)
            return _flow(charge, channel, "2000", "")
    if charge["qr_data"]:
        return _flow(charge, channel, "1005", charge["qr_data"])
    return _flow(charge, channel, "1001", f"{world.sandbox_url}/2c2p-ui/pay/{charge['id']}")


async def _start(world: World, charge: Row, body: PaymentBody, method: str) -> Row:
    qr_data, card_fails = None, None
    if charge["details"]["payment_channel"] == "QR":
        if body.payment.data.get("qrType") not in QR_TYPES:
            refuse("9010", "qrType is invalid")
        invoice_no = charge["reference"]
        qr_data = f"SHOPEEPAY {charge['id']}"
        if method == "promptpay":
            qr_data = emvco.bill_payment_qr(BILLER, invoice_no, "", "2C2P", baht(charge["amount_minor"]))
    if method == "card":
        token = await cards.use_token(world, str(body.payment.data.get("securePayToken") or ""))
        if token is None:
            refuse("9041", "securePayToken is invalid")
        card_fails = token["failure_code"]
    row = await world.connection.fetchrow(
        _START,
        world.name,
        NAME,
        charge["id"],
        method,
        qr_data,
        {"channel": body.payment.code.channelCode, "card_fails": card_fails},
    )
    assert row is not None
    return row


def _flow(charge: Row, channel: str, code: str, data: str) -> Answer:
    expires_at: datetime = charge["expires_at"]
    fields = {
        "channelCode": channel,
        "type": "QR" if code == "1005" else "REDIRECT",
        "data": data,
        "expiryTimer": "0",
        "expiryDescription": f"Please pay before {expires_at.astimezone(BANGKOK).strftime(EXPIRY_FORMAT)}",
        "fallbackData": "",
        "invoiceNo": charge["reference"],
        "respCode": code,
        "respDesc": {"1005": "Show QR", "1001": "Redirect", "2000": "Finished"}.get(code, "Ended"),
    }
    return json_answer(fields)


def _decline_code(fault: Fault) -> str:
    code = fault.code or ""
    return code if re.fullmatch(r"[0-9]{4}", code) else DECLINES.get(code, OTHER_DECLINE)


async def state_code(world: World, charge: Row, payment: Row | None) -> str:
    """What an inquiry says of the charge."""
    if payment is None:
        open_or_ended = {"pending": "0001", "expired": "5009", "canceled": "0003"}
        return open_or_ended.get(charge["status"]) or str(charge["failure_code"])
    if payment["amount_minor"] != charge["amount_minor"]:
        return "5015" if payment["amount_minor"] > charge["amount_minor"] else "5016"
    refunds = await acquirer.movements_of(world, charge, "refund")
    if any(row["status"] == "failed" for row in refunds):
        return "4122"
    if refunds and charge["returned_minor"] == charge["captured_minor"] and refunds[-1]["status"] == "done":
        return "4120"
    # ASSUMED: a voided payment keeps the code of its success; none is documented for it.
    return "4110" if await acquirer.is_settled(world, charge) else "0000"


async def payment_of(world: World, charge: Row) -> Row | None:
    """The payment on a charge, if there is one."""
    return next(iter(await acquirer.movements_of(world, charge, "payment")), None)


def transaction(world: World, charge: Row, payment: Row | None, code: str) -> dict[str, Any]:
    """Claims of a notification and of an inquiry."""
    at: datetime = charge["created_at"] if payment is None else payment["occurred_at"]
    amount_minor = charge["amount_minor"] if payment is None else payment["amount_minor"]
    reference = "" if payment is None else payment["id"]
    users = {name: value for name, value in charge["details"].items() if name.startswith("userDefined")}
    return {
        "merchantID": world.credentials(NAME)["merchant_id"],
        "invoiceNo": charge["reference"],
        # 2C2P loses trailing zeros.
        "amount": Decimal(f"{(Decimal(amount_minor) / SATANG_PER_BAHT).normalize():f}"),
        "currencyCode": "THB",
        "transactionDateTime": at.astimezone(BANGKOK).strftime(TIME_FORMAT),
        "agentCode": "TBANK",
        "channelCode": charge["details"].get("channel") or "",
        "approvalCode": reference[-6:],
        "referenceNo": reference,
        "tranRef": reference,
        "idempotencyID": charge["details"]["request"]["id"],
        **users,
        "respCode": code,
        "respDesc": "Success" if code == "0000" else "Transaction status",
    }


async def announce(world: World, charge: Row, payment: Row | None) -> None:
    """Queue the notification of a payment or of its failure."""
    code = await state_code(world, charge, payment)
    claims = transaction(world, charge, payment, code)
    key = world.credentials(NAME)["secret_key"]
    await callbacks.enqueue(
        world,
        provider=NAME,
        subject=f"{charge['reference']} {claims['tranRef']} {code}",
        amount_minor=charge["amount_minor"],
        body=_envelope(claims, key),
        forged_body=_envelope(claims, FORGED_KEY),
        url=charge["details"]["notify"] or None,
    )


async def pay(world: World, body: PayBody) -> list[dict[str, Any]]:
    """Let a payer pay what Do Payment has started.

    Raises:
        Refusal: `unknown_reference` or `not_payable`.
    """
    charge = await acquirer.find(world, NAME, body.reference)
    if charge is not None and "channel" not in charge["details"]:
        refuse_control(409, "not_payable", "no channel was chosen")
    return await pay_ordered(world, body, RAILS, announce)


async def forge(world: World, reference: str) -> bytes:
    """The notification of a payment that never happened, signed with a wrong key.

    Raises:
        Refusal: `unknown_reference`.
    """
    charge = await acquirer.find(world, NAME, reference)
    if charge is None:
        refuse_control(404, "unknown_reference", "no such charge")
    claims = transaction(world, charge, None, "0000")
    return _envelope({**claims, "tranRef": "FORGED", "referenceNo": "FORGED"}, FORGED_KEY)


def _envelope(claims: dict[str, Any], key: str) -> bytes:
    return msgspec.json.encode({"payload": jwt(claims, key)})


def _text(fields: dict[str, msgspec.Raw], name: str, pattern: str, *, optional: bool = False) -> str:
    if optional and name not in fields:
        return ""
    value = msgspec.json.decode(fields[name]) if name in fields else None
    if not isinstance(value, str) or not (re.fullmatch(pattern, value) or (optional and not value)):
        refuse(FIELD_CODES.get(name, "9010"), f"{name} is {'missing' if value is None else 'invalid'}")
    return value


def _channel(fields: dict[str, msgspec.Raw]) -> str:
    """The one channel that is asked for; the sandbox plays no page on which a payer chooses."""
    value = msgspec.json.decode(fields.get("paymentChannel", msgspec.Raw(b"null")))
    if not isinstance(value, list) or value not in [[name] for name in PAYMENT_CHANNELS]:
        refuse(FIELD_CODES["paymentChannel"], "paymentChannel is invalid")
    return str(value[0])


def _expiry(world: World, fields: dict[str, msgspec.Raw]) -> datetime:
    text = _text(fields, "paymentExpiry", r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}", optional=True)
    if not text:
        return world.now + TOKEN_LIFE
    try:
        expires_at = datetime.strptime(text, EXPIRY_FORMAT).replace(tzinfo=BANGKOK).astimezone(UTC)
    except ValueError:
        expires_at = world.now
    if expires_at <= world.now:
        refuse(FIELD_CODES["paymentExpiry"], "paymentExpiry is invalid")
    return expires_at
