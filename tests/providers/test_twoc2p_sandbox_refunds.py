"""Voids and refunds of 2C2P against the sandbox's 2C2P: each moves money once, and the statement shows it."""

from datetime import timedelta

from msgspec.structs import replace

from gateway.foundation.clock import business_date_of, real_now
from gateway.providers.base import (
    Accepted,
    Declined,
    FactKind,
    Inquiry,
    Method,
    NotAttempted,
    RefundRequest,
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
    refund_of,
    request_of,
    said,
    tomorrow_at,
)
from tests.sandbox.conftest import WORLD, Sandbox


async def test_partial_refund_waits_for_the_settlement_and_ends_later(sandbox: Sandbox):
    account = await account_in(sandbox)
    request = request_of()
    async with ProviderHttp(timeout_seconds=10) as http:
        adapter = TwoC2p(http)
        await adapter.charge(account, request)
        transaction_id = await let_pay(sandbox)
        early = await adapter.refund(account, refund_of(request, 200_00))
        assert isinstance(early, NotAttempted)
        assert await books_of(sandbox) == [("captured", 1234_56, 0)]
        await sandbox.pass_days(1)
        refund = refund_of(request, 200_00, days=1)
        assert await adapter.inquire_refund(account, refund) == Inquiry(found=False)
        pending = await adapter.refund(account, refund)
        assert isinstance(pending, Accepted)
        ((kind, reference, refund_id, amount_minor),) = said(pending)
        assert (kind, reference, amount_minor) == (FactKind.REFUND_PENDING, "QKR1", 200_00)
        assert pending.provider_references == ("QKR1", refund_id)
        # The same request again, and the question for it, tell of the same refund.
        assert said(await adapter.refund(account, refund)) == said(pending)
        assert said(await adapter.inquire_refund(account, refund)) == said(pending)
        assert await books_of(sandbox) == [("captured", 1234_56, 200_00)]
        await sandbox.control.move_clock(world=WORLD, offset_seconds=86_400 + 60)
        told = (await sandbox.gateway.wait_for(2))[-1]
        assert said(adapter.parse_callback(account, callback_of(told))) == [
            (FactKind.REFUND_SUCCEEDED, refund_id, refund_id, 200_00)
        ]
        assert said(await adapter.inquire_refund(account, refund)) == [
            (FactKind.REFUND_SUCCEEDED, "QKR1", refund_id, 200_00)
        ]
        assert said(await adapter.inquire(account, INVOICE, request.created_at)) == [
            (FactKind.CAPTURED, INVOICE, transaction_id, 1234_56)
        ]
        too_much = await adapter.refund(account, refund_of(request, 1100_00, "QKR2", days=1))
        assert isinstance(too_much, Declined)
        assert (too_much.failure_code, too_much.provider_code) == ("refund_refused", "40")
        assert await books_of(sandbox) == [("captured", 1234_56, 200_00)]
        await sandbox.pass_days(2)
        (file,) = await adapter.statements(account, business_date_of(real_now() + timedelta(days=1)))
        (line,) = parse_settlement(file.content).lines
        assert (line.kind, line.amount_minor, line.fee_minor, line.vat_minor) == (LineKind.REFUND, -200_00, 0, 0)
        assert line.references[0] == LineReference("2c2p", refund_id)


async def test_whole_payment_is_voided_on_its_day(sandbox: Sandbox):
    account = await account_in(sandbox)
    now = await tomorrow_at(sandbox, 10)
    request = request_of(Method.CARD, card_token=await card_token(sandbox), created_at=now, expires_at=None)
    refund = replace(refund_of(request, 1234_56), created_at=now)
    async with ProviderHttp(timeout_seconds=10) as http:
        adapter = TwoC2p(http)
        charged = await adapter.charge(account, request)
        assert isinstance(charged, Accepted)
        assert charged.next_action is not None
        assert charged.next_action.type == "redirect"
        transaction_id = await let_pay(sandbox)
        await order_fault(sandbox, "refund", "decline")
        declined = await adapter.refund(account, refund)
        assert isinstance(declined, Declined)
        assert (declined.failure_code, declined.provider_code) == ("refund_refused", "25")
        assert await books_of(sandbox) == [("captured", 1234_56, 0)]
        voided = [(FactKind.REFUND_SUCCEEDED, "QKR1", f"{transaction_id}V", 1234_56)]
        for done in (
            await adapter.refund(account, refund),
            await adapter.refund(account, refund),
            await adapter.inquire_refund(account, refund),
        ):
            assert said(done) == voided
        # Another refund moves nothing, and its fact bears the id of the void that is known already.
        other = await adapter.refund(account, replace(refund, provider_key="QKR2"))
        assert isinstance(other, Accepted)
        assert other.facts[0].provider_transaction_id == f"{transaction_id}V"
        assert await books_of(sandbox) == [("captured", 1234_56, 1234_56)]
        assert said(await adapter.inquire(account, INVOICE, now)) == [
            (FactKind.CAPTURED, INVOICE, transaction_id, 1234_56)
        ]
        await sandbox.pass_days(2)
        (file,) = await adapter.statements(account, business_date_of(now))
        paid, back = parse_settlement(file.content).lines
        assert (paid.kind, back.kind) == (LineKind.PAYMENT, LineKind.REVERSAL)
        # 2.8 % and 7 % of it, both given back.
        assert (paid.amount_minor, paid.fee_minor, paid.vat_minor) == (1197_57, 34_57, 2_42)
        assert (back.amount_minor, back.fee_minor, back.vat_minor) == (-1197_57, -34_57, -2_42)
        assert back.references[0] == LineReference("2c2p", f"{transaction_id}V")


