"""The book of `books.py`, posted; and an auditor who may only read. And reconciliation's books, to report on."""

import asyncpg
import pytest

from ledger.accounts import open_book
from ledger.posting import Ledger
from tests.reconciliation.conftest import books, bring, connection, ids, reconciliation
from tests.reports.books import BOOK, post_all

__all__ = ["books", "bring", "connection", "ids", "reconciliation"]


@pytest.fixture
async def ledger(database):
    async with asyncpg.create_pool(database.app_dsn, min_size=1, max_size=4) as pool:
        async with pool.acquire() as connection:
            await open_book(connection, BOOK, code="test", mode="test")
        ledger = Ledger(pool)
        yield ledger
        await ledger.close()


@pytest.fixture
async def posted(ledger):
    return await post_all(ledger)


@pytest.fixture
async def auditor(database, posted):
    connection = await asyncpg.connect(database.auditor_dsn)
    yield connection
    await connection.close()
