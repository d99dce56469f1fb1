"""Lanes as rows: claimed with what is due to them, left with what came of it. Locks: endpoint rows, by lease.

A lane that is claimed, served and left costs two statements, each a transaction of its own.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
from sqlalchemy import bindparam, select
from sqlalchemy import text as sql

from gateway.foundation.database import Source, send
from gateway.foundation.statements import Statement
from gateway.webhooks.sending import Attempt, AttemptOutcome
from gateway.webhooks.tables import events, webhook_deliveries

BATCH: Final = 50
"""How many deliveries of a lane are read at once."""
BATCH_CLAIMED: Final = 20
"""How many come with the claim: fewer, for they are read for every lane at once, and may wait for their turn."""
FAILING_WAIT_SECONDS: Final = 60
"""So much longer a lane that failed last waits for a slot than one that did not, where slots are scarce. Not for ever:
one refused event must not keep an endpoint from all others because somebody is always busier."""

S = TypeVar("S", bound=msgspec.Struct)


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """A claimed endpoint.

    Attributes:
        wrapped_key: the merchant's data key; None where it was destroyed.
        lease_until: also the claim's fence: who finds another value has lost it.
    """

    book_id: int
    endpoint_id: str
    account_id: str
    livemode: bool
    url: str
    wrapped_key: bytes | None
    sealed_secret: bytes
    sealed_previous_secret: bytes | None
    previous_secret_until: datetime | None
    failing_since: datetime | None
    lease_until: datetime


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery that is due."""

    delivery_id: str
    event_id: str
    attempts: int
    attempts_since_asked: int
    payload: bytes


class Claimed(NamedTuple):
    """A lane and the oldest of what is due to it, at most `BATCH_CLAIMED`."""

    lane: Lane
    due: list[Delivery]


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery and what came of an attempt at it.

    Attributes:
        next_attempt_at: when it is tried again; None where it was delivered, or for ever not.
    """

    delivery: Delivery
    attempt: Attempt
    sealed_response_body: bytes | None
    next_attempt_at: datetime | None = None

    @property
    def is_delivered(self) -> bool:
        """Whether the endpoint took it."""
        return self.attempt.outcome is AttemptOutcome.DELIVERED

    @property
    def state(self) -> str:
        """The delivery's state from now on."""
        if self.is_delivered:
            return "delivered"
        return "failed" if self.next_attempt_at is None else "pending"


class LaneAfter(msgspec.Struct, frozen=True, kw_only=True):
    """A lane's row from now on."""

    lease_until: datetime
    failing_since: datetime | None = None
    paused_until: datetime | None = None
    disabled_reason: str | None = None


# What is due is read as it was when the statement began. Where another worker sends it and leaves the lane before this
# statement comes to take it, the lane was left after `now`, and is not taken.
_CLAIM: Final = Statement(
    sql("""
    WITH claimable AS (
        SELECT book_id, endpoint_id, greatest(coalesce(lease_until, to_timestamp(0)), paused_until)
          + make_interval(secs => CASE WHEN failing_since IS NULL THEN 0 ELSE :failing_wait_seconds END) AS since
        FROM gateway.webhook_endpoints AS endpoint
        WHERE status = 'enabled' AND (lease_until IS NULL OR lease_until <= :now)
          AND (paused_until IS NULL OR paused_until <= :now)
          AND EXISTS (
            SELECT FROM gateway.webhook_deliveries AS delivery
            WHERE delivery.book_id = endpoint.book_id AND delivery.endpoint_id = endpoint.endpoint_id
              AND delivery.state = 'pending' AND delivery.next_attempt_at <= :now)
        ORDER BY since LIMIT :limit FOR UPDATE SKIP LOCKED),
    lane AS (
        UPDATE gateway.webhook_endpoints AS endpoint SET lease_until = :lease_until, paused_until = NULL
        FROM claimable
        WHERE (endpoint.book_id, endpoint.endpoint_id) = (claimable.book_id, claimable.endpoint_id)
        RETURNING endpoint.book_id, endpoint.endpoint_id, endpoint.account_id, endpoint.livemode, endpoint.url,
          endpoint.sealed_secret, endpoint.sealed_previous_secret, endpoint.previous_secret_until,
          endpoint.failing_since, endpoint.lease_until, claimable.since)
    SELECT lane.*, key.wrapped_key, due.*
    FROM lane
    LEFT JOIN gateway.data_keys AS key ON key.account_id = lane.account_id
    LEFT JOIN LATERAL (
        SELECT delivery.delivery_id, delivery.event_id, delivery.attempts, delivery.attempts_since_asked, event.payload
        FROM gateway.webhook_deliveries AS delivery
        JOIN gateway.events AS event ON event.book_id = delivery.book_id AND event.event_id = delivery.event_id
        WHERE delivery.book_id = lane.book_id AND delivery.endpoint_id = lane.endpoint_id
          AND delivery.state = 'pending' AND delivery.next_attempt_at <= :now
        ORDER BY delivery.delivery_id LIMIT :batch) AS due ON true
    ORDER BY lane.since, lane.endpoint_id, due.delivery_id
""")
)


