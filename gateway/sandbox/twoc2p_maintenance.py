"""2C2P's Payment Maintenance 4.3: voids, refunds and their status, in XML that is sealed both ways."""

import re
from datetime import datetime, time, timedelta
from typing import Any, Final, NoReturn
from urllib.parse import urlencode

import msgspec
from lxml import etree

from gateway.foundation.clock import BANGKOK
from gateway.sandbox import acquirer, callbacks
from gateway.sandbox.callbacks import FORM
from gateway.sandbox.faults import Fault, FaultKind
from gateway.sandbox.twoc2p_jose import seal
from gateway.sandbox.twoc2p_keys import private_key, public_key_of
from gateway.sandbox.twoc2p_payments import NAME, TIME_FORMAT, payment_of
from gateway.sandbox.wire import Answer, Refusal, Row, baht, satang
from gateway.sandbox.world import World

STAMP_FORMAT: Final = "%d%m%y%H%M%S"
OPERATIONS: Final = {"V": "refund", "R": "refund", "S": "capture", "I": "inquiry", "RS": "inquiry"}
"""processType → operation of the faults."""
VOID_UNTIL: Final = {"truemoney": time(23, 59)}
OTHERS_VOID_UNTIL: Final = time(21)
LATER: Final = frozenset({"promptpay", "truemoney", "shopeepay", "rabbit_linepay"})
"""Whose refunds end later; a card's is done at once."""
IDEMPOTENCY_LENGTH_MAX: Final = 100
TEXT: Final = "text/plain; charset=utf-8"
DESCRIPTIONS: Final = {
    "00": "Success",
    "02": "Invalid request",
    "03": "Invalid merchant",
    "10": "Missing value",
    "11": "Validation error",
    "12": "Status is not valid for action",
    "13": "Invalid hash",
    "15": "Invalid invoice",
    "16": "No such transaction",
    "17": "Invalid request type",
    "18": "Invalid action amount",
    "25": "Void failed",
    "29": "Already voided",
    "30": "More than transaction amount",
    "31": "Settle not allowed",
    "39": "Already settled",
    "40": "Refund exceeds",
    "42": "Refund pending",
    "44": "Refund rejected",
    "49": "Already fully refunded",
    "50": "Idempotency collision",
    "54": "Too late",
    "96": "Cannot decrypt",
    "99": "Other error",
}


class Order(msgspec.Struct, frozen=True):
    """A request, its signature not yet proved."""

    merchant_id: str
    process_type: str
    invoice_no: str
    amount: str
    idempotency_id: str
    notify_url: str
    stamp: str
    version: str

    @property
    def amount_minor(self) -> int | None:
        """Satang; None where it is no amount with two decimals."""
        return satang(self.amount) if re.fullmatch(r"[0-9]+\.[0-9]{2}", self.amount) else None


class Refused(Exception):
    """An answer that is not 00 or 42; nothing was done."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def read_order(xml: bytes) -> Order | None:
    """The fields of a request; None where it is not one."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        root = etree.fromstring(xml, parser)
    except (etree.XMLSyntaxError, ValueError):
        return None
    if root.tag != "PaymentProcessRequest":
        return None
    texts = {child.tag: (child.text or "").strip() for child in root}
    return Order(
        merchant_id=texts.get("merchantID", ""),
        process_type=texts.get("processType", ""),
        invoice_no=texts.get("invoiceNo", ""),
        amount=texts.get("actionAmount", ""),
        idempotency_id=texts.get("idempotencyID", ""),
        notify_url=texts.get("notifyURL", ""),
        stamp=texts.get("timeStamp", ""),
        version=texts.get("version", ""),
    )


def unsealed(code: str) -> Answer:
    """An error for somebody who is not known; ASSUMED to come without a seal."""
    return Answer(body=_xml({"respCode": code, "respDesc": DESCRIPTIONS[code]}), media_type=TEXT)


async def perform(world: World, order: Order, fault: Fault | None) -> Answer:
    """Do what an order says whose sender was proved.

    Raises:
        Refusal: the sealed answer says no.
    """
    try:
        fields = await _done(world, order, fault)
    except Refused as refused:
        refuse(world, order, refused.code)
    return _sealed(world, order, fields)


