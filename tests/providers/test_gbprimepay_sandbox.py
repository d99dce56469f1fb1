"""The adapter and the sandbox's GBPrimePay over HTTP: whole lives of charges."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from gateway.foundation.clock import business_date_of, real_now
from gateway.providers.base import (
    Accepted,
    Declined,
    FactKind,
    Inquiry,
    Method,
    NotAttempted,
    StatementUnavailable,
)
from gateway.providers.gbprimepay import Gbprimepay
from gateway.providers.http import ProviderHttp
from reconciliation.statements.base import LineKind, LineReference
from reconciliation.statements.gbprimepay import FORMAT
from tests.providers.gbprimepay_life import (
    KEY,
    REDIRECTS,
    REFERENCE,
    account_of,
    begin,
    callback_of,
    card_token,
    charges_of,
    facts_of,
    refund_of,
    request_of,
    submit,
)
from tests.sandbox.conftest import Sandbox
from tests.sandbox.gbprimepay import DECLINED_CARD, GBP


@pytest.fixture
async def adapter():
    async with ProviderHttp(timeout_seconds=10) as http:
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


async def test_card_is_voided_on_its_day_and_the_statement_shows_it_to_the_satang(
    sandbox: Sandbox, adapter: Gbprimepay
):
    account, request = account_of(sandbox), request_of(Method.CARD)
    await begin(adapter, sandbox, request)
    (paid,) = await sandbox.control.pay(**GBP, reference=KEY)
    refund = refund_of(request)
    assert await adapter.inquire_refund(account, refund) == Inquiry(found=False)
    voided = await adapter.refund(account, refund)
    assert isinstance(voided, Accepted)
    (back,) = voided.facts
    assert (back.kind, back.amount_minor, back.provider_reference) == (
        FactKind.REFUND_SUCCEEDED,
        1234_50,
        refund.provider_key,
    )
    found = await adapter.inquire_refund(account, refund)
    assert isinstance(found, Inquiry)
    (asked,) = found.facts
    assert asked.provider_transaction_id == back.provider_transaction_id != paid.transaction_id
    # Sent again, it is the same void.
    again = await adapter.refund(account, refund)
    assert isinstance(again, Accepted)
    assert [fact.provider_transaction_id for fact in again.facts] == [back.provider_transaction_id]
    # The money did come, so the inquiry goes on saying so.
    assert [fact.kind for fact in await facts_of(adapter, sandbox)] == [FactKind.CAPTURED]
    (charge,) = await charges_of(sandbox)
    assert (charge["received_minor"], charge["refunded_minor"]) == (1234_50, 1234_50)

    today = business_date_of(real_now())
    with pytest.raises(StatementUnavailable):
        await adapter.statements(account, today)
    await sandbox.pass_days(1)
    (file,) = await adapter.statements(account, today)
    assert (file.source, file.name) == (FORMAT.source, f"gbprimepay-settlement-{today:%Y%m%d}.csv")
    statement = FORMAT.parse(file.content)
    assert statement.rejects == ()
    payment, void = statement.lines
    assert (payment.kind, payment.amount_minor, payment.fee_minor, payment.vat_minor) == (
        LineKind.PAYMENT,
        1197_51,
        34_57,
        2_42,
    )
    assert payment.references == (
        LineReference("gbprimepay", paid.transaction_id),
        LineReference("gbprimepay", REFERENCE, strong=False),
    )
    assert (void.kind, void.amount_minor, void.fee_minor, void.vat_minor) == (
        LineKind.REVERSAL,
        -1197_51,
        -34_57,
        -2_42,
    )
    assert void.references[0] == LineReference("gbprimepay", back.provider_transaction_id)
    assert business_date_of(payment.occurred_at or real_now()) == payment.value_on == today


async def test_wallet_is_refunded_in_parts_once_it_is_settled(sandbox: Sandbox, adapter: Gbprimepay):
    account, request = account_of(sandbox), request_of(Method.TRUEMONEY, amount_minor=1000_00)
    await begin(adapter, sandbox, request)
    await sandbox.control.pay(**GBP, reference=KEY)
    early = await adapter.refund(account, refund_of(request, amount_minor=400_00))
    assert early == NotAttempted(reason="the payment is not settled yet", provider_code="25")
    assert (await charges_of(sandbox))[0]["refunded_minor"] == 0
    await sandbox.pass_days(1)
    tomorrow = request.created_at + timedelta(days=1)
    for number, amount_minor in enumerate((400_00, 600_00)):
        refund = refund_of(request, key=f"QKR000000000000000{number:02d}", amount_minor=amount_minor)
        done = await adapter.refund(account, replace(refund, created_at=tomorrow))
        assert isinstance(done, Accepted)
        assert [(fact.kind, fact.amount_minor) for fact in done.facts] == [(FactKind.REFUND_SUCCEEDED, amount_minor)]
    over = await adapter.refund(account, refund_of(request, amount_minor=1, created_at=tomorrow))
    assert isinstance(over, Declined)
    assert (over.failure_code, over.provider_code) == ("refund_refused", "61")
    (charge,) = await charges_of(sandbox)
    assert (charge["received_minor"], charge["refunded_minor"]) == (1000_00, 1000_00)
    await sandbox.pass_days(2)
    (file,) = await adapter.statements(account, business_date_of(tomorrow))
    assert [(line.kind, line.amount_minor, line.fee_minor) for line in FORMAT.parse(file.content).lines] == [
        (LineKind.REFUND, -400_00, 0),
        (LineKind.REFUND, -600_00, 0),
    ]


async def test_void_and_refund_take_each_others_place_when_the_settlement_says_so(
    sandbox: Sandbox, adapter: Gbprimepay
):
    account, request = account_of(sandbox), request_of(Method.CARD)
    await begin(adapter, sandbox, request)
    await sandbox.control.pay(**GBP, reference=KEY)
    # We believe that it is settled, and it is not: the refund comes too early, the void does it.
    believed = refund_of(request, created_at=request.created_at + timedelta(days=1))
    assert isinstance(await adapter.refund(account, believed), Accepted)
    other = request_of(Method.CARD, key="QK20260000000000EFGH")
    await begin(adapter, sandbox, other)
    await sandbox.control.pay(**GBP, reference=other.provider_key)
    await sandbox.pass_days(1)
    # We do not know when it was paid, and it is settled: the void comes too late, the refund does it.
    late = refund_of(other, key="QKR2026000000000EFGH", captured_at=None)
    assert isinstance(await adapter.refund(account, late), Accepted)
    assert isinstance(await adapter.refund(account, late), Accepted)
    assert [charge["refunded_minor"] for charge in await charges_of(sandbox)] == [1234_50, 1234_50]
    for number, method in enumerate((Method.PROMPTPAY, Method.MOBILE_BANKING)):
        refused = await adapter.refund(account, replace(refund_of(request), method=method))
        assert isinstance(refused, Declined)
        assert refused.failure_code == "refund_not_supported"
        third = request_of(method, key=f"QK2026000000000000{number:02d}")
        await begin(adapter, sandbox, third)
        await sandbox.control.pay(**GBP, reference=third.provider_key)
        # The method is read from the payment where the request does not say it.
        assert await adapter.refund(account, replace(refund_of(third), method=None)) == refused


async def test_declined_card_is_told_and_proved_by_inquiry(sandbox: Sandbox, adapter: Gbprimepay):
    token = await card_token(sandbox, number=DECLINED_CARD)
    await begin(adapter, sandbox, request_of(Method.CARD, card_token=token))
    (told,) = await sandbox.gateway.wait_for(1)
    assert told.fields["resultCode"] == "51"
    assert adapter.parse_callback(account_of(sandbox), callback_of(told)).inquire == (KEY,)
    (fact,) = await facts_of(adapter, sandbox)
    assert (fact.kind, fact.failure_code, fact.provider_code) == (FactKind.DECLINED, "insufficient_funds", "51")
    assert fact.provider_transaction_id == KEY
    (charge,) = await charges_of(sandbox)
    assert (charge["status"], charge["received_minor"]) == ("failed", 0)


async def test_forged_callback_leads_to_an_inquiry_that_says_no(sandbox: Sandbox, adapter: Gbprimepay):
    for method in (Method.PROMPTPAY, Method.SHOPEEPAY):
        request = request_of(method, key=f"QK20260000000000{method.name[:4]}")
        await begin(adapter, sandbox, request)
        await sandbox.control.forge(**GBP, reference=request.provider_key)
        told = (await sandbox.gateway.wait_for(1 if method is Method.PROMPTPAY else 2))[-1]
        parsed = adapter.parse_callback(account_of(sandbox), callback_of(told))
        assert (parsed.inquire, parsed.facts) == ((request.provider_key,), ())
        assert [fact.kind for fact in await facts_of(adapter, sandbox, request.provider_key)] == [FactKind.PENDING]
    assert [charge["received_minor"] for charge in await charges_of(sandbox)] == [0, 0]


async def test_qr_paid_twice_or_wrongly_shows_every_payment(sandbox: Sandbox, adapter: Gbprimepay):
    request = request_of(Method.PROMPTPAY)
    first = await begin(adapter, sandbox, request)
    # Asked again under the same key, as after a lost answer: another QR, whose payment the same inquiry shows.
    second = await begin(adapter, sandbox, request)
    assert first.next_action is not None
    assert second.next_action is not None
    texts = [str(first.next_action.qr_data), str(second.next_action.qr_data)]
    assert texts[0] != texts[1]
    paid = [
        *await sandbox.control.pay(**GBP, reference=texts[0], transaction_count=2),
        *await sandbox.control.pay(**GBP, reference=texts[1], amount_minor=1000_00),
    ]
    facts = await facts_of(adapter, sandbox)
    assert {(fact.provider_transaction_id, fact.amount_minor) for fact in facts} == {
        (paid[0].transaction_id, 1234_50),
        (paid[1].transaction_id, 1234_50),
        (paid[2].transaction_id, 1000_00),
    }
    assert {(fact.kind, fact.provider_reference) for fact in facts} == {(FactKind.CAPTURED, KEY)}
    refused = await adapter.refund(account_of(sandbox), replace(refund_of(request), method=Method.CARD))
    assert refused == NotAttempted(reason=f"3 payments under {KEY}")


async def test_form_posted_twice_or_declined_is_one_charge(sandbox: Sandbox, adapter: Gbprimepay):
    account, request = account_of(sandbox), request_of(Method.SHOPEEPAY)
    charged = await adapter.charge(account, request)
    assert isinstance(charged, Accepted)
    # Nobody was called: the charge begins in the payer's browser.
    assert await charges_of(sandbox) == []
    assert await adapter.inquire(account, KEY, request.created_at) == Inquiry(found=False)
    assert await adapter.charge(account, request) == charged
    for _ in range(2):
        assert "Confirm" in await submit(sandbox, charged.next_action)
    assert len(await charges_of(sandbox)) == 1
    await sandbox.control.add_fault(**GBP, operation="charge", fault="decline", code="insufficient_fund")
    other = request_of(Method.MOBILE_BANKING, key="QK20260000000000EFGH")
    begun = await adapter.charge(account, other)
    assert isinstance(begun, Accepted)
    assert "declined" in await submit(sandbox, begun.next_action)
    (fact,) = await facts_of(adapter, sandbox, other.provider_key)
    assert (fact.kind, fact.provider_code) == (FactKind.DECLINED, "51")
    (told,) = await sandbox.gateway.wait_for(1)
    assert b"resultCode=51" in told.body
