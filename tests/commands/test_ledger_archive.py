"""`quickkub ledger archive …`: what keeps a month is said, one goes and comes back, each command with its own login."""

import asyncio
import json

import asyncpg
import pytest
from click.testing import CliRunner

from gateway.cli import group
from gateway.foundation.settings import SettingsInvalid
from ledger.feed import read_entries
from tests.ledger.old_months import LIVE, MONTH, NEXT, closed, history

KEY = bytes(range(32))
ACT = ("--actor", "op_1", "--reason", "filed")
OLD = f"{MONTH:%Y-%m}"


@pytest.fixture
async def app(database):
    connection, superuser = await asyncpg.connect(database.app_dsn), await asyncpg.connect(database.superuser_dsn)
    await history(connection, superuser)
    yield connection
    await connection.close()
    await superuser.close()


@pytest.fixture
async def command(app, database, endpoints, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", database.app_dsn)
    monkeypatch.setenv("AUDITOR_DATABASE_URL", database.auditor_dsn)
    monkeypatch.setenv("DATABASE_OWNER_URL", database.owner_dsn)
    monkeypatch.setenv("REDIS_URL", endpoints.redis_url)
    monkeypatch.setenv("MASTER_KEY", KEY.hex())

    async def run(*arguments, answer=""):
        words = ["ledger", "archive", *(str(each) for each in arguments)]
        done = await asyncio.to_thread(CliRunner().invoke, group, words, answer)
        assert done.exception is None or isinstance(done.exception, SystemExit | SettingsInvalid), done.exception
        said = str(done.exception) if isinstance(done.exception, SettingsInvalid) else done.stderr
        text = done.stdout + (said if done.exit_code else "")
        return done.exit_code, " ".join(text.replace("│", " ").split())

    return run


async def sequences(app):
    return await app.fetch("SELECT book_id, sequence FROM ledger.entries ORDER BY book_id, sequence")


async def test_months_are_listed_with_what_keeps_them(app, command):
    why = "book 1: the month is not wholly before the first period that is not closed"
    code, text = await command("months", "--json")
    first, second, *_ = json.loads(text)
    assert (code, first) == (0, {"month": OLD, "ready": False, "why_not": [why]})
    assert (second["month"], second["ready"]) == (f"{NEXT:%Y-%m}", False)
    code, text = await command("months")
    assert (code, f"{OLD} no {why}" in text) == (0, True)
    await closed(app, NEXT)
    code, text = await command("months")
    assert (code, f"{OLD} ready" in text) == (0, True)
    assert await command("list") == (0, "no month was ever archived")


async def test_month_goes_and_comes_back(app, command, database, tmp_path):
    await closed(app, NEXT)
    before, folder = await sequences(app), tmp_path / "old"
    code, text = await command("month", OLD, "--folder", folder, *ACT, "--json", answer="y\n")
    assert code == 0, text
    assert [book["last_sequence"] for book in json.loads(text)["manifest"]["books"]] == [2, 1]
    assert [tuple(row) for row in await sequences(app)] == [(LIVE, 3), (LIVE, 4)]
    code, text = await command("list", "--json")
    assert [(each["book"], each["month"], each["rows_are_in"]) for each in json.loads(text)] == [
        (1, OLD, "ledger_archive"),
        (2000, OLD, "ledger_archive"),
    ]
    assert await command("check", folder) == (0, f"{folder} proves 3 entries of 2 books in {OLD}")

    owner = await asyncpg.connect(database.owner_dsn)
    for table in ("entries", "postings", "blocks"):
        await owner.execute(f"DROP TABLE ledger_archive.{table}_{MONTH:%Y_%m}")
    await owner.close()
    code, text = await command("list")
    assert (code, "the files only" in text) == (0, True)
    code, text = await command("restore", OLD, *ACT, "--yes")
    assert (code, "its tables are not there" in text) == (1, True)
    code, text = await command("restore", OLD, "--from", folder, *ACT, "--yes")
    assert (code, text) == (0, f"{OLD} is back in the books")
    assert await sequences(app) == before
    acts = await app.fetch("SELECT act, actor, subject, reason FROM ledger.ledger_acts ORDER BY acted_at DESC LIMIT 2")
    assert [tuple(row) for row in acts] == [
        ("restore_month", "op_1", OLD, "filed"),
        ("archive_month", "op_1", OLD, "filed"),
    ]
    (folder / "entries.csv.gz").write_bytes(b"")
    code, text = await command("check", folder)
    assert (code, "entries.csv.gz is not the manifest's" in text) == (1, True)


async def test_month_that_must_stay_stays(app, command, monkeypatch, tmp_path):
    before = await sequences(app)

    async def refused(code, why, *words, answer=""):
        done = await command(*words, answer=answer)
        assert (done[0], why in done[1]) == (code, True), done
        assert await sequences(app) == before
        assert await app.fetchval("SELECT count(*) FROM ledger.archives") == 0
        assert list(tmp_path.iterdir()) == []

    month = ("month", OLD, "--folder", tmp_path / "new", *ACT)
    await refused(1, "not wholly before the first period that is not closed", *month, "--yes")
    await closed(app, NEXT)
    await refused(1, "Aborted", *month, answer="n\n")
    await refused(2, "must be new, in a folder that is there", "month", OLD, "--folder", tmp_path, *ACT, "--yes")
    await refused(2, "is not a month such as 2026-11", "month", "2026-13", "--folder", tmp_path / "new", *ACT)
    await refused(2, "is not a month such as 2026-11", "month", "2026-1", "--folder", tmp_path / "new", *ACT)
    await refused(2, "Missing option '--reason'", "month", OLD, "--folder", tmp_path / "new", "--actor", "op_1")
    await refused(1, "among the last two", "month", f"{NEXT:%Y-%m}", "--folder", tmp_path / "new", *ACT, "--yes")
    await refused(1, "is not the newest that is archived", "restore", OLD, *ACT, "--yes")
    monkeypatch.delenv("DATABASE_OWNER_URL")
    await refused(1, "only the owner of the books moves months", *month, "--yes")
    monkeypatch.delenv("AUDITOR_DATABASE_URL")
    assert (await command("months"))[0] == 0
    assert [entry.sequence for entry in await read_entries(app, LIVE, after=0, limit=9)] == [1, 2, 3, 4]
