"""`/v1/payment_methods`: what a merchant can be paid by, through whom, and within which limits."""

from datetime import time
from typing import Literal

import msgspec
from litestar import Router, get
from litestar.di import NamedDependency

from gateway.api.authentication import requires
from gateway.api.problems import PROBLEM_RESPONSES
from gateway.api.services import ApiRequest, services_of
from gateway.merchants import fee_plans
from gateway.merchants.principals import MerchantPrincipal, Scope
from gateway.merchants.provider_accounts import providers_of
from gateway.payments.routing import Route, routes_of
from gateway.providers.base import Method, RefundRule


class MethodAtProvider(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider can do for a method; amounts in minor units of `currency`.

    Attributes:
        capture_method: `manual` is possible where it is among them; capture_days_max: for how many days after it.
        refunds: `none`, `void_same_day` (all of it, on the day of the payment, before `void_until`, Bangkok time),
            `full`, or `partial`; refund_days_max: for how many days.
        needs: what `card_token` must hold; null: nothing, or where `token_optional` a token all the same.
        banks: what `bank` may say.
        expires_in_seconds: how long the payer has unless you say; null: the method is decided at once.
    """

    provider: str
    currency: str
    amount_min: int
    amount_max: int
    capture_method: list[str]
    capture_days_max: int | None
    refunds: RefundRule
    refund_days_max: int | None
    void_until: time | None
    cancelable: bool
    needs: str | None
    token_optional: bool
    return_url_required: bool
    banks: list[str]
    expires_in_seconds: int | None
    expires_in_seconds_max: int | None


class PaymentMethod(msgspec.Struct, frozen=True, kw_only=True):
    """A method with its providers, our first choice first, and your terms.

    `late_grace_seconds`: how long after its end a payment is still taken; what comes later is held for the payer.
    """

    object: Literal["payment_method"] = "payment_method"
    id: Method
    fee_rate_ppm: int
    fee_fixed: int
    settlement_days: int
    late_grace_seconds: int
    providers: list[MethodAtProvider]


class PaymentMethods(msgspec.Struct, frozen=True, kw_only=True):
    """All of them; never so many that there were pages."""

    object: Literal["list"] = "list"
    data: list[PaymentMethod]


@get("/", guards=[requires(Scope.PAYMENTS_READ)], summary="How you can be paid", responses=PROBLEM_RESPONSES)
async def list_payment_methods(request: ApiRequest, merchant: NamedDependency[MerchantPrincipal]) -> PaymentMethods:
    """Methods of your fee plan that a provider of yours carries."""
    services = services_of(request)
    found = []
    async with services.database.read() as connection:
        yours = await providers_of(connection, merchant.book_id)
        for method in Method:
            plan = await fee_plans.plan_for(connection, merchant.account_id, method)
            able = [route for route in routes_of(services.providers, method) if route.provider in yours]
            if plan is not None and able:
                found.append(
                    PaymentMethod(
                        id=method,
                        fee_rate_ppm=plan.rate_ppm,
                        fee_fixed=plan.fixed_minor,
                        settlement_days=plan.settlement_days,
                        late_grace_seconds=plan.late_grace_seconds,
                        providers=[_shown(route) for route in able],
                    )
                )
    return PaymentMethods(data=found)


def _shown(route: Route) -> MethodAtProvider:
    able = route.capabilities
    return MethodAtProvider(
        provider=route.provider,
        currency=able.currency.lower(),
        amount_min=able.amount_minor_min,
        amount_max=able.amount_minor_max,
        capture_method=["automatic", "manual"] if able.capture_later else ["automatic"],
        capture_days_max=able.capture_days_max,
        refunds=able.refunds,
        refund_days_max=able.refund_days_max,
        void_until=able.void_until,
        cancelable=able.cancelable,
        needs=able.needs,
        token_optional=able.token_optional,
        return_url_required=able.return_url,
        banks=list(able.banks),
        expires_in_seconds=able.expiry_seconds,
        expires_in_seconds_max=able.expiry_seconds_max,
    )


PAYMENT_METHODS = Router("/payment_methods", route_handlers=[list_payment_methods], tags=["payments"])
