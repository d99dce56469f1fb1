"""What a merchant may ask for again, and what he sees of it."""

from datetime import UTC, datetime

from gateway.webhooks import replays
from gateway.webhooks.deliveries import Deliverer
from gateway.webhooks.events import record
from tests.webhooks.conftest import ACCOUNT, BOOK, House
from tests.webhooks.delivering import deliverer_of, settle
from tests.webhooks.receiver import receiving, types_of

MINE = {"book_id": BOOK, "account_id": ACCOUNT}
YEAR = {"created_from": datetime(2026, 1, 1, tzinfo=UTC), "created_before": datetime(2027, 1, 1, tzinfo=UTC)}


async def test_deliveries_show_every_attempt_and_what_was_answered(house: House):
    deliverer = deliverer_of(house)
    async with receiving((400, b"cannot digest"), (200, b"thanks")) as shop:
        endpoint_id, _ = await house.endpoint(shop.url)
        await house.happen("refund.failed", "refund.succeeded")
        await settle(deliverer)
        async with house.database.read() as connection:
            found, more = await replays.page(connection, house.vault, **MINE, endpoint_id=endpoint_id)
            pending, _ = await replays.page(connection, house.vault, **MINE, endpoint_id=endpoint_id, state="pending")
            nothing, _ = await replays.page(connection, house.vault, **MINE, endpoint_id="we_test_other")
    await deliverer.close()
    assert [(each.event_type, each.status) for each in found] == [
        ("refund.succeeded", "delivered"),
        ("refund.failed", "pending"),
    ]
    assert [(a.response_status, a.response_body) for each in found for a in each.attempts] == [
        (200, "thanks"),
        (400, "cannot digest"),
    ]
    assert (more, [each.event_type for each in pending], nothing) == (False, ["refund.failed"], [])


async def test_a_span_is_sent_again_in_order_to_each_endpoint_that_asks(house: House):
    deliverer: Deliverer = deliverer_of(house)
    async with receiving() as shop, receiving() as late:
        first, _ = await house.endpoint(shop.url)
        await house.happen("refund.created", "refund.failed", "refund.succeeded")
        await settle(deliverer)
        second, _ = await house.endpoint(late.url, event_types=["payout.paid"])
        async with house.database.transaction() as connection:
            for endpoint_id in (first, second):
                assert await replays.replay(connection, **MINE, endpoint_id=endpoint_id, **YEAR, types=None) == 3
            only = ["refund.failed"]
            assert await replays.replay(connection, **MINE, endpoint_id=second, **YEAR, types=only) == 1
            empty = {"created_from": YEAR["created_before"], "created_before": datetime(2028, 1, 1, tzinfo=UTC)}
            assert await replays.replay(connection, **MINE, endpoint_id=first, **empty, types=None) == 0
            assert await replays.replay(connection, **MINE, endpoint_id="we_test_x", **YEAR, types=None) is None
        await settle(deliverer)
        names = ["refund.created", "refund.failed", "refund.succeeded"]
        assert (types_of(shop), types_of(late)) == (names * 2, names)
        assert len({request.headers["webhook-id"] for request in shop.requests}) == 3
    await deliverer.close()


async def test_a_sample_goes_to_one_endpoint_signed(house: House):
    deliverer = deliverer_of(house)
    async with receiving() as shop, receiving() as other:
        endpoint_id, _ = await house.endpoint(shop.url)
        await house.endpoint(other.url)
        async with house.database.transaction() as connection:
            assert await replays.send_sample(connection, **MINE, endpoint_id=endpoint_id, created_at=house.clock())
            assert await replays.send_sample(connection, **MINE, endpoint_id="we_x", created_at=house.clock()) is None
        await settle(deliverer)
        assert (types_of(shop), types_of(other)) == (["webhook_endpoint.sample"], [])
        assert shop.requests[0].headers["webhook-signature"].startswith("v1,")
    await deliverer.close()


async def test_events_of_another_account_are_never_replayed(house: House):
    endpoint_id, _ = await house.endpoint("http://127.0.0.1:9/")
    async with house.database.transaction() as connection:
        await record(connection, [])
        stranger = {"book_id": BOOK, "account_id": "acct_test_2"}
        assert await replays.replay(connection, **stranger, endpoint_id=endpoint_id, **YEAR, types=None) is None
