"""A database with one merchant, a vault, and a clock that stands where the test puts it."""

import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec
import pytest
import pytest_asyncio
from sqlalchemy import text

from gateway.foundation.database import Database
from gateway.foundation.encryption import Vault
from gateway.merchants.data_keys import new_data_key
from gateway.merchants.tables import data_keys, provider_accounts
from gateway.webhooks import deliveries, endpoints, events, inbox, replays
from gateway.webhooks.events import NewEvent, record
from gateway.webhooks.tables import metadata
from tests.conftest import ClonedDatabase, cloned_database

BOOK = 7
ACCOUNT = "acct_test_1"


class Clock:
    """Real time of the code under test: begins at the real one and stands still until it is moved."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **units: float) -> None:
        self.now += timedelta(**units)


class House(msgspec.Struct):
    """What the tests of this room need of the house."""

    database: Database
    vault: Vault
    clock: Clock

    async def rows(self, statement: str, **values: object) -> list[dict[str, object]]:
        async with self.database.read() as connection:
            return [dict(row) for row in (await connection.execute(text(statement), values)).mappings()]

    async def endpoint(self, url: str, account_id: str = ACCOUNT, **options: object) -> tuple[str, str]:
        """Id and secret of a new endpoint."""
        async with self.database.transaction() as connection:
            endpoint, secret = await endpoints.create(
                connection,
                self.vault,
                account_id=account_id,
                book_id=BOOK,
                livemode=False,
                url=url,
                created_at=self.clock(),
                allow_loopback=True,
                **options,
            )
        return endpoint.id, secret

    async def happen(
        self,
        *types: str,
        content: bytes = b'{"id":"pi_test_1","object":"payment_intent"}',
        account_id: str = ACCOUNT,
    ) -> None:
        async with self.database.transaction() as connection:
            await record(
                connection,
                [
                    NewEvent(
                        book_id=BOOK,
                        account_id=account_id,
                        livemode=False,
                        type=kind,
                        object=content,
                        created_at=datetime(2026, 1, 1, tzinfo=UTC),
                    )
                    for kind in types
                ],
            )


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def clone(endpoints) -> AsyncIterator[ClonedDatabase]:
    """One database for all tests of this room: its tables can be emptied, unlike those of the ledger."""
    async with cloned_database(endpoints) as cloned:
        yield cloned


@pytest.fixture
async def house(clone: ClonedDatabase, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    await _empty(clone.owner_dsn)
    opened = await Database.open(clone.app_dsn, pool_size=8)
    clock, vault = Clock(), Vault(secrets.token_bytes(32))
    for module in (deliveries, endpoints, events, inbox, replays):
        monkeypatch.setattr(module, "real_now", clock)
    async with opened.transaction() as connection:
        await new_data_key(connection, vault, ACCOUNT)
    try:
        yield House(opened, vault, clock)
    finally:
        await opened.close()


async def _empty(dsn: str) -> None:
    names = [table.fullname for table in (*metadata.sorted_tables, data_keys, provider_accounts)]
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(f"TRUNCATE {', '.join(names)}")
    finally:
        await connection.close()
