"""A merchant account on a fresh database, without a sandbox that answers."""

import pytest

from gateway.foundation.database import Database
from gateway.foundation.encryption import Vault
from gateway.merchants.accounts import CreatedAccount, create_account

SANDBOX_URL = "http://127.0.0.1:8090"
PUBLIC_URL = "http://127.0.0.1:8080"


@pytest.fixture
async def opened(database):
    opened = await Database.open(database.app_dsn, pool_size=4)
    yield opened
    await opened.close()


@pytest.fixture
def vault():
    return Vault(bytes(range(32)))


async def new_account(opened, vault, *, email="shop@example.test", sandbox=None) -> CreatedAccount:
    return await create_account(
        opened,
        vault,
        name="Test shop",
        email=email,
        actor="cli:tests",
        reason="a test needs it",
        sandbox_url=SANDBOX_URL,
        public_url=PUBLIC_URL,
        sandbox=sandbox,
    )


@pytest.fixture
async def account(opened, vault):
    return await new_account(opened, vault)
