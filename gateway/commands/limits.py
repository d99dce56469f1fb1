"""`quickkub limits`: what accounts may take, how often a payer may try, and whom the whole house takes nothing from."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import rich_click as click
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.commands.merchants import actor, books_of_known, filled, open_desk
from gateway.payments import blocklists, velocity
from gateway.payments import limits as payment_limits
from gateway.payments.errors import InvalidRequest
from gateway.payments.limits import ALL_METHODS, Limits
from gateway.payments.payers import PayerKind
from gateway.payments.velocity import Counting, VelocityRule
from gateway.providers.base import Method
from ledger.money import AMOUNT_MINOR_MAX

_MINOR: Final = click.IntRange(0, AMOUNT_MINOR_MAX)
_SECONDS: Final = click.IntRange(1, int(velocity.WINDOW_MAX.total_seconds()))
_COUNT: Final = click.IntRange(0, 1_000_000)
_KINDS: Final = click.Choice([kind.value for kind in PayerKind])

Command = Callable[..., Any]


def _on_record(command: Command) -> Command:
    """An act of an operator: who and why."""
    command = click.option("--actor", "who", default=actor, callback=filled, help="Who does it; you by default.")(
        command
    )
    return click.option("--reason", required=True, callback=filled, help="Why, for the record.")(command)


def _of_account(command: Command) -> Command:
    """Of one account, in its live or its test book."""
    command = click.option("--mode", type=click.Choice(["live", "test"]), default="live", show_default=True)(command)
    return click.argument("account_id")(command)


@click.group()
def limits() -> None:
    """Limits of accounts, velocity rules, and the house's blocklist."""


@limits.command(name="set")
@_of_account
@click.option("--method", type=click.Choice([method.value for method in Method]), help="All together unless given.")
@click.option("--currency", default="THB", show_default=True)
@click.option("--payment-min", type=_MINOR, help="Least amount of a payment, in minor units.")
@click.option("--payment-max", type=_MINOR, help="Greatest amount of a payment.")
@click.option("--day-max", type=_MINOR, help="Greatest sum of a day (Bangkok).")
@click.option("--month-max", type=_MINOR, help="Greatest sum of a month.")
@click.option("--day-payments-max", type=_COUNT, help="Most payments of a day.")
@_on_record
def set_(account_id: str, mode: str, *, method: str | None, currency: str, reason: str, who: str, **given: Any) -> None:
    """Put limits in force, instead of all those before for this method; what is not given is without limit."""
    new = Limits(
        payment_min_minor=given["payment_min"],
        payment_max_minor=given["payment_max"],
        day_max_minor=given["day_max"],
        month_max_minor=given["month_max"],
        day_payments_max=given["day_payments_max"],
    )

    async def work(connection: AsyncConnection) -> int:
        return await payment_limits.set_limits(
            connection,
            book_id=await _book_of(connection, account_id, mode),
            account_id=account_id,
            method=None if method is None else Method(method),
            currency=currency.upper(),
            limits=new,
            actor=who,
            reason=reason,
        )

    print(f"version    {_run(work)}")


@limits.command()
@_of_account
def show(account_id: str, mode: str) -> None:
    """The limits and velocity rules in force."""

    async def work(connection: AsyncConnection) -> list[str]:
        book_id = await _book_of(connection, account_id, mode)
        rows = await payment_limits.in_force(connection, book_id, account_id)
        lines = [f"{row.currency} {_method_of(row.method):<16} v{row.version}  {_limits_of(row)}" for row in rows]
        rules = await velocity.in_force(connection, book_id, account_id)
        return lines + [
            f"{rule.payer_kind:<20} at most {rule.count_max} {rule.counting} in {rule.window_seconds} s"
            for rule in rules
        ]

    print("\n".join(_run(work)) or "no limits")


@limits.command(name="velocity")
@_of_account
@click.option("--payer", "kind", required=True, type=_KINDS, help="What is the same.")
@click.option("--counting", required=True, type=click.Choice([counting.value for counting in Counting]))
@click.option("--seconds", required=True, type=_SECONDS, help="The window.")
@click.option("--most", type=_COUNT, help="How many; the rule is withdrawn unless given.")
@_on_record
def velocity_(
    account_id: str, mode: str, kind: str, counting: str, *, seconds: int, most: int | None, reason: str, who: str
) -> None:
    """Put a velocity rule in force, or withdraw it."""
    rule = VelocityRule(payer_kind=PayerKind(kind), counting=Counting(counting), window_seconds=seconds, count_max=most)

    async def work(connection: AsyncConnection) -> int:
        book_id = await _book_of(connection, account_id, mode)
        return await velocity.set_rule(
            connection, book_id=book_id, account_id=account_id, rule=rule, actor=who, reason=reason
        )

    print(f"version    {_run(work)}")


@limits.command()
@click.option("--kind", required=True, type=_KINDS)
@click.option("--value", prompt=True, hide_input=True, help="Asked for unless given, so that no shell keeps it.")
@click.option("--until", type=click.DateTime(), help="UTC; for ever unless given.")
@_on_record
def block(kind: str, value: str, until: datetime | None, reason: str, who: str) -> None:
    """Let no merchant take anything from a payer."""
    expires_at = None if until is None else until.replace(tzinfo=UTC)

    async def work() -> str:
        async with open_desk() as desk, desk.database.transaction() as connection:
            return await blocklists.block_for_the_house(
                connection,
                desk.vault,
                kind=PayerKind(kind),
                value=value,
                expires_at=expires_at,
                actor=who,
                reason=reason,
            )

    print(f"blocked    {_said(work)}")


@limits.command()
@click.argument("block_id")
@_on_record
def unblock(block_id: str, reason: str, who: str) -> None:
    """End an entry of the house's blocklist; it stays to be read."""

    async def work(connection: AsyncConnection) -> bool:
        return await blocklists.end_for_the_house(connection, block_id, actor=who, reason=reason)

    if not _run(work):
        raise click.ClickException(f"{block_id} is not an entry in force")
    print(f"ended      {block_id}")


@limits.command()
def blocked() -> None:
    """The house's blocklist: id, kind, last characters, why."""
    for entry in _run(blocklists.house_list):
        until = "" if entry.expires_at is None else f"  until {entry.expires_at:%Y-%m-%d %H:%M} UTC"
        print(f"{entry.block_id}  {entry.kind:<16} …{entry.last_characters:<5} {entry.reason}{until}")


def _run(work: Callable[[AsyncConnection], Any]) -> Any:
    """The work's result, in one transaction."""

    async def opened() -> Any:
        async with open_desk() as desk, desk.database.transaction() as connection:
            return await work(connection)

    return _said(opened)


def _said(work: Callable[[], Any]) -> Any:
    try:
        return asyncio.run(work())
    except InvalidRequest as error:
        raise click.ClickException(error.detail) from error


async def _book_of(connection: AsyncConnection, account_id: str, mode: str) -> int:
    test_book_id, live_book_id = await books_of_known(connection, account_id)
    return live_book_id if mode == "live" else test_book_id


def _method_of(method: str) -> str:
    return "all methods" if method == ALL_METHODS else method


def _limits_of(row: Limits) -> str:
    values = {name: getattr(row, name) for name in Limits.__struct_fields__}
    return "  ".join(f"{name}={value}" for name, value in values.items() if value is not None) or "none"
