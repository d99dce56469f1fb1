"""What Omise does with refunds. Every function gets a locked world and leaves it whole."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from gateway.sandbox.faults import Fault, FaultKind
from gateway.sandbox.omise_balance import CURRENCY, credit_or_debit
from gateway.sandbox.omise_charges import find_charge
from gateway.sandbox.omise_events import emit
from gateway.sandbox.omise_objects import REFUNDABLE_METHODS, refund_object, refuse
from gateway.sandbox.wire import Row, omise_id, text_metadata, truth, whole_number
from gateway.sandbox.world import World

REFUNDS_PER_CHARGE_MAX: Final = 15
REFUND_FAILS_AFTER_SECONDS: Final = 5


async def refund_charge(
    world: World, identifier: str, fields: Mapping[str, Any], fault: Fault | None
) -> dict[str, Any]:
    """`POST /charges/{id}/refunds`: a card is refunded at once, from the balance; the fee is not given back.

    Raises:
        Refusal: `failed_refund`, `invalid_amount`; nothing was refunded.
    """
    charge = await find_charge(world, identifier)
    amount_minor = whole_number(fields.get("amount"))
    if charge["status"] != "successful" or charge["method"] not in REFUNDABLE_METHODS:
        refuse(400, "failed_refund", "charge can't be refunded")
    if amount_minor is None or amount_minor <= 0:
        refuse(400, "invalid_amount", "amount must be greater than 0")
    if amount_minor > charge["captured_minor"] - charge["refunded_minor"]:
        refuse(400, "failed_refund", "amount is larger than what is left of the charge")
    is_disputed = await world.connection.fetchval(
        "SELECT EXISTS (SELECT FROM sandbox.disputes WHERE world = $1 AND charge_id = $2 AND status <> 'won')",
        world.name,
        identifier,
    )
    if is_disputed:
        refuse(400, "failed_refund", "charge is disputed")
    earlier = await world.connection.fetchval(
        "SELECT count(*) FROM sandbox.refunds WHERE world = $1 AND charge_id = $2", world.name, identifier
    )
    if earlier >= REFUNDS_PER_CHARGE_MAX:
        refuse(400, "failed_refund", f"a charge takes at most {REFUNDS_PER_CHARGE_MAX} refunds")
    if fault is not None and fault.kind is FaultKind.DECLINE:
        refuse(400, fault.code or "failed_refund", "refund was rejected")
    refund = await _insert_refund(world, charge, amount_minor, fields, fault)
    data = refund_object(refund)
    await emit(world, "refund.create", data, at=world.now, amount_minor=amount_minor)
    return data


async def _insert_refund(
    world: World, charge: Row, amount_minor: int, fields: Mapping[str, Any], fault: Fault | None
) -> Row:
    identifier, fails_at, transaction_id = omise_id("rfnd"), None, None
    if fault is not None and fault.kind is FaultKind.REFUND_FAILS_LATER:
        seconds = REFUND_FAILS_AFTER_SECONDS if fault.seconds is None else fault.seconds
        fails_at = world.now + timedelta(seconds=seconds)
    else:
        transaction_id = await credit_or_debit(
            world,
            origin=identifier,
            key="refund.refunded.net",
            amount_minor=-amount_minor,
            at=world.now,
            transferable_at=world.now,
        )
    voided = truth(fields.get("void"), default=False) and amount_minor == charge["captured_minor"]
    await world.connection.execute(
        "UPDATE sandbox.charges SET refunded_minor = refunded_minor + $3, voided = voided OR $4 "
        "WHERE world = $1 AND id = $2",
        world.name,
        charge["id"],
        amount_minor,
        voided,
    )
    row = await world.connection.fetchrow(
        "INSERT INTO sandbox.refunds (world, id, charge_id, amount_minor, currency, status, voided, metadata,"
        " transaction_id, fails_at, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING *",
        world.name,
        identifier,
        charge["id"],
        amount_minor,
        CURRENCY,
        "pending" if fails_at else "closed",
        voided,
        text_metadata(fields.get("metadata")),
        transaction_id,
        fails_at,
        world.now,
    )
    assert row is not None
    return row


async def fail_refunds_due(world: World) -> None:
    """Let the refunds fail that were ordered to; they never touched the balance."""
    rows = await world.connection.fetch(
        "UPDATE sandbox.refunds SET status = 'failed' WHERE world = $1 AND status = 'pending' AND fails_at <= $2 "
        "RETURNING *",
        world.name,
        world.now,
    )
    for refund in rows:
        await world.connection.execute(
            "UPDATE sandbox.charges SET refunded_minor = refunded_minor - $3, voided = false "
            "WHERE world = $1 AND id = $2",
            world.name,
            refund["charge_id"],
            refund["amount_minor"],
        )
        await emit(world, "refund.update", refund_object(refund), at=world.now, amount_minor=refund["amount_minor"])
