"""Deliveries: events sent to endpoints, a lane for each endpoint. `lanes.py` claims them and writes what came of it.

A lane sends one delivery at a time, the oldest that is due; what came of some tens is written together, at the latest
after a second or with the first that failed. Lanes run beside each other, so a dead endpoint delays nobody else: while
an endpoint is waited for, the lane's slot is lent to others; lanes are served in the order in which they were left,
those that failed as if they had been left a minute later. A delivery that waits for its next attempt does **not** block
those behind it: one event that a consumer cannot digest would hold back all others for days, and consumers order by the
object's `version` anyway. What blocks is trouble of the endpoint as a whole (no answer, overload): the lane pauses.

Where all that was due is sent, the lane is left in the very statement that says so; what came meanwhile is for the next
claim, which keeps a little apart from the last one (`Pace`), so that few events cost one lane.

No transaction is open while a request is under way. Whoever dies between sending and marking leaves a lease that
lapses; the deliveries are then sent again, each under the same `webhook-id`.
"""

import math
import secrets
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.clock import real_now
from gateway.foundation.database import Database
from gateway.foundation.encryption import Vault
from gateway.foundation.ids import new_id
from gateway.foundation.metrics import OUTBOX_LAG_SECONDS, WEBHOOK_DELIVERY_SECONDS, WEBHOOK_ENDPOINTS_DISABLED
from gateway.merchants.clocks import clock_of
from gateway.merchants.data_keys import DataKeyDestroyed
from gateway.webhooks import endpoints, events, lanes
from gateway.webhooks.endpoints import secret_context
from gateway.webhooks.lanes import BATCH, BATCH_CLAIMED, Delivery, Lane, LaneAfter, Tried
from gateway.webhooks.sending import Attempt, AttemptOutcome, Line, Sender
from gateway.webhooks.slots import Pace, Slots
from gateway.webhooks.tables import webhook_deliveries

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
LEASE: Final = timedelta(seconds=60)
"""Longer than any attempt; renewed with each."""
BATCH_SECONDS: Final = 1.0
"""How long deliveries are sent before it is written what came of them."""
WAIT_SECONDS: Final = 0.2
LAG_EVERY_SECONDS: Final = 5


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
        self._pace = Pace()
        self._lease = lease
        self._closing = False
        self._lag_measured_at = -math.inf

    async def run_once(self) -> int:
        """Claim lanes with something due and send from them in the background; returns how many attempts ended.

        Slow lanes go on while this returns, so the next call serves the others.
        """
        if time.monotonic() - self._lag_measured_at >= LAG_EVERY_SECONDS:
            self._lag_measured_at = time.monotonic()
            OUTBOX_LAG_SECONDS.set(await lanes.lag_seconds(self._database, now=real_now()))
        await self._pace.next_claim()
        if limit := self._slots.free:
            claimed = await lanes.claim(self._database, now=real_now(), limit=limit, lease=self._lease)
            self._pace.found(len(claimed), limit=limit)
            for lane, due in claimed:
                self._slots.start(self._serve(lane, due))
        return await self._slots.gather(seconds=WAIT_SECONDS)

    async def close(self) -> None:
        """Finish the attempts under way; what is left of their lanes is for the next."""
        self._closing = True
        await self._slots.gather(seconds=None)
        await self._sender.close()

    async def _serve(self, lane: Lane, due: Sequence[Delivery]) -> int:
        until, count = time.monotonic() + LANE_SECONDS, 0
        key, asked_for = lane.wrapped_key, BATCH_CLAIMED
        if key is None:
            # Nothing can be signed for this merchant any more.
            await lanes.switch_off(self._database, lane, reason=DataKeyDestroyed.code)
            return count
        async with self._sender.line(lane.url) as line:
            while due and time.monotonic() < until and not self._closing:
                tried = await self._send(line, lane, key, due)
                count += len(tried)
                kept = await self._record(lane, tried, is_all=len(tried) == len(due) < asked_for)
                if kept is None:
                    return count
                lane, asked_for = kept, BATCH
                due = await lanes.next_due(self._database, lane, now=real_now())
        await lanes.leave(self._database, lane, now=real_now())
        return count

    async def _send(self, line: Line, lane: Lane, key: bytes, due: Sequence[Delivery]) -> list[Tried]:
        """Send one after the other, until one fails or it is time to write down what came of them."""
        signing_secrets = self._secrets(lane, key)
        until, tried = time.monotonic() + BATCH_SECONDS, list[Tried]()
        for delivery in due:
            async with self._slots.lent():
                attempt = await line.send(signing_secrets, event_id=delivery.event_id, body=delivery.payload)
            WEBHOOK_DELIVERY_SECONDS.labels(outcome=attempt.outcome.value).observe(attempt.milliseconds / 1000)
            tried.append(self._tried(delivery, attempt, key))
            if not tried[-1].is_delivered or self._closing or time.monotonic() >= until:
                break
        return tried

    def _secrets(self, lane: Lane, key: bytes) -> list[str]:
        sealed = [lane.sealed_secret]
        if lane.sealed_previous_secret is not None and (lane.previous_secret_until or real_now()) > real_now():
            sealed.append(lane.sealed_previous_secret)
        context = secret_context(lane.endpoint_id)
        return [self._vault.open(key, text, context=context).decode() for text in sealed]

    def _tried(self, delivery: Delivery, attempt: Attempt, key: bytes) -> Tried:
        sealed, wait = None, None
        if attempt.response_body:
            sealed = self._vault.seal(key, attempt.response_body, context=body_context(delivery.delivery_id))
        if attempt.outcome is not AttemptOutcome.DELIVERED:
            jitter = secrets.randbelow(JITTER_PERMILLE + 1)
            wait = wait_seconds(delivery.attempts_since_asked + 1, attempt.retry_after_seconds, jitter_permille=jitter)
        return Tried(
            delivery=delivery,
            attempt=attempt,
            sealed_response_body=sealed,
            next_attempt_at=None if wait is None else real_now() + timedelta(seconds=wait),
        )

    async def _record(self, lane: Lane, tried: Sequence[Tried], *, is_all: bool) -> Lane | None:
        """Write what came of the attempts, of which all but the last delivered.

        Args:
            is_all: nothing else was due; the lane is left in the same breath.

        Returns:
            the lane with its new lease, or None where it is to be left alone.
        """
        now = real_now()
        if len(tried) > 1:
            lane = msgspec.structs.replace(lane, failing_since=None)
        after = _lane_after(lane, tried[-1], now, lease_until=now if is_all else now + self._lease)
        if after.disabled_reason is not None:
            async with self._database.transaction() as connection:
                if await lanes.record(connection, lane, tried, after, now=now):
                    await _announce_disabled(connection, lane)
            return None
        is_ours = await lanes.record(self._database, lane, tried, after, now=now)
        if not is_ours or after.lease_until <= now:
            return None
        return msgspec.structs.replace(lane, lease_until=after.lease_until, failing_since=after.failing_since)


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


def _lane_after(lane: Lane, last: Tried, now: datetime, *, lease_until: datetime) -> LaneAfter:
    """What an attempt makes of the lane; `lease_until`: where it leaves the endpoint as it is."""
    if last.is_delivered:
        return LaneAfter(lease_until=lease_until)
    failing_since = lane.failing_since or now
    if last.attempt.outcome is AttemptOutcome.GONE:
        return LaneAfter(failing_since=failing_since, disabled_reason="gone", lease_until=now)
    if now - failing_since >= DISABLE_AFTER:
        return LaneAfter(failing_since=failing_since, disabled_reason="failing", lease_until=now)
    if not last.attempt.endpoint_in_trouble:
        return LaneAfter(failing_since=failing_since, lease_until=lease_until)
    step = min(last.delivery.attempts_since_asked + 1, len(SCHEDULE_SECONDS) - 1)
    asked = min(last.attempt.retry_after_seconds or 0, RETRY_AFTER_SECONDS_MAX)
    pause = max(min(SCHEDULE_SECONDS[step], PAUSE_SECONDS_MAX), asked)
    return LaneAfter(failing_since=failing_since, paused_until=now + timedelta(seconds=pause), lease_until=now)


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
