"""Every way a call can fail, against real sockets: what never left is not attempted, all else is unknown."""

import asyncio
import gzip
import logging
import socket
import zlib

import pytest

from gateway.providers import http
from gateway.providers.base import NotAttempted, Unknown
from gateway.providers.http import Answer, ProviderHttp
from tests.providers.stub import Raw, Reply, Request, account_at, listening, serving


async def _call(url: str, *, timeout_seconds: float = 2, livemode: bool = False, sandbox_url: str | None = None):
    async with ProviderHttp(timeout_seconds=timeout_seconds, sandbox_url=sandbox_url) as client:
        return await client.send(
            account_at(url, livemode=livemode), "charge", "POST", "/charges", headers={"x": "y"}, body=b"{}"
        )


async def _call_replied(reply: Reply, **options):
    async def handler(request: Request) -> Reply:
        return reply

    async with serving(handler) as stub:
        return await _call(stub.url, **options)


def serving_raw(data: bytes):
    async def handler(request: Request) -> Reply:
        return Raw(data)

    return serving(handler)


async def test_answer_is_given_back_whole():
    answer = await _call_replied((201, b'{"a":1}', {"X-Kind": "v"}))
    assert isinstance(answer, Answer)
    assert (answer.status, answer.headers["x-kind"], answer.body) == (201, "v", b'{"a":1}')


async def test_refused_connection_is_not_attempted():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    assert await _call(f"http://127.0.0.1:{port}") == NotAttempted(reason="ClientConnectorError")


async def test_unknown_name_is_not_attempted():
    assert await _call("http://no-such-host.invalid") == NotAttempted(reason="ClientConnectorDNSError")


async def test_tls_that_is_not_agreed_is_not_attempted():
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"this is no TLS\r\n")
        await writer.drain()

    async with listening(plain) as url:
        assert await _call(url.replace("http:", "https:")) == NotAttempted(reason="ClientConnectorSSLError")


async def test_full_pool_is_not_attempted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http, "CONNECTIONS_MAX", 1)
    arrived, release = asyncio.Event(), asyncio.Event()

    async def handler(request: Request) -> Reply:
        arrived.set()
        await release.wait()
        return 200, {}

    async with serving(handler) as stub, ProviderHttp(timeout_seconds=0.6) as client:
        account = account_at(stub.url)
        first = asyncio.create_task(client.send(account, "charge", "GET", "/", headers={}))
        await arrived.wait()
        assert await client.send(account, "charge", "GET", "/", headers={}) == NotAttempted(
            reason="ConnectionTimeoutError"
        )
        release.set()
        assert isinstance(await first, Answer)
        assert len(stub.requests) == 1


async def test_silence_is_unknown():
    async def handler(request: Request) -> Reply:
        await asyncio.sleep(30)
        return 200, {}

    async with serving(handler) as stub:
        result = await _call(stub.url, timeout_seconds=0.1)
        assert isinstance(result, Unknown)
        assert len(stub.requests) == 1


async def test_answer_that_drips_for_ever_is_unknown():
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with listening(drip) as url:
        assert await _call(url, timeout_seconds=0.2) == Unknown(reason="TimeoutError")


@pytest.mark.parametrize(
    "data", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", b"\x16\x03garbage\r\n\r\n"]
)
async def test_connection_lost_after_sending_is_unknown(data: bytes):
    assert isinstance(await _call_replied(Raw(data)), Unknown)


WHOLE = gzip.compress(b'{"status":"paid"}', mtime=0)


@pytest.mark.parametrize(
    ("packing", "body"),
    [("gzip", WHOLE), ("gzip", WHOLE[:12]), ("gzip", b""), ("deflate", zlib.compress(b"{}")[:3]), ("br", b"{}")],
    ids=["whole", "cut", "empty", "deflate", "br"],
)
@pytest.mark.parametrize("is_chunked", [True, False])
async def test_packed_answer_is_unknown_whether_it_is_whole_or_cut_short(packing: str, body: bytes, is_chunked: bool):
    # The framing is whole: nothing but the packed bytes themselves could tell that some are missing.
    length = b"transfer-encoding: chunked" if is_chunked else b"content-length: %d" % len(body)
    chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
    framed = chunk + b"0\r\n\r\n" if is_chunked else body
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: %b\r\n%b\r\n\r\n" % (packing.encode(), length)

    async with serving_raw(head + framed) as stub:
        assert await _call(stub.url) == Unknown(reason="AnswerPacked")
        assert [request.headers["accept-encoding"] for request in stub.requests] == ["identity"]


