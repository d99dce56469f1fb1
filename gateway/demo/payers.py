"""The payers: their browsers, their cards and wallets, and what they do about each kind of next action.

A card goes from the browser to the provider's vault and never to us. What no browser of a program can do – scan a QR,
confirm in a bank's app, pass 3-D Secure – is done through the sandbox's control interface.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import httpx
import msgspec

from gateway.demo.orders import Befalls, Order
from gateway.payments.requests import provider_key_of
from gateway.providers.gbprimepay_wire import reference_of
from gateway.sandbox.client import SandboxControl, SandboxRefused

POLL_SECONDS: Final = 0.2
TIMEOUT_SECONDS: Final = 15
WRONG_BY_MINOR: Final = 100_00
"""How much the payers of a wrong amount leave out or add."""
NOT_PAYABLE: Final = "not_payable"
"""The sandbox's word for a charge that no longer waits."""
CHECKOUT: Final = "/truemoney-checkout/"
"""A page that takes the payer's money by itself."""
CARD: Final = {"name": "TEST PAYER", "expiration_month": 12, "expiration_year": 2099, "security_code": "123"}


class Payers(msgspec.Struct, kw_only=True):
    """Everybody who buys.

    Attributes:
        credentials: of the book's account with each provider: browsers need the public ones.
        tokens: card token by merchant reference: a request that is sent again says the same.
    """

    sandbox: SandboxControl
    sandbox_url: str
    world: str
    credentials: Mapping[str, Mapping[str, str]]
    tokens: dict[str, str] = {}

    async def token(self, order: Order) -> str | None:
        """What the payer's browser or wallet gives the shop: a card's token, a wallet's code, or nothing."""
        if order.provider == "truemoney" and order.number % 2:
            return f"{order.number:016d}"
        if order.card_number is None:
            return None
        if order.reference not in self.tokens:
            self.tokens[order.reference] = await self._card_token(order.provider, order.card_number)
        return self.tokens[order.reference]

    async def pay(self, order: Order, intent: Mapping[str, Any], *, again: bool) -> None:
        """Follow the next action and pay – or not, or something else; `again`: perhaps it was paid before."""
        action, attempt = intent["next_action"], intent["latest_attempt"]
        provider, names = attempt["provider"], _names(intent)
        if order.befalls is Befalls.CALLBACK_FORGED:
            await self._until_done(
                lambda: self.sandbox.forge(world=self.world, provider=provider, reference=action["qr_data"])
            )
            return
        if again and await self._is_paid(provider, names):
            return
        if action["type"] == "submit_form":
            await self._browse("POST", action["redirect_url"], data=dict(action["form_fields"]))
        elif CHECKOUT in (action["redirect_url"] or ""):
            await self._browse("POST", action["redirect_url"])
            return
        reference = action["qr_data"] or provider_key_of(attempt["id"])
        if provider == "omise":
            reference = attempt["id"]
        await self._pay_once(provider, reference, names, _how(order))

    async def _pay_once(self, provider: str, reference: str, names: frozenset[str], how: Mapping[str, Any]) -> None:
        """Pay, also while servers are being killed: before it is repeated, the sandbox is asked whether it was paid."""
        was_tried = False
        while True:
            try:
                await self.sandbox.pay(world=self.world, provider=provider, reference=reference, **how)
            except (httpx.HTTPError, SandboxRefused) as error:
                if isinstance(error, SandboxRefused) and error.status < httpx.codes.INTERNAL_SERVER_ERROR:
                    if was_tried and error.code == NOT_PAYABLE:
                        return
                    raise
                was_tried = True
                await asyncio.sleep(POLL_SECONDS)
                if await self._is_paid(provider, names):
                    return
            else:
                return

    async def _is_paid(self, provider: str, names: frozenset[str]) -> bool:
        books = await self._until_done(lambda: self.sandbox.books(self.world))
        return any(
            charge["received_minor"] and names & {charge["reference"], charge.get("id"), *charge["names"]}
            for charge in map(_with_names, books["charges"])
            if charge["provider"] == provider
        )

    async def _browse(self, method: str, url: str, **options: Any) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_SECONDS) as browser:

            async def visit() -> httpx.Response:
                answer = await browser.request(method, url, **options)
                if answer.is_client_error:
                    raise SandboxRefused(answer.status_code, "refused", f"{url}: {answer.text[:200]}")
                if answer.is_server_error:
                    answer.raise_for_status()
                return answer

            answer: httpx.Response = await self._until_done(visit)
            return answer

    async def _card_token(self, provider: str, number: str) -> str:
        """Ask the provider's vault. A token that was made and not received is never used: another one does no harm."""
        own, root = self.credentials[provider], self.sandbox_url
        path: tuple[str, ...]
        match provider:
            case "omise":
                body: dict[str, Any] = {"card": {**CARD, "number": number}}
                url, path = f"{root}/omise-vault/tokens", ("id",)
                options: dict[str, Any] = {"auth": (own["public_key"], "")}
            case "kbank":
                body, url, path = {**CARD, "number": number}, f"{root}/kbank/kgp/ui/v2/token", ("id",)
                options = {"headers": {"x-api-key": own["kgp_public_key"]}}
            case "gbprimepay":
                card = {"name": CARD["name"], "number": number, "expirationMonth": "12", "expirationYear": "99"}
                body = {"rememberCard": False, "card": {**card, "securityCode": "123"}}
                url, path = f"{root}/gbprimepay/v2/tokens", ("card", "token")
                options = {"auth": (own["public_key"], "")}
            case _:
                body = {"merchantID": own["merchant_id"], "cardNo": number, "cardholderName": CARD["name"]}
                body |= {"expiryMonth": CARD["expiration_month"], "expiryYear": CARD["expiration_year"]}
                url, path, options = f"{root}/2c2p-vault/securePayToken", ("securePayToken",), {}
        found: Any = (await self._browse("POST", url, json=body, **options)).json()
        for name in path:
            found = found[name]
        return str(found)

    @staticmethod
    async def _until_done(act: Any) -> Any:
        """The result of `act`, repeated while servers are away."""
        while True:
            try:
                return await act()
            except (httpx.HTTPError, SandboxRefused) as error:
                if isinstance(error, SandboxRefused) and error.status < httpx.codes.INTERNAL_SERVER_ERROR:
                    raise
                await asyncio.sleep(POLL_SECONDS)


def _how(order: Order) -> dict[str, Any]:
    match order.befalls:
        case Befalls.WRONG_AMOUNT:
            return {"amount_minor": order.amount_minor - WRONG_BY_MINOR}
        case Befalls.OVERPAID:
            return {"amount_minor": order.amount_minor + WRONG_BY_MINOR}
        case Befalls.PAID_TWICE:
            return {"transaction_count": 2}
        case Befalls.CALLBACK_LOST:
            return {"silent": True}
        case _:
            return {}


def _names(intent: Mapping[str, Any]) -> frozenset[str]:
    """Under which names the provider may know the payment's charge."""
    attempt = intent["latest_attempt"]
    key = provider_key_of(attempt["id"])
    return frozenset({attempt["id"], attempt["provider_reference"], key, reference_of(key)}) - {None}


def _with_names(charge: Mapping[str, Any]) -> dict[str, Any]:
    return {**charge, "names": charge.get("metadata", {}).values()}
