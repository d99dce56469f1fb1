"""`quickkub database`: schema and roles."""

import asyncio
from typing import Final

import asyncpg
import rich_click as click

from gateway.foundation import schema
from gateway.foundation.embedded.resolution import resolved
from gateway.foundation.embedded.roles import script_for_administrator
from gateway.foundation.settings import Settings, SettingsInvalid, role_names
from migrations import upgrade

SUPERUSER_VARIABLE: Final = "DATABASE_SUPERUSER_URL"
"""Read by `fence` only; never given to serve or work."""


@click.group()
def database() -> None:
    """Schema, roles and state of the database."""


@database.command()
def migrate() -> None:
    """Run every migration that has not run yet (as the owner role)."""
    asyncio.run(_migrate())


@database.command()
@click.option("--name", default="quickkub", show_default=True, help="Name of the database.")
def roles(name: str) -> None:
    """Print the SQL that makes roles and database, for the administrator of your own server."""
    print(script_for_administrator(role_names(), database=name), end="")


@database.command()
@click.option(
    "--superuser-url",
    envvar=SUPERUSER_VARIABLE,
    help=f"postgresql://… of a superuser; rather in {SUPERUSER_VARIABLE}, where other users do not see it.",
)
def fence(superuser_url: str | None) -> None:
    """Refuse DDL on the ledger of your own server from now on; once, after the first `migrate`.

    The embedded server is fenced by `migrate`. Migrations pass the fence and are put on the record.
    """
    if not superuser_url:
        raise SettingsInvalid(f"{SUPERUSER_VARIABLE} must be set: only a superuser can make event triggers")
    asyncio.run(_fence(superuser_url))
    print("the ledger's tables are fenced")


@database.command()
def check() -> None:
    """Say whether the database can be used by this version; exit code 1 if not."""
    findings = asyncio.run(_check())
    for passed, text in findings:
        print(f"{'ok  ' if passed else 'FAIL'}  {text}")
    if not all(passed for passed, _ in findings):
        raise SystemExit(1)


async def _migrate() -> None:
    async with resolved(Settings.from_environment()) as settings:
        if settings.database_owner_url is None:
            raise SettingsInvalid("DATABASE_OWNER_URL must be set: migrations run as the owner role")
        before = await upgrade.current(settings.database_owner_url)
        await schema.migrate(settings)
        after = await upgrade.current(settings.database_owner_url)
    print(f"schema at {after}" + ("" if before == after else f", was {before or 'empty'}"))


async def _fence(superuser_url: str) -> None:
    connection = await asyncpg.connect(superuser_url)
    try:
        await schema.fence(connection)
    finally:
        await connection.close()


async def _check() -> list[tuple[bool, str]]:
    async with resolved(Settings.from_environment()) as settings:
        assert settings.database_url is not None
        connection = await asyncpg.connect(settings.database_url)
        try:
            return [
                _version_finding(connection.get_server_version().major),
                await _role_finding(connection),
                await _schema_finding(settings.database_url),
            ]
        finally:
            await connection.close()


def _version_finding(major: int) -> tuple[bool, str]:
    oldest = 15
    return major >= oldest, f"PostgreSQL {major} ({oldest} is the oldest supported)"


async def _role_finding(connection: asyncpg.Connection) -> tuple[bool, str]:
    """The app must not be able to get past the guards of the ledger."""
    row = await connection.fetchrow(
        "SELECT rolname, rolsuper, pg_has_role(rolname, $1, 'MEMBER') AS owns FROM pg_roles"
        " WHERE rolname = current_user",
        role_names()["owner"],
    )
    assert row is not None
    return not row["rolsuper"] and not row["owns"], f"login {row['rolname']} is neither superuser nor owner"


async def _schema_finding(dsn: str) -> tuple[bool, str]:
    found, wanted = await upgrade.current(dsn), upgrade.heads()
    return [found] == wanted, f"schema at {found or 'nothing'}, this version wants {', '.join(wanted)}"
