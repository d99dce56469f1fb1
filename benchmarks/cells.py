"""Posting against the baselines: callers × cases, interleaved. Goals 1, 2, 7 and 12."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import asyncpg
import msgspec

from benchmarks.baselines import MAX_BATCH, Baseline, Twin, Way, empty_twins, install
from benchmarks.meter import Meter
from benchmarks.options import Options
from benchmarks.report import Finding, heading
from benchmarks.rounds import Contender, Post, Sample, interleave, median_of, median_rate, paired, per_item, rates
from benchmarks.server import Server
from benchmarks.workload import Case, every_account, maker, open_filled
from ledger.journal import JournalEntry
from ledger.posting import Ledger, keeps_nothing

LEDGER: Final = "ledger"
MANY, SOME = 1000, 100
BOOKS: Final = {case: number for number, case in enumerate(Case, 1)}
GOALS: Final = {"1": MANY, "2": SOME}
BOUNDS: Final = {("1", Way.COPY): (0.65, 0.85), ("1", Way.UNNEST): (0.5, 0.7), ("2", Way.COPY): (0.55, 0.75)}
"""(Floor, stretch) of a goal's ratio to a way; no goal stands on the others."""
COPIES_FROM: Final = 1_000_000
"""Book ids of the baselines count from here."""
_HOT_UPDATES: Final = """
    SELECT n_tup_hot_upd::float8 / greatest(n_tup_upd, 1) FROM pg_stat_all_tables
    WHERE schemaname = 'ledger' AND relname = 'accounts'"""

Cells = dict[tuple[int, Case], dict[str, list[Sample]]]


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """Everybody who can take an entry of a case, by name: the ledger and the baselines."""

    contenders: dict[tuple[Case, str], Contender]
    meter: Meter
    superuser: asyncpg.Connection


def into(ledger: Ledger, book_id: int) -> Post:
    """Posting to one book."""

    async def post(entry: JournalEntry) -> Any:
        return await ledger.post(book_id, entry)

    return post


async def meet_every_account(ledger: Ledger, book_id: int) -> None:
    """Post once between each pair of accounts, so that no cell of a comparison looks one up by its name."""
    await asyncio.gather(*map(into(ledger, book_id), every_account()))


def baseline_name(way: Way, twin: Twin, options: Options) -> str:
    """`copy`, `unnest`; the other kind of twin is named."""
    usual = Twin.INDEXED if options.twin_indexes else Twin.BARE
    return str(way) if twin is usual else f"{way}, {twin} twins"


@asynccontextmanager
async def field(server: Server, options: Options) -> AsyncIterator[Field]:
    """A database with a filled book for each case, and for each its baselines."""
    database = await server.clone("cells")
    async with AsyncExitStack() as stack:
        superuser = await asyncpg.connect(database.superuser_dsn)
        stack.push_async_callback(superuser.close)
        await install(superuser)
        pool = await stack.enter_async_context(
            asyncpg.create_pool(database.app_dsn, min_size=2, max_size=10, reset=keeps_nothing)
        )
        raw = await stack.enter_async_context(
            asyncpg.create_pool(database.superuser_dsn, min_size=2, max_size=16, reset=keeps_nothing)
        )
        ledger = Ledger(pool, max_batch=MAX_BATCH)
        stack.push_async_callback(ledger.close)
        contenders, copies = {}, COPIES_FROM
        for case, book_id in BOOKS.items():
            await open_filled(database.app_dsn, book_id)
            contenders[case, LEDGER] = Contender(make=maker(case), post=into(ledger, book_id))
            for way in Way:
                for twin in Twin:
                    copies += 1
                    baseline = await Baseline.open(raw, like=book_id, book_id=copies, way=way, twin=twin)
                    stack.push_async_callback(baseline.close)
                    name = baseline_name(way, twin, options)
                    contenders[case, name] = Contender(make=maker(case), post=baseline.post)
        await superuser.execute("VACUUM ANALYZE")
        yield Field(contenders=contenders, meter=Meter(superuser, server.process_id), superuser=superuser)


async def measure(server: Server, options: Options) -> tuple[list[Finding], list[dict[str, Any]]]:
    """Every cell; the findings, and each cell's figures for the file."""
    cells: Cells = {}
    lines: list[dict[str, Any]] = []
    async with field(server, options) as ground:
        for callers in options.callers:
            heading(f"posting and its baselines, {callers:,} callers")
            await empty_twins(ground.superuser)
            chosen = {key: side for key, side in ground.contenders.items() if _is_compared(callers, *key)}
            labelled = {f"{case}/{name}": contender for (case, name), contender in chosen.items()}
            samples = await interleave(
                labelled,
                rounds=options.rounds,
                callers=callers,
                seconds=options.seconds(callers),
                meters=dict.fromkeys(labelled, ground.meter),
            )
            for case in Case:
                cells[callers, case] = {n: samples[f"{case}/{n}"] for c, n in chosen if c is case}
                lines += report_cell(callers, case, cells[callers, case])
        hot = await ground.superuser.fetchval(_HOT_UPDATES)
    print(f"updates of accounts that stayed on their page and wrote no index entry: {hot:.1%}")
    return findings_of(cells), lines


