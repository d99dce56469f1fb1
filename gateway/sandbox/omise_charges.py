"""What Omise does with charges. Every function gets a locked world and leaves it whole."""

import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from gateway.sandbox import emvco
from gateway.sandbox.client import PayBody
from gateway.sandbox.faults import Fault, FaultKind
from gateway.sandbox.omise_balance import CURRENCY, credit_or_debit, transferable_from
from gateway.sandbox.omise_charge_object import read_charge
from gateway.sandbox.omise_events import emit, forged_charge_event
from gateway.sandbox.omise_objects import refuse
from gateway.sandbox.wire import (
    Row,
    baht,
    omise_id,
    refuse_control,
    share,
    short_id,
    text_metadata,
    truth,
    whole_number,
)
from gateway.sandbox.world import World

AMOUNT_MINOR_MIN: Final = 20_00
AMOUNT_MINOR_MAX: Final = 150_000_00
BILLER_ID: Final = "099999999999999"
PROMPTPAY_LIFE: Final = timedelta(hours=24)
AUTHORIZATION_LIFE: Final = timedelta(days=7)
FAILURE_MESSAGES: Final = {
    "insufficient_fund": "insufficient funds in the account or the card has reached the credit limit",
    "stolen_or_lost_card": "card is stolen or lost",
    "failed_processing": "the processing has failed",
    "payment_rejected": "payment rejected by the issuer or the acquirer with no specific reason",
}


async def create_charge(world: World, fields: Mapping[str, Any], fault: Fault | None) -> dict[str, Any]:
    """`POST /charges`: a card is decided at once, a PromptPay source waits for its payer.

    Raises:
        Refusal: Omise's error; nothing was charged.
    """
    amount_minor = valid_amount(fields, "invalid_charge")
    metadata = text_metadata(fields.get("metadata"))
    shared = (amount_minor, fields.get("description"), metadata, fields.get("return_uri"), _endpoints(fields))
    if fields.get("card"):
        charge = await _create_card_charge(world, fields, shared, fault)
    elif fields.get("source"):
        charge = await _create_promptpay_charge(world, fields, shared, fault)
    else:
        refuse(400, "invalid_charge", "either card or source must be given")
    await announce(world, "charge.create", charge)
    if charge["authorized"] and charge["capture"]:
        charge = await _capture(world, charge, charge["amount_minor"])
    if charge["status"] in ("successful", "failed"):
        await announce(world, "charge.complete", charge)
    return await read_charge(world, charge)


def valid_amount(fields: Mapping[str, Any], code: str) -> int:
    """The amount of a charge or source in satang.

    Raises:
        Refusal: not whole, too small, too large, or not in baht.
    """
    amount_minor = whole_number(fields.get("amount"))
    if amount_minor is None:
        refuse(400, code, "amount must be an integer")
    if amount_minor < AMOUNT_MINOR_MIN:
        refuse(400, code, "amount must be greater than or equal to ฿20 (2000 satangs)")
    if amount_minor > AMOUNT_MINOR_MAX:
        refuse(400, code, "amount must be less than or equal to ฿150000 (15000000 satangs)")
    if str(fields.get("currency", "")).upper() != CURRENCY:
        refuse(400, code, "currency is currently not supported")
    return amount_minor


def _endpoints(fields: Mapping[str, Any]) -> list[str]:
    endpoints = fields.get("webhook_endpoints")
    return [str(url) for url in endpoints][:2] if isinstance(endpoints, list) else []


