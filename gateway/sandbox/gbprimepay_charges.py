"""What GBPrimePay does: tokens, charges, forms, money back. Every function gets a locked world, credentials checked."""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from gateway.foundation.ids import uuid7, uuid_to_text
from gateway.sandbox import acquirer, acquirer_orders, emvco
from gateway.sandbox.cards import CardRefused, keep_token, use_token
from gateway.sandbox.client import PayBody
from gateway.sandbox.faults import Fault, FaultKind
from gateway.sandbox.gbprimepay_objects import (
    ADDRESS,
    NAME,
    REFERENCE,
    announce,
    answer,
    callback_body,
    form_amount,
    handed_back,
    json_amount,
    new_gbp_reference,
    page,
    payment_id,
    refund_object,
    refuse,
    refuse_text,
    result_code_of,
    text_of,
    transactions_of,
)
from gateway.sandbox.wire import Answer, Row, baht, refuse_control, whole_number
from gateway.sandbox.world import World

WAITS: Final = timedelta(minutes=15)
"""ASSUMED: how long a QR, or a payer in an app, is waited for."""
BILLER: Final = "099400000000415"
CENTURY: Final = 2000
RAILS: Final = {
    method: replace(rail, identifier=lambda _, charge: payment_id(charge))
    for method, rail in {
        "card": acquirer.CARD,
        "promptpay": acquirer.QR,
        "truemoney": acquirer.WALLET,
        "rabbit_linepay": acquirer.WALLET,
        "shopeepay": acquirer.WALLET,
        "mobile_banking": acquirer.Rail(rate=acquirer.QR.rate),
    }.items()
}
BANK_CODES: Final = frozenset({"002", "004", "006", "014", "025"})
VOIDABLE: Final = frozenset({"card", "rabbit_linepay"})
REFUNDABLE: Final = frozenset({"card", "rabbit_linepay", "truemoney", "shopeepay"})


async def create_token(world: World, fields: Mapping[str, Any]) -> Answer:
    """`POST /v2/tokens`: a single-use token for a published test card; nothing of another number is kept."""
    card = fields.get("card")
    if not isinstance(card, Mapping) or not isinstance(fields.get("rememberCard"), bool):
        refuse("02", "rememberCard and card are required")
    month, year = card.get("expirationMonth"), card.get("expirationYear")
    are_two_digits = all(isinstance(part, str) and len(part) == len("05") and part.isdigit() for part in (month, year))
    if not are_two_digits or not str(card.get("securityCode") or "").isdigit():
        refuse("02", "expirationMonth MM, expirationYear YY and securityCode are required")
    try:
        row = await keep_token(
            world,
            token_id=uuid_to_text(uuid7()),
            card_id=uuid_to_text(uuid7()),
            number=card.get("number"),
            name=card.get("name"),
            month=month,
            year=CENTURY + (whole_number(year) or 0),
        )
    except CardRefused as refused:
        refuse("54", str(refused))
    return answer(
        {
            "rememberCard": fields["rememberCard"],
            "resultCode": "00",
            "card": {
                "token": row["id"],
                "number": f"XXXXXXXXXXXX{row['last_digits']}",
                "expirationMonth": month,
                "expirationYear": year,
                "name": card.get("name"),
            },
        }
    )


async def charge_card(world: World, fields: Mapping[str, Any], fault: Fault | None) -> Answer:
    """`POST /v2/tokens/charge`: nothing is taken before the payer's bank asked him (`otp` Y)."""
    amount_minor, reference = json_amount(fields.get("amount")), text_of(fields, "referenceNo", REFERENCE)
    addresses = [text_of(fields, name, ADDRESS) for name in ("responseUrl", "backgroundUrl")]
    card = fields.get("card")
    token = card.get("token") if isinstance(card, Mapping) else None
    if amount_minor is None or reference is None or None in addresses or not isinstance(token, str):
        refuse("02", "Invalid data")
    if fields.get("otp") != "Y":
        refuse("02", "otp must be Y: this merchant charges with 3-D Secure only")
    await _refuse_known(world, reference)
    used = await use_token(world, token)
    if used is None:
        refuse("54", "Token is expired or used")
    declined = fault is not None and fault.kind is FaultKind.DECLINE
    code = result_code_of(fault.code) if fault is not None and declined else None
    charge = await acquirer.create(
        world,
        NAME,
        identifier=new_gbp_reference(),
        reference=reference,
        method="card",
        amount_minor=amount_minor,
        expires_at=world.now + WAITS,
        status="failed" if declined else "pending",
        failure_code=code,
        details={
            "fields": handed_back(fields),
            "backgroundUrl": fields["backgroundUrl"],
            "cardFailure": used["failure_code"],
        },
    )
    return answer(
        {
            "resultCode": code or "00",
            "amount": fields["amount"],
            "referenceNo": reference,
            "gbpReferenceNo": charge["id"],
            **handed_back(fields),
        }
    )


