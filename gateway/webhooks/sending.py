"""Attempts to deliver webhooks: the address checked and pinned, the bytes signed, the answer kept short."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Final

import aiohttp
import msgspec

from gateway.foundation import outgoing
from gateway.foundation.clock import real_now
from gateway.webhooks.addresses import AddressRefused, Target, resolve
from gateway.webhooks.signing import signed_headers

TIMEOUT_SECONDS: Final = 15.0
KEPT_BODY_BYTES: Final = 2048
LINES_KEPT_MAX: Final = 200
"""How many lines nobody uses are kept for who comes next; the connection of each for a few seconds only."""
USER_AGENT: Final = "QuickKub-Webhooks/1"
OVERLOADED: Final = {
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}
_CONNECTION_ENDED: Final = (outgoing.ConnectionLost, aiohttp.ClientPayloadError)


class AttemptOutcome(StrEnum):
    """How an attempt ended. Only `delivered` is a success; a redirect is not followed and is `refused`."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    GONE = "gone"
    TIMED_OUT = "timed_out"
    UNREACHABLE = "unreachable"
    NOT_ALLOWED = "not_allowed"


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an attempt.

    Attributes:
        response_body: the first 2 kB; retry_after_seconds: what the endpoint asked for.
    """

    outcome: AttemptOutcome
    attempted_at: datetime
    milliseconds: int
    response_status: int | None = None
    response_body: bytes = b""
    retry_after_seconds: int | None = None

    @property
    def endpoint_in_trouble(self) -> bool:
        """Whether the failure is of the endpoint as a whole, not of this one event."""
        return self.response_status in OVERLOADED or self.outcome in {
            AttemptOutcome.TIMED_OUT,
            AttemptOutcome.UNREACHABLE,
            AttemptOutcome.NOT_ALLOWED,
        }


class _Answer(msgspec.Struct, frozen=True):
    status: int
    retry_after: str
    body: bytes


class Sender:
    """Opens lines to endpoints, and keeps some for who comes next: `close` it at the end, when none is in use.

    Args:
        allow_loopback: endpoints may be on this machine (development).
        timeout_seconds: for a whole attempt.
    """

    def __init__(self, *, allow_loopback: bool, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._allow_loopback = allow_loopback
        self._timeout_seconds = timeout_seconds
        self._tls = outgoing.tls_context()
        self._kept: dict[str, Line] = {}

    @asynccontextmanager
    async def line(self, url: str) -> AsyncIterator["Line"]:
        """A line to the endpoint at this URL: the one that was used last, if nobody else has it now."""
        line = self._kept.pop(url, None) or self._new_line(url)
        try:
            yield line
        finally:
            too_many = [self._kept.pop(url, None)]
            self._kept[url] = line
            if len(self._kept) > LINES_KEPT_MAX:
                too_many.append(self._kept.pop(next(iter(self._kept))))
            for each in too_many:
                if each is not None:
                    await each.close()

    async def close(self) -> None:
        """Close the lines that are kept."""
        while self._kept:
            _, line = self._kept.popitem()
            await line.close()

    def _new_line(self, url: str) -> "Line":
        # One endpoint's alone: a connection made for a host must not serve another host at the same address.
        client = outgoing.Client(connect_seconds=self._timeout_seconds, tls=self._tls)
        return Line(client, url, allow_loopback=self._allow_loopback, timeout_seconds=self._timeout_seconds)


class Line:
    """Sends to one endpoint, one webhook after the other, over one connection as long as the endpoint keeps it."""

    def __init__(self, client: outgoing.Client, url: str, *, allow_loopback: bool, timeout_seconds: float) -> None:
        """See `Sender.line`."""
        self._client = client
        self._url = url
        self._allow_loopback = allow_loopback
        self._timeout_seconds = timeout_seconds
        self._used_at = -math.inf

    async def close(self) -> None:
        """Close its connection."""
        await self._client.close()

    async def send(self, signing_secrets: Sequence[str], *, event_id: str, body: bytes) -> Attempt:
        """Attempt once. Never raises for what a name, a network or an endpoint may do.

        Args:
            signing_secrets: one, or two while the secret rotates.
            event_id: becomes `webhook-id`.
            body: the event's payload.
        """
        attempted_at, started = real_now(), time.monotonic()
        answer: _Answer | AttemptOutcome
        try:
            async with asyncio.timeout(self._timeout_seconds):
                target = await resolve(self._url, allow_loopback=self._allow_loopback)
                headers = signed_headers(
                    signing_secrets, message_id=event_id, timestamp=int(attempted_at.timestamp()), body=body
                )
                answer = await self._post(target, headers, body)
        except AddressRefused:
            answer = AttemptOutcome.NOT_ALLOWED
        except TimeoutError:
            answer = AttemptOutcome.TIMED_OUT
        except (aiohttp.ClientError, OSError, UnicodeError):
            answer = AttemptOutcome.UNREACHABLE
        milliseconds = round((time.monotonic() - started) * 1000)
        if isinstance(answer, AttemptOutcome):
            return Attempt(outcome=answer, attempted_at=attempted_at, milliseconds=milliseconds)
        return Attempt(
            outcome=_outcome(answer.status),
            attempted_at=attempted_at,
            milliseconds=milliseconds,
            response_status=answer.status,
            response_body=answer.body,
            retry_after_seconds=_retry_after(answer.retry_after, attempted_at),
        )

    async def _post(self, target: Target, headers: dict[str, str], body: bytes) -> _Answer:
        sent = {
            **headers,
            "host": target.host,
            "content-type": "application/json",
            "user-agent": USER_AGENT,
            "accept-encoding": "identity",
        }
        if time.monotonic() - self._used_at < outgoing.KEEP_ALIVE_SECONDS:
            try:
                return await self._answer(target, sent, body)
            except _CONNECTION_ENDED:
                # The endpoint may have closed it as we sent, which says nothing of this webhook: over a new one.
                self._used_at = -math.inf
        return await self._answer(target, sent, body)

    async def _answer(self, target: Target, headers: dict[str, str], body: bytes) -> _Answer:
        kept = b""
        async with await self._client.send(
            "POST", target.url, headers=headers, body=body, server_name=target.server_name
        ) as response:
            async for part in response.content.iter_any():
                kept += part
                if len(kept) >= KEPT_BODY_BYTES:
                    break
        self._used_at = time.monotonic()
        return _Answer(response.status, response.headers.get("retry-after", ""), kept[:KEPT_BODY_BYTES])


def _outcome(status: int) -> AttemptOutcome:
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return AttemptOutcome.DELIVERED
    return AttemptOutcome.GONE if status == HTTPStatus.GONE else AttemptOutcome.REFUSED


def _retry_after(text: str, now: datetime) -> int | None:
    """Seconds from a Retry-After header, which holds seconds or an HTTP date; None where it holds neither."""
    if text.isascii() and text.isdigit():
        return int(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return max(round((aware - now).total_seconds()), 0)