async def test_answer_that_says_it_is_as_it_is_is_taken():
    answer = await _call_replied((200, b"{}", {"content-encoding": "identity"}))
    assert isinstance(answer, Answer)
    assert answer.body == b"{}"


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_server_error_is_unknown(status: int):
    assert await _call_replied((status, b"oops")) == Unknown(reason=f"http_{status}")


async def test_endless_body_is_unknown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http, "ANSWER_BYTES_MAX", 10)
    assert await _call_replied((200, b"x" * 11)) == Unknown(reason="AnswerTooLong")


async def test_redirect_is_an_answer_and_is_not_followed():
    answer = await _call_replied((302, b"", {"location": "http://127.0.0.1:1/"}))
    assert isinstance(answer, Answer)
    assert answer.status == 302


async def test_live_account_does_not_call_the_sandbox():
    async def handler(request: Request) -> Reply:
        return 200, {}

    async with serving(handler) as stub:
        result = await _call(stub.url + "/scb", livemode=True, sandbox_url=stub.url)
        assert result == NotAttempted(reason="a live account does not call the sandbox")
        assert stub.requests == []


async def test_logs_and_observer_hold_no_secret(caplog: pytest.LogCaptureFixture):
    observed: list[tuple[str, str, str]] = []

    async def handler(request: Request) -> Reply:
        return 404, {"answer": "secret-in-answer"}

    with caplog.at_level(logging.DEBUG, logger="gateway"), caplog.at_level(logging.INFO, logger="aiohttp"):
        async with (
            serving(handler) as stub,
            ProviderHttp(timeout_seconds=2, observe=lambda *call: observed.append(call[:3])) as client,
        ):
            await client.send(
                account_at(stub.url),
                "inquiry",
                "POST",
                "/p",
                headers={"authorization": "secret-in-header"},
                parameters={"ref": "secret-in-query"},
                body=b"secret-in-body",
            )
    assert observed == [("scb", "inquiry", "4xx")]
    lines = [f"{record.getMessage()} {record.__dict__}" for record in caplog.records if record.name != "asyncio"]
    assert any("inquiry" in line for line in lines)
    assert not [line for line in lines if "secret" in line.replace("invented-secret", "")]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
async def test_nothing_is_sent_again_when_the_connection_is_lost(method: str):
    replies = iter([(200, {}), Raw(b"")])

    async def handler(request: Request) -> Reply:
        return next(replies)

    async with serving(handler) as stub, ProviderHttp(timeout_seconds=2) as client:
        account = account_at(stub.url)
        assert isinstance(await client.send(account, "charge", method, "/", headers={}), Answer)
        assert isinstance(await client.send(account, "charge", method, "/", headers={}), Unknown)
        assert len(stub.requests) == 2


async def test_no_cookie_is_kept():
    async def handler(request: Request) -> Reply:
        return 200, b"{}", {"set-cookie": "session=abc; Path=/"}

    async with serving(handler) as stub, ProviderHttp(timeout_seconds=2) as client:
        for _ in range(2):
            await client.send(account_at(stub.url), "charge", "GET", "/", headers={})
        assert [request.headers.get("cookie") for request in stub.requests] == [None, None]


async def test_parameters_are_quoted_once():
    async def handler(request: Request) -> Reply:
        return 200, {}

    async with serving(handler) as stub, ProviderHttp(timeout_seconds=2) as client:
        await client.send(
            account_at(stub.url), "inquiry", "GET", "/a%2Fb", headers={}, parameters={"ref": "a b&c=ก%2F"}
        )
        assert [(request.path, request.query) for request in stub.requests] == [("/a%2Fb", {"ref": "a b&c=ก%2F"})]


async def test_what_comes_when_nobody_asked_is_no_answer():
    async def talkative(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nasked")
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nstray")
            await writer.drain()

    async with listening(talkative) as url, ProviderHttp(timeout_seconds=2) as client:
        for _ in range(3):
            answer = await client.send(account_at(url), "inquiry", "GET", "/", headers={})
            assert isinstance(answer, Answer)
            assert answer.body == b"asked"
            await asyncio.sleep(0.15)


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/x", "http://127.0.0.1:99999", "http://[::1", f"http://{'a' * 70}.example"]
)
async def test_an_address_that_cannot_be_called_is_not_attempted(url: str):
    assert isinstance(await _call(url), NotAttempted)


async def test_a_header_that_would_be_two_is_not_attempted():
    async def handler(request: Request) -> Reply:
        return 200, {}

    async with serving(handler) as stub, ProviderHttp(timeout_seconds=2) as client:
        answer = await client.send(account_at(stub.url), "charge", "POST", "/", headers={"x-key": "a\r\nx-other: b"})
        assert (answer, stub.requests) == (NotAttempted(reason="NotSendable"), [])
