"""The demonstration's payments: two hundred orders, the same ones every time, and what befalls each."""

import random
from enum import StrEnum
from fractions import Fraction
from typing import Final

import msgspec

from gateway.sandbox.cards import PUBLISHED_TEST_CARDS

ORDERS: Final = 200
SEED: Final = 2026
REFUND_SHARE: Final = 10
"""One order in so many is a card of Omise's that is refunded, as far as they reach."""
PARTIAL_REFUND_SHARE: Final = 4


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """A method at a provider.

    Attributes:
        of_200: how many of two hundred orders; of fewer there are fewer, but at least one.
        given_back: share of the first order that is refunded on the same day; where the money has not been settled
            yet, providers void the payment instead. Zero: none.
    """

    provider: str
    method: str
    of_200: int
    given_back: Fraction = Fraction(0)


REST: Final = Lane(provider="scb", method="promptpay", of_200=60)
"""The lane of all orders that no other lane takes."""
LANES: Final = (
    Lane(provider="omise", method="card", of_200=36),
    Lane(provider="omise", method="promptpay", of_200=16),
    Lane(provider="kbank", method="promptpay", of_200=12),
    Lane(provider="kbank", method="card", of_200=12, given_back=Fraction(1)),
    Lane(provider="bbl", method="promptpay", of_200=10, given_back=Fraction(1)),
    Lane(provider="bbl", method="card", of_200=12),
    Lane(provider="gbprimepay", method="card", of_200=8, given_back=Fraction(1)),
    Lane(provider="gbprimepay", method="promptpay", of_200=5),
    Lane(provider="gbprimepay", method="truemoney", of_200=3),
    Lane(provider="gbprimepay", method="rabbit_linepay", of_200=3),
    Lane(provider="gbprimepay", method="shopeepay", of_200=3),
    Lane(provider="gbprimepay", method="mobile_banking", of_200=4),
    Lane(provider="truemoney", method="truemoney", of_200=8, given_back=Fraction(1, 3)),
    Lane(provider="2c2p", method="promptpay", of_200=2, given_back=Fraction(1)),
    Lane(provider="2c2p", method="card", of_200=2),
    Lane(provider="2c2p", method="truemoney", of_200=1),
    Lane(provider="2c2p", method="shopeepay", of_200=1),
    Lane(provider="2c2p", method="rabbit_linepay", of_200=2),
    REST,
)


class Befalls(StrEnum):
    """What happens to an order besides being paid."""

    NOTHING = "paid"
    DECLINED = "card declined"
    CALLBACK_TWICE = "callback came twice"
    CALLBACK_LATE = "callback came late"
    WRONG_AMOUNT = "paid too little"
    PAID_AFTER_EXPIRY = "paid after expiry"
    PROVIDER_SILENT = "provider timed out, had succeeded"
    ABANDONED = "never paid"
    CALLBACK_FORGED = "callback was forged, nothing was paid"
    CALLBACK_LOST = "callback never came"
    PAID_TWICE = "paid twice"
    OVERPAID = "paid too much"
    REFUND_FAILS = "refund failed later"
    FAILED_OVER = "first provider was out of reach"
    CAPTURED_LATER = "authorised, captured later"
    RELEASED = "authorised, given up"


SPECIAL_AMOUNTS_MINOR: Final = {
    Befalls.CALLBACK_TWICE: 1_234_00,
    Befalls.CALLBACK_LATE: 1_235_00,
    Befalls.WRONG_AMOUNT: 1_236_00,
    Befalls.PAID_AFTER_EXPIRY: 1_237_00,
    Befalls.PROVIDER_SILENT: 1_238_00,
    Befalls.REFUND_FAILS: 1_239_00,
}
"""Amounts by which the sandbox knows which operation to spoil; no other order has them."""

PAYING_CARDS: Final = tuple(number for number, card in PUBLISHED_TEST_CARDS.items() if not card.failure_code)
DECLINING_CARDS: Final = tuple(number for number, card in PUBLISHED_TEST_CARDS.items() if card.failure_code)
DECLINES: Final = 6


