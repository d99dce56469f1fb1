"""What iPay's merchant API does with payments; every function gets a locked world and leaves it whole."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final, NoReturn
from urllib.parse import urlencode

from lxml import etree

from gateway.foundation.clock import BANGKOK
from gateway.sandbox import acquirer
from gateway.sandbox.bbl_payments import BAHT_CODE, NAME, PAYER_NAME, digits_of
from gateway.sandbox.faults import Fault, FaultKind
from gateway.sandbox.wire import Answer, Refusal, Row, baht, satang
from gateway.sandbox.world import World

STATUSES: Final = {"failed": "Rejected", "authorized": "Authorized", "voided": "Voided"}


def refuse(message: str) -> NoReturn:
    """The flat refusal of the merchant API; HTTP 200 like every answer of it."""
    raise Refusal(_flat({"resultCode": "-1", "errMsg": message}))


def _flat(fields: Mapping[str, str]) -> Answer:
    return Answer(body=urlencode(fields).encode(), media_type="text/plain; charset=utf-8")


async def query(world: World, fields: Mapping[str, str]) -> Answer:
    """The records of an order or of a payment; none is no error.

    Raises:
        Refusal: neither reference was given.
    """
    order_ref, pay_ref = fields.get("orderRef", ""), fields.get("payRef", "")
    if not order_ref and not pay_ref:
        refuse("orderRef or payRef is missing")
    if order_ref:
        charges = await acquirer.by_reference(world, NAME, order_ref)
    else:
        one = await acquirer.find(world, NAME, pay_ref)
        charges = [] if one is None or one["id"] != pay_ref else [one]
    document = etree.Element("records")
    for charge in charges:
        # A page on which no card was tried yet is no payment: there is no record of it.
        if charge["method"] == "card" and charge["status"] not in ("pending", "expired"):
            await _append_record(world, document, charge)
    body: bytes = etree.tostring(document, xml_declaration=True, encoding="UTF-8")
    return Answer(body=body, media_type="text/xml; charset=utf-8")


async def _append_record(world: World, document: etree._Element, charge: Row) -> None:
    payments = await acquirer.movements_of(world, charge, "payment")
    settled = await acquirer.is_settled(world, charge)
    happened_at = payments[0]["occurred_at"] if payments else charge["created_at"]
    primary, secondary = charge["details"]["codes"]
    record = etree.SubElement(document, "record")
    for name, text in {
        "orderStatus": await _status_of(world, charge),
        "ref": charge["reference"],
        "payRef": charge["id"],
        "amt": baht(charge["captured_minor"] or charge["amount_minor"]),
        "cur": BAHT_CODE,
        "prc": primary,
        "src": secondary,
        "ord": digits_of(f"bank {charge['id']}", 8),
        "holder": PAYER_NAME,
        "authId": digits_of(charge["id"], 6),
        "eci": "05",
        "payerAuth": "Y",
        "sourceIp": "192.0.2.1",
        "ipCountry": "TH",
        "cc0104": "4918",
        "cc1316": "5005",
        "remark": charge["details"]["remark"],
        "settle": "T" if settled else "F",
        "settleTime": "",
        "settleBatchId": (payments[0]["batch_id"] or "") if payments else "",
        "txTime": f"{happened_at.astimezone(BANGKOK):%Y-%m-%d %H:%M:%S}.0",
        "errMsg": "Query Successfully",
    }.items():
        etree.SubElement(record, name).text = text


async def _status_of(world: World, charge: Row) -> str:
    if charge["status"] != "captured":
        return STATUSES[charge["status"]]
    back = await acquirer.movements_of(world, charge, "void", "refund")
    if any(movement["kind"] == "void" for movement in back):
        return "Voided"
    if any(movement["status"] == "pending" for movement in back):
        return "RequestRefund"
    if charge["returned_minor"]:
        return "Refunded" if charge["returned_minor"] == charge["captured_minor"] else "PartialRefunded"
    return "RefundRejected" if back else "Accepted"


async def change(world: World, action: str, fields: Mapping[str, str], fault: Fault | None) -> Answer:
    """Capture, Void or RequestRefund.

    Raises:
        Refusal: the payment is not in a state for it.
    """
    charge = await acquirer.find(world, NAME, fields.get("payRef", ""))
    if charge is None or charge["method"] != "card" or charge["id"] != fields.get("payRef"):
        refuse("Record not found")
    if fault is not None and fault.kind is FaultKind.DECLINE:
        refuse("Rejected by bank")
    if action == "Capture":
        charge = await _capture(world, charge, fields)
    elif action == "Void":
        charge = await _void(world, charge)
    else:
        charge = await _request_refund(world, charge, fields, fault)
    return _flat(
        {
            "resultCode": "0",
            "orderStatus": await _status_of(world, charge),
            "ref": charge["reference"],
            "payRef": charge["id"],
            "amt": baht(charge["captured_minor"] or charge["amount_minor"]),
            "cur": BAHT_CODE,
            "errMsg": f"{action} Successfully.",
        }
    )


async def _capture(world: World, charge: Row, fields: Mapping[str, str]) -> Row:
    amount_minor = satang(fields.get("amount"))
    if charge["status"] != "authorized":
        refuse("Order is not authorized")
    if amount_minor is None or amount_minor > charge["amount_minor"]:
        refuse("amount is invalid")
    charge, _ = await acquirer.capture(world, charge, amount_minor, acquirer.CARD, identifier=charge["id"])
    return charge


async def _void(world: World, charge: Row) -> Row:
    if charge["status"] == "authorized":
        return await acquirer.end(world, charge, "voided")
    if charge["status"] != "captured" or charge["returned_minor"]:
        refuse("Order cannot be voided")
    (payment,) = await acquirer.movements_of(world, charge, "payment")
    if payment["booked_on"] != world.today or payment["batch_id"] is not None:
        refuse("Order is settled")
    details = {"payment_ref": charge["id"]}
    charge, _ = await acquirer.give_back(world, charge, charge["captured_minor"], kind="void", details=details)
    return charge


async def _request_refund(world: World, charge: Row, fields: Mapping[str, str], fault: Fault | None) -> Row:
    left_minor = charge["captured_minor"] - charge["returned_minor"]
    if charge["status"] != "captured" or not left_minor:
        refuse("Order cannot be refunded")
    if not await acquirer.is_settled(world, charge):
        refuse("Order is not settled")
    amount_minor = satang(fields["amount"]) if "amount" in fields else left_minor
    if amount_minor is None or amount_minor > left_minor:
        refuse("amount is invalid")
    if any(movement["status"] == "pending" for movement in await acquirer.movements_of(world, charge, "refund")):
        refuse("A refund waits for approval")
    fails = fault is not None and fault.kind is FaultKind.REFUND_FAILS_LATER
    seconds = None if fault is None else fault.seconds
    charge, _ = await acquirer.give_back(
        world,
        charge,
        amount_minor,
        kind="refund",
        details={"payment_ref": charge["id"]},
        ends_as="failed" if fails else "done",
        ends_after=timedelta(seconds=seconds) if fails and seconds is not None else None,
    )
    return charge
