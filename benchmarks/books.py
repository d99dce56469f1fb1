"""One, two and four books at once on one machine: what a second book gains while cores are left."""

from typing import Any, Final

import asyncpg

from benchmarks.baselines import MAX_BATCH
from benchmarks.options import Options
from benchmarks.report import Finding, heading
from benchmarks.rounds import Contender, interleave, median_rate, paired, rates
from benchmarks.server import Server
from benchmarks.workload import Case, maker, open_filled
from ledger.journal import JournalEntry
from ledger.posting import Ledger, keeps_nothing

CALLERS: Final = 1000
BOOKS: Final = (1, 2, 4)


async def measure(server: Server, options: Options) -> tuple[list[Finding], list[dict[str, Any]]]:
    """Rates of 1,000 callers in all, spread accounts, over so many books."""
    heading(f"{', '.join(map(str, BOOKS))} books at once, {CALLERS:,} callers in all")
    database = await server.clone("books")
    for book_id in range(1, max(BOOKS) + 1):
        await open_filled(database.app_dsn, book_id)
    async with asyncpg.create_pool(database.app_dsn, min_size=max(BOOKS), reset=keeps_nothing) as pool:
        ledger = Ledger(pool, max_batch=MAX_BATCH)
        contenders = {str(books): _over(ledger, books) for books in BOOKS}
        samples = await interleave(contenders, rounds=options.rounds, callers=CALLERS, seconds=options.seconds(CALLERS))
        await ledger.close()
    findings = []
    for name, rounds in samples.items():
        ratio = paired(rates(rounds), rates(samples["1"]))
        print(f"{name} books {median_rate(rounds):>8,.0f}/s in all")
        findings.append(
            Finding(goal="–", what=f"{name} books / 1 book, rates in all", measured=ratio.median, detail=str(ratio))
        )
    figures = [{"books": int(name), "rates_per_second": rates(rounds)} for name, rounds in samples.items()]
    return findings[1:], figures


def _over(ledger: Ledger, books: int) -> Contender:
    """Entries go to the books in turn."""
    make, turn = maker(Case.SPREAD), 0

    async def post(entry: JournalEntry) -> Any:
        nonlocal turn
        turn += 1
        return await ledger.post(1 + turn % books, entry)

    return Contender(make=make, post=post)
