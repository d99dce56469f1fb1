"""The sandbox, for the tests that let the adapters speak to it."""

from collections.abc import AsyncIterator

import pytest

from tests.sandbox.conftest import FakeGateway, Sandbox, serving


@pytest.fixture
async def sandbox(database) -> AsyncIterator[Sandbox]:
    """A running sandbox with one world: one day's hold, daily transfers."""
    running = Sandbox(database.sandbox_dsn)
    running.gateway = FakeGateway()
    async with serving(running.gateway, lifespan="off") as running.gateway.root:
        await running.start()
        try:
            await running.register(omise_hold_days=1)
            yield running
        finally:
            await running.stop()
