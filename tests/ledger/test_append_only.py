"""Attacks: what the app role cannot do, and what not even the owner of the tables can."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from ledger.posting import post_entries
from ledger.verification import verify
from tests.conftest import ClonedDatabase
from tests.ledger.entries import BOOK, received

TABLES = (
    "books",
    "accounts",
    "entries",
    "postings",
    "blocks",
    "idempotency_keys",
    "entry_references",
    "entry_caps",
    "ledger_acts",
    "account_kinds",
    "entry_kinds",
)
FIRST_COLUMN = {"ledger_acts": "act_id", "account_kinds": "kind", "entry_kinds": "kind"}
PARTITIONED = ("entries", "postings", "blocks")


@pytest.fixture
async def owner(database: ClonedDatabase) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.owner_dsn)
    yield connection
    await connection.close()


async def attacks(app: asyncpg.Connection) -> list[str]:
    """UPDATE, DELETE, TRUNCATE of every table and of every current partition."""
    month = await app.fetchval("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')")
    year = await app.fetchval("SELECT max(tableoid::regclass::text) FROM ledger.idempotency_keys")
    names = [f"ledger.{table}" for table in TABLES]
    names += [f"ledger.{table}_{month}" for table in PARTITIONED] + [year]
    statements = []
    for name in names:
        column = FIRST_COLUMN.get(name.removeprefix("ledger."), "book_id")
        statements += [
            f"UPDATE {name} SET {column} = {column}",
            f"DELETE FROM {name}",
            f"TRUNCATE {name} CASCADE",
        ]
    return statements


async def test_app_role_can_read_and_call_and_nothing_else(app: asyncpg.Connection) -> None:
    await post_entries(app, BOOK, [received(1, drawable_minor=1)])
    month = await app.fetchval("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')")
    statements = [
        *await attacks(app),
        *(f"INSERT INTO ledger.{table} SELECT * FROM ledger.{table}" for table in TABLES),
        f"INSERT INTO ledger.entries_{month} SELECT * FROM ledger.entries",
        "SELECT ledger.refuse_change_v1()",
        "SELECT ledger.guard_truncate_v1('books')",
        "ALTER TABLE ledger.entries DISABLE TRIGGER ALL",
        "CREATE TABLE ledger.mine ()",
    ]
    for statement in statements:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await app.execute(statement)
    assert (await verify(app, BOOK)).passed


@pytest.mark.parametrize("replica", [False, True])
async def test_rows_cannot_be_changed_by_the_owner_or_a_superuser_playing_replica(
    app: asyncpg.Connection, owner: asyncpg.Connection, superuser: asyncpg.Connection, replica: bool
) -> None:
    await post_entries(app, BOOK, [received(1, drawable_minor=1)])
    await superuser.execute(
        "INSERT INTO ledger.entry_references (book_id, scheme, value, sequence) VALUES (77, 'a', 'b', 1)"
    )
    attacker = superuser if replica else owner
    if replica:
        await attacker.execute("SET session_replication_role = replica")
    for statement in await attacks(app):
        with pytest.raises(asyncpg.PostgresError, match="append-only") as refused:
            await attacker.execute(statement)
        assert refused.value.sqlstate == "QK005"
    assert (await verify(app, BOOK)).passed


async def test_row_put_straight_into_a_partition_is_found(app: asyncpg.Connection, owner: asyncpg.Connection) -> None:
    await post_entries(app, BOOK, [received(1)])
    month = await app.fetchval("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')")
    await owner.execute(
        f"INSERT INTO ledger.postings_{month} SELECT book_id, sequence, recorded_at, credit_account,"
        " debit_account, amount_minor, 0, 0, 2::smallint, NULL, available_on, NULL FROM ledger.postings"
    )
    failed = {check.name for check in (await verify(app, BOOK)).checks if not check.passed}
    assert failed == {"account_days", "account_totals", "block_hashes"}


async def test_months_far_away_are_not_made(app: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.PostgresError, match="not near"):
        await app.execute("SELECT ledger.create_month_v1('2999-01-01')")
    assert await app.fetchval("SELECT ledger.create_month_v1(current_date)") is False
