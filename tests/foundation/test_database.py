"""Connections: what a transaction keeps, what a posting session may not do."""

import asyncio

import asyncpg
import pytest
import redis.asyncio
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from gateway.foundation.database import Database, driver, is_passing, send
from gateway.foundation.statements import Statement
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


NOTE = Statement(text("INSERT INTO public.notes VALUES (:note) RETURNING note"))


async def test_a_statement_by_itself_has_committed_when_it_answers(opened):
    async with opened.transaction() as other:
        assert [row["note"] for row in await opened.ask(NOTE, {"note": "kept"})] == ["kept"]
        assert (await other.execute(text("SELECT note FROM public.notes"))).scalars().all() == ["kept"]


async def test_a_statement_by_itself_waits_for_nobody_who_reads_the_ledger(opened):
    async with opened.ledger_pool.acquire(), opened.ledger_pool.acquire(), asyncio.timeout(20):
        assert [row["note"] for row in await opened.ask(NOTE, {"note": "meanwhile"})] == ["meanwhile"]


async def test_errors_are_the_same_however_a_statement_is_sent(opened):
    divided, missing = (Statement(text(f"SELECT {what}")) for what in ("1 / 0", "absent"))
    for statement, state in ((divided, "22012"), (missing, "42703")):
        errors = []
        async with opened.transaction() as fresh, opened.transaction() as begun:
            await send(begun, NOTE, {"note": "undone"})
            for source in (opened, fresh, begun):
                with pytest.raises(DBAPIError) as raised:
                    await send(source, statement, {})
                errors.append((raised.value.orig.sqlstate, is_passing(raised.value)))
            await fresh.rollback()
            await begun.rollback()
        assert errors == [(state, False)] * 3
    assert await notes(opened) == []


async def test_a_session_that_is_ended_within_a_transaction_is_a_passing_error_and_is_not_lent_again(opened, database):
    own = Statement(text("SELECT pg_backend_pid() AS own"))
    superuser = await asyncpg.connect(database.superuser_dsn)
    with pytest.raises(DBAPIError) as raised:
        async with opened.transaction() as connection:
            [row] = await send(connection, own, {})
            await superuser.execute("SELECT pg_terminate_backend($1, 5000)", row["own"])
            await send(connection, NOTE, {"note": "lost"})
    await superuser.close()
    assert is_passing(raised.value)
    async with opened.transaction() as connection:
        [again] = await send(connection, own, {})
    assert again["own"] != row["own"]
    assert await notes(opened) == []


async def test_a_session_that_is_ended_is_a_passing_error_and_the_next_is_a_new_one(opened, database):
    own = Statement(text("SELECT pg_backend_pid() AS own"))
    [row] = await opened.ask(own, {})
    superuser = await asyncpg.connect(database.superuser_dsn)
    sleeping = asyncio.create_task(opened.ask(Statement(text("SELECT pg_sleep(30)")), {}))
    await asyncio.sleep(0.2)
    await superuser.execute("SELECT pg_terminate_backend($1)", row["own"])
    await superuser.close()
    with pytest.raises(DBAPIError) as raised:
        await sleeping
    assert is_passing(raised.value)
    [again] = await opened.ask(own, {})
    assert again["own"] != row["own"]


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


async def test_a_statement_by_itself_that_is_refused_for_a_while_is_no_failure_of_ours(opened, database):
    """What the front door answers with 503, and what is halved until one item stands alone, is told by these."""
    locking = await asyncpg.connect(database.owner_dsn)
    try:
        async with locking.transaction():
            await locking.execute("LOCK TABLE public.notes")
            with pytest.raises(DBAPIError) as waited:
                await opened.ask(Statement(text("SELECT note FROM public.notes")), {})
    finally:
        await locking.close()
    assert isinstance(waited.value.orig.__cause__, asyncpg.LockNotAvailableError)
    assert is_passing(waited.value)
    with pytest.raises(DBAPIError) as unsendable:
        await opened.ask(Statement(text("SELECT CAST(:number AS integer)")), {"number": "one"})
    assert not is_passing(unsendable.value)
