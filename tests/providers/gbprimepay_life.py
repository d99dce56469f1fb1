"""A charge's whole life between the adapter and the sandbox's GBPrimePay, step by step."""

from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from gateway.foundation.clock import real_now
from gateway.providers.base import (
    Accepted,
    Callback,
    ChargeRequest,
    Fact,
    FactKind,
    Inquiry,
    Method,
    NextAction,
    ProviderAccount,
    RefundRequest,
)
from gateway.providers.gbprimepay import Gbprimepay
from tests.sandbox.conftest import CREDENTIALS, Sandbox, Told
from tests.sandbox.gbprimepay import CARD

KEY = "QK20260000000000ABCD"


REFERENCE = "F4KN7XMEOTZ6L64"


REDIRECTS = (Method.TRUEMONEY, Method.RABBIT_LINEPAY, Method.SHOPEEPAY, Method.MOBILE_BANKING)


def account_of(sandbox: Sandbox) -> ProviderAccount:
    return ProviderAccount(
        account_id="pa_test_gbp",
        book_id=7,
        provider="gbprimepay",
        base_url=f"{sandbox.url}/gbprimepay",
        callback_url=f"{sandbox.gateway.root}/callbacks/gbprimepay",
        livemode=False,
        credentials=CREDENTIALS["gbprimepay"],
    )


def request_of(method: Method, *, key: str = KEY, amount_minor: int = 1234_50, **fields: Any) -> ChargeRequest:
    now = real_now()
    request = ChargeRequest(
        attempt_id="att_test_1",
        provider_key=key,
        method=method,
        amount_minor=amount_minor,
        currency="THB",
        created_at=now,
        expires_at=now + timedelta(minutes=15),
        description="order 1",
        return_url=None if method is Method.PROMPTPAY else "https://quickkub.test/return",
        bank="scb" if method is Method.MOBILE_BANKING else None,
    )
    return replace(request, **fields)


def refund_of(charge: ChargeRequest, *, key: str = "QKR2026000000000ABCD", **fields: Any) -> RefundRequest:
    request = RefundRequest(
        refund_id="re_test_1",
        provider_key=key,
        provider_reference=REFERENCE,
        amount_minor=charge.amount_minor,
        currency="THB",
        created_at=charge.created_at,
        charge_key=charge.provider_key,
        method=charge.method,
        captured_minor=charge.amount_minor,
        captured_at=charge.created_at,
    )
    return replace(request, **fields)


async def card_token(sandbox: Sandbox, **card: Any) -> str:
    answer = await sandbox.http.post(
        "/gbprimepay/v2/tokens",
        auth=(CREDENTIALS["gbprimepay"]["public_key"], ""),
        json={"rememberCard": False, "card": {**CARD, **card}},
    )
    assert answer.json()["resultCode"] == "00"
    return str(answer.json()["card"]["token"])


async def submit(sandbox: Sandbox, action: NextAction | None) -> str:
    """The payer's browser posts the form."""
    assert action is not None
    assert action.type == "submit_form"
    assert action.redirect_url is not None
    answer = await sandbox.http.post(action.redirect_url, data=dict(action.form_fields or {}))
    assert answer.headers["content-type"].startswith("text/html")
    return answer.text


async def begin(adapter: Gbprimepay, sandbox: Sandbox, request: ChargeRequest) -> Accepted:
    """Charge, and let the payer go where he is sent."""
    if request.method is Method.CARD and request.card_token is None:
        request = replace(request, card_token=await card_token(sandbox))
    charged = await adapter.charge(account_of(sandbox), request)
    assert isinstance(charged, Accepted)
    assert [fact.kind for fact in charged.facts] == [FactKind.PENDING]
    if request.method is not Method.PROMPTPAY:
        await submit(sandbox, charged.next_action)
    return charged


async def facts_of(adapter: Gbprimepay, sandbox: Sandbox, reference: str = KEY) -> tuple[Fact, ...]:
    inquiry = await adapter.inquire(account_of(sandbox), reference, real_now())
    assert isinstance(inquiry, Inquiry)
    return inquiry.facts


def callback_of(told: Told) -> Callback:
    return Callback(headers={}, body=told.body, received_at=real_now())


async def charges_of(sandbox: Sandbox) -> list[dict[str, Any]]:
    return [charge for charge in (await sandbox.books())["charges"] if charge["provider"] == "gbprimepay"]
