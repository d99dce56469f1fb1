"""Posting against raw COPY of the same rows, through the same coalescer, in one run.

Closed loop: 1000 callers, each posts one entry, waits for its commit, posts the next. `ours` goes through
`Ledger.post`; `copy` hands the same entries to a coalescer that builds the same rows (keys, entries, postings, with
made-up balances) and sends them by binary COPY into the same tables under another book – no checks, no accounts, no
chain, no replies. Rounds alternate; the ratio is paired, then the median is taken. `hot`: every entry credits one
account; `spread`: both accounts random among 10,000.
"""

import asyncio
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg
import uvloop

from gateway.foundation import embedded
from gateway.foundation.ids import uuid7
from ledger.accounts import open_book
from ledger.chart_of_accounts import AccountKind
from ledger.coalescing import Coalescer
from ledger.journal import AccountRef, EntryKind, JournalEntry, Posting
from ledger.posting import Ledger
from migrations.upgrade import upgrade

CALLERS: Final = int(os.environ.get("BENCH_CALLERS", "1000"))
ROUNDS: Final = int(os.environ.get("BENCH_ROUNDS", "7"))
SECONDS: Final = 1.0
ACCOUNTS: Final = 10_000
MAX_BATCH: Final = 2_000
FLOOR: Final = 0.65
DAY: Final = date(2026, 11, 23)
METADATA: Final = b'{"order": "12345678"}'
DEBITS: Final = [AccountRef(AccountKind.BANK, f"b{n}") for n in range(ACCOUNTS)]
CREDITS: Final = [AccountRef(AccountKind.CLEARING, f"c{n}") for n in range(ACCOUNTS)]

Post = Callable[[JournalEntry], Awaitable[Any]]


def some_entry(*, hot: bool) -> JournalEntry:
    """A fresh entry with a time-ordered key and one posting."""
    credit = CREDITS[0] if hot else random.choice(CREDITS)
    posting = Posting(debit=random.choice(DEBITS), credit=credit, amount_minor=500)
    return JournalEntry(
        key=uuid7(), kind=EntryKind.PROVIDER_SETTLED, effective_on=DAY, postings=(posting,), metadata=METADATA
    )


class Copy:
    """The same rows by COPY, one transaction a batch."""

    def __init__(self, pool: asyncpg.Pool, book_id: int) -> None:
        self._pool = pool
        self._book_id = book_id
        self._sequence = 0
        self._block = 0
        self._numbers = {account: n for n, account in enumerate((*DEBITS, *CREDITS), 1)}

    async def flush(self, entries: Sequence[JournalEntry]) -> Sequence[int]:
        """Build and send the rows; results are the sequences."""
        book, now, first = self._book_id, datetime.now(UTC), self._sequence
        self._block += 1
        keys, headers, lines = [], [], []
        for sequence, entry in enumerate(entries, first + 1):
            keys.append((book, entry.key, sequence, now))
            kind, day = int(entry.kind), entry.effective_on
            unused = (None, None, None)
            headers.append(
                (book, sequence, now, self._block, entry.key, kind, day, entry.caller, *unused, entry.metadata)
            )
            for line, posting in enumerate(entry.postings, 1):
                accounts = self._numbers[posting.debit], self._numbers[posting.credit]
                lines.append((book, sequence, line, now, *accounts, posting.amount_minor, None, sequence, sequence))
        self._sequence += len(entries)
        async with self._pool.acquire() as connection, connection.transaction():
            for table, rows in (("idempotency_keys", keys), ("entries", headers), ("postings", lines)):
                await connection.copy_records_to_table(table, schema_name="ledger", records=rows)
        return range(first + 1, self._sequence + 1)


async def rate(post: Post, *, hot: bool) -> float:
    """Entries a second, over one closed-loop round."""
    done, deadline = 0, time.perf_counter() + SECONDS

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() < deadline:
            await post(some_entry(hot=hot))
            done += 1

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return done / (time.perf_counter() - started)


async def measure(app_dsn: str, superuser_dsn: str) -> dict[str, float]:
    """Print every round's medians; the paired ratios by case."""
    async with asyncpg.create_pool(app_dsn, min_size=2) as pool, asyncpg.create_pool(superuser_dsn, min_size=2) as raw:
        ratios = {}
        for book, (case, hot) in enumerate((("hot", True), ("spread", False)), 1):
            async with pool.acquire() as connection:
                await open_book(connection, book, code=case, mode="test")
            ledger, copy = Ledger(pool, max_batch=MAX_BATCH), Copy(raw, 1_000_000 + book)
            by_copy: Coalescer[JournalEntry, int] = Coalescer(copy.flush, max_batch=MAX_BATCH, queue_limit=10_000)

            async def ours(entry: JournalEntry, ledger: Ledger = ledger, book: int = book) -> Any:
                return await ledger.post(book, entry)

            for warming in (ours, by_copy.submit, ours):
                await rate(warming, hot=hot)
            pairs = [(await rate(ours, hot=hot), await rate(by_copy.submit, hot=hot)) for _ in range(ROUNDS)]
            await ledger.close()
            await by_copy.close()
            ratios[case] = statistics.median(a / b for a, b in pairs)
            ours_rate, copy_rate = (statistics.median(side) for side in zip(*pairs, strict=True))
            spread = ", ".join(f"{a / b:.2f}" for a, b in pairs)
            print(
                f"{case:<7} ours {ours_rate:>8,.0f}/s   copy {copy_rate:>8,.0f}/s   ratio {ratios[case]:.2f} ({spread})"
            )
        return ratios


@asynccontextmanager
async def server() -> AsyncIterator[tuple[str, str]]:
    """(app, superuser) addresses of a fresh, durable embedded server."""
    with tempfile.TemporaryDirectory(prefix="quickkub-bench-") as folder:
        endpoints = await asyncio.to_thread(embedded.start, Path(folder), durable=True)
        try:
            await upgrade(endpoints.database_owner_url)
            yield endpoints.database_url, endpoints.superuser_url
        finally:
            await asyncio.to_thread(embedded.stop, Path(folder))


async def run() -> None:
    """One run on a fresh embedded server."""
    async with server() as (app_dsn, superuser_dsn):
        connection = await asyncpg.connect(app_dsn)
        version = await connection.fetchval("SHOW server_version")
        fsync = await connection.fetchval("SHOW fsync")
        await connection.close()
        load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
        print(
            f"PostgreSQL {version} embedded, fsync {fsync}, Python {platform.python_version()} uvloop, {os.cpu_count()}"
            f" cores shared by callers and server, load {load}; {CALLERS} callers, {ROUNDS} rounds of"
            f" {timedelta(seconds=SECONDS).total_seconds():.0f} s interleaved, batches ≤ {MAX_BATCH:,}"
        )
        ratios = await measure(app_dsn, superuser_dsn)
    for case, ratio in ratios.items():
        print(f"posting / raw COPY, {case}: {ratio:.2f} (floor {FLOOR}: {'reached' if ratio >= FLOOR else 'MISSED'})")


def main() -> None:
    """`python -m benchmarks.posting`."""
    uvloop.run(run())


if __name__ == "__main__":
    main()
