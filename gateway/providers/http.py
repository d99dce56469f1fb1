"""The one HTTP client of the adapters: one connection pool for each base URL, and an honest word for each failure.

What certainly never reached the provider (name not resolved, connection refused, TLS not agreed, no connection free)
is `NotAttempted`; everything that may have reached it (time-out, connection lost, 5xx, more bytes than anyone needs)
is `Unknown`; so is an answer that is packed though it was asked for as it is, for nobody could tell whether it is
whole. Nothing is retried and no redirect is followed. Logs and metrics name the operation and never hold a
query, a header or a body.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlencode

import aiohttp
import msgspec

from gateway.foundation import outgoing, test_faults
from gateway.providers.base import NotAttempted, ProviderAccount, Unknown
from gateway.providers.circuits import CIRCUIT_OPEN, CircuitKey, Circuits

CONNECTIONS_MAX: Final = 50
CONNECT_SECONDS_MAX: Final = 5
ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
"""A day's statement of a large biller fits; a body without end does not."""

_SERVER_ERROR: Final = 500

Observe = Callable[[str, str, str, float], None]
"""Told of every call: provider, operation, outcome (`2xx`, `4xx`, `not_attempted`, `unknown` …), seconds."""

_log = logging.getLogger(__name__)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer below 500, whatever it says. Headers are found in whatever case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class AnswerTooLong(Exception):
    """The body is longer than `ANSWER_BYTES_MAX`."""


def unobserved(provider: str, operation: str, outcome: str, seconds: float) -> None:
    """Observes nothing."""


class ProviderHttp:
    """Sends requests for all adapters; `close` it at the end, or use it as a context.

    Args:
        timeout_seconds: for a whole call, from the wait for a connection to the last byte.
        sandbox_url: where our sandbox lives; a live account never calls it.
        observe: told of every call.
        circuits: keep calls from providers that do not answer; None: all are made.
    """

    def __init__(
        self,
        *,
        timeout_seconds: float,
        sandbox_url: str | None = None,
        observe: Observe = unobserved,
        circuits: Circuits | None = None,
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._sandbox_url = sandbox_url
        self._observe = observe
        self._circuits = circuits
        self._tls = outgoing.tls_context()
        self._clients: dict[str, outgoing.Client] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def send(
        self,
        account: ProviderAccount,
        operation: str,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        parameters: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer | NotAttempted | Unknown:
        """Send one request and read the whole answer.

        Args:
            account: gives the base URL, which may have a path of its own.
            operation: word for logs and metrics.
            method: HTTP method.
            path: below the base URL, ids already quoted.
            headers: credentials and content type.
            parameters: of the query.
            body: raw bytes.
        """
        if account.livemode and self._sandbox_url and account.base_url.startswith(self._sandbox_url):
            return NotAttempted(reason="a live account does not call the sandbox")
        sent = dict(headers)
        if not account.livemode and self._sandbox_url and account.base_url.startswith(self._sandbox_url):
            sent |= test_faults.headers()
        url = account.base_url + path + (f"?{urlencode(parameters)}" if parameters else "")
        circuit = CircuitKey.of(account, operation)
        started = time.monotonic()
        if self._circuits is not None and not await self._circuits.admits(circuit):
            result: Answer | NotAttempted | Unknown = NotAttempted(reason=CIRCUIT_OPEN)
        else:
            result = await self._answer(account.base_url, method, url, sent, body)
            if self._circuits is not None:
                await self._circuits.record(circuit, is_answered=isinstance(result, Answer))
        outcome = f"{result.status // 100}xx" if isinstance(result, Answer) else _word(result)
        seconds = time.monotonic() - started
        self._observe(account.provider, operation, outcome, seconds)
        _log.info(
            "provider call",
            extra={
                "provider": account.provider,
                "provider_account": account.account_id,
                "operation": operation,
                "outcome": outcome,
                "reason": None if isinstance(result, Answer) else result.reason,
                "milliseconds": round(seconds * 1000),
            },
        )
        return result

    async def close(self) -> None:
        """Close every connection."""
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            await client.close()

    async def _answer(
        self, base_url: str, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> Answer | NotAttempted | Unknown:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                response = await self._client(base_url).send(method, url, headers=headers, body=body)
                async with response:
                    content = await _read(response)
        except outgoing.NEVER_SENT as error:
            return NotAttempted(reason=_reason(error))
        except (aiohttp.ClientError, TimeoutError, AnswerTooLong) as error:
            return Unknown(reason=_reason(error))
        if response.status >= _SERVER_ERROR:
            return Unknown(reason=f"http_{response.status}")
        if outgoing.is_packed(response):
            return Unknown(reason="AnswerPacked")
        return Answer(status=response.status, headers=response.headers, body=content)

    def _client(self, base_url: str) -> outgoing.Client:
        if base_url not in self._clients:
            self._clients[base_url] = outgoing.Client(
                # Shorter than the whole call's limit, so that a call that could not begin is known not to have begun.
                connect_seconds=min(CONNECT_SECONDS_MAX, self._timeout_seconds / 3),
                connections_max=CONNECTIONS_MAX,
                tls=self._tls,
            )
        return self._clients[base_url]


async def _read(response: aiohttp.ClientResponse) -> bytes:
    parts, length = [], 0
    async for part in response.content.iter_any():
        length += len(part)
        if length > ANSWER_BYTES_MAX:
            raise AnswerTooLong
        parts.append(part)
    return b"".join(parts)


def _word(result: NotAttempted | Unknown) -> str:
    return "not_attempted" if isinstance(result, NotAttempted) else "unknown"


def _reason(error: Exception) -> str:
    # The class says enough; the message may hold the URL.
    return type(error).__name__
