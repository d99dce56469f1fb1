"""The adapters speak to the sandbox as they would to the real providers: each call once, from end to end."""

import asyncio
from datetime import timedelta

import msgspec
import pytest

from gateway.foundation import test_faults
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
    Unknown,
)
from gateway.providers.registry import Providers
from tests.sandbox.conftest import CREDENTIALS, WORLD, Sandbox, Told


def _account(sandbox: Sandbox, provider: str) -> ProviderAccount:
    return ProviderAccount(
        account_id=f"pa_test_{provider}",
        book_id=7,
        provider=provider,
        base_url=f"{sandbox.url}/{provider}",
        callback_url="",
        livemode=False,
        credentials=CREDENTIALS[provider],
    )


def _request(method: Method, *, card_token: str | None = None, amount_minor: int = 1234_56) -> ChargeRequest:
    now = real_now()
    return ChargeRequest(
        attempt_id="att_test_1",
        provider_key="QK2026000001",
        method=method,
        amount_minor=amount_minor,
        currency="THB",
        created_at=now,
        expires_at=None if method is Method.CARD else now + timedelta(minutes=15),
        card_token=card_token,
    )


def _kinds(result: Accepted | Declined | Inquiry) -> list[FactKind]:
    return [fact.kind for fact in result.facts]


def _callback(told: Told) -> Callback:
    return Callback(headers=told.headers, body=told.body, received_at=real_now())


async def test_scb_is_paid_by_qr_and_proved_by_inquiry(sandbox: Sandbox):
    account = _account(sandbox, "scb")
    async with Providers(timeout_seconds=2) as providers:
        scb = providers["scb"]
        request = _request(Method.PROMPTPAY)
        charged = await scb.charge(account, request)
        assert isinstance(charged, Accepted)
        assert _kinds(charged) == [FactKind.PENDING]
        assert await scb.inquire(account, request.provider_key, request.created_at) == Inquiry(found=False)
        (paid,) = await sandbox.control.pay(world=WORLD, provider="scb", reference=request.provider_key)
        (told,) = await sandbox.gateway.wait_for(1)
        parsed = scb.parse_callback(account, _callback(told))
        assert (parsed.event_id, parsed.inquire, parsed.facts) == (paid.transaction_id, (request.provider_key,), ())
        assert parsed.inquire_about is not None
        inquiry = await scb.inquire(account, parsed.inquire[0], parsed.inquire_about)
        assert isinstance(inquiry, Inquiry)
        (fact,) = inquiry.facts
        assert (fact.kind, fact.provider_transaction_id, fact.amount_minor) == (
            FactKind.CAPTURED,
            paid.transaction_id,
            1234_56,
        )
        today = business_date_of(real_now())
        await sandbox.pass_days(1)
        (file,) = await scb.statements(account, today)
        assert file.source == "thai_bill_payment"
        assert request.provider_key.encode() in file.content


async def test_omise_card_is_charged_found_by_our_key_and_refunded(sandbox: Sandbox):
    account = _account(sandbox, "omise")
    token = (await sandbox.token()).json()["id"]
    async with Providers(timeout_seconds=2) as providers:
        omise = providers["omise"]
        request = _request(Method.CARD, card_token=token, amount_minor=12345)
        charged = await omise.charge(account, request)
        assert isinstance(charged, Accepted)
        (captured,) = charged.facts
        assert captured.kind is FactKind.CAPTURED
        assert (captured.amount_minor, captured.provider_fee_minor, captured.provider_fee_vat_minor) == (12345, 451, 32)
        # The same attempt once more, as after a lost answer: the token is used, and it was us.
        again = await omise.charge(account, request)
        assert isinstance(again, Accepted)
        assert [fact.provider_transaction_id for fact in again.facts] == [captured.provider_transaction_id]
        refund = RefundRequest(
            refund_id="re_test_1",
            provider_key="QKR2026000001",
            provider_reference=captured.provider_transaction_id,
            amount_minor=5000,
            currency="THB",
            created_at=real_now(),
        )
        assert await omise.inquire_refund(account, refund) == Inquiry(found=False)
        refunded = await omise.refund(account, refund)
        assert isinstance(refunded, Accepted)
        assert _kinds(refunded) == [FactKind.REFUND_SUCCEEDED]
        found = await omise.inquire_refund(account, refund)
        assert isinstance(found, Inquiry)
        assert [fact.provider_reference for fact in found.facts] == ["QKR2026000001"]
        inquiry = await omise.inquire(account, request.provider_key, request.created_at)
        assert isinstance(inquiry, Inquiry)
        assert _kinds(inquiry) == [FactKind.CAPTURED, FactKind.REFUND_SUCCEEDED]
        too_much = await omise.refund(account, msgspec.structs.replace(refund, amount_minor=12345))
        assert isinstance(too_much, Declined)


