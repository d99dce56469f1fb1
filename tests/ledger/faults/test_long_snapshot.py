"""A reader that keeps one snapshot open while others post: it sees one stable cut, and they are not stopped."""

import asyncio
import time

import asyncpg
import pytest

from ledger.balances import all_balances
from ledger.feed import head, read_entries
from ledger.journal import Posted
from ledger.posting import Ledger
from ledger.verification import verify
from tests.ledger.entries import BOOK
from tests.ledger.faults.scale import scaled
from tests.ledger.faults.workloads import mixture, receipts

SNAPSHOT_SECONDS = scaled(3, long=30)
CALLERS = 50
SLOWEST_SHARE = 0.1
"""What must be left of the rate in the last third, measured against the first. Less would be standing still."""


@pytest.mark.timeout(300)
async def test_posting_goes_on_beside_an_old_snapshot_which_sees_one_cut(
    app: asyncpg.Connection, pool: asyncpg.Pool
) -> None:
    ledger, told, stop = Ledger(pool, max_batch=100), dict[object, int](), asyncio.Event()
    for each in mixture(1, 200):
        await ledger.post(BOOK, each)

    async def call(seed: int) -> None:
        while not stop.is_set():
            seed += CALLERS
            for each in receipts(seed, 20):
                result = await ledger.post(BOOK, each)
                assert isinstance(result, Posted)
                told[result.key] = result.sequence

    async with pool.acquire() as reader, reader.transaction(isolation="repeatable_read", readonly=True):
        cut = await head(reader, BOOK)
        seen = (await all_balances(reader, BOOK), await read_entries(reader, BOOK, after=0, limit=10_000))
        callers = [asyncio.create_task(call(seed)) for seed in range(1_000, 1_000 + CALLERS)]
        rates, started = list[float](), time.monotonic()
        for _ in range(3):
            before, since = len(told), time.monotonic()
            await asyncio.sleep(SNAPSHOT_SECONDS / 3)
            rates.append((len(told) - before) / (time.monotonic() - since))
        assert time.monotonic() - started >= SNAPSHOT_SECONDS
        assert await head(reader, BOOK) == cut
        assert (await all_balances(reader, BOOK), await read_entries(reader, BOOK, after=0, limit=10_000)) == seen
    stop.set()
    await asyncio.gather(*callers)
    await ledger.close()
    assert rates[0] > 0
    assert rates[2] > SLOWEST_SHARE * rates[0], f"entries a second by thirds: {[round(rate) for rate in rates]}"
    report = await verify(app, BOOK)
    assert [check for check in report.checks if not check.passed] == []
    recorded = {
        each.key: each.sequence
        for after in range(cut, report.head, 2_000)
        for each in await read_entries(app, BOOK, after=after, limit=2_000)
    }
    assert recorded == told
