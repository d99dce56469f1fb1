"""The API over HTTP semantics, on a fresh database and Valkey, with one merchant and one operator."""

import asyncio
from contextlib import asynccontextmanager
from functools import cache
from types import SimpleNamespace

import httpx
import pytest
import redis.asyncio

from gateway.app import app_with
from gateway.foundation.database import Database
from gateway.foundation.settings import Settings
from gateway.merchants import operators
from gateway.merchants.accounts import create_account
from gateway.merchants.clocks import clock_of
from gateway.merchants.known_accounts import KnownAccounts
from gateway.payments.claims import HeldMoney
from gateway.payments.idempotency import IdempotencyStore
from gateway.payments.payment_links import PaymentLinks
from gateway.payments.untried import UntriedIntents
from gateway.sandbox.client import PaidTransaction, SandboxRefused, SandboxUnreachable
from gateway.settlement.refund_claims import RefundClaims
from gateway.webhooks import events
from tests.payments.conftest import VAULT, House


class MemorySandbox:
    """Keeps what it is told; may be switched off."""

    def __init__(self):
        self.offsets = {}
        self.paid = []
        self.faults = []
        self.forged = []
        self.is_reachable = True

    async def move_clock(self, *, world, offset_seconds):
        if not self.is_reachable:
            raise SandboxUnreachable("nobody there")
        if offset_seconds < self.offsets.get(world, 0):
            raise SandboxRefused(409, "clock_goes_forward_only", "the world is further ahead already")
        self.offsets[world] = offset_seconds

    async def add_fault(self, *, world, provider, operation, fault, times, **details):
        if provider not in {"scb", "omise"}:
            raise SandboxRefused(400, "invalid_body", f"{provider!r} is nobody")
        self.faults.append((world, provider, operation, fault, times, details))
        return f"fault_{len(self.faults)}"

    async def forge(self, *, world, provider, reference):
        self.forged.append((world, provider, reference))

    async def pay(self, *, world, provider, reference, **details):
        if not self.is_reachable:
            raise SandboxUnreachable("nobody there")
        if reference in [reference for _, _, reference, _ in self.paid]:
            raise SandboxRefused(409, "paid_already", "this was paid")
        self.paid.append((world, provider, reference, details))
        return [PaidTransaction(transaction_id="txn_1", amount_minor=details.get("amount_minor", 100))]


class Merchant(SimpleNamespace):
    """A merchant's account with ready-made headers for each of its keys."""

    def headers(self, **more):
        return {"Authorization": f"Bearer {self.account.test_key.secret}", **more}

    def money(self, key):
        return self.headers(**{"Idempotency-Key": key})

    def live_headers(self, **more):
        return {"Authorization": f"Bearer {self.account.live_key.secret}", **more}


async def new_merchant(services, email="shop@example.test"):
    account = await create_account(
        services.database,
        services.vault,
        name="Test shop",
        email=email,
        actor="cli:tests",
        reason="a test needs it",
        sandbox_url=services.settings.sandbox_url,
        public_url=services.settings.public_url,
        sandbox=None,
    )
    return Merchant(account=account, account_id=account.account_id, book_id=account.test_book_id)


@pytest.fixture
async def services(database, valkey_url):
    opened = await Database.open(database.app_dsn, pool_size=6)
    valkey = redis.asyncio.from_url(valkey_url)
    house = House(opened)
    idempotency = IdempotencyStore(opened, VAULT, lease_seconds=30)
    untried = UntriedIntents(opened, VAULT, record_events=events.record)
    yield SimpleNamespace(
        settings=Settings.from_environment({}),
        database=opened,
        vault=VAULT,
        redis=valkey,
        sandbox=MemorySandbox(),
        providers=house.providers,
        accounts=KnownAccounts(opened, VAULT),
        intents=house.intents,
        bulk_intents=house.bulk_intents,
        untried_intents=untried,
        refunds=house.refunds,
        held_money=HeldMoney(opened, VAULT, clock_of=clock_of, record_events=events.record),
        accepting=house.accepting,
        refund_claims=RefundClaims(opened, house.ledger, VAULT),
        overrides=house.overrides,
        receipts=house.receipts,
        dispute_acts=house.dispute_acts,
        payment_links=PaymentLinks(opened, VAULT, record_events=events.record),
        disputes=house.disputes,
        idempotency=idempotency,
        ledger=house.ledger,
        house=house,
    )
    await idempotency.close()
    await untried.close()
    await house.close()
    await valkey.aclose()
    await opened.close()


@cache
def _application():
    """One for all tests of the process: building it takes longer than most of them. Its services are the test's own."""
    current = []

    @asynccontextmanager
    async def opened():
        yield current[-1]

    return app_with(opened), current


@pytest.fixture
async def client(services):
    app, current = _application()
    current[:] = [services]
    started, stop = asyncio.Event(), asyncio.Event()

    async def live():
        # One task from start to end, as a server has: a fixture's two halves run in different ones.
        async with app.app.lifespan():
            started.set()
            await stop.wait()

    running = asyncio.create_task(live())
    await started.wait()
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
        yield client
    stop.set()
    await running


@pytest.fixture
async def merchant(services):
    return await new_merchant(services)


@pytest.fixture
async def operator_headers(services):
    async with services.database.transaction() as connection:
        operator_id = await operators.create_operator(connection, services.vault, name="Tester")
        key = await operators.create_key(connection, services.vault, operator_id)
    return {"Authorization": f"Bearer {key.secret}"}


def problem(response, status, code):
    """The problem document of an answer that must be that problem."""
    body = response.json()
    assert (response.status_code, body["code"]) == (status, code), body
    assert response.headers["content-type"] == "application/problem+json"
    assert body["status"] == status
    assert body["request_id"] == response.headers["request-id"]
    assert body["type"] == body["doc_url"]
    assert body["type"].endswith(f"/problems/{code}")
    assert body["instance"] == response.request.url.path
    assert response.headers["quickkub-should-retry"] == str(body["retryable"]).lower()
    return body