async def test_omise_events_are_signed_and_name_the_charge(sandbox: Sandbox):
    account = _account(sandbox, "omise")
    async with Providers(timeout_seconds=2) as providers:
        omise = providers["omise"]
        charged = await omise.charge(account, _request(Method.PROMPTPAY))
        assert isinstance(charged, Accepted)
        assert charged.next_action is not None
        assert charged.next_action.qr_image_url
        charge_id = charged.provider_references[1]
        await sandbox.control.pay(world=WORLD, provider="omise", reference=charge_id)
        told = [callback for callback in await sandbox.gateway.wait_for(2) if callback.provider == "omise"]
        for callback in told:
            assert omise.parse_callback(account, _callback(callback)).inquire == (charge_id,)
        other = msgspec.structs.replace(account, credentials={**account.credentials, "webhook_secret": "AAAA"})
        with pytest.raises(CallbackRejected):
            omise.parse_callback(other, _callback(told[0]))
        inquiry = await omise.inquire(account, charge_id, real_now())
        assert isinstance(inquiry, Inquiry)
        assert _kinds(inquiry) == [FactKind.CAPTURED]
        transactions, transfers = await omise.statements(account, business_date_of(real_now()))
        assert charge_id.encode() in transactions.content
        assert msgspec.json.decode(transfers.content)["data"] == []


async def test_omise_source_is_expired(sandbox: Sandbox):
    account = _account(sandbox, "omise")
    async with Providers(timeout_seconds=2) as providers:
        charged = await providers["omise"].charge(account, _request(Method.PROMPTPAY))
        assert isinstance(charged, Accepted)
        canceled = await providers["omise"].cancel(account, charged.provider_references[0])
        assert isinstance(canceled, Accepted)
        assert _kinds(canceled) == [FactKind.EXPIRED]
        again = await providers["omise"].cancel(account, charged.provider_references[1])
        assert isinstance(again, Declined)


async def test_omise_charge_whose_answer_was_lost_is_found_by_our_key(sandbox: Sandbox):
    account = _account(sandbox, "omise")
    token = (await sandbox.token()).json()["id"]
    await sandbox.control.add_fault(world=WORLD, provider="omise", operation="charge", fault="timeout_after", seconds=3)
    async with Providers(timeout_seconds=2) as providers:
        request = _request(Method.CARD, card_token=token)
        assert isinstance(await providers["omise"].charge(account, request), Unknown)
    async with Providers(timeout_seconds=2) as providers:
        inquiry = await providers["omise"].inquire(account, request.provider_key, request.created_at)
        assert isinstance(inquiry, Inquiry)
        assert _kinds(inquiry) == [FactKind.CAPTURED]


async def test_declined_card_is_declined(sandbox: Sandbox):
    token = (await sandbox.token(number="4111111111140011")).json()["id"]
    async with Providers(timeout_seconds=2) as providers:
        outcome = await providers["omise"].charge(_account(sandbox, "omise"), _request(Method.CARD, card_token=token))
    assert isinstance(outcome, Declined)
    assert (outcome.failure_code, outcome.provider_code) == ("insufficient_funds", "insufficient_fund")


async def test_bank_gives_its_statement_and_refuses_a_broken_file(sandbox: Sandbox):
    account = _account(sandbox, "bank")
    today = business_date_of(real_now())
    await sandbox.pass_days(1)
    async with Providers(timeout_seconds=2) as providers:
        (file,) = await providers.bank.statements(account, today)
        assert b":20:" in file.content
        outcome = await providers.bank.submit_payment_file(account, message_id="M1", content=b"<broken")
    assert isinstance(outcome, Declined)
    assert outcome.failure_code == "file_rejected"


async def test_a_fault_that_a_request_brings_strikes_its_own_call_and_no_other(sandbox: Sandbox):
    account = _account(sandbox, "scb")
    mine, other = (msgspec.structs.replace(_request(Method.PROMPTPAY), provider_key=f"QK000{n}") for n in (1, 2))
    async with Providers(timeout_seconds=1, sandbox_url=sandbox.url) as providers:
        scb = providers["scb"]

        async def charged_with_a_fault():
            with test_faults.brought("charge", "timeout_after"):
                return await scb.charge(account, mine), await scb.inquire(account, "QK0001", mine.created_at)

        (lost, _), untouched = await asyncio.gather(charged_with_a_fault(), scb.charge(account, other))
        assert isinstance(lost, Unknown)
        assert isinstance(untouched, Accepted)
        made = [charge["reference"] for charge in (await sandbox.books())["charges"]]
        assert sorted(made) == ["QK0001", "QK0002"], "it was made and not answered"
    async with Providers(timeout_seconds=1) as elsewhere:
        with test_faults.brought("charge", "server_error"):
            third = msgspec.structs.replace(mine, provider_key="QK0003")
            assert isinstance(await elsewhere["scb"].charge(account, third), Accepted), "a provider that is no sandbox"
