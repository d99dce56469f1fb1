"""The TrueMoney adapter against the sandbox over HTTP: every operation once whole, and once under each fault."""

from datetime import timedelta

import msgspec
import pytest
from msgspec.structs import replace

from gateway.foundation.clock import business_date_of, real_now
from gateway.providers.base import (
    Accepted,
    Callback,
    CallbackRejected,
    ChargeRequest,
    Declined,
    FactKind,
    Inquiry,
    Method,
    ProviderAccount,
    RefundRequest,
    StatementUnavailable,
    Unknown,
)
from gateway.providers.http import ProviderHttp
from gateway.providers.registry import Providers
from gateway.providers.truemoney import TrueMoney
from gateway.sandbox.client import SandboxRefused
from reconciliation.statements.base import LineKind, LineReference
from reconciliation.statements.truemoney import parse
from tests.sandbox.conftest import CREDENTIALS, WORLD, Sandbox, Told, serving

KEY = "QK2026000001"
CODE = "0000000000000000"
POOR = "0000000000000051"


def _account(sandbox: Sandbox) -> ProviderAccount:
    return ProviderAccount(
        account_id="pa_test_truemoney",
        book_id=7,
        provider="truemoney",
        base_url=f"{sandbox.url}/truemoney",
        callback_url="",
        livemode=False,
        credentials=CREDENTIALS["truemoney"],
    )


def _request(key: str = KEY, *, code: str | None = CODE, amount_minor: int = 1234_56) -> ChargeRequest:
    now = real_now()
    return ChargeRequest(
        attempt_id="att_test_1",
        provider_key=key,
        method=Method.TRUEMONEY,
        amount_minor=amount_minor,
        currency="THB",
        created_at=now,
        expires_at=None if code else now + timedelta(hours=2),
        card_token=code,
        return_url="https://shop.invalid/back",
    )


def _refund(payment_id: str, key: str = "QKR2026000001", amount_minor: int = 1234_56) -> RefundRequest:
    return RefundRequest(
        refund_id="re_test_1",
        provider_key=key,
        provider_reference=payment_id,
        amount_minor=amount_minor,
        currency="THB",
        created_at=real_now(),
        charge_key=KEY,
        method=Method.TRUEMONEY,
        captured_minor=1234_56,
        captured_at=real_now(),
    )


def _kinds(result: object) -> list[FactKind]:
    assert isinstance(result, Accepted | Declined | Inquiry), result
    return [fact.kind for fact in result.facts]


def _callback(told: Told) -> Callback:
    return Callback(headers=told.headers, body=told.body, received_at=real_now())


async def _charges(sandbox: Sandbox) -> list[tuple[str, str, int, int]]:
    """What the sandbox believes of each TrueMoney charge: reference, status, received, given back."""
    return [
        (charge["reference"], charge["status"], charge["received_minor"], charge["refunded_minor"])
        for charge in (await sandbox.books())["charges"]
        if charge["provider"] == "truemoney"
    ]


async def _fault(sandbox: Sandbox, operation: str, fault: str, **details: object) -> None:
    await sandbox.control.add_fault(world=WORLD, provider="truemoney", operation=operation, fault=fault, **details)


async def test_sandbox_signs_with_the_key_that_test_accounts_trust():
    invented = TrueMoney.invented_credentials()
    assert invented["provider_public_key"] == CREDENTIALS["truemoney"]["provider_public_key"]
    assert invented["api_key"] != TrueMoney.invented_credentials()["api_key"]
    assert [len(invented[name]) for name in ("api_key", "merchant_id", "shop_id")] == [32, 21, 21]


