"""Kill −9 at random moments while payments run over every provider: nothing acknowledged is lost, nothing is doubled.

Goal: whatever the API, the worker, the sandbox and PostgreSQL were doing when they were killed, the journal is in the
end what the providers' own books are, and what a merchant was told stays true. Method: real processes, started again
by their supervisor; merchants and payers who ask again until they know. The kills are spread over the whole run: each
falls at a random payment of its own stretch, some moments after that began; the seed is shown.
`QUICKKUB_TESTS_LONG=1` plays 5,000 payments.
"""

import asyncio
import contextlib
import itertools
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from itertools import cycle, islice
from typing import Any, Final

import httpx
import pytest
from msgspec.structs import replace

from gateway.bootstrap import Services
from gateway.demo.client import CallFailed, MerchantClient
from gateway.demo.processes import Processes
from gateway.demo.proofs import _captured_by_intent, _received, _received_there, _refunded, _refunded_there, entries_of
from gateway.demo.run import running, with_short_waits
from gateway.foundation.embedded.resolution import resolved
from gateway.foundation.settings import Settings
from gateway.merchants import fee_plans, provider_accounts
from gateway.merchants.accounts import create_account
from gateway.payments.requests import provider_key_of
from gateway.payments.views import ANSWER_LOST_CODE
from gateway.providers.base import Capabilities, Method, RefundRule
from gateway.providers.registry import ADAPTERS
from gateway.sandbox.client import SandboxRefused
from ledger.verification import verify
from tests.demo.test_faults import free_port, kill
from tests.matrix.payers import card_token, open_page

IS_LONG: Final = os.environ.get("QUICKKUB_TESTS_LONG") == "1"
PAYMENTS: Final = 5_000 if IS_LONG else 200
KILLS: Final = 50 if IS_LONG else 12
"""One in each as many-th part of the payments."""
VICTIMS: Final = ("api", "worker", "sandbox", "postgres")
PAUSE_SECONDS: Final = (0.0, 2.0)
"""From the moment at which its payment began to the kill."""
LOOK_SECONDS: Final = 0.05
AT_ONCE: Final = 10
ASK_SECONDS: Final = 0.5
PATIENCE_SECONDS: Final = 240
SHOPPING_SECONDS: Final = 90
LONGER_THAN_A_QR: Final = timedelta(hours=25)
FINAL: Final = frozenset({"succeeded", "expired", "canceled", "conflicted", "requires_payment_method"})
WORLD_SETTINGS: Final = {
    "scb_callback_retry_seconds": 1,
    "omise_callback_retry_seconds": 1,
    "callback_retry_seconds": 1,
}


def is_over(intent: dict[str, Any]) -> bool:
    """Whether a payment has come to its end."""
    return intent["status"] in FINAL and not (intent["last_error"] or {}).get("retryable")


def is_lost(intent: dict[str, Any]) -> bool:
    """Whether the QR was given up because its answer was lost with whoever was killed: it is paid by another try."""
    return (
        intent["status"] == "requires_payment_method" and (intent["last_error"] or {}).get("code") == ANSWER_LOST_CODE
    )


