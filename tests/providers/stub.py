"""A tiny HTTP server on loopback that answers from a script, also with answers no honest server gives."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from gateway.providers.base import ProviderAccount
from tests import truemoney_keys


class Request(msgspec.Struct):
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Raw(msgspec.Struct):
    """Bytes for the wire as they stand; empty = the connection is closed without a word."""

    data: bytes = b""


Reply = Raw | tuple[int, Any] | tuple[int, Any, Mapping[str, str]]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Handler = Callable[[Request], Awaitable[Reply]]


class Stub:
    """What was asked, and at which address."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.requests: list[Request] = []
        self.url = ""

    def paths(self) -> list[str]:
        return [request.path for request in self.requests]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (request := await _read(reader)) is not None:
            self.requests.append(request)
            reply = await self.handler(request)
            if isinstance(reply, Raw):
                writer.write(reply.data)
                return
            writer.write(_rendered(*reply))
            await writer.drain()


async def _read(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    url = urlsplit(target)
    return Request(method, url.path, dict(parse_qsl(url.query)), headers, body)


def _rendered(status: int, body: Any, headers: Mapping[str, str] | None = None) -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Stub", f"content-length: {len(content)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


@asynccontextmanager
async def listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """A server that runs `serve` for each connection; gives its URL and leaves no connection behind."""
    tasks: set[asyncio.Task[None]] = set()

    async def close_after(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(close_after(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[Stub]:
    stub = Stub(handler)
    async with listening(stub.serve) as url:
        stub.url = url
        yield stub


CREDENTIALS = {
    "scb": {
        "application_key": "l7invented",
        "application_secret": "invented-secret",
        "biller_id": "099999999999901",
        "ref3_prefix": "QKB",
    },
    "omise": {
        "public_key": "pkey_test_invented",
        "secret_key": "skey_test_invented",
        "webhook_secret": "cXVpY2trdWItaW52ZW50ZWQtb21pc2Utc2VjcmV0ISE=",
    },
    "truemoney": truemoney_keys.CREDENTIALS,
    "gbprimepay": {
        "public_key": "invented-gbp-public-key-0001",
        "secret_key": "invented-gbp-secret-key-0001",
        "token": "aW52ZW50ZWQvZ2JwK2N1c3RvbWVyIGtleT09",
    },
    "bank": {"account_number": "9990000001", "access_token": "bank_test_invented"},
}


def account_at(url: str, provider: str = "scb", *, livemode: bool = False) -> ProviderAccount:
    return ProviderAccount(
        account_id="pa_test_1",
        book_id=7,
        provider=provider,
        base_url=url,
        callback_url="http://127.0.0.1:1/v1/callbacks/x/y",
        livemode=livemode,
        credentials=CREDENTIALS[provider],
    )