async def _create_card_charge(
    world: World, fields: Mapping[str, Any], shared: tuple[Any, ...], fault: Fault | None
) -> Row:
    token = await world.connection.fetchrow(
        "SELECT * FROM sandbox.card_tokens WHERE world = $1 AND id = $2", world.name, str(fields["card"])
    )
    if token is None:
        refuse(404, "not_found", f"token {fields['card']} was not found")
    if token["used"]:
        refuse(400, "used_token", f"token {token['id']} was already used")
    await world.connection.execute(
        "UPDATE sandbox.card_tokens SET used = true WHERE world = $1 AND id = $2", world.name, token["id"]
    )
    failure_code = _declined_by(fault) or token["failure_code"]
    return await _insert_charge(
        world,
        shared,
        method="card",
        capture=truth(fields.get("capture"), default=True),
        expires_at=world.now + AUTHORIZATION_LIFE,
        failure_code=failure_code,
        card_token_id=token["id"],
    )


async def _create_promptpay_charge(
    world: World, fields: Mapping[str, Any], shared: tuple[Any, ...], fault: Fault | None
) -> Row:
    given = fields["source"]
    source = await _source(world, given, fields)
    if source["type"] != "promptpay" or source["amount_minor"] != shared[0]:
        refuse(400, "invalid_charge", "source does not fit the charge")
    try:
        asked = fields.get("expires_at")
        expires_at = msgspec.convert(asked, datetime) if asked else world.now + PROMPTPAY_LIFE
    except msgspec.ValidationError:
        refuse(400, "invalid_charge", "expires_at is not a time")
    if expires_at.tzinfo is None or expires_at <= world.now:
        refuse(400, "invalid_charge", "expires_at must be in the future")
    return await _insert_charge(
        world,
        shared,
        method="promptpay",
        capture=True,
        expires_at=expires_at,
        failure_code=_declined_by(fault),
        source_id=source["id"],
        qr_data=emvco.bill_payment_qr(BILLER_ID, short_id("OM"), "", "", baht(shared[0])),
        download_token=secrets.token_hex(16).upper(),
    )


async def _source(world: World, given: Any, fields: Mapping[str, Any]) -> Row:
    if isinstance(given, Mapping):
        return await create_source(world, {**given, "amount": fields["amount"], "currency": fields["currency"]})
    source = await world.connection.fetchrow(
        "SELECT * FROM sandbox.sources WHERE world = $1 AND id = $2", world.name, str(given)
    )
    if source is None:
        refuse(404, "not_found", f"source {given} was not found")
    return source


async def create_source(world: World, fields: Mapping[str, Any]) -> Row:
    """`POST /sources`; returns the row.

    Raises:
        Refusal: the amount or the type is not taken.
    """
    if fields.get("type") != "promptpay":
        refuse(400, "bad_request", "type is not supported")
    row = await world.connection.fetchrow(
        "INSERT INTO sandbox.sources (world, id, type, amount_minor, currency, created_at) "
        "VALUES ($1, $2, 'promptpay', $3, $4, $5) RETURNING *",
        world.name,
        omise_id("src"),
        valid_amount(fields, "bad_request"),
        CURRENCY,
        world.now,
    )
    assert row is not None
    return row


def _declined_by(fault: Fault | None) -> str | None:
    if fault is None or fault.kind is not FaultKind.DECLINE:
        return None
    return fault.code or "payment_rejected"


async def _insert_charge(
    world: World,
    shared: tuple[Any, ...],
    *,
    method: str,
    capture: bool,
    expires_at: datetime,
    failure_code: str | None,
    card_token_id: str | None = None,
    source_id: str | None = None,
    qr_data: str | None = None,
    download_token: str | None = None,
) -> Row:
    amount_minor, description, metadata, return_uri, endpoints = shared
    row = await world.connection.fetchrow(
        "INSERT INTO sandbox.charges (world, id, method, amount_minor, currency, status, authorized, capture,"
        " description, metadata, return_uri, webhook_endpoints, card_token_id, source_id, qr_data, download_token,"
        " failure_code, failure_message, created_at, expires_at) VALUES"
        " ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20) RETURNING *",
        world.name,
        omise_id("chrg"),
        method,
        amount_minor,
        CURRENCY,
        "failed" if failure_code else "pending",
        method == "card" and failure_code is None,
        capture,
        description,
        metadata,
        return_uri,
        endpoints,
        card_token_id,
        source_id,
        qr_data,
        download_token,
        failure_code,
        FAILURE_MESSAGES.get(failure_code, failure_code) if failure_code else None,
        world.now,
        expires_at,
    )
    assert row is not None
    return row


