"""A merchant at work: orders become payments through the public API, are captured, given up and refunded.

Everything is repeated safely: an order is created under its own Idempotency-Key, and whether a payer has paid already
is asked of the sandbox's books first. The payers themselves: `payers.py`.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import msgspec

from gateway.demo.client import CallFailed, MerchantClient
from gateway.demo.orders import SPECIAL_AMOUNTS_MINOR, Befalls, Order
from gateway.demo.payers import POLL_SECONDS, Payers
from gateway.sandbox.client import SandboxControl

SHOPPERS: Final = 6
"""Orders under way at once."""
ASK_AGAIN_SECONDS: Final = 1.0
SETTLE_TIMEOUT_SECONDS: Final = 60
LIVES_SECONDS: Final = {
    Befalls.PAID_AFTER_EXPIRY: 2,
    Befalls.ABANDONED: 2,
    Befalls.CALLBACK_FORGED: 4,
    Befalls.WRONG_AMOUNT: 6,
}
"""Business seconds after which the QR of such an order expires."""
QR_LIVES_SECONDS: Final = 45
"""Of all other QRs: one that was lost, and that its bank neither repeats nor cancels in time, is waited for."""
LATE_SECONDS: Final = 3.0
SILENT_SECONDS: Final = 8.0
REFUND_FAILS_SECONDS: Final = 3.0
RETURN_URL: Final = "https://shop.invalid/back"
BANK: Final = "scb"
"""Whose app the payers of mobile banking have."""
AUTHORISED: Final = frozenset({Befalls.CAPTURED_LATER, Befalls.RELEASED})
UNPAID_STATUSES: Final = ("expired", "requires_payment_method")
FINAL_STATUSES: Final = frozenset(
    {"succeeded", "requires_payment_method", "canceled", "expired", "requires_capture", "conflicted"}
)


class TrafficStuck(Exception):
    """Payments did not come to an end in time."""


class Shop(msgspec.Struct, kw_only=True):
    """What traffic needs: the API, the payers, and the sandbox's control interface with the world's name."""

    api: MerchantClient
    sandbox: SandboxControl
    world: str
    payers: Payers


async def prepare(shop: Shop) -> None:
    """Order the faults that the special orders will meet."""
    world, amounts = shop.world, SPECIAL_AMOUNTS_MINOR
    faults: list[tuple[str, str, str, Befalls, dict[str, Any]]] = [
        ("scb", "callback", "callback_duplicate", Befalls.CALLBACK_TWICE, {}),
        ("scb", "callback", "callback_late", Befalls.CALLBACK_LATE, {"seconds": LATE_SECONDS}),
        ("omise", "charge", "timeout_after", Befalls.PROVIDER_SILENT, {"seconds": SILENT_SECONDS}),
        ("omise", "refund", "refund_fails_later", Befalls.REFUND_FAILS, {"seconds": REFUND_FAILS_SECONDS}),
    ]
    for provider, operation, fault, befalls, details in faults:
        await shop.sandbox.add_fault(
            world=world,
            provider=provider,
            operation=operation,
            fault=fault,
            amount_minor=amounts[befalls],
            **details,
        )
    # Nobody can be charged before a token was granted, so this one certainly was not and the next provider takes over.
    await shop.sandbox.add_fault(world=world, provider="scb", operation="token", fault="server_error")


async def play(shop: Shop, orders: list[Order], done: Callable[[Order], None]) -> None:
    """Make every order; `done` is called as each one ends. Refunds come afterwards: a new shop has no money yet."""
    gate = asyncio.Semaphore(SHOPPERS)
    known = {intent["merchant_reference"]: intent for intent in await shop.api.all("/v1/payment_intents")}
    intents: dict[str, str] = {}

    async def one(order: Order) -> None:
        async with gate:
            intents[order.reference] = await _play_one(shop, order, known.get(order.reference))
            done(order)

    # SCB's first token is refused: the order that is to meet that comes before all others.
    for order in orders:
        if order.befalls is Befalls.FAILED_OVER:
            await one(order)
    async with asyncio.TaskGroup() as group:
        for order in orders:
            if order.befalls is not Befalls.FAILED_OVER:
                group.create_task(one(order))
    async with asyncio.TaskGroup() as group:
        for order in orders:
            if order.refund_minor:
                group.create_task(_refund(shop, order, intents[order.reference]))


async def settled(shop: Shop) -> list[dict[str, Any]]:
    """Wait until no payment and no refund is under way; returns all payments.

    Raises:
        TrafficStuck: some are still open after a minute.
    """
    deadline = asyncio.get_running_loop().time() + SETTLE_TIMEOUT_SECONDS
    while True:
        intents = await shop.api.all("/v1/payment_intents")
        refunds = await shop.api.all("/v1/refunds")
        waiting = [intent for intent in intents if intent["status"] not in FINAL_STATUSES]
        unrefunded = [refund for refund in refunds if refund["status"] not in {"succeeded", "failed", "canceled"}]
        if not waiting and not unrefunded:
            return intents
        if asyncio.get_running_loop().time() > deadline:
            counted = Counter(item["status"] for item in [*waiting, *unrefunded])
            raise TrafficStuck(f"still under way after {SETTLE_TIMEOUT_SECONDS} s: {dict(counted)}")
        await asyncio.sleep(POLL_SECONDS)


async def _play_one(shop: Shop, order: Order, known: dict[str, Any] | None) -> str:
    """Make one order; `known` is its payment where an earlier demonstration was cut off after making it."""
    intent = known or await _create(shop, order)
    if order.method == "card" and not intent["next_action"]:
        # Decided at once, or nobody knows; a card that needs its holder says so.
        intent = await _until_known(shop, order, intent)
    if order.method != "card" or intent["next_action"]:
        await _pay(shop, order, intent, again=known is not None)
    if order.befalls in AUTHORISED:
        await _end_authorised(shop, order, str(intent["id"]))
    return str(intent["id"])


async def _end_authorised(shop: Shop, order: Order, intent_id: str) -> None:
    """Take the authorised money, or give it up; done before, it stays done."""
    path = f"/v1/payment_intents/{intent_id}"
    found = await _wait_for_status(shop, intent_id, "requires_capture", "succeeded", "canceled")
    if found == "requires_capture":
        verb = "capture" if order.befalls is Befalls.CAPTURED_LATER else "cancel"
        await shop.api.post(f"{path}/{verb}", {}, key=f"{order.reference}-{verb}")
        await _wait_for_status(shop, intent_id, "succeeded", "canceled")


async def _until_known(shop: Shop, order: Order, intent: dict[str, Any]) -> dict[str, Any]:
    """Ask again for a card payment while nobody knows what became of it: the API finds out, or sends it again."""
    deadline = asyncio.get_running_loop().time() + SETTLE_TIMEOUT_SECONDS
    while (
        intent["status"] not in FINAL_STATUSES
        and not intent["next_action"]
        and asyncio.get_running_loop().time() < deadline
    ):
        await asyncio.sleep(ASK_AGAIN_SECONDS)
        await _create(shop, order)
        intent = await shop.api.get(f"/v1/payment_intents/{intent['id']}")
    return intent


async def _create(shop: Shop, order: Order) -> dict[str, Any]:
    """Ask for the payment; asked again for the same order, the API takes up what it began."""
    body: dict[str, Any] = {
        "amount": order.amount_minor,
        "currency": "thb",
        "payment_method": order.method,
        "merchant_reference": order.reference,
        "description": f"Order {order.number}",
    }
    if order.method == "promptpay":
        body["expires_in_seconds"] = LIVES_SECONDS.get(order.befalls, QR_LIVES_SECONDS)
    if order.befalls is not Befalls.FAILED_OVER:
        body["provider"] = order.provider
    if order.befalls in AUTHORISED:
        body["capture_method"] = "manual"
    if order.method != "promptpay":
        body["return_url"] = RETURN_URL
    if order.method == "mobile_banking":
        body["bank"] = BANK
    if (token := await shop.payers.token(order)) is not None:
        body["card_token"] = token
    try:
        return await shop.api.post("/v1/payment_intents", body, key=order.reference)
    except CallFailed as no:
        if no.problem.get("code") != "payment_declined":
            raise
        return await shop.api.get(f"/v1/payment_intents/{no.problem['payment_intent']}")


async def _pay(shop: Shop, order: Order, intent: dict[str, Any], *, again: bool) -> None:
    """The payer does as he is told – or does not, or pays something else, or too late."""
    told = await _told(shop, order, intent)
    if told is None or order.befalls is Befalls.ABANDONED:
        return
    if order.befalls is Befalls.PAID_AFTER_EXPIRY:
        await _wait_for_status(shop, intent["id"], "expired")
    await shop.payers.pay(order, told, again=again)


async def _told(shop: Shop, order: Order, intent: dict[str, Any]) -> dict[str, Any] | None:
    """The payment with what the payer must do; None where it came to an end without it.

    Where the provider's answer was lost, the merchant asks again.
    """
    deadline = asyncio.get_running_loop().time() + SETTLE_TIMEOUT_SECONDS
    while not intent["next_action"]:
        if intent["status"] in FINAL_STATUSES:
            return None
        if asyncio.get_running_loop().time() > deadline:
            where = f"{intent['id']} ({order.provider}, {order.method})"
            raise TrafficStuck(f"{where} says nothing to its payer and is {intent['status']}")
        await asyncio.sleep(ASK_AGAIN_SECONDS)
        await _create(shop, order)
        intent = await shop.api.get(f"/v1/payment_intents/{intent['id']}")
    return intent


async def _refund(shop: Shop, order: Order, intent_id: str) -> None:
    if await _wait_for_status(shop, intent_id, "succeeded", *UNPAID_STATUSES) in UNPAID_STATUSES:
        # Its QR was lost while a server was killed: nobody paid, so there is nothing to give back.
        return
    body = {"payment_intent": intent_id, "amount": order.refund_minor, "reason": "requested_by_customer"}
    try:
        await shop.api.post("/v1/refunds", body, key=f"{order.reference}-REFUND")
    except CallFailed as no:
        # It may fail so soon that the answer says so.
        if no.problem.get("code") != "refund_declined" or order.befalls is not Befalls.REFUND_FAILS:
            raise


async def _wait_for_status(shop: Shop, intent_id: str, *statuses: str) -> str:
    deadline = asyncio.get_running_loop().time() + SETTLE_TIMEOUT_SECONDS
    while (found := str((await shop.api.get(f"/v1/payment_intents/{intent_id}"))["status"])) not in statuses:
        if asyncio.get_running_loop().time() > deadline:
            raise TrafficStuck(f"{intent_id} is {found}, not {' or '.join(statuses)}")
        await asyncio.sleep(POLL_SECONDS)
    return found
