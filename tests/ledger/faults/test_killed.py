"""kill −9 of who posts and of who stores: nothing acknowledged is lost, nothing is there twice.

Method: children post on one book and print what they were told. Something is killed at a random moment of a batch.
Afterwards the books hold at least what was told, every entry can be asked for by posting it again, and all verifies.
"""

import asyncio
import random

import pytest

from tests.ledger.faults.children import assert_nothing_lost_or_doubled, child
from tests.ledger.faults.durable import DurableServer
from tests.ledger.faults.scale import scaled
from tests.ledger.faults.workloads import receipts

CALLERS = 40
CLIENT_ROUNDS, SERVER_ROUNDS = scaled(2, long=25), scaled(2, long=25)


@pytest.mark.parametrize("seed", range(CLIENT_ROUNDS))
async def test_client_killed_inside_a_batch_loses_nothing_that_it_was_told(durable: DurableServer, seed: int) -> None:
    book, entries = await durable.new_book(), receipts(seed, 2_000)
    chance = random.Random(seed)
    async with child(durable.app_dsn, book, seed, entries=2_000, callers=CALLERS) as posting:
        await posting.acknowledged(chance.randint(1, 400))
        await asyncio.sleep(chance.random() * 0.02)
        posting.kill()
        assert await posting.ended() == -9
        assert 0 < len(posting.posted) < 2_000
    async with durable.connected() as connection:
        await assert_nothing_lost_or_doubled(connection, book, posting.posted, entries)


@pytest.mark.timeout(600)
async def test_server_killed_inside_a_batch_again_and_again_loses_nothing_and_callers_go_on(
    durable: DurableServer,
) -> None:
    """Two processes post all the while. Between two kills they get something done, which is then killed at."""
    per_child = 600 * SERVER_ROUNDS
    book, chance = await durable.new_book(), random.Random(SERVER_ROUNDS)
    async with (
        child(durable.app_dsn, book, 1, entries=per_child, callers=CALLERS) as first,
        child(durable.app_dsn, book, 2, entries=per_child, callers=CALLERS) as second,
    ):
        for _ in range(SERVER_ROUNDS):
            known = len(first.posted)
            await first.acknowledged(known + chance.randint(1, 400))
            await asyncio.sleep(chance.random() * 0.02)
            assert durable.kill() > 1
            await durable.restart()
        assert not (first.done and second.done), "the last kill hit nobody"
        assert (await first.ended(), await second.ended()) == (0, 0)
        assert first.done
        assert second.done
    told = first.posted | second.posted
    assert len(told) == 2 * per_child
    async with durable.connected() as connection:
        entries = receipts(1, per_child) + receipts(2, per_child)
        await assert_nothing_lost_or_doubled(connection, book, told, entries)


async def test_durable_server_syncs_every_commit(durable: DurableServer) -> None:
    """Else the tests above would prove nothing about a crash."""
    async with durable.connected() as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert await connection.fetchval("SELECT current_setting($1)", setting) == "on"
