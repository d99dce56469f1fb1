"""A merchant with its own test book on a real database and ledger; only the providers are scripted."""

from collections import Counter
from datetime import timedelta

import msgspec
import pytest

from gateway.foundation.database import Database, driver
from gateway.foundation.encryption import Vault
from gateway.merchants.accounts import create_account
from gateway.merchants.clocks import advance, clock_of
from gateway.merchants.principals import MERCHANT_SCOPES, MerchantPrincipal
from gateway.payments.accepting import Accepting
from gateway.payments.admission import Admission
from gateway.payments.attempts import Attempts
from gateway.payments.authorizations import Authorizations
from gateway.payments.bulk import BulkIntents
from gateway.payments.calls import Calls
from gateway.payments.captures import Captures
from gateway.payments.dispute_acts import DisputeActs
from gateway.payments.dispute_upkeep import DisputeUpkeep
from gateway.payments.disputes import Disputes
from gateway.payments.facts import FactApplier
from gateway.payments.intents import Intents
from gateway.payments.janitor import Janitor
from gateway.payments.refunds import Refunds
from gateway.payments.schedule import Schedule
from gateway.providers.base import FactKind, FactSource, ProviderAccount
from gateway.settlement.overrides import Overrides
from gateway.settlement.payouts import Payouts
from gateway.settlement.receipts import Receipts
from gateway.webhooks import events
from ledger.balances import all_balances
from ledger.chart_of_accounts import AccountKind
from ledger.feed import read_entries
from ledger.posting import Ledger
from tests.payments.scripted_provider import CARD, QR, ScriptedProvider

VAULT = Vault(bytes(range(32)))
LEASE_SECONDS = 30


class Asked(msgspec.Struct):
    """What a scripted provider needs to know of a charge."""

    provider_key: str
    amount_minor: int


