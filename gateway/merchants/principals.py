"""Who acts: a merchant through one of its keys, or an operator through one of theirs."""

from enum import StrEnum
from typing import Final

import msgspec

from gateway.foundation.clock import BookClock


class Scope(StrEnum):
    """What a key may do, `resource:mode`."""

    PAYMENTS_READ = "payments:read"
    PAYMENTS_WRITE = "payments:write"
    REFUNDS_READ = "refunds:read"
    REFUNDS_WRITE = "refunds:write"
    LINKS_READ = "links:read"
    LINKS_WRITE = "links:write"
    DISPUTES_READ = "disputes:read"
    DISPUTES_WRITE = "disputes:write"
    CUSTOMERS_READ = "customers:read"
    CUSTOMERS_WRITE = "customers:write"
    BLOCKLIST_READ = "blocklist:read"
    BLOCKLIST_WRITE = "blocklist:write"
    BALANCE_READ = "balance:read"
    EVENTS_READ = "events:read"
    WEBHOOKS_READ = "webhooks:read"
    WEBHOOKS_WRITE = "webhooks:write"
    SANDBOX_WRITE = "sandbox:write"
    LEDGER_READ = "ledger:read"
    LEDGER_POST = "ledger:post"
    OVERRIDES_READ = "overrides:read"
    OVERRIDES_WRITE = "overrides:write"
    OVERRIDES_APPROVE = "overrides:approve"
    UNMATCHED_WRITE = "unmatched:write"
    DISPUTES_STATE = "disputes:state"


OPERATOR_SCOPES: Final = frozenset(
    {
        Scope.LEDGER_READ,
        Scope.LEDGER_POST,
        Scope.OVERRIDES_READ,
        Scope.OVERRIDES_WRITE,
        Scope.OVERRIDES_APPROVE,
        Scope.UNMATCHED_WRITE,
        Scope.DISPUTES_STATE,
    }
)
"""What an operator's key may hold, and no merchant's."""
OPERATOR_SCOPES_GIVEN: Final = frozenset({Scope.LEDGER_READ})
"""What a new operator's key holds unless it is asked for more."""

MERCHANT_SCOPES: Final = frozenset(Scope) - OPERATOR_SCOPES
"""What a merchant's key may hold; a new key has all of it unless it is asked for less."""


class RateLimit(msgspec.Struct, frozen=True, kw_only=True):
    """A token bucket: refilled at `per_second`, never fuller than `burst`."""

    per_second: int = 100
    burst: int = 200


class MerchantPrincipal(msgspec.Struct, frozen=True, kw_only=True):
    """A merchant's key at work: sees one account, in one book.

    Attributes:
        book_id: the account's test book, or the live book that it belongs to.
        clock: business time of that book.
    """

    account_id: str
    book_id: int
    livemode: bool
    key_id: str
    scopes: frozenset[str]
    clock: BookClock
    rate_limit: RateLimit = RateLimit()


class OperatorPrincipal(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's key at work: one of us, named, scoped and expiring."""

    operator_id: str
    key_id: str
    scopes: frozenset[str]
    rate_limit: RateLimit = RateLimit()


Principal = MerchantPrincipal | OperatorPrincipal
