"""A merchant's terms, by method. A changed plan is a new version; old ones stay to be read."""

from typing import Final

import msgspec
from sqlalchemy import func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.clock import real_now
from gateway.foundation.reads import Query, Reads
from gateway.merchants.tables import fee_plans
from gateway.providers.base import Method


class FeePlan(msgspec.Struct, frozen=True, kw_only=True):
    """Terms for one method.

    Attributes:
        rate_ppm: share of the amount, parts per million, before VAT; fixed_minor: added to each payment.
        settlement_days: n of T+n, in business days.
        late_grace_seconds: how long after a payment's end money for it is still taken; what comes later is held.
        dispute_fee_minor: what a dispute costs in which the provider takes the money, before VAT; never given back.
        version: which of the merchant's plans for this method it is, from 1; 0 until stored.
    """

    method: Method
    rate_ppm: int
    fixed_minor: int = 0
    settlement_days: int = 1
    dispute_fee_minor: int = 0
    late_grace_seconds: int = 0
    version: int = 0


DEFAULT_PLANS: Final = (
    FeePlan(method=Method.CARD, rate_ppm=36_500, dispute_fee_minor=500_00),
    FeePlan(method=Method.PROMPTPAY, rate_ppm=16_500),
)
"""The list price: card 3.65 % and 500 baht a dispute, PromptPay 1.65 %, available the next business day."""


async def set_plan(connection: AsyncConnection, account_id: str, plan: FeePlan) -> FeePlan:
    """Put a plan in force as the method's next version.

    Two writers at once collide on the primary key, so no version is ever overwritten.
    """
    c = fee_plans.c
    latest = select(func.coalesce(func.max(c.version), 0)).where(c.account_id == account_id, c.method == plan.method)
    version = (await connection.execute(latest)).scalar_one() + 1
    stored = msgspec.structs.replace(plan, version=version)
    await connection.execute(
        insert(fee_plans).values(account_id=account_id, created_at=real_now(), **msgspec.structs.asdict(stored))
    )
    return stored


IN_FORCE: Final = Query(
    text("""
        SELECT DISTINCT ON (method) method, rate_ppm, fixed_minor, settlement_days, dispute_fee_minor,
               late_grace_seconds, version
        FROM gateway.fee_plans
        WHERE account_id = :account_id AND method = ANY(CAST((SELECT CAST(:methods AS text[])) AS text[]))
        ORDER BY method, version DESC
    """).columns(*(fee_plans.c[name] for name in FeePlan.__struct_fields__)),
    FeePlan,
)
"""The plans in force of an account for some methods."""
_PLANS: Final = Reads(plans=IN_FORCE)


async def plan_for(connection: AsyncConnection, account_id: str, method: Method) -> FeePlan | None:
    """The plan in force, or None where the merchant may not take this method."""
    [plans] = await _PLANS.ask(connection, {"account_id": account_id, "methods": [method.value]})
    return plans[0] if plans else None