async def announce(world: World, key: str, charge: Row) -> None:
    """Emit an event about a charge as it is now."""
    await emit(
        world,
        key,
        await read_charge(world, charge),
        at=world.now,
        amount_minor=charge["amount_minor"],
        urls=charge["webhook_endpoints"],
    )


async def find_charge(world: World, identifier: str) -> Row:
    """The row of a charge.

    Raises:
        Refusal: `not_found`.
    """
    charge = await world.connection.fetchrow(
        "SELECT * FROM sandbox.charges WHERE world = $1 AND id = $2", world.name, identifier
    )
    if charge is None:
        refuse(404, "not_found", f"charge {identifier} was not found")
    return charge


async def _capture(world: World, charge: Row, amount_minor: int) -> Row:
    settings = world.settings
    rate_ppm = settings.omise_card_rate_ppm if charge["method"] == "card" else settings.omise_promptpay_rate_ppm
    fee_minor = share(amount_minor, rate_ppm)
    fee_vat_minor = share(fee_minor, settings.vat_rate_ppm)
    transaction_id = await credit_or_debit(
        world,
        origin=charge["id"],
        key="charge.captured.net",
        amount_minor=amount_minor - fee_minor - fee_vat_minor,
        at=world.now,
        transferable_at=transferable_from(world),
    )
    row = await world.connection.fetchrow(
        "UPDATE sandbox.charges SET status = 'successful', captured_minor = $3, fee_minor = $4, fee_vat_minor = $5,"
        " transaction_id = $6, paid_at = $7 WHERE world = $1 AND id = $2 RETURNING *",
        world.name,
        charge["id"],
        amount_minor,
        fee_minor,
        fee_vat_minor,
        transaction_id,
        world.now,
    )
    assert row is not None
    return row


