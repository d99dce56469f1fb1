"""Worlds are worked in one operation at a time, and one that is busy leaves the others their connections."""

import asyncio

from gateway.sandbox import world
from gateway.sandbox.world import Worlds, open_pool


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
