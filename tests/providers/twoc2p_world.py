"""The world in which the 2C2P adapter meets the sandbox's 2C2P: an account, payers, what the books say."""

from datetime import datetime, time, timedelta
from typing import Any

from msgspec.structs import replace

from gateway.foundation.clock import BANGKOK, business_date_of, real_now
from gateway.providers.base import Callback, ChargeRequest, FactKind, Method, ProviderAccount, RefundRequest
from gateway.sandbox.cards import PUBLISHED_TEST_CARDS
from tests.providers.twoc2p_support import CREDENTIALS, INVOICE, account_at
from tests.sandbox.conftest import WORLD, Sandbox, Told


async def account_in(sandbox: Sandbox) -> ProviderAccount:
    callback_url = f"{sandbox.gateway.root}/callbacks/2c2p"
    await sandbox.control.register_account(
        world=WORLD, provider="2c2p", credentials=CREDENTIALS, callback_url=callback_url
    )
    return account_at(f"{sandbox.url}/2c2p", callback_url=callback_url)


def request_of(method: Method = Method.PROMPTPAY, **fields: Any) -> ChargeRequest:
    now = real_now()
    request = ChargeRequest(
        attempt_id="att_test_1",
        provider_key=INVOICE,
        method=method,
        amount_minor=1234_56,
        currency="THB",
        created_at=now,
        expires_at=now + timedelta(minutes=20),
        return_url=None if method is Method.PROMPTPAY else "https://shop.invalid/back",
    )
    return replace(request, **fields)


def refund_of(request: ChargeRequest, amount_minor: int, key: str = "QKR1", *, days: int = 0) -> RefundRequest:
    return RefundRequest(
        refund_id="re_test_1",
        provider_key=key,
        provider_reference=request.provider_key,
        charge_key=request.provider_key,
        method=request.method,
        amount_minor=amount_minor,
        currency="THB",
        created_at=real_now() + timedelta(days=days),
        captured_minor=request.amount_minor,
        captured_at=request.created_at,
    )


async def let_pay(sandbox: Sandbox, **details: Any) -> str:
    (paid,) = await sandbox.control.pay(world=WORLD, provider="2c2p", reference=INVOICE, **details)
    return paid.transaction_id


async def order_fault(sandbox: Sandbox, operation: str, fault: str, **details: Any) -> None:
    await sandbox.control.add_fault(world=WORLD, provider="2c2p", operation=operation, fault=fault, **details)


async def books_of(sandbox: Sandbox) -> list[tuple[str, int, int]]:
    """Status, received and returned of every charge of 2C2P's."""
    charges = (await sandbox.books())["charges"]
    return [
        (charge["status"], charge["received_minor"], charge["refunded_minor"])
        for charge in charges
        if charge["provider"] == "2c2p"
    ]


def callback_of(told: Told) -> Callback:
    return Callback(headers=told.headers, body=told.body, received_at=real_now())


def said(result: Any) -> list[tuple[FactKind, str, str, int]]:
    return [
        (fact.kind, fact.provider_reference, fact.provider_transaction_id, fact.amount_minor) for fact in result.facts
    ]


async def card_token(sandbox: Sandbox, failure_code: str | None = None) -> str:
    """A token of a published test card: one that is paid with, or one that fails by this word."""
    number = next(number for number, card in PUBLISHED_TEST_CARDS.items() if card.failure_code == failure_code)
    card = {
        "merchantID": "QK01",
        "cardNo": number,
        "cardholderName": "TEST PAYER",
        "expiryMonth": 12,
        "expiryYear": 2099,
    }
    answer = await sandbox.http.post("/2c2p-vault/securePayToken", json=card)
    return str(answer.json()["securePayToken"])


async def tomorrow_at(sandbox: Sandbox, hour: int, minute: int = 0) -> datetime:
    """Move the world to that Bangkok time of tomorrow, whatever the time is now."""
    tomorrow = business_date_of(real_now()) + timedelta(days=1)
    moment = datetime.combine(tomorrow, time(hour, minute), BANGKOK)
    await sandbox.control.move_clock(world=WORLD, offset_seconds=int((moment - real_now()).total_seconds()))
    return moment
