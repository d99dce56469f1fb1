"""The 2C2P adapter against the sandbox's 2C2P, over HTTP: payments, faults, and what the books say then."""

import pytest
from msgspec.structs import replace

from gateway.foundation.clock import business_date_of, real_now
from gateway.providers.base import (
    Accepted,
    CallbackRejected,
    Declined,
    FactKind,
    Inquiry,
    Method,
    NotAttempted,
    StatementUnavailable,
    Unknown,
)
from gateway.providers.http import ProviderHttp
from gateway.providers.twoc2p import TwoC2p
from reconciliation.statements.base import LineKind, LineReference
from reconciliation.statements.twoc2p import parse_settlement
from tests.providers.twoc2p_support import INVOICE
from tests.providers.twoc2p_world import (
    account_in,
    books_of,
    callback_of,
    card_token,
    let_pay,
    order_fault,
    request_of,
    said,
)
from tests.sandbox.conftest import WORLD, Sandbox


async def test_thai_qr_from_charge_to_statement(sandbox: Sandbox):
    account = await account_in(sandbox)
    request = request_of()
    async with ProviderHttp(timeout_seconds=10) as http:
        adapter = TwoC2p(http)
        assert await adapter.inquire(account, INVOICE, request.created_at) == Inquiry(found=False)
        charged = await adapter.charge(account, request)
        assert isinstance(charged, Accepted)
        assert said(charged) == [(FactKind.PENDING, INVOICE, INVOICE, 1234_56)]
        assert charged.next_action is not None
        assert (charged.next_action.type, charged.next_action.expires_at) == ("display_qr_code", request.expires_at)
        assert "54071234.56" in (charged.next_action.qr_data or "")
        # Sent again, as after a lost answer: one charge, the same QR.
        assert await adapter.charge(account, request) == charged
        transaction_id = await let_pay(sandbox)
        captured = [(FactKind.CAPTURED, INVOICE, transaction_id, 1234_56)]
        (told,) = await sandbox.gateway.wait_for(1)
        parsed = adapter.parse_callback(account, callback_of(told))
        assert parsed.event_id == f"{INVOICE}:{transaction_id}:0000"
        assert said(parsed) == captured
        for reference in charged.provider_references:
            assert said(await adapter.inquire(account, reference, request.created_at)) == captured
        # Asked once more after the payment: it is told, and nothing new is payable.
        assert said(await adapter.charge(account, request)) == captured
        canceled = await adapter.cancel(account, charged.provider_references[1])
        assert isinstance(canceled, Declined)
        assert canceled.failure_code == "not_cancelable"
        assert await books_of(sandbox) == [("captured", 1234_56, 0)]
        today = business_date_of(real_now())
        with pytest.raises(StatementUnavailable):
            await adapter.statements(account, today)
        await sandbox.pass_days(1)
        (file,) = await adapter.statements(account, today)
        (movement,) = (await sandbox.books())["movements"]
        statement = parse_settlement(file.content)
        (line,) = statement.lines
        assert (file.source, line.kind, line.amount_minor) == ("2c2p_settlement", LineKind.PAYMENT, 1223_99)
        # 0.8 % of 1234.56, and 7 % of that.
        assert (line.fee_minor, line.vat_minor) == (9_88, 69) == (movement["fee_minor"], movement["fee_vat_minor"])
        assert line.references == (LineReference("2c2p", transaction_id), LineReference("2c2p", INVOICE, strong=False))
        assert line.batch_reference == movement["batch_id"] is not None
        assert line.value_on == today
        assert statement.rejects == ()
        # Settled and refunded it still tells of the payment.
        assert said(await adapter.inquire(account, INVOICE, request.created_at)) == captured


@pytest.mark.parametrize("operation", ["token", "charge"])
async def test_faults_of_a_charge_never_make_a_second_one(sandbox: Sandbox, operation: str):
    account = await account_in(sandbox)
    request = request_of()
    for fault in ("timeout_before", "server_error", "malformed", "timeout_after"):
        async with ProviderHttp(timeout_seconds=1 if fault.startswith("timeout") else 10) as http:
            await order_fault(sandbox, operation, fault, seconds=1.2)
            assert isinstance(await TwoC2p(http).charge(account, request), Unknown), fault
    async with ProviderHttp(timeout_seconds=10) as http:
        adapter = TwoC2p(http)
        await order_fault(sandbox, operation, "slow", seconds=0.1)
        charged = await adapter.charge(account, request)
        assert isinstance(charged, Accepted)
        assert charged.next_action is not None
        assert await books_of(sandbox) == [("pending", 0, 0)]
        await let_pay(sandbox, silent=True)
        inquiry = await adapter.inquire(account, INVOICE, request.created_at)
        assert isinstance(inquiry, Inquiry)
        assert [fact.kind for fact in inquiry.facts] == [FactKind.CAPTURED]


