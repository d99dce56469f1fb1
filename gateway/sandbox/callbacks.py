"""Calls to the gateway: queued in the transaction that causes them, sent afterwards, so that no kill loses one.

How often a callback is repeated, how it is signed and what takes it are the provider's own (`CallbackRules`). A row is
leased while it is on its way: a sender that dies gives it back, and the gateway may hear it twice – as from the real
ones. Signatures carry the real time of each try.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Final

import aiohttp
import asyncpg

from gateway.foundation import outgoing
from gateway.foundation.clock import real_now
from gateway.foundation.ids import uuid7, uuid_to_text
from gateway.foundation.logs import get_logger
from gateway.sandbox.faults import Fault, FaultKind, strike
from gateway.sandbox.provider import CallbackRules
from gateway.sandbox.wire import Row
from gateway.sandbox.world import World, settings_of

JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
POLL_SECONDS: Final = 0.5
TIMEOUT_SECONDS: Final = 10
LEASE: Final = timedelta(seconds=2 * TIMEOUT_SECONDS)
AT_ONCE: Final = 32
LATE_SECONDS: Final = 5
"""How late a late callback is, and how long a held one waits for one to overtake it, unless the order says."""

UNREACHABLE: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)

_RELEASE: Final = (
    "UPDATE sandbox.callback_queue SET held = false, due_at = least(due_at, $3) "
    "WHERE world = $1 AND provider = $2 AND held AND state = 'queued'"
)
_QUEUE: Final = (
    "INSERT INTO sandbox.callback_queue"
    " (id, world, provider, subject, url, body, content_type, forged, held, due_at, created_at)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
)
_CLAIM: Final = (
    "WITH claimable AS ("
    " SELECT id, world, provider FROM sandbox.callback_queue WHERE state = 'queued' AND due_at <= $2"
    " ORDER BY due_at, id LIMIT $3 FOR UPDATE SKIP LOCKED)"
    # Only accounts call back, so each has its own.
    " UPDATE sandbox.callback_queue queue SET due_at = $1, attempts = attempts + 1"
    " FROM claimable JOIN sandbox.provider_accounts USING (world, provider) JOIN sandbox.worlds USING (world)"
    " WHERE queue.id = claimable.id"
    " RETURNING queue.id, queue.world, queue.provider, url, body, content_type, forged, attempts, credentials,"
    "  settings::text"
)
_STORE: Final = "UPDATE sandbox.callback_queue SET state = $2, last_status = $3, due_at = $4 WHERE id = $1"

_logger = get_logger(__name__)


async def enqueue(
    world: World,
    *,
    provider: str,
    subject: str,
    amount_minor: int,
    body: bytes,
    forged_body: bytes,
    url: str | None = None,
    content_type: str = JSON,
    may_be_spoiled: bool = True,
) -> None:
    """Queue a callback in the caller's transaction, spoiled if a fault of operation `callback` is due.

    Args:
        world: locked.
        provider: who calls.
        subject: what it is about; with it the magic amounts know a callback again.
        amount_minor: amount of the payment or refund it is about.
        body: what the provider says.
        forged_body: what a forger would say instead.
        url: where to; None: the account's own.
        content_type: of the body.
        may_be_spoiled: false: no fault strikes it.
    """
    target = url or world.callback_url(provider)
    if target is None:
        return
    fault = None
    if may_be_spoiled:
        fault = await strike(
            world, provider=provider, operation="callback", amount_minor=amount_minor, fingerprint=subject
        )
    kind = fault.kind if fault else None
    if kind is FaultKind.CALLBACK_LOST:
        return
    delay = timedelta(seconds=_delay_seconds(fault))
    # Held callbacks go right behind the one that is now being queued.
    world.later(_RELEASE, world.name, provider, real_now() + timedelta(seconds=1))
    if kind is FaultKind.CALLBACK_FORGED:
        _queue(world, provider, subject, target, forged_body, content_type=content_type, forged=True)
    held = kind is FaultKind.CALLBACK_REORDERED
    _queue(world, provider, subject, target, body, content_type=content_type, delay=delay, held=held)
    if held:
        # Now, so that the next one finds it, though it be of the same operation.
        await world.write()
    if kind is FaultKind.CALLBACK_DUPLICATE:
        _queue(world, provider, subject, target, body, content_type=content_type)


async def enqueue_forged(
    world: World, *, provider: str, subject: str, forged_body: bytes, content_type: str = JSON
) -> None:
    """Queue a callback about something that never happened."""
    target = world.callback_url(provider)
    if target is not None:
        _queue(world, provider, subject, target, forged_body, content_type=content_type, forged=True)


def _delay_seconds(fault: Fault | None) -> float:
    if fault is None or fault.kind not in (FaultKind.CALLBACK_LATE, FaultKind.CALLBACK_REORDERED):
        return 0
    return LATE_SECONDS if fault.seconds is None else fault.seconds


def _queue(
    world: World,
    provider: str,
    subject: str,
    url: str,
    body: bytes,
    *,
    content_type: str,
    delay: timedelta = timedelta(0),
    held: bool = False,
    forged: bool = False,
) -> None:
    world.calls_back = True
    world.later(
        _QUEUE,
        f"callback_{uuid_to_text(uuid7())}",
        world.name,
        provider,
        subject,
        url,
        body,
        content_type,
        forged,
        held,
        real_now() + delay,
        real_now(),
    )


class CallbackSender:
    """Sends what is queued. One a process; several processes share the queue by leases."""

    def __init__(self, pool: asyncpg.Pool, rules: Mapping[str, CallbackRules]) -> None:
        """`pool` belongs to the caller; `rules` by provider."""
        self._pool = pool
        self._rules = rules
        self._client = outgoing.Client(connect_seconds=TIMEOUT_SECONDS, tls=outgoing.tls_context())
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self._outcomes: list[tuple[str, str, int | None, datetime]] = []
        self._is_due = True
        """Whether something may be due that nobody has claimed."""

    def start(self) -> None:
        """Begin to send, in the background."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop; what is on its way keeps its lease and is sent again after it."""
        tasks = [*self._sending, *([self._task] if self._task else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(*UNREACHABLE):
            await self._store()
        await self._client.close()

    def wake(self) -> None:
        """Something was queued."""
        self._is_due = True
        self._wake.set()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self._store()
                claimed = await self._claim(AT_ONCE - len(self._sending))
            except UNREACHABLE as error:
                _logger.warning("callbacks wait for the database", extra={"error": type(error).__name__})
                claimed, self._is_due = [], True
            for row in claimed:
                # Each by itself: a gateway that hangs delays no other callback.
                task = asyncio.create_task(self._send(row))
                self._sending.add(task)
                task.add_done_callback(self._sent)
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                self._is_due = True

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _logger.warning("a callback could not be sent, it goes again", exc_info=task.exception())

    async def _store(self) -> None:
        """Store what became of tries; what cannot be stored is stored later."""
        if outcomes := self._outcomes[:]:
            await self._pool.executemany(_STORE, outcomes)
            del self._outcomes[: len(outcomes)]

    async def _claim(self, count: int) -> Sequence[Row]:
        """Lease what is due, the oldest first."""
        if not self._is_due or not count:
            return []
        self._is_due, now = False, real_now()
        rows = await self._pool.fetch(_CLAIM, now + LEASE, now, count)
        self._is_due |= len(rows) == count
        return sorted(rows, key=lambda row: str(row["id"]))

    async def _send(self, row: Row) -> None:
        rules = self._rules[row["provider"]]
        headers = {
            "content-type": row["content_type"],
            **rules.headers(row["credentials"], row["body"], forged=row["forged"]),
        }
        status: int | None = None
        is_taken = False
        try:
            async with (
                asyncio.timeout(TIMEOUT_SECONDS),
                await self._client.send("POST", row["url"], headers=headers, body=row["body"]) as reply,
            ):
                status, content = reply.status, await reply.read()
            is_taken = (
                HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES
                and rules.is_taken(content)
                and rules.is_proved(row["credentials"], reply.headers, content)
            )
        except (aiohttp.ClientError, TimeoutError) as error:
            _logger.info("callback not taken", extra={"provider": row["provider"], "error": type(error).__name__})
        state = "delivered" if is_taken else "queued"
        if state == "queued" and (row["forged"] or row["attempts"] >= rules.attempts_max):
            state = "failed"
        retry_seconds = rules.retry_seconds(settings_of(row["settings"]))
        again_at = real_now() + timedelta(seconds=retry_seconds)
        self._outcomes.append((row["id"], state, status, again_at))
        self._wake.set()
