"""Books worth attacking, and a connection of each attacker."""

from collections.abc import AsyncIterator

import asyncpg
import msgspec
import pytest

from ledger.fence import install_ddl_guard
from ledger.journal import ExternalReference
from ledger.posting import post_entries
from tests.conftest import ClonedDatabase
from tests.ledger.entries import BOOK, drawing, received


class Attackers(msgspec.Struct, frozen=True):
    """A connection by role: `app`, `owner` (of the tables, no superuser), `superuser`."""

    app: asyncpg.Connection
    owner: asyncpg.Connection
    superuser: asyncpg.Connection

    def __getitem__(self, role: str) -> asyncpg.Connection:
        connection: asyncpg.Connection = getattr(self, role)
        return connection


@pytest.fixture
async def owner(database: ClonedDatabase) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.owner_dsn)
    yield connection
    await connection.close()


@pytest.fixture
async def books(app: asyncpg.Connection) -> None:
    """Five entries on one day in four blocks; the last has a reference, the second draws on the first."""
    captured = received(1_000, drawable_minor=1_000)
    await post_entries(app, BOOK, [captured, received(20)])
    await post_entries(app, BOOK, [drawing(captured, 600)])
    await post_entries(app, BOOK, [received(500)])
    await post_entries(app, BOOK, [received(7, references=(ExternalReference("scb", "last"),))])


@pytest.fixture
async def attackers(
    books: None, app: asyncpg.Connection, owner: asyncpg.Connection, superuser: asyncpg.Connection
) -> Attackers:
    return Attackers(app, owner, superuser)


@pytest.fixture
async def fenced(attackers: Attackers) -> Attackers:
    """The same behind the fence of event triggers."""
    await install_ddl_guard(attackers.superuser)
    return attackers
