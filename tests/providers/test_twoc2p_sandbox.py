"""The 2C2P adapter against the sandbox's 2C2P, over HTTP: payments, refunds, faults, and what the books say then."""

from datetime import datetime, time, timedelta
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace

from gateway.foundation.clock import BANGKOK, business_date_of, real_now
from gateway.providers.base import (
    Accepted,
    Callback,
    CallbackRejected,
    ChargeRequest,
    Declined,
    FactKind,
    Inquiry,
    Method,
    NotAttempted,
    ProviderAccount,
    RefundRequest,
    StatementUnavailable,
    Unknown,
)
from gateway.providers.http import ProviderHttp
from gateway.providers.twoc2p import TwoC2p
from reconciliation.statements.base import LineKind, LineReference
from reconciliation.statements.twoc2p import parse_settlement
from tests.providers.twoc2p_support import CREDENTIALS, INVOICE, account_at
from tests.sandbox.conftest import WORLD, Sandbox, Told

CARD = {
    "merchantID": "QK01",
    "cardNo": "4111111111111111",
    "cardholderName": "TEST PAYER",
    "expiryMonth": 12,
    "expiryYear": 2099,
}


@pytest_asyncio.fixture
async def account(sandbox: Sandbox) -> ProviderAccount:
    callback_url = f"{sandbox.gateway.root}/callbacks/2c2p"
    await sandbox.control.register_account(
        world=WORLD, provider="2c2p", credentials=CREDENTIALS, callback_url=callback_url
    )
    return account_at(f"{sandbox.url}/2c2p", callback_url=callback_url)


def _request(method: Method = Method.PROMPTPAY, **fields: Any) -> ChargeRequest:
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


def _refund(request: ChargeRequest, amount_minor: int, key: str = "QKR1", *, days: int = 0) -> RefundRequest:
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


async def _pay(sandbox: Sandbox, **details: Any) -> str:
    (paid,) = await sandbox.control.pay(world=WORLD, provider="2c2p", reference=INVOICE, **details)
    return paid.transaction_id


async def _fault(sandbox: Sandbox, operation: str, fault: str, **details: Any) -> None:
    await sandbox.control.add_fault(world=WORLD, provider="2c2p", operation=operation, fault=fault, **details)


async def _ours(sandbox: Sandbox) -> list[tuple[str, int, int]]:
    """Status, received and returned of every charge of 2C2P's."""
    charges = (await sandbox.books())["charges"]
    return [
        (charge["status"], charge["received_minor"], charge["refunded_minor"])
        for charge in charges
        if charge["provider"] == "2c2p"
    ]


def _callback(told: Told) -> Callback:
    return Callback(headers=told.headers, body=told.body, received_at=real_now())


def _said(result: Any) -> list[tuple[FactKind, str, str, int]]:
    return [
        (fact.kind, fact.provider_reference, fact.provider_transaction_id, fact.amount_minor) for fact in result.facts
    ]


async def _card_token(sandbox: Sandbox, number: str = CARD["cardNo"]) -> str:
    answer = await sandbox.http.post("/2c2p-vault/securePayToken", json={**CARD, "cardNo": number})
    return str(answer.json()["securePayToken"])


async def _tomorrow_at(sandbox: Sandbox, hour: int, minute: int = 0) -> datetime:
    """Move the world to that Bangkok time of tomorrow, whatever the time is now."""
    tomorrow = business_date_of(real_now()) + timedelta(days=1)
    moment = datetime.combine(tomorrow, time(hour, minute), BANGKOK)
    await sandbox.control.move_clock(world=WORLD, offset_seconds=int((moment - real_now()).total_seconds()))
    return moment


