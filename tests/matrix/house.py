"""The whole gateway as `bootstrap` builds it, and the whole sandbox, in one process and over HTTP.

The API answers on a port of its own, so that providers call back and merchants ask as in production; the worker's
loops see to inbox, janitor and deliveries. Business time stands where the test puts it: nothing falls due by itself.
"""

import asyncio
import secrets
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, time, timedelta
from functools import partial
from types import TracebackType
from typing import Any, Final, Self
from unittest import mock

import asyncpg
import httpx
import msgspec
from litestar.types import ASGIApp

from gateway.app import app_with
from gateway.bootstrap import Services, open_services
from gateway.foundation.clock import BANGKOK, BookClock, business_date_of, real_now
from gateway.foundation.settings import Settings
from gateway.merchants import clocks, fee_plans, provider_accounts
from gateway.merchants.accounts import create_account
from gateway.payments import janitor
from gateway.providers.base import ProviderAccount
from gateway.sandbox.app import create_app
from gateway.webhooks.slots import Slots
from gateway.worker import Loop, repeat
from tests.conftest import ClonedDatabase
from tests.sandbox.conftest import serving

TIMEOUT_SECONDS: Final = 2.0
"""How long a provider may take."""
HELD_SECONDS: Final = 2.6
"""How long a held answer takes: nobody waits for it."""
SLOW_SECONDS: Final = 0.1
MORNING: Final = time(10, 0)
"""Whatever time it is, a run begins at ten in the morning: before every provider's cut-off."""
WORLD_SETTINGS: Final = {
    "scb_callback_retry_seconds": 1,
    "omise_callback_retry_seconds": 1,
    "callback_retry_seconds": 1,
}
AT_ONCE: Final = 8
"""How much is done at the same moment: the machine's own slowness must not look like a provider's."""
QUIET_SECONDS: Final = 60
POLL_SECONDS: Final = 0.05
LOOP_SECONDS: Final = 0.1
SETTLEMENT_DAYS: Final = 30

_BUSY: Final = """
    SELECT (SELECT count(*) FROM sandbox.callback_queue WHERE state = 'queued')
         + (SELECT count(*) FROM gateway.webhook_inbox WHERE state = 'pending' AND next_attempt_at <= now())
         + (SELECT count(*) FROM gateway.webhook_deliveries WHERE state = 'pending')
         + (SELECT count(*) FROM gateway.payment_attempts a JOIN gateway.book_clocks c USING (book_id)
            WHERE a.due_at <= now() + make_interval(secs => c.offset_seconds))
         + (SELECT count(*) FROM gateway.refunds r JOIN gateway.book_clocks c USING (book_id)
            WHERE r.due_at <= now() + make_interval(secs => c.offset_seconds))
"""
"""What is under way or due at the time that it is."""


class Lane(msgspec.Struct, kw_only=True):
    """A merchant with a test book of its own, and the sandbox's world that belongs to it."""

    book_id: int
    account_id: str
    key: str
    account: ProviderAccount
    offset: timedelta

    @property
    def world(self) -> str:
        """The world's name."""
        return str(self.book_id)

    @property
    def now(self) -> datetime:
        """Business time."""
        return real_now() + self.offset


class Ears:
    """The merchants' endpoint: by object id, the types of the events that came."""

    def __init__(self) -> None:
        self.heard: defaultdict[str, list[str]] = defaultdict(list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        event = msgspec.json.decode(body)
        self.heard[event["data"]["object"]["id"]].append(event["type"])
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})


