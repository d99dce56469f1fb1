"""Omise's disputes: opened, the money is taken; won, it is returned. Every function gets a locked world."""

from collections.abc import Mapping
from typing import Any, Final

from gateway.sandbox.client import DisputeBody
from gateway.sandbox.omise_balance import CURRENCY, credit_or_debit
from gateway.sandbox.omise_charges import find_charge, find_ordered
from gateway.sandbox.omise_events import emit
from gateway.sandbox.omise_objects import list_object, refuse
from gateway.sandbox.wire import Row, omise_id, refuse_control, text_metadata, utc_text
from gateway.sandbox.world import World

OPEN: Final = ("open", "pending")
_STATUSES_OF_LIST: Final = {
    "": ("open", "pending", "won", "lost"),
    "open": ("open",),
    "pending": ("pending",),
    "closed": ("won", "lost"),
}
_MESSAGES: Final = {"goods_or_services_not_provided": "Services not provided or Merchandise not received"}


def dispute_object(dispute: Row) -> dict[str, Any]:
    """A dispute; `dispute` of `sandbox.disputes`."""
    return {
        "object": "dispute",
        "id": dispute["id"],
        "livemode": False,
        "location": f"/disputes/{dispute['id']}",
        "amount": dispute["amount_minor"],
        "currency": dispute["currency"],
        "funding_amount": dispute["amount_minor"],
        "funding_currency": dispute["currency"],
        "metadata": dispute["metadata"],
        "charge": dispute["charge_id"],
        "documents": list_object([], f"/disputes/{dispute['id']}/documents", 0, limit=20, offset=0),
        "transactions": dispute["transaction_ids"],
        "admin_message": None,
        "message": dispute["message"] or None,
        "reason_code": dispute["reason_code"],
        "reason_message": _MESSAGES.get(dispute["reason_code"], dispute["reason_code"]),
        "status": dispute["status"],
        "closed_at": utc_text(dispute["closed_at"]),
        "created_at": utc_text(dispute["created_at"]),
    }


async def find_dispute(world: World, identifier: str) -> Row:
    """The row of a dispute.

    Raises:
        Refusal: `not_found`.
    """
    dispute = await world.connection.fetchrow(
        "SELECT * FROM sandbox.disputes WHERE world = $1 AND id = $2", world.name, identifier
    )
    if dispute is None:
        refuse(404, "not_found", f"dispute {identifier} was not found")
    return dispute


async def listed(world: World, which: str) -> dict[str, Any]:
    """`GET /disputes` and its parts `open`, `pending`, `closed`, oldest first."""
    rows = await world.connection.fetch(
        "SELECT * FROM sandbox.disputes WHERE world = $1 AND status = ANY($2) ORDER BY created_at, id",
        world.name,
        list(_STATUSES_OF_LIST[which]),
    )
    location = f"/disputes/{which}".rstrip("/")
    return list_object([dispute_object(row) for row in rows], location, len(rows), limit=len(rows), offset=0)


async def open_dispute(world: World, charge_id: str, *, reason_code: str) -> dict[str, Any]:
    """`POST /charges/{id}/disputes`, in test mode only: the payer's bank takes a card's money back.

    Raises:
        Refusal: no such charge, or nothing that could be disputed.
    """
    charge = await find_charge(world, charge_id)
    amount_minor = charge["captured_minor"] - charge["refunded_minor"]
    is_open = await world.connection.fetchval(
        "SELECT EXISTS (SELECT FROM sandbox.disputes WHERE world = $1 AND charge_id = $2 AND status = ANY($3))",
        world.name,
        charge_id,
        list(OPEN),
    )
    if charge["status"] != "successful" or charge["method"] != "card" or amount_minor <= 0 or is_open:
        refuse(400, "invalid_charge", "charge can't be disputed")
    identifier = omise_id("dspt")
    transaction_id = await credit_or_debit(
        world,
        origin=identifier,
        key="dispute.opened.net",
        amount_minor=-amount_minor,
        at=world.now,
        transferable_at=world.now,
    )
    row = await world.connection.fetchrow(
        "INSERT INTO sandbox.disputes (world, id, charge_id, amount_minor, currency, status, reason_code, message,"
        " metadata, transaction_ids, created_at) VALUES ($1, $2, $3, $4, $5, 'open', $6, '', $7, $8, $9) RETURNING *",
        world.name,
        identifier,
        charge_id,
        amount_minor,
        CURRENCY,
        reason_code,
        {},
        [transaction_id],
        world.now,
    )
    assert row is not None
    return await _announce(world, "dispute.create", row)


async def answer_dispute(world: World, identifier: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """`PATCH /disputes/{id}`: the merchant's message; the dispute is then pending.

    Raises:
        Refusal: it is closed.
    """
    dispute = await _open_one(world, identifier)
    row = await world.connection.fetchrow(
        "UPDATE sandbox.disputes SET status = 'pending', message = $3, metadata = $4 WHERE world = $1 AND id = $2"
        " RETURNING *",
        world.name,
        dispute["id"],
        str(fields.get("message") or ""),
        text_metadata(fields.get("metadata")),
    )
    assert row is not None
    return await _announce(world, "dispute.update", row)


async def close_dispute(world: World, identifier: str, status: str) -> dict[str, Any]:
    """The dispute is `won`, and the money returned, or `lost`; also `PATCH /disputes/{id}/accept`.

    Raises:
        Refusal: it is closed.
    """
    dispute = await _open_one(world, identifier)
    transaction_ids = list(dispute["transaction_ids"])
    if status == "won":
        returned = await credit_or_debit(
            world,
            origin=dispute["id"],
            key="dispute.won.net",
            amount_minor=dispute["amount_minor"],
            at=world.now,
            transferable_at=world.now,
        )
        transaction_ids.append(returned)
    row = await world.connection.fetchrow(
        "UPDATE sandbox.disputes SET status = $3, transaction_ids = $4, closed_at = $5 WHERE world = $1 AND id = $2"
        " RETURNING *",
        world.name,
        dispute["id"],
        status,
        transaction_ids,
        world.now,
    )
    assert row is not None
    return await _announce(world, "dispute.close", row)


async def order_dispute(world: World, body: DisputeBody) -> str:
    """`POST /_control/dispute`; returns the dispute's id.

    Raises:
        Refusal: `unknown_reference`, or Omise's own.
    """
    charge = await find_ordered(world, body.reference)
    if body.outcome == "opened":
        opened = await open_dispute(world, charge["id"], reason_code=body.reason_code)
        return str(opened["id"])
    identifier = await world.connection.fetchval(
        "SELECT id FROM sandbox.disputes WHERE world = $1 AND charge_id = $2 ORDER BY created_at DESC, id DESC LIMIT 1",
        world.name,
        charge["id"],
    )
    if identifier is None:
        refuse_control(404, "unknown_reference", "the charge is not disputed")
    await close_dispute(world, identifier, body.outcome)
    return str(identifier)


async def _open_one(world: World, identifier: str) -> Row:
    dispute = await find_dispute(world, identifier)
    if dispute["status"] not in OPEN:
        refuse(400, "bad_request", f"dispute is {dispute['status']}")
    return dispute


async def _announce(world: World, key: str, dispute: Row) -> dict[str, Any]:
    data = dispute_object(dispute)
    await emit(world, key, data, at=world.now, amount_minor=dispute["amount_minor"])
    return data