async def test_wallet_is_debited_refunded_in_parts_and_settled_to_the_satang(sandbox: Sandbox):
    account, today = _account(sandbox), business_date_of(real_now())
    async with Providers(timeout_seconds=2) as providers:
        truemoney = providers["truemoney"]
        request = _request()
        charged = await truemoney.charge(account, request)
        assert isinstance(charged, Accepted)
        assert _kinds(charged) == [FactKind.CAPTURED]
        payment_id = charged.provider_references[1]
        assert charged.facts[0].provider_transaction_id == payment_id
        for reference in (payment_id, KEY):
            inquiry = await truemoney.inquire(account, reference, request.created_at)
            assert isinstance(inquiry, Inquiry)
            (fact,) = inquiry.facts
            assert (fact.kind, fact.provider_reference, fact.provider_transaction_id, fact.amount_minor) == (
                FactKind.CAPTURED,
                KEY,
                payment_id,
                1234_56,
            )
        part = _refund(payment_id, amount_minor=234_56)
        assert await truemoney.inquire_refund(account, part) == Inquiry(found=False)
        refunded = await truemoney.refund(account, part)
        assert isinstance(refunded, Accepted)
        assert _kinds(refunded) == [FactKind.REFUND_SUCCEEDED]
        refund_id = refunded.provider_references[1]
        # The same refund once more, as after a lost answer: nothing more is given back.
        again = await truemoney.refund(account, part)
        assert isinstance(again, Accepted)
        assert [fact.provider_transaction_id for fact in again.facts] == [refund_id]
        too_much = await truemoney.refund(account, _refund(payment_id, "QKR2026000002", 1000_01))
        assert isinstance(too_much, Declined)
        assert (too_much.failure_code, too_much.provider_code) == ("refund_refused", "refund_amount_exceeded")
        # By our key, where TrueMoney's id was lost with the first answer.
        found = await truemoney.inquire_refund(account, replace(part, provider_reference=KEY))
        assert isinstance(found, Inquiry)
        assert [(fact.provider_reference, fact.provider_transaction_id) for fact in found.facts] == [
            ("QKR2026000001", refund_id)
        ]
        inquiry = await truemoney.inquire(account, payment_id, request.created_at)
        assert _kinds(inquiry) == [FactKind.CAPTURED, FactKind.REFUND_SUCCEEDED]
        assert await _charges(sandbox) == [(KEY, "captured", 1234_56, 234_56)]
        with pytest.raises(StatementUnavailable):
            await truemoney.statements(account, today)
        await sandbox.pass_days(1)
        (file,) = await truemoney.statements(account, today)
    assert (file.source, file.name) == (
        "truemoney_settlement",
        f"truemoney-000000000000000000001-{today:%Y%m%d}.csv",
    )
    payment, refund = parse(file.content).lines
    # 2 % of 1,234.56 is 24.69, and 7 % of that is 1.73.
    assert (payment.kind, payment.amount_minor, payment.fee_minor, payment.vat_minor) == (
        LineKind.PAYMENT,
        1208_14,
        24_69,
        1_73,
    )
    assert payment.references == (LineReference("truemoney", payment_id), LineReference("truemoney", KEY, strong=False))
    assert payment.value_on == today
    assert (refund.kind, refund.amount_minor, refund.fee_minor, refund.vat_minor) == (LineKind.REFUND, -234_56, 0, 0)
    assert refund.references == (
        LineReference("truemoney", refund_id),
        LineReference("truemoney", "QKR2026000001", strong=False),
    )
    books = await sandbox.books()
    (line,) = books["bank_lines"]
    assert line["amount_minor"] == 1234_56 - 24_69 - 1_73 - 234_56


