"""Embedded servers as other users than the one who runs the tests.

Method: a process of its own imports everything, runs the servers once as it is, then becomes what the test says and
runs them again. Modules stay loaded, so the interpreter may lie where the other user cannot read; the server
programs are copied to where it can. Run by a plain user, the whole suite is the proof for plain users already.
"""

import asyncio
import os
import pwd
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from gateway.foundation import embedded
from gateway.foundation.embedded import binaries, home, processes
from tests.foundation.test_embedded import rows, write

NOBODY = pwd.getpwnam("nobody")


@pytest.fixture
def place():
    """A folder that everybody may enter."""
    with tempfile.TemporaryDirectory(prefix="qk-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def runs_in(place: Path, *, become: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.foundation.test_embedded_users", str(place), become],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert result.stdout == "kept\n", result.stderr


def test_servers_run_for_a_plain_user(place):
    if os.geteuid() != 0:
        assert processes.launcher() == processes.Launcher()
        return
    (place / "own").mkdir(mode=0o700)
    os.chown(place / "own", NOBODY.pw_uid, NOBODY.pw_gid)
    runs_in(place, become="plain")
    assert (place / "own/.quickkub/postgres").stat().st_uid == NOBODY.pw_uid


def test_root_without_namespaces_runs_servers_as_nobody(place):
    if os.geteuid() != 0:
        assert processes.launcher() == processes.Launcher()
        return
    (place / "own").mkdir(mode=0o700)
    runs_in(place, become="nobody")
    assert (place / "own/.quickkub").stat().st_uid == 0
    [data] = (place / "state").glob("*/postgres")
    assert data.stat().st_uid == NOBODY.pw_uid
    assert (data / "PG_VERSION").stat().st_uid == NOBODY.pw_uid


async def run_twice(folder: Path) -> list[str]:
    async with embedded.servers(folder, durable=False) as endpoints:
        await write(endpoints, "kept")
    async with embedded.servers(folder, durable=False) as endpoints:
        return await rows(endpoints.database_owner_url)


def main(place: Path, become: str) -> None:
    asyncio.run(run_twice(place / "before"))
    processes.launcher.cache_clear()
    if become == "plain":
        # What is copied while still root is found again by name, wherever the installation lies.
        programs, server = binaries.postgres_programs(place / "copies"), binaries.valkey_server(place / "copies")
        binaries.postgres_programs, binaries.valkey_server = lambda _: programs, lambda _: server
        os.setgroups([])
        os.setgid(NOBODY.pw_gid)
        os.setuid(NOBODY.pw_uid)
    else:
        home.STATE_FOLDER = place / "state"
        processes._namespace_prefix = lambda: None
    os.chdir("/")
    sys.stdout.write("\n".join([*asyncio.run(run_twice(place / "own/.quickkub")), ""]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
