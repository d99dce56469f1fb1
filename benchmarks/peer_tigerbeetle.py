"""TigerBeetle through its own Python client: goals 4, 5 and 8.

TIGERBEETLE_ADDRESS names a running replica of cluster 0 (`127.0.0.1:3000`), formatted without `--development`, which
would shrink its messages. The client is `pip install tigerbeetle`. Goal 6, its native benchmark, needs its program
and memory of its own, and is run by hand: see README.md.

A third side writes the same rows as posting by COPY and decides nothing: what it makes of TigerBeetle's rate is what
PostgreSQL on this machine leaves to any ledger of these rows.

Tried with client and server 0.17.9.
"""

import importlib
import importlib.util
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg

from benchmarks.baselines import BLOCK_HASH, MAX_BATCH, Baseline, Twin, Way, install
from benchmarks.cells import COPIES_FROM, into, meet_every_account
from benchmarks.options import Options
from benchmarks.report import Finding, heading
from benchmarks.rounds import Contender, Ratio, Sample, interleave, median_of, median_rate, paired, rates
from benchmarks.server import Server
from benchmarks.workload import ACCOUNTS, AMOUNT_MINOR, Case, Make, every_account, maker, numbers_of, open_filled
from ledger.encoding import AccountNumbers
from ledger.journal import JournalEntry
from ledger.posting import Ledger, keeps_nothing, post_entries

CALLERS: Final = (10, 100, 1000)
LATENCY_CALLERS: Final = 100
CASES: Final = (Case.HOT, Case.SPREAD)
BATCH: Final = 8_189
LEDGER_NUMBER, CODE = 764, 1

Samples = dict[str, list[Sample]]


async def measure(server: Server, options: Options) -> tuple[list[Finding], list[dict[str, Any]]]:
    """Goals 4, 5 and 8, or the line that says why not."""
    address = os.environ.get("TIGERBEETLE_ADDRESS")
    why = ""
    if not address:
        why = "TIGERBEETLE_ADDRESS is not set"
    elif importlib.util.find_spec("tigerbeetle") is None:
        why = "the package tigerbeetle is not installed"
    if why:
        print(f"\nTigerBeetle: not run here ({why})")
        return [*_findings({}, why), _native()], []
    heading("TigerBeetle through its Python client")
    found: dict[tuple[int, Case], Samples] = {}
    database = await server.clone("beside_tigerbeetle")
    client: Any = importlib.import_module("tigerbeetle")
    async with (
        client.ClientAsync(cluster_id=0, replica_addresses=address) as theirs,
        asyncpg.create_pool(database.app_dsn, min_size=2, reset=keeps_nothing) as pool,
        asyncpg.create_pool(database.superuser_dsn, min_size=2, reset=keeps_nothing) as raw,
    ):
        async with raw.acquire() as connection:
            await install(connection)
        await _open_accounts(client, theirs)
        ledger = Ledger(pool, max_batch=MAX_BATCH)
        for book_id, case in enumerate(CASES, 1):
            await open_filled(database.app_dsn, book_id)
            await meet_every_account(ledger, book_id)
            copy = await Baseline.open(raw, like=book_id, book_id=COPIES_FROM + book_id, way=Way.COPY, twin=Twin.BARE)
            for callers in CALLERS:
                contenders = {
                    "ledger": Contender(make=maker(case), post=into(ledger, book_id)),
                    "tigerbeetle": _singles(client, theirs, case),
                    "copy": Contender(make=maker(case), post=copy.post),
                }
                seconds = options.seconds(callers)
                found[callers, case] = await interleave(
                    contenders, rounds=options.rounds, callers=callers, seconds=seconds
                )
            ours = _our_batches(pool, book_id, maker(case))
            await ours.post(every_account())
            found[BATCH, case] = await interleave(
                {
                    "ledger": ours,
                    "tigerbeetle": _their_batches(client, theirs, case),
                    "copy": _raw_batches(copy, maker(case)),
                },
                rounds=options.rounds,
                callers=1,
                seconds=options.cell_seconds,
            )
            await copy.close()
        await ledger.close()
    figures = []
    for (callers, case), samples in found.items():
        for name, rounds in samples.items():
            what = f"batches of {BATCH:,}" if callers == BATCH else f"{callers:,} callers"
            print(f"{case:<6} {what} {name:<12} {median_rate(rounds):>8,.0f}/s  p99 {_p99_ms(rounds):.1f} ms")
            figures.append({"what": what, "case": str(case), "contender": name, "rates_per_second": rates(rounds)})
    return [*_findings(found, ""), _native()], figures


