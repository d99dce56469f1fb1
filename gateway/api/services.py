"""What the API needs of the rest of the house; `bootstrap` builds it, requests find it in the application's state."""

from collections.abc import Mapping
from typing import Any, Protocol

from litestar import Request
from litestar.connection import ASGIConnection
from redis.asyncio import Redis

from gateway.api.rate_limits import RateLimiter
from gateway.foundation.database import Database
from gateway.foundation.encryption import Vault
from gateway.foundation.settings import Settings
from gateway.merchants.authenticating import Authenticator
from gateway.merchants.known_accounts import KnownAccounts
from gateway.payments.accepting import Accepting
from gateway.payments.bulk import BulkIntents
from gateway.payments.claims import HeldMoney
from gateway.payments.dispute_acts import DisputeActs
from gateway.payments.disputes import Disputes
from gateway.payments.idempotency import IdempotencyStore
from gateway.payments.intents import Intents
from gateway.payments.payment_links import PaymentLinks
from gateway.payments.refunds import Refunds
from gateway.payments.untried import UntriedIntents
from gateway.providers.base import Provider
from gateway.sandbox.client import SandboxControl
from gateway.settlement.overrides import Overrides
from gateway.settlement.receipts import Receipts
from gateway.settlement.refund_claims import RefundClaims
from ledger.posting import Ledger

ApiRequest = Request[Any, Any, Any]


class Services(Protocol):
    """The built services, by the names that controllers use."""

    @property
    def settings(self) -> Settings:
        """What this process was told."""
        ...

    @property
    def database(self) -> Database:
        """The gateway's database."""
        ...

    @property
    def ledger(self) -> Ledger:
        """Posts what operators enter, together with everybody else of this process."""
        ...

    @property
    def vault(self) -> Vault:
        """Seals and opens what is encrypted at rest."""
        ...

    @property
    def redis(self) -> Redis | None:
        """Valkey; None where there is none, and limits are counted in this process."""
        ...

    @property
    def accounts(self) -> KnownAccounts:
        """Our accounts with providers."""
        ...

    @property
    def providers(self) -> Mapping[str, Provider]:
        """The adapters by the provider's name."""
        ...

    @property
    def intents(self) -> Intents:
        """Payments."""
        ...

    @property
    def bulk_intents(self) -> BulkIntents:
        """Many payments at once."""
        ...

    @property
    def untried_intents(self) -> UntriedIntents:
        """Payments that nobody is asked about yet."""
        ...

    @property
    def refunds(self) -> Refunds:
        """Refunds."""
        ...

    @property
    def held_money(self) -> HeldMoney:
        """Offers of money that is held for payers."""
        ...

    @property
    def accepting(self) -> Accepting:
        """Merchants take held money as payment."""
        ...

    @property
    def refund_claims(self) -> RefundClaims:
        """Claims of payers."""
        ...

    @property
    def receipts(self) -> Receipts:
        """Credits on our bank account that nobody knows."""
        ...

    @property
    def overrides(self) -> Overrides:
        """What two people settle."""
        ...

    @property
    def payment_links(self) -> PaymentLinks:
        """Payment links."""
        ...

    @property
    def disputes(self) -> Disputes:
        """Disputes."""
        ...

    @property
    def dispute_acts(self) -> DisputeActs:
        """Disputes as operators state them."""
        ...

    @property
    def idempotency(self) -> IdempotencyStore:
        """Runs a request once for each key."""
        ...

    @property
    def sandbox(self) -> SandboxControl | None:
        """The sandbox's control interface; None where the sandbox is off."""
        ...


def services_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Services:
    """The services of the application that answers this request."""
    services: Services = connection.app.state.services
    return services


def rate_limiter_of(connection: ASGIConnection[Any, Any, Any, Any]) -> RateLimiter:
    """The rate limiter of the application that answers this request."""
    limiter: RateLimiter = connection.app.state.rate_limiter
    return limiter


def authenticator_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Authenticator:
    """Who looks keys up in the application that answers this request."""
    authenticator: Authenticator = connection.app.state.authenticator
    return authenticator
