"""The chain from the command line: checkpoints, proofs that a stranger checks, and the act after a restore."""

import asyncio
import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest
from click.testing import CliRunner

from gateway import checkpoints
from gateway.cli import group
from gateway.foundation.clock import real_now
from gateway.foundation.database import Database
from gateway.foundation.metrics import LEDGER_CHECKPOINT_AGE_SECONDS, LEDGER_CHECKPOINTS_FAILING
from gateway.foundation.settings import Settings, SettingsInvalid
from ledger import verify_proof
from ledger.accounts import open_book
from ledger.posting import post_entries
from tests.ledger.checkpointing import cut_off
from tests.ledger.entries import BOOK, received

KEY = bytes(range(32))


@pytest.fixture
async def app(database):
    connection = await asyncpg.connect(database.app_dsn)
    await open_book(connection, BOOK, code="test", mode="test")
    await post_entries(connection, BOOK, [received(1), received(2)])
    yield connection
    await connection.close()


@pytest.fixture
async def command(app, database, endpoints, monkeypatch, tmp_path):
    """Runs `quickkub ledger …` as the operator does; gives the exit code and what was printed."""
    monkeypatch.setenv("DATABASE_URL", database.app_dsn)
    monkeypatch.setenv("REDIS_URL", endpoints.redis_url)
    monkeypatch.setenv("MASTER_KEY", KEY.hex())
    monkeypatch.setenv("CHECKPOINT_SIGNING_KEY", KEY.hex())
    monkeypatch.setenv("QUICKKUB_CHECKPOINT_FOLDER", str(tmp_path / "published"))

    async def run(*arguments):
        # In a thread, because a command has an event loop of its own.
        done = await asyncio.to_thread(CliRunner().invoke, group, ["ledger", *(str(each) for each in arguments)])
        assert done.exception is None or isinstance(done.exception, SystemExit | SettingsInvalid), done.exception
        return done.exit_code, done.stdout + (done.stderr if done.exit_code else "")

    return run


def unboxed(text: str) -> str:
    """An error without its box, which breaks lines wherever a path ends."""
    return " ".join(text.replace("│", " ").split())


async def test_from_checkpoint_to_a_proof_that_a_stranger_checks(app, command, tmp_path):
    code, text = await command("checkpoint", "--book", BOOK, "--json")
    made = json.loads(text)
    assert (code, made["book"], made["number"], made["last_sequence"]) == (0, BOOK, 1, 2)
    assert (tmp_path / "published" / f"book-{BOOK}" / "000001-000000001.checkpoint").exists()
    assert await command("checkpoint", "--book", BOOK) == (0, f"nothing is new in book {BOOK}\n")
    assert await command("checkpoint", "--book", BOOK, "--json") == (0, "null\n")
    code, text = await command("checkpoints", "--book", BOOK, "--check")
    assert (code, text.splitlines()[1]) == (0, "ok      1 checkpoints agree with the books")
    code, text = await command("checkpoints", "--book", BOOK, "--json")
    assert (code, json.loads(text)) == (0, {"checkpoints": [made], "problems": None})

    proof, key = tmp_path / "proof.json", tmp_path / "public_key.pem"
    assert (await command("prove", "--book", BOOK, "--from", 1, "--to", 2, "--out", proof))[0] == 0
    code, text = await command("public-key")
    key.write_text(text)
    assert json.loads((await command("public-key", "--json"))[1])["pem"] == text
    checked = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, verify_proof.__file__, proof, key],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout.startswith(f"PROVED: entries 1 … 2 are all there and stand in book {BOOK} as shown")
    code, text = await command("prove", "--book", BOOK, "--entry", 2, "--out", proof, "--json")
    assert json.loads(text) == {"book": BOOK, "first_sequence": 2, "last_sequence": 2, "file": str(proof)}
    assert json.loads(proof.read_bytes())["first_sequence"] == 2
    assert not proof.with_name("proof.json.part").exists()


async def test_what_cannot_be_done_is_said_in_a_sentence(app, command, tmp_path, monkeypatch):
    out = tmp_path / "proof.json"
    code, text = await command("prove", "--book", BOOK, "--entry", 1, "--out", out)
    assert (code, f"no checkpoint of book {BOOK} covers entry 1 yet" in text, out.exists()) == (1, True, False)
    for arguments, said in (
        (("--from", 1), "say either --entry, or --from and --to"),
        ((), "say either --entry, or --from and --to"),
        (("--entry", 1, "--to", 2), "say either --entry, or --from and --to"),
        (("--from", 2, "--to", 1), "the range ends at 1, before it begins at 2"),
    ):
        code, text = await command("prove", "--book", BOOK, *arguments, "--out", out)
        assert (code, said in text) == (2, True), text
    code, text = await command("checkpoint", "--book", 77)
    assert (code, "there is no book 77" in text) == (1, True)
    code, text = await command("restored", "--book", BOOK, "--reason", " ")
    assert (code, "must not be empty" in text) == (2, True)
    monkeypatch.delenv("CHECKPOINT_SIGNING_KEY")
    assert (await command("checkpoint", "--book", BOOK))[0] == 1
    assert await app.fetchval("SELECT count(*) FROM ledger.checkpoints") == 0


