"""Lanes, attempts, retries and what ends an endpoint; against real endpoints on loopback."""

import asyncio
import socket
from datetime import timedelta

import pytest
from prometheus_client import REGISTRY
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from gateway.webhooks import deliveries, endpoints
from gateway.webhooks.deliveries import SCHEDULE_SECONDS, Deliverer, body_context, resend, wait_seconds
from gateway.webhooks.endpoints import rotate_secret
from tests.providers.stub import Raw
from tests.webhooks.conftest import ACCOUNT, BOOK, House
from tests.webhooks.delivering import attempts_of, deliverer_of, deliveries_of, endpoint_of, settle
from tests.webhooks.receiver import ids_of, receiving, types_of


@pytest.fixture
async def deliverer(house: House):
    made = deliverer_of(house)
    yield made
    await made.close()


async def test_event_arrives_signed_and_once(house: House, deliverer: Deliverer):
    async with receiving((201, b"thanks")) as shop:
        _, secret = await house.endpoint(shop.url + "/hook?shop=1")
        await house.happen("payment_intent.succeeded")
        assert await settle(deliverer) == 1
        assert await settle(deliverer) == 0
    (request,) = shop.requests
    (event,) = await house.rows("SELECT * FROM gateway.events")
    assert (request.method, request.path, request.query) == ("POST", "/hook", {"shop": "1"})
    assert request.body == event["payload"]
    assert request.headers["host"] == shop.url.removeprefix("http://")
    assert request.headers["content-type"] == "application/json"
    assert request.headers["webhook-id"] == event["event_id"]
    assert Webhook(secret).verify(request.body, request.headers)["type"] == "payment_intent.succeeded"
    (delivery,) = await deliveries_of(house)
    assert (delivery["state"], delivery["attempts"]) == ("delivered", 1)
    (attempt,) = await attempts_of(house)
    assert (attempt["outcome"], attempt["response_status"]) == ("delivered", 201)


async def test_events_of_a_lane_arrive_in_order_and_one_at_a_time(house: House, deliverer: Deliverer):
    types = ["payment_intent.created", "payment_intent.processing", "payment_intent.succeeded", "charge.refunded"]
    async with receiving(delay_seconds=0.02) as shop:
        await house.endpoint(shop.url)
        for kind in types:
            await house.happen(kind)
        others = [deliverer_of(house) for _ in range(2)]
        await asyncio.gather(*(settle(one) for one in (deliverer, *others)))
        for other in others:
            await other.close()
    assert types_of(shop) == types


@pytest.mark.parametrize(
    ("reply", "outcome", "status"),
    [
        ((500, b"oops"), "refused", 500),
        ((404, b""), "refused", 404),
        ((302, b"", {"location": "http://127.0.0.1:1/"}), "refused", 302),
        ((429, b""), "refused", 429),
        (Raw(), "unreachable", None),
        (Raw(b"garbage\r\n\r\n"), "unreachable", None),
    ],
)
async def test_failure_is_kept_and_tried_again(house: House, deliverer: Deliverer, reply, outcome: str, status):
    async with receiving(reply, (200, b"")) as shop:
        await house.endpoint(shop.url)
        await house.happen("refund.failed")
        assert await settle(deliverer) == 1
        (delivery,) = await deliveries_of(house)
        assert (delivery["state"], delivery["attempts"]) == ("pending", 1)
        house.clock.advance(seconds=4.9)
        assert await settle(deliverer) == 0
        house.clock.advance(seconds=2)
        assert await settle(deliverer) == 1
    (delivery,) = await deliveries_of(house)
    assert (delivery["state"], delivery["attempts"]) == ("delivered", 2)
    assert [(row["outcome"], row["response_status"]) for row in await attempts_of(house)] == [
        (outcome, status),
        ("delivered", 200),
    ]
    assert len(set(ids_of(shop))) == 1
    assert (await endpoint_of(house))["failing_since"] is None


async def test_silence_times_out(house: House):
    impatient = deliverer_of(house, timeout_seconds=0.1)
    async with receiving(delay_seconds=5) as shop:
        await house.endpoint(shop.url)
        await house.happen("refund.failed")
        assert await settle(impatient) == 1
    await impatient.close()
    (attempt,) = await attempts_of(house)
    assert (attempt["outcome"], attempt["response_status"]) == ("timed_out", None)


