"""A connection of the app role and an open test book, in a database of the test's own."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from ledger.accounts import open_book
from ledger.checkpoint_folder import CheckpointFolder
from tests.conftest import ClonedDatabase
from tests.ledger.entries import BOOK


@pytest.fixture
async def app(database: ClonedDatabase) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.app_dsn)
    await open_book(connection, BOOK, code="test", mode="test")
    yield connection
    await connection.close()


@pytest.fixture
async def pool(database: ClonedDatabase, app: asyncpg.Connection) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(database.app_dsn, min_size=1, max_size=24) as pool:
        yield pool


@pytest.fixture
async def superuser(database: ClonedDatabase) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.superuser_dsn)
    yield connection
    await connection.close()


@pytest.fixture
def folder(tmp_path: Path) -> CheckpointFolder:
    """Where checkpoints are published."""
    return CheckpointFolder(tmp_path / "published")
