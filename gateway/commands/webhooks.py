"""`quickkub webhooks`: callbacks of providers that wait or were put aside, and looking at them once more."""

import asyncio

import rich_click as click

from gateway.commands.ledger.common import print_table
from gateway.commands.merchants import actor, filled, open_desk
from gateway.merchants.operators import record_act
from gateway.webhooks.inbox import look_again, waiting


@click.group()
def webhooks() -> None:
    """Callbacks of providers: what waits, what was put aside, and why."""


@webhooks.command()
@click.option(
    "--state",
    type=click.Choice(["pending", "quarantined", "ignored", "applied"]),
    default="quarantined",
    show_default=True,
)
@click.option("--provider", help="Only this provider's.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
def inbox(state: str, provider: str | None, limit: int) -> None:
    """Callbacks in a state, newest first. Bodies stay sealed."""
    rows = asyncio.run(_waiting(state, provider, limit))
    columns = ("id", "provider", "received", "attempts>", "arrivals>", "reason")
    print_table(columns, rows, empty=f"no callback is {state}")


@webhooks.command()
@click.argument("inbox_ids", nargs=-1, required=True)
@click.option("--reason", required=True, callback=filled, help="Why; kept with who did it.")
def again(inbox_ids: tuple[str, ...], reason: str) -> None:
    """Look at callbacks once more, such as after a mistake of ours was mended. What was applied stays as it is."""
    count = asyncio.run(_again(inbox_ids, reason))
    print(f"{count} of {len(inbox_ids)} will be looked at again")


async def _waiting(state: str, provider: str | None, limit: int) -> list[tuple[object, ...]]:
    async with open_desk() as desk, desk.database.read() as connection:
        found = await waiting(connection, state=state, provider=provider, limit=limit)
    return [
        (
            each.inbox_id,
            each.provider,
            each.received_at.isoformat(timespec="seconds"),
            each.attempts,
            each.arrivals,
            each.reason,
        )
        for each in found
    ]


async def _again(inbox_ids: tuple[str, ...], reason: str) -> int:
    async with open_desk() as desk, desk.database.transaction() as connection:
        ids = await look_again(connection, inbox_ids)
        for inbox_id in ids:
            await record_act(connection, actor=actor(), act="callback.looked_at_again", subject=inbox_id, reason=reason)
    return len(ids)
