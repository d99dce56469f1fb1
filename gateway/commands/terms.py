"""`quickkub terms`: what a merchant pays for each method, when he has the money, and how late it may come."""

import asyncio
from typing import Final

import msgspec
import rich_click as click

from gateway.commands.merchants import actor, books_of_known, filled, open_desk
from gateway.merchants import fee_plans
from gateway.merchants.fee_plans import FeePlan
from gateway.merchants.operators import record_act
from gateway.providers.base import Method

_AMOUNT_MAX: Final = 1_000_000_00
_GRACE_SECONDS_MAX: Final = 30 * 86_400


@click.group()
def terms() -> None:
    """Terms of merchants: fees, T+n, and the grace for late payments."""


@terms.command(name="list")
@click.argument("account_id")
def list_(account_id: str) -> None:
    """The terms in force, by method; of the others none may be taken."""
    for plan in asyncio.run(_in_force(account_id)):
        print(_line(plan))


@terms.command(name="set")
@click.argument("account_id")
@click.argument("method", type=click.Choice([method.value for method in Method]))
@click.option("--rate-ppm", type=click.IntRange(0, 1_000_000), help="Share of the amount, in millionths.")
@click.option("--fixed-minor", type=click.IntRange(0, _AMOUNT_MAX), help="Added to each payment, in minor units.")
@click.option("--settlement-days", type=click.IntRange(0, 60), help="n of T+n, in business days.")
@click.option("--dispute-fee-minor", type=click.IntRange(0, _AMOUNT_MAX), help="What a lost dispute costs.")
@click.option(
    "--late-grace-seconds",
    type=click.IntRange(0, _GRACE_SECONDS_MAX),
    help="How long after its end a payment is still taken.",
)
@click.option("--reason", required=True, callback=filled, help="Why, for the record.")
def set_(account_id: str, method: str, reason: str, **changes: int | None) -> None:
    """Put terms in force for new payments; what is not named stays as it is. Payments begun before keep theirs."""
    given = {name: value for name, value in changes.items() if value is not None}
    if not given:
        raise click.UsageError("name at least one term")
    print(_line(asyncio.run(_set(account_id, Method(method), given, reason))))


async def _in_force(account_id: str) -> list[FeePlan]:
    async with open_desk() as desk, desk.database.read() as connection:
        await books_of_known(connection, account_id)
        plans = [await fee_plans.plan_for(connection, account_id, method) for method in Method]
        return [plan for plan in plans if plan is not None]


async def _set(account_id: str, method: Method, changes: dict[str, int], reason: str) -> FeePlan:
    async with open_desk() as desk, desk.database.transaction() as connection:
        await books_of_known(connection, account_id)
        before = await fee_plans.plan_for(connection, account_id, method)
        if before is None and "rate_ppm" not in changes:
            raise click.ClickException(f"no terms for {method} yet: name the rate")
        plan = before or FeePlan(method=method, rate_ppm=changes["rate_ppm"])
        stored = await fee_plans.set_plan(connection, account_id, msgspec.structs.replace(plan, **changes))
        await record_act(connection, actor=actor(), act="merchant.terms_set", subject=account_id, reason=reason)
        return stored


def _line(plan: FeePlan) -> str:
    fee = f"{plan.rate_ppm} ppm + {plan.fixed_minor}"
    late = f"late by {plan.late_grace_seconds} s"
    return f"{plan.method}  v{plan.version}  {fee}  T+{plan.settlement_days}  dispute {plan.dispute_fee_minor}  {late}"
