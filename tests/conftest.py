"""Fixtures for everybody: real servers, and for each test a database of its own.

One PostgreSQL and one Valkey a run, shared by all xdist workers and started by whoever needs them first. The
migrations run once into a template; each test that asks for `database` gets a clone of it and drops it afterwards.
Clones are the only isolation, because rows of the ledger cannot be deleted.
"""

import asyncio
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import msgspec
import pytest
import redis.asyncio

from gateway.foundation import embedded
from gateway.foundation.embedded.home import Home
from gateway.foundation.settings import role_names
from migrations.upgrade import upgrade

HOME_VARIABLE = "QUICKKUB_TESTS_HOME"
TEMPLATE = "quickkub"
MEMORY_BYTES_MIN = 2 * 1024**3


class ClonedDatabase(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses of one test's database, one for each role."""

    name: str
    owner_dsn: str
    app_dsn: str
    auditor_dsn: str
    sandbox_dsn: str
    superuser_dsn: str


def fastest_folder() -> Path:
    """Memory where there is enough of it: hundreds of clones are written and thrown away."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > MEMORY_BYTES_MIN:
        return memory
    return Path(tempfile.gettempdir())


def pytest_configure(config: pytest.Config) -> None:
    """The process that started the run makes the servers' home; its workers inherit the name."""
    if not hasattr(config, "workerinput"):
        os.environ[HOME_VARIABLE] = tempfile.mkdtemp(prefix="quickkub-tests-", dir=fastest_folder())


def pytest_unconfigure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        return
    folder = Path(os.environ.pop(HOME_VARIABLE))
    embedded.stop(folder)
    home = Home(folder)
    for path in (home.socket_folder, home.servers_folder, folder):
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def endpoints() -> embedded.Endpoints:
    """The run's servers; their database is migrated and serves as the template: never write to it."""
    folder = Path(os.environ[HOME_VARIABLE])
    found = embedded.start(folder, durable=False)
    # A database with anybody in it cannot be cloned, so only the first worker looks into the template.
    with (folder / "template.lock").open("a") as migrated:
        fcntl.flock(migrated, fcntl.LOCK_EX)
        if migrated.tell() == 0:
            asyncio.run(upgrade(found.database_owner_url))
            migrated.write("migrated")
    return found


@pytest.fixture
async def database(endpoints: embedded.Endpoints) -> AsyncIterator[ClonedDatabase]:
    """A fresh, fully migrated database."""
    async with cloned_database(endpoints) as clone:
        yield clone


@asynccontextmanager
async def cloned_database(endpoints: embedded.Endpoints) -> AsyncIterator[ClonedDatabase]:
    """A fresh, fully migrated database for as long as the block lasts."""
    name, owner = f"test_{secrets.token_hex(8)}", role_names()["owner"]
    connection = await asyncpg.connect(_in_database(endpoints.superuser_url, "postgres"))
    try:
        await connection.execute(f"CREATE DATABASE {name} OWNER {owner} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY")
        yield ClonedDatabase(
            name=name,
            owner_dsn=_in_database(endpoints.database_owner_url, name),
            app_dsn=_in_database(endpoints.database_url, name),
            auditor_dsn=_in_database(endpoints.auditor_url, name),
            sandbox_dsn=_in_database(endpoints.sandbox_database_url, name),
            superuser_dsn=_in_database(endpoints.superuser_url, name),
        )
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def valkey_database(endpoints: embedded.Endpoints, worker_id: str) -> str:
    """The address of this worker's part of Valkey."""
    number = int(worker_id.removeprefix("gw")) + 1 if worker_id.startswith("gw") else 0
    return f"{endpoints.redis_url}?db={number}"


@pytest.fixture
async def valkey_url(valkey_database: str) -> AsyncIterator[str]:
    """An empty Valkey."""
    client = redis.asyncio.from_url(valkey_database)
    try:
        await client.flushdb()
        yield valkey_database
    finally:
        await client.aclose()


def _in_database(dsn: str, name: str) -> str:
    return dsn.replace(f"/{TEMPLATE}?", f"/{name}?")
