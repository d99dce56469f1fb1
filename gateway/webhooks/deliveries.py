"""Deliveries: events sent to endpoints, a lane for each endpoint. Locks: endpoint rows (lanes), by lease.

A lane sends one delivery at a time, the oldest that is due; what came of some tens is written together, at the latest
after a second or with the first that failed. Lanes run beside each other, so a dead endpoint delays nobody else: while
an endpoint is waited for, the lane's slot is lent to others; lanes are served in the order in which they were left,
those that failed as if they had been left a minute later. A delivery that waits for its next attempt does **not** block
those behind it: one event that a consumer cannot digest would hold back all others for days, and consumers order by the
object's `version` anyway. What blocks is trouble of the endpoint as a whole (no answer, overload): the lane pauses.

No transaction is open while a request is under way. Whoever dies between sending and marking leaves a lease that
lapses; the deliveries are then sent again, each under the same `webhook-id`.
"""

import math
import secrets
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import ARRAY, Text, any_, bindparam, cast, select, update
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.clock import real_now
from gateway.foundation.database import Database
from gateway.foundation.encryption import Vault
from gateway.foundation.ids import new_id
from gateway.foundation.metrics import OUTBOX_LAG_SECONDS, WEBHOOK_DELIVERY_SECONDS, WEBHOOK_ENDPOINTS_DISABLED
from gateway.merchants.clocks import clock_of
from gateway.merchants.data_keys import DataKeyDestroyed, wrapped_key
from gateway.webhooks import endpoints, events
from gateway.webhooks.endpoints import secret_context
from gateway.webhooks.sending import Attempt, AttemptOutcome, Line, Sender
from gateway.webhooks.slots import Slots
from gateway.webhooks.tables import events as events_table
from gateway.webhooks.tables import webhook_deliveries, webhook_delivery_attempts, webhook_endpoints