async def test_thai_qr_from_charge_to_statement(sandbox: Sandbox, account: ProviderAccount):
    request = _request()
    async with ProviderHttp(timeout_seconds=10) as http:
        adapter = TwoC2p(http)
        assert await adapter.inquire(account, INVOICE, request.created_at) == Inquiry(found=False)
        charged = await adapter.charge(account, request)
        assert isinstance(charged, Accepted)
        assert _said(charged) == [(FactKind.PENDING, INVOICE, INVOICE, 1234_56)]
        assert charged.next_action is not None
        assert (charged.next_action.type, charged.next_action.expires_at) == ("display_qr_code", request.expires_at)
        assert "54071234.56" in (charged.next_action.qr_data or "")
        # Sent again, as after a lost answer: one charge, the same QR.
        assert await adapter.charge(account, request) == charged
        transaction_id = await _pay(sandbox)
        captured = [(FactKind.CAPTURED, INVOICE, transaction_id, 1234_56)]
        (told,) = await sandbox.gateway.wait_for(1)
        parsed = adapter.parse_callback(account, _callback(told))
        assert parsed.event_id == f"{INVOICE}:{transaction_id}:0000"
        assert _said(parsed) == captured
        for reference in charged.provider_references:
            assert _said(await adapter.inquire(account, reference, request.created_at)) == captured
        # Asked once more after the payment: it is told, and nothing new is payable.
        assert _said(await adapter.charge(account, request)) == captured
        canceled = await adapter.cancel(account, charged.provider_references[1])
        assert isinstance(canceled, Declined)
        assert canceled.failure_code == "not_cancelable"
        assert await _ours(sandbox) == [("captured", 1234_56, 0)]
        today = business_date_of(real_now())
        with pytest.raises(StatementUnavailable):
            await adapter.statements(account, today)
        await sandbox.pass_days(1)
        (file,) = await adapter.statements(account, today)
        (movement,) = (await sandbox.books())["movements"]
        statement = parse_settlement(file.content)
        (line,) = statement.lines
        assert (file.source, line.kind, line.amount_minor) == ("2c2p_settlement", LineKind.PAYMENT, 1234_56)
        # 0.8 % of 1234.56, and 7 % of that.
        assert (line.fee_minor, line.vat_minor) == (9_88, 69) == (movement["fee_minor"], movement["fee_vat_minor"])
        assert line.references == (LineReference("2c2p", transaction_id), LineReference("2c2p", INVOICE, strong=False))
        assert line.batch_reference == movement["batch_id"] is not None
        assert line.value_on == today
        assert statement.rejects == ()
        # Settled and refunded it still tells of the payment.
        assert _said(await adapter.inquire(account, INVOICE, request.created_at)) == captured


async def test_partial_refund_waits_for_the_settlement_and_ends_later(sandbox: Sandbox, account: ProviderAccount):
    request = _request()
    async with ProviderHttp(timeout_seconds=10) as http:
        adapter = TwoC2p(http)
        await adapter.charge(account, request)
        transaction_id = await _pay(sandbox)
        early = await adapter.refund(account, _refund(request, 200_00))
        assert isinstance(early, NotAttempted)
        assert await _ours(sandbox) == [("captured", 1234_56, 0)]
        await sandbox.pass_days(1)
        refund = _refund(request, 200_00, days=1)
        assert await adapter.inquire_refund(account, refund) == Inquiry(found=False)
        pending = await adapter.refund(account, refund)
        assert isinstance(pending, Accepted)
        ((kind, reference, refund_id, amount_minor),) = _said(pending)
        assert (kind, reference, amount_minor) == (FactKind.REFUND_PENDING, "QKR1", 200_00)
        assert pending.provider_references == ("QKR1", refund_id)
        # The same request again, and the question for it, tell of the same refund.
        assert _said(await adapter.refund(account, refund)) == _said(pending)
        assert _said(await adapter.inquire_refund(account, refund)) == _said(pending)
        assert await _ours(sandbox) == [("captured", 1234_56, 200_00)]
        await sandbox.control.move_clock(world=WORLD, offset_seconds=86_400 + 60)
        told = (await sandbox.gateway.wait_for(2))[-1]
        assert _said(adapter.parse_callback(account, _callback(told))) == [
            (FactKind.REFUND_SUCCEEDED, refund_id, refund_id, 200_00)
        ]
        assert _said(await adapter.inquire_refund(account, refund)) == [
            (FactKind.REFUND_SUCCEEDED, "QKR1", refund_id, 200_00)
        ]
        assert _said(await adapter.inquire(account, INVOICE, request.created_at)) == [
            (FactKind.CAPTURED, INVOICE, transaction_id, 1234_56)
        ]
        too_much = await adapter.refund(account, _refund(request, 1100_00, "QKR2", days=1))
        assert isinstance(too_much, Declined)
        assert (too_much.failure_code, too_much.provider_code) == ("refund_refused", "40")
        assert await _ours(sandbox) == [("captured", 1234_56, 200_00)]
        await sandbox.pass_days(2)
        (file,) = await adapter.statements(account, business_date_of(real_now() + timedelta(days=1)))
        (line,) = parse_settlement(file.content).lines
        assert (line.kind, line.amount_minor, line.fee_minor, line.vat_minor) == (LineKind.REFUND, -200_00, 0, 0)
        assert line.references[0] == LineReference("2c2p", refund_id)