async def claim(source: Source, *, now: datetime, limit: int, lease: timedelta) -> list[Claimed]:
    """Take lanes with something due, those first that were left first; by one statement."""
    parameters = {
        "now": now,
        "lease_until": now + lease,
        "limit": limit,
        "batch": BATCH_CLAIMED,
        "failing_wait_seconds": FAILING_WAIT_SECONDS,
    }
    claimed: dict[tuple[int, str], Claimed] = {}
    for row in await send(source, _CLAIM, parameters):
        key = (row["book_id"], row["endpoint_id"])
        if key not in claimed:
            claimed[key] = Claimed(_made(Lane, row), [])
        if row["delivery_id"] is not None:
            claimed[key].due.append(_made(Delivery, row))
    return list(claimed.values())


_d, _e = webhook_deliveries.c, events.c
_NEXT_DUE: Final = Statement(
    select(_d.delivery_id, _d.event_id, _d.attempts, _d.attempts_since_asked, _e.payload)
    .join(events, (_e.book_id == _d.book_id) & (_e.event_id == _d.event_id))
    .where(
        _d.book_id == bindparam("book_id"),
        _d.endpoint_id == bindparam("endpoint_id"),
        _d.state == "pending",
        _d.next_attempt_at <= bindparam("now"),
    )
    .order_by(_d.delivery_id)
    .limit(BATCH)
)


async def next_due(source: Source, lane: Lane, *, now: datetime) -> list[Delivery]:
    """The oldest of what is due, at most `BATCH`."""
    parameters = {"book_id": lane.book_id, "endpoint_id": lane.endpoint_id, "now": now}
    return [_made(Delivery, row) for row in await send(source, _NEXT_DUE, parameters)]


# What was sent was sent, whoever has the lane by now: attempts and deliveries are written in any case. What somebody
# else delivered meanwhile stays delivered.
_RECORD: Final = Statement(
    sql("""
    WITH lane AS (
        UPDATE gateway.webhook_endpoints
        SET lease_until = :lease_until, failing_since = :failing_since, paused_until = :paused_until,
            status = CASE WHEN CAST(:disabled_reason AS text) IS NULL THEN status ELSE 'disabled' END,
            disabled_reason = CAST(:disabled_reason AS text)
        WHERE book_id = :book_id AND endpoint_id = :endpoint_id AND lease_until = :held_until AND status = 'enabled'
        RETURNING endpoint_id),
    tried AS (
        SELECT * FROM unnest(CAST(:delivery_ids AS text[]), CAST(:attempts AS integer[]),
            CAST(:attempted AS timestamptz[]), CAST(:outcomes AS text[]), CAST(:milliseconds AS integer[]),
            CAST(:statuses AS integer[]), CAST(:bodies AS bytea[]), CAST(:states AS text[]),
            CAST(:next_attempts AS timestamptz[]))
          AS tried (delivery_id, attempt, attempted_at, outcome, milliseconds, response_status, sealed_response_body,
            state, next_attempt_at)),
    noted AS (
        INSERT INTO gateway.webhook_delivery_attempts (book_id, delivery_id, attempt, attempted_at, outcome,
          milliseconds, response_status, sealed_response_body)
        SELECT CAST(:book_id AS bigint), delivery_id, attempt, attempted_at, outcome, milliseconds, response_status,
          sealed_response_body
        FROM tried
        ON CONFLICT DO NOTHING),
    marked AS (
        UPDATE gateway.webhook_deliveries AS delivery
        SET attempts = delivery.attempts + 1, attempts_since_asked = delivery.attempts_since_asked + 1,
            state = CASE WHEN delivery.state = 'delivered' THEN delivery.state ELSE tried.state END,
            next_attempt_at = coalesce(tried.next_attempt_at, delivery.next_attempt_at),
            delivered_at = CASE WHEN tried.state = 'delivered' THEN CAST(:now AS timestamptz)
              ELSE delivery.delivered_at END
        FROM tried
        WHERE delivery.book_id = :book_id AND delivery.delivery_id = tried.delivery_id)
    SELECT count(*) AS lanes FROM lane
""")
)