async def test_checkout_is_paid_later_notified_once_and_the_reply_is_taken(sandbox: Sandbox):
    account = _account(sandbox)
    async with Providers(timeout_seconds=2) as providers:
        truemoney = providers["truemoney"]
        request = _request(code=None)
        charged = await truemoney.charge(account, request)
        assert isinstance(charged, Accepted)
        assert _kinds(charged) == [FactKind.PENDING]
        assert charged.next_action is not None
        assert charged.next_action.type == "redirect"
        assert charged.next_action.redirect_url.startswith("http://sandbox.test/truemoney-checkout/")
        waiting = await truemoney.inquire(account, KEY, request.created_at, request.expires_at)
        assert isinstance(waiting, Inquiry)
        assert (_kinds(waiting), waiting.next_action) == ([FactKind.PENDING], charged.next_action)

        replies = []

        async def gateway(scope, receive, send):
            body, more = b"", True
            while more:
                message = await receive()
                body, more = body + message.get("body", b""), message.get("more_body", False)
            headers = {name.decode(): value.decode() for name, value in scope["headers"]}
            callback = Callback(headers=headers, body=body, received_at=real_now())
            reply = truemoney.callback_reply(account, callback, "in_test_1")
            replies.append((callback, reply))
            headers = [(name.encode(), value.encode()) for name, value in reply.headers.items()]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": reply.body})

        async with serving(gateway, lifespan="off") as root:
            await sandbox.control.register_account(
                world=WORLD, provider="truemoney", credentials=CREDENTIALS["truemoney"], callback_url=f"{root}/"
            )
            (paid,) = await sandbox.control.pay(world=WORLD, provider="truemoney", reference=KEY)
            states = await _callback_states(sandbox, until="delivered")
        assert states == ["delivered"]
        ((callback, reply),) = replies
        notify_id = msgspec.json.decode(callback.body)["notify_id"]
        assert msgspec.json.decode(reply.body)["data"] == {"notify_id": notify_id}
        parsed = truemoney.parse_callback(account, callback)
        assert (parsed.event_id, parsed.inquire, parsed.facts) == (notify_id, (charged.provider_references[1],), ())
        inquiry = await truemoney.inquire(account, parsed.inquire[0], callback.received_at)
        assert isinstance(inquiry, Inquiry)
        assert [(fact.kind, fact.provider_transaction_id, fact.amount_minor) for fact in inquiry.facts] == [
            (FactKind.CAPTURED, paid.transaction_id, 1234_56)
        ]
        with pytest.raises(SandboxRefused) as refused:
            await sandbox.control.pay(world=WORLD, provider="truemoney", reference=KEY)
        assert refused.value.code == "not_payable"
        assert await _charges(sandbox) == [(KEY, "captured", 1234_56, 0)]


async def _callback_states(sandbox: Sandbox, *, until: str) -> list[str]:
    for _ in range(200):
        states = [row["state"] for row in (await sandbox.books())["callbacks"]]
        if states == [until]:
            return states
    return states


async def test_forged_notifications_are_rejected_and_unpaid_stays_unpaid(sandbox: Sandbox):
    account = _account(sandbox)
    async with Providers(timeout_seconds=2) as providers:
        truemoney = providers["truemoney"]
        request = _request(code=None)
        await truemoney.charge(account, request)
        await sandbox.control.forge(world=WORLD, provider="truemoney", reference=KEY)
        (told,) = await sandbox.gateway.wait_for(1)
        assert told.fields["status"] == "succeeded"
        with pytest.raises(CallbackRejected) as rejected:
            truemoney.parse_callback(account, _callback(told))
        assert rejected.value.code == "signature_invalid"
        assert truemoney.callback_reply(account, _callback(told), "in_1").body == b"{}"
        assert _kinds(await truemoney.inquire(account, KEY, request.created_at)) == [FactKind.PENDING]
        await _fault(sandbox, "callback", "callback_forged")
        await sandbox.control.pay(world=WORLD, provider="truemoney", reference=KEY)
        verdicts = []
        for one in (await sandbox.gateway.wait_for(3))[1:3]:
            try:
                verdicts.append(truemoney.parse_callback(account, _callback(one)).inquire != ())
            except CallbackRejected as error:
                verdicts.append(error.code)
        assert sorted(verdicts, key=str) == [True, "signature_invalid"]


