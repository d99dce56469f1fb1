"""The schema of the database that this process was told of: migrated by the owner role, fenced by a superuser."""

import asyncpg

from gateway.foundation import embedded
from gateway.foundation.settings import Settings, SettingsInvalid
from ledger.fence import install_ddl_guard
from migrations.upgrade import upgrade


async def migrate(settings: Settings) -> None:
    """Run what has not run yet; on the embedded server also put the fence around the ledger's tables.

    On your own server a DBA decides about the fence, because only a superuser can make event triggers.

    Args:
        settings: as `resolved` gave them, with the servers running.

    Raises:
        SettingsInvalid: there is no login of the owner role.
    """
    if settings.database_owner_url is None:
        raise SettingsInvalid("DATABASE_OWNER_URL must be set: migrations run as the owner role")
    await upgrade(settings.database_owner_url)
    ours = embedded.endpoints_of(settings.home)
    if ours is None or ours.database_owner_url != settings.database_owner_url:
        return
    superuser = await asyncpg.connect(ours.superuser_url)
    try:
        await fence(superuser)
    finally:
        await superuser.close()


async def fence(connection: asyncpg.Connection) -> None:
    """Refuse DDL on the ledger from now on; again changes nothing.

    Args:
        connection: of a superuser, in the migrated database.

    Raises:
        SettingsInvalid: it is not a superuser's, or the database has no ledger yet.
    """
    if not await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
        raise SettingsInvalid("the fence needs a superuser: only one can make event triggers")
    if await connection.fetchval("SELECT to_regclass('ledger.ledger_acts')") is None:
        raise SettingsInvalid("there is no ledger in this database yet: run `quickkub database migrate` first")
    await install_ddl_guard(connection)