async def three_d_secure(world: World, fields: Mapping[str, Any], fault: Fault | None) -> Answer:
    """`POST /v2/tokens/3d_secured` from the payer's browser: his bank asks him, and says no to a failing test card."""
    charge = await acquirer.find(world, NAME, str(fields.get("gbpReferenceNo") or ""))
    if charge is None or charge["method"] != "card" or charge["id"] != fields["gbpReferenceNo"]:
        refuse_text("Incomplete information", 400)
    if charge["status"] != "pending":
        return page(f"Transaction {charge['id']} has ended.")
    failure = charge["details"]["cardFailure"]
    if fault is not None and fault.kind is FaultKind.DECLINE:
        failure = fault.code or "payment_rejected"
    if failure is None:
        await acquirer.set_details(world, charge, authenticated=True)
        return page(f"Confirm transaction {charge['id']} with your bank.")
    code = result_code_of(failure)
    charge = await acquirer.end(world, charge, "failed", code)
    await announce(world, charge, charge["id"], charge["amount_minor"], code)
    return page(f"Transaction {charge['id']} was declined.")


async def issue_qr(world: World, fields: Mapping[str, Any], fault: Fault | None) -> Row:
    """`POST /v3/qrcode[/text]`: a new QR each time, also for a reference that has one (ASSUMED)."""
    amount_minor, reference = form_amount(fields.get("amount")), text_of(fields, "referenceNo", REFERENCE)
    if amount_minor is None or reference is None or text_of(fields, "backgroundUrl", ADDRESS) is None:
        refuse_text("Incomplete information", 400)
    if fields.get("payType") != "F":
        refuse_text("Incomplete information", 400)
    if fault is not None and fault.kind is FaultKind.DECLINE:
        refuse("02", "declined on demand")
    identifier = new_gbp_reference()
    return await acquirer.create(
        world,
        NAME,
        identifier=identifier,
        reference=reference,
        method="promptpay",
        amount_minor=amount_minor,
        expires_at=world.now + WAITS,
        qr_data=emvco.bill_payment_qr(BILLER, identifier.upper(), reference.upper(), "", baht(amount_minor)),
        details={"fields": handed_back(fields), "backgroundUrl": fields["backgroundUrl"]},
    )


async def begin_by_form(world: World, method: str, fields: Mapping[str, Any], fault: Fault | None) -> Answer:
    """A wallet's or bank's form from the payer's browser; posted again while it waits, it is the same transaction."""
    amount_minor, reference = form_amount(fields.get("amount")), text_of(fields, "referenceNo", REFERENCE)
    addresses = [text_of(fields, name, ADDRESS) for name in ("responseUrl", "backgroundUrl")]
    if amount_minor is None or reference is None or None in addresses:
        refuse_text("Incomplete information", 400)
    signed = [fields["amount"], reference, *addresses]
    if method == "mobile_banking":
        if fields.get("bankCode") not in BANK_CODES:
            refuse_text("Incomplete information", 400)
        signed.append(fields["bankCode"])
    secret = world.credentials(NAME)["secret_key"].encode()
    expected = hmac.new(secret, "".join(map(str, signed)).encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected.encode(), str(fields.get("checksum") or "").encode()):
        refuse_text("Invalid checksum", 400)
    earlier = await acquirer.find(world, NAME, reference)
    if earlier is not None and _is_same(earlier, method, amount_minor):
        return page(f"Confirm transaction {earlier['id']} in your app.")
    await _refuse_known(world, reference)
    declined = fault is not None and fault.kind is FaultKind.DECLINE
    code = result_code_of(fault.code) if fault is not None and declined else None
    charge = await acquirer.create(
        world,
        NAME,
        identifier=new_gbp_reference(),
        reference=reference,
        method=method,
        amount_minor=amount_minor,
        expires_at=world.now + WAITS,
        status="failed" if declined else "pending",
        failure_code=code,
        details={"fields": handed_back(fields), "backgroundUrl": fields["backgroundUrl"]},
    )
    if code is not None:
        await announce(world, charge, charge["id"], amount_minor, code)
        return page(f"Transaction {charge['id']} was declined.")
    return page(f"Confirm transaction {charge['id']} in your app.")


