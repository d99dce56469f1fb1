"""The sandbox, for the tests that let the adapters speak to it."""

from collections.abc import AsyncIterator

import pytest

from gateway.providers.base import ProviderAccount
from gateway.providers.bbl import Bbl
from gateway.providers.http import ProviderHttp
from tests.providers import bbl_account
from tests.sandbox.conftest import WORLD, FakeGateway, Sandbox, serving


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


@pytest.fixture
async def bbl() -> AsyncIterator[Bbl]:
    async with ProviderHttp(timeout_seconds=2) as http:
        yield Bbl(http)


@pytest.fixture
async def hasty_bbl() -> AsyncIterator[Bbl]:
    """The adapter with little patience, for answers that are held back."""
    async with ProviderHttp(timeout_seconds=2) as http:
        yield Bbl(http)


@pytest.fixture
async def bbl_at_sandbox(sandbox: Sandbox) -> ProviderAccount:
    callback_url = f"{sandbox.gateway.root}/callbacks/bbl"
    await sandbox.control.register_account(
        world=WORLD, provider="bbl", credentials=bbl_account.CREDENTIALS, callback_url=callback_url
    )
    return bbl_account.account_at(f"{sandbox.url}/bbl")
