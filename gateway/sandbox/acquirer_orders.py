"""What the control interface orders of an acquirer's payers, and what it is told of its charges; see `acquirer.py`."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from gateway.sandbox.acquirer import Rail, capture, find
from gateway.sandbox.client import PayBody
from gateway.sandbox.faults import FaultKind, strike
from gateway.sandbox.wire import Row, refuse_control
from gateway.sandbox.world import World

WRONG_BY_MINOR: Final = 1_00
"""How much too little a payer of the wrong amount pays, unless the order says what he pays."""

Announce = Callable[[World, Row, Row], Awaitable[None]]
"""Queues the provider's callback about a payment: world, charge, movement."""


async def pay_ordered(
    world: World, body: PayBody, rails: Mapping[str, Rail], announce: Announce
) -> list[dict[str, Any]]:
    """`POST /_control/pay`: a payer pays a waiting charge. Faults of operation `pay` may bend amount and count.

    Args:
        world: locked.
        body: the order.
        rails: by method.
        announce: queues the callback about each payment, unless the order is silent.

    Raises:
        Refusal: `unknown_reference`, or `not_payable` where the rail would not let the payer do it.
    """
    charge = await find(world, body.provider, body.reference)
    if charge is None:
        refuse_control(404, "unknown_reference", "no such charge")
    rail = rails[charge["method"]]
    fault = await strike(
        world,
        provider=body.provider,
        operation="pay",
        amount_minor=charge["amount_minor"],
        fingerprint=f"pay {charge['reference']}",
    )
    amount_minor = body.amount_minor or charge["amount_minor"]
    # A fault bends what the rail lets a payer do; elsewhere it is used up and bends nothing.
    if fault is not None and fault.kind is FaultKind.PAY_WRONG_AMOUNT and rail.other_amount:
        amount_minor = fault.paid_minor or _wrong(amount_minor)
    count = body.transaction_count + (fault is not None and fault.kind is FaultKind.PAY_TWICE and rail.again)
    if amount_minor != charge["amount_minor"] and not rail.other_amount:
        refuse_control(409, "not_payable", "this rail takes the amount of the charge only")
    paid = []
    for _ in range(count):
        if not _is_payable(charge, rail):
            refuse_control(409, "not_payable", f"the charge is {charge['status']}")
        identifier = rail.identifier(world, charge)
        charge, movement = await capture(world, charge, amount_minor, rail, identifier=identifier)
        if not body.silent:
            await announce(world, charge, movement)
        paid.append({"transaction_id": movement["id"], "amount_minor": amount_minor})
    return paid


async def charges(world: World, provider: str) -> list[dict[str, Any]]:
    """What the provider believes of every charge, in the shape of `books.py`."""
    found = await world.connection.fetch(
        "SELECT * FROM sandbox.acquired_charges WHERE world = $1 AND provider = $2 ORDER BY created_at, id",
        world.name,
        provider,
    )
    received: dict[str, list[Row]] = {}
    for row in await world.connection.fetch(
        "SELECT * FROM sandbox.acquired_movements WHERE world = $1 AND provider = $2 AND kind = 'payment'"
        " ORDER BY occurred_at, id",
        world.name,
        provider,
    ):
        received.setdefault(row["charge_id"], []).append(row)
    return [
        {
            "provider": provider,
            "method": charge["method"],
            "reference": charge["reference"],
            "id": charge["id"],
            "status": charge["status"],
            "amount_minor": charge["amount_minor"],
            "received_minor": charge["captured_minor"],
            "received": [
                {"transaction_id": row["id"], "amount_minor": row["amount_minor"], "paid_at": row["occurred_at"]}
                for row in received.get(charge["id"], [])
            ],
            "refunded_minor": charge["returned_minor"],
            "fee_minor": sum(row["fee_minor"] for row in received.get(charge["id"], [])),
            "fee_vat_minor": sum(row["fee_vat_minor"] for row in received.get(charge["id"], [])),
            "failure_code": charge["failure_code"],
            "created_at": charge["created_at"],
            "expires_at": charge["expires_at"],
        }
        for charge in found
    ]


def _is_payable(charge: Row, rail: Rail) -> bool:
    if charge["status"] == "captured":
        return rail.again
    return charge["status"] == "pending" or (charge["status"] in {"expired", "canceled"} and rail.late)


def _wrong(amount_minor: int) -> int:
    return amount_minor - WRONG_BY_MINOR if amount_minor > WRONG_BY_MINOR else amount_minor + WRONG_BY_MINOR
