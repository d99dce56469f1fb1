"""Calls to the gateway: queued in the transaction that causes them, sent afterwards, so that no kill loses one.

SCB repeats up to three times every 12 seconds unless it is answered `resCode` 00; Omise promises no repeat and makes
one. A row is leased while it is on its way: a sender that dies gives it back, and the gateway may hear it twice – as
from the real ones. Signatures carry the real time of each try.
"""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final

import asyncpg
import httpx
import msgspec

from gateway.foundation.clock import real_now
from gateway.foundation.ids import uuid7, uuid_to_text
from gateway.foundation.logs import get_logger
from gateway.sandbox.faults import Fault, FaultKind, strike
from gateway.sandbox.wire import Row
from gateway.sandbox.world import World

POLL_SECONDS: Final = 0.5
TIMEOUT_SECONDS: Final = 10
LEASE: Final = timedelta(seconds=2 * TIMEOUT_SECONDS)
AT_ONCE: Final = 32
ATTEMPTS_MAX: Final = {"scb": 4, "omise": 2}
LATE_SECONDS: Final = 5
"""How late a late callback is, and how long a held one waits for one to overtake it, unless the order says."""
FORGED_KEY: Final = b"not the webhook secret of anybody"

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
    may_be_spoiled: bool = True,
) -> None:
    """Queue a callback in the caller's transaction, spoiled if a fault of operation `callback` is due.

    Args:
        world: locked.
        provider: `scb` or `omise`.
        subject: what it is about; with it the magic amounts know a callback again.
        amount_minor: amount of the payment or refund it is about.
        body: what the provider says.
        forged_body: what a forger would say instead.
        url: where to; None: the account's own.
        may_be_spoiled: false: no fault strikes it.
    """
    target = url or await _callback_url(world, provider)
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
    await _release_held(world, provider)
    if kind is FaultKind.CALLBACK_FORGED:
        await _insert(world, provider, subject, target, forged_body, forged=True)
    held = kind is FaultKind.CALLBACK_REORDERED
    await _insert(world, provider, subject, target, body, delay=delay, held=held)
    if kind is FaultKind.CALLBACK_DUPLICATE:
        await _insert(world, provider, subject, target, body)


async def enqueue_forged(world: World, *, provider: str, subject: str, forged_body: bytes) -> None:
    """Queue a callback about something that never happened."""
    target = await _callback_url(world, provider)
    if target is not None:
        await _insert(world, provider, subject, target, forged_body, forged=True)


def _delay_seconds(fault: Fault | None) -> float:
    if fault is None or fault.kind not in (FaultKind.CALLBACK_LATE, FaultKind.CALLBACK_REORDERED):
        return 0
    return LATE_SECONDS if fault.seconds is None else fault.seconds


async def _callback_url(world: World, provider: str) -> str | None:
    url: str | None = await world.connection.fetchval(
        "SELECT callback_url FROM sandbox.provider_accounts WHERE world = $1 AND provider = $2", world.name, provider
    )
    return url


async def _release_held(world: World, provider: str) -> None:
    """Let held callbacks go right behind the one that is now being queued."""
    await world.connection.execute(
        "UPDATE sandbox.callback_queue SET held = false, due_at = least(due_at, $3) "
        "WHERE world = $1 AND provider = $2 AND held AND state = 'queued'",
        world.name,
        provider,
        real_now() + timedelta(seconds=1),
    )


async def _insert(
    world: World,
    provider: str,
    subject: str,
    url: str,
    body: bytes,
    *,
    delay: timedelta = timedelta(0),
    held: bool = False,
    forged: bool = False,
) -> None:
    settings = world.settings
    retry_seconds = settings.scb_callback_retry_seconds if provider == "scb" else settings.omise_callback_retry_seconds
    await world.connection.execute(
        "INSERT INTO sandbox.callback_queue"
        " (id, world, provider, subject, url, body, forged, held, attempts_max, retry_seconds, due_at, created_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        f"callback_{uuid_to_text(uuid7())}",
        world.name,
        provider,
        subject,
        url,
        body,
        forged,
        held,
        1 if forged else ATTEMPTS_MAX[provider],
        retry_seconds,
        real_now() + delay,
        real_now(),
    )


