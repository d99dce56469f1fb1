"""Lanes: some tens sent one after the other, written together; a crash, a failure, a line that was closed between."""

import pytest

from gateway.webhooks.deliveries import Deliverer
from tests.providers.stub import Raw
from tests.webhooks.conftest import House
from tests.webhooks.delivering import attempts_of, deliverer_of, deliveries_of, settle
from tests.webhooks.receiver import ids_of, receiving


@pytest.fixture
async def deliverer(house: House):
    made = deliverer_of(house)
    yield made
    await made.close()


async def test_crash_between_sending_and_marking_sends_again_under_the_same_id(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    class Killed(Exception):
        pass

    async def killed(*_: object) -> None:
        raise Killed

    async with receiving() as shop:
        await house.endpoint(shop.url)
        await house.happen("refund.failed", "refund.succeeded")
        with monkeypatch.context() as patch:
            patch.setattr(Deliverer, "_record", killed)
            dying = deliverer_of(house)
            assert await settle(dying) == 0
            await dying.close()
        assert len(shop.requests) == 2
        assert await attempts_of(house) == []
        survivor = deliverer_of(house)
        assert await settle(survivor) == 0
        house.clock.advance(seconds=61)
        assert await settle(survivor) == 2
        await survivor.close()
    assert ids_of(shop)[2:] == ids_of(shop)[:2]
    assert [(row["state"], row["attempts"]) for row in await deliveries_of(house)] == [("delivered", 1)] * 2


async def test_what_was_sent_before_a_failure_is_written_with_it(house: House, deliverer: Deliverer):
    async with receiving((200, b"first"), (200, b""), (500, b"oops"), (200, b"")) as shop:
        await house.endpoint(shop.url)
        await house.happen(*["refund.failed"] * 4)
        assert await settle(deliverer) == 4
    ids = [str(row["delivery_id"]) for row in await deliveries_of(house)]
    assert [(row["delivery_id"], row["outcome"]) for row in await attempts_of(house)] == [
        (ids[0], "delivered"),
        (ids[1], "delivered"),
        (ids[2], "refused"),
        (ids[3], "delivered"),
    ]
    assert [(row["state"], row["attempts"]) for row in await deliveries_of(house)] == [
        ("delivered", 1),
        ("delivered", 1),
        ("pending", 1),
        ("delivered", 1),
    ]


async def test_what_came_of_a_long_row_is_written_every_second(house: House, deliverer: Deliverer):
    async with receiving(delay_seconds=0.15) as shop:
        await house.endpoint(shop.url)
        await house.happen(*["refund.failed"] * 12)
        while len(shop.requests) < 10:
            await deliverer.run_once()
        # Seven take a second; on a busy machine fewer do.
        assert 1 <= len([row for row in await deliveries_of(house) if row["state"] == "delivered"]) <= 7
        await deliverer.close()


async def test_an_endpoint_that_closed_the_line_gets_the_webhook_over_a_new_one(house: House, deliverer: Deliverer):
    async with receiving((200, b""), Raw(), (200, b"")) as shop:
        await house.endpoint(shop.url)
        await house.happen("refund.failed", "refund.succeeded")
        assert await settle(deliverer) == 2
    first, second, again = ids_of(shop)
    assert first != second == again
    assert [(row["state"], row["attempts"]) for row in await deliveries_of(house)] == [("delivered", 1)] * 2
