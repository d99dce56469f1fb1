"""`quickkub ledger feed`: what another system follows comes in order and goes on where it was left."""

import asyncio
import json
import os
import signal
import sys
from uuid import uuid4

import asyncpg
import pytest
from click.testing import CliRunner

from gateway.cli import group
from ledger.accounts import open_book
from ledger.consumers import claim
from ledger.posting import post_entries
from tests.ledger.entries import BOOK, received

ACT = ("--actor", "op_1", "--reason", "lost a file")


@pytest.fixture
async def app(database):
    connection = await asyncpg.connect(database.app_dsn)
    await open_book(connection, BOOK, code="test", mode="test")
    await post_entries(connection, BOOK, [received(amount) for amount in range(1, 8)])
    yield connection
    await connection.close()


@pytest.fixture
def command(app, database, endpoints, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", database.app_dsn)
    monkeypatch.setenv("REDIS_URL", endpoints.redis_url)
    monkeypatch.setenv("MASTER_KEY", bytes(32).hex())

    async def run(*arguments):
        words = ["ledger", *(str(each) for each in arguments), "--book", str(BOOK)]
        done = await asyncio.to_thread(CliRunner().invoke, group, words)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.stdout + (done.stderr if done.exit_code else "")

    return run


def sequences(text):
    return [json.loads(line)["sequence"] for line in text.splitlines()]


async def cursor(app, name="warehouse"):
    return await app.fetchval("SELECT sequence FROM ledger.feed_consumers WHERE name = $1", name)


async def test_feed_goes_on_where_it_was_left(app, command):
    code, text = await command("feed", "warehouse", "--once")
    assert (code, sequences(text)) == (0, [1, 2, 3, 4, 5, 6, 7])
    first = json.loads(text.splitlines()[0])
    assert (first["kind"], first["postings"][0]["amount_minor"]) == ("provider_settled", 1)
    assert await command("feed", "warehouse", "--once") == (0, "")
    await post_entries(app, BOOK, [received(1)])
    assert sequences((await command("feed", "warehouse", "--once"))[1]) == [8]
    assert sequences((await command("feed", "other", "--once", "--start", 6))[1]) == [7, 8]
    code, text = await command("consumers", "--json")
    assert [(each["name"], each["sequence"], each["behind"]) for each in json.loads(text)] == [
        ("other", 8, 0),
        ("warehouse", 8, 0),
    ]
    code, text = await command("rewind", "warehouse", "--to", 5, *ACT)
    assert (code, text) == (0, f"warehouse of book {BOOK} goes on after 5\n")
    code, text = await command("consumers")
    assert [line.split() for line in text.splitlines()[1:]] == [["other", "8", "0"], ["warehouse", "5", "3"]]
    assert sequences((await command("feed", "warehouse", "--once"))[1]) == [6, 7, 8]
    act = await app.fetchrow("SELECT act, actor, subject FROM ledger.ledger_acts ORDER BY acted_at DESC LIMIT 1")
    assert tuple(act) == ("rewind_consumer", "op_1", f"{BOOK}/warehouse from 8 to 5")


async def test_what_cannot_be_followed_is_said_and_nothing_moves(app, command):
    assert await command("consumers") == (0, f"nobody follows book {BOOK}\n")
    assert (await command("feed", "x" * 101, "--once"))[0] == 2
    code, text = await command("feed", "warehouse", "--once", "--start", 8)
    assert (code, "beyond the last entry" in text) == (2, True)
    code, text = await command("rewind", "warehouse", "--to", 0, *ACT)
    assert (code, "is not beyond 0" in text) == (1, True)
    assert await command("consumers") == (0, f"nobody follows book {BOOK}\n")
    assert await claim(app, BOOK, "warehouse", holder=uuid4()) == 0
    code, text = await command("feed", "warehouse", "--once")
    assert (code, "another process follows" in text) == (1, True)
    assert await cursor(app) == 0


async def test_feed_follows_until_it_is_told_to_stop_and_leaves_its_turn(app, command):
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway.cli", "ledger", "feed", "warehouse", "--book", str(BOOK),
        stdout=asyncio.subprocess.PIPE, env=dict(os.environ),
    )  # fmt: skip
    assert program.stdout is not None
    first = [json.loads(await program.stdout.readline())["sequence"] for _ in range(7)]
    await post_entries(app, BOOK, [received(1), received(2)])
    later = [json.loads(await program.stdout.readline())["sequence"] for _ in range(2)]
    program.send_signal(signal.SIGTERM)
    rest, _ = await program.communicate()
    assert (first, later, rest, program.returncode) == ([1, 2, 3, 4, 5, 6, 7], [8, 9], b"", 0)
    assert await cursor(app) == 9
    assert await command("feed", "warehouse", "--once") == (0, "")


async def test_batch_that_nobody_took_comes_again(app, command, tmp_path):
    """The reader goes away before it has read: what was not written out is not marked as handled."""
    read, write = os.pipe()
    os.close(read)
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway.cli", "ledger", "feed", "warehouse", "--book", str(BOOK), "--once",
        stdout=write, env=dict(os.environ),
    )  # fmt: skip
    os.close(write)
    assert await program.wait() == 1
    assert await cursor(app) == 0
    assert sequences((await command("feed", "warehouse", "--once"))[1]) == [1, 2, 3, 4, 5, 6, 7]