class House:
    """The payments room as bootstrap builds it, over scripted providers."""

    def __init__(self, database, *, lease_seconds=LEASE_SECONDS):
        self.database = database
        self.scb = ScriptedProvider("scb", [QR])
        self.omise = ScriptedProvider("omise", [CARD, msgspec.structs.replace(QR, rank=50)])
        self.providers = {"scb": self.scb, "omise": self.omise}
        self.ledger = Ledger(database.ledger_pool)
        self.calls = Calls(self.providers, self._account_of)
        self.schedule = Schedule(first_delay_seconds=10, lease_seconds=lease_seconds)
        self.applier = self.new_applier()
        self.admission = Admission(VAULT, record_events=events.record)
        self.attempts = Attempts(database, self.applier, self.calls, self.schedule, admission=self.admission)
        self.captures = Captures(database, self.applier, self.calls, self.schedule)
        self.intents = Intents(
            database, self.applier, self.calls, self.attempts, self.captures, record_events=events.record
        )

        self.bulk_intents = BulkIntents(database, self.intents, record_events=events.record)
        self.refunds = Refunds(
            database,
            self.ledger,
            self.applier,
            self.calls,
            self.schedule,
            vault=VAULT,
            record_events=events.record,
        )
        self.dispute_upkeep = DisputeUpkeep(
            database,
            VAULT,
            self.applier,
            self.calls,
            schedule=self.schedule,
            clock_of=clock_of,
            record_events=events.record,
        )
        self.disputes = Disputes(
            database, VAULT, self.calls, self.schedule, self.dispute_upkeep, record_events=events.record
        )
        self.overrides = Overrides(database, self.applier, self.calls, Payouts(database, self.ledger))
        self.accepting = Accepting(database, clock_of=clock_of, record_events=events.record)
        self.receipts = Receipts(database, VAULT, self.ledger, self.applier)
        self.dispute_acts = DisputeActs(database, self.applier, clock_of=clock_of)
        self.authorizations = Authorizations(database, self.applier, self.calls, record_events=events.record)
        self.janitor = Janitor(
            database,
            self.applier,
            self.calls,
            self.refunds,
            self.captures,
            authorizations=self.authorizations,
            schedule=self.schedule,
            clock_of=clock_of,
        )

    def new_applier(self):
        return FactApplier(self.database)

    async def _account_of(self, book_id, provider):
        return ProviderAccount(
            account_id="pa_x",
            book_id=book_id,
            provider=provider,
            base_url="http://127.0.0.1",
            callback_url="http://127.0.0.1",
            livemode=False,
            credentials={},
        )

    async def new_merchant(self, name="a shop"):
        created = await create_account(
            self.database,
            VAULT,
            name=name,
            email="shop@example.com",
            actor="test",
            reason="test",
            sandbox_url="http://127.0.0.1",
            public_url="http://127.0.0.1",
            sandbox=None,
        )
        return await self.principal(created.account_id, created.test_book_id)

    async def principal(self, account_id, book_id):
        async with self.database.read() as connection:
            clock = await clock_of(connection, book_id)
        return MerchantPrincipal(
            account_id=account_id,
            book_id=book_id,
            livemode=False,
            key_id="key_x",
            scopes=frozenset(MERCHANT_SCOPES),
            clock=clock,
        )

    async def move_clock(self, principal, **by):
        async with self.database.transaction() as connection:
            moved = await advance(connection, principal.book_id, principal.clock.now() + timedelta(**by))
        return MerchantPrincipal(
            account_id=principal.account_id,
            book_id=principal.book_id,
            livemode=False,
            key_id="key_x",
            scopes=principal.scopes,
            clock=moved,
        )

    async def rows(self, sql, *parameters):
        async with self.database.ledger_pool.acquire() as connection:
            return [dict(row) for row in await connection.fetch(sql, *parameters)]

    async def run(self, sql, *parameters):
        async with self.database.ledger_pool.acquire() as connection:
            await connection.execute(sql, *parameters)

    async def attempt(self, intent_id):
        return (await self.rows("SELECT * FROM gateway.payment_attempts WHERE intent_id = $1", intent_id))[0]

    async def pay(self, principal, intent, provider, *, amount=None, seconds=5, transaction="txn_1", applier=None):
        """The payer pays; the provider tells us by callback."""
        fact = await self.paid_fact(intent, provider, amount=amount, seconds=seconds, transaction=transaction)
        return await (applier or self.applier).apply(fact, book_id=principal.book_id)

    async def paid_fact(self, intent, provider, *, amount=None, seconds=5, transaction="txn_1", kind=FactKind.CAPTURED):
        attempt = await self.attempt(intent.id)
        asked = Asked(provider_key=attempt["provider_key"], amount_minor=intent.amount)
        return provider.fact(
            asked,
            kind,
            intent.created_at + timedelta(seconds=seconds),
            transaction=transaction,
            amount=amount,
            source=FactSource.CALLBACK,
        )

    async def make_due(self):
        """As if every question's time had come and nobody was on it."""
        await self.end_leases()
        for table in ("payment_attempts", "refunds"):
            await self.run(f"UPDATE gateway.{table} SET due_at = created_at WHERE due_at IS NOT NULL")

    async def end_leases(self):
        """As if every lease's holder had died and its time was over."""
        await self.run("UPDATE gateway.payment_attempts SET leased_until = NULL")
        await self.run("UPDATE gateway.refunds SET leased_until = NULL")

    async def balances(self, principal):
        """Sums of balances by kind of account, in minor units; zeros left out."""
        async with self.database.transaction() as connection:
            await connection.exec_driver_sql("SELECT 1")
            found = await all_balances(driver(connection), principal.book_id)
        by_kind = Counter()
        for balance in found:
            by_kind[AccountKind(balance.account.kind).name.lower()] += balance.balance_minor
        return {name: amount_minor for name, amount_minor in by_kind.items() if amount_minor}

    async def entries(self, principal):
        """Names of the entries' kinds in order."""
        async with self.database.transaction() as connection:
            await connection.exec_driver_sql("SELECT 1")
            found = await read_entries(driver(connection), principal.book_id, after=0, limit=1000)
        return [entry.kind.name.lower() for entry in found]

    async def event_types(self, principal):
        rows = await self.rows(
            "SELECT type FROM gateway.events WHERE book_id = $1 ORDER BY event_id", principal.book_id
        )
        return [row["type"] for row in rows]

    async def close(self):
        await self.applier.close()
        await self.ledger.close()


@pytest.fixture
async def house(database):
    opened = await Database.open(database.app_dsn, pool_size=8)
    house = House(opened)
    yield house
    await house.close()
    await opened.close()


@pytest.fixture
async def merchant(house):
    return await house.new_merchant()
