"""The demonstration's orders: the same two hundred every time, with every special case in them."""

from collections import Counter

import pytest

from gateway.demo.orders import ORDERS, SPECIAL_AMOUNTS_MINOR, Befalls, plan


def test_the_plan_is_the_same_every_time_and_has_every_special_case() -> None:
    orders = plan()
    assert orders == plan()
    assert len(orders) == ORDERS == 200
    assert Counter((order.provider, order.method) for order in orders) == {
        ("scb", "promptpay"): 112,
        ("omise", "promptpay"): 38,
        ("omise", "card"): 50,
    }
    assert Counter(order.befalls for order in orders) == {
        Befalls.NOTHING: 187,
        Befalls.DECLINED: 6,
        Befalls.ABANDONED: 2,
        **dict.fromkeys(SPECIAL_AMOUNTS_MINOR, 1),
    }


def test_one_order_in_ten_is_refunded_and_only_cards_that_paid() -> None:
    refunded = [order for order in plan() if order.refund_minor]
    assert len(refunded) == 20
    assert {(order.method, order.befalls) for order in refunded} == {("card", Befalls.NOTHING)}
    assert sum(order.refund_minor < order.amount_minor for order in refunded) == 5
    assert all(order.refund_minor <= order.amount_minor for order in refunded)


@pytest.mark.parametrize("count", [60, 200])
def test_amounts_that_spoil_operations_belong_to_one_order_each(count: int) -> None:
    amounts = Counter(order.amount_minor for order in plan(count))
    assert all(amounts[amount] == 1 for amount in SPECIAL_AMOUNTS_MINOR.values())


def test_references_are_unique() -> None:
    assert len({order.reference for order in plan()}) == ORDERS
