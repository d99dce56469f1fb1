"""The bench's own server: fresh, durable, warmed, with as many migrated databases as a comparison needs."""

import asyncio
import os
import platform
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Final

import asyncpg
import msgspec

from gateway.foundation import embedded
from gateway.foundation.embedded.home import Home
from gateway.foundation.settings import role_names
from migrations.upgrade import upgrade

TEMPLATE: Final = "quickkub"
SETTINGS: Final = {
    # No checkpoint falls into a cell by chance, and log segments are kept for use again.
    "max_wal_size": "24GB",
    "min_wal_size": "16GB",
    "checkpoint_timeout": "1h",
    "autovacuum_naptime": "10s",
}
SHARED_BUFFERS_GB_MAX: Final = 3
SHOWN: Final = (
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "data_checksums",
    "shared_buffers",
    "max_wal_size",
    "checkpoint_timeout",
    "wal_compression",
    "jit",
)
MESSAGE_BYTES: Final = 4 * 1024 * 1024


class Database(msgspec.Struct, frozen=True, kw_only=True):
    """A migrated database of the bench's server."""

    name: str
    app_dsn: str
    sandbox_dsn: str
    superuser_dsn: str


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """The running server; `process_id` is its postmaster's, `home` its folder."""

    process_id: int
    home: Path
    endpoints: embedded.Endpoints

    def database(self, name: str = TEMPLATE) -> Database:
        """The addresses of a database."""

        def there(dsn: str) -> str:
            return dsn.replace(f"/{TEMPLATE}?", f"/{name}?")

        return Database(
            name=name,
            app_dsn=there(self.endpoints.database_url),
            sandbox_dsn=there(self.endpoints.sandbox_database_url),
            superuser_dsn=there(self.endpoints.superuser_url),
        )

    async def clone(self, name: str) -> Database:
        """A new database, migrated and empty; the template has nobody in it."""
        await self.create(name, f"OWNER {role_names()['owner']} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY")
        return self.database(name)

    async def create(self, name: str, options: str = "TEMPLATE template0") -> Database:
        """A new database, by the options of CREATE DATABASE."""
        connection = await asyncpg.connect(self.database("postgres").superuser_dsn)
        try:
            await connection.execute(f"CREATE DATABASE {name} {options}")
        finally:
            await connection.close()
        return self.database(name)


@asynccontextmanager
async def fresh_server(*, warm_wal_gb: int) -> AsyncIterator[Server]:
    """A durable embedded server in a folder of its own, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="quickkub-bench-") as name:
        folder = Path(name)
        await asyncio.to_thread(embedded.start, folder)
        try:
            await asyncio.to_thread(embedded.stop, folder)
            _write_settings(folder)
            endpoints = await asyncio.to_thread(embedded.start, folder)
            process_id = embedded.status(folder).postgres
            assert process_id is not None, "the server runs"
            await upgrade(endpoints.database_owner_url)
            server = Server(process_id=process_id, home=folder, endpoints=endpoints)
            await _warm_wal(server, warm_wal_gb)
            yield server
        finally:
            await asyncio.to_thread(embedded.stop, folder)


def _write_settings(folder: Path) -> None:
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024**3
    settings = SETTINGS | {"shared_buffers": f"{max(min(memory_gb // 8, SHARED_BUFFERS_GB_MAX), 1)}GB"}
    path = Home(folder).postgres_folder / "postgresql.local.conf"
    path.write_text("".join(f"{name} = '{value}'\n" for name, value in settings.items()))
    path.chmod(0o644)  # the server may run as another user


async def _warm_wal(server: Server, gigabytes: int) -> None:
    """Fill log segments and let a checkpoint recycle them: a first pass over new ones costs up to seven times."""
    connection = await asyncpg.connect(server.database("postgres").superuser_dsn)
    try:
        for _ in range(gigabytes * 1024**3 // MESSAGE_BYTES):
            await connection.execute(
                f"SELECT pg_logical_emit_message(false, 'warming', repeat('x', {MESSAGE_BYTES - 8192}))"
            )
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


async def conditions(server: Server) -> dict[str, str]:
    """What a figure of this run depends on."""
    connection = await asyncpg.connect(server.database("postgres").superuser_dsn)
    try:
        server_version = await connection.fetchval("SHOW server_version")
        settings = {name: str(await connection.fetchval("SELECT current_setting($1)", name)) for name in SHOWN}
    finally:
        await connection.close()
    return {
        "PostgreSQL": f"{server_version} (embedded)",
        "Python": f"{platform.python_version()}, asyncpg {asyncpg.__version__}, uvloop {version('uvloop')}",
        "machine": f"{os.cpu_count()} cores shared by callers and server, Linux {platform.release()}",
        "load": " ".join(f"{value:.2f}" for value in os.getloadavg()),
    } | settings