async def test_declines_of_a_charge(sandbox: Sandbox):
    account = await account_in(sandbox)
    async with ProviderHttp(timeout_seconds=10) as http:
        adapter = TwoC2p(http)
        await order_fault(sandbox, "charge", "decline", code="4051")
        request = request_of()
        for _ in range(2):
            outcome = await adapter.charge(account, request)
            assert isinstance(outcome, Declined)
            assert (outcome.failure_code, outcome.provider_code) == ("insufficient_funds", "4051")
            assert said(outcome) == [(FactKind.DECLINED, INVOICE, INVOICE, 1234_56)]
        (told,) = await sandbox.gateway.wait_for(1)
        assert said(adapter.parse_callback(account, callback_of(told))) == said(outcome)
        token = await card_token(sandbox, "payment_rejected")
        card = await adapter.charge(account, request_of(Method.CARD, card_token=token, provider_key="QK2"))
        assert isinstance(card, Declined)
        assert (card.failure_code, card.provider_code) == ("do_not_honor", "4005")
        used = await adapter.charge(account, request_of(Method.CARD, card_token=token, provider_key="QK3"))
        assert isinstance(used, Unknown)
        # Another request under a known invoice is refused, and nothing is believed of it.
        other = await adapter.charge(account, replace(request, amount_minor=1_00))
        assert isinstance(other, Declined)
        assert other.facts[0].amount_minor == 1234_56
        assert await books_of(sandbox) == [("failed", 0, 0), ("failed", 0, 0), ("pending", 0, 0)]


async def test_wallets_expire_and_are_canceled(sandbox: Sandbox):
    account = await account_in(sandbox)
    async with ProviderHttp(timeout_seconds=10) as http:
        adapter = TwoC2p(http)
        actions = {}
        for number, method in enumerate((Method.TRUEMONEY, Method.RABBIT_LINEPAY, Method.SHOPEEPAY)):
            charged = await adapter.charge(account, request_of(method, provider_key=f"QKW{number}"))
            assert isinstance(charged, Accepted)
            assert charged.next_action is not None
            actions[method] = (charged.next_action.type, charged.provider_references)
        assert [action for action, _ in actions.values()] == ["redirect", "redirect", "display_qr_code"]
        (key, token) = actions[Method.TRUEMONEY][1]
        assert isinstance(await adapter.cancel(account, key), NotAttempted)
        await order_fault(sandbox, "cancel", "decline")
        assert isinstance(await adapter.cancel(account, token), Declined)
        assert (await books_of(sandbox))[0] == ("pending", 0, 0)
        await order_fault(sandbox, "cancel", "server_error")
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
        late = await adapter.charge(account, request_of(Method.RABBIT_LINEPAY, provider_key="QKW1"))
        assert isinstance(late, Accepted)
        assert [fact.kind for fact in late.facts] == [FactKind.EXPIRED]
        assert await books_of(sandbox) == [("canceled", 0, 0), ("expired", 0, 0), ("expired", 0, 0)]


@pytest.mark.parametrize(("paid_minor", "code"), [(1000_00, "5016"), (2000_00, "5015")])
async def test_other_amount_is_told_as_it_came(sandbox: Sandbox, paid_minor: int, code: str):
    account = await account_in(sandbox)
    async with ProviderHttp(timeout_seconds=10) as http:
        adapter = TwoC2p(http)
        await adapter.charge(account, request_of())
        await sandbox.control.move_clock(world=WORLD, offset_seconds=1300)
        # Late, too: the payer's bank knows no expiry.
        transaction_id = await let_pay(sandbox, amount_minor=paid_minor)
        (told,) = await sandbox.gateway.wait_for(1)
        parsed = adapter.parse_callback(account, callback_of(told))
        assert parsed.event_id.endswith(code)
        captured = [(FactKind.CAPTURED, INVOICE, transaction_id, paid_minor)]
        assert said(parsed) == captured
        assert said(await adapter.inquire(account, INVOICE, real_now())) == captured


async def test_forged_notification_is_rejected(sandbox: Sandbox):
    account = await account_in(sandbox)
    async with ProviderHttp(timeout_seconds=10) as http:
        adapter = TwoC2p(http)
        await adapter.charge(account, request_of())
        await sandbox.control.forge(world=WORLD, provider="2c2p", reference=INVOICE)
        (told,) = await sandbox.gateway.wait_for(1)
        with pytest.raises(CallbackRejected, match="signature_invalid"):
            adapter.parse_callback(account, callback_of(told))
        inquiry = await adapter.inquire(account, INVOICE, real_now())
        assert isinstance(inquiry, Inquiry)
        assert [fact.kind for fact in inquiry.facts] == [FactKind.PENDING]


async def test_an_empty_day_has_a_statement_and_faults_leave_it_for_later(sandbox: Sandbox):
    account = await account_in(sandbox)
    today = business_date_of(real_now())
    await sandbox.pass_days(1)
    async with ProviderHttp(timeout_seconds=10) as http:
        adapter = TwoC2p(http)
        await order_fault(sandbox, "statement", "server_error")
        with pytest.raises(StatementUnavailable):
            await adapter.statements(account, today)
        (file,) = await adapter.statements(account, today)
        assert parse_settlement(file.content).lines == ()
        stranger = replace(account, credentials={**account.credentials, "secret_key": "another"})
        with pytest.raises(StatementUnavailable, match="401"):
            await adapter.statements(stranger, today)