async def test_after_the_cut_off_nothing_is_given_back_before_the_settlement(sandbox: Sandbox):
    account = await account_in(sandbox)
    now = await tomorrow_at(sandbox, 21, 30)
    request = request_of(created_at=now, expires_at=None)
    refund = replace(refund_of(request, 1234_56), created_at=now)
    async with ProviderHttp(timeout_seconds=10) as http:
        adapter = TwoC2p(http)
        await adapter.charge(account, request)
        await let_pay(sandbox)
        assert isinstance(await adapter.refund(account, refund), NotAttempted)
        # A clock that is behind 2C2P's makes no difference.
        early = replace(refund, created_at=now - timedelta(hours=1))
        assert isinstance(await adapter.refund(account, early), NotAttempted)
        assert await books_of(sandbox) == [("captured", 1234_56, 0)]
        await sandbox.pass_days(2)
        assert isinstance(await adapter.refund(account, refund), Accepted)
        assert await books_of(sandbox) == [("captured", 1234_56, 1234_56)]


async def test_whole_payment_is_refunded_when_it_is_settled(sandbox: Sandbox):
    account = await account_in(sandbox)
    request = request_of(Method.CARD, card_token=await card_token(sandbox))
    async with ProviderHttp(timeout_seconds=10) as http:
        adapter = TwoC2p(http)
        await adapter.charge(account, request)
        transaction_id = await let_pay(sandbox)
        await sandbox.pass_days(1)
        # Asked for on the day of the payment, done on the next: the void is refused as too late, so it is refunded.
        done = await adapter.refund(account, refund_of(request, 1234_56))
        assert isinstance(done, Accepted)
        assert done.facts[0].kind is FactKind.REFUND_SUCCEEDED
        assert done.facts[0].provider_transaction_id != f"{transaction_id}V"
        again = await adapter.refund(account, refund_of(request, 1234_56, "QKR2", days=1))
        assert isinstance(again, Unknown | Accepted)
        assert await books_of(sandbox) == [("captured", 1234_56, 1234_56)]


async def test_refund_that_fails_later(sandbox: Sandbox):
    account = await account_in(sandbox)
    request = request_of(Method.TRUEMONEY)
    async with ProviderHttp(timeout_seconds=10) as http:
        adapter = TwoC2p(http)
        await adapter.charge(account, request)
        transaction_id = await let_pay(sandbox)
        await sandbox.pass_days(1)
        await order_fault(sandbox, "refund", "refund_fails_later", seconds=30)
        refund = refund_of(request, 100_00, days=1)
        pending = await adapter.refund(account, refund)
        assert isinstance(pending, Accepted)
        assert pending.facts[0].kind is FactKind.REFUND_PENDING
        await sandbox.control.move_clock(world=WORLD, offset_seconds=86_400 + 60)
        told = (await sandbox.gateway.wait_for(2))[-1]
        (failed,) = adapter.parse_callback(account, callback_of(told)).facts
        assert (failed.kind, failed.provider_reference) == (
            FactKind.REFUND_FAILED,
            pending.facts[0].provider_transaction_id,
        )
        inquiry = await adapter.inquire_refund(account, refund)
        assert isinstance(inquiry, Inquiry)
        assert inquiry.facts[0].kind is FactKind.REFUND_FAILED
        assert await books_of(sandbox) == [("captured", 1234_56, 0)]
        assert said(await adapter.inquire(account, INVOICE, request.created_at)) == [
            (FactKind.CAPTURED, INVOICE, transaction_id, 1234_56)
        ]


async def test_faults_of_a_refund_move_money_once(sandbox: Sandbox):
    account = await account_in(sandbox)
    request = request_of(Method.CARD, card_token=await card_token(sandbox))
    async with ProviderHttp(timeout_seconds=10) as http:
        await TwoC2p(http).charge(account, request)
    await let_pay(sandbox)
    await sandbox.pass_days(1)
    refund = refund_of(request, 34_56, days=1)
    async with ProviderHttp(timeout_seconds=10) as http:
        adapter = TwoC2p(http)
        await order_fault(sandbox, "refund", "decline")
        declined = await adapter.refund(account, refund)
        assert isinstance(declined, Declined)
        assert (declined.failure_code, declined.provider_code) == ("refund_refused", "44")
        assert await books_of(sandbox) == [("captured", 1234_56, 0)]
        await order_fault(sandbox, "refund", "server_error")
        assert isinstance(await adapter.refund(account, refund), Unknown)
        assert await books_of(sandbox) == [("captured", 1234_56, 0)]
    async with ProviderHttp(timeout_seconds=1) as http:
        for fault in ("timeout_before", "timeout_after"):
            await order_fault(sandbox, "refund", fault, seconds=1.2)
            assert isinstance(await TwoC2p(http).refund(account, refund), Unknown), fault
    async with ProviderHttp(timeout_seconds=10) as http:
        adapter = TwoC2p(http)
        await order_fault(sandbox, "refund", "malformed")
        assert isinstance(await adapter.refund(account, refund), Unknown)
        assert await books_of(sandbox) == [("captured", 1234_56, 34_56)]
        for fault in ("server_error", "malformed"):
            await order_fault(sandbox, "inquiry", fault)
            assert isinstance(await adapter.inquire_refund(account, refund), Unknown), fault
        found = await adapter.inquire_refund(account, refund)
        done = await adapter.refund(account, refund)
        assert said(found) == said(done)
        assert [fact.kind for fact in done.facts] == [FactKind.REFUND_SUCCEEDED]
        assert await books_of(sandbox) == [("captured", 1234_56, 34_56)]
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
        assert await books_of(sandbox) == [("captured", 1234_56, 35_56)]
