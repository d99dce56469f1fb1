"""The merchant's webhook endpoint: a small server on loopback that checks every signature and counts every event."""

import asyncio
import contextlib
import hmac
import socket
from collections import Counter
from types import TracebackType
from typing import Any, Final, Self

import uvicorn

from gateway.webhooks.signing import signed_headers

PATH: Final = "/webhooks"


class _Server(uvicorn.Server):
    """uvicorn without signal handlers: signals are the demonstration's business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        """Leave signals as they are."""
        yield


class Receiver:
    """Receives deliveries for as long as the block lasts.

    Attributes:
        secret: of the endpoint, once the API has told it.
        received: event id → how many times it came with a good signature.
        forged: deliveries whose signature was not good.
    """

    def __init__(self) -> None:
        self.secret = ""
        self.received: Counter[str] = Counter()
        self.forged = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(self._answer, interface="asgi3", log_config=None, access_log=False, lifespan="off")
        self._server = _Server(config)
        self._serving: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where deliveries are to be sent."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}{PATH}"

    async def __aenter__(self) -> Self:
        self._serving = asyncio.create_task(self._server.serve(sockets=[self._listener]))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving
        self._listener.close()

    async def _answer(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """204 for a good signature, 400 for any other."""
        assert scope["type"] == "http"
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        good = self._is_good({name.decode(): value.decode() for name, value in scope["headers"]}, body)
        await send({"type": "http.response.start", "status": 204 if good else 400, "headers": []})
        await send({"type": "http.response.body"})

    def _is_good(self, headers: dict[str, str], body: bytes) -> bool:
        event_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        if not timestamp.isdecimal():
            self.forged += 1
            return False
        expected = signed_headers([self.secret], message_id=event_id, timestamp=int(timestamp), body=body)
        if not hmac.compare_digest(expected["webhook-signature"], headers.get("webhook-signature", "")):
            self.forged += 1
            return False
        self.received[event_id] += 1
        return True