class Shop:
    """One merchant and all of its payers, who do not give up."""

    def __init__(self, services: Services, api: MerchantClient, book_id: int) -> None:
        self.services = services
        self.api = api
        self.book_id = book_id
        self.begun = 0
        self._counted = asyncio.Condition()
        self.told: dict[str, str] = {}
        self.browser = httpx.AsyncClient(base_url=services.settings.sandbox_url, timeout=10, trust_env=False)
        self.open: dict[str, dict[str, Any]] = {}
        self._credentials: dict[str, Any] = {}

    async def learn(self) -> None:
        """What the payers' browsers have to know, before anything is killed."""
        async with self.services.database.read() as connection:
            for adapter in ADAPTERS:
                account = await provider_accounts.for_book(connection, self.services.vault, self.book_id, adapter.name)
                assert account is not None
                self._credentials[adapter.name] = account.credentials

    async def buy(self, number: int, provider: str, able: Capabilities) -> None:
        """One payment to its end, and for some the money back."""
        async with self._counted:
            self.begun += 1
            self._counted.notify_all()
        key, body = f"kill-{number}", await self._body(number, provider, able)
        intent = await self._ask(body, key)
        paid, deadline = 0, time.monotonic() + SHOPPING_SECONDS
        while not is_over(intent):
            if time.monotonic() > deadline:
                # A QR whose text was lost with the answer: nobody can pay it, and it is open until it expires.
                self.open[key] = body
                return
            if intent["status"] == "requires_action":
                paid += 1
                # Whether the payer's phone got through is not known either; every tenth time he tries again.
                if paid % 10 == 1:
                    await open_page(self.browser, intent["next_action"])
                    await self._pay(provider, intent)
            elif is_lost(intent):
                paid = 0
                await self._try_another(intent, body)
            else:
                intent = await self._ask(body, key)
            await asyncio.sleep(ASK_SECONDS)
            intent = await self._read(f"/v1/payment_intents/{intent['id']}")
        self.told[intent["id"]] = intent["status"]
        is_refundable = able.method is Method.CARD and able.refunds is RefundRule.PARTIAL
        if is_refundable and intent["status"] == "succeeded" and number % 2:
            await self._refund(intent, f"{key}-refund")

    async def until_begun(self, count: int) -> None:
        """Wait until so many payments have begun."""
        async with self._counted:
            await self._counted.wait_for(lambda: self.begun >= count)

    async def end_all(self) -> list[dict[str, Any]]:
        """Let what is open expire, and wait until every payment has an end; returns all of them."""
        clock = await self._read("/v1/test/clock")
        to = datetime.fromisoformat(clock["now"]) + LONGER_THAN_A_QR
        await self._patiently(lambda: self.api.post("/v1/test/clock/advance", {"to": to.isoformat()}))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            found = await self.api.all("/v1/payment_intents")
            # One that is lost by now has no payer any more, who would try again.
            waiting = [
                (intent["latest_attempt"], intent["status"])
                for intent in found
                if not (is_over(intent) or is_lost(intent))
            ]
            refunds = await self.api.all("/v1/refunds")
            waiting += [(refund["id"], refund["status"]) for refund in refunds if refund["status"] == "pending"]
            if not waiting:
                return found
            assert time.monotonic() < deadline, f"never came to an end: {waiting}"
            for key, body in self.open.items():
                await self._ask(body, key)
            await asyncio.sleep(ASK_SECONDS)

    async def _body(self, number: int, provider: str, able: Capabilities) -> dict[str, Any]:
        body: dict[str, Any] = {
            "amount": 1_000_00 + number,
            "currency": "thb",
            "payment_method": able.method,
            "provider": provider,
            "merchant_reference": f"ORDER-{number}",
        }
        if able.return_url:
            body["return_url"] = "https://shop.invalid/back"
        if able.banks:
            body["bank"] = able.banks[0]
        while able.needs == "card_token" and "card_token" not in body:
            try:
                body["card_token"] = await card_token(self.browser, provider, self._credentials[provider])
            except AssertionError:
                await asyncio.sleep(ASK_SECONDS)
        return body

    async def _ask(self, body: dict[str, Any], key: str) -> dict[str, Any]:
        try:
            return await self._sent("/v1/payment_intents", body, key)
        except CallFailed as no:
            if "payment_intent" not in no.problem:
                raise
            return await self._read(f"/v1/payment_intents/{no.problem['payment_intent']}")

    async def _try_another(self, intent: dict[str, Any], body: dict[str, Any]) -> None:
        """Another try, by the same way; what became of it is seen in the payment."""
        how = {name: body[name] for name in ("payment_method", "provider")}
        key = f"again-{intent['latest_attempt']['id']}"
        with contextlib.suppress(CallFailed):
            await self._sent(f"/v1/payment_intents/{intent['id']}/confirm", how, key)

    async def _read(self, path: str) -> dict[str, Any]:
        return await self._patiently(lambda: self.api.get(path))

    async def _sent(self, path: str, body: dict[str, Any], key: str) -> dict[str, Any]:
        return await self._patiently(lambda: self.api.post(path, body, key=key))

    async def _patiently(self, call: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        """Call until somebody answers for certain: on a slow machine servers are long in coming back."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return await call()
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise
            except CallFailed as no:
                if no.status < 500 or "payment_intent" in no.problem or time.monotonic() > deadline:
                    raise

    async def _pay(self, provider: str, intent: dict[str, Any]) -> None:
        attempt = intent["latest_attempt"]
        reference = attempt["provider_reference"] or provider_key_of(attempt["id"])
        assert self.services.sandbox is not None
        # Paid already, or nobody there: what became of it is seen in the payment.
        with contextlib.suppress(httpx.HTTPError, SandboxRefused):
            await self.services.sandbox.pay(world=str(self.book_id), provider=provider, reference=reference)

    async def _refund(self, intent: dict[str, Any], key: str) -> None:
        body = {"payment_intent": intent["id"], "amount": intent["amount"]}
        with contextlib.suppress(CallFailed):
            await self._sent("/v1/refunds", body, key)


async def open_shop(services: Services) -> tuple[str, int]:
    """A merchant that may take every method; its key and its book."""
    created = await create_account(
        services.database,
        services.vault,
        name="Kill shop",
        email="kill@shop.invalid",
        actor="tests",
        reason="a test needs it",
        sandbox_url=services.settings.sandbox_url,
        public_url=services.settings.public_url,
        sandbox=services.sandbox,
    )
    priced = {plan.method for plan in fee_plans.DEFAULT_PLANS}
    async with services.database.transaction() as connection:
        for method in {able.method for adapter in ADAPTERS for able in adapter.capabilities} - priced:
            await fee_plans.set_plan(connection, created.account_id, fee_plans.FeePlan(method=method, rate_ppm=20_000))
    assert services.sandbox is not None
    await services.sandbox.configure(world=str(created.test_book_id), settings=WORLD_SETTINGS)
    return created.test_key.secret, created.test_book_id


async def until_all_answer(settings: Settings) -> None:
    """Wait until API and sandbox answer, and with them the database."""
    async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
        for url in (f"{settings.public_url}/health/ready", f"{settings.sandbox_url}/health"):
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    if (await client.get(url)).is_success:
                        break
                await asyncio.sleep(ASK_SECONDS)


def kill_moments(dice: random.Random) -> list[int]:
    """At the beginning of which payment each kill is due: one in each stretch of the run."""
    bounds = [number * PAYMENTS // KILLS for number in range(KILLS + 1)]
    return [dice.randint(first + 1, last) for first, last in itertools.pairwise(bounds)]


async def kill_at_random(
    processes: Processes, settings: Settings, dice: random.Random, shop: Shop, killed: list[tuple[int, str]]
) -> None:
    """One after the other, all over the run; the first four kills take each victim once."""
    first = dice.sample(VICTIMS, len(VICTIMS))
    for moment in kill_moments(dice):
        await shop.until_begun(moment)
        await asyncio.sleep(dice.uniform(*PAUSE_SECONDS))
        victim = first.pop() if first else dice.choice(VICTIMS)
        while True:
            await until_all_answer(settings)
            try:
                if victim == "sandbox":
                    processes.kill(victim)
                else:
                    kill(victim, processes, settings.home)
            except (ProcessLookupError, AssertionError):
                await asyncio.sleep(LOOK_SECONDS)  # It is still on its way back from the last time.
            else:
                break
        killed.append((shop.begun, victim))


@pytest.fixture
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    environment = {
        "QUICKKUB_HOME": str(tmp_path_factory.mktemp("killed")),
        "QUICKKUB_API_PORT": str(free_port()),
        "QUICKKUB_SANDBOX_PORT": str(free_port()),
    }
    short = with_short_waits(Settings.from_environment(environment))
    # A slow machine must not look like a silent provider for ever.
    return replace(short, provider_timeout_seconds=5, idempotency_lease_seconds=15)


@pytest.mark.skipif(not IS_LONG, reason="takes minutes: make test-long")
@pytest.mark.timeout(7_200 if IS_LONG else 900)
async def test_killed_at_random_moments_nothing_is_lost_and_nothing_doubled(settings: Settings) -> None:
    seed = random.randrange(2**32)
    kinds = [(adapter.name, able) for adapter in ADAPTERS for able in adapter.capabilities]
    killed: list[tuple[int, str]] = []
    async with resolved(settings) as whole, running(whole) as (services, processes):
        secret, book_id = await open_shop(services)
        async with MerchantClient(whole.public_url, secret) as api:
            shop = Shop(services, api, book_id)
            await shop.learn()
            gate = asyncio.Semaphore(AT_ONCE)

            async def buy(number: int, kind: tuple[str, Capabilities]) -> None:
                async with gate:
                    await shop.buy(number, *kind)

            killer = asyncio.create_task(kill_at_random(processes, whole, random.Random(seed), shop, killed))
            try:
                async with asyncio.TaskGroup() as group:
                    for number, kind in enumerate(islice(cycle(kinds), PAYMENTS), start=1):
                        group.create_task(buy(number, kind))
                await killer
            finally:
                killer.cancel()
            await until_all_answer(whole)
            found = {intent["id"]: intent for intent in await shop.end_all()}
            assert services.sandbox is not None
            books = await services.sandbox.books(str(book_id))
            await shop.browser.aclose()
        async with services.database.ledger_pool.acquire() as connection:
            entries = await entries_of(connection, book_id)
            report = await verify(connection, book_id)
    sys.stdout.write(f"seed {seed}: killed {killed}, {len(entries)} entries\n")
    assert {victim for _, victim in killed} == set(VICTIMS), f"seed {seed}"
    assert len(killed) == KILLS, f"seed {seed}"
    half = PAYMENTS // 2
    assert [begun > half for begun, _ in killed].count(True) >= KILLS // 2, f"seed {seed}"
    assert [check.name for check in report.checks if not check.passed] == []
    assert len(found) == PAYMENTS
    told = {name: status for name, status in shop.told.items() if status == "succeeded"}
    assert {name: found[name]["status"] for name in told} == told, f"seed {seed}"
    assert _received(entries) == _received_there(books), f"seed {seed}"
    assert +_refunded(entries) == +_refunded_there(books), f"seed {seed}"
    credited = {name: intent["amount"] for name, intent in found.items() if intent["status"] == "succeeded"}
    assert dict(_captured_by_intent(entries)) == credited, f"seed {seed}"
