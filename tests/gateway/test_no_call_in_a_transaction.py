"""No network call is made while a transaction is open: a slow provider or endpoint must not hold locks or snapshots.

Goal: over whole payments, a refund, a capture and cancellations, with events delivered. Method: the real services
against a sandbox on loopback; each way into a transaction marks its task, each way to the network looks for the mark.
"""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar

import msgspec
import pytest

from gateway.app import app_with
from gateway.bootstrap import open_services
from gateway.demo.client import MerchantClient
from gateway.demo.payers import Payers
from gateway.demo.receiver import Receiver
from gateway.demo.traffic import Shop
from gateway.foundation.database import Database
from gateway.foundation.settings import Settings
from gateway.merchants import provider_accounts
from gateway.merchants.accounts import create_account
from gateway.providers.http import ProviderHttp
from gateway.sandbox.app import create_app as sandbox_app
from gateway.webhooks.sending import Line
from tests.sandbox.conftest import CARD, CONTROL_KEY, serving

WAIT_SECONDS = 20
_open = ContextVar("open_transactions", default=())


class Calls:
    """The network calls that were made, and those of them that were made inside a transaction."""

    def __init__(self):
        self.made = []
        self.inside = []

    def note(self, name):
        self.made.append(name)
        if _open.get():
            self.inside.append((name, _open.get()))


@pytest.fixture
def calls(monkeypatch):
    found = Calls()

    def marking(name):
        plain = getattr(Database, name)

        @asynccontextmanager
        async def marked(self):
            async with plain(self) as connection:
                token = _open.set((*_open.get(), name))
                try:
                    yield connection
                finally:
                    _open.reset(token)

        monkeypatch.setattr(Database, name, marked)

    def looking(kind, name_of):
        plain = kind.send

        async def looked(self, *arguments, **details):
            found.note(name_of(*arguments))
            return await plain(self, *arguments, **details)

        monkeypatch.setattr(kind, "send", looked)

    for name in ("transaction", "read", "snapshot"):
        marking(name)
    looking(ProviderHttp, lambda account, operation, *_: f"{account.provider} {operation}")
    looking(Line, lambda *_: "webhook")
    return found


@asynccontextmanager
async def running(database, valkey_url):
    """Services, and a shop's side of them, with API and sandbox served on loopback."""
    async with AsyncExitStack() as stack:
        settings = Settings(
            database_url=database.app_dsn,
            sandbox_database_url=database.sandbox_dsn,
            redis_url=valkey_url,
            master_key=bytes(32),
            sandbox_control_key=CONTROL_KEY,
            sandbox_url="http://sandbox.test",
        )
        sandbox_url = await stack.enter_async_context(serving(sandbox_app(settings)))
        settings = msgspec.structs.replace(settings, sandbox_url=sandbox_url)
        services = await stack.enter_async_context(open_services(settings))

        @asynccontextmanager
        async def opened():
            yield services

        public_url = await stack.enter_async_context(serving(app_with(opened)))
        created = await create_account(
            services.database,
            services.vault,
            name="Shop",
            email="shop@example.test",
            actor="test",
            reason="a test needs it",
            sandbox_url=sandbox_url,
            public_url=public_url,
            sandbox=services.sandbox,
        )
        api = await stack.enter_async_context(MerchantClient(public_url, created.test_key.secret))
        async with services.database.read() as connection:
            omise = await provider_accounts.for_book(connection, services.vault, created.test_book_id, "omise")
        yield (
            services,
            Shop(
                api=api,
                sandbox=services.sandbox,
                world=str(created.test_book_id),
                payers=Payers(
                    sandbox=services.sandbox,
                    sandbox_url=sandbox_url,
                    world=str(created.test_book_id),
                    credentials={"omise": omise.credentials},
                ),
            ),
        )


async def until(services, shop, intent_id, status):
    """The worker's inbox at work until the payment has that status."""
    async with asyncio.timeout(WAIT_SECONDS):
        while (await shop.api.get(f"/v1/payment_intents/{intent_id}"))["status"] != status:
            if not await services.inbox.run_once():
                await asyncio.sleep(0.05)


async def test_no_network_call_is_made_while_a_transaction_is_open(database, valkey_url, calls):
    async with running(database, valkey_url) as (services, shop), Receiver() as receiver:
        endpoint = await shop.api.post("/v1/webhook_endpoints", {"url": receiver.url, "description": "test"})
        receiver.secret = endpoint["secret"]
        qr = {"amount": 1_000_00, "currency": "thb", "payment_method": "promptpay", "provider": "scb"}
        paid = await shop.api.post("/v1/payment_intents", qr)
        await shop.sandbox.pay(world=shop.world, provider="scb", reference=paid["next_action"]["qr_data"])
        await until(services, shop, paid["id"], "succeeded")

        async def card(**how):
            token = await shop.payers._card_token("omise", CARD["number"])
            body = {"amount": 500_00, "currency": "thb", "payment_method": "card", "card_token": token, **how}
            return await shop.api.post("/v1/payment_intents", body)

        charged = await card()
        assert charged["status"] == "succeeded"
        await shop.api.post("/v1/refunds", {"payment_intent": charged["id"], "amount": 100_00})
        held = await card(capture_method="manual")
        assert (await shop.api.post(f"/v1/payment_intents/{held['id']}/capture", {}))["status"] == "succeeded"
        given_up = await card(capture_method="manual")
        assert (await shop.api.post(f"/v1/payment_intents/{given_up['id']}/cancel", {}))["status"] == "canceled"
        later = await shop.api.post("/v1/payment_intents", {"amount": 5_00, "currency": "thb", "confirm": False})
        assert later["status"] == "requires_payment_method"
        while await services.deliverer.run_once():
            pass
        assert receiver.received
    assert calls.inside == []
    assert "webhook" in calls.made
    # Asked, proved by inquiry, charged, refunded, captured, given up: nothing of it went another way.
    assert len(set(calls.made)) > 5, set(calls.made)
