"""One endpoint of fifty hangs: how much later do the others hear of events (the dead one must cost them nothing).

The deliverer runs as a worker runs it. Each event goes to the ten endpoints of an account, the accounts in turn;
latency is from its COMMIT until an endpoint has the request. The sides of a round differ only in whether the fiftieth
endpoint answers.
"""

import asyncio
import gc
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from statistics import median
from typing import Any, Final

import asyncpg
import msgspec

from benchmarks.options import Options
from benchmarks.report import Finding, heading
from benchmarks.rounds import Sample, paired
from benchmarks.server import Database as Addresses
from benchmarks.server import Server
from gateway.foundation.database import Database
from gateway.foundation.encryption import Vault
from gateway.foundation.settings import Settings
from gateway.merchants.data_keys import new_data_key
from gateway.webhooks import endpoints, events
from gateway.webhooks.deliveries import Deliverer
from gateway.webhooks.sending import Sender
from gateway.worker import Loop, repeat

ENDPOINTS: Final = 50
ACCOUNTS: Final = 5
PER_ACCOUNT: Final = ENDPOINTS // ACCOUNTS
BOOK: Final = 1
EVERY_SECONDS: Final = 0.25
SIDE_SECONDS: Final = 8.0
DRAIN_SECONDS: Final = 10.0
P99_RATIO_MAX: Final = 1.2

Measured = tuple[list[Finding], list[dict[str, Any]]]


class _Event(msgspec.Struct):
    created: int
    data: dict[str, Any]


