"""HTTP clients for what the product calls while it serves: providers, merchants' endpoints, the sandbox's callbacks.

aiohttp, because a call through httpx costs ten times as much processor time (benchmarks/README.md). A client follows
no redirect, repeats nothing, remembers no cookie and heeds no proxy of the environment. It asks for answers as they
are and unpacks none: aiohttp takes a packed body that was cut short for one that is empty.
"""

import re
import ssl
from collections.abc import Mapping
from typing import Final

import aiohttp
import certifi
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from yarl import URL

USER_AGENT: Final = "QuickKub/1"
AS_IT_IS: Final = "identity"
KEEP_ALIVE_SECONDS: Final = 5
"""Short, because a server that closes an idle connection while we send on it leaves us with an unknown outcome."""
HEADER_BYTES_MAX: Final = 65_536
HEADERS_MAX: Final = 1_000
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class NotSendable(aiohttp.ClientError):
    """An address or a header that no request can carry."""


NEVER_SENT: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.NonHttpUrlClientError,
    NotSendable,
)
"""Raised before a byte of the request has left: name not resolved, refused, TLS not agreed, no connection free."""


class ConnectionLost(aiohttp.ClientError):
    """The connection ended before there was an answer; the request may have arrived."""


class _Connector(aiohttp.TCPConnector):
    """Lends no connection on which something came while nobody had asked: it would be taken for the next answer."""

    async def _get(self, key: ConnectionKey, traces: list[Trace]) -> Connection | None:
        while (found := await super()._get(key, traces)) is not None:
            if found.protocol is not None and not found.protocol.should_close:
                return found
            found.close()
        return None


class Client:
    """Connections to whatever is called through it; open it inside a running loop and `close` it at the end.

    Args:
        connect_seconds: for a connection of the pool to become free or a new one to be made, TLS included.
        connections_max: at once; 0: any number.
        tls: see `tls_context`.
    """

    def __init__(self, *, connect_seconds: float, connections_max: int = 0, tls: ssl.SSLContext) -> None:
        self._session = aiohttp.ClientSession(
            connector=_Connector(ssl=tls, limit=connections_max, keepalive_timeout=KEEP_ALIVE_SECONDS),
            timeout=aiohttp.ClientTimeout(connect=connect_seconds, sock_connect=connect_seconds),
            headers={"user-agent": USER_AGENT, "accept-encoding": AS_IT_IS},
            cookie_jar=aiohttp.DummyCookieJar(),
            middlewares=(_send_once,),
            auto_decompress=False,
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
            max_headers=HEADERS_MAX,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        server_name: str | None = None,
    ) -> aiohttp.ClientResponse:
        """Send a request and return when the head of the answer is there; the caller reads and closes the rest.

        The caller also limits how long it all may take.

        Args:
            url: sent as it is written, so whoever calls has quoted what needs it.
            server_name: whose certificate is asked for, where the URL holds an address in place of the name.

        Raises:
            NEVER_SENT: nothing has left.
            aiohttp.ClientError: anything may have happened, `ConnectionLost` among others.
        """
        target = _target(url)
        if any(_CONTROL.search(value) for value in headers.values()):
            raise NotSendable("a header holds a control character")
        try:
            return await self._session.request(
                method, target, headers=headers, data=body, allow_redirects=False, server_hostname=server_name
            )
        except UnicodeError as error:  # of a host name that no resolver takes
            raise NotSendable("the host has no name") from error


def _target(url: str) -> URL:
    try:
        target = URL(url, encoded=True)
        is_whole = bool(target.host and target.port)
    except ValueError as error:
        raise NotSendable("not a URL") from error
    if not is_whole:
        raise NotSendable("a URL without host or port")
    return target


def is_packed(response: aiohttp.ClientResponse) -> bool:
    """Whether the body is not what it would be as it is, though that was asked for."""
    named = ",".join(response.headers.getall("content-encoding", ())).split(",")
    return any(name.strip().lower() not in {"", AS_IT_IS} for name in named)


def tls_context() -> ssl.SSLContext:
    """TLS as we speak it: certificates are checked against Mozilla's list, which comes with the product."""
    return ssl.create_default_context(cafile=certifi.where())


async def _send_once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """By itself aiohttp would send GET, PUT and DELETE again when the connection is lost."""
    try:
        return await send(request)
    except NEVER_SENT:
        raise
    except (aiohttp.ClientOSError, aiohttp.ClientConnectionResetError, aiohttp.ServerDisconnectedError) as error:
        raise ConnectionLost(type(error).__name__) from error
