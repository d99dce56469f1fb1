"""Posting against itself: with refusals and without (goal 9), with the chain and without (goal 10)."""

import random
import re
from contextlib import AsyncExitStack
from itertools import chain
from pathlib import Path
from typing import Any, Final

import asyncpg

from benchmarks.baselines import MAX_BATCH
from benchmarks.cells import into
from benchmarks.options import Options
from benchmarks.report import Finding, heading
from benchmarks.rounds import Contender, Sample, interleave, median_rate, paired, rates
from benchmarks.server import Database, Server
from benchmarks.workload import ACCOUNTS, CREDITS, DEBITS, Case, Make, entry, maker, open_filled
from ledger.chart_of_accounts import AccountKind
from ledger.journal import AccountRef, EntryKind, JournalEntry, Refused
from ledger.posting import Ledger, keeps_nothing
from ledger.refusals import Refusal
from ledger.schema import SQL

CALLERS: Final = 1000
BOOK: Final = 1
REFUSED_SHARE: Final = 0.3
POOR: Final = 1000
"""Accounts with 1 satang each: whatever they are to pay is refused."""
FUNDS_MINOR: Final = 10**15
HASH: Final = re.compile(
    r"^[ \t]*-- bench: hash begins[^\n]*\n(.*?)^[ \t]*-- bench: hash ends[^\n]*\n", re.MULTILINE | re.DOTALL
)
HASH_INTO: Final = re.compile(r"\bINTO\s+(?:STRICT\s+)?(\w+)|^\s*(\w+)\s*:=", re.MULTILINE)

RICH_MERCHANTS: Final = tuple(AccountRef(AccountKind.MERCHANT_AVAILABLE, f"rich{n}") for n in range(ACCOUNTS))
POOR_MERCHANTS: Final = tuple(AccountRef(AccountKind.MERCHANT_AVAILABLE, f"poor{n}") for n in range(POOR))
PAYOUTS: Final = tuple(AccountRef(AccountKind.PAYOUTS_IN_TRANSIT, f"out{n}") for n in range(ACCOUNTS))

Measured = tuple[list[Finding], list[dict[str, Any]]]


async def measure(server: Server, options: Options) -> Measured:
    """Both comparisons."""
    refusals, figures = await measure_refusals(server, options)
    hashing, more = await measure_chain(server, options)
    return [*refusals, *hashing], [*figures, *more]


def authorising(refused_share: float) -> Make:
    """Payouts from accounts with a floor; this share of them from accounts that cannot pay."""

    def make() -> JournalEntry:
        payers = POOR_MERCHANTS if random.random() < refused_share else RICH_MERCHANTS
        return entry(random.choice(payers), random.choice(PAYOUTS), kind=EntryKind.PAYOUT_REQUESTED)

    return make


def funding() -> list[JournalEntry]:
    """Opens every account of payouts and fills those that are to pay."""
    rich = (entry(DEBITS[n], account, FUNDS_MINOR) for n, account in enumerate(RICH_MERCHANTS))
    poor = (entry(DEBITS[n], account, 1) for n, account in enumerate(POOR_MERCHANTS))
    outs = (entry(CREDITS[n], account, 1) for n, account in enumerate(PAYOUTS))
    return list(chain(rich, poor, outs))


async def measure_refusals(server: Server, options: Options) -> Measured:
    """Goal 9: answers a second with 30 % refusals against none."""
    heading(f"authorising entries, {REFUSED_SHARE:.0%} refused against none, {CALLERS:,} callers")
    database = await server.clone("refusals")
    refused = 0
    async with asyncpg.create_pool(database.app_dsn, min_size=2, reset=keeps_nothing) as pool:
        ledger = Ledger(pool, max_batch=MAX_BATCH)
        contenders = {}
        for book, (name, share) in enumerate((("none refused", 0.0), ("some refused", REFUSED_SHARE)), BOOK):
            await open_filled(database.app_dsn, book, funding())
            contenders[name] = Contender(make=authorising(share), post=into(ledger, book))
        plain = contenders["some refused"].post

        async def counted(item: JournalEntry) -> Any:
            nonlocal refused
            result = await plain(item)
            if isinstance(result, Refused):
                assert result.refusal is Refusal.BELOW_FLOOR, result
                refused += 1
            return result

        contenders["some refused"] = Contender(make=authorising(REFUSED_SHARE), post=counted)
        samples = await _alternating(contenders, options)
        answered = sum(sample.items for sample in samples["some refused"])
        await ledger.close()
    ratio = paired(rates(samples["some refused"]), rates(samples["none refused"]))
    # The warming round counts refusals too, so this is a little high.
    print(f"refused {refused:,} of some {answered:,} and the warming round's")
    finding = Finding(
        goal="9",
        what=f"{REFUSED_SHARE:.0%} refused / none, answers a second",
        measured=ratio.median,
        floor=0.9,
        stretch=1.0,
        detail=str(ratio),
    )
    return [finding], _figures(samples)