class Receiver:
    """Fifty endpoints by path. Number 0 answers only while `answers` is set."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.heard: list[float] = []
        self.expected = 0
        self.is_complete = asyncio.Event()
        self._sent: dict[str, float] = {}

    def expect(self, count: int, *, hangs: bool) -> None:
        """Begin a side: so many requests of those that answer."""
        self.heard, self.expected = [], count
        self.is_complete.clear()
        if hangs:
            self.answers.clear()
        else:
            self.answers.set()

    def note(self, subject: str) -> None:
        """An event about the subject is written; it is committed next."""
        self._sent[subject] = time.perf_counter()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            now = time.perf_counter()
            path = head.split(b" ", 2)[1]
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
            if path == b"/0":
                await self.answers.wait()
            else:
                subject = msgspec.json.decode(body, type=_Event).data["object"]["id"]
                self.heard.append(now - self._sent[subject])
                if len(self.heard) == self.expected:
                    self.is_complete.set()
            writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


class World(msgspec.Struct, frozen=True, kw_only=True):
    """A running deliverer with its endpoints."""

    database: Database
    superuser_dsn: str
    receiver: Receiver
    next_subject: Callable[[], str]


async def measure(server: Server, options: Options) -> Measured:
    """p99 of the other 49 with a hanging endpoint / without, in each round."""
    heading(f"1 of {ENDPOINTS} endpoints hangs: an event every {EVERY_SECONDS} s, {SIDE_SECONDS:.0f} s a side")
    async with _running(await server.clone("hanging")) as world:
        sides: dict[bool, list[Sample]] = {False: [], True: []}
        await _side(world, hangs=False)
        gc.collect()
        gc.freeze()
        for number in range(options.rounds):
            for hangs in (False, True) if number % 2 else (True, False):
                sides[hangs].append(await _side(world, hangs=hangs))
    p50, p99 = _milliseconds(sides, 0.5), _milliseconds(sides, 0.99)
    for hangs, verb in ((True, "hangs"), (False, "answers")):
        print(f"the 50th {verb:<8} p50 {median(p50[hangs]):,.0f} ms  p99 {median(p99[hangs]):,.0f} ms")
    ratio = paired(p99[True], p99[False])
    finding = Finding(
        goal="–",
        what=f"webhooks: p99 of {ENDPOINTS - 1} endpoints, one more hangs / answers",
        measured=ratio.median,
        floor=P99_RATIO_MAX,
        at_most=True,
        detail=str(ratio),
    )
    figures = [{"hangs": hangs, "p50_ms": p50[hangs], "p99_ms": p99[hangs]} for hangs in (True, False)]
    return [finding], figures


def _milliseconds(sides: Mapping[bool, Sequence[Sample]], share: float) -> dict[bool, list[float]]:
    return {hangs: [sample.quantile_ms(share) for sample in samples] for hangs, samples in sides.items()}


@asynccontextmanager
async def _running(addresses: Addresses) -> AsyncIterator[World]:
    settings, receiver, stop = Settings(), Receiver(), asyncio.Event()
    database, vault = await Database.open(addresses.app_dsn, pool_size=20), Vault(secrets.token_bytes(32))
    listener = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    await _open_endpoints(database, vault, f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}")
    sender = Sender(allow_loopback=True, timeout_seconds=settings.delivery_timeout_seconds)
    deliverer = Deliverer(database, vault, sender)
    loop = asyncio.create_task(repeat(Loop("deliveries", deliverer.run_once, settings.delivery_poll_seconds), stop))
    numbers = iter(range(10**9))
    try:
        yield World(
            database=database,
            superuser_dsn=addresses.superuser_dsn,
            receiver=receiver,
            next_subject=lambda: f"pi_test_{next(numbers)}",
        )
    finally:
        receiver.answers.set()
        stop.set()
        await loop
        await deliverer.close()
        listener.close()
        await database.close()


async def _open_endpoints(database: Database, vault: Vault, url: str) -> None:
    async with database.transaction() as connection:
        for account in range(ACCOUNTS):
            await new_data_key(connection, vault, f"acct_test_{account}")
        for number in range(ENDPOINTS):
            await endpoints.create(
                connection,
                vault,
                account_id=f"acct_test_{number % ACCOUNTS}",
                book_id=BOOK,
                livemode=False,
                url=f"{url}/{number}",
                created_at=datetime.now(UTC),
                allow_loopback=True,
            )


async def _side(world: World, *, hangs: bool) -> Sample:
    """Events at a fixed pace; latencies of all but the endpoint that may hang."""
    receiver, count = world.receiver, int(SIDE_SECONDS / EVERY_SECONDS)
    receiver.expect(count * PER_ACCOUNT - len(range(0, count, ACCOUNTS)), hangs=hangs)
    started = time.perf_counter()
    for number in range(count):
        await asyncio.sleep(max(started + number * EVERY_SECONDS - time.perf_counter(), 0))
        await _happen(world, f"acct_test_{number % ACCOUNTS}")
    async with asyncio.timeout(DRAIN_SECONDS):
        await receiver.is_complete.wait()
    elapsed, heard = time.perf_counter() - started, sorted(receiver.heard)
    receiver.answers.set()
    await asyncio.sleep(2 * EVERY_SECONDS)
    await _forget(world)
    return Sample(items=len(heard), seconds=elapsed, latencies=heard)


async def _happen(world: World, account_id: str) -> None:
    subject = world.next_subject()
    event = events.NewEvent(
        book_id=BOOK,
        account_id=account_id,
        livemode=False,
        type="payment_intent.succeeded",
        object=msgspec.json.encode({"id": subject, "object": "payment_intent"}),
        created_at=datetime.now(UTC),
    )
    async with world.database.transaction() as connection:
        await events.record(connection, [event])
        world.receiver.note(subject)


async def _forget(world: World) -> None:
    """What still waits for the endpoint that hung is dropped, and so is its pause: the next side starts alike."""
    connection = await asyncpg.connect(world.superuser_dsn)
    try:
        await connection.execute("DELETE FROM gateway.webhook_deliveries WHERE state <> 'delivered'")
        await connection.execute(
            "UPDATE gateway.webhook_endpoints SET paused_until = NULL, failing_since = NULL, lease_until = NULL"
        )
    finally:
        await connection.close()
