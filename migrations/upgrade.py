"""Bring a database to the newest migration, from inside our own process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from gateway.foundation.settings import role_names

FOLDER: Final = Path(__file__).parent
HEAD: Final = "head"


async def upgrade(owner_dsn: str, *, revision: str = HEAD) -> None:
    """Run every migration up to the revision that has not run yet. Several migrators wait for each other.

    Args:
        owner_dsn: `postgresql://…` of the owner role.
        revision: a revision's number, or `head`.
    """
    async with connected(owner_dsn) as connection:
        await connection.run_sync(_upgrade, revision)
        # Health checks of the app role compare this with the newest migration.
        await connection.exec_driver_sql(f"GRANT SELECT ON alembic_version TO {role_names()['app']}")
        await connection.commit()


async def current(dsn: str) -> str | None:
    """The revision of the database; None before the first migration."""
    async with connected(dsn) as connection:
        return await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())


def heads() -> list[str]:
    """The newest revisions that this code knows: exactly one, unless two branches of work have met."""
    return ScriptDirectory.from_config(_config()).get_heads()


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[AsyncConnection]:
    """One connection, with nothing kept open after the block."""

    async def connect(*_: object, **__: object) -> asyncpg.Connection:
        return await asyncpg.connect(dsn, server_settings={"application_name": "quickkub migrate"})

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    async with engine.connect() as connection:
        yield connection


def _upgrade(connection: Connection, revision: str) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    return config
