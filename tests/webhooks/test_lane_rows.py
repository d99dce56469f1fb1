"""A lane claimed with what is due to it and left with what came of it: two statements, in order, and fenced."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text

from gateway.webhooks import lanes
from gateway.webhooks.deliveries import LEASE, Deliverer
from gateway.webhooks.lanes import BATCH_CLAIMED, LaneAfter, Tried
from gateway.webhooks.sending import Attempt, AttemptOutcome
from gateway.webhooks.slots import APART_SECONDS, Pace
from tests.statements import noted
from tests.webhooks.conftest import House
from tests.webhooks.delivering import attempts_of, deliverer_of, deliveries_of, endpoint_of, settle
from tests.webhooks.receiver import receiving, types_of

NOWHERE = "https://shop.example/"


@pytest.fixture
async def deliverer(house: House):
    made = deliverer_of(house, timeout_seconds=10)  # a busy machine must not fail what counts statements
    yield made
    await made.close()


@pytest.fixture
def asked(house: House, monkeypatch) -> list[str]:
    """Statements so far."""
    return noted(monkeypatch, house.database)


async def _claim(house: House, *, limit: int = 1) -> list[lanes.Claimed]:
    async with house.database.transaction() as connection:
        return await lanes.claim(connection, now=house.clock(), limit=limit, lease=LEASE)


def _delivered(house: House, delivery: lanes.Delivery) -> Tried:
    attempt = Attempt(outcome=AttemptOutcome.DELIVERED, attempted_at=house.clock(), milliseconds=7, response_status=200)
    return Tried(delivery=delivery, attempt=attempt, sealed_response_body=None)


async def test_a_lane_with_one_delivery_costs_a_claim_and_what_came_of_it(
    house: House, deliverer: Deliverer, asked: list[str]
):
    async with receiving() as shop:
        await house.endpoint(shop.url)
        await house.happen("refund.failed")
        asked.clear()
        while not await deliverer.run_once():
            pass
        # The lag on the dashboard is no part of a lane.
        sent = [statement for statement in asked if "min(delivery.next_attempt_at)" not in statement]
        assert len(sent) == 2
        assert "FOR UPDATE SKIP LOCKED" in sent[0]
        assert "webhook_delivery_attempts" in sent[1]
    row = await endpoint_of(house)
    assert (row["lease_until"], row["paused_until"], row["failing_since"]) == (house.clock(), None, None)
    assert [(one["state"], one["attempts"], one["delivered_at"]) for one in await deliveries_of(house)] == [
        ("delivered", 1, house.clock())
    ]


@pytest.mark.parametrize("count", [BATCH_CLAIMED - 1, BATCH_CLAIMED, BATCH_CLAIMED + 1, 3 * BATCH_CLAIMED])
async def test_more_than_comes_with_the_claim_is_sent_in_order_and_once(house: House, deliverer: Deliverer, count: int):
    types = [f"payment_intent.n{number}" for number in range(count)]
    async with receiving() as shop:
        await house.endpoint(shop.url)
        await house.happen(*types)
        assert await settle(deliverer) == count
    assert types_of(shop) == types
    assert {row["state"] for row in await deliveries_of(house)} == {"delivered"}
    assert len(await attempts_of(house)) == count


async def test_what_comes_while_the_last_is_sent_is_found_by_the_next_claim(house: House, deliverer: Deliverer):
    async with receiving(delay_seconds=0.1) as shop:
        await house.endpoint(shop.url)
        await house.happen("refund.created")
        while not shop.requests:
            await deliverer.run_once()
        await house.happen("refund.failed", "refund.succeeded")
        await settle(deliverer)
    assert types_of(shop) == ["refund.created", "refund.failed", "refund.succeeded"]


async def test_lanes_come_with_their_own_deliveries_and_keys(house: House):
    first, _ = await house.endpoint(NOWHERE)
    second, _ = await house.endpoint(NOWHERE, event_types=["refund.failed"])
    await house.endpoint(NOWHERE, event_types=["payout.paid"])
    await house.happen("refund.failed", "refund.succeeded")
    claimed = {lane.endpoint_id: (lane, due) for lane, due in await _claim(house, limit=10)}
    assert {endpoint_id: len(due) for endpoint_id, (_, due) in claimed.items()} == {first: 2, second: 1}
    (key,) = await house.rows("SELECT wrapped_key FROM gateway.data_keys")
    payloads = [row["payload"] for row in await house.rows("SELECT payload FROM gateway.events ORDER BY event_id")]
    for lane, due in claimed.values():
        assert lane.wrapped_key == key["wrapped_key"]
        assert lane.lease_until == house.clock() + LEASE
        assert [one.payload for one in due] == payloads[: len(due)]
    assert await _claim(house, limit=10) == []


async def test_whoever_lost_the_lane_writes_what_was_sent_and_leaves_the_lane_alone(house: House):
    await house.endpoint(NOWHERE)
    await house.happen("refund.failed")
    ((lane, due),) = await _claim(house)
    house.clock.advance(seconds=LEASE.total_seconds() + 1)
    ((other, _),) = await _claim(house)
    after = LaneAfter(lease_until=house.clock(), failing_since=house.clock(), disabled_reason="gone")
    async with house.database.transaction() as connection:
        assert not await lanes.record(connection, lane, [_delivered(house, due[0])], after, now=house.clock())
        row = await endpoint_of(house)
    assert (row["lease_until"], row["status"], row["failing_since"]) == (other.lease_until, "enabled", None)
    assert [one["state"] for one in await deliveries_of(house)] == ["delivered"]
    assert [(one["outcome"], one["milliseconds"], one["attempt"]) for one in await attempts_of(house)] == [
        ("delivered", 7, 1)
    ]


async def test_two_that_sent_the_same_leave_one_attempt_of_that_number(house: House):
    await house.endpoint(NOWHERE)
    await house.happen("refund.failed")
    ((lane, due),) = await _claim(house)
    house.clock.advance(seconds=LEASE.total_seconds() + 1)
    ((other, its),) = await _claim(house)
    assert its == due
    after, ours = LaneAfter(lease_until=house.clock()), []
    for one in (lane, other):
        async with house.database.transaction() as connection:
            ours.append(await lanes.record(connection, one, [_delivered(house, due[0])], after, now=house.clock()))
    assert ours == [False, True]
    assert [(one["state"], one["attempts"]) for one in await deliveries_of(house)] == [("delivered", 2)]
    assert len(await attempts_of(house)) == 1


async def test_a_lane_that_was_switched_off_meanwhile_stays_off(house: House):
    await house.endpoint(NOWHERE)
    await house.happen("refund.failed")
    ((lane, due),) = await _claim(house)
    async with house.database.transaction() as connection:
        await connection.execute(
            text("UPDATE gateway.webhook_endpoints SET status = 'disabled', disabled_reason = 'by_merchant'")
        )
    after = LaneAfter(lease_until=house.clock())
    async with house.database.transaction() as connection:
        assert not await lanes.record(connection, lane, [_delivered(house, due[0])], after, now=house.clock())
    row = await endpoint_of(house)
    assert (row["status"], row["disabled_reason"], row["lease_until"]) == ("disabled", "by_merchant", lane.lease_until)


async def test_every_ending_of_an_attempt_is_written_as_it_is(house: House):
    await house.endpoint(NOWHERE)
    await house.happen("refund.created", "refund.failed", "refund.succeeded")
    ((lane, due),) = await _claim(house)
    again_at = house.clock() + timedelta(seconds=5)
    refused = Attempt(outcome=AttemptOutcome.REFUSED, attempted_at=house.clock(), milliseconds=1, response_status=500)
    tried = [
        _delivered(house, due[0]),
        Tried(delivery=due[1], attempt=refused, sealed_response_body=b"sealed", next_attempt_at=again_at),
        Tried(delivery=due[2], attempt=refused, sealed_response_body=None),
    ]
    paused_until = house.clock() + timedelta(seconds=9)
    after = LaneAfter(lease_until=house.clock(), failing_since=house.clock(), paused_until=paused_until)
    async with house.database.transaction() as connection:
        assert await lanes.record(connection, lane, tried, after, now=house.clock())
    rows = await deliveries_of(house)
    assert [(row["state"], row["delivered_at"], row["next_attempt_at"]) for row in rows] == [
        ("delivered", house.clock(), house.clock()),
        ("pending", None, again_at),
        ("failed", None, house.clock()),
    ]
    assert [row["sealed_response_body"] for row in await attempts_of(house)] == [None, b"sealed", None]
    row = await endpoint_of(house)
    assert (row["paused_until"], row["failing_since"], row["status"]) == (paused_until, house.clock(), "enabled")


@pytest.mark.parametrize(("found", "is_apart"), [(0, False), (1, True), (19, True), (20, False)])
async def test_only_a_claim_that_found_less_than_it_might_keeps_the_next_apart(found: int, is_apart: bool):
    pace, clock = Pace(), asyncio.get_running_loop().time
    started = clock()
    await pace.next_claim()
    assert clock() - started < APART_SECONDS / 2
    pace.found(found, limit=20)
    await pace.next_claim()
    assert (clock() - started >= APART_SECONDS * 0.9) is is_apart


async def test_a_failure_that_is_told_late_does_not_undo_what_another_delivered(house: House):
    await house.endpoint(NOWHERE)
    await house.happen("refund.failed")
    ((lane, due),) = await _claim(house)
    house.clock.advance(seconds=LEASE.total_seconds() + 1)
    ((other, _),) = await _claim(house)
    after, delivered_at = LaneAfter(lease_until=house.clock()), house.clock()
    async with house.database.transaction() as connection:
        assert await lanes.record(connection, other, [_delivered(house, due[0])], after, now=delivered_at)
    silent = Attempt(outcome=AttemptOutcome.TIMED_OUT, attempted_at=house.clock(), milliseconds=9)
    for again_at in (house.clock() + timedelta(seconds=5), None):
        late = Tried(delivery=due[0], attempt=silent, sealed_response_body=None, next_attempt_at=again_at)
        house.clock.advance(seconds=1)
        async with house.database.transaction() as connection:
            assert not await lanes.record(connection, lane, [late], after, now=house.clock())
        (row,) = await deliveries_of(house)
        assert (row["state"], row["delivered_at"]) == ("delivered", delivered_at)