async def test_whole_payment_is_voided_on_its_day(sandbox: Sandbox, account: ProviderAccount):
    now = await _tomorrow_at(sandbox, 10)
    request = _request(Method.CARD, card_token=await _card_token(sandbox), created_at=now, expires_at=None)
    refund = replace(_refund(request, 1234_56), created_at=now)
    async with ProviderHttp(timeout_seconds=10) as http:
        adapter = TwoC2p(http)
        charged = await adapter.charge(account, request)
        assert isinstance(charged, Accepted)
        assert charged.next_action is not None
        assert charged.next_action.type == "redirect"
        transaction_id = await _pay(sandbox)
        await _fault(sandbox, "refund", "decline")
        declined = await adapter.refund(account, refund)
        assert isinstance(declined, Declined)
        assert (declined.failure_code, declined.provider_code) == ("refund_refused", "25")
        assert await _ours(sandbox) == [("captured", 1234_56, 0)]
        voided = [(FactKind.REFUND_SUCCEEDED, "QKR1", f"{transaction_id}V", 1234_56)]
        for done in (
            await adapter.refund(account, refund),
            await adapter.refund(account, refund),
            await adapter.inquire_refund(account, refund),
        ):
            assert _said(done) == voided
        # Another refund moves nothing, and its fact bears the id of the void that is known already.
        other = await adapter.refund(account, replace(refund, provider_key="QKR2"))
        assert isinstance(other, Accepted)
        assert other.facts[0].provider_transaction_id == f"{transaction_id}V"
        assert await _ours(sandbox) == [("captured", 1234_56, 1234_56)]
        assert _said(await adapter.inquire(account, INVOICE, now)) == [
            (FactKind.CAPTURED, INVOICE, transaction_id, 1234_56)
        ]
        await sandbox.pass_days(2)
        (file,) = await adapter.statements(account, business_date_of(now))
        paid, back = parse_settlement(file.content).lines
        assert (paid.kind, back.kind) == (LineKind.PAYMENT, LineKind.REVERSAL)
        # 2.8 % and 7 % of it, both given back.
        assert (paid.amount_minor, paid.fee_minor, paid.vat_minor) == (1234_56, 34_57, 2_42)
        assert (back.amount_minor, back.fee_minor, back.vat_minor) == (-1234_56, -34_57, -2_42)
        assert back.references[0] == LineReference("2c2p", f"{transaction_id}V")


async def test_after_the_cut_off_nothing_is_given_back_before_the_settlement(
    sandbox: Sandbox, account: ProviderAccount
):
    now = await _tomorrow_at(sandbox, 21, 30)
    request = _request(created_at=now, expires_at=None)
    refund = replace(_refund(request, 1234_56), created_at=now)
    async with ProviderHttp(timeout_seconds=10) as http:
        adapter = TwoC2p(http)
        await adapter.charge(account, request)
        await _pay(sandbox)
        assert isinstance(await adapter.refund(account, refund), NotAttempted)
        # A clock that is behind 2C2P's makes no difference.
        early = replace(refund, created_at=now - timedelta(hours=1))
        assert isinstance(await adapter.refund(account, early), NotAttempted)
        assert await _ours(sandbox) == [("captured", 1234_56, 0)]
        await sandbox.pass_days(2)
        assert isinstance(await adapter.refund(account, refund), Accepted)
        assert await _ours(sandbox) == [("captured", 1234_56, 1234_56)]