async def capture_charge(world: World, identifier: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """`POST /charges/{id}/capture` of an authorised card, in full or in part.

    Raises:
        Refusal: `failed_capture`.
    """
    charge = await find_charge(world, identifier)
    amount_minor = whole_number(fields.get("capture_amount", charge["amount_minor"]))
    if charge["status"] != "pending" or not charge["authorized"]:
        refuse(400, "failed_capture", "charge was already captured or cannot be")
    if amount_minor is None or not 0 < amount_minor <= charge["amount_minor"]:
        refuse(400, "failed_capture", "capture_amount must be between 1 and the authorized amount")
    charge = await _capture(world, charge, amount_minor)
    await announce(world, "charge.capture", charge)
    return await read_charge(world, charge)


async def pay_charge(world: World, identifier: str) -> Row:
    """The payer pays a PromptPay charge; returns the row.

    Raises:
        Refusal: no such charge, or it waits for no payer: Omise's QR cannot be paid twice or after its expiry.
    """
    charge = await find_charge(world, identifier)
    if charge["status"] != "pending" or charge["method"] != "promptpay":
        refuse(400, "invalid_charge", f"charge is {charge['status']} and cannot be paid")
    charge = await _capture(world, charge, charge["amount_minor"])
    await announce(world, "charge.complete", charge)
    return charge


async def end_charge(world: World, identifier: str, status: str) -> dict[str, Any]:
    """End a pending charge unpaid: `expired` (offline), `reversed` (authorised card), `failed` (marked in test mode).

    Raises:
        Refusal: the charge is not in a state that can end so.
    """
    charge = await find_charge(world, identifier)
    if charge["status"] != "pending" or charge["authorized"] != (status == "reversed"):
        code = {"expired": "invalid_charge", "reversed": "failed_reversal", "failed": "invalid_charge"}[status]
        refuse(400, code, f"charge is {charge['status']} and cannot be {status}")
    return await read_charge(world, await _end(world, charge, status))


async def _end(world: World, charge: Row, status: str) -> Row:
    failure_code = "payment_rejected" if status == "failed" else None
    row = await world.connection.fetchrow(
        "UPDATE sandbox.charges SET status = $3, failure_code = $4, failure_message = $5,"
        " expired_at = CASE WHEN $3 = 'expired' THEN $6::timestamptz END,"
        " reversed_at = CASE WHEN $3 = 'reversed' THEN $6::timestamptz END"
        " WHERE world = $1 AND id = $2 RETURNING *",
        world.name,
        charge["id"],
        status,
        failure_code,
        FAILURE_MESSAGES.get(failure_code or ""),
        world.now,
    )
    assert row is not None
    key = {"expired": "charge.expire", "reversed": "charge.reverse", "failed": "charge.complete"}[status]
    await announce(world, key, row)
    return row


async def expire_due(world: World) -> None:
    """Expire what nobody paid in time; an authorisation that nobody captured is reversed."""
    rows = await world.connection.fetch(
        "SELECT * FROM sandbox.charges WHERE world = $1 AND status = 'pending' AND expires_at <= $2",
        world.name,
        world.now,
    )
    for charge in rows:
        await _end(world, charge, "reversed" if charge["authorized"] else "expired")


async def pay_ordered(world: World, body: PayBody) -> list[dict[str, Any]]:
    """`POST /_control/pay`.

    Raises:
        Refusal: `unknown_reference`, `invalid_body`, or Omise's own.
    """
    if body.amount_minor is not None or body.transaction_count != 1 or body.silent:
        refuse_control(400, "invalid_body", "an Omise charge is paid once, in full, and Omise always sends the event")
    charge = await pay_charge(world, (await find_ordered(world, body.reference))["id"])
    return [{"transaction_id": charge["transaction_id"], "amount_minor": charge["captured_minor"]}]


async def forge(world: World, reference: str) -> bytes:
    """An event of a payment that never happened.

    Raises:
        Refusal: `unknown_reference`.
    """
    charge = await find_ordered(world, reference)
    return forged_charge_event(await read_charge(world, charge), world.now)


async def find_ordered(world: World, reference: str) -> Row:
    """The charge that an order names: by its id, or by what its metadata says.

    Raises:
        Refusal: `unknown_reference`.
    """
    row = await world.connection.fetchrow(
        "SELECT * FROM sandbox.charges WHERE world = $1 AND (id = $2"
        " OR EXISTS (SELECT FROM jsonb_each_text(metadata) WHERE value = $2)) ORDER BY created_at DESC LIMIT 1",
        world.name,
        reference,
    )
    if row is None:
        refuse_control(404, "unknown_reference", "no such charge")
    return row


async def charges(world: World) -> list[dict[str, Any]]:
    """Every charge; see `books.py`."""
    rows = await world.connection.fetch(
        "SELECT * FROM sandbox.charges WHERE world = $1 ORDER BY created_at, id", world.name
    )
    return [
        {
            "provider": "omise",
            "method": row["method"],
            "reference": row["id"],
            "status": row["status"],
            "amount_minor": row["amount_minor"],
            "received_minor": row["captured_minor"],
            "received": [
                {
                    "transaction_id": row["transaction_id"],
                    "amount_minor": row["captured_minor"],
                    "paid_at": row["paid_at"],
                }
            ]
            if row["captured_minor"]
            else [],
            "refunded_minor": row["refunded_minor"],
            "fee_minor": row["fee_minor"],
            "fee_vat_minor": row["fee_vat_minor"],
            "failure_code": row["failure_code"],
            "metadata": row["metadata"],
            "created_at": row["created_at"],
            "expires_at": row["expires_at"],
        }
        for row in rows
    ]
