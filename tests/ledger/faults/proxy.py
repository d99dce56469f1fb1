"""A proxy before PostgreSQL that reads the protocol and cuts the line at a chosen moment of a chosen message."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

SOCKET: Final = ".s.PGSQL.5432"
READ_BYTES: Final = 65_536
HOLDING: Final = "holding"


class Moment(Enum):
    """When the line is cut. The database is right in every case; the client cannot tell them apart."""

    BEFORE_IT_IS_SENT = "before the server has any of it"
    HALF_SENT = "when the server has half of it"
    HELD = "when the proxy has it, which sends it on when `let_held_go` says so"
    SENT = "when the server has all of it, whatever it makes of it"
    ANSWERED = "when the server has answered, before the client reads it"


class Messages:
    """Cuts one direction of a conversation into messages; the first one of a client has no type byte."""

    def __init__(self, *, from_client: bool) -> None:
        self._waiting = b""
        self._headless = from_client

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """(type, whole message) of everything that is complete by now."""
        self._waiting += data
        while True:
            head = 0 if self._headless else 1
            if len(self._waiting) < head + 4:
                return
            length = head + int.from_bytes(self._waiting[head : head + 4], "big")
            if len(self._waiting) < length:
                return
            message, self._waiting = self._waiting[:length], self._waiting[length:]
            kind, self._headless = (b"" if self._headless else message[:1]), False
            yield kind, message


class CuttingProxy:
    """Listens on a unix socket of its own. `cuts` counts down: while above zero, a line that carries a call of the
    posting function (or, with `at_commit`, a COMMIT) is cut at the `moment`.
    """

    def __init__(self, server_socket: Path) -> None:
        self._server_socket = server_socket
        self._lines: set[asyncio.Task[None]] = set()
        self.moment = Moment.SENT
        self.at_commit = False
        self.cuts = 0
        self.made = 0
        self.released = asyncio.Event()

    async def let_held_go(self) -> None:
        """Send what is held to the server, and return when it has answered or is gone."""
        self.released.set()
        if self._lines:
            await asyncio.wait([each for each in self._lines if each.get_name() == HOLDING], timeout=10)

    def cut(self, times: int, moment: Moment, *, at_commit: bool = False) -> None:
        """Cut the next lines that match."""
        self.cuts, self.moment, self.at_commit, self.made = times, moment, at_commit, 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._lines.add(task)
        try:
            up_reader, up_writer = await asyncio.open_unix_connection(str(self._server_socket))
            await Line(self, reader, writer, up_reader, up_writer).carry()
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._lines.discard(task)

    async def hang_up(self) -> None:
        """End every line."""
        for task in list(self._lines):
            task.cancel()
        if self._lines:
            await asyncio.wait(list(self._lines))

    def takes(self) -> bool:
        """Whether this match is to be cut; counts it."""
        if self.cuts <= 0:
            return False
        self.cuts -= 1
        self.made += 1
        return True


class Line:
    """One conversation."""

    def __init__(
        self,
        proxy: CuttingProxy,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        up_reader: asyncio.StreamReader,
        up_writer: asyncio.StreamWriter,
    ) -> None:
        self._proxy = proxy
        self._reader, self._writer, self._up_reader, self._up_writer = reader, writer, up_reader, up_writer
        self._posting_statements: set[bytes] = set()
        self._cut: Moment | None = None
        self._held = b""

    async def carry(self) -> None:
        try:
            down = asyncio.create_task(self._down())
            with suppress(OSError):
                await self._up()
            if self._cut is Moment.HELD:
                await self._hold()
            if self._cut in {Moment.SENT, Moment.ANSWERED, Moment.HELD}:  # the server goes on, and answers nobody
                await asyncio.wait([down], timeout=30)
            down.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await down
        finally:
            self._writer.transport.abort()
            self._up_writer.transport.abort()

    async def _hold(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.set_name(HOLDING)
        self._writer.transport.abort()
        await self._proxy.released.wait()
        with suppress(OSError):
            self._up_writer.write(self._held)
            await self._up_writer.drain()

    async def _up(self) -> None:
        messages = Messages(from_client=True)
        while data := await self._reader.read(READ_BYTES):
            for kind, message in messages.feed(data):
                if self._cut is None and self._matches(kind, message) and self._proxy.takes():
                    self._cut = self._proxy.moment
                if self._cut is Moment.HELD:
                    self._held += message
                    if kind in {b"S", b"Q"}:
                        return
                    continue
                if self._cut is Moment.BEFORE_IT_IS_SENT:
                    return
                if self._cut is Moment.HALF_SENT:
                    self._up_writer.write(message[: len(message) // 2])
                    await self._up_writer.drain()
                    return
                self._up_writer.write(message)
                if self._cut is Moment.SENT and kind in {b"S", b"Q"}:
                    await self._up_writer.drain()
                    self._writer.transport.abort()
                    return
            await self._up_writer.drain()

    async def _down(self) -> None:
        messages = Messages(from_client=False)
        with suppress(OSError):
            while data := await self._up_reader.read(READ_BYTES):
                if self._cut is None:
                    self._writer.write(data)
                    await self._writer.drain()
                    for _ in messages.feed(data):
                        pass
                elif any(kind == b"Z" for kind, _ in messages.feed(data)):
                    break
        self._writer.transport.abort()
        self._reader.feed_eof()

    def _matches(self, kind: bytes, message: bytes) -> bool:
        if kind == b"P":
            name, query = message[5:].split(b"\0", 2)[:2]
            if b"ledger.post_" in query:
                self._posting_statements.add(name)
        if self._proxy.at_commit:
            return kind == b"Q" and message[5:].startswith(b"COMMIT")
        return kind == b"B" and message[5:].split(b"\0", 2)[1] in self._posting_statements


@asynccontextmanager
async def proxied(dsn: str, server_folder: Path, folder: Path) -> AsyncIterator[tuple[CuttingProxy, str]]:
    """A proxy before the server of a socket folder, and the address that leads through it."""
    proxy = CuttingProxy(server_folder / SOCKET)
    server = await asyncio.start_unix_server(proxy.serve, str(folder / SOCKET))
    parts = urlsplit(dsn)
    try:
        yield proxy, urlunsplit(parts._replace(query=f"host={quote(str(folder), safe='')}"))
    finally:
        server.close()
        await proxy.hang_up()
        await server.wait_closed()
