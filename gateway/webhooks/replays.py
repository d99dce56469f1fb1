"""Deliveries as merchants see them, and what they may ask for again: one event, a span of them, a sample."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import select
from sqlalchemy import text as sql
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.clock import real_now
from gateway.foundation.encryption import Vault
from gateway.foundation.ids import new_id
from gateway.merchants.data_keys import DataKeyDestroyed, wrapped_key
from gateway.webhooks import endpoints, events
from gateway.webhooks.deliveries import body_context
from gateway.webhooks.events import NewEvent
from gateway.webhooks.tables import events as events_table
from gateway.webhooks.tables import webhook_deliveries, webhook_delivery_attempts

REPLAY_EVENTS_MAX: Final = 10_000
"""How many events one replay sends again: the oldest of the span; ask again for what follows."""
SAMPLE_TYPE: Final = "webhook_endpoint.sample"

_REPLAY: Final = sql("""
    INSERT INTO gateway.webhook_deliveries
        (book_id, delivery_id, endpoint_id, event_id, state, attempts, attempts_since_asked, next_attempt_at)
    SELECT e.book_id,
           'whd_' || CASE WHEN e.livemode THEN '' ELSE 'test_' END
               || substr(right(e.event_id, 26), 1, 16) || substr(md5(:endpoint_id || e.event_id), 1, 10),
           :endpoint_id, e.event_id, 'pending', 0, 0, :now
    FROM (SELECT * FROM gateway.events
          WHERE book_id = :book_id AND account_id = :account_id AND created_at >= :from_at AND created_at < :before
            AND (CAST(:types AS text[]) IS NULL OR type = ANY(CAST(:types AS text[])))
          ORDER BY event_id LIMIT :most) AS e
    ON CONFLICT (book_id, endpoint_id, event_id) DO UPDATE
    SET state = 'pending', attempts_since_asked = 0, next_attempt_at = :now, delivered_at = NULL
    RETURNING event_id
""")
"""A new delivery begins with the event's own time and number, so that lanes send them in the order of the events."""


class DeliveryAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """One request to the endpoint.

    Attributes:
        outcome: `delivered`, `refused`, `timed_out` …; response_body: the first two kilobytes of what it answered;
            null where nothing was answered, or the merchant's key is destroyed.
    """

    attempt: int
    attempted_at: datetime
    outcome: str
    milliseconds: int
    response_status: int | None
    response_body: str | None


class DeliveryView(msgspec.Struct, frozen=True, kw_only=True):
    """An event on its way to an endpoint."""

    object: Literal["webhook_delivery"] = "webhook_delivery"
    id: str
    endpoint: str
    event: str
    event_type: str
    status: str
    next_attempt_at: datetime | None
    delivered_at: datetime | None
    attempts: list[DeliveryAttempt]


async def page(
    connection: AsyncConnection,
    vault: Vault,
    *,
    book_id: int,
    account_id: str,
    endpoint_id: str,
    state: str | None = None,
    limit: int = 10,
    starting_after: str | None = None,
    ending_before: str | None = None,
) -> tuple[list[DeliveryView], bool]:
    """Deliveries to an endpoint of the account, newest first, and whether there are more beyond the cursor.

    Three questions, however many there are: deliveries, their attempts, the merchant's key.
    """
    d, e = webhook_deliveries.c, events_table.c
    statement = (
        select(d.delivery_id, d.event_id, e.type, d.state, d.next_attempt_at, d.delivered_at)
        .join(events_table, (e.book_id == d.book_id) & (e.event_id == d.event_id))
        .where(d.book_id == book_id, d.endpoint_id == endpoint_id, e.account_id == account_id)
    )
    if state is not None:
        statement = statement.where(d.state == state)
    if starting_after is not None:
        statement = statement.where(d.delivery_id < starting_after)
    if ending_before is not None:
        statement = statement.where(d.delivery_id > ending_before)
    newest_first = ending_before is None
    statement = statement.order_by(d.delivery_id.desc() if newest_first else d.delivery_id).limit(limit + 1)
    found = (await connection.execute(statement)).all()
    shown = found[:limit] if newest_first else found[:limit][::-1]
    attempts = await _attempts(connection, vault, book_id, account_id, [row[0] for row in shown])
    views = [
        DeliveryView(
            id=delivery_id,
            endpoint=endpoint_id,
            event=event_id,
            event_type=event_type,
            status=its_state,
            next_attempt_at=next_attempt_at if its_state == "pending" else None,
            delivered_at=delivered_at,
            attempts=attempts.get(delivery_id, []),
        )
        for delivery_id, event_id, event_type, its_state, next_attempt_at, delivered_at in shown
    ]
    return views, len(found) > limit


