"""Worlds are worked in one operation at a time, and one that is busy leaves the others their connections."""

import asyncio
import contextlib

from gateway.sandbox import bank_account, faults, world
from gateway.sandbox.bill_payments import Bill, remember_qr
from gateway.sandbox.faults import Fault, FaultKind
from gateway.sandbox.world import Worlds, open_pool

SLOW = Fault(kind=FaultKind.SLOW)


async def _stands_still(_: object) -> None:
    pass


async def test_operations_that_wait_for_a_world_hold_no_connection(database, monkeypatch):
    monkeypatch.setattr(world, "POOL_SIZE", 2)
    pool = await open_pool(database.sandbox_dsn)
    try:
        worlds, order = Worlds(pool, _stands_still, "http://sandbox.test"), []
        for name in ("busy", "free"):
            await worlds.create(name, {})

        async def work(number: int) -> None:
            async with worlds.open("busy"):
                order.append(number)

        async with worlds.open("busy"):
            waiting = [asyncio.create_task(work(number)) for number in range(5)]
            await asyncio.sleep(0.05)
            async with asyncio.timeout(5), worlds.open("free"):
                assert order == []
        await asyncio.gather(*waiting)
        assert order == [0, 1, 2, 3, 4]
    finally:
        await pool.close()


async def test_a_world_is_waited_for_however_long_another_process_works_in_it(database):
    """Until its days are rolled forward, which may take long; ours is not the payments' two seconds."""
    one, other = await open_pool(database.sandbox_dsn), await open_pool(database.sandbox_dsn)
    try:
        worlds = [Worlds(pool, _stands_still, "http://sandbox.test") for pool in (one, other)]
        await worlds[0].create("busy", {})
        async with worlds[0].open("busy"):
            waiting = asyncio.create_task(_open_alone(worlds[1], alone=False))
            await asyncio.wait({waiting}, timeout=2.3)
            assert not waiting.done()
        await waiting
    finally:
        await one.close()
        await other.close()


async def test_operation_alone_waits_for_nobody_unless_something_is_due_or_a_fault_waits(database):
    pool = await open_pool(database.sandbox_dsn)
    try:
        worlds = Worlds(pool, _stands_still, "http://sandbox.test")
        await worlds.create("busy", {})
        async with worlds.open("busy"), asyncio.timeout(5), worlds.open("busy", alone=True) as alone:
            remember_qr(alone, Bill(ref1="QK1", amount_minor=100), "QR", None)
        assert await pool.fetchval("SELECT count(*) FROM sandbox.qr_codes") == 1
        async with worlds.open("busy") as world:
            await faults.order(world, provider="scb", operation="charge", fault=SLOW, times=1, amount_minor=None)
        for change in (
            "UPDATE sandbox.faults SET remaining = 1",
            "UPDATE sandbox.worlds SET rolled_to_on = rolled_to_on - 1",
        ):
            await pool.execute(change)
            async with worlds.open("busy"):
                waiting = asyncio.create_task(_open_alone(worlds))
                await asyncio.sleep(0.2)
                assert not waiting.done()
            await waiting
            await pool.execute("UPDATE sandbox.faults SET remaining = 0")
    finally:
        await pool.close()


async def _open_alone(worlds: Worlds, *, alone: bool = True) -> None:
    async with worlds.open("busy", alone=alone):
        pass


async def test_what_waits_is_written_in_order_when_the_operation_ends_and_not_at_all_when_it_fails(database):
    pool = await open_pool(database.sandbox_dsn)
    try:
        worlds = Worlds(pool, _stands_still, "http://sandbox.test")
        await worlds.create("7", {})
        # More than go into one statement.
        for first in (1, 11):
            async with worlds.open("7") as world:
                for number in range(first, first + 10):
                    bank_account.book(world, world.today, number, reference="R", description=f"LINE {number}")
        with contextlib.suppress(ZeroDivisionError):
            async with worlds.open("7") as world:
                bank_account.book(world, world.today, 99, reference="R", description="NEVER")
                raise ZeroDivisionError
        rows = await pool.fetch("SELECT position, amount_minor FROM sandbox.bank_lines ORDER BY position")
        assert [tuple(row) for row in rows] == [(number, number) for number in range(1, 21)]
    finally:
        await pool.close()