async def test_unpaid_checkout_ends_as_declined_and_cannot_be_paid_late(sandbox: Sandbox):
    account = _account(sandbox)
    async with Providers(timeout_seconds=2) as providers:
        request = _request(code=None)
        await providers["truemoney"].charge(account, request)
        await sandbox.control.move_clock(world=WORLD, offset_seconds=2 * 3600 + 1)
        inquiry = await providers["truemoney"].inquire(account, KEY, request.created_at, request.expires_at)
    assert isinstance(inquiry, Inquiry)
    assert [(fact.kind, fact.failure_code, fact.provider_code) for fact in inquiry.facts] == [
        (FactKind.DECLINED, "expired", "payment_expired")
    ]
    with pytest.raises(SandboxRefused):
        await sandbox.control.pay(world=WORLD, provider="truemoney", reference=KEY)
    assert await _charges(sandbox) == [(KEY, "expired", 0, 0)]


async def test_wallets_that_give_no_money_are_declined_in_both_words(sandbox: Sandbox):
    account = _account(sandbox)
    async with Providers(timeout_seconds=2) as providers:
        truemoney = providers["truemoney"]
        poor = await truemoney.charge(account, _request("QK1", code=POOR))
        assert isinstance(poor, Declined)
        assert (poor.failure_code, poor.provider_code) == ("insufficient_funds", "insufficient_fund")
        assert _kinds(poor) == [FactKind.DECLINED]
        # Asked again under the same key it is the same payment, which failed.
        assert _kinds(await truemoney.charge(account, _request("QK1", code=POOR))) == [FactKind.DECLINED]
        odd = await truemoney.charge(account, _request("QK2", code="not a code"))
        assert isinstance(odd, Declined)
        assert (odd.failure_code, odd.provider_code, odd.facts) == ("wallet_code_invalid", "invalid_payment_code", ())
        assert isinstance(await truemoney.charge(account, _request("QK3")), Accepted)
        used = await truemoney.charge(account, _request("QK4"))
        assert isinstance(used, Declined)
        assert used.provider_code == "invalid_payment_code"
    assert await _charges(sandbox) == [("QK1", "failed", 0, 0), ("QK3", "captured", 1234_56, 0)]


@pytest.mark.parametrize(
    ("fault", "code", "outcome", "books", "again"),
    [
        ("decline", CODE, Declined, [(KEY, "failed", 0, 0)], Declined),
        ("decline", None, Declined, [], Accepted),
        ("slow", CODE, Accepted, [(KEY, "captured", 1234_56, 0)], Accepted),
        ("timeout_before", CODE, Unknown, [], Accepted),
        ("timeout_after", CODE, Unknown, [(KEY, "captured", 1234_56, 0)], Accepted),
        ("timeout_after", None, Unknown, [(KEY, "pending", 0, 0)], Accepted),
        ("server_error", CODE, Unknown, [], Accepted),
        ("malformed", CODE, Unknown, [(KEY, "captured", 1234_56, 0)], Accepted),
        ("malformed", None, Unknown, [(KEY, "pending", 0, 0)], Accepted),
    ],
)
async def test_charge_under_a_fault_and_again_under_the_same_key(
    sandbox: Sandbox, *, fault: str, code: str | None, outcome: type, books: list[object], again: type
):
    account, request = _account(sandbox), _request(code=code)
    seconds = (
        {"seconds": 2 if "timeout" in fault else 0} if fault in {"slow", "timeout_before", "timeout_after"} else {}
    )
    await _fault(sandbox, "charge", fault, **seconds)
    async with Providers(timeout_seconds=2) as providers:
        first = await providers["truemoney"].charge(account, request)
        assert type(first) is outcome
        assert await _charges(sandbox) == books
        second = await providers["truemoney"].charge(account, request)
    assert type(second) is again
    charges = await _charges(sandbox)
    assert len(charges) == 1
    if code is None and again is Accepted:
        # The one checkout there is, and the payer is sent to it.
        assert charges == [(KEY, "pending", 0, 0)]
        assert second.next_action is not None
    elif again is Accepted:
        assert charges == [(KEY, "captured", 1234_56, 0)]
        assert _kinds(second) == [FactKind.CAPTURED]


