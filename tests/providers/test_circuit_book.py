"""Open circuits in the database: seen by staff, closed by hand, and never in a payment's way."""

import asyncio
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from gateway.cli import group
from gateway.foundation.database import Database
from gateway.foundation.encryption import Vault
from gateway.merchants import provider_accounts
from gateway.providers.circuit_book import StoredCircuits, close_by_hand, open_circuits
from gateway.providers.circuits import CALLS_MIN, CircuitKey, Circuits

KEY = CircuitKey("scb", "charge", "live")


class Clock:
    now_ms = 0

    def __call__(self):
        return self.now_ms


@pytest.fixture
async def opened(database):
    opened = await Database.open(database.app_dsn, pool_size=2)
    yield opened
    await opened.close()


async def open_one(circuits):
    for _ in range(CALLS_MIN):
        await circuits.record(KEY, is_answered=False)


async def test_opened_circuit_is_seen_and_an_answer_closes_it(opened):
    clock = Clock()
    circuits = Circuits(StoredCircuits(opened), clock)
    await open_one(circuits)
    async with opened.read() as connection:
        [found] = await open_circuits(connection)
    assert (found.provider, found.operation, found.scope) == ("scb", "charge", "live")
    assert (found.calls, found.silent, found.closed_at) == (CALLS_MIN, CALLS_MIN, None)
    await circuits.record(KEY, is_answered=True)
    async with opened.read() as connection:
        assert await open_circuits(connection) == []
        [past] = await open_circuits(connection, closed_too=True)
    assert past.closed_by == "answer"


async def test_closed_by_hand_in_every_process_within_a_second(opened):
    clocks = Clock(), Clock()
    processes = [Circuits(StoredCircuits(opened), clock) for clock in clocks]
    for process in processes:
        await open_one(process)
        assert not await process.admits(KEY)
    async with opened.transaction() as connection:
        assert await close_by_hand(connection, KEY, actor="cli:test")
        assert not await close_by_hand(connection, KEY, actor="cli:test")
    for process, clock in zip(processes, clocks, strict=True):
        clock.now_ms = 1_001
        assert await process.admits(KEY)
        assert process.is_closed(KEY)


async def test_database_that_is_gone_does_not_matter(opened):
    circuits = Circuits(StoredCircuits(opened), Clock())
    await opened.close()
    await open_one(circuits)
    assert not circuits.is_closed(KEY)
    assert not await circuits.admits(KEY)


async def test_command_shows_closes_and_keeps_who_and_why(opened, database, endpoints, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", database.app_dsn)
    monkeypatch.setenv("REDIS_URL", endpoints.redis_url)
    monkeypatch.setenv("MASTER_KEY", bytes(range(32)).hex())

    async def command(*words):
        done = await asyncio.to_thread(CliRunner().invoke, group, ["providers", *words])
        return done.exit_code, done.output

    assert await command("circuits") == (0, "every circuit is closed\n")
    await StoredCircuits(opened).opened(KEY, datetime(2026, 11, 28, tzinfo=UTC), calls=12, silent=11)
    code, text = await command("circuits")
    assert code == 0
    assert "11 of 12" in text
    code, text = await command("close", "scb", "charge", "--reason", "they are back")
    assert (code, text) == (0, "calls of charge to scb (live) are let through again\n")
    assert (await command("close", "scb", "charge", "--reason", "again"))[0] == 1
    async with opened.ledger_pool.acquire() as connection:
        acts = await connection.fetch("SELECT act, subject, reason FROM gateway.operator_acts")
    assert [tuple(act) for act in acts] == [("circuit.closed", "scb/charge/live", "they are back")]
    code, text = await command("list")
    assert code == 0
    assert "promptpay" in text


async def test_command_connects_the_live_book_and_keeps_its_secrets(opened, database, endpoints, monkeypatch, tmp_path):
    monkeypatch.setenv("DATABASE_URL", database.app_dsn)
    monkeypatch.setenv("REDIS_URL", endpoints.redis_url)
    monkeypatch.setenv("MASTER_KEY", bytes(range(32)).hex())

    async def connect(credentials, *, base_url="https://api.omise.co"):
        file = tmp_path / "omise.json"
        file.write_text(credentials)
        words = ["providers", "connect", "omise", "--base-url", base_url, "--credentials", file, "--reason", "contract"]
        done = await asyncio.to_thread(CliRunner().invoke, group, [str(word) for word in words])
        return done.exit_code, done.output

    whole = '{"public_key": "pkey_1", "secret_key": "skey_of_the_test", "webhook_secret": "c2VjcmV0"}'
    code, first = await connect(whole)
    assert (code, "/v1/callbacks/omise/" in first, "skey" in first) == (0, True, False)
    code, second = await connect(whole.replace("skey_of_the_test", "skey_2"))
    assert (code, second) == (0, first), "the provider goes on calling the same address"
    vault = Vault(bytes(range(32)))
    async with opened.read() as connection:
        account = await provider_accounts.for_book(connection, vault, 1, "omise")
    assert (account.credentials["secret_key"], account.livemode) == ("skey_2", True)
    code, text = await connect('{"secret_key": "skey_3"}')
    assert (code, "without public_key, webhook_secret" in text) == (0, True)
    for wrong, address in (("[]", "https://x"), ("{", "https://x"), (whole, "http://x")):
        assert (await connect(wrong, base_url=address))[0] == 2
    async with opened.ledger_pool.acquire() as connection:
        acts = await connection.fetch("SELECT act, subject FROM gateway.operator_acts")
        stored = await connection.fetchval("SELECT string_agg(p::text, '') FROM gateway.provider_accounts AS p")
    assert [tuple(act) for act in acts] == [("provider.connected", account.account_id)] * 3
    assert "skey" not in stored
