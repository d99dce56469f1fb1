"""A process that posts for many callers and prints what was acknowledged, each line as soon as it is known.

    python -m tests.ledger.faults.caller <workload> <book> <seed> <entries> <callers> < address

Lines: `ready`, then `posted <key> <sequence> <new|replayed>` or `refused <key> <refusal>`, in the end `done`. Whatever
is retryable is done again with the same entry, as every caller of the ledger does.
"""

import asyncio
import sys
from collections.abc import Iterator

import asyncpg

from ledger.errors import LedgerError
from ledger.journal import JournalEntry, Posted, PostingResult
from ledger.posting import Ledger
from tests.ledger.faults import workloads

AGAIN_SECONDS = 0.02


async def posted_at_last(ledger: Ledger, book_id: int, entry: JournalEntry) -> PostingResult:
    """The result, however often it takes."""
    while True:
        try:
            return await ledger.post(book_id, entry)
        except LedgerError as error:
            if not error.retryable:
                raise
            await asyncio.sleep(AGAIN_SECONDS)


def line_of(result: PostingResult) -> str:
    if isinstance(result, Posted):
        return f"posted {result.key} {result.sequence} {'replayed' if result.replayed else 'new'}"
    return f"refused {result.key} {result.refusal.code}"


async def main(dsn: str, workload: str, *, book_id: int, seed: int, entries: int, callers: int) -> None:
    pool = await asyncpg.create_pool(dsn, min_size=0, max_size=2)
    ledger = Ledger(pool, max_batch=50)
    waiting: Iterator[JournalEntry] = iter(getattr(workloads, workload)(seed, entries))
    say("ready")

    async def call() -> None:
        for entry in waiting:
            say(line_of(await posted_at_last(ledger, book_id, entry)))

    await asyncio.gather(*(call() for _ in range(callers)))
    say("done")
    await ledger.close()
    await pool.close()


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    address = sys.stdin.readline().strip()
    book, first, count, at_once = map(int, sys.argv[2:])
    asyncio.run(main(address, sys.argv[1], book_id=book, seed=first, entries=count, callers=at_once))
