"""`quickkub providers`: what each can do, and which circuits are open."""

import asyncio
from typing import IO

import msgspec
import rich_click as click

from gateway.commands.ledger.common import print_table
from gateway.commands.merchants import actor, filled, open_desk
from gateway.merchants import provider_accounts
from gateway.merchants.accounts import LIVE_BOOK_ID
from gateway.merchants.operators import record_act
from gateway.providers.circuit_book import OpenCircuit, close_by_hand, open_circuits
from gateway.providers.circuits import CircuitKey
from gateway.providers.registry import ADAPTERS, INVENTED_CREDENTIALS
from ledger.money import to_text


@click.group()
def providers() -> None:
    """Payment providers: what they can do, and whether they answer."""


@providers.command("list")
def list_() -> None:
    """What each provider can do, by method."""
    rows = [
        (
            adapter.name,
            able.method,
            f"{to_text(able.amount_minor_min, able.currency)} – {to_text(able.amount_minor_max, able.currency)}",
            able.currency,
            able.refunds,
            "later" if able.capture_later else "at once",
            "yes" if able.cancelable else "no",
            None if able.expiry_seconds is None else f"{able.expiry_seconds} s",
        )
        for adapter in ADAPTERS
        for able in adapter.capabilities
    ]
    columns = ("provider", "method", "amount", "", "refunds", "captured", "cancel", "expires>")
    print_table(columns, rows, empty="there is no provider")


@providers.command()
@click.option("--all", "closed_too", is_flag=True, help="Also those that are closed again.")
def circuits(*, closed_too: bool) -> None:
    """Circuits that opened because a provider did not answer."""
    found = asyncio.run(_circuits(closed_too=closed_too))
    rows = [
        (
            each.provider,
            each.operation,
            each.scope,
            each.opened_at.isoformat(timespec="seconds"),
            f"{each.silent} of {each.calls}",
            None if each.closed_at is None else each.closed_at.isoformat(timespec="seconds"),
            each.closed_by,
        )
        for each in found
    ]
    columns = ("provider", "operation", "scope", "opened", "silent>", "closed", "by")
    print_table(columns, rows, empty="every circuit is closed")


@providers.command()
@click.argument("provider", type=click.Choice([adapter.name for adapter in ADAPTERS]))
@click.argument("operation")
@click.option("--scope", default="live", show_default=True, help="`live`, or the test account that it is about.")
@click.option("--reason", required=True, callback=filled, help="Why; kept with who did it.")
def close(provider: str, operation: str, scope: str, reason: str) -> None:
    """Let calls through again, in every process within a second."""
    if not asyncio.run(_close(CircuitKey(provider, operation, scope), reason)):
        raise click.ClickException(f"no open circuit of {provider} for {operation} ({scope})")
    print(f"calls of {operation} to {provider} ({scope}) are let through again")


@providers.command()
@click.argument("provider", type=click.Choice(list(INVENTED_CREDENTIALS)))
@click.option("--base-url", required=True, help="Where the provider answers, such as https://api.omise.co.")
@click.option(
    "--credentials",
    "file",
    required=True,
    type=click.File("r"),
    help="JSON object of the provider's credentials; - reads standard input. Never on the command line.",
)
@click.option("--reason", required=True, callback=filled, help="Why; kept with who did it.")
def connect(provider: str, base_url: str, file: IO[str], reason: str) -> None:
    """Give the live book its account with a provider, or new credentials to the one that it has.

    Prints the address at which the provider is to call us: it is a secret. docs/providers.md names the credentials.
    """
    if not base_url.startswith("https://"):
        raise click.BadParameter("must begin with https://", param_hint="--base-url")
    try:
        credentials = msgspec.json.decode(file.read(), type=dict[str, str])
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"is not a JSON object of texts: {error}", param_hint="--credentials") from None
    missing = set(INVENTED_CREDENTIALS[provider]()) - credentials.keys()
    if missing:
        click.echo(f"without {', '.join(sorted(missing))}: what needs them will not work", err=True)
    print(asyncio.run(_connect(provider, base_url.rstrip("/"), credentials, reason)))


async def _connect(provider: str, base_url: str, credentials: dict[str, str], reason: str) -> str:
    async with open_desk() as desk, desk.database.transaction() as connection:
        account = await provider_accounts.connect(
            connection,
            desk.vault,
            book_id=LIVE_BOOK_ID,
            provider=provider,
            base_url=base_url,
            public_url=desk.settings.public_url,
            credentials=credentials,
        )
        await record_act(connection, actor=actor(), act="provider.connected", subject=account.account_id, reason=reason)
    return account.callback_url


async def _circuits(*, closed_too: bool) -> list[OpenCircuit]:
    async with open_desk() as desk, desk.database.read() as connection:
        return await open_circuits(connection, closed_too=closed_too)


async def _close(key: CircuitKey, reason: str) -> bool:
    async with open_desk() as desk, desk.database.transaction() as connection:
        found = await close_by_hand(connection, key, actor=actor())
        if found:
            subject = f"{key.provider}/{key.operation}/{key.scope}"
            await record_act(connection, actor=actor(), act="circuit.closed", subject=subject, reason=reason)
        return found