async def test_a_restore_is_found_and_put_on_the_record(app, command, database, tmp_path):
    folder = ("--folder", tmp_path / "elsewhere")
    await command("checkpoint", "--book", BOOK, *folder)
    await post_entries(app, BOOK, [received(3)])
    await command("checkpoint", "--book", BOOK, *folder)
    superuser = await asyncpg.connect(database.superuser_dsn)
    await cut_off(superuser, 1)
    await superuser.close()
    code, text = await command("checkpoints", "--book", BOOK, "--check", *folder)
    assert (code, "BROKEN  checkpoint 000001-000000002 lies ahead of the books" in text) == (1, True)
    code, text = await command("checkpoint", "--book", BOOK, *folder)
    assert (code, "lies ahead of the books" in text) == (1, True)
    code, text = await command("restored", "--book", BOOK, "--reason", "x", "--folder", tmp_path / "mistyped")
    assert (code, "has none of the 1 checkpoints of book 1000" in unboxed(text)) == (1, True)
    assert await app.fetchval("SELECT count(*) FROM ledger.restorations") == 0
    code, text = await command("restored", "--book", BOOK, "--reason", "disk lost", *folder)
    assert (code, text) == (
        0,
        f"book {BOOK} goes on in incarnation 2\nentries 3 … 3 are lost, through checkpoint 000001-000000002\n",
    )
    assert (await command("checkpoints", "--book", BOOK, "--check", *folder))[0] == 0
    assert (await command("checkpoint", "--book", BOOK, *folder))[0] == 0


async def test_each_book_has_a_checkpoint_a_day_and_one_that_fails_keeps_nobody_back(app, database, tmp_path):
    await open_book(app, BOOK + 1, code="second", mode="test")
    folder = tmp_path / "published"
    settings = Settings(checkpoint_signing_key=KEY, checkpoint_folder=folder)
    numbers = "SELECT book_id, max(checkpoint_number) FROM ledger.checkpoints GROUP BY 1 ORDER BY 1"

    async def rows():
        return [tuple(row) for row in await app.fetch(numbers)]

    house = await Database.open(database.app_dsn, pool_size=2)
    try:
        assert await checkpoints.make_due(house, Settings()) == 0
        assert LEDGER_CHECKPOINT_AGE_SECONDS._value.get() > 0
        obstacle = folder / f"book-{BOOK}"
        folder.mkdir()
        obstacle.write_text("a file where the folder should be")
        opened = await app.fetchval("SELECT count(*) FROM ledger.books")
        assert await checkpoints.make_due(house, settings) == opened - 1
        assert LEDGER_CHECKPOINTS_FAILING._value.get() == 1
        assert BOOK not in dict(await rows())
        obstacle.unlink()
        assert await checkpoints.make_due(house, settings) == 1
        assert LEDGER_CHECKPOINTS_FAILING._value.get() == 0
        assert LEDGER_CHECKPOINT_AGE_SECONDS._value.get() == 0
        assert dict(await rows())[BOOK] == 1
        await post_entries(app, BOOK, [received(3)])
        assert await checkpoints.make_due(house, settings) == 0
        made_at = await app.fetchval("SELECT made_at FROM ledger.checkpoints WHERE book_id = $1", BOOK)
        age = (real_now() - made_at).total_seconds()
        assert 0 < LEDGER_CHECKPOINT_AGE_SECONDS._value.get() <= age + 1
    finally:
        await house.close()


async def test_the_next_day_makes_the_next_one(app, database, tmp_path, monkeypatch):
    settings = Settings(checkpoint_signing_key=KEY, checkpoint_folder=Path(tmp_path))
    house = await Database.open(database.app_dsn, pool_size=2)
    try:
        await checkpoints.make_due(house, settings)
        await post_entries(app, BOOK, [received(3)])
        tomorrow = real_now() + timedelta(days=1)
        monkeypatch.setattr(checkpoints, "real_now", lambda: tomorrow)
        assert await checkpoints.make_due(house, settings) == 1
        assert await checkpoints.make_due(house, settings) == 0
    finally:
        await house.close()


async def test_verification_says_whether_it_looked_at_what_was_published(app, command, tmp_path, monkeypatch):
    folder, key = ("--folder", tmp_path / "published"), tmp_path / "public_key.pem"
    await command("checkpoint", "--book", BOOK, *folder)
    key.write_text((await command("public-key"))[1])
    code, text = await command("verify", "--book", BOOK, *folder)
    assert (code, "published_checkpoints" in text, "not compared" in text) == (0, True, False)
    code, text = await command("verify", "--book", BOOK, "--folder", tmp_path / "not mounted")
    assert (code, "BROKEN" in text) == (1, True)
    monkeypatch.delenv("CHECKPOINT_SIGNING_KEY")  # as an auditor has none
    code, text = await command("verify", "--book", BOOK, *folder)
    assert (code, "not compared with published checkpoints: no key is set (--public-key)" in text) == (0, True)
    for words in (("verify",), ("checkpoints", "--check")):
        assert (await command(*words, "--book", BOOK, *folder, "--public-key", key))[0] == 0, words
    key.write_text("no key")
    code, text = await command("verify", "--book", BOOK, *folder, "--public-key", key)
    assert (code, "holds no Ed25519 public key in PEM" in unboxed(text)) == (1, True)


async def test_who_lost_what_was_published_must_say_so(app, command, tmp_path):
    await command("checkpoint", "--book", BOOK, "--folder", tmp_path / "burnt")
    elsewhere = ("--folder", tmp_path / "elsewhere")
    assert (await command("restored", "--book", BOOK, "--reason", "x", *elsewhere))[0] == 1
    code, text = await command("restored", "--book", BOOK, "--reason", "fire", "--published-lost", *elsewhere)
    last = "nothing that was published is lost; the last published checkpoint is 000001-000000001"
    assert (code, text) == (0, f"book {BOOK} goes on in incarnation 2\n{last}\n")
    for _ in range(2):
        assert (await command("verify", "--book", BOOK, *elsewhere))[0] == 0
        assert (await command("checkpoint", "--book", BOOK, *elsewhere))[0] == 0
