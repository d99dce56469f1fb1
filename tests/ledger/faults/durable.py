"""A PostgreSQL of a test's own that syncs every COMMIT, so that it may be killed; with the ledger in it and no more."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from gateway.foundation import embedded
from gateway.foundation.embedded import processes
from gateway.foundation.embedded.home import Home
from gateway.foundation.settings import role_names
from ledger.accounts import new_book_id, open_book
from ledger.schema import install

REACHED_SECONDS = 60


class DurableServer:
    """The server of one folder: started by `started`, killed and started again at will."""

    def __init__(self, folder: Path, endpoints: embedded.Endpoints) -> None:
        self._home = Home(folder)
        self.app_dsn = endpoints.database_url
        self.superuser_dsn = endpoints.superuser_url
        self.socket_folder = self._home.socket_folder

    @classmethod
    def started(cls) -> "DurableServer":
        """A new server on the disk, with `fsync` on."""
        folder = Path(tempfile.mkdtemp(prefix="quickkub-durable-"))
        endpoints = embedded.start(folder, durable=True)
        asyncio.run(_install(endpoints.database_owner_url))
        return cls(folder, endpoints)

    def kill(self) -> int:
        """kill −9: the postmaster first, then whatever it leaves behind. How many processes that were."""
        found = embedded.status(self._home.folder).postgres
        assert found is not None, "nothing to kill"
        everybody = [found, *(each for each in processes.processes_in(self._home.postgres_folder) if each != found)]
        for process_id in everybody:
            with suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGKILL)
        for process_id in everybody:
            assert processes.wait_gone(process_id, timeout_seconds=10)
        return len(everybody)

    async def restart(self) -> None:
        """Start it again; it replays its log first."""
        await asyncio.to_thread(embedded.start, self._home.folder, durable=True)

    def destroy(self) -> None:
        """Stop it and leave nothing behind."""
        embedded.stop(self._home.folder)
        for path in (self._home.socket_folder, self._home.servers_folder, self._home.folder):
            shutil.rmtree(path, ignore_errors=True)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection of the app role to a server that is up or comes up soon."""
        connection = await patiently_connected(self.app_dsn)
        try:
            yield connection
        finally:
            await connection.close()

    async def new_book(self) -> int:
        """A book that nobody else uses."""
        async with self.connected() as connection, connection.transaction():
            book_id = await new_book_id(connection)
            await open_book(connection, book_id, code=f"faults-{book_id}", mode="test")
            return book_id


async def patiently_connected(dsn: str) -> asyncpg.Connection:
    """A connection, asked for again while the server is away."""
    deadline = asyncio.get_running_loop().time() + REACHED_SECONDS
    while True:
        try:
            return await asyncpg.connect(dsn)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.05)


async def _install(owner_dsn: str) -> None:
    owner = await asyncpg.connect(owner_dsn)
    names = role_names()
    try:
        await install(owner, app=names["app"], auditor=names["auditor"], today=datetime.now(UTC).date())
    finally:
        await owner.close()
