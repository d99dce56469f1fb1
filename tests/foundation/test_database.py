"""Connections: what a transaction keeps, what a posting session may not do."""

import asyncpg
import pytest
import redis.asyncio
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from gateway.foundation.database import Database, driver
from tests.conftest import ClonedDatabase


@pytest.fixture
async def opened(database: ClonedDatabase):
    owner = await asyncpg.connect(database.owner_dsn)
    await owner.execute("CREATE TABLE public.notes (note text)")
    await owner.execute("GRANT SELECT, INSERT ON public.notes TO quickkub_app")
    await owner.close()
    opened = await Database.open(database.app_dsn, pool_size=2)
    yield opened
    await opened.close()


async def notes(opened: Database) -> list[str]:
    async with opened.read() as connection:
        return list((await connection.execute(text("SELECT note FROM public.notes ORDER BY note"))).scalars())


async def test_transaction_is_kept_when_the_block_ends(opened):
    async with opened.transaction() as connection:
        await connection.execute(text("INSERT INTO public.notes VALUES ('kept')"))
    assert await notes(opened) == ["kept"]


async def test_transaction_is_undone_when_the_block_raises(opened):
    with pytest.raises(RuntimeError):
        async with opened.transaction() as connection:
            await connection.execute(text("INSERT INTO public.notes VALUES ('undone')"))
            raise RuntimeError
    assert await notes(opened) == []


async def test_driver_connection_shares_the_transaction(opened):
    with pytest.raises(RuntimeError):
        async with opened.transaction() as connection:
            await connection.execute(text("INSERT INTO public.notes VALUES ('first')"))
            await driver(connection).execute("INSERT INTO public.notes VALUES ('second')")
            raise RuntimeError
    assert await notes(opened) == []


async def test_driver_connection_is_refused_before_the_transaction_has_begun(opened):
    async with opened.transaction() as connection:
        with pytest.raises(AssertionError, match="run a statement"):
            driver(connection)


async def test_a_reader_cannot_write(opened):
    async with opened.read() as connection:
        with pytest.raises(AssertionError, match="a reader writes"):
            await connection.execute(text(" INSERT INTO public.notes VALUES ('looked')"))
    assert await notes(opened) == []


async def test_one_statement_commits_by_itself_and_a_second_is_refused(opened):
    async with opened.statement() as connection:
        await connection.execute(text("INSERT INTO public.notes VALUES ('first')"))
        assert await notes(opened) == ["first"]
        with pytest.raises(AssertionError, match="one statement, then another"):
            await connection.execute(text("INSERT INTO public.notes VALUES ('second')"))
    async with opened.statement() as connection:
        with pytest.raises(AssertionError, match="one statement, and many"):
            await connection.execute(text("INSERT INTO public.notes VALUES (:note)"), [{"note": "a"}, {"note": "b"}])
    async with opened.statement() as connection:
        await connection.execute(text("INSERT INTO public.notes VALUES ('third')"))
    assert await notes(opened) == ["first", "third"]


async def test_a_reader_leaves_its_connection_in_no_transaction_and_to_others_as_it_was(opened):
    async with opened.read() as connection:
        await connection.execute(text("SELECT 1"))
        inner = connection.sync_connection.connection.driver_connection
        assert not inner.is_in_transaction()
    async with opened.transaction() as connection:
        await connection.execute(text("INSERT INTO public.notes VALUES ('meant')"))
        assert driver(connection) is inner
        assert await notes(opened) == []
    assert await notes(opened) == ["meant"]


async def test_sessions_have_short_waits_and_utc(opened):
    expected = {"lock_timeout": "2s", "idle_in_transaction_session_timeout": "5s", "TimeZone": "UTC"}
    async with opened.ledger_pool.acquire() as posting, opened.read() as reading:
        for name, value in expected.items():
            assert await posting.fetchval("SELECT current_setting($1)", name) == value
            shown = await reading.execute(text("SELECT current_setting(:name)"), {"name": name})
            assert shown.scalar_one() == value


async def test_each_test_has_its_own_valkey_contents(valkey_url):
    client = redis.asyncio.from_url(valkey_url)
    assert await client.dbsize() == 0
    await client.set("left", "behind")
    await client.aclose()


test_a_later_test_finds_nothing_left_behind = test_each_test_has_its_own_valkey_contents


async def test_error_of_a_statement_shows_none_of_its_values(opened):
    with pytest.raises(DBAPIError) as caught:
        async with opened.transaction() as connection:
            await connection.execute(text("INSERT INTO public.missing VALUES (:note)"), {"note": "planted"})
    assert "planted" not in str(caught.value)
