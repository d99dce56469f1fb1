"""Many payments of one merchant opened at once: what may not begin is refused by itself and holds up no other."""

import asyncio

import pytest
from msgspec.structs import replace
from sqlalchemy.exc import IntegrityError

from gateway.foundation.ids import new_id
from gateway.payments.attempts import Begun, Opening
from gateway.payments.errors import InvalidRequest, LimitExceeded
from gateway.payments.opening import new_intent, reference_used
from gateway.payments.openings import Openings
from gateway.payments.records import add_rows
from gateway.payments.requests import ConfirmIntent, CreateIntent
from gateway.payments.routing import Sum
from gateway.payments.tables import intents
from gateway.providers.base import Method
from tests.payments.test_limits import limit

QR = ConfirmIntent(payment_method=Method.PROMPTPAY)


@pytest.fixture
async def door(house, merchant):
    """Opens payments; `flushes` are the sizes of the batches that were tried."""
    made = Door(house, merchant)
    yield made
    await made.openings.close()


class Door:
    def __init__(self, house, merchant):
        self.house, self.merchant, self.flushes = house, merchant, []
        self.openings = self.another()

    def another(self):
        """As another process has it."""
        openings = Openings(self.house.database, self.house.attempts)
        opened = openings._opened

        async def counted(book_id, account_id, batch):
            self.flushes.append(len(batch))
            return await opened(book_id, account_id, batch)

        openings._opened = counted
        return openings

    async def opening(self, reference=None, amount=100_00, currency="THB"):
        request = CreateIntent(amount=amount, currency="thb", payment_method=Method.PROMPTPAY)
        request = replace(request, merchant_reference=reference)
        intent = replace(new_intent(self.merchant, request, intent_id=new_id("pi", livemode=False)), currency=currency)
        choices = await self.house.attempts.choices(
            self.merchant, Sum(amount_minor=amount, currency="THB", capture_later=False), QR
        )
        return Opening(intent=intent, how=QR, attempt_id=new_id("att", livemode=False), choices=choices)

    async def at_once(self, *openings):
        """What becomes of them, of one batch, in their order."""
        first = asyncio.create_task(self.openings.open(await self.opening()))
        await asyncio.sleep(0)  # it is being written; what comes now goes together
        found = await asyncio.gather(*(self.openings.open(one) for one in openings), return_exceptions=True)
        await first
        return found

    async def written(self):
        return len(
            await self.house.rows("SELECT FROM gateway.payment_intents WHERE book_id = $1", self.merchant.book_id)
        )


def codes(outcomes):
    return [getattr(each, "limit", None) or getattr(each, "code", None) for each in outcomes]


async def test_a_payment_that_is_too_large_leaves_its_batch_whole(house, merchant, door):
    await limit(house, merchant, payment_max_minor=500_00)
    wished = [await door.opening(amount=amount) for amount in (100_00, 500_01, 200_00, 300_00)]
    assert codes(await door.at_once(*wished)) == [None, "payment_max", None, None]
    assert (door.flushes, await door.written()) == ([1, 4], 4)


async def test_what_fits_into_a_period_begins_in_its_order_and_the_rest_is_told_what_is_left(house, merchant, door):
    await limit(house, merchant, day_max_minor=1_000_00)
    wished = [await door.opening(amount=amount) for amount in (400_00, 600_00, 500_00, 20_00)]
    outcomes = await door.at_once(*wished)
    assert codes(outcomes) == [None, "day_max", None, "day_max"]
    assert [each.left for each in outcomes if isinstance(each, LimitExceeded)] == [500_00, 0]
    assert (door.flushes, await door.written()) == ([1, 4], 3)
    [used] = await house.rows(
        "SELECT amount_minor, payments FROM gateway.limit_usage WHERE book_id = $1 AND method = '*' AND period = 'day'",
        merchant.book_id,
    )
    assert used == {"amount_minor": 1_000_00, "payments": 3}


async def test_of_one_reference_the_first_begins_and_a_used_one_leaves_its_batch_whole(house, merchant, door):
    await door.openings.open(await door.opening("used"))
    door.flushes.clear()
    wished = [await door.opening(reference) for reference in ("used", "new", None, "new", None)]
    outcomes = await door.at_once(*wished)
    assert codes(outcomes) == ["merchant_reference_used", None, None, "merchant_reference_used", None]
    assert (door.flushes, await door.written()) == ([1, 5], 5)
    assert isinstance(outcomes[0], InvalidRequest)