def _is_compared(callers: int, case: Case, name: str) -> bool:
    """The other kind of twin is compared only where a goal stands on it."""
    return name in {LEDGER, *Way} or (callers >= SOME and case is not Case.ZIPF)


def report_cell(callers: int, case: Case, sides: dict[str, list[Sample]]) -> list[dict[str, Any]]:
    """Print a cell, one line a contender; the same for the file."""
    lines = []
    for name, samples in sides.items():
        ratio = paired(rates(sides[LEDGER]), rates(samples))
        figures = {
            "callers": callers,
            "case": str(case),
            "contender": name,
            "rates_per_second": rates(samples),
            "ledger_to_this": ratio.median,
            "p50_ms": _middle(samples, lambda sample: sample.quantile_ms(0.5)),
            "p99_ms": _middle(samples, lambda sample: sample.quantile_ms(0.99)),
            "python_us": 1e6 * per_item(samples, "python_seconds"),
            "server_us": 1e6 * per_item(samples, "server_seconds"),
            "wal_bytes": per_item(samples, "wal_bytes"),
            "disk_bytes": per_item(samples, "disk_bytes"),
        }
        lines.append(figures)
        against = "" if name == LEDGER else f"ledger / this {ratio}"
        print(
            f"{case:<6} {name:<20} {median_rate(samples):>8,.0f}/s  p50 {figures['p50_ms']:>6.2f}  p99"
            f" {figures['p99_ms']:>6.2f} ms  Python {figures['python_us']:>5.1f}  server {figures['server_us']:>5.1f}"
            f" µs  WAL {figures['wal_bytes']:>5,.0f}  disk {figures['disk_bytes']:>5,.0f} B  {against}",
            flush=True,
        )
    return lines


def _middle(samples: Sequence[Sample], figure: Callable[[Sample], float]) -> float:
    values = sorted(figure(sample) for sample in samples)
    return values[len(values) // 2]


def findings_of(cells: Cells) -> list[Finding]:
    """The goals that stand on cells; those whose cells were not asked for say so."""
    found: list[Finding] = []
    found += [
        _against(goal, callers, case, name, cells.get((callers, case), {}))
        for goal, callers in GOALS.items()
        for case in (Case.HOT, Case.SPREAD)
        for name in cells.get((callers, case)) or Way
        if name != LEDGER
    ]
    found += [
        _server_time(case, name, cells[MANY, case])
        for case in (Case.HOT, Case.SPREAD)
        for name in cells.get((MANY, case), {})
        if name != LEDGER
    ]
    hot, spread = (cells.get((MANY, case), {}).get(LEDGER) for case in (Case.HOT, Case.SPREAD))
    ratio = paired(rates(hot), rates(spread)) if hot and spread else None
    found.append(
        Finding(
            goal="7",
            what=f"hot / spread, {MANY:,} callers",
            measured=median_of(ratio),
            floor=0.95,
            stretch=1.15,
            detail=str(ratio or _NOT_ASKED),
        )
    )
    for case, samples in ((Case.HOT, hot), (Case.SPREAD, spread)):
        for counter, name, floor, stretch in (("wal", "log", 1250, 1000), ("disk", "disk", 650, 530)):
            found.append(
                Finding(
                    goal="12",
                    what=f"{name} bytes a transfer, {case}",
                    measured=per_item(samples, f"{counter}_bytes") if samples else None,
                    floor=floor,
                    stretch=stretch,
                    at_most=True,
                    detail="" if samples else _NOT_ASKED,
                    unit="B",
                )
            )
    return found


_NOT_ASKED: Final = "no cell of so many callers was asked for"


def _server_time(case: Case, name: str, sides: dict[str, list[Sample]]) -> Finding:
    """How much of the server's work is the rows themselves; no client has a part in it."""
    theirs, ours = (per_item(sides[side], "server_seconds") for side in (name, LEDGER))
    return Finding(goal="–", what=f"server's time, {name} / posting, {case}", measured=theirs / ours)


def _against(goal: str, callers: int, case: Case, name: str, sides: dict[str, list[Sample]]) -> Finding:
    ratio = paired(rates(sides[LEDGER]), rates(sides[name])) if sides else None
    floor, stretch = BOUNDS.get((goal, Way(name.partition(",")[0])), (None, None))
    return Finding(
        goal=goal,
        what=f"posting / {name}, {case}, {callers:,} callers",
        measured=median_of(ratio),
        floor=floor,
        stretch=stretch,
        detail=str(ratio or _NOT_ASKED),
    )
