"""A book of ten million entries against an empty one, after a checkpoint, and read. Goal 11 and the reads."""

import random
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any, Final

import asyncpg

from benchmarks.baselines import MAX_BATCH
from benchmarks.cells import into
from benchmarks.history import BOOK, DAYS, Past, fill
from benchmarks.options import Options
from benchmarks.report import Finding, heading
from benchmarks.rounds import Contender, closed_loop, interleave, median_rate, paired, rates
from benchmarks.server import Server
from benchmarks.workload import ACCOUNTS, CREDITS, DEBITS, Case, every_account, maker, open_filled, post_all
from ledger.balances import balances, balances_at, balances_effective
from ledger.journal import AccountRef
from ledger.posting import Ledger, keeps_nothing
from ledger.statements import statement

CALLERS: Final = 1000
CELL_FACTOR: Final = 2
SETTLING_SECONDS: Final = 10
AFTER_CHECKPOINT_SECONDS: Final = 15
READS: Final = 300
LINES: Final = 20
READ_FLOOR_MS, READ_STRETCH_MS = 1.0, 0.5

Measured = tuple[list[Finding], list[dict[str, Any]]]


async def measure(server: Server, options: Options) -> Measured:
    """Fill, read, post."""
    size = f"{options.growth_entries:,} entries"
    heading(f"a book of {size}")
    grown, empty = await server.clone("grown"), await server.clone("empty")
    past = await fill(grown, options.growth_entries)
    await open_filled(empty.app_dsn, BOOK)
    async with AsyncExitStack() as stack:
        reader = await asyncpg.connect(grown.app_dsn)
        stack.push_async_callback(reader.close)
        await _prove(reader, past)
        sides = {}
        for name, database in (("grown", grown), ("empty", empty)):
            pool = await stack.enter_async_context(
                asyncpg.create_pool(database.app_dsn, min_size=2, reset=keeps_nothing)
            )
            # A new business date begins: every account is moved on it once, so that all cells post on one date.
            async with pool.acquire() as connection:
                await post_all(connection, BOOK, every_account())
            ledger = Ledger(pool, max_batch=MAX_BATCH)
            stack.push_async_callback(ledger.close)
            sides[name] = Contender(make=maker(Case.SPREAD), post=into(ledger, BOOK))
        reads = await _reads(reader, past)
        await closed_loop(sides["grown"], callers=CALLERS, seconds=SETTLING_SECONDS)
        samples = await interleave(
            sides, rounds=options.rounds, callers=CALLERS, seconds=CELL_FACTOR * options.cell_seconds
        )
        superuser = await asyncpg.connect(grown.superuser_dsn)
        stack.push_async_callback(superuser.close)
        await superuser.execute("CHECKPOINT")
        seconds = await _second_by_second(sides["grown"])
    steady = paired(rates(samples["grown"]), rates(samples["empty"]))
    worst = min(seconds) / median_rate(samples["grown"])
    for name, rounds in samples.items():
        print(f"{name:<6} {median_rate(rounds):>8,.0f}/s")
    print(f"after a checkpoint, each second: {', '.join(f'{count:,}' for count in seconds)}")
    findings = [
        Finding(
            goal="11",
            what=f"rate at {size} / empty, steady",
            measured=steady.median,
            floor=0.6,
            stretch=0.8,
            detail=str(steady),
        ),
        Finding(goal="11", what="worst second after a checkpoint / steady", measured=worst, floor=0.15, stretch=0.4),
        *reads,
    ]
    figures = [{"contender": name, "rates_per_second": rates(rounds)} for name, rounds in samples.items()]
    return findings, [*figures, {"after_checkpoint": seconds}]


async def _second_by_second(contender: Contender) -> list[int]:
    """Entries answered in each whole second."""
    counts = [0] * (AFTER_CHECKPOINT_SECONDS + 5)
    started = time.perf_counter()

    async def counted(item: Any) -> None:
        await contender.post(item)
        counts[min(int(time.perf_counter() - started), len(counts) - 1)] += 1

    watched = Contender(make=contender.make, post=counted)
    await closed_loop(watched, callers=CALLERS, seconds=AFTER_CHECKPOINT_SECONDS)
    return counts[:AFTER_CHECKPOINT_SECONDS]


async def _prove(connection: asyncpg.Connection, past: Past) -> None:
    """The made-up past is one that the ledger's own reads agree with."""
    account, last = DEBITS[7], past.base + past.entries
    now = (await balances(connection, BOOK, [account]))[account]
    then = (await balances_at(connection, BOOK, [account], last))[account]
    by_date = (await balances_effective(connection, BOOK, [account], past.first_on + timedelta(days=DAYS)))[account]
    page = await statement(connection, BOOK, account, after=last - LINES * ACCOUNTS, through=last, limit=LINES)
    found = (now.balance_minor, then.balance_minor, by_date.balance_minor, page.closing_minor)
    assert found == (past.balance_minor,) * len(found), f"{found}, not {past.balance_minor}"
    early = (await balances_at(connection, BOOK, [account], past.base))[account]
    assert past.balance_minor == early.balance_minor * (1 + past.entries // ACCOUNTS), "one amount a sweep"


async def _reads(connection: asyncpg.Connection, past: Past) -> list[Finding]:
    """Latencies of the four reads of one account, one after the other on one connection."""
    last = past.base + past.entries

    def somebody() -> AccountRef:
        return random.choice(DEBITS if random.random() < 0.5 else CREDITS)

    kinds: dict[str, Callable[[], Awaitable[Any]]] = {
        "balance now": lambda: balances(connection, BOOK, [somebody()]),
        "balance as recorded at an entry": lambda: balances_at(connection, BOOK, [somebody()], random.randint(1, last)),
        "balance as effective on a date": lambda: balances_effective(
            connection, BOOK, [somebody()], past.first_on + timedelta(days=random.randrange(DAYS))
        ),
        f"statement, last {LINES} lines": lambda: statement(
            connection, BOOK, somebody(), after=last - LINES * ACCOUNTS, limit=LINES
        ),
    }
    findings = []
    for name, read in kinds.items():
        times = []
        for _ in range(READS):
            asked = time.perf_counter()
            await read()
            times.append(1000 * (time.perf_counter() - asked))
        steady = sorted(times[READS // 10 :])
        detail = f"p99 {steady[int(len(steady) * 0.99)]:.2f} ms, first {times[0]:.2f} ms"
        findings.append(
            Finding(
                goal="–",
                what=f"read: {name}",
                measured=statistics.median(steady),
                floor=READ_FLOOR_MS,
                stretch=READ_STRETCH_MS,
                at_most=True,
                detail=detail,
                unit="ms",
            )
        )
        print(f"{name:<32} median {statistics.median(steady):.2f} ms, {detail}", flush=True)
    return findings
