"""The composition root: settings in, services out. The only place that builds things."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Final

import msgspec
from redis.asyncio import Redis

from gateway.foundation.database import Database
from gateway.foundation.encryption import Vault
from gateway.foundation.settings import Settings, SettingsInvalid
from gateway.merchants import clocks, provider_accounts
from gateway.merchants.known_accounts import KnownAccounts
from gateway.payments.accepting import Accepting
from gateway.payments.admission import Admission
from gateway.payments.attempts import Attempts
from gateway.payments.authorizations import Authorizations
from gateway.payments.bulk import BulkIntents
from gateway.payments.calls import Calls
from gateway.payments.captures import Captures
from gateway.payments.claims import HeldMoney
from gateway.payments.dispute_acts import DisputeActs
from gateway.payments.dispute_upkeep import DisputeUpkeep
from gateway.payments.disputes import Disputes
from gateway.payments.facts import FactApplier
from gateway.payments.idempotency import IdempotencyStore
from gateway.payments.intents import Intents
from gateway.payments.janitor import Janitor
from gateway.payments.payment_links import PaymentLinks
from gateway.payments.refunds import Refunds
from gateway.payments.schedule import Schedule
from gateway.payments.untried import UntriedIntents
from gateway.providers.circuit_book import StoredCircuits
from gateway.providers.circuits import Circuits
from gateway.providers.registry import Providers
from gateway.sandbox.client import SandboxControl
from gateway.settlement.confirmations import Confirmations
from gateway.settlement.daily import Daily
from gateway.settlement.overrides import Overrides
from gateway.settlement.receipts import Receipts
from gateway.settlement.refund_claims import RefundClaims
from gateway.settlement.runs import SettlementRun, Sweeper
from gateway.webhooks import events
from gateway.webhooks.deliveries import Deliverer
from gateway.webhooks.inbox import InboxProcessor
from gateway.webhooks.sending import Sender
from ledger.posting import Ledger

LEASE_CALLS: Final = 12
"""A callback may cause a few inquiries, each as long as a provider call may take; nobody else needs it sooner."""
LEASE_REQUESTS: Final = 4
"""A lane shows a sign of life after each request."""


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the API and the worker use, built once a process."""

    settings: Settings
    database: Database
    ledger: Ledger
    vault: Vault
    redis: Redis | None
    providers: Providers
    accounts: KnownAccounts
    sandbox: SandboxControl | None
    applier: FactApplier
    intents: Intents
    bulk_intents: BulkIntents
    untried_intents: UntriedIntents
    refunds: Refunds
    held_money: HeldMoney
    accepting: Accepting
    refund_claims: RefundClaims
    overrides: Overrides
    receipts: Receipts
    payment_links: PaymentLinks
    disputes: Disputes
    dispute_acts: DisputeActs
    dispute_upkeep: DisputeUpkeep
    idempotency: IdempotencyStore
    janitor: Janitor
    inbox: InboxProcessor
    deliverer: Deliverer
    settlement: SettlementRun
    payout_sweeper: Sweeper
    daily: Daily

    async def register_pending(self) -> int:
        """Tell the sandbox of test accounts that it does not know yet; returns how many it took."""
        if self.sandbox is None:
            return 0
        return await provider_accounts.register_pending(
            self.database,
            self.vault,
            self.sandbox,
            sandbox_url=self.settings.sandbox_url,
            public_url=self.settings.public_url,
        )


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """Build the services on resolved settings and close everything at the end.

    Raises:
        SettingsInvalid: an address or key is missing.
    """
    if settings.database_url is None or settings.master_key is None:
        raise SettingsInvalid("DATABASE_URL and MASTER_KEY must be known before services are opened")
    async with AsyncExitStack() as stack:
        database = await Database.open(settings.database_url)
        stack.push_async_callback(database.close)
        ledger = Ledger(database.ledger_pool)
        stack.push_async_callback(ledger.close)
        vault = Vault(settings.master_key)
        redis = Redis.from_url(settings.redis_url) if settings.redis_url else None
        if redis is not None:
            stack.push_async_callback(redis.aclose)
        circuits = Circuits(StoredCircuits(database))
        providers = await stack.enter_async_context(
            Providers(
                timeout_seconds=settings.provider_timeout_seconds,
                sandbox_url=settings.sandbox_url,
                circuits=circuits,
            )
        )
        sandbox = None
        if settings.sandbox_enabled and settings.sandbox_control_key:
            sandbox = await stack.enter_async_context(
                SandboxControl(settings.sandbox_url, settings.sandbox_control_key)
            )
        sender = Sender(
            allow_loopback=settings.allow_loopback_webhooks, timeout_seconds=settings.delivery_timeout_seconds
        )
        yield _build(
            stack=stack,
            settings=settings,
            database=database,
            ledger=ledger,
            vault=vault,
            redis=redis,
            providers=providers,
            circuits=circuits,
            sandbox=sandbox,
            sender=sender,
        )


