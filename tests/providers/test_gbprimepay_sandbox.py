"""The adapter and the sandbox's GBPrimePay over HTTP: whole lives of charges, and each fault of each operation."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from gateway.foundation.clock import business_date_of, real_now
from gateway.providers.base import (
    Accepted,
    Callback,
    ChargeRequest,
    Declined,
    Fact,
    FactKind,
    Inquiry,
    Method,
    NextAction,
    NotAttempted,
    ProviderAccount,
    RefundRequest,
    StatementUnavailable,
    Unknown,
)
from gateway.providers.gbprimepay import Gbprimepay
from gateway.providers.http import ProviderHttp
from reconciliation.statements.base import LineKind, LineReference
from reconciliation.statements.gbprimepay import FORMAT
from tests.sandbox.conftest import CREDENTIALS, WORLD, Sandbox, Told

KEY = "QK20260000000000ABCD"
REFERENCE = "FURFTR2GQIDDNPL"
GBP = {"world": WORLD, "provider": "gbprimepay"}
CARD = {
    "number": "4535017710535741",
    "expirationMonth": "05",
    "expirationYear": "99",
    "securityCode": "184",
    "name": "TEST PAYER",
}
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


@pytest.fixture
async def adapter():
    async with ProviderHttp(timeout_seconds=10) as http:
        yield Gbprimepay(http)


@pytest.fixture
async def hasty():
    """An adapter that does not wait for a held answer."""
    async with ProviderHttp(timeout_seconds=0.5) as http:
        yield Gbprimepay(http)


async def test_every_method_is_paid_told_and_proved_by_inquiry(sandbox: Sandbox, adapter: Gbprimepay):
    account = account_of(sandbox)
    for number, method in enumerate(Method, start=1):
        key = f"QK2026000000000000{number:02d}"
        request = request_of(method, key=key, amount_minor=1000_00 + number)
        charged = await begin(adapter, sandbox, request)
        reference = charged.provider_references[1]
        assert charged.provider_references == (key, reference)
        assert [fact.kind for fact in await facts_of(adapter, sandbox, key)] == [FactKind.PENDING]
        (paid,) = await sandbox.control.pay(**GBP, reference=key)
        told = (await sandbox.gateway.wait_for(number))[-1]
        form = method in REDIRECTS
        assert told.headers["content-type"] == ("application/x-www-form-urlencoded" if form else "application/json")
        parsed = adapter.parse_callback(account, callback_of(told))
        assert (parsed.inquire, parsed.facts) == ((key,), ())
        assert parsed.event_id.startswith(f"{paid.transaction_id}:")
        assert parsed.inquire_about is not None
        (fact,) = await facts_of(adapter, sandbox, key)
        assert (fact.kind, fact.amount_minor, fact.provider_reference) == (FactKind.CAPTURED, 1000_00 + number, key)
        assert fact.provider_transaction_id == paid.transaction_id
        assert fact.occurred_at == parsed.inquire_about
        assert await facts_of(adapter, sandbox, reference) == (fact,)
    assert [charge["status"] for charge in await charges_of(sandbox)] == ["captured"] * len(Method)
    assert (await adapter.inquire(account, "QK9999999999999999ZZ", real_now())) == Inquiry(found=False)