async def test_no_payment_is_refused_for_the_reference_that_it_has_itself(house, merchant, door):
    """A retry whose first run is still under way: whether it was made, the next retry learns; it is not refused."""
    wished = await door.opening("mine")
    again, other = replace(wished, attempt_id=new_id("att", livemode=False)), await door.opening("other")
    outcomes = await door.at_once(wished, again, other)
    assert [type(each) for each in outcomes] == [Begun, IntegrityError, Begun]
    [late] = await door.at_once(again)
    assert isinstance(late, IntegrityError)
    assert [reference_used(error) for error in (outcomes[1], late)] == [None, None]
    assert await door.written() == 4
    [used] = await house.rows(
        "SELECT payments FROM gateway.limit_usage WHERE book_id = $1 AND method = '*' AND period = 'day'",
        merchant.book_id,
    )
    assert used == {"payments": 4}


async def test_a_refused_payment_does_not_use_its_reference_up(house, merchant, door):
    await limit(house, merchant, payment_max_minor=500_00)
    wished = [await door.opening("one", amount=500_01), await door.opening("one")]
    assert codes(await door.at_once(*wished)) == ["payment_max", None]


async def test_racing_processes_never_pass_a_limit_together(house, merchant, door):
    await limit(house, merchant, day_max_minor=1_000_00)
    doors = [door.openings, door.another(), door.another()]
    wished = [await door.opening(amount=150_00) for _ in range(30)]
    outcomes = await asyncio.gather(
        *(doors[number % 3].open(one) for number, one in enumerate(wished)), return_exceptions=True
    )
    assert (codes(outcomes).count(None), codes(outcomes).count("day_max")) == (6, 24)


async def test_a_reference_that_another_process_is_writing_is_refused_once_it_has_it(house, merchant, door):
    taken = (await door.opening("b")).intent
    async with house.database.transaction() as connection:
        await add_rows(connection, intents, [taken])
        wished = [await door.opening(reference) for reference in ("a", "b", "c")]
        opening = asyncio.create_task(door.at_once(*wished))
        await asyncio.wait({opening}, timeout=0.3)
    assert codes(await opening) == [None, "merchant_reference_used", None]
    assert door.flushes == [1, 3, 3], "looked at twice, never halved"


async def test_the_same_references_in_opposite_orders_and_two_currencies_wait_for_nobody_who_waits(
    house, merchant, door
):
    """Both have written their first reference when a third lets the second one go, on which both wait."""
    other = door.another()
    between = (await door.opening("b")).intent
    batches = [
        [await door.opening(reference) for reference in ("a", "b", "c")],
        [await door.opening(reference, currency="USD") for reference in ("c", "b", "a")],
    ]

    async def both():
        flush = [each._flush_into(merchant.book_id, merchant.account_id) for each in (door.openings, other)]
        return await asyncio.gather(*(one(batch) for one, batch in zip(flush, batches, strict=True)))

    with pytest.raises(IntegrityError, match="gone"):
        async with house.database.transaction() as connection:
            await add_rows(connection, intents, [between])
            racing = asyncio.create_task(both())
            await asyncio.wait({racing}, timeout=0.5)
            raise IntegrityError("gone", None, Exception("gone"))
    outcomes = await racing
    assert {tuple(codes(each)) for each in outcomes} == {(None,) * 3, ("merchant_reference_used",) * 3}
    assert await door.written() == 3


async def test_a_used_reference_of_a_bulk_call_leaves_the_others_together(house, merchant, door, monkeypatch):
    written, commit = [], house.bulk_intents._commit

    async def counted(rows):
        written.append(len(rows))
        return await commit(rows)

    monkeypatch.setattr(house.bulk_intents, "_commit", counted)
    await door.openings.open(await door.opening("used"))
    names = ["a", "used", None, "a", "b"]
    asked = [CreateIntent(amount=100_00, currency="thb", confirm=False, merchant_reference=name) for name in names]
    ids = [new_id("pi", livemode=False) for _ in names]
    outcomes = await house.bulk_intents.create(merchant, asked, ids)
    used = "merchant_reference_used"
    assert (codes(outcomes), written) == ([None, used, None, used, None], [5, 3])
    again = await house.bulk_intents.create(merchant, asked, ids)
    assert codes(again) == codes(outcomes), "a retry finds what was made"
    assert await door.written() == 4


async def test_bulk_calls_with_the_same_references_in_opposite_orders_wait_for_nobody_who_waits(house, merchant, door):
    between = (await door.opening("b")).intent
    asked = [CreateIntent(amount=100_00, currency="thb", confirm=False, merchant_reference=name) for name in "abc"]

    def call(requests):
        return house.bulk_intents.create(merchant, requests, [new_id("pi", livemode=False) for _ in requests])

    with pytest.raises(IntegrityError, match="gone"):
        async with house.database.transaction() as connection:
            await add_rows(connection, intents, [between])
            racing = asyncio.gather(call(asked), call(asked[::-1]))
            await asyncio.wait({racing}, timeout=0.5)
            raise IntegrityError("gone", None, Exception("gone"))
    outcomes = await racing
    assert {tuple(codes(each)) for each in outcomes} == {(None,) * 3, ("merchant_reference_used",) * 3}
    assert await door.written() == 3