async def _done(world: World, order: Order, fault: Fault | None) -> dict[str, Any]:
    _check(order)
    charge = await acquirer.find(world, NAME, order.invoice_no)
    payment = None if charge is None else await payment_of(world, charge)
    if charge is None or charge["reference"] != order.invoice_no:
        raise Refused("16")
    if order.process_type in {"I", "RS"}:
        return await _status_fields(world, charge, payment, order)
    if payment is None:
        raise Refused("12")
    earlier = charge["details"].get("orders", {}).get(order.idempotency_id)
    if earlier is not None:
        if earlier["asked"] != _asked(order):
            raise Refused("50")
        return dict(earlier["fields"])
    act = {"V": _void, "R": _refund, "S": _settle}[order.process_type]
    fields = await act(world, charge, payment, order, fault)
    await _remember(world, charge, order, fields)
    return fields


def refuse(world: World, order: Order, code: str) -> NoReturn:
    """Say no in a sealed answer.

    Raises:
        Refusal: always.
    """
    fields = {"respCode": code, "respDesc": DESCRIPTIONS.get(code, "Error")}
    raise Refusal(_sealed(world, order, fields))


def _check(order: Order) -> None:
    if order.version != "4.3" or not order.invoice_no or not order.stamp:
        raise Refused("02" if order.version != "4.3" else "10")
    if order.process_type not in OPERATIONS:
        raise Refused("17")
    if not re.fullmatch(r"[A-Za-z0-9]{1,50}", order.invoice_no):
        raise Refused("15")
    try:
        datetime.strptime(order.stamp, STAMP_FORMAT).replace(tzinfo=BANGKOK)
    except ValueError:
        raise Refused("11") from None
    if order.process_type in {"V", "R"} and order.amount_minor is None:
        raise Refused("18")
    if len(order.idempotency_id) > IDEMPOTENCY_LENGTH_MAX:
        raise Refused("11")


async def _void(world: World, charge: Row, payment: Row, order: Order, fault: Fault | None) -> dict[str, str]:
    if await _is_voided(world, charge):
        raise Refused("29")
    if charge["returned_minor"]:
        raise Refused("12")
    if await acquirer.is_settled(world, charge):
        raise Refused("39")
    now: datetime = world.now.astimezone(BANGKOK)
    if payment["booked_on"] != world.today or now.time() >= VOID_UNTIL.get(charge["method"], OTHERS_VOID_UNTIL):
        raise Refused("54")
    amount_minor = order.amount_minor
    if amount_minor is None or amount_minor != charge["captured_minor"]:
        raise Refused("18")
    if fault is not None and fault.kind is FaultKind.DECLINE:
        raise Refused(_declined(fault, "25"))
    await acquirer.give_back(world, charge, amount_minor, kind="void", reference=order.idempotency_id)
    return {**_ok("00", "V"), "amount": order.amount, "referenceNo": payment["id"]}


async def _refund(world: World, charge: Row, payment: Row, order: Order, fault: Fault | None) -> dict[str, str]:
    amount_minor = order.amount_minor
    assert amount_minor is not None, "checked"
    if await _is_voided(world, charge) or not await acquirer.is_settled(world, charge):
        raise Refused("12")
    if charge["returned_minor"] == charge["captured_minor"]:
        raise Refused("49")
    if amount_minor > charge["captured_minor"] - charge["returned_minor"]:
        raise Refused("30" if amount_minor > charge["captured_minor"] else "40")
    if fault is not None and fault.kind is FaultKind.DECLINE:
        raise Refused(_declined(fault, "44"))
    fails = fault is not None and fault.kind is FaultKind.REFUND_FAILS_LATER
    seconds = fault.seconds if fault is not None and fails else None
    ends_as = "failed" if fails else "done" if charge["method"] in LATER else None
    _, movement = await acquirer.give_back(
        world,
        charge,
        amount_minor,
        kind="refund",
        reference=order.idempotency_id,
        details={"notify": order.notify_url},
        ends_as=ends_as,
        ends_after=None if seconds is None else timedelta(seconds=seconds),
    )
    code, status = ("00", "RF") if ends_as is None else ("42", "RP")
    return {
        **_ok(code, status),
        "amount": order.amount,
        "referenceNo": payment["id"],
        "refundReferenceNo": movement["id"],
    }


async def _settle(world: World, charge: Row, payment: Row, order: Order, fault: Fault | None) -> dict[str, str]:  # noqa: ARG001 - as the others
    """Payments settle by themselves, so settling one by hand is always refused."""
    raise Refused("39" if await acquirer.is_settled(world, charge) else "31")


