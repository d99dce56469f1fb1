"""The script of the ledger's README runs as it stands, with nothing of this product but the ledger."""

import asyncio
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

import ledger
from tests.conftest import ClonedDatabase

FOLDER = Path(ledger.__file__).parent


def the_script() -> str:
    script, *_ = re.findall(r"```python\n(.*?)```", (FOLDER / "README.md").read_text(), re.DOTALL)
    return script


async def test_script_posts_into_an_empty_database_with_the_ledger_alone(
    database: ClonedDatabase, tmp_path: Path
) -> None:
    assert len([line for line in the_script().splitlines() if line]) <= 20
    owner = await asyncpg.connect(database.owner_dsn)
    await owner.execute("DROP SCHEMA ledger, ledger_archive CASCADE")
    await owner.close()
    shutil.copytree(FOLDER, tmp_path / "ledger")
    (tmp_path / "script.py").write_text(the_script())
    today = datetime.now(UTC).date().isoformat()
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "script.py", database.owner_dsn, today],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    first, again, balance = done.stdout.splitlines()
    assert "sequence=1" in first
    assert "replayed=True" in again
    assert balance == "12345"
