"""The demonstration's orders: the same two hundred every time, with every special case in them."""

from collections import Counter

import pytest

from gateway.demo.orders import BEFALLING, LANES, ORDERS, SPECIAL_AMOUNTS_MINOR, Befalls, plan
from gateway.providers.base import Method
from gateway.providers.registry import ADAPTERS


def test_the_plan_is_the_same_every_time_and_has_every_special_case() -> None:
    orders = plan()
    assert orders == plan()
    assert len(orders) == ORDERS == 200
    lanes = Counter((order.provider, order.method) for order in orders)
    assert lanes == {(lane.provider, lane.method): lane.of_200 for lane in LANES}
    assert {provider for provider, _ in lanes} == {adapter.name for adapter in ADAPTERS}
    assert {method for _, method in lanes} == set(Method)
    befalls = Counter(order.befalls for order in orders)
    assert befalls.pop(Befalls.NOTHING) == 179
    assert befalls == Counter(each for lane in BEFALLING.values() for each in lane)
    assert set(befalls) == set(Befalls) - {Befalls.NOTHING}


def test_cards_of_omise_are_refunded_and_one_order_of_each_lane_that_gives_back() -> None:
    refunded = [order for order in plan() if order.refund_minor]
    by_lane = Counter((order.provider, order.method) for order in refunded)
    assert by_lane.pop(("omise", "card")) == 21, "one of them fails later"
    assert by_lane == {(lane.provider, lane.method): 1 for lane in LANES if lane.given_back}
    assert {order.befalls for order in refunded} == {Befalls.NOTHING, Befalls.REFUND_FAILS}
    assert sum(order.refund_minor < order.amount_minor for order in refunded) == 6
    assert all(order.refund_minor <= order.amount_minor for order in refunded)


@pytest.mark.parametrize("count", [60, 200])
def test_amounts_that_spoil_operations_belong_to_one_order_each(count: int) -> None:
    amounts = Counter(order.amount_minor for order in plan(count))
    assert all(amounts[amount] == 1 for amount in SPECIAL_AMOUNTS_MINOR.values())


def test_references_are_unique() -> None:
    assert len({order.reference for order in plan()}) == ORDERS