async def _status_fields(world: World, charge: Row, payment: Row | None, order: Order) -> dict[str, Any]:
    status = {"pending": "AP", "expired": "EX"}.get(charge["status"], "PF")
    if payment is not None:
        settled = await acquirer.is_settled(world, charge)
        status = "V" if await _is_voided(world, charge) else "S" if settled else _approved(charge, payment)
    fields: dict[str, Any] = {
        **_ok("00", status),
        "amount": baht(charge["amount_minor"] if payment is None else payment["amount_minor"]),
        "referenceNo": "" if payment is None else payment["id"],
    }
    if order.process_type == "RS":
        fields["refundList"] = [
            {
                "amount": baht(row["amount_minor"]),
                "status": {"done": "RF", "pending": "RP"}.get(row["status"], "RFF"),
                "referenceNo": row["id"],
                "dateTime": row["occurred_at"].astimezone(BANGKOK).strftime(TIME_FORMAT),
            }
            for row in await acquirer.movements_of(world, charge, "refund")
        ]
    return fields


def _approved(charge: Row, payment: Row) -> str:
    if payment["amount_minor"] != charge["amount_minor"]:
        return "AM" if payment["amount_minor"] > charge["amount_minor"] else "AL"
    late = charge["expires_at"] is not None and payment["occurred_at"] > charge["expires_at"]
    return "AE" if late else "A"


async def end_refunds_due(world: World) -> None:
    """Let refunds end, and tell of each at its own address."""
    for movement in await acquirer.end_refunds_due(world, NAME):
        charge = await acquirer.find(world, NAME, movement["charge_id"])
        assert charge is not None, "every refund has its charge"
        payment = await payment_of(world, charge)
        assert payment is not None, "every refunded charge was paid"
        order = Order("", "R", charge["reference"], "", "", "", "", "")
        fields = {
            **_ok("00", "RF" if movement["status"] == "done" else "RFF"),
            "amount": baht(movement["amount_minor"]),
            "referenceNo": payment["id"],
            "refundReferenceNo": movement["id"],
        }
        answer = _sealed(world, order, fields)
        forged = unsealed("00")
        await callbacks.enqueue(
            world,
            provider=NAME,
            subject=f"refund {movement['id']}",
            amount_minor=movement["amount_minor"],
            body=urlencode({"notifyResponse": answer.body.decode()}).encode(),
            forged_body=urlencode({"notifyResponse": forged.body.decode()}).encode(),
            url=movement["details"]["notify"] or None,
            content_type=FORM,
        )


async def _is_voided(world: World, charge: Row) -> bool:
    return bool(await acquirer.movements_of(world, charge, "void"))


def _declined(fault: Fault, otherwise: str) -> str:
    code = fault.code or ""
    return code if re.fullmatch(r"[0-9]{2}", code) else otherwise


def _ok(code: str, status: str) -> dict[str, str]:
    return {"respCode": code, "respDesc": DESCRIPTIONS[code], "status": status}


def _asked(order: Order) -> list[str]:
    """What must be the same for an idempotency id. ASSUMED: the time of the request is not of it."""
    return [order.process_type, order.invoice_no, order.amount]


async def _remember(world: World, charge: Row, order: Order, fields: dict[str, str]) -> None:
    if order.idempotency_id:
        orders = charge["details"].get("orders", {})
        await acquirer.set_details(
            world, charge, orders={**orders, order.idempotency_id: {"asked": _asked(order), "fields": fields}}
        )


def _sealed(world: World, order: Order, fields: dict[str, Any]) -> Answer:
    told = {
        **fields,
        "processType": order.process_type,
        "invoiceNo": order.invoice_no,
        "timeStamp": world.now.astimezone(BANGKOK).strftime(STAMP_FORMAT),
    }
    merchant = public_key_of(world.credentials(NAME)["merchant_private_key"])
    return Answer(body=seal(_xml(told), merchant, private_key()), media_type=TEXT)


def _xml(fields: dict[str, Any]) -> bytes:
    root = etree.Element("PaymentProcessResponse")
    etree.SubElement(root, "version").text = "4.3"
    for name, value in fields.items():
        element = etree.SubElement(root, name)
        if isinstance(value, str):
            element.text = value
        else:
            for attributes in value:
                etree.SubElement(element, "refund", attributes)
    return bytes(etree.tostring(root))