BEFALLING: Final = {
    ("scb", "promptpay"): (
        Befalls.FAILED_OVER,
        Befalls.CALLBACK_TWICE,
        Befalls.CALLBACK_LATE,
        Befalls.CALLBACK_FORGED,
        Befalls.WRONG_AMOUNT,
        Befalls.OVERPAID,
        Befalls.PAID_TWICE,
        Befalls.PAID_AFTER_EXPIRY,
        Befalls.ABANDONED,
        Befalls.ABANDONED,
    ),
    ("omise", "card"): (Befalls.PROVIDER_SILENT, Befalls.REFUND_FAILS, *[Befalls.DECLINED] * DECLINES),
    ("kbank", "promptpay"): (Befalls.CALLBACK_LOST,),
    ("bbl", "card"): (Befalls.CAPTURED_LATER, Befalls.RELEASED),
}
"""What befalls the first orders of a lane."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One payment to be made.

    Attributes:
        method, provider: of its lane.
        card_number: a published test number, for the provider's vault only.
        refund_minor: refunded afterwards; zero for none.
    """

    number: int
    method: str
    provider: str
    amount_minor: int
    befalls: Befalls = Befalls.NOTHING
    card_number: str | None = None
    refund_minor: int = 0

    @property
    def reference(self) -> str:
        """The merchant's own name of the order; unique, so that nothing is created twice."""
        return f"ORDER-{self.number:05d}"


def plan(count: int = ORDERS) -> list[Order]:
    """The orders, in the order in which they come. The same list for the same count."""
    dice = random.Random(SEED)  # noqa: S311 -- invented shopping, not a secret
    lanes = [lane for lane in LANES if lane is not REST for _ in range(max(lane.of_200 * count // ORDERS, 1))]
    lanes += [REST] * (count - len(lanes))
    dice.shuffle(lanes)
    befalling = {lane: list(befalls) for lane, befalls in BEFALLING.items()}
    orders = []
    for number, lane in enumerate(lanes, start=1):
        queue = befalling.get((lane.provider, lane.method))
        orders.append(_order(number, lane, queue.pop(0) if queue else Befalls.NOTHING, dice))
    return _with_refunds(orders, count // REFUND_SHARE)


def _order(number: int, lane: Lane, befalls: Befalls, dice: random.Random) -> Order:
    amount_minor = SPECIAL_AMOUNTS_MINOR.get(befalls, dice.randrange(50_00, 5_000_00))
    card = None
    if lane.method == "card" and lane.provider != "bbl":
        # Bangkok Bank's payers type their card into the bank's own page.
        card = dice.choice(DECLINING_CARDS if befalls is Befalls.DECLINED else PAYING_CARDS)
    return Order(
        number=number,
        method=lane.method,
        provider=lane.provider,
        amount_minor=amount_minor,
        befalls=befalls,
        card_number=card,
        refund_minor=amount_minor if befalls is Befalls.REFUND_FAILS else 0,
    )


def _with_refunds(orders: list[Order], wanted: int) -> list[Order]:
    """Refund the first `wanted` plainly paid cards of Omise, every fourth in part, and one order of other lanes."""
    shares = {(lane.provider, lane.method): lane.given_back for lane in LANES if lane.given_back}
    result, refunded = [], 0
    for order in orders:
        lane, back_minor = (order.provider, order.method), order.refund_minor
        if order.befalls is Befalls.NOTHING and lane == ("omise", "card") and refunded < wanted:
            refunded += 1
            back_minor = order.amount_minor // (2 if refunded % PARTIAL_REFUND_SHARE == 0 else 1)
        elif order.befalls is Befalls.NOTHING and lane in shares:
            back_minor = int(order.amount_minor * shares.pop(lane))
        result.append(msgspec.structs.replace(order, refund_minor=back_minor))
    return result
