"""A load generator's HTTP/1.1: one request at a time on a kept-alive connection, parsed no further than it must be.

httpx costs some ten times as much processor time a request, and the generator shares the cores with what it measures.
"""

import asyncio
import json
from collections import deque
from typing import Any, Final, cast

import msgspec

TIMEOUT_SECONDS: Final = 30
CONNECT_AT_ONCE: Final = 50
_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length:"
_ADDRESSES_A_NET: Final = 250


class Answer(msgspec.Struct, frozen=True):
    """What came back."""

    status: int
    body: bytes

    def json(self) -> Any:
        """The body read."""
        return msgspec.json.decode(self.body)


def request(method: str, path: str, body: Any = None, *, bearer: str | None = None, key: str | None = None) -> bytes:
    """The bytes of a request; `key` is its Idempotency-Key."""
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "host: bench", f"content-length: {len(content)}"]
    if content:
        lines.append("content-type: application/json")
    if bearer is not None:
        lines.append(f"authorization: Bearer {bearer}")
    if key is not None:
        lines.append(f"idempotency-key: {key}")
    return "\r\n".join(lines).encode() + _HEAD_END + content


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._received = b""
        self._waiting: asyncio.Future[Answer] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one, but does not say so

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(exc or ConnectionResetError("closed before it answered"))

    def data_received(self, data: bytes) -> None:
        self._received += data
        head_end = self._received.find(_HEAD_END)
        if head_end < 0:
            return
        head = self._received[:head_end].lower()
        start = head.find(_LENGTH)
        length = int(head[start + len(_LENGTH) :].partition(b"\r\n")[0]) if start >= 0 else 0
        end = head_end + len(_HEAD_END) + length
        if len(self._received) < end:
            return
        answer = Answer(int(head[9:12]), self._received[end - length : end])
        self._received = self._received[end:]
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(answer)

    async def call(self, content: bytes) -> Answer:
        assert self.transport is not None
        self._waiting = asyncio.get_running_loop().create_future()
        self.transport.write(content)
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                return await self._waiting
        except TimeoutError:
            if self.transport is not None:
                self.transport.abort()
            raise


class Connections:
    """Kept-alive connections to one server, used in turn; one that was closed is made again.

    Args:
        port: on this machine.
        count: how many.
        many_addresses: each comes from an address of its own in 127.0.0.0/8, as many merchants' servers would: the
            API counts requests an address.
    """

    def __init__(self, port: int, count: int, *, many_addresses: bool = False) -> None:
        self._port = port
        self._count = count
        self._many_addresses = many_addresses
        self._free: deque[tuple[int, _Connection | None]] = deque((number, None) for number in range(count))
        self._freed = asyncio.Semaphore(count)
        self.opened = 0

    async def open(self) -> None:
        """Make them all."""
        gate = asyncio.Semaphore(CONNECT_AT_ONCE)

        async def one(number: int) -> tuple[int, _Connection]:
            async with gate:
                return number, await self._connect(number)

        self._free = deque(await asyncio.gather(*(one(number) for number in range(self._count))))

    async def call(self, content: bytes) -> Answer:
        """Send a request on the connection that has been idle longest, and wait for its answer.

        Raises:
            OSError: the connection broke, or the server did not answer in time.
        """
        async with self._freed:
            number, connection = self._free.popleft()
            try:
                if connection is None or connection.transport is None:
                    connection = await self._connect(number)
                return await connection.call(content)
            finally:
                self._free.append((number, connection))

    def close(self) -> None:
        """Let go of all."""
        for _, connection in self._free:
            if connection is not None and connection.transport is not None:
                connection.transport.abort()

    async def _connect(self, number: int) -> _Connection:
        self.opened += 1
        net, host = divmod(number, _ADDRESSES_A_NET)
        source = (f"127.1.{net}.{host + 1}", 0) if self._many_addresses else None
        _, connection = await asyncio.get_running_loop().create_connection(
            _Connection, "127.0.0.1", self._port, local_addr=source
        )
        return connection