async def test_whole_payment_is_refunded_when_it_is_settled(sandbox: Sandbox, account: ProviderAccount):
    request = _request(Method.CARD, card_token=await _card_token(sandbox))
    async with ProviderHttp(timeout_seconds=10) as http:
        adapter = TwoC2p(http)
        await adapter.charge(account, request)
        await _pay(sandbox)
        await sandbox.pass_days(1)
        # Asked for on the day of the payment, done on the next: the void is refused as too late, so it is refunded.
        done = await adapter.refund(account, _refund(request, 1234_56))
        assert isinstance(done, Accepted)
        assert done.facts[0].kind is FactKind.REFUND_SUCCEEDED
        assert not done.facts[0].provider_transaction_id.endswith("V")
        again = await adapter.refund(account, _refund(request, 1234_56, "QKR2", days=1))
        assert isinstance(again, Unknown | Accepted)
        assert await _ours(sandbox) == [("captured", 1234_56, 1234_56)]


async def test_refund_that_fails_later(sandbox: Sandbox, account: ProviderAccount):
    request = _request(Method.TRUEMONEY)
    async with ProviderHttp(timeout_seconds=10) as http:
        adapter = TwoC2p(http)
        await adapter.charge(account, request)
        transaction_id = await _pay(sandbox)
        await sandbox.pass_days(1)
        await _fault(sandbox, "refund", "refund_fails_later", seconds=30)
        refund = _refund(request, 100_00, days=1)
        pending = await adapter.refund(account, refund)
        assert isinstance(pending, Accepted)
        assert pending.facts[0].kind is FactKind.REFUND_PENDING
        await sandbox.control.move_clock(world=WORLD, offset_seconds=86_400 + 60)
        told = (await sandbox.gateway.wait_for(2))[-1]
        (failed,) = adapter.parse_callback(account, _callback(told)).facts
        assert (failed.kind, failed.provider_reference) == (
            FactKind.REFUND_FAILED,
            pending.facts[0].provider_transaction_id,
        )
        inquiry = await adapter.inquire_refund(account, refund)
        assert isinstance(inquiry, Inquiry)
        assert inquiry.facts[0].kind is FactKind.REFUND_FAILED
        assert await _ours(sandbox) == [("captured", 1234_56, 0)]
        assert _said(await adapter.inquire(account, INVOICE, request.created_at)) == [
            (FactKind.CAPTURED, INVOICE, transaction_id, 1234_56)
        ]


@pytest.mark.parametrize("operation", ["token", "charge"])
async def test_faults_of_a_charge_never_make_a_second_one(sandbox: Sandbox, account: ProviderAccount, operation: str):
    request = _request()
    async with ProviderHttp(timeout_seconds=1) as http:
        adapter = TwoC2p(http)
        for fault in ("timeout_before", "server_error", "malformed", "timeout_after"):
            await _fault(sandbox, operation, fault, seconds=1.2)
            assert isinstance(await adapter.charge(account, request), Unknown), fault
    async with ProviderHttp(timeout_seconds=10) as http:
        adapter = TwoC2p(http)
        await _fault(sandbox, operation, "slow", seconds=0.1)
        charged = await adapter.charge(account, request)
        assert isinstance(charged, Accepted)
        assert charged.next_action is not None
        assert await _ours(sandbox) == [("pending", 0, 0)]
        await _pay(sandbox, silent=True)
        inquiry = await adapter.inquire(account, INVOICE, request.created_at)
        assert isinstance(inquiry, Inquiry)
        assert [fact.kind for fact in inquiry.facts] == [FactKind.CAPTURED]


