"""A full disk: postings are refused as unavailable, nothing is half written, and it goes on when there is room.

Method: a database of its own in a tablespace on a small tmpfs. The log of the server lies elsewhere, as it should.
"""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from gateway.foundation.settings import role_names
from ledger.accounts import open_book
from ledger.errors import LedgerUnavailable
from ledger.feed import head
from ledger.journal import Posted
from ledger.posting import Ledger, post_entries
from ledger.schema import install
from ledger.verification import verify
from tests.ledger.entries import BOOK, received
from tests.ledger.faults.durable import DurableServer
from tests.ledger.faults.workloads import receipts

DATABASE, DISK_BYTES, LEFT_BYTES = "on_a_small_disk", 64 * 1024**2, 1024**2
BATCHES_MAX = 200


class SmallDisk:
    """A tmpfs; `fill` leaves a little of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        status = subprocess.run(
            ["df", "--output=avail", "-B1", str(self.folder)], capture_output=True, text=True, check=True
        )
        free = int(status.stdout.split()[-1])
        with self._ballast.open("wb") as file:
            for _ in range((free - LEFT_BYTES) // 2**16):
                file.write(bytes(2**16))

    def free(self) -> None:
        self._ballast.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0700", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"a full disk cannot be tried: this user may not mount a tmpfs ({mounted.stderr.strip()})")
    yield SmallDisk(folder)
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
async def small(durable: DurableServer, disk: SmallDisk) -> AsyncIterator[str]:
    """The address of the app role in a database on the small disk."""
    names, superuser = role_names(), await asyncpg.connect(durable.superuser_dsn)
    (disk.folder / "tablespace").mkdir(mode=0o700)
    await superuser.execute(f"CREATE TABLESPACE small LOCATION '{disk.folder / 'tablespace'}'")
    await superuser.execute(f"CREATE DATABASE {DATABASE} TABLESPACE small OWNER {names['owner']}")
    inside = await asyncpg.connect(durable.superuser_dsn, database=DATABASE)
    await inside.execute(f"SET ROLE {names['owner']}")
    await install(inside, app=names["app"], auditor=names["auditor"], today=datetime.now(UTC).date())
    await inside.close()
    yield durable.app_dsn.replace("/quickkub?", f"/{DATABASE}?")
    await superuser.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")
    await superuser.execute("CHECKPOINT")  # files of dropped tables are gone with it
    await superuser.execute("DROP TABLESPACE small")
    await superuser.close()


async def test_full_disk_refuses_postings_whole_and_lets_them_in_again_when_there_is_room(
    small: str, disk: SmallDisk
) -> None:
    async with asyncpg.create_pool(small, min_size=1, max_size=2) as pool, pool.acquire() as app:
        await open_book(app, BOOK, code="small", mode="test")
        disk.fill()
        refused = receipts(0, 500)
        with pytest.raises(LedgerUnavailable) as full:
            for batch in range(1, BATCHES_MAX):
                await post_entries(app, BOOK, refused)
                refused = receipts(batch, 500)
        assert full.value.retryable
        assert isinstance(full.value.__cause__, asyncpg.DiskFullError)
        before = await head(app, BOOK)
        report = await verify(app, BOOK)
        assert (report.passed, report.head) == (True, before)

        ledger = Ledger(pool)
        few = [received(1) for _ in range(300)] + refused[:300]
        errors = await asyncio.gather(*(ledger.post(BOOK, each) for each in few), return_exceptions=True)
        assert {type(each) for each in errors} == {LedgerUnavailable}
        assert await head(app, BOOK) == before
        assert await app.fetchval("SELECT count(*) FROM ledger.idempotency_keys") == before

        disk.free()
        results = await post_entries(app, BOOK, refused)
        results += await asyncio.gather(*(ledger.post(BOOK, each) for each in few))
        await ledger.close()
        replayed = [each.replayed for each in results if isinstance(each, Posted)]
        assert replayed == [False] * 500 + [False] * 300 + [True] * 300
        report = await verify(app, BOOK)
        assert [check for check in report.checks if not check.passed] == []
        assert report.head == before + 800
