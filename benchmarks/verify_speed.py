"""How fast the books are verified, and in how much memory: a small book against a large one.

Each verification runs in a process of its own, whose peak of memory is its own.
"""

import asyncio
import json
import resource
import sys
import time
from typing import Any, Final

import asyncpg

from benchmarks.options import Options
from benchmarks.report import Finding, heading
from benchmarks.server import Server
from benchmarks.workload import BATCH, Case, maker, open_filled, post_all
from ledger.verification import verify

RATE_FLOOR: Final = 150_000
CONNECTIONS: Final = 3


async def measure(server: Server, options: Options) -> tuple[list[Finding], list[dict[str, Any]]]:
    """Fill both books by posting, verify each."""
    heading("verification")
    database = await server.clone("verification")
    figures = []
    for book_id, entries in enumerate(options.verify_entries, 1):
        await open_filled(database.app_dsn, book_id)
        await _fill(database.app_dsn, book_id, entries)
        result = await _in_own_process(database.app_dsn, book_id)
        figures.append(result)
        print(
            f"{result['entries']:>9,} entries: {result['entries'] / result['seconds']:>8,.0f} entries/s,"
            f" peak memory {result['peak_mb']:.0f} MB, {'passed' if result['passed'] else 'FAILED'}",
            flush=True,
        )
    small, large = figures
    rate = large["entries"] / large["seconds"]
    findings = [
        Finding(
            goal="–",
            what="verify, entries a second",
            measured=rate,
            floor=RATE_FLOOR,
            detail=f"{large['entries']:,} entries",
        ),
        Finding(
            goal="–",
            what="verify, peak memory of the large book / the small one",
            measured=large["peak_mb"] / small["peak_mb"],
            detail=f"{large['peak_mb']:.0f} MB at {large['entries']:,}, {small['peak_mb']:.0f} at {small['entries']:,}",
        ),
    ]
    return findings, figures


async def _fill(app_dsn: str, book_id: int, entries: int) -> None:
    connection = await asyncpg.connect(app_dsn)
    make = maker(Case.SPREAD)
    try:
        head = await connection.fetchval(
            "SELECT max(b.last_sequence) FROM ledger.blocks AS b WHERE b.book_id = $1", book_id
        )
        for start in range(head, entries, BATCH):
            await post_all(connection, book_id, [make() for _ in range(min(BATCH, entries - start))])
    finally:
        await connection.close()


async def _in_own_process(dsn: str, book_id: int) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.verify_speed", str(book_id), stdin=-1, stdout=-1
    )
    output, _ = await process.communicate(dsn.encode())
    assert process.returncode == 0, "verification ran"
    result: dict[str, Any] = json.loads(output)
    return result


async def _verify(dsn: str, book_id: int) -> dict[str, Any]:
    # As many as the command has.
    connection, *beside = [await asyncpg.connect(dsn) for _ in range(CONNECTIONS)]
    started = time.perf_counter()
    report = await verify(connection, book_id, beside=beside)
    seconds = time.perf_counter() - started
    for each in (connection, *beside):
        await each.close()
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    # Whether the fence stands is the installation's matter, not the books'.
    failed = [check.name for check in report.checks if not check.passed]
    return {
        "entries": report.head,
        "seconds": seconds,
        "peak_mb": peak_mb,
        "passed": report.passed,
        "failed_checks": failed,
    }


_BOOK: Final = 1

if __name__ == "__main__":
    print(json.dumps(asyncio.run(_verify(sys.stdin.read(), int(sys.argv[_BOOK])))))