async def test_dead_endpoint_delays_nobody_else(house: House):
    patient = deliverer_of(house, timeout_seconds=3)
    async with receiving(delay_seconds=30) as dead, receiving() as alive:
        await house.endpoint(dead.url)
        await house.endpoint(alive.url)
        await house.happen("refund.failed")
        started = asyncio.get_running_loop().time()
        while not alive.requests or not dead.requests:
            await patient.run_once()
        await house.happen("refund.succeeded")
        while len(alive.requests) < 2:
            await patient.run_once()
        assert asyncio.get_running_loop().time() - started < 2
        assert len(dead.requests) == 1
    await patient.close()


async def test_event_that_is_refused_does_not_block_those_behind_it(house: House, deliverer: Deliverer):
    async with receiving((400, b"cannot digest"), (200, b"")) as shop:
        await house.endpoint(shop.url)
        await house.happen("refund.failed", "refund.succeeded")
        assert await settle(deliverer) == 2
    assert types_of(shop) == ["refund.failed", "refund.succeeded"]
    assert [row["state"] for row in await deliveries_of(house)] == ["pending", "delivered"]


async def test_overload_pauses_the_lane_for_as_long_as_it_asks(house: House, deliverer: Deliverer):
    async with receiving((503, b"", {"retry-after": "120"}), (200, b"")) as shop:
        await house.endpoint(shop.url)
        await house.happen("refund.failed", "refund.succeeded")
        assert await settle(deliverer) == 1
        house.clock.advance(seconds=115)
        assert await settle(deliverer) == 0
        house.clock.advance(seconds=10)
        assert await settle(deliverer) == 2
    assert types_of(shop) == ["refund.failed", "refund.failed", "refund.succeeded"]


async def test_refused_connection_pauses_the_lane(house: House, deliverer: Deliverer):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    await house.endpoint(url)
    await house.happen("refund.failed", "refund.succeeded")
    assert await settle(deliverer) == 1
    assert [row["attempts"] for row in await deliveries_of(house)] == [1, 0]


async def test_schedule_ends_in_failure_and_resend_starts_it_anew(house: House, deliverer: Deliverer):
    async with receiving((500, b"")) as shop:
        endpoint_id, _ = await house.endpoint(shop.url)
        await house.happen("refund.failed")
        for wait in SCHEDULE_SECONDS:
            # An endpoint that never answers well would be switched off; that is another test.
            await _execute(house, "UPDATE gateway.webhook_endpoints SET failing_since = NULL")
            house.clock.advance(seconds=wait * 1.2 + 1)
            assert await settle(deliverer) == 1
        (delivery,) = await deliveries_of(house)
        assert (delivery["state"], delivery["attempts"]) == ("failed", 10)
        house.clock.advance(days=1)
        assert await settle(deliverer) == 0
        assert await _resend(house, endpoint_id, delivery["event_id"])
        assert await settle(deliverer) == 1
    (delivery,) = await deliveries_of(house)
    assert (delivery["state"], delivery["attempts"], delivery["attempts_since_asked"]) == ("pending", 11, 1)
    assert len(set(ids_of(shop))) == 1
    assert len({request.headers["webhook-timestamp"] for request in shop.requests}) >= 1


async def test_resend_of_a_delivered_event_keeps_its_id(house: House, deliverer: Deliverer):
    async with receiving() as shop:
        endpoint_id, _ = await house.endpoint(shop.url)
        await house.happen("refund.failed")
        await settle(deliverer)
        (event,) = await house.rows("SELECT event_id FROM gateway.events")
        assert await _resend(house, endpoint_id, event["event_id"])
        assert await settle(deliverer) == 1
    assert ids_of(shop) == [event["event_id"]] * 2
    assert shop.requests[0].body == shop.requests[1].body
    assert len(await deliveries_of(house)) == 1