def omise_headers(webhook_secret: str, body: bytes, *, forged: bool) -> dict[str, str]:
    """The signature headers of an Omise event sent now; a forger does not know the secret."""
    timestamp = str(int(real_now().timestamp()))
    key = FORGED_KEY if forged else base64.b64decode(webhook_secret)
    signature = hmac.new(key, f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return {"Omise-Signature": signature, "Omise-Signature-Timestamp": timestamp}


class CallbackSender:
    """Sends what is queued. One a process; several processes share the queue by leases."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        """`pool` belongs to the caller."""
        self._pool = pool
        self._client = httpx.AsyncClient(timeout=TIMEOUT_SECONDS)
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._sending: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to send, in the background."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop; what is on its way keeps its lease and is sent again after it."""
        tasks = [*self._sending, *([self._task] if self._task else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()

    def wake(self) -> None:
        """Something was queued."""
        self._wake.set()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                claimed = await self._claim(AT_ONCE - len(self._sending))
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                _logger.warning("callbacks wait for the database", extra={"error": type(error).__name__})
                claimed = []
            for row in claimed:
                # Each by itself: a gateway that hangs delays no other callback.
                task = asyncio.create_task(self._send(row))
                self._sending.add(task)
                task.add_done_callback(self._sent)
            if not claimed:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), POLL_SECONDS)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _logger.warning("a callback's outcome was not stored, it goes again", exc_info=task.exception())

    async def _claim(self, count: int) -> Sequence[Row]:
        """Lease what is due, the oldest first."""
        now = real_now()
        rows = await self._pool.fetch(
            "UPDATE sandbox.callback_queue SET due_at = $1, attempts = attempts + 1 WHERE id IN ("
            " SELECT id FROM sandbox.callback_queue WHERE state = 'queued' AND due_at <= $2"
            " ORDER BY due_at, id LIMIT $3 FOR UPDATE SKIP LOCKED)"
            " RETURNING id, world, provider, url, body, forged, attempts, attempts_max, retry_seconds",
            now + LEASE,
            now,
            count,
        )
        return sorted(rows, key=lambda row: str(row["id"]))

    async def _send(self, row: Row) -> None:
        headers = {"content-type": "application/json"}
        if row["provider"] == "omise":
            secret = await self._webhook_secret(row["world"])
            headers |= omise_headers(secret, row["body"], forged=row["forged"])
        status: int | None = None
        answered = b""
        try:
            reply = await self._client.post(row["url"], content=row["body"], headers=headers)
            status, answered = reply.status_code, reply.content
        except httpx.HTTPError as error:
            _logger.info("callback not taken", extra={"provider": row["provider"], "error": type(error).__name__})
        state = "delivered" if _taken(row["provider"], status, answered) else "queued"
        if state == "queued" and row["attempts"] >= row["attempts_max"]:
            state = "failed"
        await self._pool.execute(
            "UPDATE sandbox.callback_queue SET state = $2, last_status = $3, due_at = $4 WHERE id = $1",
            row["id"],
            state,
            status,
            real_now() + timedelta(seconds=row["retry_seconds"]),
        )

    async def _webhook_secret(self, world: str) -> str:
        secret: str = await self._pool.fetchval(
            "SELECT credentials ->> 'webhook_secret' FROM sandbox.provider_accounts "
            "WHERE world = $1 AND provider = 'omise'",
            world,
        )
        return secret


class _ScbReply(msgspec.Struct):
    resCode: str = ""  # noqa: N815 – SCB's own name


def _taken(provider: str, status: int | None, body: bytes) -> bool:
    if status is None or not httpx.codes.is_success(status):
        return False
    if provider == "omise":
        return True
    try:
        return msgspec.json.decode(body, type=_ScbReply).resCode == "00"
    except (msgspec.DecodeError, msgspec.ValidationError):
        return False
