"""The payers' browsers: a card goes to the provider's vault, a form to the provider's page."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import httpx

from gateway.sandbox.cards import PUBLISHED_TEST_CARDS

CARD_NUMBER: Final = next(number for number, card in PUBLISHED_TEST_CARDS.items() if card.failure_code is None)
AGAIN_MAX: Final = 4
Vault = Callable[[httpx.AsyncClient, Mapping[str, str]], Awaitable[httpx.Response]]


async def _omise(browser: httpx.AsyncClient, credentials: Mapping[str, str]) -> httpx.Response:
    card = {"name": "TEST PAYER", "number": CARD_NUMBER, "expiration_month": 12, "expiration_year": 2099}
    body = {"card": {**card, "security_code": "123"}}
    return await browser.post("/omise-vault/tokens", json=body, auth=(credentials["public_key"], ""))


async def _kbank(browser: httpx.AsyncClient, credentials: Mapping[str, str]) -> httpx.Response:
    card = {"name": "TEST PAYER", "number": CARD_NUMBER, "expiration_month": 12, "expiration_year": 2099}
    headers = {"x-api-key": credentials["kgp_public_key"]}
    return await browser.post("/kbank/kgp/ui/v2/token", json={**card, "security_code": "123"}, headers=headers)


async def _gbprimepay(browser: httpx.AsyncClient, credentials: Mapping[str, str]) -> httpx.Response:
    card = {"name": "TEST PAYER", "number": CARD_NUMBER, "expirationMonth": "12", "expirationYear": "99"}
    body = {"rememberCard": False, "card": {**card, "securityCode": "123"}}
    return await browser.post("/gbprimepay/v2/tokens", json=body, auth=(credentials["public_key"], ""))


async def _twoc2p(browser: httpx.AsyncClient, credentials: Mapping[str, str]) -> httpx.Response:
    card = {"cardNo": CARD_NUMBER, "cardholderName": "TEST PAYER", "expiryMonth": 12, "expiryYear": 2099}
    return await browser.post("/2c2p-vault/securePayToken", json={"merchantID": credentials["merchant_id"], **card})


VAULTS: Final[Mapping[str, Vault]] = {"omise": _omise, "kbank": _kbank, "gbprimepay": _gbprimepay, "2c2p": _twoc2p}
"""A provider's vault has its own protocol; a provider without one takes no card tokens from us."""


async def card_token(browser: httpx.AsyncClient, provider: str, credentials: Mapping[str, str]) -> str:
    """A single-use token of a card; who gets no answer tries again, and a token that was lost is never used."""
    for _ in range(AGAIN_MAX):
        try:
            answer = await VAULTS[provider](browser, credentials)
            found = answer.json() if answer.is_success else {}
        except (httpx.HTTPError, ValueError):
            found = {}
        token = _token_in(found)
        if token is not None:
            return token
        await asyncio.sleep(0.05)
    raise AssertionError(f"{provider}'s vault gives no token")


async def open_page(browser: httpx.AsyncClient, action: Mapping[str, Any]) -> None:
    """Go where the payment sends its payer; a page that does not come is asked for again."""
    if action["type"] != "submit_form":
        return
    for _ in range(AGAIN_MAX):
        try:
            page = await browser.post(action["redirect_url"], data=action["form_fields"] or {})
            if page.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                return
        except httpx.HTTPError:
            pass
        await asyncio.sleep(0.05)


def _token_in(answer: Mapping[str, Any]) -> str | None:
    card = answer.get("card")
    token = answer.get("securePayToken") or (card.get("token") if isinstance(card, dict) else None) or answer.get("id")
    return str(token) if token else None


def wallet_code(number: int) -> str:
    """What a payer's wallet shows to be charged; it is used once. A last 00 stands for a wallet with money."""
    return f"{number:014d}00"