class House:
    """Everything that runs, and the hands of a test on it."""

    def __init__(self, services: Services, ears: Ears, ears_url: str, owner: asyncpg.Pool) -> None:
        self.services = services
        self.ears = ears
        self.owner = owner
        self._ears_url = ears_url
        settings = services.settings
        self.browser = httpx.AsyncClient(base_url=settings.sandbox_url, timeout=HELD_SECONDS * 10, trust_env=False)
        self._merchant = httpx.AsyncClient(base_url=settings.public_url, timeout=30, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.browser.aclose()
        await self._merchant.aclose()

    @property
    def sandbox(self) -> Any:
        """The sandbox's control interface."""
        assert self.services.sandbox is not None
        return self.services.sandbox

    async def open_lane(self, provider: str, *, rate_ppm: int = 20_000) -> Lane:
        """A new merchant with an account at the provider; its book begins tomorrow morning."""
        created = await create_account(
            self.services.database,
            self.services.vault,
            name="Matrix shop",
            email=f"{secrets.token_hex(4)}@shop.invalid",
            actor="tests",
            reason="a test needs it",
            sandbox_url=self.services.settings.sandbox_url,
            public_url=self.services.settings.public_url,
            sandbox=None,
        )
        async with self.services.database.transaction() as connection:
            # No daily job runs here: what is pending stays so, and refunds are taken from it. Without fees it is enough
            # to give back the only payment of a book.
            for method in {able.method for able in self.services.providers[provider].capabilities}:
                plan = fee_plans.FeePlan(method=method, rate_ppm=rate_ppm, settlement_days=SETTLEMENT_DAYS)
                await fee_plans.set_plan(connection, created.account_id, plan)
            account = await provider_accounts.for_book(connection, self.services.vault, created.test_book_id, provider)
        assert account is not None
        lane = Lane(
            book_id=created.test_book_id,
            account_id=created.account_id,
            key=created.test_key.secret,
            account=account,
            offset=timedelta(0),
        )
        await self.sandbox.register_account(
            world=lane.world,
            provider=provider,
            credentials=dict(account.credentials),
            callback_url=account.callback_url,
            settings=WORLD_SETTINGS,
        )
        await self.owner.execute(
            "UPDATE gateway.accounts SET rate_per_second = 100000, rate_burst = 100000 WHERE account_id = $1",
            lane.account_id,
        )
        tomorrow = business_date_of(real_now()) + timedelta(days=1)
        await self.pass_time(lane, datetime.combine(tomorrow, MORNING, BANGKOK) - real_now())
        status, _ = await self.post(lane, "/v1/webhook_endpoints", {"url": self._ears_url})
        assert status == 201, status
        return lane

    async def pass_time(self, lane: Lane, by: timedelta) -> None:
        """Let business time pass in the world and in the book."""
        # Circuits go by real time: days pass here in no time, and a circuit would be open through all of them.
        self.services.providers._http._circuits._circuits.clear()
        lane.offset = timedelta(seconds=int((lane.offset + by).total_seconds()))
        await self.sandbox.move_clock(world=lane.world, offset_seconds=int(lane.offset.total_seconds()))
        async with self.services.database.transaction() as connection:
            await clocks.set_clock(connection, lane.book_id, BookClock(lane.offset))

    async def get(self, lane: Lane, path: str, **parameters: Any) -> dict[str, Any]:
        """What a merchant reads."""
        answer = await self._merchant.get(path, params=parameters, headers=_authorised(lane))
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text}"
        found: dict[str, Any] = answer.json()
        return found

    async def post(
        self, lane: Lane, path: str, body: Mapping[str, Any] | None = None, *, key: str | None = None
    ) -> tuple[int, dict[str, Any]]:
        """What a merchant asks for: the status and the answer."""
        headers = {**_authorised(lane), "Idempotency-Key": key or secrets.token_hex(8)}
        answer = await self._merchant.post(path, json=body, headers=headers)
        return answer.status_code, answer.json()

    async def until_quiet(self) -> None:
        """Wait until nothing is under way and nothing is due."""
        deadline = asyncio.get_running_loop().time() + QUIET_SECONDS
        while await self.owner.fetchval(_BUSY):
            assert asyncio.get_running_loop().time() < deadline, "the gateway does not come to rest"
            await asyncio.sleep(POLL_SECONDS)


@asynccontextmanager
async def running(database: ClonedDatabase, *, timeout_seconds: float = TIMEOUT_SECONDS) -> AsyncIterator[House]:
    """The gateway and the sandbox on a fresh database, with the worker's loops that payments need.

    Args:
        timeout_seconds: how long a provider may take.
    """
    port = _free_port()
    settings = Settings.from_environment(
        {
            "DATABASE_URL": database.app_dsn,
            "SANDBOX_DATABASE_URL": database.sandbox_dsn,
            "MASTER_KEY": secrets.token_hex(32),
            "SANDBOX_CONTROL_KEY": secrets.token_hex(16),
            "QUICKKUB_SANDBOX_PORT": str(_free_port()),
            "QUICKKUB_PUBLIC_URL": f"http://127.0.0.1:{port}",
            "QUICKKUB_PROVIDER_TIMEOUT_SECONDS": str(timeout_seconds),
            "QUICKKUB_IDEMPOTENCY_LEASE_SECONDS": "8",
        }
    )
    async with AsyncExitStack() as stack:
        sandbox_url = await stack.enter_async_context(serving(create_app(settings)))
        settings = msgspec.structs.replace(settings, sandbox_url=sandbox_url)
        ears = Ears()
        ears_url = await stack.enter_async_context(serving(ears, lifespan="off"))
        services = await stack.enter_async_context(open_services(settings))
        public_url = await stack.enter_async_context(serving(_api_over(services)))
        services = msgspec.structs.replace(services, settings=msgspec.structs.replace(settings, public_url=public_url))
        # Fifty questions at once to one provider are too many for one process that also answers them.
        stack.enter_context(mock.patch.object(janitor, "CLAIM_MAX", AT_ONCE))
        services.inbox._slots = Slots(AT_ONCE)
        stop, tasks = asyncio.Event(), []
        for name, run_once in (
            ("inbox", services.inbox.run_once),
            ("janitor", services.janitor.run_once),
            ("deliveries", services.deliverer.run_once),
        ):
            tasks.append(asyncio.create_task(repeat(Loop(name, run_once, LOOP_SECONDS), stop)))
        owner = await stack.enter_async_context(asyncpg.create_pool(database.superuser_dsn, min_size=1, max_size=2))
        async with House(services, ears, ears_url, owner) as house:
            try:
                yield house
            finally:
                stop.set()
                await asyncio.gather(*tasks)


def _api_over(services: Services) -> ASGIApp:
    return app_with(partial(_opened, services))


@asynccontextmanager
async def _opened(services: Services) -> AsyncIterator[Services]:
    yield services


def _authorised(lane: Lane) -> dict[str, str]:
    return {"Authorization": f"Bearer {lane.key}"}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