async def test_declines_of_a_charge(sandbox: Sandbox, account: ProviderAccount):
    async with ProviderHttp(timeout_seconds=10) as http:
        adapter = TwoC2p(http)
        await _fault(sandbox, "charge", "decline", code="4051")
        request = _request()
        for _ in range(2):
            outcome = await adapter.charge(account, request)
            assert isinstance(outcome, Declined)
            assert (outcome.failure_code, outcome.provider_code) == ("insufficient_funds", "4051")
            assert _said(outcome) == [(FactKind.DECLINED, INVOICE, INVOICE, 1234_56)]
        (told,) = await sandbox.gateway.wait_for(1)
        assert _said(adapter.parse_callback(account, _callback(told))) == _said(outcome)
        token = await _card_token(sandbox, "4444333322221111")
        card = await adapter.charge(account, _request(Method.CARD, card_token=token, provider_key="QK2"))
        assert isinstance(card, Declined)
        assert (card.failure_code, card.provider_code) == ("do_not_honor", "4005")
        used = await adapter.charge(account, _request(Method.CARD, card_token=token, provider_key="QK3"))
        assert isinstance(used, Unknown)
        # Another request under a known invoice is refused, and nothing is believed of it.
        other = await adapter.charge(account, replace(request, amount_minor=1_00))
        assert isinstance(other, Declined)
        assert other.facts[0].amount_minor == 1234_56
        assert await _ours(sandbox) == [("failed", 0, 0), ("failed", 0, 0), ("pending", 0, 0)]


async def test_wallets_expire_and_are_canceled(sandbox: Sandbox, account: ProviderAccount):
    async with ProviderHttp(timeout_seconds=10) as http:
        adapter = TwoC2p(http)
        actions = {}
        for number, method in enumerate((Method.TRUEMONEY, Method.RABBIT_LINEPAY, Method.SHOPEEPAY)):
            charged = await adapter.charge(account, _request(method, provider_key=f"QKW{number}"))
            assert isinstance(charged, Accepted)
            assert charged.next_action is not None
            actions[method] = (charged.next_action.type, charged.provider_references)
        assert [action for action, _ in actions.values()] == ["redirect", "redirect", "display_qr_code"]
        (key, token) = actions[Method.TRUEMONEY][1]
        assert isinstance(await adapter.cancel(account, key), NotAttempted)
        await _fault(sandbox, "cancel", "decline")
        assert isinstance(await adapter.cancel(account, token), Declined)
        assert (await _ours(sandbox))[0] == ("pending", 0, 0)
        await _fault(sandbox, "cancel", "server_error")
        assert isinstance(await adapter.cancel(account, token), Unknown)
        for _ in range(2):
            assert await adapter.cancel(account, token) == Accepted(provider_references=(token,))
        canceled = await adapter.inquire(account, key, real_now())
        assert isinstance(canceled, Inquiry)
        assert (canceled.facts[0].kind, canceled.facts[0].failure_code) == (FactKind.DECLINED, "canceled")
        await sandbox.control.move_clock(world=WORLD, offset_seconds=1300)
        expired = await adapter.inquire(account, "QKW1", real_now())
        assert isinstance(expired, Inquiry)
        assert [fact.kind for fact in expired.facts] == [FactKind.EXPIRED]
        late = await adapter.charge(account, _request(Method.RABBIT_LINEPAY, provider_key="QKW1"))
        assert isinstance(late, Accepted)
        assert [fact.kind for fact in late.facts] == [FactKind.EXPIRED]
        assert await _ours(sandbox) == [("canceled", 0, 0), ("expired", 0, 0), ("expired", 0, 0)]


