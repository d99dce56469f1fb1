"""The demonstration's payments: two hundred orders, the same ones every time, and what befalls each."""

import random
from enum import StrEnum
from typing import Final

import msgspec

from gateway.sandbox.cards import PUBLISHED_TEST_CARDS

ORDERS: Final = 200
SEED: Final = 2026
REFUND_SHARE: Final = 10
"""One order in so many is refunded, as far as cards reach."""
PARTIAL_REFUND_SHARE: Final = 4
OMISE_QR_SHARE_PERCENT: Final = 19
CARD_SHARE_PERCENT: Final = 25


class Befalls(StrEnum):
    """What happens to an order besides being paid."""

    NOTHING = "paid"
    DECLINED = "card declined"
    CALLBACK_TWICE = "callback came twice"
    CALLBACK_LATE = "callback came late"
    WRONG_AMOUNT = "paid with the wrong amount"
    PAID_AFTER_EXPIRY = "paid after expiry"
    PROVIDER_SILENT = "provider timed out, had succeeded"
    ABANDONED = "never paid"


SPECIAL_AMOUNTS_MINOR: Final = {
    Befalls.CALLBACK_TWICE: 1_234_00,
    Befalls.CALLBACK_LATE: 1_235_00,
    Befalls.WRONG_AMOUNT: 1_236_00,
    Befalls.PAID_AFTER_EXPIRY: 1_237_00,
    Befalls.PROVIDER_SILENT: 1_238_00,
}
"""Amounts by which the sandbox knows which operation to spoil; no other order has them."""

PAYING_CARDS: Final = tuple(number for number, card in PUBLISHED_TEST_CARDS.items() if not card.failure_code)
DECLINING_CARDS: Final = tuple(number for number, card in PUBLISHED_TEST_CARDS.items() if card.failure_code)
DECLINES: Final = 6


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One payment to be made.

    Attributes:
        method: `promptpay` or `card`; provider: `scb` or `omise`.
        card_number: a published test number, for the sandbox's vault only.
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
    cards = count * CARD_SHARE_PERCENT // 100
    omise_qr = count * OMISE_QR_SHARE_PERCENT // 100
    kinds = ["card"] * cards + ["omise"] * omise_qr + ["scb"] * (count - cards - omise_qr)
    dice.shuffle(kinds)
    orders = [_order(number, kind, dice) for number, kind in enumerate(kinds, start=1)]
    return _with_refunds(_with_special_cases(orders), count // REFUND_SHARE)


def _order(number: int, kind: str, dice: random.Random) -> Order:
    amount_minor = dice.randrange(50_00, 5_000_00)
    if kind == "card":
        card = dice.choice(PAYING_CARDS)
        return Order(number=number, method="card", provider="omise", amount_minor=amount_minor, card_number=card)
    return Order(number=number, method="promptpay", provider=kind, amount_minor=amount_minor)


def _with_special_cases(orders: list[Order]) -> list[Order]:
    """Let each special thing befall orders of the kind that it can befall."""
    wanted = {
        ("promptpay", "scb"): [
            Befalls.CALLBACK_TWICE,
            Befalls.CALLBACK_LATE,
            Befalls.WRONG_AMOUNT,
            Befalls.PAID_AFTER_EXPIRY,
            Befalls.ABANDONED,
            Befalls.ABANDONED,
        ],
        ("card", "omise"): [Befalls.PROVIDER_SILENT, *[Befalls.DECLINED] * DECLINES],
    }
    declining = list(DECLINING_CARDS)
    result = []
    for order in orders:
        queue = wanted.get((order.method, order.provider))
        # Spread over the day: about every third order that could be one.
        if not queue or order.number % 3:
            result.append(order)
            continue
        befalls = queue.pop(0)
        result.append(
            msgspec.structs.replace(
                order,
                befalls=befalls,
                amount_minor=SPECIAL_AMOUNTS_MINOR.get(befalls, order.amount_minor),
                card_number=declining.pop(0) if befalls is Befalls.DECLINED else order.card_number,
            )
        )
    return result


def _with_refunds(orders: list[Order], wanted: int) -> list[Order]:
    """Refund the first `wanted` plainly paid card orders, every fourth of them in part."""
    result, refunded = [], 0
    for order in orders:
        if order.method == "card" and order.befalls is Befalls.NOTHING and refunded < wanted:
            refunded += 1
            part = order.amount_minor // 2 if refunded % PARTIAL_REFUND_SHARE == 0 else order.amount_minor
            result.append(msgspec.structs.replace(order, refund_minor=part))
        else:
            result.append(order)
    return result