@pytest.mark.parametrize(
    ("fault", "details", "outcome", "returned", "then", "returned_in_the_end"),
    [
        ("decline", {}, Declined, 0, FactKind.REFUND_SUCCEEDED, 1234_56),
        ("slow", {"seconds": 0}, Accepted, 1234_56, FactKind.REFUND_SUCCEEDED, 1234_56),
        ("timeout_before", {"seconds": 2}, Unknown, 0, FactKind.REFUND_SUCCEEDED, 1234_56),
        ("timeout_after", {"seconds": 2}, Unknown, 1234_56, FactKind.REFUND_SUCCEEDED, 1234_56),
        ("server_error", {}, Unknown, 0, FactKind.REFUND_SUCCEEDED, 1234_56),
        ("malformed", {}, Unknown, 1234_56, FactKind.REFUND_SUCCEEDED, 1234_56),
        ("refund_fails_later", {"seconds": 0}, Accepted, 1234_56, FactKind.REFUND_FAILED, 0),
    ],
)
async def test_refund_under_a_fault_and_again_under_the_same_key(
    sandbox: Sandbox,
    *,
    fault: str,
    details: dict[str, object],
    outcome: type,
    returned: int,
    then: FactKind,
    returned_in_the_end: int,
):
    account = _account(sandbox)
    async with Providers(timeout_seconds=2) as providers:
        truemoney = providers["truemoney"]
        charged = await truemoney.charge(account, _request())
        assert isinstance(charged, Accepted)
        refund = _refund(charged.provider_references[1])
        if fault == "refund_fails_later":
            details = {"seconds": 3600}
        await _fault(sandbox, "refund", fault, **details)
        first = await truemoney.refund(account, refund)
        assert type(first) is outcome
        assert await _charges(sandbox) == [(KEY, "captured", 1234_56, returned)]
        if fault == "refund_fails_later":
            assert _kinds(first) == [FactKind.REFUND_PENDING]
            await sandbox.control.move_clock(world=WORLD, offset_seconds=3600)
        second = await truemoney.refund(account, refund)
        assert _kinds(second) == [then]
        inquiry = await truemoney.inquire_refund(account, refund)
        assert _kinds(inquiry) == [then]
    assert await _charges(sandbox) == [(KEY, "captured", 1234_56, returned_in_the_end)]


@pytest.mark.parametrize("fault", ["timeout_before", "server_error", "malformed"])
async def test_inquiry_and_statement_under_a_fault_say_nothing(sandbox: Sandbox, fault: str):
    account, request, today = _account(sandbox), _request(code=None), business_date_of(real_now())
    details = {"seconds": 2} if fault == "timeout_before" else {}
    async with ProviderHttp(timeout_seconds=2) as http:
        truemoney = TrueMoney(http)
        await truemoney.charge(account, request)
        await _fault(sandbox, "inquiry", fault, **details)
        assert isinstance(await truemoney.inquire(account, KEY, request.created_at), Unknown)
        assert _kinds(await truemoney.inquire(account, KEY, request.created_at)) == [FactKind.PENDING]
        if fault != "malformed":
            await sandbox.pass_days(1)
            await _fault(sandbox, "statement", fault, **details)
            with pytest.raises(StatementUnavailable):
                await truemoney.statements(account, today)
            (file,) = await truemoney.statements(account, today)
            assert parse(file.content).lines == ()


async def test_refund_is_refused_when_the_payment_is_too_old(sandbox: Sandbox):
    account = _account(sandbox)
    async with Providers(timeout_seconds=2) as providers:
        charged = await providers["truemoney"].charge(account, _request())
        assert isinstance(charged, Accepted)
        await sandbox.pass_days(31)
        refused = await providers["truemoney"].refund(account, _refund(charged.provider_references[1]))
    assert isinstance(refused, Declined)
    assert (refused.failure_code, refused.provider_code) == ("refund_refused", "refund_not_allowed")
    assert await _charges(sandbox) == [(KEY, "captured", 1234_56, 0)]
