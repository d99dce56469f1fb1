"""Many callers, one flush or two: each gets its own result, whatever goes out together."""

import asyncio
import random
from collections.abc import Sequence

import pytest

from ledger.coalescing import HALVED_FROM, Coalescer
from ledger.errors import LedgerBusy

MANY = 10 * HALVED_FROM


class Elsewhere:
    """Answers the negative of each item, after some turns of the loop; notes what was under way together."""

    def __init__(self, turns: int = 3) -> None:
        self.turns = turns
        self.batches: list[int] = []
        self.under_way = 0
        self.most_under_way = 0
        self.rests = 0

    async def flush(self, items: Sequence[int]) -> list[int]:
        self.batches.append(len(items))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        for _ in range(self.turns):
            await asyncio.sleep(0)
        self.under_way -= 1
        if -1 in items:
            raise ValueError("poison")
        return [-item for item in items]

    async def rest(self) -> None:
        self.rests += 1

    def coalescer(self, *, flights_max: int, max_batch: int = MANY) -> Coalescer[int, int]:
        return Coalescer(self.flush, max_batch=max_batch, queue_limit=MANY, flights_max=flights_max, rest=self.rest)


@pytest.mark.parametrize(
    ("flights_max", "items", "batches"),
    [
        (1, HALVED_FROM, [HALVED_FROM]),
        (2, HALVED_FROM - 1, [HALVED_FROM - 1]),
        (2, HALVED_FROM, [HALVED_FROM // 2, HALVED_FROM // 2]),
        (2, MANY, [MANY // 2, MANY // 2]),
    ],
)
async def test_many_items_go_out_in_halves_where_two_flights_are_allowed(flights_max, items, batches):
    elsewhere = Elsewhere()
    coalescer = elsewhere.coalescer(flights_max=flights_max)
    assert await asyncio.gather(*map(coalescer.submit, range(items))) == [-item for item in range(items)]
    assert (elsewhere.batches, elsewhere.most_under_way) == (batches, len(batches))
    await coalescer.close()
    assert elsewhere.rests == len(batches)


async def test_callers_that_ask_again_at_once_keep_both_halves_on_the_way():
    elsewhere = Elsewhere()
    coalescer = elsewhere.coalescer(flights_max=2)

    async def caller(first: int) -> None:
        for item in range(first, first + 5):
            assert await coalescer.submit(item) == -item

    await asyncio.gather(*(caller(1000 * number) for number in range(HALVED_FROM)))
    assert elsewhere.batches == [HALVED_FROM // 2] * 10
    await coalescer.close()


@pytest.mark.parametrize("flights_max", [1, 2])
@pytest.mark.parametrize("seed", range(20))
async def test_each_gets_its_own_result_whenever_it_comes_and_poison_stands_alone(flights_max, seed):
    chance = random.Random(seed)
    elsewhere = Elsewhere(turns=chance.randrange(6))
    coalescer = elsewhere.coalescer(flights_max=flights_max, max_batch=chance.choice([3, 50, MANY]))
    poison = chance.randrange(MANY)

    async def caller(number: int) -> int | str:
        for _ in range(chance.randrange(40)):
            await asyncio.sleep(0)
        try:
            return await coalescer.submit(-1 if number == poison else number)
        except ValueError as error:
            return str(error)

    async with asyncio.timeout(30):
        results = await asyncio.gather(*map(caller, range(MANY)))
        await coalescer.close()
    assert results == ["poison" if number == poison else -number for number in range(MANY)]
    assert elsewhere.most_under_way <= flights_max
    with pytest.raises(LedgerBusy):
        await coalescer.submit(1)


async def test_what_is_handed_in_together_goes_out_in_one_flush_and_in_order_beside_what_waits():
    elsewhere = Elsewhere()
    coalescer = elsewhere.coalescer(flights_max=2)
    alone = [asyncio.create_task(coalescer.submit(number)) for number in range(10)]
    together = await coalescer.submit_together(range(100, 100 + HALVED_FROM))
    assert together == [-number for number in range(100, 100 + HALVED_FROM)]
    assert [await each for each in alone] == [-number for number in range(10)]
    assert sorted(elsewhere.batches) == [10, HALVED_FROM]
    await coalescer.close()


async def test_of_items_handed_in_together_each_gets_its_own_error():
    coalescer = Elsewhere().coalescer(flights_max=2)
    results = await coalescer.submit_together([1, -1, 2])
    assert (results[0], str(results[1]), results[2]) == (-1, "poison", -2)
    with pytest.raises(LedgerBusy):
        await asyncio.gather(*(coalescer.submit_together(range(MANY // 2)) for _ in range(3)))
    await coalescer.close()


async def test_nobody_waits_for_ever_for_a_flush_that_gives_too_few_results():
    async def flush(items):
        return items[1:]

    coalescer = Coalescer(flush, max_batch=10, queue_limit=10)
    outcomes = await asyncio.gather(*map(coalescer.submit, range(3)), return_exceptions=True)
    assert isinstance(outcomes[2], asyncio.CancelledError)
