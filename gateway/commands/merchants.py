"""`quickkub merchants`: accounts and their keys."""

import asyncio
import getpass
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Final

import msgspec
import rich_click as click
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.clock import real_now
from gateway.foundation.database import Database
from gateway.foundation.embedded.resolution import resolved
from gateway.foundation.encryption import Vault
from gateway.foundation.settings import Settings, SettingsInvalid
from gateway.merchants import accounts, api_keys
from gateway.merchants.operators import record_act
from gateway.sandbox.client import SandboxControl
from migrations.upgrade import current, heads

_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")


class Desk(msgspec.Struct, frozen=True):
    """What a command on this machine works with."""

    settings: Settings
    database: Database
    vault: Vault


@asynccontextmanager
async def open_desk() -> AsyncIterator[Desk]:
    """Settings, database and vault for one command."""
    async with resolved(Settings.from_environment()) as settings:
        if settings.database_url is None or settings.master_key is None:
            raise SettingsInvalid("DATABASE_URL and MASTER_KEY must both be set, or neither for the embedded servers")
        if [await current(settings.database_url)] != heads():
            raise SettingsInvalid("the database is not at this version's schema: run quickkub database migrate first")
        database = await Database.open(settings.database_url, pool_size=2)
        try:
            yield Desk(settings, database, Vault(settings.master_key))
        finally:
            await database.close()


def actor() -> str:
    """Who runs this command, for the record of acts."""
    return f"cli:{getpass.getuser()}"


def filled(_: click.Context, parameter: click.Parameter, value: str) -> str:
    """A text that says something."""
    if not value.strip():
        raise click.BadParameter("must not be empty", param=parameter)
    return value.strip()


async def books_of_known(connection: AsyncConnection, account_id: str) -> tuple[int, int]:
    """The test book and the live book of the account that was named.

    Raises:
        ClickException: there is no such account.
    """
    books = await accounts.books_of(connection, account_id)
    if books is None:
        raise click.ClickException(f"there is no account {account_id}")
    return books


def _address(_: click.Context, parameter: click.Parameter, value: str) -> str:
    if not _EMAIL.fullmatch(value):
        raise click.BadParameter("is not an e-mail address", param=parameter)
    return value


@click.group()
def merchants() -> None:
    """Merchant accounts and their API keys."""


@merchants.command()
@click.option("--name", required=True, callback=filled, help="The merchant's name; encrypted at rest.")
@click.option("--email", required=True, callback=_address, help="Where the merchant is reached; encrypted at rest.")
@click.option("--reason", default="opened on the command line", show_default=True, help="Why, for the record.")
def create(name: str, email: str, reason: str) -> None:
    """Open an account with its test book, a test key and a live key. The keys are shown this once."""
    created = asyncio.run(_create(name, email, reason))
    print(f"account    {created.account_id}")
    print(f"test book  {created.test_book_id}")
    print(f"test key   {created.test_key.secret}")
    print(f"live key   {created.live_key.secret}")


@merchants.command(name="list")
def list_() -> None:
    """Every account: id, test book, name."""
    for account in asyncio.run(_list()):
        print(f"{account.account_id}  book {account.test_book_id:<6} {account.name or '(data key destroyed)'}")


@merchants.group()
def keys() -> None:
    """API keys of merchants."""


@keys.command(name="list")
@click.argument("account_id")
def list_keys(account_id: str) -> None:
    """Every key that an account ever had; never the key itself."""
    found = asyncio.run(_list_keys(account_id))
    if not found:
        raise click.ClickException(f"there is no account {account_id}")
    for key in found:
        ended = "revoked" if key.revoked_at else f"until {key.expires_at or 'revoked'}"
        print(f"{key.key_id}  {key.prefix}…{key.last_four}  {ended}  {', '.join(key.scopes)}")


@keys.command()
@click.argument("key_id")
@click.option(
    "--hours",
    type=click.IntRange(0, 8_760),
    default=24,
    show_default=True,
    help="How long the old key goes on working.",
)
@click.option("--reason", required=True, help="Why, for the record.")
def roll(key_id: str, hours: int, reason: str) -> None:
    """Make a new key with the same scopes; the old one dies later."""
    new = asyncio.run(_roll(key_id, timedelta(hours=hours), reason))
    if new is None:
        raise click.ClickException(f"{key_id} is not a merchant's key in force")
    print(f"key        {new.key_id}")
    print(f"secret     {new.secret}")


@keys.command()
@click.argument("key_id")
@click.option("--reason", required=True, help="Why, for the record.")
def revoke(key_id: str, reason: str) -> None:
    """End a key at once."""
    if not asyncio.run(_revoke(key_id, reason)):
        raise click.ClickException(f"{key_id} is not a key in force")
    print(f"revoked    {key_id}")


async def _create(name: str, email: str, reason: str) -> accounts.CreatedAccount:
    async with AsyncExitStack() as stack:
        desk = await stack.enter_async_context(open_desk())
        settings, sandbox = desk.settings, None
        if settings.sandbox_enabled and settings.sandbox_control_key is not None:
            control = SandboxControl(settings.sandbox_url, settings.sandbox_control_key)
            sandbox = await stack.enter_async_context(control)
        return await accounts.create_account(
            desk.database,
            desk.vault,
            name=name,
            email=email,
            actor=actor(),
            reason=reason,
            sandbox_url=settings.sandbox_url,
            public_url=settings.public_url,
            sandbox=sandbox,
        )


async def _list() -> list[accounts.Account]:
    async with open_desk() as desk, desk.database.read() as connection:
        return await accounts.list_accounts(connection, desk.vault)


async def _list_keys(account_id: str) -> list[api_keys.KeySummary]:
    async with open_desk() as desk, desk.database.read() as connection:
        return await api_keys.list_keys(connection, account_id)


async def _roll(key_id: str, overlap: timedelta, reason: str) -> api_keys.NewKey | None:
    async with open_desk() as desk, desk.database.transaction() as connection:
        new = await api_keys.roll(connection, desk.vault, key_id, old_expires_at=real_now() + overlap)
        if new is not None:
            await record_act(connection, actor=actor(), act="api_key.rolled", subject=key_id, reason=reason)
        return new


async def _revoke(key_id: str, reason: str) -> bool:
    async with open_desk() as desk, desk.database.transaction() as connection:
        revoked = await api_keys.revoke(connection, key_id)
        if revoked:
            await record_act(connection, actor=actor(), act="api_key.revoked", subject=key_id, reason=reason)
        return revoked