async def test_resend_reaches_an_endpoint_that_came_later(house: House, deliverer: Deliverer):
    await house.happen("refund.failed")
    (event,) = await house.rows("SELECT event_id FROM gateway.events")
    async with receiving() as shop:
        endpoint_id, _ = await house.endpoint(shop.url)
        assert await settle(deliverer) == 0
        assert await _resend(house, endpoint_id, event["event_id"])
        assert await settle(deliverer) == 1
    assert ids_of(shop) == [event["event_id"]]


async def test_resend_of_others_is_refused(house: House):
    endpoint_id, _ = await house.endpoint("https://shop.example/")
    await house.happen("refund.failed")
    (event,) = await house.rows("SELECT event_id FROM gateway.events")
    assert not await _resend(house, endpoint_id, "evt_test_other")
    assert not await _resend(house, "whe_test_other", event["event_id"])
    async with house.database.transaction() as connection:
        assert not await resend(
            connection,
            book_id=BOOK,
            account_id="acct_test_2",
            endpoint_id=endpoint_id,
            event_id=event["event_id"],
        )


async def test_both_secrets_sign_until_the_overlap_ends(house: House, deliverer: Deliverer):
    async with receiving() as shop:
        endpoint_id, former = await house.endpoint(shop.url)
        async with house.database.transaction() as connection:
            new = await rotate_secret(
                connection, house.vault, book_id=BOOK, account_id=ACCOUNT, endpoint_id=endpoint_id
            )
        assert new is not None
        await house.happen("refund.failed")
        await settle(deliverer)
        house.clock.advance(hours=25)
        await house.happen("refund.failed")
        await settle(deliverer)
    first, second = shop.requests
    for secret in (new, former):
        Webhook(secret).verify(first.body, first.headers)
    Webhook(new).verify(second.body, second.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(former).verify(second.body, second.headers)


async def test_endpoint_that_answers_gone_is_switched_off_and_others_are_told(house: House, deliverer: Deliverer):
    async with receiving((410, b"")) as gone, receiving() as other:
        gone_id, _ = await house.endpoint(gone.url)
        await house.endpoint(other.url, event_types=["webhook_endpoint.*"])
        await house.happen("refund.failed", "refund.succeeded")
        await settle(deliverer)
        assert len(gone.requests) == 1
    endpoint = await endpoint_of(house)
    assert (endpoint["status"], endpoint["disabled_reason"]) == ("disabled", "gone")
    (told,) = [request.json() for request in other.requests]
    assert told["type"] == "webhook_endpoint.disabled"
    assert (told["data"]["object"]["id"], told["data"]["object"]["status"]) == (gone_id, "disabled")


async def test_five_days_of_failures_switch_an_endpoint_off(house: House, deliverer: Deliverer):
    async with receiving((500, b"")) as shop:
        await house.endpoint(shop.url)
        await house.happen("refund.failed")
        await settle(deliverer)
        house.clock.advance(days=5, minutes=-1)
        await settle(deliverer)
        assert (await endpoint_of(house))["status"] == "enabled"
        house.clock.advance(hours=1)
        await settle(deliverer)
    endpoint = await endpoint_of(house)
    assert (endpoint["status"], endpoint["disabled_reason"]) == ("disabled", "failing")


async def test_one_success_within_five_days_keeps_an_endpoint(house: House, deliverer: Deliverer):
    async with receiving((500, b""), (200, b""), (500, b"")) as shop:
        await house.endpoint(shop.url)
        await house.happen("refund.failed")
        await settle(deliverer)
        house.clock.advance(days=4)
        await settle(deliverer)
        await house.happen("refund.failed")
        house.clock.advance(days=2)
        await settle(deliverer)
    assert len(shop.requests) == 3
    assert (await endpoint_of(house))["status"] == "enabled"


async def test_switched_on_again_it_gets_what_waited(house: House, deliverer: Deliverer):
    async with receiving((410, b""), (200, b"")) as shop:
        endpoint_id, _ = await house.endpoint(shop.url)
        await house.happen("refund.failed")
        await settle(deliverer)
        async with house.database.transaction() as connection:
            endpoint = await endpoints.change(
                connection, book_id=BOOK, account_id=ACCOUNT, endpoint_id=endpoint_id, allow_loopback=True, enabled=True
            )
        assert endpoint is not None
        assert endpoint.status == "enabled"
        house.clock.advance(minutes=5)
        assert await settle(deliverer) == 1
    assert [row["state"] for row in await deliveries_of(house)] == ["delivered"]


async def test_only_the_first_two_kilobytes_of_an_answer_are_kept_and_sealed(house: House, deliverer: Deliverer):
    async with receiving((200, b"secret" * 1000)) as shop:
        await house.endpoint(shop.url)
        await house.happen("refund.failed")
        await settle(deliverer)
    (attempt,) = await attempts_of(house)
    sealed = attempt["sealed_response_body"]
    assert isinstance(sealed, bytes)
    assert b"secret" not in sealed
    (key,) = await house.rows("SELECT wrapped_key FROM gateway.data_keys")
    opened = house.vault.open(key["wrapped_key"], sealed, context=body_context(attempt["delivery_id"]))
    assert opened == (b"secret" * 1000)[:2048]


async def test_name_that_turns_private_after_registration_is_not_called(house: House):
    strict = deliverer_of(house, allow_loopback=False)
    async with receiving() as shop:
        await house.endpoint(shop.url)
        await house.happen("refund.failed")
        assert await settle(strict) == 1
        assert shop.requests == []
    await strict.close()
    (attempt,) = await attempts_of(house)
    assert (attempt["outcome"], attempt["response_status"]) == ("not_allowed", None)


async def test_endpoint_of_a_shredded_merchant_is_switched_off(house: House, deliverer: Deliverer):
    async with receiving() as shop:
        await house.endpoint(shop.url)
        await house.happen("refund.failed")
        await _execute(house, "DELETE FROM gateway.data_keys")
        assert await settle(deliverer) == 0
        assert shop.requests == []
    assert (await endpoint_of(house))["disabled_reason"] == "data_key_destroyed"


@pytest.mark.parametrize(
    ("attempts", "retry_after_seconds", "jitter_permille", "wait"),
    [
        (1, None, 0, 5),
        (1, None, 200, 6),
        (2, None, 0, 300),
        (9, None, 0, 86_400),
        (10, None, 0, None),
        (1, 60, 0, 60),
        (2, 60, 0, 300),
        (1, 10_000_000, 0, 86_400),
    ],
)
def test_wait_follows_the_schedule(attempts: int, retry_after_seconds, jitter_permille: int, wait):
    assert wait_seconds(attempts, retry_after_seconds, jitter_permille=jitter_permille) == wait


async def _resend(house: House, endpoint_id: str, event_id: object) -> bool:
    async with house.database.transaction() as connection:
        return await resend(
            connection, book_id=BOOK, account_id=ACCOUNT, endpoint_id=endpoint_id, event_id=str(event_id)
        )


async def _execute(house: House, statement: str) -> None:
    async with house.database.transaction() as connection:
        await connection.exec_driver_sql(statement)


async def test_lag_is_the_age_of_the_oldest_delivery_that_is_due(house: House):
    def lag() -> float | None:
        return REGISTRY.get_sample_value("quickkub_outbox_lag_seconds")

    await house.endpoint("https://shop.example/")
    await house.happen("refund.failed")
    await _execute(house, "UPDATE gateway.webhook_endpoints SET lease_until = 'infinity'")
    house.clock.advance(seconds=90)
    await deliverer_of(house).run_once()
    assert lag() == 90
    await _execute(house, "UPDATE gateway.webhook_deliveries SET state = 'failed'")
    await deliverer_of(house).run_once()
    assert lag() == 0


async def test_close_ends_a_lane_after_the_attempt_under_way(house: House):
    closing = deliverer_of(house)
    async with receiving(delay_seconds=0.2) as shop:
        await house.endpoint(shop.url)
        await house.happen(*["refund.failed"] * 20)
        while not shop.requests:
            await closing.run_once()
        await closing.close()
        assert len(shop.requests) < 5
    states = [row["state"] for row in await deliveries_of(house)]
    assert states.count("delivered") == len(shop.requests)


def test_lease_outlasts_an_attempt():
    assert timedelta(seconds=2 * 15) < deliveries.LEASE