async def replay(
    connection: AsyncConnection,
    *,
    book_id: int,
    account_id: str,
    endpoint_id: str,
    created_from: datetime,
    created_before: datetime,
    types: Sequence[str] | None,
) -> int | None:
    """Send the events of a span to an endpoint again, also those that it never wanted; None: no such endpoint.

    Returns:
        how many; `REPLAY_EVENTS_MAX` at most.
    """
    if not await endpoints.find(connection, book_id=book_id, account_id=account_id, endpoint_id=endpoint_id):
        return None
    values: dict[str, Any] = {
        "book_id": book_id,
        "account_id": account_id,
        "endpoint_id": endpoint_id,
        "from_at": created_from,
        "before": created_before,
        "types": None if types is None else list(types),
        "most": REPLAY_EVENTS_MAX,
        "now": real_now(),
    }
    return len((await connection.execute(_REPLAY, values)).all())


async def send_sample(
    connection: AsyncConnection, *, book_id: int, account_id: str, endpoint_id: str, created_at: datetime
) -> str | None:
    """Send one event that means nothing to that endpoint alone, signed like any other; its id, or None."""
    endpoint = await endpoints.find(connection, book_id=book_id, account_id=account_id, endpoint_id=endpoint_id)
    if endpoint is None:
        return None
    content = {"object": "webhook_endpoint", "id": endpoint_id, "sample": True}
    event_id = new_id("evt", livemode=endpoint.livemode)
    sample = NewEvent(
        book_id=book_id,
        account_id=account_id,
        livemode=endpoint.livemode,
        type=SAMPLE_TYPE,
        object=msgspec.json.encode(content),
        created_at=created_at,
    )
    await connection.execute(
        events_table.insert().values(
            book_id=book_id,
            event_id=event_id,
            account_id=account_id,
            livemode=endpoint.livemode,
            type=SAMPLE_TYPE,
            subject_id=endpoint_id,
            payload=events.payload(event_id, sample),
            created_at=created_at,
        )
    )
    await connection.execute(
        webhook_deliveries.insert().values(
            book_id=book_id,
            delivery_id=new_id("whd", livemode=endpoint.livemode),
            endpoint_id=endpoint_id,
            event_id=event_id,
            state="pending",
            attempts=0,
            attempts_since_asked=0,
            next_attempt_at=real_now(),
        )
    )
    return event_id


async def _attempts(
    connection: AsyncConnection, vault: Vault, book_id: int, account_id: str, delivery_ids: Sequence[str]
) -> dict[str, list[DeliveryAttempt]]:
    if not delivery_ids:
        return {}
    c = webhook_delivery_attempts.c
    rows = await connection.execute(
        select(webhook_delivery_attempts)
        .where(c.book_id == book_id, c.delivery_id.in_(delivery_ids))
        .order_by(c.delivery_id, c.attempt)
    )
    try:
        key: bytes | None = await wrapped_key(connection, account_id)
    except DataKeyDestroyed:
        key = None
    found: dict[str, list[DeliveryAttempt]] = {}
    for row in rows.mappings():
        sealed = row["sealed_response_body"]
        body = None
        if sealed is not None and key is not None:
            body = vault.open(key, sealed, context=body_context(row["delivery_id"])).decode(errors="replace")
        found.setdefault(row["delivery_id"], []).append(
            DeliveryAttempt(
                attempt=row["attempt"],
                attempted_at=row["attempted_at"],
                outcome=row["outcome"],
                milliseconds=row["milliseconds"],
                response_status=row["response_status"],
                response_body=body,
            )
        )
    return found
