"""Events: what merchants are told, written in the very transaction in which it becomes true.

An event's bytes are fixed when it is made; every delivery and every list shows the same ones. Consumers are told:
at least once, in no promised order, deduplicate by `webhook-id`, order by the object's `version`.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Row, bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.clock import real_now
from gateway.foundation.ids import uuid7, uuid_to_text
from gateway.foundation.reads import Query, Reads, any_of
from gateway.foundation.writes import Writes
from gateway.webhooks.tables import events, webhook_deliveries, webhook_endpoints

API_VERSION: Final = "2026-11-01"
PAYLOAD_BYTES_MAX: Final = 20_000
EVERY_TYPE: Final = "*"
THIN_FIELDS: Final = ("object", "id", "status", "version")
"""What an object too big for an event is cut down to; the consumer fetches the rest."""


class NewEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something happened that the merchant is to know.

    Attributes:
        type: such as `payment_intent.succeeded`.
        object: the object as the API shows it, JSON.
        created_at: business time of the book.
    """

    book_id: int
    account_id: str
    livemode: bool
    type: str
    object: bytes
    created_at: datetime


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded event; `payload` is its JSON, as delivered."""

    event_id: str
    type: str
    payload: bytes
    created_at: datetime


class _Subject(msgspec.Struct):
    id: str


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where an account wants to be told, and of what."""

    endpoint_id: str
    account_id: str
    event_types: list[str]


_HEARING: Final = select(
    webhook_endpoints.c.endpoint_id, webhook_endpoints.c.account_id, webhook_endpoints.c.event_types
).where(
    webhook_endpoints.c.book_id == bindparam("book_id"),
    webhook_endpoints.c.account_id == any_of("account_ids"),
    webhook_endpoints.c.status == "enabled",
)
HEARING: Final = Query(_HEARING, Endpoint)
"""The enabled endpoints of some accounts of a book, to be read before their events are added."""
_ENDPOINTS: Final = Reads(endpoints=HEARING)


async def record(connection: AsyncConnection, new_events: Sequence[NewEvent]) -> None:
    """Write the events, and a delivery for each enabled endpoint of their account that wants them.

    In the caller's transaction, before it posts. Takes no locks: an endpoint that is switched on or off at the same
    moment gets the event or does not.
    """
    for book_id in sorted({event.book_id for event in new_events}):
        its = [event for event in new_events if event.book_id == book_id]
        accounts = sorted({event.account_id for event in its})
        [endpoints] = await _ENDPOINTS.ask(connection, {"book_id": book_id, "account_ids": accounts})
        await add(Writes(), its, endpoints).send(connection)


def add(writes: Writes, new_events: Sequence[NewEvent], endpoints: Sequence[Endpoint]) -> Writes:
    """Let events of a book be written, and a delivery for each of these endpoints of their account that wants them."""
    rows = [
        {
            "book_id": event.book_id,
            "event_id": event_id,
            "account_id": event.account_id,
            "livemode": event.livemode,
            "type": event.type,
            "subject_id": msgspec.json.decode(event.object, type=_Subject).id,
            "payload": payload(event_id, event),
            "created_at": event.created_at,
        }
        for event_id, event in zip(_ids("evt", [event.livemode for event in new_events]), new_events, strict=True)
    ]
    return writes.insert(events, rows).insert(webhook_deliveries, _deliveries(rows, endpoints))


def payload(event_id: str, event: NewEvent) -> bytes:
    """The event's JSON: `{id, object, type, created, livemode, api_version, data: {object}}`, under 20 kB."""
    body = _envelope(event_id, event, {"object": msgspec.Raw(event.object)})
    if len(body) <= PAYLOAD_BYTES_MAX:
        return body
    whole = msgspec.json.decode(event.object, type=dict[str, Any])
    thin = {name: whole[name] for name in THIN_FIELDS if name in whole}
    return _envelope(event_id, event, {"object": thin, "partial": True})


async def find(connection: AsyncConnection, *, book_id: int, account_id: str, event_id: str) -> Event | None:
    """One event of the account."""
    c = events.c
    statement = select(c.event_id, c.type, c.payload, c.created_at).where(
        c.book_id == book_id, c.account_id == account_id, c.event_id == event_id
    )
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else _event(row)


async def page(
    connection: AsyncConnection,
    *,
    book_id: int,
    account_id: str,
    limit: int,
    starting_after: str | None = None,
    ending_before: str | None = None,
) -> tuple[list[Event], bool]:
    """Events of the account, newest first, and whether there are more in the direction of the cursor.

    Args:
        connection: for reading.
        book_id: the account's book.
        account_id: whose events.
        limit: how many at most.
        starting_after: only events older than this one.
        ending_before: only events newer than this one; not together with `starting_after`.
    """
    c = events.c
    statement = select(c.event_id, c.type, c.payload, c.created_at).where(
        c.book_id == book_id, c.account_id == account_id
    )
    if starting_after is not None:
        statement = statement.where(c.event_id < starting_after)
    if ending_before is not None:
        statement = statement.where(c.event_id > ending_before)
    newest_first = ending_before is None
    statement = statement.order_by(c.event_id.desc() if newest_first else c.event_id).limit(limit + 1)
    found = [_event(row) for row in await connection.execute(statement)]
    shown = found[:limit] if newest_first else found[:limit][::-1]
    return shown, len(found) > limit


def _deliveries(rows: Sequence[dict[str, Any]], endpoints: Sequence[Endpoint]) -> list[dict[str, Any]]:
    now = real_now()
    wanted = [
        (endpoint.endpoint_id, row)
        for row in rows
        for endpoint in endpoints
        if row["account_id"] == endpoint.account_id and wants(endpoint.event_types, row["type"])
    ]
    ids = _ids("whd", [row["livemode"] for _, row in wanted])
    return [
        {
            "book_id": row["book_id"],
            "delivery_id": delivery_id,
            "endpoint_id": endpoint_id,
            "event_id": row["event_id"],
            "state": "pending",
            "attempts": 0,
            "attempts_since_asked": 0,
            "next_attempt_at": now,
        }
        for delivery_id, (endpoint_id, row) in zip(ids, wanted, strict=True)
    ]


def wants(event_types: Sequence[str], event_type: str) -> bool:
    """Whether an endpoint's list names the type, its family (`refund.*`) or every type (`*`)."""
    family = event_type.rpartition(".")[0] + ".*"
    return not {EVERY_TYPE, family, event_type}.isdisjoint(event_types)


def _ids(prefix: str, livemodes: Sequence[bool]) -> list[str]:
    """New ids in rising order, so that what is given together is listed and sent in the order it was given."""
    texts = sorted(uuid_to_text(uuid7()) for _ in livemodes)
    return [f"{prefix}_{'' if livemode else 'test_'}{text}" for livemode, text in zip(livemodes, texts, strict=True)]


def _envelope(event_id: str, event: NewEvent, data: dict[str, Any]) -> bytes:
    return msgspec.json.encode(
        {
            "id": event_id,
            "object": "event",
            "type": event.type,
            "created": int(event.created_at.timestamp()),
            "livemode": event.livemode,
            "api_version": API_VERSION,
            "data": data,
        }
    )


def _event(row: Row[str, str, bytes, datetime]) -> Event:
    event_id, event_type, body, created_at = row
    return Event(event_id=event_id, type=event_type, payload=bytes(body), created_at=created_at)
