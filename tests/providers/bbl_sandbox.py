"""What the tests of the adapter against the sandbox's Bangkok Bank share."""

from datetime import datetime, time, timedelta

import httpx
from msgspec.structs import replace

from gateway.foundation.clock import BANGKOK, business_date_of, real_now
from gateway.providers.base import (
    Accepted,
    Callback,
    CaptureRequest,
    ChargeRequest,
    Declined,
    FactKind,
    Inquiry,
    Method,
    NextAction,
    ProviderAccount,
    RefundRequest,
)
from gateway.providers.bbl import Bbl
from tests.sandbox.conftest import WORLD, Sandbox, Told

KEY = "QK2026000001"


def charge_request(method: Method = Method.PROMPTPAY, **changes) -> ChargeRequest:
    now = real_now()
    request = ChargeRequest(
        attempt_id="att_test_1",
        provider_key=KEY,
        method=method,
        amount_minor=1234_50,
        currency="THB",
        created_at=now,
        expires_at=now + timedelta(minutes=15),
        return_url="https://shop.invalid/back",
    )
    return replace(request, **changes)


def refund_request(method: Method | None = Method.PROMPTPAY, **changes) -> RefundRequest:
    request = RefundRequest(
        refund_id="re_test_1",
        provider_key="QKR2026000001",
        provider_reference=KEY,
        amount_minor=1234_50,
        currency="THB",
        created_at=real_now(),
        charge_key=KEY,
        method=method,
        captured_minor=1234_50,
    )
    return replace(request, **changes)


def capture_request(amount_minor: int = 1234_50) -> CaptureRequest:
    return CaptureRequest(
        capture_id="cap_test_1",
        provider_key="QKC2026000001",
        provider_reference=KEY,
        charge_key=KEY,
        method=Method.CARD,
        amount_minor=amount_minor,
        authorized_minor=1234_50,
        currency="THB",
        created_at=real_now(),
    )


def kinds_of(result: object) -> list[FactKind]:
    assert isinstance(result, Accepted | Declined | Inquiry), result
    return [fact.kind for fact in result.facts]


def callback_of(told: Told) -> Callback:
    return Callback(headers=told.headers, body=told.body, received_at=real_now())


async def noon_of_tomorrow(sandbox: Sandbox) -> timedelta:
    """Move the world to a time at which everything is done, whatever the hour; how far it is ahead of real time."""
    now = real_now()
    noon = datetime.combine(business_date_of(now) + timedelta(days=1), time(12), BANGKOK)
    ahead = timedelta(seconds=int((noon - now).total_seconds()))
    await sandbox.control.move_clock(world=WORLD, offset_seconds=int(ahead.total_seconds()))
    return ahead


async def submit(action: NextAction | None) -> httpx.Response:
    """What the payer's browser does."""
    assert action is not None
    assert action.redirect_url is not None
    async with httpx.AsyncClient(timeout=40) as browser:
        return await browser.post(action.redirect_url, data=dict(action.form_fields or {}))


async def opened(bbl: Bbl, account: ProviderAccount, **changes) -> Accepted:
    """A card charge whose page the payer has opened."""
    charged = await bbl.charge(account, charge_request(Method.CARD, **changes))
    assert isinstance(charged, Accepted)
    page = await submit(charged.next_action)
    assert page.status_code == 200, page.text
    return charged


async def charge_in_books(sandbox: Sandbox) -> tuple[str, int, int]:
    (charge,) = (each for each in (await sandbox.books())["charges"] if each["provider"] == "bbl")
    return charge["status"], charge["received_minor"], charge["refunded_minor"]
