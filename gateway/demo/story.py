"""The demonstration from the first key to the last proof, step by step, each step safe to repeat.

What it has done is kept in `<home>/demo.json` (0600: the test key is in it), so a second start adds nothing and a
start after a crash goes on where the first one was.
"""

import asyncio
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import text as sql

from gateway.bootstrap import Services
from gateway.demo import traffic
from gateway.demo.client import MerchantClient
from gateway.demo.orders import ORDERS, Order, plan
from gateway.demo.payers import Payers
from gateway.demo.proofs import Proof, prove
from gateway.demo.receiver import Receiver
from gateway.demo.traffic import Shop
from gateway.foundation.clock import BANGKOK
from gateway.jobs import Step
from gateway.merchants import fee_plans, provider_accounts
from gateway.merchants.accounts import create_account
from gateway.merchants.clocks import clock_of
from gateway.providers.base import Method
from ledger.business_days import thai_banks

WORLD_SETTINGS: Final = {
    "omise_hold_days": 1,
    "omise_transfer_interval": "daily",
    "omise_transfer_bank_days": 0,
    "scb_callback_retry_seconds": 1,
    "omise_callback_retry_seconds": 1,
    "callback_retry_seconds": 1,
}
"""Omise holds for a day and transfers every day; a lost callback is repeated soon."""
MORNING: Final = time(10, 0)
LIST_PRICE: Final = dict.fromkeys(("truemoney", "rabbit_linepay", "shopeepay", "mobile_banking"), 20000)
"""What the merchant pays for the methods that no standard plan has, in parts per million."""
JOBS_TIMEOUT_SECONDS: Final = 60
EVENTS_TIMEOUT_SECONDS: Final = 30
POLL_SECONDS: Final = 0.2

Say = Callable[[str], None]
"""Shows what is being done."""


class JobsStuck(Exception):
    """Daily jobs did not finish in time."""


class State(msgspec.Struct, kw_only=True):
    """What the demonstration has done so far.

    Attributes:
        opens_on: business date on which the shop opens; paid_on: of the payments; settled_on: of the settlement.
        events: how many events there were; events_heard: how many of them reached the merchant's endpoint.
    """

    account_id: str
    book_id: int
    api_key: str
    orders: int = ORDERS
    opens_on: date | None = None
    paid_on: date | None = None
    settled_on: date | None = None
    events: int = 0
    events_heard: int = 0
    finished: bool = False