SCHEDULE_SECONDS: Final = (0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Before which attempt how long is waited; after the last one the delivery has failed."""
JITTER_PERMILLE: Final = 200
"""Up to a fifth is added to every wait, so that those that failed together do not come back together."""
PAUSE_SECONDS_MAX: Final = 300
"""A lane in trouble is tried at least this often, unless its endpoint asked for more time."""
RETRY_AFTER_SECONDS_MAX: Final = 86_400
DISABLE_AFTER: Final = timedelta(days=5)
LANES: Final = 20
LANES_WAITING: Final = 200
"""How many more may be waiting for their endpoints; each is an open connection and no work of ours."""
LANE_SECONDS: Final = 30
"""How long a lane is served before others get its slot."""
FAILING_WAIT_SECONDS: Final = 60
"""So much longer a lane that failed last waits for a slot than one that did not, where slots are scarce. Not for ever:
one refused event must not keep an endpoint from all others because somebody is always busier."""
LEASE: Final = timedelta(seconds=60)
"""Longer than any attempt; renewed with each."""
BATCH: Final = 50
BATCH_SECONDS: Final = 1.0
"""How many deliveries are read at once, and for how long they are sent before it is written what came of them."""
WAIT_SECONDS: Final = 0.2
LAG_EVERY_SECONDS: Final = 5


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """A claimed endpoint. `lease_until` is also the claim's fence: who finds another value has lost it."""

    book_id: int
    endpoint_id: str
    account_id: str
    livemode: bool
    url: str
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


class Tried(NamedTuple):
    """A delivery and what came of an attempt at it."""

    delivery: Delivery
    attempt: Attempt


class Deliverer:
    """Sends what is due; any number may run. `close` it at the end.

    Args:
        sender: opens lines to endpoints.
        lanes: how many endpoints are worked for at a time; those that are only waited for do not count.
        waiting_max: how many more endpoints may be waited for.
        lease: how long a lane is kept from others after a sign of life; longer than two requests may take.
    """

    def __init__(
        self,
        database: Database,
        vault: Vault,
        sender: Sender,
        *,
        lanes: int = LANES,
        waiting_max: int = LANES_WAITING,
        lease: timedelta = LEASE,
    ) -> None:
        self._database = database
        self._vault = vault
        self._sender = sender
        self._slots = Slots(lanes, lent_max=waiting_max)
        self._lease = lease
        self._closing = False
        self._lag_measured_at = -math.inf

    async def run_once(self) -> int:
        """Claim lanes with something due and send from them in the background; returns how many attempts ended.

        Slow lanes go on while this returns, so the next call serves the others.
        """
        if time.monotonic() - self._lag_measured_at >= LAG_EVERY_SECONDS:
            self._lag_measured_at = time.monotonic()
            async with self._database.read() as connection:
                OUTBOX_LAG_SECONDS.set(await _lag_seconds(connection))
        if self._slots.free:
            async with self._database.statement() as connection:
                lanes = await _claim(connection, limit=self._slots.free, lease=self._lease)
            for lane in lanes:
                self._slots.start(self._serve(lane))
        return await self._slots.gather(seconds=WAIT_SECONDS)

    async def close(self) -> None:
        """Finish the attempts under way; what is left of their lanes is for the next."""
        self._closing = True
        await self._slots.gather(seconds=None)

    async def _serve(self, lane: Lane) -> int:
        until, count = time.monotonic() + LANE_SECONDS, 0
        key = await self._wrapped_key(lane)
        if key is None:
            return count
        async with self._sender.line(lane.url) as line:
            while time.monotonic() < until and not self._closing:
                async with self._database.read() as connection:
                    due = await _next_due(connection, lane)
                if not due:
                    break
                tried = await self._send(line, self._secrets(lane, key), due)
                count += len(tried)
                renewed = await self._record(lane, key, tried)
                if renewed is None:
                    return count
                lane = renewed
        async with self._database.statement() as connection:
            await _renew(connection, lane, lease_until=real_now())
        return count

    async def _send(self, line: Line, signing_secrets: Sequence[str], due: Sequence[Delivery]) -> list[Tried]:
        """Send one after the other, until one fails or it is time to write down what came of them."""
        until, tried = time.monotonic() + BATCH_SECONDS, list[Tried]()
        for delivery in due:
            async with self._slots.lent():
                attempt = await line.send(signing_secrets, event_id=delivery.event_id, body=delivery.payload)
            WEBHOOK_DELIVERY_SECONDS.labels(outcome=attempt.outcome.value).observe(attempt.milliseconds / 1000)
            tried.append(Tried(delivery, attempt))
            if attempt.outcome is not AttemptOutcome.DELIVERED or self._closing or time.monotonic() >= until:
                break
        return tried

    async def _wrapped_key(self, lane: Lane) -> bytes | None:
        """The merchant's key; where it was destroyed nothing can be signed any more, and the endpoint ends."""
        async with self._database.transaction() as connection:
            try:
                return await wrapped_key(connection, lane.account_id)
            except DataKeyDestroyed:
                await _renew(connection, lane, status="disabled", disabled_reason="data_key_destroyed")
                return None

    def _secrets(self, lane: Lane, key: bytes) -> list[str]:
        sealed = [lane.sealed_secret]
        if lane.sealed_previous_secret is not None and (lane.previous_secret_until or real_now()) > real_now():
            sealed.append(lane.sealed_previous_secret)
        context = secret_context(lane.endpoint_id)
        return [self._vault.open(key, text, context=context).decode() for text in sealed]

    async def _record(self, lane: Lane, key: bytes, tried: Sequence[Tried]) -> Lane | None:
        """Write what came of the attempts, of which all but the last delivered.

        Returns:
            the lane with its new lease, or None where it is to be left alone.
        """
        now = real_now()
        delivery, attempt = tried[-1]
        if len(tried) > 1:
            lane = msgspec.structs.replace(lane, failing_since=None)
        values = _lane_after(lane, delivery, attempt, now, lease=self._lease)
        async with self._database.transaction() as connection:
            await connection.execute(_ADD_ATTEMPT, [self._attempt_row(lane, key, *one) for one in tried])
            delivered = [one.delivery_id for one, its in tried if its.outcome is AttemptOutcome.DELIVERED]
            if delivered:
                await connection.execute(
                    _MARK_DELIVERED, {"of_book": lane.book_id, "delivered": delivered, "delivered_at": now}
                )
            if attempt.outcome is not AttemptOutcome.DELIVERED:
                await _mark_failed(connection, lane, delivery, attempt, now)
            if not await _renew(connection, lane, **values):
                return None
            if values.get("status") == "disabled":
                await _announce_disabled(connection, lane)
        stays = "status" not in values and "paused_until" not in values
        return msgspec.structs.replace(lane, **values) if stays else None

    def _attempt_row(self, lane: Lane, key: bytes, delivery: Delivery, attempt: Attempt) -> dict[str, Any]:
        sealed = None
        if attempt.response_body:
            sealed = self._vault.seal(key, attempt.response_body, context=body_context(delivery.delivery_id))
        return {
            "book_id": lane.book_id,
            "delivery_id": delivery.delivery_id,
            "attempt": delivery.attempts + 1,
            "attempted_at": attempt.attempted_at,
            "outcome": attempt.outcome.value,
            "milliseconds": attempt.milliseconds,
            "response_status": attempt.response_status,
            "sealed_response_body": sealed,
        }


async def resend(
    connection: AsyncConnection, *, book_id: int, account_id: str, endpoint_id: str, event_id: str
) -> bool:
    """Send an event to an endpoint (again), now, under its own `webhook-id`; false where the account lacks either."""
    endpoint = await endpoints.find(connection, book_id=book_id, account_id=account_id, endpoint_id=endpoint_id)
    event = await events.find(connection, book_id=book_id, account_id=account_id, event_id=event_id)
    if endpoint is None or event is None:
        return False
    again = {"state": "pending", "attempts_since_asked": 0, "next_attempt_at": real_now(), "delivered_at": None}
    c = webhook_deliveries.c
    await connection.execute(
        insert(webhook_deliveries)
        .values(
            book_id=book_id,
            delivery_id=new_id("whd", livemode=endpoint.livemode),
            endpoint_id=endpoint_id,
            event_id=event_id,
            attempts=0,
            **again,
        )
        .on_conflict_do_update(index_elements=[c.book_id, c.endpoint_id, c.event_id], set_=again)
    )
    return True


def wait_seconds(attempts: int, retry_after_seconds: int | None = None, *, jitter_permille: int) -> int | None:
    """How long to wait after so many attempts; None = it was the last.

    Args:
        attempts: how many were made.
        retry_after_seconds: what the endpoint asked for; it lengthens the wait, up to a day, and never shortens it.
        jitter_permille: what is added, in thousandths.
    """
    if attempts >= len(SCHEDULE_SECONDS):
        return None
    asked = min(retry_after_seconds or 0, RETRY_AFTER_SECONDS_MAX)
    return max(SCHEDULE_SECONDS[attempts] * (1000 + jitter_permille) // 1000, asked)


def body_context(delivery_id: str) -> str:
    """What the sealing of a kept response body is bound to."""
    return f"webhook_response:{delivery_id}"


_CLAIM: Final = sql("""
    WITH claimable AS (
        SELECT book_id, endpoint_id FROM gateway.webhook_endpoints AS endpoint
        WHERE status = 'enabled' AND (lease_until IS NULL OR lease_until <= :now)
          AND (paused_until IS NULL OR paused_until <= :now)
          AND EXISTS (
            SELECT FROM gateway.webhook_deliveries AS delivery
            WHERE delivery.book_id = endpoint.book_id AND delivery.endpoint_id = endpoint.endpoint_id
              AND delivery.state = 'pending' AND delivery.next_attempt_at <= :now)
        ORDER BY greatest(coalesce(lease_until, to_timestamp(0)), paused_until)
          + make_interval(secs => CASE WHEN failing_since IS NULL THEN 0 ELSE :failing_wait_seconds END)
        LIMIT :limit FOR UPDATE SKIP LOCKED)
    UPDATE gateway.webhook_endpoints AS endpoint SET lease_until = :lease_until, paused_until = NULL
    FROM claimable
    WHERE (endpoint.book_id, endpoint.endpoint_id) = (claimable.book_id, claimable.endpoint_id)
    RETURNING endpoint.book_id, endpoint.endpoint_id, endpoint.account_id, endpoint.livemode, endpoint.url,
      endpoint.sealed_secret, endpoint.sealed_previous_secret, endpoint.previous_secret_until,
      endpoint.failing_since, endpoint.lease_until
""")


_OLDEST_DUE: Final = sql("""
    SELECT min(delivery.next_attempt_at) FROM gateway.webhook_deliveries AS delivery
    JOIN gateway.webhook_endpoints AS endpoint USING (book_id, endpoint_id)
    WHERE delivery.state = 'pending' AND endpoint.status = 'enabled'
""")


async def _lag_seconds(connection: AsyncConnection) -> int:
    """How long the oldest delivery that is due has been waiting, in whole seconds."""
    oldest = (await connection.execute(_OLDEST_DUE)).scalar_one()
    return 0 if oldest is None else max(int((real_now() - oldest).total_seconds()), 0)


async def _claim(connection: AsyncConnection, *, limit: int, lease: timedelta) -> list[Lane]:
    now = real_now()
    parameters = {"now": now, "lease_until": now + lease, "limit": limit, "failing_wait_seconds": FAILING_WAIT_SECONDS}
    rows = await connection.execute(_CLAIM, parameters)
    return [Lane(**row) for row in rows.mappings()]


_d, _e = webhook_deliveries.c, events_table.c
_NEXT_DUE: Final = (
    select(_d.delivery_id, _d.event_id, _d.attempts, _d.attempts_since_asked, _e.payload)
    .join(events_table, (_e.book_id == _d.book_id) & (_e.event_id == _d.event_id))
    .where(
        _d.book_id == bindparam("book_id"),
        _d.endpoint_id == bindparam("endpoint_id"),
        _d.state == "pending",
        _d.next_attempt_at <= bindparam("now"),
    )
    .order_by(_d.delivery_id)
    .limit(BATCH)
)


async def _next_due(connection: AsyncConnection, lane: Lane) -> list[Delivery]:
    parameters = {"book_id": lane.book_id, "endpoint_id": lane.endpoint_id, "now": real_now()}
    return [Delivery(**row) for row in (await connection.execute(_NEXT_DUE, parameters)).mappings()]


_ADD_ATTEMPT: Final = insert(webhook_delivery_attempts).on_conflict_do_nothing()
_MARK_DELIVERED: Final = (
    update(webhook_deliveries)
    .where(
        webhook_deliveries.c.book_id == bindparam("of_book"),
        webhook_deliveries.c.delivery_id == any_(cast(bindparam("delivered"), ARRAY(Text))),
    )
    .values(
        attempts=webhook_deliveries.c.attempts + 1,
        attempts_since_asked=webhook_deliveries.c.attempts_since_asked + 1,
        state="delivered",
        delivered_at=bindparam("delivered_at"),
    )
)


async def _mark_failed(
    connection: AsyncConnection, lane: Lane, delivery: Delivery, attempt: Attempt, now: datetime
) -> None:
    values: dict[str, Any] = {
        "attempts": delivery.attempts + 1,
        "attempts_since_asked": delivery.attempts_since_asked + 1,
    }
    wait = _wait(delivery, attempt)
    if wait is None:
        values |= {"state": "failed"}
    else:
        values |= {"next_attempt_at": now + timedelta(seconds=wait)}
    c = webhook_deliveries.c
    await connection.execute(
        update(webhook_deliveries)
        .where(c.book_id == lane.book_id, c.delivery_id == delivery.delivery_id)
        .values(values)
    )


def _wait(delivery: Delivery, attempt: Attempt) -> int | None:
    jitter = secrets.randbelow(JITTER_PERMILLE + 1)
    return wait_seconds(delivery.attempts_since_asked + 1, attempt.retry_after_seconds, jitter_permille=jitter)


def _lane_after(lane: Lane, delivery: Delivery, attempt: Attempt, now: datetime, *, lease: timedelta) -> dict[str, Any]:
    """What an attempt changes in the lane's row."""
    if attempt.outcome is AttemptOutcome.DELIVERED:
        return {"failing_since": None, "lease_until": now + lease}
    failing_since = lane.failing_since or now
    if attempt.outcome is AttemptOutcome.GONE:
        return {"failing_since": failing_since, "status": "disabled", "disabled_reason": "gone", "lease_until": now}
    if now - failing_since >= DISABLE_AFTER:
        return {"failing_since": failing_since, "status": "disabled", "disabled_reason": "failing", "lease_until": now}
    if not attempt.endpoint_in_trouble:
        return {"failing_since": failing_since, "lease_until": now + lease}
    step = min(delivery.attempts_since_asked + 1, len(SCHEDULE_SECONDS) - 1)
    asked = min(attempt.retry_after_seconds or 0, RETRY_AFTER_SECONDS_MAX)
    pause = max(min(SCHEDULE_SECONDS[step], PAUSE_SECONDS_MAX), asked)
    return {"failing_since": failing_since, "paused_until": now + timedelta(seconds=pause), "lease_until": now}


async def _renew(connection: AsyncConnection, lane: Lane, **values: Any) -> bool:
    """Change the lane's row if its lease is still ours and nobody switched it off."""
    c = webhook_endpoints.c
    result = await connection.execute(
        update(webhook_endpoints)
        .where(
            c.book_id == lane.book_id,
            c.endpoint_id == lane.endpoint_id,
            c.lease_until == lane.lease_until,
            c.status == "enabled",
        )
        .values(values)
    )
    return result.rowcount == 1


async def _announce_disabled(connection: AsyncConnection, lane: Lane) -> None:
    """Tell the merchant's other endpoints."""
    WEBHOOK_ENDPOINTS_DISABLED.inc()
    endpoint = await endpoints.find(
        connection, book_id=lane.book_id, account_id=lane.account_id, endpoint_id=lane.endpoint_id
    )
    event = events.NewEvent(
        book_id=lane.book_id,
        account_id=lane.account_id,
        livemode=lane.livemode,
        type="webhook_endpoint.disabled",
        object=msgspec.json.encode(endpoint),
        created_at=(await clock_of(connection, lane.book_id)).now(),
    )
    await events.record(connection, [event])
