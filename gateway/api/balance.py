"""`/v1/balance`: what the merchant has, read from the ledger at this moment."""

from typing import Final, Literal

import msgspec
from litestar import Router, get
from litestar.di import NamedDependency

from gateway.api.authentication import requires
from gateway.api.problems import PROBLEM_RESPONSES
from gateway.api.services import ApiRequest, services_of
from gateway.merchants.principals import MerchantPrincipal, Scope
from ledger.balances import Balance, balances
from ledger.chart_of_accounts import AccountKind
from ledger.journal import AccountRef
from ledger.money import CURRENCY_EXPONENTS

_HOME_CURRENCY: Final = "THB"
_PARTS: Final[dict[str, tuple[AccountKind, ...]]] = {
    "pending": (AccountKind.MERCHANT_PENDING,),
    # What is owed to us is money below zero to the merchant; the books keep the claim among our assets.
    "available": (AccountKind.MERCHANT_AVAILABLE, AccountKind.MERCHANT_RECEIVABLE),
    "reserved": (AccountKind.MERCHANT_RESERVE, AccountKind.DISPUTE_HOLD),
    "refunding": (AccountKind.REFUNDS_PAYABLE,),
    "in_transit": (AccountKind.PAYOUTS_IN_TRANSIT,),
}
"""What the API calls the merchant's accounts."""


class Amount(msgspec.Struct, frozen=True, kw_only=True):
    """Whole minor units of one currency; below zero where the merchant owes."""

    amount: int
    currency: str


class BalanceReply(msgspec.Struct, frozen=True, kw_only=True):
    """The merchant's money, by where it stands and currency.

    Attributes:
        pending: received, not yet payable; available: payable; reserved: kept back for risk and disputes.
        refunding: set aside for refunds under way; in_transit: in payouts that the bank has not shown yet.
    """

    object: Literal["balance"] = "balance"
    livemode: bool
    pending: list[Amount]
    available: list[Amount]
    reserved: list[Amount]
    refunding: list[Amount]
    in_transit: list[Amount]


@get("/", guards=[requires(Scope.BALANCE_READ)], summary="What you have", responses=PROBLEM_RESPONSES)
async def get_balance(request: ApiRequest, merchant: NamedDependency[MerchantPrincipal]) -> BalanceReply:
    """Pending, available and reserved money in each currency that you ever had."""
    accounts = [
        AccountRef(kind, merchant.account_id, currency)
        for kinds in _PARTS.values()
        for kind in kinds
        for currency in CURRENCY_EXPONENTS
    ]
    async with services_of(request).database.ledger_pool.acquire() as connection:
        found = await balances(connection, merchant.book_id, accounts)
    currencies = sorted({account.currency for account, balance in found.items() if balance.last_sequence})
    parts = {name: _amounts(found, kinds, currencies or [_HOME_CURRENCY]) for name, kinds in _PARTS.items()}
    return msgspec.convert({"livemode": merchant.livemode, **parts}, BalanceReply)


def _amounts(found: dict[AccountRef, Balance], kinds: tuple[AccountKind, ...], currencies: list[str]) -> list[Amount]:
    def total(currency: str) -> int:
        return sum(
            balance.credits_minor - balance.debits_minor
            for account, balance in found.items()
            if account.kind in kinds and account.currency == currency
        )

    return [Amount(amount=total(currency), currency=currency.lower()) for currency in currencies]


BALANCE = Router("/balance", route_handlers=[get_balance], tags=["balance"])
