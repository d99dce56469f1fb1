"""How migrations run: as the owner role, one transaction each, one migrator at a time, never waiting long for a lock.

A migration that cannot get its lock in `LOCK_TIMEOUT` fails instead of queueing every payment behind itself; run it
again. `quickkub database migrate` hands its connection in; without one (`alembic …`) DATABASE_OWNER_URL is used.
"""

import asyncio
import os

from alembic import context
from sqlalchemy import Connection

from migrations.upgrade import connected

LOCK_TIMEOUT = "2s"
MIGRATORS_LOCK = 0x717569636B6B7562
"""Advisory lock number: "quickkub" in hexadecimal."""


def run(connection: Connection) -> None:
    connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
    # The ledger's fence lets a change pass that says what for, and records it.
    connection.exec_driver_sql("SET quickkub.ledger_change = 'migration'")
    connection.exec_driver_sql(f"SELECT pg_advisory_lock({MIGRATORS_LOCK})")
    connection.commit()
    try:
        context.configure(connection=connection, target_metadata=None, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()
    finally:
        connection.rollback()
        connection.exec_driver_sql(f"SELECT pg_advisory_unlock({MIGRATORS_LOCK})")
        connection.commit()


async def run_alone() -> None:
    async with connected(os.environ["DATABASE_OWNER_URL"]) as connection:
        await connection.run_sync(run)


given = context.config.attributes.get("connection")
if given is None:
    asyncio.run(run_alone())
else:
    run(given)