async def check_status(world: World, fields: Mapping[str, Any]) -> Answer:
    """`POST /v1/check_status_txn`: all transactions of a reference; 02 where there is none (ASSUMED)."""
    reference = text_of(fields, "referenceNo", REFERENCE)
    if reference is None:
        refuse("02", "Invalid data")
    found = []
    for charge in await acquirer.by_reference(world, NAME, reference):
        found += await transactions_of(world, charge)
    movement = await _given_back(world, reference)
    if movement is not None:
        of_charge = await acquirer.find(world, NAME, movement["charge_id"])
        assert of_charge is not None
        found.append(refund_object(of_charge, movement))
    if not found:
        refuse("02", "Transaction not found")
    if len(found) == 1:
        return answer({"resultCode": "00", "txn": found[0]})
    return answer({"resultCode": "00", "txns": found})


async def give_back(world: World, kind: str, fields: Mapping[str, Any], fault: Fault | None) -> Answer:
    """`POST /v1/void` and `/v1/refund`, both ASSUMED: all of an unsettled payment, any part of a settled one."""
    reference, amount_minor = text_of(fields, "referenceNo", REFERENCE), json_amount(fields.get("amount"))
    charge = await acquirer.find(world, NAME, str(fields.get("gbpReferenceNo") or ""))
    if reference is None or charge is None or charge["id"] != fields["gbpReferenceNo"]:
        refuse("02", "Invalid data")
    if kind == "refund" and amount_minor is None:
        refuse("02", "Invalid data")
    await _refuse_known(world, reference)
    if fault is not None and fault.kind is FaultKind.DECLINE:
        refuse("05", "Declined")
    if charge["status"] != "captured" or charge["method"] not in (VOIDABLE if kind == "void" else REFUNDABLE):
        refuse("57", "Not permitted")
    settled = await acquirer.is_settled(world, charge)
    left_minor = charge["captured_minor"] - charge["returned_minor"]
    if kind == "void":
        if settled:
            refuse("21", "Already settled")
        if charge["returned_minor"]:
            refuse("57", "Not permitted")
        amount_minor = left_minor
    elif not settled:
        refuse("25", "Not settled")
    assert amount_minor is not None
    if amount_minor > left_minor:
        refuse("61", "Exceeds amount")
    fails = fault is not None and fault.kind is FaultKind.REFUND_FAILS_LATER
    seconds = fault.seconds if fault is not None else None
    charge, movement = await acquirer.give_back(
        world,
        charge,
        amount_minor,
        kind=kind,
        identifier=new_gbp_reference(),
        reference=reference,
        details=handed_back(fields),
        ends_as="failed" if fails else None,
        ends_after=None if seconds is None else timedelta(seconds=seconds),
    )
    return answer(refund_object(charge, movement))


async def pay(world: World, body: PayBody) -> list[dict[str, Any]]:
    """A payer pays; a card's only once its form was posted."""
    charge = await _charge_of(world, body.reference)
    if charge is not None:
        body = msgspec.structs.replace(body, reference=charge["id"])
        if charge["method"] == "card" and not charge["details"].get("authenticated"):
            refuse_control(409, "not_payable", "the payer has not come to his bank's page yet")

    async def told(opened: World, paid: Row, movement: Row) -> None:
        await announce(opened, paid, movement["id"], movement["amount_minor"], "00")

    return await acquirer_orders.pay_ordered(world, body, RAILS, told)


async def forge(world: World, reference: str) -> bytes:
    """A callback that says a charge was paid, which it was not."""
    charge = await _charge_of(world, reference)
    if charge is None:
        refuse_control(404, "unknown_reference", "no such charge")
    return callback_body(charge, new_gbp_reference(), charge["amount_minor"], "00", world.now)


def _is_same(charge: Row, method: str, amount_minor: int) -> bool:
    return (charge["status"], charge["method"], charge["amount_minor"]) == ("pending", method, amount_minor)


async def _charge_of(world: World, reference: str) -> Row | None:
    """By GBPrimePay's id, by `referenceNo`, by the text of its QR, or by what stands in `merchantDefined1`."""
    identifier = await world.connection.fetchval(
        "SELECT id FROM sandbox.acquired_charges WHERE world = $1 AND provider = $2"
        " AND details -> 'fields' ->> 'merchantDefined1' = $3 ORDER BY created_at DESC, id DESC LIMIT 1",
        world.name,
        NAME,
        reference,
    )
    return await acquirer.find(world, NAME, identifier or reference)


async def _given_back(world: World, reference: str) -> Row | None:
    return await world.connection.fetchrow(
        "SELECT * FROM sandbox.acquired_movements WHERE world = $1 AND provider = $2 AND reference = $3"
        " AND kind IN ('void', 'refund')",
        world.name,
        NAME,
        reference,
    )


async def _refuse_known(world: World, reference: str) -> None:
    known = await acquirer.by_reference(world, NAME, reference) or await _given_back(world, reference)
    if known:
        refuse("02", "Duplicate referenceNo")
