"""A durable server for each process that runs tests, started by the first test that asks for one."""

from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from tests.ledger.faults.durable import DurableServer


@pytest.fixture(scope="session")
def durable() -> Iterator[DurableServer]:
    server = DurableServer.started()
    yield server
    server.destroy()


@pytest.fixture
async def durable_pool(durable: DurableServer) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(durable.app_dsn, min_size=1, max_size=4) as pool:
        yield pool
