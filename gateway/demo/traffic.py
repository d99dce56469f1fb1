"""Merchant and payers at work: orders become payments through the public API; payers pay at the providers.

The payers' side is the sandbox's control interface – a phone scanning a QR has no other door. Everything is
repeated safely: an order is created under its own Idempotency-Key, and whether a payer has paid already is asked
of the sandbox's books first.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import httpx
import msgspec

from gateway.demo.client import CallFailed, MerchantClient
from gateway.demo.orders import SPECIAL_AMOUNTS_MINOR, Befalls, Order
from gateway.providers.promptpay import read_qr
from gateway.sandbox.client import SandboxControl, SandboxRefused

SHOPPERS: Final = 12
"""Orders under way at once."""
POLL_SECONDS: Final = 0.2
ASK_AGAIN_SECONDS: Final = 1.0
SETTLE_TIMEOUT_SECONDS: Final = 60
LIVES_SECONDS: Final = {Befalls.PAID_AFTER_EXPIRY: 2, Befalls.ABANDONED: 2, Befalls.WRONG_AMOUNT: 6}
"""Business seconds after which the QR of such an order expires."""
LATE_SECONDS: Final = 3.0
SILENT_SECONDS: Final = 6.0
WRONG_AMOUNT_SHORT_MINOR: Final = 100_00
"""How much the payer of the wrong amount leaves out."""
FINAL_STATUSES: Final = frozenset(
    {"succeeded", "requires_payment_method", "canceled", "expired", "requires_capture", "conflicted"}
)


class TrafficStuck(Exception):
    """Payments did not come to an end in time."""


class Shop(msgspec.Struct, kw_only=True):
    """What traffic needs: the API, the payers' door, the world, and the vault's public key.

    Attributes:
        tokens: card token by merchant reference: a request that is sent again says the same.
    """

    api: MerchantClient
    sandbox: SandboxControl
    world: str
    vault_url: str
    public_key: str
    tokens: dict[str, str] = {}


async def prepare(shop: Shop) -> None:
    """Order the faults that the special orders will meet."""
    world, amounts = shop.world, SPECIAL_AMOUNTS_MINOR
    faults: list[tuple[str, str, str, Befalls, dict[str, Any]]] = [
        ("scb", "callback", "callback_duplicate", Befalls.CALLBACK_TWICE, {}),
        ("scb", "callback", "callback_late", Befalls.CALLBACK_LATE, {"seconds": LATE_SECONDS}),
        ("omise", "charge", "timeout_after", Befalls.PROVIDER_SILENT, {"seconds": SILENT_SECONDS}),
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


async def play(shop: Shop, orders: list[Order], done: Callable[[Order], None]) -> None:
    """Make every order; `done` is called as each one ends. Refunds come afterwards: a new shop has no money yet."""
    gate = asyncio.Semaphore(SHOPPERS)
    known = {intent["merchant_reference"]: intent for intent in await shop.api.all("/v1/payment_intents")}
    intents: dict[str, str] = {}

    async def one(order: Order) -> None:
        async with gate:
            intents[order.reference] = await _play_one(shop, order, known.get(order.reference))
            done(order)

    async with asyncio.TaskGroup() as group:
        for order in orders:
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
    if order.method == "promptpay":
        await _pay(shop, order, intent, again=known is not None)
    elif known is None:
        await _until_known(shop, order, intent)
    return str(intent["id"])


async def _until_known(shop: Shop, order: Order, intent: dict[str, Any]) -> None:
    """Ask again for a card payment while nobody knows what became of it: the API finds out, or sends it again."""
    deadline = asyncio.get_running_loop().time() + SETTLE_TIMEOUT_SECONDS
    while intent["status"] not in FINAL_STATUSES and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(ASK_AGAIN_SECONDS)
        await _create(shop, order)
        intent = await shop.api.get(f"/v1/payment_intents/{intent['id']}")


async def _create(shop: Shop, order: Order) -> dict[str, Any]:
    """Ask for the payment; asked again for the same order, the API takes up what it began."""
    body: dict[str, Any] = {
        "amount": order.amount_minor,
        "currency": "thb",
        "payment_method": order.method,
        "provider": order.provider,
        "merchant_reference": order.reference,
        "description": f"Order {order.number}",
    }
    if order.befalls in LIVES_SECONDS:
        body["expires_in_seconds"] = LIVES_SECONDS[order.befalls]
    if order.card_number is not None:
        if order.reference not in shop.tokens:
            shop.tokens[order.reference] = await _card_token(shop, order.card_number)
        body["card_token"] = shop.tokens[order.reference]
    try:
        return await shop.api.post("/v1/payment_intents", body, key=order.reference)
    except CallFailed as no:
        if no.problem.get("code") != "payment_declined":
            raise
        return await shop.api.get(f"/v1/payment_intents/{no.problem['payment_intent']}")


async def _pay(shop: Shop, order: Order, intent: dict[str, Any], *, again: bool) -> None:
    """The payer scans the QR and pays – or does not, or pays something else, or too late."""
    qr = await _qr_of(shop, order, intent)
    if qr is None or order.befalls is Befalls.ABANDONED:
        return
    if order.befalls is Befalls.PAID_AFTER_EXPIRY:
        await _wait_for_status(shop, intent["id"], "expired")
    details: dict[str, Any] = {}
    if order.befalls is Befalls.WRONG_AMOUNT:
        details["amount_minor"] = order.amount_minor - WRONG_AMOUNT_SHORT_MINOR
    reference = qr if order.provider == "scb" else intent["latest_attempt"]["id"]
    if not (again and await _is_paid(shop, order, reference)):
        await _pay_once(shop, order, reference, details)


async def _pay_once(shop: Shop, order: Order, reference: str, details: dict[str, Any]) -> None:
    """Pay, also while servers are being killed: before it is repeated, the sandbox is asked whether it was paid."""
    while True:
        try:
            await shop.sandbox.pay(world=shop.world, provider=order.provider, reference=reference, **details)
        except (httpx.HTTPError, SandboxRefused) as error:
            if isinstance(error, SandboxRefused) and error.status < httpx.codes.INTERNAL_SERVER_ERROR:
                raise
            await asyncio.sleep(POLL_SECONDS)
            if await _is_paid(shop, order, reference):
                return
        else:
            return


async def _is_paid(shop: Shop, order: Order, reference: str) -> bool:
    while True:
        try:
            books = await shop.sandbox.books(shop.world)
        except (httpx.HTTPError, SandboxRefused):
            await asyncio.sleep(POLL_SECONDS)
            continue
        name = _bill_reference(reference) if order.provider == "scb" else reference
        return any(
            charge["received_minor"] and name in {charge["reference"], *charge.get("metadata", {}).values()}
            for charge in books["charges"]
        )


def _bill_reference(qr_data: str) -> str:
    bill = read_qr(qr_data).bill
    assert bill is not None, "SCB's QR asks for a bill payment"
    return bill.reference1


async def _qr_of(shop: Shop, order: Order, intent: dict[str, Any]) -> str | None:
    """The QR; where the provider's answer was lost the merchant asks again, and None where it came to nothing."""
    deadline = asyncio.get_running_loop().time() + SETTLE_TIMEOUT_SECONDS
    while not intent["next_action"]:
        if intent["status"] in FINAL_STATUSES:
            return None
        if asyncio.get_running_loop().time() > deadline:
            raise TrafficStuck(f"{intent['id']} has no QR and is {intent['status']}")
        await asyncio.sleep(ASK_AGAIN_SECONDS)
        await _create(shop, order)
        intent = await shop.api.get(f"/v1/payment_intents/{intent['id']}")
    action = intent["next_action"]
    return str(action["qr_data"] or action["qr_image_url"])


