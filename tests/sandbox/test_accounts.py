"""Who asks is remembered for a second, and no longer."""

import asyncio

import asyncpg
import pytest

from gateway.foundation.remembering import REMEMBERED_SECONDS
from gateway.sandbox.accounts import Accounts, grant_token
from gateway.sandbox.world import open_pool


async def test_changed_credential_counts_at_once_here_and_a_second_later_elsewhere(database):
    pool = await open_pool(database.sandbox_dsn)
    try:
        here, elsewhere = Accounts(pool), Accounts(pool)
        assert await elsewhere.find("bank", "access_token", "old") is None
        await here.register("7", "bank", {"access_token": "old"}, None, {"access_token"})
        # That there was none is not remembered.
        for accounts in (here, elsewhere):
            assert await accounts.find("bank", "access_token", "old") == "7"
            assert (await accounts.of_world("7"))["bank"].credentials == {"access_token": "old"}
        await here.register("7", "bank", {"access_token": "new"}, "http://gateway.test", {"access_token"})
        assert await here.find("bank", "access_token", "old") is None
        assert (await here.of_world("7"))["bank"].callback_url == "http://gateway.test"
        assert await elsewhere.find("bank", "access_token", "old") == "7"
        await asyncio.sleep(REMEMBERED_SECONDS)
        assert await elsewhere.find("bank", "access_token", "old") is None
        assert (await elsewhere.of_world("7"))["bank"].credentials == {"access_token": "new"}
    finally:
        await pool.close()


async def test_credential_belongs_to_one_world_when_two_claim_it(database):
    pool = await open_pool(database.sandbox_dsn)
    try:
        accounts = Accounts(pool)
        await accounts.register("7", "bank", {"access_token": "mine"}, None, {"access_token"})
        with pytest.raises(asyncpg.UniqueViolationError):
            await accounts.register("8", "bank", {"access_token": "mine"}, None, {"access_token"})
        assert await accounts.find("bank", "access_token", "mine") == "7"
        assert await accounts.of_world("8") == {}
    finally:
        await pool.close()


async def test_token_opens_its_own_providers_door_while_it_lives(database):
    pool = await open_pool(database.sandbox_dsn)
    try:
        accounts = Accounts(pool)
        async with pool.acquire() as connection:
            await grant_token(connection, "7", "scb", "token", 1)
        assert await accounts.find_by_token("bbl", "token") is None
        assert await accounts.find_by_token("scb", "token") == "7"
        await asyncio.sleep(1)
        assert await accounts.find_by_token("scb", "token") is None
    finally:
        await pool.close()
