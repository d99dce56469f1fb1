"""Omise's lists: windows of time with limit and offset, and the search."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from gateway.sandbox.faults import Fault
from gateway.sandbox.omise_charge_object import read_charge
from gateway.sandbox.omise_charges import find_charge
from gateway.sandbox.omise_events import event_object
from gateway.sandbox.omise_objects import (
    list_object,
    refund_object,
    refuse,
    transaction_object,
    transfer_object,
)
from gateway.sandbox.wire import Row, utc_text, whole_number
from gateway.sandbox.world import World

LIMIT_DEFAULT: Final = 20
LIMIT_MAX: Final = 100
SEARCH_PAGE: Final = 30
BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
END: Final = datetime(9000, 1, 1, tzinfo=UTC)

_BY_TIME: Final = {
    "charges": "SELECT * FROM sandbox.charges WHERE world = $1 AND created_at >= $2 AND created_at < $3",
    "refunds": "SELECT * FROM sandbox.refunds WHERE world = $1 AND created_at >= $2 AND created_at < $3",
    "transactions": "SELECT * FROM sandbox.transactions WHERE world = $1 AND created_at >= $2 AND created_at < $3",
    "transfers": "SELECT * FROM sandbox.transfers WHERE world = $1 AND created_at >= $2 AND created_at < $3",
    "events": "SELECT * FROM sandbox.events WHERE world = $1 AND created_at >= $2 AND created_at < $3",
}
_BY_ID: Final = {
    "transactions": "SELECT * FROM sandbox.transactions WHERE world = $1 AND id = $2",
    "transfers": "SELECT * FROM sandbox.transfers WHERE world = $1 AND id = $2",
    "events": "SELECT * FROM sandbox.events WHERE world = $1 AND id = $2",
}
_SEARCH: Final = {
    "charge": "SELECT * FROM sandbox.charges WHERE world = $1 AND (id = $2 OR description = $2"
    " OR EXISTS (SELECT FROM jsonb_each_text(metadata) WHERE value = $2)) ORDER BY created_at DESC, id DESC",
    "refund": "SELECT * FROM sandbox.refunds WHERE world = $1 AND (id = $2 OR charge_id = $2"
    " OR EXISTS (SELECT FROM jsonb_each_text(metadata) WHERE value = $2)) ORDER BY created_at DESC, id DESC",
}


async def _render(world: World, name: str, row: Row) -> dict[str, Any]:
    match name:
        case "charges":
            return await read_charge(world, row)
        case "refunds":
            return refund_object(row)
        case "transactions":
            return transaction_object(row)
        case "transfers":
            return transfer_object(row)
        case _:
            return event_object(row)


async def charges(world: World, fields: Mapping[str, Any], _: Fault | None) -> dict[str, Any]:
    """`GET /charges`."""
    return await by_time(world, "charges", fields)


async def by_time(world: World, name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """A list of what was made from `from` (inclusive) to `to` (exclusive).

    Raises:
        Refusal: no such list, or the window cannot be read.
    """
    if name not in _BY_TIME:
        refuse(404, "not_found", "the requested path was not found")
    from_at, to_at = _moment(fields.get("from"), BEGINNING), _moment(fields.get("to"), END)
    rows = await world.connection.fetch(_BY_TIME[name], world.name, from_at, to_at)
    return await _page(
        world, name, location=f"/{name}", rows=rows, fields=fields, window=(from_at, min(to_at, world.now))
    )


async def refunds_of(world: World, charge_id: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """`GET /charges/{id}/refunds`.

    Raises:
        Refusal: no such charge.
    """
    await find_charge(world, charge_id)
    rows = await world.connection.fetch(
        "SELECT * FROM sandbox.refunds WHERE world = $1 AND charge_id = $2", world.name, charge_id
    )
    return await _page(
        world,
        "refunds",
        location=f"/charges/{charge_id}/refunds",
        rows=rows,
        fields=fields,
        window=(BEGINNING, world.now),
    )


async def one(world: World, name: str, identifier: str) -> dict[str, Any]:
    """One transaction, transfer or event.

    Raises:
        Refusal: `not_found`.
    """
    row = await world.connection.fetchrow(_BY_ID[name], world.name, identifier) if name in _BY_ID else None
    if row is None:
        refuse(404, "not_found", f"{identifier} was not found")
    return await _render(world, name, row)


async def search(world: World, fields: Mapping[str, Any], _: Fault | None) -> dict[str, Any]:
    """`GET /search?scope=charge&query=…`: exact words only, newest first.

    Raises:
        Refusal: the scope is not served.
    """
    scope, query = str(fields.get("scope", "")), str(fields.get("query", ""))
    if scope not in _SEARCH:
        refuse(400, "bad_request", "scope is not supported")
    rows = await world.connection.fetch(_SEARCH[scope], world.name, query)
    page = max(whole_number(fields.get("page")) or 1, 1)
    shown = rows[(page - 1) * SEARCH_PAGE : page * SEARCH_PAGE]
    return {
        "object": "search",
        "order": "reverse_chronological",
        "scope": scope,
        "query": query,
        "filters": {},
        "page": page,
        "per_page": SEARCH_PAGE,
        "location": "/search",
        "total_pages": -(-len(rows) // SEARCH_PAGE),
        "total": len(rows),
        "data": [await _render(world, f"{scope}s", row) for row in shown],
    }


async def _page(
    world: World,
    name: str,
    *,
    location: str,
    rows: list[Any],
    fields: Mapping[str, Any],
    window: tuple[datetime, datetime],
) -> dict[str, Any]:
    order = str(fields.get("order", "chronological"))
    limit = whole_number(fields.get("limit", LIMIT_DEFAULT))
    offset = whole_number(fields.get("offset", 0))
    if order not in ("chronological", "reverse_chronological") or limit is None or offset is None or offset < 0:
        refuse(400, "bad_request", "limit, offset or order is invalid")
    if not 1 <= limit <= LIMIT_MAX:
        refuse(400, "bad_request", "limit must be between 1 and 100")
    ordered = sorted(rows, key=lambda row: (row["created_at"], row["id"]), reverse=order != "chronological")
    shown = [await _render(world, name, row) for row in ordered[offset : offset + limit]]
    return list_object(
        shown,
        location,
        len(rows),
        **{"from": utc_text(window[0]), "to": utc_text(window[1])},
        offset=offset,
        limit=limit,
        order=order,
    )


def _moment(text: Any, default: datetime) -> datetime:
    if text is None:
        return default
    try:
        moment = msgspec.convert(str(text), datetime)
    except msgspec.ValidationError:
        refuse(400, "bad_request", "from and to must be times")
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