async def _refund(shop: Shop, order: Order, intent_id: str) -> None:
    await _wait_for_status(shop, intent_id, "succeeded")
    body = {"payment_intent": intent_id, "amount": order.refund_minor, "reason": "requested_by_customer"}
    await shop.api.post("/v1/refunds", body, key=f"{order.reference}-REFUND")


async def _wait_for_status(shop: Shop, intent_id: str, status: str) -> None:
    deadline = asyncio.get_running_loop().time() + SETTLE_TIMEOUT_SECONDS
    while (found := (await shop.api.get(f"/v1/payment_intents/{intent_id}"))["status"]) != status:
        if asyncio.get_running_loop().time() > deadline:
            raise TrafficStuck(f"{intent_id} is {found}, not {status}")
        await asyncio.sleep(POLL_SECONDS)


async def _card_token(shop: Shop, card_number: str) -> str:
    """What the payer's browser does: the card goes to the provider's vault, never to us."""
    card = {
        "name": "TEST PAYER",
        "number": card_number,
        "expiration_month": 12,
        "expiration_year": 2099,
        "security_code": "123",
    }
    async with httpx.AsyncClient(trust_env=False, timeout=10) as browser:
        while True:
            try:
                answer = await browser.post(shop.vault_url, json={"card": card}, auth=(shop.public_key, ""))
                answer.raise_for_status()
            except httpx.HTTPError:
                # A token that was made and not received is never used, so another one does no harm.
                await asyncio.sleep(POLL_SECONDS)
            else:
                return str(answer.json()["id"])
