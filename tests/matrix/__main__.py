"""`python -m tests.matrix [provider …]`: play every cell and write docs/matrix.md anew; all providers, or those."""

import asyncio
import logging
import shutil
import sys
import tempfile
from pathlib import Path
from time import monotonic

from gateway.foundation import embedded
from gateway.foundation.embedded.home import Home
from gateway.providers.registry import ADAPTERS
from migrations.upgrade import upgrade
from tests.conftest import cloned_database
from tests.matrix.document import write
from tests.matrix.house import running
from tests.matrix.matrix import play, section


async def played(endpoints: embedded.Endpoints) -> int:
    """Play all providers; returns how many things did not hold."""
    await upgrade(endpoints.database_owner_url)
    wrong = 0
    for provider in sys.argv[1:] or [adapter.name for adapter in ADAPTERS]:
        started = monotonic()
        async with cloned_database(endpoints) as database, running(database) as house:
            cells, complaints = await play(house, provider)
        write(provider, section(provider, cells))
        wrong += len(complaints)
        seconds = monotonic() - started
        sys.stdout.write(f"{provider}: {len(cells)} cells in {seconds:.0f} s, {len(complaints)} complaints\n")
        sys.stdout.writelines(f"  {complaint}\n" for complaint in complaints)
        sys.stdout.flush()
    return wrong


def main() -> int:
    """Run it on servers of its own."""
    logging.disable(logging.CRITICAL)
    folder = Path(tempfile.mkdtemp(prefix="quickkub-matrix-"))
    endpoints = embedded.start(folder, durable=False)
    try:
        return 1 if asyncio.run(played(endpoints)) else 0
    finally:
        embedded.stop(folder)
        home = Home(folder)
        for path in (home.socket_folder, home.servers_folder, folder):
            shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