@pytest.mark.parametrize(("paid_minor", "code"), [(1000_00, "5016"), (2000_00, "5015")])
async def test_other_amount_is_told_as_it_came(sandbox: Sandbox, account: ProviderAccount, paid_minor: int, code: str):
    async with ProviderHttp(timeout_seconds=10) as http:
        adapter = TwoC2p(http)
        await adapter.charge(account, _request())
        await sandbox.control.move_clock(world=WORLD, offset_seconds=1300)
        # Late, too: the payer's bank knows no expiry.
        transaction_id = await _pay(sandbox, amount_minor=paid_minor)
        (told,) = await sandbox.gateway.wait_for(1)
        parsed = adapter.parse_callback(account, _callback(told))
        assert parsed.event_id.endswith(code)
        captured = [(FactKind.CAPTURED, INVOICE, transaction_id, paid_minor)]
        assert _said(parsed) == captured
        assert _said(await adapter.inquire(account, INVOICE, real_now())) == captured


async def test_forged_notification_is_rejected(sandbox: Sandbox, account: ProviderAccount):
    async with ProviderHttp(timeout_seconds=10) as http:
        adapter = TwoC2p(http)
        await adapter.charge(account, _request())
        await sandbox.control.forge(world=WORLD, provider="2c2p", reference=INVOICE)
        (told,) = await sandbox.gateway.wait_for(1)
        with pytest.raises(CallbackRejected, match="signature_invalid"):
            adapter.parse_callback(account, _callback(told))
        inquiry = await adapter.inquire(account, INVOICE, real_now())
        assert isinstance(inquiry, Inquiry)
        assert [fact.kind for fact in inquiry.facts] == [FactKind.PENDING]


async def test_faults_of_a_refund_move_money_once(sandbox: Sandbox, account: ProviderAccount):
    request = _request(Method.CARD, card_token=await _card_token(sandbox))
    async with ProviderHttp(timeout_seconds=10) as http:
        await TwoC2p(http).charge(account, request)
    await _pay(sandbox)
    await sandbox.pass_days(1)
    refund = _refund(request, 34_56, days=1)
    async with ProviderHttp(timeout_seconds=1) as http:
        adapter = TwoC2p(http)
        await _fault(sandbox, "refund", "decline")
        declined = await adapter.refund(account, refund)
        assert isinstance(declined, Declined)
        assert (declined.failure_code, declined.provider_code) == ("refund_refused", "44")
        assert await _ours(sandbox) == [("captured", 1234_56, 0)]
        for fault in ("timeout_before", "server_error", "malformed", "timeout_after"):
            await _fault(sandbox, "refund", fault, seconds=1.2)
            assert isinstance(await adapter.refund(account, refund), Unknown), fault
        assert await _ours(sandbox) == [("captured", 1234_56, 34_56)]
        for fault in ("server_error", "malformed"):
            await _fault(sandbox, "inquiry", fault)
            assert isinstance(await adapter.inquire_refund(account, refund), Unknown), fault
        found = await adapter.inquire_refund(account, refund)
        done = await adapter.refund(account, refund)
        assert _said(found) == _said(done)
        assert [fact.kind for fact in done.facts] == [FactKind.REFUND_SUCCEEDED]
        assert await _ours(sandbox) == [("captured", 1234_56, 34_56)]
        # What the core does not yet say of the payment is asked for.
        short = RefundRequest(
            refund_id="re_test_2",
            provider_key="QKR9",
            provider_reference=INVOICE,
            amount_minor=1_00,
            currency="THB",
            created_at=refund.created_at,
        )
        assert isinstance(await adapter.refund(account, short), Accepted)
        assert await _ours(sandbox) == [("captured", 1234_56, 35_56)]


async def test_an_empty_day_has_a_statement_and_faults_leave_it_for_later(sandbox: Sandbox, account: ProviderAccount):
    today = business_date_of(real_now())
    await sandbox.pass_days(1)
    async with ProviderHttp(timeout_seconds=10) as http:
        adapter = TwoC2p(http)
        await _fault(sandbox, "statement", "server_error")
        with pytest.raises(StatementUnavailable):
            await adapter.statements(account, today)
        (file,) = await adapter.statements(account, today)
        assert parse_settlement(file.content).lines == ()
        stranger = replace(account, credentials={**account.credentials, "secret_key": "another"})
        with pytest.raises(StatementUnavailable, match="401"):
            await adapter.statements(stranger, today)
