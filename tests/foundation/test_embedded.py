"""Embedded servers: they come, they go, they survive being killed, and nobody else gets in.

Method: real servers in homes of their own; crashes are SIGKILL to processes found by their recorded ids.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio

from gateway.foundation import embedded
from gateway.foundation.embedded import EmbeddedUnavailable, binaries, postgres, processes
from gateway.foundation.embedded.home import SOCKET_PATH_BYTES_MAX, Home
from gateway.foundation.schema import migrate
from gateway.foundation.settings import Settings
from tests.conftest import fastest_folder

SLOW_MACHINE_SECONDS = 30


@pytest.fixture
def empty():
    """Where a home may come, with a short path; its servers are stopped afterwards whatever happened."""
    with tempfile.TemporaryDirectory(prefix="qk-", dir=fastest_folder()) as name:
        home = Path(name) / ".quickkub"
        try:
            yield home
        finally:
            embedded.stop(home)


@pytest.fixture(scope="module")
def seed():
    """A home whose servers have run once and were stopped."""
    with tempfile.TemporaryDirectory(prefix="qk-", dir=fastest_folder()) as name:
        home = Path(name) / ".quickkub"
        embedded.start(home, durable=False)
        embedded.stop(home)
        yield home


@pytest.fixture
def folder(seed, empty):
    """A home that has run before: most tests need no new database, and making one takes the longest."""
    shutil.copytree(seed, empty)
    return empty


def sleeper(folder: Path) -> subprocess.Popen:
    return subprocess.Popen(["/bin/sleep", "600"], cwd=folder)


async def rows(url: str) -> list[str]:
    connection = await asyncpg.connect(url)
    try:
        return [row[0] for row in await connection.fetch("SELECT note FROM notes ORDER BY note")]
    finally:
        await connection.close()


async def write(endpoints: embedded.Endpoints, note: str) -> None:
    connection = await asyncpg.connect(endpoints.database_owner_url)
    try:
        await connection.execute("CREATE TABLE IF NOT EXISTS notes (note text)")
        await connection.execute("INSERT INTO notes VALUES ($1)", note)
    finally:
        await connection.close()


async def eventually(condition) -> None:
    deadline = time.monotonic() + SLOW_MACHINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_servers_run_inside_the_block_and_keep_what_was_committed(folder):
    async with embedded.servers(folder) as endpoints:
        await write(endpoints, "kept")
        client = redis.asyncio.from_url(endpoints.redis_url)
        assert await client.ping()
        await client.aclose()
    assert embedded.status(folder) == embedded.Status(postgres=None, valkey=None, detached=False)
    started = time.monotonic()
    async with embedded.servers(folder) as endpoints:
        assert time.monotonic() - started < 5
        assert await rows(endpoints.database_owner_url) == ["kept"]


async def test_the_last_one_out_stops_the_servers(folder):
    async with embedded.servers(folder):
        first = embedded.status(folder)
        async with embedded.servers(folder):
            assert embedded.status(folder) == first
        assert embedded.status(folder) == first
    assert embedded.status(folder).postgres is None


async def test_started_servers_stay_until_they_are_stopped(folder):
    await asyncio.to_thread(embedded.start, folder)
    running = embedded.status(folder)
    assert running.postgres is not None
    assert running.valkey is not None
    assert running.detached
    async with embedded.servers(folder):
        assert embedded.status(folder) == running
    assert embedded.status(folder) == running
    await asyncio.to_thread(embedded.stop, folder)
    assert embedded.status(folder) == embedded.Status(postgres=None, valkey=None, detached=False)
    await asyncio.to_thread(embedded.stop, folder)


async def test_servers_in_use_are_not_stopped_by_another_command(folder):
    async with embedded.servers(folder):
        running = embedded.status(folder)
        with pytest.raises(EmbeddedUnavailable, match="a running process still uses the servers"):
            await asyncio.to_thread(embedded.stop, folder)
        assert embedded.status(folder) == running
    assert embedded.status(folder).postgres is None


async def test_a_killed_server_is_started_again_with_every_committed_row(folder):
    async with embedded.servers(folder) as endpoints:
        await write(endpoints, "committed")
        before = embedded.status(folder)
        os.kill(before.postgres, signal.SIGKILL)
        os.kill(before.valkey, signal.SIGKILL)

        def both_again() -> bool:
            now = embedded.status(folder)
            again = None not in (now.postgres, now.valkey)
            return again and {now.postgres, now.valkey}.isdisjoint({before.postgres, before.valkey})

        await eventually(both_again)
        await eventually(lambda: postgres.is_running(Home(folder)))
        assert await rows(endpoints.database_owner_url) == ["committed"]


@pytest.mark.parametrize(("reason_after_seconds", "reasons"), [(30, 0), (0, 1)])
async def test_a_server_that_takes_long_is_spoken_of_twice(monkeypatch, caplog, reason_after_seconds, reasons):
    """Seven starts fail; then the server runs, and later dies once more."""
    healths = iter([True, *[False] * 8, True, True, False, True])
    starts = iter([*[EmbeddedUnavailable("PostgreSQL did not start (FATAL): see postgres.log")] * 7, None, None])
    over = asyncio.Event()

    def healthy(_: Home) -> bool:
        try:
            return next(healths)
        except StopIteration:
            loop.call_soon_threadsafe(over.set)
            return True

    def restart(_: Home, *, durable: bool) -> None:
        if (error := next(starts)) is not None:
            raise error

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(embedded, "SUPERVISION_SECONDS", 0.001)
    monkeypatch.setattr(embedded, "REASON_AFTER_SECONDS", reason_after_seconds)
    monkeypatch.setattr(embedded, "_healthy", healthy)
    monkeypatch.setattr(embedded, "_restart", restart)
    with caplog.at_level(logging.INFO):
        supervision = asyncio.create_task(embedded._supervise(Home(Path("/nowhere")), durable=True))
        await over.wait()
        supervision.cancel()
    said = [record.getMessage() for record in caplog.records]
    begun, ended = "an embedded server has died and is started again", "the embedded servers run again after 0 s"
    reason = "PostgreSQL did not start (FATAL): see postgres.log"
    assert said == [begun, *[reason] * reasons, ended, begun, ended]


async def test_servers_of_a_killed_owner_are_joined_and_then_stopped(folder):
    """kill −9 of our own process leaves both servers; the next start uses them and takes them along when it ends."""
    script = (
        "import asyncio, pathlib, sys\nfrom gateway.foundation import embedded\n"
        "async def main():\n"
        "    async with embedded.servers(pathlib.Path(sys.argv[1])):\n"
        "        print('up', flush=True)\n"
        "        await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    owner = await asyncio.create_subprocess_exec(sys.executable, "-c", script, folder, stdout=subprocess.PIPE)
    assert owner.stdout is not None
    assert await owner.stdout.readline() == b"up\n"
    orphans = embedded.status(folder)
    owner.kill()
    await owner.wait()
    assert embedded.status(folder) == orphans
    async with embedded.servers(folder):
        assert embedded.status(folder) == orphans
    assert embedded.status(folder).postgres is None


async def test_backends_left_behind_are_ended_before_a_start(folder):
    """A backend that the dead server left in its data directory would make PostgreSQL refuse to start."""
    async with embedded.servers(folder):
        pass
    left = sleeper(Home(folder).postgres_folder)
    try:
        async with embedded.servers(folder):
            assert left.wait(timeout=10) == -signal.SIGKILL
    finally:
        left.kill()
        left.wait()


async def test_recorded_process_that_is_somebody_elses_is_left_alone(folder):
    """After a reboot the recorded id may belong to anybody."""
    async with embedded.servers(folder) as endpoints:
        await write(endpoints, "kept")
    stranger = sleeper(Path("/"))
    try:
        (Home(folder).postgres_folder / "postmaster.pid").write_text(
            f"{stranger.pid}\n/elsewhere\n0\n5432\n\n\n\nready\n"
        )
        assert embedded.status(folder).postgres is None
        async with embedded.servers(folder) as endpoints:
            assert await rows(endpoints.database_owner_url) == ["kept"]
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


async def test_a_start_cut_off_in_the_middle_is_begun_anew(empty):
    home = Home(empty)
    home.prepare()
    half = home.postgres_folder.with_name("postgres.new")
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    async with embedded.servers(empty) as endpoints:
        await write(endpoints, "works")
    assert not half.exists()


async def test_nobody_else_can_read_the_home_or_log_in_without_password(empty):
    async with embedded.servers(empty) as endpoints:
        home = Home(empty)
        for private in (home.folder, home.socket_folder, home.postgres_folder, home.valkey_folder):
            assert stat.S_IMODE(private.stat().st_mode) == 0o700
        keys = ("master_key", "checkpoint_signing_key")
        for file in (*keys, "secrets.json", "postgres.log", "valkey.log", "start.lock", "users.lock"):
            assert stat.S_IMODE((home.folder / file).stat().st_mode) == 0o600
        assert len(endpoints.master_key) == len(endpoints.checkpoint_signing_key) == 32
        assert endpoints.master_key != endpoints.checkpoint_signing_key
        for url in (endpoints.superuser_url, endpoints.database_url):
            user = url.partition("://")[2].partition(":")[0]
            with pytest.raises(asyncpg.InvalidPasswordError):
                await asyncpg.connect(user=user, password="wrong", database="quickkub", host=str(home.socket_folder))
        connection = await asyncpg.connect(endpoints.superuser_url)
        assert await connection.fetchval("SHOW listen_addresses") == ""
        assert await connection.fetchval("SHOW fsync") == "on"
        supers = await connection.fetch("SELECT rolname FROM pg_roles WHERE rolsuper")
        assert [row["rolname"] for row in supers] == ["postgres"]
        await connection.close()


async def test_keys_stay_when_servers_come_again(folder):
    async with embedded.servers(folder) as first:
        pass
    async with embedded.servers(folder) as second:
        assert second == first


async def test_sockets_move_when_the_path_is_too_long(empty):
    deep = empty / ("long" * 20)
    home = Home(deep)
    try:
        async with embedded.servers(deep) as endpoints:
            await write(endpoints, "reached")
            assert len(os.fsencode(home.socket_folder)) < SOCKET_PATH_BYTES_MAX
            assert stat.S_IMODE(home.socket_folder.stat().st_mode) == 0o700
            assert home.folder not in home.socket_folder.parents
    finally:
        embedded.stop(deep)
        for left in home.socket_folder.glob("*"):
            left.unlink()
        home.socket_folder.rmdir()


async def test_ledger_of_an_embedded_database_is_fenced_and_can_be_migrated_again(folder):
    async with embedded.servers(folder) as endpoints:
        settings = Settings(home=folder, database_owner_url=endpoints.database_owner_url)
        await migrate(settings)
        await migrate(settings)
        owner = await asyncpg.connect(endpoints.database_owner_url)
        with pytest.raises(asyncpg.PostgresError, match="the books are append-only"):
            await owner.execute("ALTER TABLE ledger.entries DISABLE TRIGGER ALL")
        await owner.close()


def test_port_in_use_is_named_with_its_setting():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedUnavailable) as caught:
            embedded.ensure_port_free("127.0.0.1", port, variable="QUICKKUB_API_PORT")
    assert str(caught.value) == (
        f"port {port} on 127.0.0.1 cannot be used (Address already in use): "
        "stop what listens there, or set QUICKKUB_API_PORT to another port"
    )
    embedded.ensure_port_free("127.0.0.1", port, variable="QUICKKUB_API_PORT")


def test_a_file_where_the_home_should_be_is_named(empty):
    empty.write_text("in the way")
    with pytest.raises(EmbeddedUnavailable, match=r"cannot be written|is in the way"):
        embedded.start(empty)
    empty.unlink()


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('FATAL:  could not write lock file "postmaster.pid": No space left on device', "is full: free some space"),
        ('FATAL:  could not open file "global/pg_control": Permission denied', "cannot be written"),
        ('FATAL:  lock file "postmaster.pid" already exists', "another PostgreSQL uses"),
        ("FATAL:  database files are incompatible with server", "another major version"),
        ("FATAL:  something new", "did not start (FATAL:  something new): see"),
    ],
)
def test_each_reason_of_postgres_becomes_one_sentence(folder, written, said):
    assert said in str(postgres._reason(Home(folder), f"LOG:  starting\n{written}\n"))


def test_missing_wheel_is_named_with_the_settings_that_replace_it(monkeypatch, tmp_path):
    monkeypatch.setattr(binaries, "_package", lambda _name: tmp_path)
    with pytest.raises(EmbeddedUnavailable, match="set DATABASE_URL and DATABASE_OWNER_URL"):
        binaries.postgres_programs(None)
    with pytest.raises(EmbeddedUnavailable, match="set REDIS_URL"):
        binaries.valkey_server(None)


def test_root_without_namespace_and_without_nobody_is_told_what_to_do(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(processes.shutil, "which", lambda _name: None)
    monkeypatch.setattr(processes.pwd, "getpwall", list)
    with pytest.raises(EmbeddedUnavailable, match="start QuickKub as a plain user, or set DATABASE_URL"):
        processes.launcher.__wrapped__()


def test_user_without_account_and_namespace_is_told_what_to_do(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 3_999_999_999)
    monkeypatch.setattr(processes.shutil, "which", lambda _name: None)
    with pytest.raises(EmbeddedUnavailable, match="start QuickKub as a user with an account, or set DATABASE_URL"):
        processes.launcher.__wrapped__()


def test_a_zombie_is_not_alive():
    child = subprocess.Popen(["/bin/true"])
    deadline = time.monotonic() + SLOW_MACHINE_SECONDS
    while processes.is_alive(child.pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child.pid, 0)
    child.wait()