def without_hash(folder: Path = SQL) -> tuple[str, str] | None:
    """The posting function with its leaf hashing replaced by a constant: (file, text); None where it is not marked.

    Raises:
        AssertionError: what is marked puts its result into no variable.
    """
    for path in sorted(folder.glob("post_entries_v*.sql"), reverse=True):
        text = path.read_text()
        marked = HASH.search(text)
        if marked is None:
            continue
        into_variable = HASH_INTO.search(marked.group(1))
        assert into_variable, f"{path.name}: the marked statement assigns its hash to a variable"
        variable = into_variable.group(1) or into_variable.group(2)
        replaced = text[: marked.start()] + f"    {variable} := '\\x{'00' * 32}'::bytea;\n" + text[marked.end() :]
        return path.name, replaced.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1)
    return None


async def measure_chain(server: Server, options: Options) -> Measured:
    """Goal 10: the shipped function against the same without leaf hashes, each in a database of its own."""
    goal = {"goal": "10", "floor": 0.88, "stretch": 0.96}
    what = "with the chain / without leaf hashes"
    variant = without_hash()
    if variant is None:
        why = "the hashing statement is not marked in ledger/sql/post_entries_v*.sql"
        print(f"\nchain: not run here ({why})")
        return [Finding(what=what, detail=why, **goal)], []  # type: ignore[arg-type]
    heading(f"{variant[0]} with and without leaf hashes, {CALLERS:,} callers")
    found: list[Finding] = []
    async with AsyncExitStack() as stack:
        contenders = {}
        for name in ("with", "without"):
            database = await server.clone(f"chain_{name}")
            if name == "without":
                await _replace_function(database, variant[1])
            pool = await stack.enter_async_context(
                asyncpg.create_pool(database.app_dsn, min_size=2, reset=keeps_nothing)
            )
            ledger = Ledger(pool, max_batch=MAX_BATCH)
            stack.push_async_callback(ledger.close)
            for book, case in enumerate((Case.HOT, Case.SPREAD), BOOK):
                await open_filled(database.app_dsn, book)
                contenders[f"{case}/{name}"] = Contender(make=maker(case), post=into(ledger, book))
        samples = await _alternating(contenders, options)
    for case in (Case.HOT, Case.SPREAD):
        ratio = paired(rates(samples[f"{case}/with"]), rates(samples[f"{case}/without"]))
        found.append(Finding(what=f"{what}, {case}", measured=ratio.median, detail=str(ratio), **goal))  # type: ignore[arg-type]
    return found, _figures(samples)


async def _replace_function(database: Database, text: str) -> None:
    connection = await asyncpg.connect(database.superuser_dsn)
    try:
        await connection.execute(text)
    finally:
        await connection.close()


async def _alternating(contenders: dict[str, Contender], options: Options) -> dict[str, list[Sample]]:
    samples = await interleave(contenders, rounds=options.rounds, callers=CALLERS, seconds=options.seconds(CALLERS))
    for name, rounds in samples.items():
        print(f"{name:<16} {median_rate(rounds):>8,.0f}/s  ({', '.join(f'{rate:,.0f}' for rate in rates(rounds))})")
    return samples


def _figures(samples: dict[str, list[Sample]]) -> list[dict[str, Any]]:
    return [{"contender": name, "rates_per_second": rates(rounds)} for name, rounds in samples.items()]
