"""One connection of the app role, ids that count, and a seal that can be looked through."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import asyncpg
import pytest

from reconciliation.importing import ImportResult, RawFile, import_statement
from reconciliation.runs import Reconciliation
from tests.conftest import ClonedDatabase
from tests.reconciliation.books import BANK, BOOK, Books, entry_key
from tests.reconciliation.files import BANK_ACCOUNT, utc

RECEIVED_AT = utc("2026-11-24T02:30:00")

Import = Callable[[str, bytes], Awaitable[ImportResult]]


class Ids:
    """`stf_1`, `stl_2` …"""

    def __init__(self) -> None:
        self.last = 0

    def __call__(self, prefix: str) -> str:
        self.last += 1
        return f"{prefix}_{self.last:06d}"


def seal(plaintext: bytes, context: str) -> bytes:
    return b"sealed:" + context.encode() + b":" + plaintext[::-1]


@pytest.fixture
async def connection(database: ClonedDatabase) -> AsyncIterator[asyncpg.Connection]:
    found = await asyncpg.connect(database.app_dsn)
    try:
        yield found
    finally:
        await found.close()


@pytest.fixture
def ids() -> Ids:
    return Ids()


async def bring_in(
    connection: asyncpg.Connection, ids: Ids, source: str, content: bytes, *, book_id: int = BOOK
) -> ImportResult:
    return await import_statement(
        connection,
        book_id=book_id,
        file=RawFile(source=source, name=f"{source}.txt", content=content),
        received_at=RECEIVED_AT,
        new_id=ids,
        seal=seal,
    )


@pytest.fixture
def bring(connection: asyncpg.Connection, ids: Ids) -> Import:
    return partial(bring_in, connection, ids)


@pytest.fixture
def counts(connection: asyncpg.Connection) -> Callable[[], Awaitable[dict[str, int]]]:
    return partial(row_counts, connection)


async def row_counts(connection: asyncpg.Connection) -> dict[str, int]:
    """How many rows each table of the schema holds."""
    tables = await connection.fetch(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'reconciliation' ORDER BY tablename"
    )
    return {
        row["tablename"]: await connection.fetchval(f"SELECT count(*) FROM reconciliation.{row['tablename']}")
        for row in tables
    }


@pytest.fixture
async def books(database: ClonedDatabase) -> AsyncIterator[Books]:
    """The book, open, on a connection of its own."""
    found = await asyncpg.connect(database.app_dsn)
    try:
        opened = Books(found)
        await opened.open()
        yield opened
    finally:
        await found.close()


def reconciliation_of(database: ClonedDatabase, books: Books, ids: Ids) -> Reconciliation:
    @asynccontextmanager
    async def connect() -> AsyncIterator[asyncpg.Connection]:
        found = await asyncpg.connect(database.app_dsn)
        try:
            yield found
        finally:
            await found.close()

    return Reconciliation(connect=connect, post=books.post, new_id=ids, entry_key=entry_key, banks={BANK_ACCOUNT: BANK})


@pytest.fixture
def reconciliation(database: ClonedDatabase, books: Books, ids: Ids) -> Reconciliation:
    return reconciliation_of(database, books, ids)