def _build(
    *,
    stack: AsyncExitStack,
    settings: Settings,
    database: Database,
    ledger: Ledger,
    vault: Vault,
    redis: Redis | None,
    providers: Providers,
    circuits: Circuits,
    sandbox: SandboxControl | None,
    sender: Sender,
) -> Services:
    accounts = KnownAccounts(database, vault)
    applier = FactApplier(database)
    stack.push_async_callback(applier.close)
    calls = Calls(providers, accounts.of_book, circuits)
    schedule = Schedule(
        first_delay_seconds=settings.janitor_first_delay_seconds,
        lease_seconds=settings.idempotency_lease_seconds,
    )
    admission = Admission(vault, record_events=events.record)
    attempts = Attempts(database, applier, calls, schedule, admission=admission)
    captures = Captures(database, applier, calls, schedule)
    intents = Intents(database, applier, calls, attempts, captures, record_events=events.record)
    stack.push_async_callback(intents.close)
    untried_intents = UntriedIntents(database, vault, record_events=events.record)
    stack.push_async_callback(untried_intents.close)
    # Closed before what its operations stand on, so that those under way end well.
    idempotency = IdempotencyStore(database, vault, lease_seconds=settings.idempotency_lease_seconds)
    stack.push_async_callback(idempotency.close)
    refunds = Refunds(database, ledger, applier, calls, schedule, vault=vault, record_events=events.record)
    disputes, dispute_upkeep = _disputes(database, vault, applier, calls, schedule)
    inbox = _inbox(stack, settings, database, vault, accounts=accounts, providers=providers, applier=applier)
    deliverer = _deliverer(stack, settings, database, vault, sender)
    settlement = SettlementRun(database=database, ledger=ledger, vault=vault, bank=providers.bank)
    return Services(
        settings=settings,
        database=database,
        ledger=ledger,
        vault=vault,
        redis=redis,
        providers=providers,
        accounts=accounts,
        sandbox=sandbox,
        applier=applier,
        intents=intents,
        bulk_intents=BulkIntents(database, intents, record_events=events.record),
        untried_intents=untried_intents,
        refunds=refunds,
        held_money=HeldMoney(database, vault, clock_of=clocks.clock_of, record_events=events.record),
        accepting=Accepting(database, clock_of=clocks.clock_of, record_events=events.record),
        refund_claims=settlement.claims.claims,
        overrides=Overrides(database, applier, calls, settlement.payouts),
        receipts=Receipts(database, vault, ledger, applier),
        payment_links=PaymentLinks(database, vault, record_events=events.record),
        disputes=disputes,
        dispute_acts=DisputeActs(database, applier, clock_of=clocks.clock_of),
        dispute_upkeep=dispute_upkeep,
        idempotency=idempotency,
        janitor=_janitor(database, applier, calls, refunds, captures, schedule=schedule),
        inbox=inbox,
        deliverer=deliverer,
        settlement=settlement,
        payout_sweeper=Sweeper(database, settlement),
        daily=_daily(database, ledger, vault, providers=providers, applier=applier, settlement=settlement),
    )


def _janitor(
    database: Database, applier: FactApplier, calls: Calls, refunds: Refunds, captures: Captures, *, schedule: Schedule
) -> Janitor:
    authorizations = Authorizations(database, applier, calls, record_events=events.record)
    return Janitor(
        database,
        applier,
        calls,
        refunds,
        captures,
        authorizations=authorizations,
        schedule=schedule,
        clock_of=clocks.clock_of,
    )


def _daily(
    database: Database,
    ledger: Ledger,
    vault: Vault,
    *,
    providers: Providers,
    applier: FactApplier,
    settlement: SettlementRun,
) -> Daily:
    return Daily(
        database=database,
        ledger=ledger,
        vault=vault,
        providers=providers,
        applier=applier,
        settlement=settlement,
        confirmations=Confirmations(database, settlement.claims),
    )


def _inbox(
    stack: AsyncExitStack,
    settings: Settings,
    database: Database,
    vault: Vault,
    *,
    accounts: KnownAccounts,
    providers: Providers,
    applier: FactApplier,
) -> InboxProcessor:
    lease = timedelta(seconds=LEASE_CALLS * settings.provider_timeout_seconds)
    inbox = InboxProcessor(database, vault, providers, applier, account_of=accounts.of_book, lease=lease)
    stack.push_async_callback(inbox.close)
    return inbox


def _deliverer(
    stack: AsyncExitStack, settings: Settings, database: Database, vault: Vault, sender: Sender
) -> Deliverer:
    lease = timedelta(seconds=LEASE_REQUESTS * settings.delivery_timeout_seconds)
    deliverer = Deliverer(database, vault, sender, lease=lease)
    stack.push_async_callback(deliverer.close)
    return deliverer


def _disputes(
    database: Database, vault: Vault, applier: FactApplier, calls: Calls, schedule: Schedule
) -> tuple[Disputes, DisputeUpkeep]:
    upkeep = DisputeUpkeep(
        database, vault, applier, calls, schedule=schedule, clock_of=clocks.clock_of, record_events=events.record
    )
    return Disputes(database, vault, calls, schedule, upkeep, record_events=events.record), upkeep