async def record(source: Source, lane: Lane, tried: Sequence[Tried], after: LaneAfter, *, now: datetime) -> bool:
    """Write what came of attempts, and what it makes of the lane if it is still ours and nobody switched it off.

    Returns:
        whether the lane was still ours; the attempts are written in any case.
    """
    parameters = {
        "now": now,
        **_still(lane),
        **msgspec.structs.asdict(after),
        "delivery_ids": [one.delivery.delivery_id for one in tried],
        "attempts": [one.delivery.attempts + 1 for one in tried],
        "attempted": [one.attempt.attempted_at for one in tried],
        "outcomes": [one.attempt.outcome.value for one in tried],
        "milliseconds": [one.attempt.milliseconds for one in tried],
        "statuses": [one.attempt.response_status for one in tried],
        "bodies": [one.sealed_response_body for one in tried],
        "states": [one.state for one in tried],
        "next_attempts": [one.next_attempt_at for one in tried],
    }
    [row] = await send(source, _RECORD, parameters)
    return bool(row["lanes"])


_LEAVE: Final = Statement(
    sql("""
    UPDATE gateway.webhook_endpoints SET lease_until = :now
    WHERE book_id = :book_id AND endpoint_id = :endpoint_id AND lease_until = :held_until AND status = 'enabled'
""")
)


async def leave(source: Source, lane: Lane, *, now: datetime) -> None:
    """Let others have the lane, if it is still ours."""
    await send(source, _LEAVE, _still(lane) | {"now": now})


_SWITCH_OFF: Final = Statement(
    sql("""
    UPDATE gateway.webhook_endpoints SET status = 'disabled', disabled_reason = :reason
    WHERE book_id = :book_id AND endpoint_id = :endpoint_id AND lease_until = :held_until AND status = 'enabled'
""")
)


async def switch_off(source: Source, lane: Lane, *, reason: str) -> None:
    """End the endpoint, if the lane is still ours."""
    await send(source, _SWITCH_OFF, _still(lane) | {"reason": reason})


def _still(lane: Lane) -> dict[str, Any]:
    """The lane's row, while the lease is ours."""
    return {"book_id": lane.book_id, "endpoint_id": lane.endpoint_id, "held_until": lane.lease_until}


_OLDEST_DUE: Final = Statement(
    sql("""
    SELECT min(delivery.next_attempt_at) AS oldest FROM gateway.webhook_deliveries AS delivery
    JOIN gateway.webhook_endpoints AS endpoint USING (book_id, endpoint_id)
    WHERE delivery.state = 'pending' AND endpoint.status = 'enabled'
""")
)


async def lag_seconds(source: Source, *, now: datetime) -> int:
    """How long the oldest delivery that is due has been waiting, in whole seconds."""
    [row] = await send(source, _OLDEST_DUE, {})
    oldest = row["oldest"]
    return 0 if oldest is None else max(int((now - oldest).total_seconds()), 0)


def _made(kind: type[S], row: Mapping[str, Any]) -> S:
    return kind(**{name: row[name] for name in kind.__struct_fields__})
