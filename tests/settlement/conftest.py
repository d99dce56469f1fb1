"""A merchant account with its test book. The tests of a file share a database: each has a book of its own."""

import pytest
import pytest_asyncio

from gateway.foundation.database import Database
from gateway.foundation.encryption import Vault
from gateway.merchants.accounts import create_account
from ledger.posting import Ledger
from tests.conftest import cloned_database
from tests.payments.conftest import House
from tests.settlement.desk import Desk
from tests.settlement.shops import FakeBank, Shop


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def database(endpoints):
    async with cloned_database(endpoints) as clone:
        yield clone


@pytest.fixture
async def opened(database):
    opened = await Database.open(database.app_dsn, pool_size=6)
    yield opened
    await opened.close()


@pytest.fixture
def vault():
    return Vault(bytes(range(32)))


@pytest.fixture
async def ledger(opened):
    ledger = Ledger(opened.ledger_pool)
    yield ledger
    await ledger.close()


@pytest.fixture
def bank():
    return FakeBank()


async def new_shop(opened, vault, ledger, bank) -> Shop:
    created = await create_account(
        opened,
        vault,
        name="Test shop",
        email="shop@example.test",
        actor="cli:tests",
        reason="a test needs it",
        sandbox_url="http://127.0.0.1:8090",
        public_url="http://127.0.0.1:8080",
        sandbox=None,
    )
    return Shop(
        account_id=created.account_id,
        book_id=created.test_book_id,
        database=opened,
        vault=vault,
        ledger=ledger,
        bank=bank,
    )


@pytest.fixture
async def shop(opened, vault, ledger, bank):
    return await new_shop(opened, vault, ledger, bank)


@pytest.fixture
async def desk(opened):
    house = House(opened)
    merchant = await house.new_merchant()
    yield Desk(house, merchant, FakeBank())
    await house.close()


@pytest.fixture
async def paid(desk):
    """A paid QR, and a second one, so that the merchant can afford the whole refund of the first."""
    await desk.paid()
    return await desk.paid()
