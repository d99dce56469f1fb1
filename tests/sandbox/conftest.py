"""A sandbox on loopback, a gateway that keeps what it is told, and a world with all three accounts."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest_asyncio
import uvicorn

from gateway.foundation.settings import Settings
from gateway.sandbox.app import create_app
from gateway.sandbox.client import SandboxControl
from tests import truemoney_keys
from tests.conftest import cloned_database

CONTROL_KEY = "control-key-of-the-tests"
WORLD = "7"
SETTINGS = {"omise_hold_days": 1, "scb_callback_retry_seconds": 1, "omise_callback_retry_seconds": 1}
CREDENTIALS = {
    "scb": {
        "application_key": "l7invented",
        "application_secret": "scb-secret-invented",
        "biller_id": "099999999999901",
        "ref3_prefix": "QKB",
    },
    "omise": {
        "public_key": "pkey_test_invented",
        "secret_key": "skey_test_invented",
        "webhook_secret": base64.b64encode(b"quickkub-invented-omise-secret!!").decode(),
    },
    "truemoney": truemoney_keys.CREDENTIALS,
    "gbprimepay": {
        "public_key": "invented-gbp-public-key-0001",
        "secret_key": "invented-gbp-secret-key-0001",
        "token": "aW52ZW50ZWQvZ2JwK2N1c3RvbWVyIGtleT09",
    },
    "bank": {"account_number": "9990000001", "access_token": "bank_test_invented"},
}
CARD = {
    "name": "TEST PAYER",
    "number": "4242424242424242",
    "expiration_month": 12,
    "expiration_year": 2099,
    "security_code": "123",
}


@contextlib.asynccontextmanager
async def serving(app: Any, lifespan: str = "on") -> AsyncIterator[str]:
    """The application on a free port of loopback; yields its root."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        log_config=None,
        access_log=False,
        lifespan=lifespan,
        timeout_graceful_shutdown=1,
        # A connection that is closed just as a slow machine uses it again is nobody's fault.
        timeout_keep_alive=60,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    loop = asyncio.create_task(server.main_loop())
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await loop
        await server.shutdown()
        # A connection whose answer was still held back is nobody's now; left open, it warns whenever it is collected.
        for connection in list(server.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


class Told(msgspec.Struct, frozen=True):
    """A callback as it arrived."""

    provider: str
    headers: dict[str, str]
    body: bytes

    @property
    def fields(self) -> dict[str, Any]:
        return msgspec.json.decode(self.body)


class FakeGateway:
    """Keeps callbacks. `refusals` counts down: so many are answered 500 first. While it hangs, it answers none; while
    it may not answer, it waits until it may.
    """

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.refusals = 0
        self.hangs = False
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.root = ""
        self._news = asyncio.Condition()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Take `POST /callbacks/{provider}`; plain ASGI, because it starts at once."""
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        async with self._news:
            self.told.append(Told(scope["path"].rpartition("/")[2], headers, body))
            self._news.notify_all()
        if self.hangs:
            await asyncio.sleep(60)
        await self.may_answer.wait()
        refused = self.refusals > 0
        self.refusals -= refused
        await send({"type": "http.response.start", "status": 500 if refused else 200, "headers": []})
        await send({"type": "http.response.body", "body": b'{"resCode":"99"}' if refused else b'{"resCode":"00"}'})

    async def wait_for(self, count: int, seconds: float = 10) -> list[Told]:
        """The callbacks, once there are `count`."""
        async with asyncio.timeout(seconds), self._news:
            await self._news.wait_for(lambda: len(self.told) >= count)
        return self.told


class Sandbox:
    """A running sandbox, seen from outside."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.gateway: FakeGateway
        self.url = ""
        self.control: SandboxControl
        self.http: httpx.AsyncClient
        self._stack = contextlib.AsyncExitStack()

    async def start(self) -> None:
        settings = Settings(
            sandbox_database_url=self.dsn, sandbox_control_key=CONTROL_KEY, sandbox_url="http://sandbox.test"
        )
        self.url = await self._stack.enter_async_context(serving(create_app(settings)))
        self.http = await self._stack.enter_async_context(httpx.AsyncClient(base_url=self.url, timeout=20))
        self.control = await self._stack.enter_async_context(SandboxControl(self.url, CONTROL_KEY))

    async def stop(self) -> None:
        await self._stack.aclose()
        self._stack = contextlib.AsyncExitStack()

    async def register(self, world: str = WORLD, **settings: Any) -> None:
        for provider, credentials in CREDENTIALS.items():
            await self.control.register_account(
                world=world,
                provider=provider,
                credentials=credentials,
                callback_url=f"{self.gateway.root}/callbacks/{provider}",
                settings=settings,
            )

    async def books(self) -> dict[str, Any]:
        return await self.control.books(WORLD)

    async def pass_days(self, days: int) -> None:
        """Move the clock so many days ahead of real time."""
        await self.control.move_clock(world=WORLD, offset_seconds=days * 86_400)

    async def scb(self, method: str, path: str, **request: Any) -> httpx.Response:
        headers = {"resourceOwnerId": "l7invented", "requestUId": "0123456789abcdef", "accept-language": "EN"}
        secret = {"applicationKey": "l7invented", "applicationSecret": "scb-secret-invented"}
        granted = await self.http.post("/scb/v1/oauth/token", json=secret, headers=headers)
        headers["authorization"] = f"Bearer {granted.json()['data']['accessToken']}"
        return await self.http.request(method, f"/scb{path}", headers=headers, **request)

    async def create_qr(self, ref1: str = "QK2026000001", amount: str = "1234.56", **fields: Any) -> httpx.Response:
        body = {
            "qrType": "PP",
            "ppType": "BILLERID",
            "ppId": "099999999999901",
            "amount": amount,
            "ref1": ref1,
            "ref3": "QKB",
        }
        return await self.scb("POST", "/v1/payment/qrcode/create", json={**body, **fields})

    async def inquire(self, ref1: str, day: str) -> httpx.Response:
        parameters = {
            "eventCode": "00300100",
            "transactionDate": day,
            "billerId": "099999999999901",
            "reference1": ref1,
        }
        return await self.scb("GET", "/v1/payment/billpayment/inquiry", params=parameters)

    async def omise(self, method: str, path: str, **request: Any) -> httpx.Response:
        return await self.http.request(method, f"/omise{path}", auth=("skey_test_invented", ""), **request)

    async def token(self, **card: Any) -> httpx.Response:
        return await self.http.post(
            "/omise-vault/tokens", auth=("pkey_test_invented", ""), json={"card": {**CARD, **card}}
        )

    async def charge_card(self, amount: int, number: str = CARD["number"], **fields: Any) -> httpx.Response:
        token = (await self.token(number=number)).json()["id"]
        return await self.omise("POST", "/charges", json={"amount": amount, "currency": "thb", "card": token, **fields})

    async def charge_promptpay(self, amount: int, **fields: Any) -> httpx.Response:
        body = {"amount": amount, "currency": "thb", "source": {"type": "promptpay"}, **fields}
        return await self.omise("POST", "/charges", json=body)

    async def bank(self, method: str, path: str, **request: Any) -> httpx.Response:
        headers = {"authorization": "Bearer bank_test_invented"}
        return await self.http.request(method, f"/bank/v1{path}", headers=headers, **request)


@pytest_asyncio.fixture(loop_scope="session")
async def gateway() -> AsyncIterator[FakeGateway]:
    """The gateway's callback addresses, new ones for each test."""
    fake = FakeGateway()
    async with serving(fake, lifespan="off") as fake.root:
        yield fake


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared(endpoints) -> AsyncIterator[tuple[Sandbox, asyncpg.Connection]]:
    """One running sandbox for all tests of a worker, and the owner's connection that empties it between them."""
    async with cloned_database(endpoints) as clone:
        running = Sandbox(clone.sandbox_dsn)
        owner = await asyncpg.connect(clone.owner_dsn)
        await running.start()
        try:
            yield running, owner
        finally:
            await running.stop()
            await owner.close()


async def _empty(owner: asyncpg.Connection) -> None:
    tables = await owner.fetch(
        "SELECT format('sandbox.%I', tablename) AS name FROM pg_tables WHERE schemaname = $1", "sandbox"
    )
    while True:
        # The running sandbox's clock reads the tables in another order than this locks them.
        with contextlib.suppress(asyncpg.DeadlockDetectedError):
            await owner.execute(f"TRUNCATE {', '.join(table['name'] for table in tables)}")
            return


@pytest_asyncio.fixture(loop_scope="session")
async def sandbox(shared, gateway) -> Sandbox:
    """A sandbox with one world: one day's hold, daily transfers that arrive the next day."""
    running, owner = shared
    await _empty(owner)
    running.http.timeout = httpx.Timeout(20)
    running.gateway = gateway
    await running.register(**SETTINGS)
    return running


@pytest_asyncio.fixture(loop_scope="session")
async def mortal_sandbox(endpoints, gateway) -> AsyncIterator[Sandbox]:
    """A sandbox that nobody else uses, to be stopped and started."""
    async with cloned_database(endpoints) as clone:
        running = Sandbox(clone.sandbox_dsn)
        running.gateway = gateway
        await running.start()
        await running.register(**SETTINGS)
        try:
            yield running
        finally:
            await running.stop()
