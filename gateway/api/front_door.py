"""Around every request, also those that find no address: its id, its log line, its metric, its security headers."""

import logging
import time
from typing import Final

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from gateway.foundation.ids import new_id
from gateway.foundation.logs import bind, get_logger
from gateway.foundation.metrics import HTTP_REQUEST_SECONDS

REQUEST_ID_HEADER: Final = "Request-Id"

_SECURITY_HEADERS: Final = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "strict-transport-security": "max-age=31536000",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_SERVER_ERROR: Final = 500
_UNMATCHED: Final = "unmatched"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_log = get_logger("quickkub.http")


def request_id_of(scope: Scope) -> str:
    """The `req_…` id of the request."""
    request_id: str = scope["state"]["request_id"]
    return request_id


class FrontDoor:
    """Wraps the application; passes everything but HTTP requests through."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != ScopeType.HTTP:
            await self.app(scope, receive, send)
            return
        request_id = new_id("req", livemode=True)
        # The server's dictionary is shared by all requests; each gets its own with what belongs to it alone.
        scope["state"] = {**scope.get("state", {}), "request_id": request_id}
        status = _SERVER_ERROR
        extra = [(name.encode(), value.encode()) for name, value in _SECURITY_HEADERS.items()]
        extra.append((REQUEST_ID_HEADER.lower().encode(), request_id.encode()))

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(pair for pair in extra if pair[0] not in present)]
            await send(message)

        started = time.perf_counter()
        with bind(request_id=request_id):
            try:
                await self.app(scope, receive, send_with_headers)
            finally:
                seconds = time.perf_counter() - started
                route = scope.get("path_template") or _UNMATCHED
                # Labels are closed lists: a caller that invents methods or paths must not make series.
                method = scope["method"] if scope["method"] in _METHODS else "other"
                HTTP_REQUEST_SECONDS.labels(route, method, str(status)).observe(seconds)
                level = logging.WARNING if status >= _SERVER_ERROR else logging.INFO
                # The template, not the path: paths of callbacks hold their token.
                line = {"route": route, "method": method, "status": status, "seconds": round(seconds, 4)}
                _log.log(level, "request", extra=line)
