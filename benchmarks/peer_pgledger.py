"""pgledger: one `pgledger_create_transfer` a call over a pool of 24. Goal 3.

It runs in a database of the bench's own server when PGLEDGER_FOLDER names a checkout, or where PGLEDGER_URL says.
"""

import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import asyncpg

from benchmarks.baselines import MAX_BATCH
from benchmarks.cells import into, meet_every_account
from benchmarks.options import Options
from benchmarks.report import Finding, heading
from benchmarks.rounds import Contender, interleave, median_rate, paired, rates
from benchmarks.server import Server
from benchmarks.workload import ACCOUNTS, AMOUNT_MINOR, Case, maker, numbers_of, open_filled
from ledger.posting import Ledger, keeps_nothing

POOL: Final = 24
MANY: Final = 1000
FILES: Final = (
    "vendor/scoville-pgsql-ulid/ulid-to-uuid.sql",
    "vendor/scoville-pgsql-ulid/uuid-to-ulid.sql",
    "pgledger.sql",
)
CELLS: Final = ((MANY, Case.HOT, 25, 45), (MANY, Case.SPREAD, 9, 15), (1, Case.SPREAD, 1.3, 1.8))
"""Callers, case, floor, stretch of goal 3."""
TRANSFER: Final = "SELECT t.id FROM pgledger_create_transfer($1, $2, $3) AS t"
_OPEN: Final = """
    SELECT (SELECT a.id FROM pgledger_create_account('bench ' || n, 'THB') AS a) FROM generate_series(1, $1) AS n"""


async def measure(server: Server, options: Options) -> tuple[list[Finding], list[dict[str, Any]]]:
    """Goal 3, or the line that says why not."""
    folder, url = os.environ.get("PGLEDGER_FOLDER"), os.environ.get("PGLEDGER_URL")
    if not (folder or url):
        why = "PGLEDGER_URL is not set"
        print(f"\npgledger: not run here ({why}, nor PGLEDGER_FOLDER)")
        return [_finding(*cell, detail=why) for cell in CELLS], []
    if not url:
        url = (await server.create("pgledger")).superuser_dsn
        await _load(url, Path(str(folder)))
    heading(f"pgledger, pool of {POOL}")
    findings, figures = [], []
    database = await server.clone("beside_pgledger")
    async with (
        asyncpg.create_pool(database.app_dsn, min_size=2, reset=keeps_nothing) as pool,
        asyncpg.create_pool(url, min_size=POOL, max_size=POOL) as theirs,
    ):
        ledger = Ledger(pool, max_batch=MAX_BATCH)
        accounts = [row[0] for row in await theirs.fetch(_OPEN, 2 * ACCOUNTS)]
        for book_id, (callers, case, floor, stretch) in enumerate(CELLS, 1):
            await open_filled(database.app_dsn, book_id)
            await meet_every_account(ledger, book_id)
            contenders = {
                "ledger": Contender(make=maker(case), post=into(ledger, book_id)),
                "pgledger": _contender(theirs, accounts, case),
            }
            seconds = options.seconds(callers)
            samples = await interleave(contenders, rounds=options.rounds, callers=callers, seconds=seconds)
            ratio = paired(rates(samples["ledger"]), rates(samples["pgledger"]))
            findings.append(_finding(callers, case, floor, stretch, measured=ratio.median, detail=str(ratio)))
            for name, rounds in samples.items():
                print(
                    f"{case:<6} {callers:>5,} callers {name:<10} {median_rate(rounds):>8,.0f}/s"
                    f"  p99 {rounds[-1].quantile_ms(0.99):.1f} ms"
                )
                figures.append(
                    {"callers": callers, "case": str(case), "contender": name, "rates_per_second": rates(rounds)}
                )
        await ledger.close()
    return findings, figures


async def _load(url: str, folder: Path) -> None:
    connection = await asyncpg.connect(url)
    try:
        for name in FILES:
            await connection.execute((folder / name).read_text())
    finally:
        await connection.close()


def _contender(pool: asyncpg.Pool, accounts: list[str], case: Case) -> Contender:
    """Transfers between the first and the second half of the accounts, drawn as ours are."""
    debit, credit = numbers_of(case)
    amount = Decimal(AMOUNT_MINOR) / 100

    async def post(item: tuple[str, str]) -> Any:
        return await pool.fetchval(TRANSFER, *item, amount)

    make: Callable[[], tuple[str, str]] = lambda: (accounts[debit()], accounts[ACCOUNTS + credit()])  # noqa: E731
    return Contender(make=make, post=post)


def _finding(callers: int, case: Case, floor: float, stretch: float, **fields: Any) -> Finding:
    what = f"posting / pgledger, {case}, {callers:,} caller{'s' if callers > 1 else ''}"
    return Finding(goal="3", what=what, floor=floor, stretch=stretch, **fields)