async def _open_accounts(client: Any, theirs: Any) -> None:
    """20,000 accounts, numbers from 1; those that are there already stay."""
    numbers = range(1, 2 * ACCOUNTS + 1)
    for start in range(0, len(numbers), BATCH):
        accounts = [client.Account(id=n, ledger=LEDGER_NUMBER, code=CODE) for n in numbers[start : start + BATCH]]
        await theirs.create_accounts(accounts)


def _transfers(client: Any, case: Case) -> Callable[[], Any]:
    debit, credit = numbers_of(case)

    def make() -> Any:
        return client.Transfer(
            id=client.id(),
            debit_account_id=1 + debit(),
            credit_account_id=1 + ACCOUNTS + credit(),
            amount=AMOUNT_MINOR,
            ledger=LEDGER_NUMBER,
            code=CODE,
        )

    return make


def _accepted(client: Any, results: Sequence[Any]) -> None:
    refused = [result for result in results if result.status != client.CreateTransferStatus.CREATED]
    assert not refused, f"TigerBeetle refused {refused[0]}"


def _singles(client: Any, theirs: Any, case: Case) -> Contender:
    """One transfer a call; the client coalesces concurrent calls by itself."""

    async def post(item: Any) -> None:
        _accepted(client, await theirs.create_transfers([item]))

    return Contender(make=_transfers(client, case), post=post)


def _their_batches(client: Any, theirs: Any, case: Case) -> Contender:
    transfer = _transfers(client, case)

    async def post(items: list[Any]) -> None:
        _accepted(client, await theirs.create_transfers(items))

    return Contender(make=lambda: [transfer() for _ in range(BATCH)], post=post, per_call=BATCH)


def _our_batches(pool: asyncpg.Pool, book_id: int, make: Make) -> Contender:
    numbers = AccountNumbers()

    async def post(entries: list[JournalEntry]) -> None:
        async with pool.acquire() as connection:
            await post_entries(connection, book_id, entries, numbers=numbers)

    return Contender(make=lambda: [make() for _ in range(BATCH)], post=post, per_call=BATCH)


def _raw_batches(copy: Baseline, make: Make) -> Contender:
    async def post(entries: list[JournalEntry]) -> None:
        await copy.write(entries, recorded_at=datetime.now(UTC), block_hash=BLOCK_HASH)

    return Contender(make=lambda: [make() for _ in range(BATCH)], post=post, per_call=BATCH)


def _p99_ms(rounds: Sequence[Sample]) -> float:
    return sorted(sample.quantile_ms(0.99) for sample in rounds)[len(rounds) // 2]


def _findings(found: dict[tuple[int, Case], Samples], why: str) -> list[Finding]:
    lines = []
    for case in CASES:
        for callers in (*CALLERS, BATCH):
            samples = found.get((callers, case))
            single = callers != BATCH
            how = f"{case}, " + (f"{callers:,} callers" if single else f"batches of {BATCH:,}")
            ratio = paired(rates(samples["ledger"]), rates(samples["tigerbeetle"])) if samples else None
            lines.append(
                Finding(
                    goal="4" if single else "5",
                    what=f"posting / TigerBeetle, {how}",
                    measured=median_of(ratio),
                    floor=1.7 if single else 0.6,
                    stretch=3 if single else 1.0,
                    detail=str(ratio or why),
                )
            )
            raw = paired(rates(samples["copy"]), rates(samples["tigerbeetle"])) if samples else None
            lines.append(
                Finding(
                    goal="–",
                    what=f"raw COPY of the same rows / TigerBeetle, {how}",
                    measured=median_of(raw),
                    detail=str(raw or why),
                )
            )
        samples = found.get((LATENCY_CALLERS, case))
        lines.append(_latency("posting", case, _p99_ratio(samples, "ledger"), why, goal="8", floor=0.35, stretch=0.15))
        lines.append(_latency("raw COPY of the same rows", case, _p99_ratio(samples, "copy"), why, goal="–"))
    return lines


def _p99_ratio(samples: Samples | None, side: str) -> Ratio | None:
    if samples is None:
        return None
    return paired(*([sample.quantile_ms(0.99) for sample in samples[name]] for name in (side, "tigerbeetle")))


def _latency(who: str, case: Case, ratio: Ratio | None, why: str, **goal: Any) -> Finding:
    return Finding(
        what=f"p99 of {who} / of TigerBeetle, {case}, {LATENCY_CALLERS} callers",
        measured=median_of(ratio),
        at_most=True,
        detail=str(ratio or why),
        **goal,
    )


def _native() -> Finding:
    return Finding(
        goal="6",
        what="posting / TigerBeetle's native benchmark",
        floor=0.06,
        stretch=0.12,
        detail="run by hand: README.md",
    )
