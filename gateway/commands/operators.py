"""`quickkub operators`: us, by name, with keys that expire."""

import asyncio
from datetime import timedelta
from typing import Final

import rich_click as click

from gateway.commands.merchants import actor, filled, open_desk
from gateway.merchants import operators as people
from gateway.merchants.api_keys import NewKey
from gateway.merchants.principals import OPERATOR_SCOPES, OPERATOR_SCOPES_GIVEN, Scope

_SCOPES: Final = sorted(scope.value for scope in OPERATOR_SCOPES)


@click.group()
def operators() -> None:
    """Operators and their keys."""


@operators.command()
@click.option("--name", required=True, callback=filled, help="Who it is; encrypted at rest.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(_SCOPES),
    default=sorted(scope.value for scope in OPERATOR_SCOPES_GIVEN),
    show_default=True,
)
@click.option(
    "--days",
    type=click.IntRange(1, 366),
    default=people.KEY_LIFE.days,
    show_default=True,
    help="How long the key lives.",
)
@click.option("--reason", default="registered on the command line", show_default=True, help="Why, for the record.")
def create(name: str, scopes: tuple[str, ...], days: int, reason: str) -> None:
    """Register an operator with a first key, shown this once."""
    operator_id, key = asyncio.run(_create(name, scopes, timedelta(days=days), reason))
    print(f"operator   {operator_id}")
    print(f"key        {key.secret}")
    print(f"expires    {key.expires_at:%Y-%m-%d %H:%M} UTC")


@operators.command(name="list")
def list_() -> None:
    """Every operator."""
    for operator in asyncio.run(_list()):
        print(f"{operator.operator_id}  {operator.name}{'  (disabled)' if operator.disabled_at else ''}")


async def _create(name: str, scopes: tuple[str, ...], life: timedelta, reason: str) -> tuple[str, NewKey]:
    async with open_desk() as desk, desk.database.transaction() as connection:
        operator_id = await people.create_operator(connection, desk.vault, name=name)
        wanted = [Scope(scope) for scope in scopes]
        key = await people.create_key(connection, desk.vault, operator_id, scopes=wanted, life=life)
        await people.record_act(connection, actor=actor(), act="operator.created", subject=operator_id, reason=reason)
        return operator_id, key


async def _list() -> list[people.Operator]:
    async with open_desk() as desk, desk.database.read() as connection:
        return await people.list_operators(connection, desk.vault)
