"""`/v1/limits`: what you may take, how much of it is used, and how often one payer may try."""

from typing import Literal

import msgspec
from litestar import Router, get
from litestar.di import NamedDependency

from gateway.api.authentication import requires
from gateway.api.problems import PROBLEM_RESPONSES
from gateway.api.services import ApiRequest, services_of
from gateway.merchants.principals import MerchantPrincipal, Scope
from gateway.payments import limits, velocity
from gateway.payments.limits import ALL_METHODS, LimitRow, Used
from gateway.payments.velocity import VelocityRule
from gateway.providers.base import Method


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """Your limits for a method, in minor units of `currency`; null: there is none.

    Attributes:
        payment_method: null: all methods together.
        day_used, month_used, day_payments: what counts today and this month (Bangkok); what was declined, expired
            or cancelled does not, what was refunded does.
    """

    payment_method: Method | None
    currency: str
    payment_min: int | None
    payment_max: int | None
    day_max: int | None
    day_used: int
    month_max: int | None
    month_used: int
    day_payments_max: int | None
    day_payments: int


class LimitsReply(msgspec.Struct, frozen=True, kw_only=True):
    """All limits of your account; where several hold for a payment, it must keep to each of them."""

    object: Literal["limits"] = "limits"
    livemode: bool
    limits: list[Limit]
    velocity_rules: list[VelocityRule]


@get("/", guards=[requires(Scope.PAYMENTS_READ)], summary="Your limits", responses=PROBLEM_RESPONSES)
async def get_limits(request: ApiRequest, merchant: NamedDependency[MerchantPrincipal]) -> LimitsReply:
    """Ask us to change them."""
    book_id, account_id = merchant.book_id, merchant.account_id
    async with services_of(request).database.read() as connection:
        rows = await limits.in_force(connection, book_id, account_id)
        used = await limits.used_on(connection, book_id, account_id, merchant.clock.today())
        rules = await velocity.in_force(connection, book_id, account_id)
    return LimitsReply(
        livemode=merchant.livemode,
        limits=[_limit(row, used) for row in rows],
        velocity_rules=rules,
    )


def _limit(row: LimitRow, used: dict[tuple[str, str, str], Used]) -> Limit:
    day = used.get((row.currency, row.method, "day"), Used())
    month = used.get((row.currency, row.method, "month"), Used())
    return Limit(
        payment_method=None if row.method == ALL_METHODS else Method(row.method),
        currency=row.currency.lower(),
        payment_min=row.payment_min_minor,
        payment_max=row.payment_max_minor,
        day_max=row.day_max_minor,
        day_used=day.amount_minor,
        month_max=row.month_max_minor,
        month_used=month.amount_minor,
        day_payments_max=row.day_payments_max,
        day_payments=day.payments,
    )


LIMITS = Router("/limits", route_handlers=[get_limits], tags=["limits"])