class Story:
    """Plays the demonstration on running services."""

    def __init__(self, services: Services, *, orders: int = ORDERS, say: Say) -> None:
        """`say` is called with a line for each step."""
        self._services = services
        self._orders = orders
        self._say = say
        self._path: Path = services.settings.home / "demo.json"
        self._endpoint_id = ""
        self.state: State

    async def begin(self) -> bool:
        """Read what was done, or open the merchant; returns whether everything was done before."""
        if self._path.exists():
            self.state = msgspec.json.decode(self._path.read_bytes(), type=State)
            return self.state.finished
        self._say("opening a merchant in test mode")
        settings = self._services.settings
        created = await create_account(
            self._services.database,
            self._services.vault,
            name="QuickKub Demo Shop",
            email="demo@shop.invalid",
            actor="demo",
            reason="quickkub demo",
            sandbox_url=settings.sandbox_url,
            public_url=settings.public_url,
            sandbox=self._services.sandbox,
        )
        async with self._services.database.transaction() as connection:
            for method, rate_ppm in LIST_PRICE.items():
                plan_of_method = fee_plans.FeePlan(method=Method(method), rate_ppm=rate_ppm)
                await fee_plans.set_plan(connection, created.account_id, plan_of_method)
        self.state = State(
            account_id=created.account_id,
            book_id=created.test_book_id,
            api_key=created.test_key.secret,
            orders=self._orders,
        )
        self._keep()
        return False

    async def shop(self, api: MerchantClient) -> Shop:
        """The merchant's side and the payers' side."""
        assert self._services.sandbox is not None, "the demonstration needs the sandbox"
        async with self._services.database.read() as connection:
            accounts = [
                await provider_accounts.for_book(connection, self._services.vault, self.state.book_id, provider)
                for provider in self._services.providers
            ]
        world = str(self.state.book_id)
        payers = Payers(
            sandbox=self._services.sandbox,
            sandbox_url=self._services.settings.sandbox_url,
            world=world,
            credentials={account.provider: account.credentials for account in accounts if account is not None},
        )
        return Shop(api=api, sandbox=self._services.sandbox, world=world, payers=payers)

    async def listen(self, api: MerchantClient, receiver: Receiver) -> None:
        """Have the events sent to the merchant's endpoint; one of a demonstration that was cut off is switched off."""
        for endpoint in await api.all("/v1/webhook_endpoints"):
            if endpoint["status"] == "enabled":
                await api.post(f"/v1/webhook_endpoints/{endpoint['id']}", {"enabled": False})
        created = await api.post("/v1/webhook_endpoints", {"url": receiver.url, "description": "demo"})
        receiver.secret, self._endpoint_id = created["secret"], created["endpoint"]["id"]

    async def hear_all(self, api: MerchantClient, receiver: Receiver) -> None:
        """Wait until every event has reached the endpoint, at most half a minute, and switch it off."""
        self._say("waiting until the merchant has heard of everything")
        deadline = asyncio.get_running_loop().time() + EVENTS_TIMEOUT_SECONDS
        while True:
            events = {event["id"] for event in await api.all("/v1/events")}
            if events <= set(receiver.received) or asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(POLL_SECONDS)
        self.state.events = len(events)
        self.state.events_heard = len(events & set(receiver.received))
        await api.post(f"/v1/webhook_endpoints/{self._endpoint_id}", {"enabled": False})
        self.state.finished = True
        self._keep()

    async def play(self, shop: Shop, done: Callable[[Order], None]) -> None:
        """All that is not done yet; `done` is called as each order ends."""
        async with Receiver() as receiver:
            await self.listen(shop.api, receiver)
            await self.take_payments(shop, done)
            await self.settle(shop)
            await self.hear_all(shop.api, receiver)

    async def prove(self, shop: Shop) -> list[Proof]:
        """Hold the journal against the providers' own books and against what the merchant was told and heard."""
        async with self._services.database.ledger_pool.acquire() as connection:
            proofs = await prove(
                connection,
                self.state.book_id,
                books=await shop.sandbox.books(shop.world),
                acknowledged=await shop.api.all("/v1/payment_intents"),
            )
        heard = f"{self.state.events_heard} of {self.state.events} events, every signature checked"
        return [
            *proofs,
            Proof(
                name="the merchant heard of everything",
                holds=self.state.events_heard == self.state.events,
                detail=heard,
            ),
        ]

    async def take_payments(self, shop: Shop, done: Callable[[Order], None]) -> None:
        """Make all payments and wait until none is open."""
        if self.state.paid_on is not None:
            return
        await shop.sandbox.configure(world=shop.world, settings=WORLD_SETTINGS)
        await self._open_the_shop(shop)
        await traffic.prepare(shop)
        await traffic.play(shop, plan(self.state.orders), done)
        self._say("waiting until every payment and refund has an end")
        await traffic.settled(shop)
        async with self._services.database.read() as connection:
            clock = await clock_of(connection, self.state.book_id)
        self.state.paid_on = clock.today()
        self._keep()

    async def _open_the_shop(self, shop: Shop) -> None:
        """Wait for a morning: in the evening providers no longer void what was paid on the day."""
        async with self._services.database.read() as connection:
            clock = await clock_of(connection, self.state.book_id)
        if self.state.opens_on is None:
            self.state.opens_on = clock.today() + timedelta(days=1)
            self._keep()
        await self._move_clock(shop, datetime.combine(self.state.opens_on, MORNING, BANGKOK))

    async def settle(self, shop: Shop) -> None:
        """Let a business day pass: statements, reconciliation, settlement, payout, and the bank's word for it."""
        assert self.state.paid_on is not None
        calendar = thai_banks()
        if self.state.settled_on is None:
            settled_on = calendar.add(self.state.paid_on, 1)
            self._say(f"the clock moves to {settled_on}: statements are fetched and reconciled, settlement runs")
            await self._move_clock(shop, datetime.combine(settled_on, MORNING, BANGKOK))
            await self._wait_for_jobs(settled_on, Step.SETTLE)
            self.state.settled_on = settled_on
            self._keep()
        self._say("the clock moves past midnight: the bank's statement says what became of the payout")
        next_day = self.state.settled_on + timedelta(days=1)
        await self._move_clock(shop, datetime.combine(next_day, time(1, 0), BANGKOK))
        await self._wait_for_jobs(self.state.settled_on, Step.CLOSE_DAY)

    async def _move_clock(self, shop: Shop, to: datetime) -> None:
        """Move the book's clock and the sandbox's with it, unless it shows that time already."""
        clock = await shop.api.get("/v1/test/clock")
        if datetime.fromisoformat(clock["now"]) < to:
            await shop.api.post("/v1/test/clock/advance", {"to": to.isoformat()})

    async def _wait_for_jobs(self, period: date, step: Step) -> None:
        """Wait until that job and all before it are done.

        Raises:
            JobsStuck: the message says which job is stuck, and why.
        """
        deadline = asyncio.get_running_loop().time() + JOBS_TIMEOUT_SECONDS
        statement = sql(
            "SELECT job, period, state, last_error FROM gateway.jobs WHERE book_id = :book_id"
            " AND (period, step) <= (:period, :step) ORDER BY period, step"
        )
        parameters = {"book_id": self.state.book_id, "period": period, "step": int(step)}
        while True:
            async with self._services.database.read() as connection:
                rows: list[Any] = list((await connection.execute(statement, parameters)).all())
            reached = any(row.period == period and row.job == step.name.lower() for row in rows)
            open_jobs = [row for row in rows if row.state != "done"]
            if reached and not open_jobs:
                return
            if asyncio.get_running_loop().time() > deadline:
                stuck = [f"{row.job} of {row.period}: {row.last_error or row.state}" for row in open_jobs]
                raise JobsStuck("; ".join(stuck) or f"{step.name.lower()} of {period} was never enqueued")
            await asyncio.sleep(POLL_SECONDS)

    def _keep(self) -> None:
        content = msgspec.json.format(msgspec.json.encode(self.state), indent=1)
        temporary = self._path.with_suffix(".new")
        temporary.touch(mode=0o600)
        temporary.write_bytes(content)
        temporary.replace(self._path)
