"""Omise's events: kept for `GET /events`, sent as webhooks to the dashboard's address or to the charge's own."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from gateway.sandbox import callbacks
from gateway.sandbox.wire import Row, omise_id, utc_text
from gateway.sandbox.world import World


def event_object(row: Row) -> dict[str, Any]:
    """An event as Omise shows it; `row` of `sandbox.events`."""
    return {
        "object": "event",
        "id": row["id"],
        "livemode": False,
        "location": f"/events/{row['id']}",
        "webhook_deliveries": [],
        "data": row["data"],
        "key": row["key"],
        "created_at": utc_text(row["created_at"]),
    }


async def emit(
    world: World, key: str, data: dict[str, Any], *, at: datetime, amount_minor: int, urls: Sequence[str] = ()
) -> None:
    """Keep an event and queue its webhook.

    Args:
        world: locked.
        key: `charge.complete` …
        data: the whole object, as it is now.
        at: business time.
        amount_minor: by which faults of callbacks are chosen.
        urls: the charge's own `webhook_endpoints`; empty: the account's address.
    """
    row = await world.connection.fetchrow(
        "INSERT INTO sandbox.events (world, id, key, data, created_at) VALUES ($1, $2, $3, $4, $5) RETURNING *",
        world.name,
        omise_id("evnt"),
        key,
        data,
        at,
    )
    assert row is not None
    event = event_object(row)
    body, forged_body = msgspec.json.encode(event), msgspec.json.encode(_forged(event))
    for url in urls or (None,):
        await callbacks.enqueue(
            world,
            provider="omise",
            subject=f"{key} {data['id']}",
            amount_minor=amount_minor,
            body=body,
            forged_body=forged_body,
            url=url,
            # A charge's birth means nothing to a gateway: a fault ordered for "the next callback" waits for more.
            may_be_spoiled=key != "charge.create",
        )


def _forged(event: dict[str, Any]) -> dict[str, Any]:
    return {**event, "id": omise_id("evnt"), "data": {**event["data"], "status": "successful", "paid": True}}


def forged_charge_event(charge: dict[str, Any], at: datetime) -> bytes:
    """A `charge.complete` that says a charge was paid, as a forger would write it."""
    row = {"id": omise_id("evnt"), "data": charge, "key": "charge.complete", "created_at": at}
    return msgspec.json.encode(_forged(event_object(row)))
