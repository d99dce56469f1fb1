"""The adapter speaks to the sandbox as it would to Bangkok Bank; afterwards the sandbox's own books are looked at."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from gateway.foundation.clock import business_date_of, real_now
from gateway.providers.base import (
    Accepted,
    CallbackRejected,
    Declined,
    FactKind,
    Inquiry,
    NotAttempted,
    StatementUnavailable,
    Unknown,
)
from reconciliation.statements.base import LineKind
from reconciliation.statements.registry import format_of
from tests.providers.bbl_sandbox import (
    KEY,
    callback_of,
    charge_in_books,
    charge_request,
    kinds_of,
    noon_of_tomorrow,
    opened,
    refund_request,
)
from tests.sandbox.conftest import WORLD, Sandbox


async def test_qr_is_paid_told_inquired_and_voided_to_the_satang(sandbox: Sandbox, bbl_at_sandbox, bbl):
    request = charge_request()
    charged = await bbl.charge(bbl_at_sandbox, request)
    assert kinds_of(charged) == [FactKind.PENDING]
    assert charged.next_action.type == "display_qr_code"
    assert await bbl.inquire(bbl_at_sandbox, KEY, request.created_at) == Inquiry(found=False)
    (paid,) = await sandbox.control.pay(world=WORLD, provider="bbl", reference=charged.next_action.qr_data)
    told = (await sandbox.gateway.wait_for(1))[0]
    parsed = bbl.parse_callback(bbl_at_sandbox, callback_of(told))
    assert (parsed.inquire, parsed.facts) == ((KEY,), ())
    reply = bbl.callback_reply(bbl_at_sandbox, callback_of(told), "evt_1")
    assert reply.headers == {
        "Request-Ref": told.headers["request-ref"],
        "Transmit-Date-Time": told.headers["transmit-date-time"],
    }
    inquiry = await bbl.inquire(bbl_at_sandbox, parsed.inquire[0], parsed.inquire_about)
    (fact,) = inquiry.facts
    assert (fact.kind, fact.provider_reference, fact.provider_transaction_id, fact.amount_minor) == (
        FactKind.CAPTURED,
        KEY,
        paid.transaction_id,
        1234_50,
    )
    refund = refund_request(captured_at=fact.occurred_at)
    assert await bbl.inquire_refund(bbl_at_sandbox, refund) == Inquiry(found=False)
    late = replace(refund, created_at=refund.created_at + timedelta(days=1))
    assert (await bbl.refund(bbl_at_sandbox, late)).failure_code == "refund_window_closed"
    part = await bbl.refund(bbl_at_sandbox, replace(refund, amount_minor=1_00))
    assert (type(part), part.failure_code) == (Declined, "partial_refund_not_supported")
    assert await charge_in_books(sandbox) == ("captured", 1234_50, 0)


async def test_qr_is_voided_once_and_the_report_says_so(sandbox: Sandbox, bbl_at_sandbox, bbl):
    ahead = await noon_of_tomorrow(sandbox)
    request = charge_request(created_at=real_now() + ahead)
    await bbl.charge(bbl_at_sandbox, request)
    await bbl.charge(bbl_at_sandbox, replace(request, provider_key="QK2026000002", amount_minor=100_00))
    (paid,) = await sandbox.control.pay(world=WORLD, provider="bbl", reference=KEY)
    (other,) = await sandbox.control.pay(world=WORLD, provider="bbl", reference="QK2026000002")
    # The method is not told, so iPay is asked whether it knows the order.
    refund = refund_request(None, captured_minor=None, created_at=real_now() + ahead)
    refunded = await bbl.refund(bbl_at_sandbox, refund)
    assert kinds_of(refunded) == [FactKind.REFUND_SUCCEEDED]
    (fact,) = refunded.facts
    assert (fact.provider_reference, fact.provider_transaction_id) == ("QKR2026000001", paid.transaction_id)
    assert kinds_of(await bbl.refund(bbl_at_sandbox, refund)) == [FactKind.REFUND_SUCCEEDED]
    found = await bbl.inquire_refund(bbl_at_sandbox, refund)
    assert (kinds_of(found), found.facts[0].provider_transaction_id) == (
        [FactKind.REFUND_SUCCEEDED],
        paid.transaction_id,
    )
    assert kinds_of(await bbl.inquire(bbl_at_sandbox, KEY, request.created_at)) == [FactKind.CAPTURED]
    today = business_date_of(request.created_at)
    with pytest.raises(StatementUnavailable):
        await bbl.statements(bbl_at_sandbox, today)
    await sandbox.control.move_clock(world=WORLD, offset_seconds=int((ahead + timedelta(days=1)).total_seconds()))
    (file,) = await bbl.statements(bbl_at_sandbox, today)
    assert file.name == f"bbl-9999-{today:%Y%m%d}.csv"
    lines = format_of(file.source).parse(file.content).lines
    # 0.8 % of the amount, 7 % VAT on it; the void gives both back.
    assert [
        (line.kind, line.amount_minor, line.fee_minor, line.vat_minor, line.references[0].value) for line in lines
    ] == [
        (LineKind.PAYMENT, 1223_93, 9_88, 69, paid.transaction_id),
        (LineKind.PAYMENT, 99_14, 80, 6, other.transaction_id),
        (LineKind.REVERSAL, -1223_93, -9_88, -69, paid.transaction_id),
    ]
    assert {line.references[1].value for line in lines} == {KEY, "QK2026000002"}


async def test_qr_paid_twice_late_or_wrongly_is_seen_as_often_as_it_was_paid(sandbox: Sandbox, bbl_at_sandbox, bbl):
    request = charge_request()
    await bbl.charge(bbl_at_sandbox, request)
    first, second = await sandbox.control.pay(world=WORLD, provider="bbl", reference=KEY, transaction_count=2)
    await sandbox.control.pay(world=WORLD, provider="bbl", reference=KEY, amount_minor=1_00)
    inquiry = await bbl.inquire(bbl_at_sandbox, KEY, request.created_at)
    assert [fact.amount_minor for fact in inquiry.facts] == [1234_50, 1234_50, 1_00]
    ids = [fact.provider_transaction_id for fact in inquiry.facts]
    assert ids[:2] == [first.transaction_id, second.transaction_id]
    assert len(set(ids)) == 3
    # Which of the two is meant nobody can tell, so nothing is asked.
    assert isinstance(await bbl.refund(bbl_at_sandbox, refund_request()), NotAttempted)
    assert await charge_in_books(sandbox) == ("captured", 2470_00, 0)


async def test_qr_charged_again_is_the_same_qr_until_it_is_paid(sandbox: Sandbox, bbl_at_sandbox, bbl):
    request = charge_request()
    first = await bbl.charge(bbl_at_sandbox, request)
    again = await bbl.charge(bbl_at_sandbox, request)
    # The bank says the text once only; ours, from bill and amount, is the same to the letter.
    assert (kinds_of(again), again.next_action) == ([FactKind.PENDING], first.next_action)
    await sandbox.control.pay(world=WORLD, provider="bbl", reference=KEY)
    assert kinds_of(await bbl.charge(bbl_at_sandbox, request)) == [FactKind.CAPTURED]
    assert await charge_in_books(sandbox) == ("captured", 1234_50, 0)


@pytest.mark.parametrize(
    ("fault", "kind", "charges"),
    [
        ("timeout_before", Unknown, 0),
        ("timeout_after", Unknown, 1),
        ("server_error", Unknown, 0),
        ("malformed", Unknown, 1),
        ("decline", Declined, 0),
        ("slow", Accepted, 1),
    ],
)
async def test_faults_of_a_qr_charge(sandbox: Sandbox, bbl_at_sandbox, bbl, hasty_bbl, *, fault, kind, charges):
    await sandbox.control.add_fault(
        world=WORLD, provider="bbl", operation="charge", fault=fault, seconds=0.2 if fault == "slow" else 5
    )
    adapter = hasty_bbl if fault.startswith("timeout") else bbl
    assert isinstance(await adapter.charge(bbl_at_sandbox, charge_request()), kind)
    assert len((await sandbox.books())["charges"]) == charges


async def test_faults_of_token_inquiry_and_statement(sandbox: Sandbox, bbl_at_sandbox, bbl):
    for fault in ("server_error", "malformed"):
        await sandbox.control.add_fault(world=WORLD, provider="bbl", operation="token", fault=fault)
        assert isinstance(await bbl.charge(bbl_at_sandbox, charge_request()), NotAttempted)
    assert (await sandbox.books())["charges"] == []
    await bbl.charge(bbl_at_sandbox, charge_request())
    await sandbox.control.pay(world=WORLD, provider="bbl", reference=KEY)
    for fault in ("server_error", "malformed"):
        # Both products are asked, and neither can answer.
        await sandbox.control.add_fault(world=WORLD, provider="bbl", operation="inquiry", fault=fault, times=2)
        assert isinstance(await bbl.inquire(bbl_at_sandbox, KEY, real_now()), Unknown)
    assert kinds_of(await bbl.inquire(bbl_at_sandbox, KEY, real_now())) == [FactKind.CAPTURED]
    today = business_date_of(real_now())
    await sandbox.pass_days(1)
    await sandbox.control.add_fault(world=WORLD, provider="bbl", operation="statement", fault="server_error")
    with pytest.raises(StatementUnavailable):
        await bbl.statements(bbl_at_sandbox, today)


@pytest.mark.parametrize(
    ("fault", "kind", "returned_minor"),
    [
        ("timeout_before", Unknown, 0),
        ("timeout_after", Unknown, 1234_50),
        ("server_error", Unknown, 0),
        ("malformed", Unknown, 1234_50),
        ("decline", Declined, 0),
    ],
)
async def test_faults_of_a_qr_void(sandbox: Sandbox, bbl_at_sandbox, bbl, hasty_bbl, *, fault, kind, returned_minor):
    now = real_now() + await noon_of_tomorrow(sandbox)
    refund = refund_request(created_at=now)
    await bbl.charge(bbl_at_sandbox, charge_request(created_at=now))
    await sandbox.control.pay(world=WORLD, provider="bbl", reference=KEY)
    await sandbox.control.add_fault(world=WORLD, provider="bbl", operation="refund", fault=fault, seconds=5)
    adapter = hasty_bbl if fault.startswith("timeout") else bbl
    assert isinstance(await adapter.refund(bbl_at_sandbox, refund), kind)
    assert await charge_in_books(sandbox) == ("captured", 1234_50, returned_minor)
    # Asked again, it is done once.
    assert kinds_of(await bbl.refund(bbl_at_sandbox, refund)) == [FactKind.REFUND_SUCCEEDED]
    assert await charge_in_books(sandbox) == ("captured", 1234_50, 1234_50)


async def test_forged_callbacks_move_nothing(sandbox: Sandbox, bbl_at_sandbox, bbl):
    await bbl.charge(bbl_at_sandbox, charge_request())
    await sandbox.control.forge(world=WORLD, provider="bbl", reference=KEY)
    told = (await sandbox.gateway.wait_for(1))[0]
    # It carries no signature, so it is only a reason to ask, and the bank knows of nothing.
    parsed = bbl.parse_callback(bbl_at_sandbox, callback_of(told))
    assert await bbl.inquire(bbl_at_sandbox, parsed.inquire[0], parsed.inquire_about) == Inquiry(found=False)
    await opened(bbl, bbl_at_sandbox, provider_key="QK2026000002")
    await sandbox.control.forge(world=WORLD, provider="bbl", reference="QK2026000002")
    told = (await sandbox.gateway.wait_for(2))[1]
    with pytest.raises(CallbackRejected) as rejected:
        bbl.parse_callback(bbl_at_sandbox, callback_of(told))
    assert rejected.value.code == "signature_invalid"
    assert [each["received_minor"] for each in (await sandbox.books())["charges"]] == [0, 0]
