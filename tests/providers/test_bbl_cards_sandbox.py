"""The adapter speaks to the sandbox as it would to iPay; afterwards the sandbox's own books are looked at."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from gateway.foundation.clock import business_date_of, real_now
from gateway.providers.base import (
    Declined,
    FactKind,
    Inquiry,
    Method,
    NotAttempted,
    Unknown,
)
from gateway.sandbox.client import SandboxRefused
from reconciliation.statements.base import LineKind
from reconciliation.statements.registry import format_of
from tests.providers.bbl_sandbox import (
    KEY,
    callback_of,
    capture_request,
    charge_in_books,
    charge_request,
    kinds_of,
    opened,
    refund_request,
    submit,
)
from tests.sandbox.conftest import WORLD, Sandbox


async def test_card_is_paid_on_the_page_told_by_datafeed_and_voided_the_same_day(sandbox: Sandbox, bbl_at_sandbox, bbl):
    request = charge_request(Method.CARD)
    charged = await bbl.charge(bbl_at_sandbox, request)
    assert (charged.next_action.type, charged.next_action.redirect_url) == (
        "submit_form",
        f"{sandbox.url}/bbl/ipay/payment/payForm.jsp",
    )
    assert (await sandbox.books())["charges"] == []
    assert await bbl.inquire(bbl_at_sandbox, KEY, request.created_at) == Inquiry(found=False)
    assert (await submit(charged.next_action)).status_code == 200
    # Sent again under the same key, the form opens the same page: one order is payable once.
    again = await bbl.charge(bbl_at_sandbox, request)
    assert again == charged
    assert (await submit(again.next_action)).status_code == 200
    assert await bbl.inquire(bbl_at_sandbox, KEY, request.created_at) == Inquiry(found=False)
    (paid,) = await sandbox.control.pay(world=WORLD, provider="bbl", reference=KEY)
    assert (await submit(again.next_action)).status_code == 400
    with pytest.raises(SandboxRefused):
        await sandbox.control.pay(world=WORLD, provider="bbl", reference=KEY)
    told = (await sandbox.gateway.wait_for(1))[0]
    assert told.headers["content-type"] == "application/x-www-form-urlencoded"
    parsed = bbl.parse_callback(bbl_at_sandbox, callback_of(told))
    assert (parsed.event_id, parsed.inquire) == (f"{paid.transaction_id}-0", (KEY,))
    assert bbl.callback_reply(bbl_at_sandbox, callback_of(told), "evt_1").body == b"OK"
    inquiry = await bbl.inquire(bbl_at_sandbox, KEY, request.created_at)
    (fact,) = inquiry.facts
    assert (fact.kind, fact.provider_transaction_id, fact.amount_minor) == (
        FactKind.CAPTURED,
        paid.transaction_id,
        1234_50,
    )
    # The method is not told, so iPay is asked whether it knows the order.
    refund = refund_request(None, captured_at=fact.occurred_at)
    assert await bbl.inquire_refund(bbl_at_sandbox, refund) == Inquiry(found=False)
    refunded = await bbl.refund(bbl_at_sandbox, refund)
    assert kinds_of(refunded) == [FactKind.REFUND_SUCCEEDED]
    assert kinds_of(await bbl.refund(bbl_at_sandbox, refund)) == [FactKind.REFUND_SUCCEEDED]
    assert kinds_of(await bbl.inquire_refund(bbl_at_sandbox, refund)) == [FactKind.REFUND_SUCCEEDED]
    assert kinds_of(await bbl.inquire(bbl_at_sandbox, KEY, request.created_at)) == [FactKind.CAPTURED]
    assert await charge_in_books(sandbox) == ("captured", 1234_50, 1234_50)


async def test_card_is_refunded_after_settlement_and_the_report_says_so(sandbox: Sandbox, bbl_at_sandbox, bbl):
    await opened(bbl, bbl_at_sandbox)
    (paid,) = await sandbox.control.pay(world=WORLD, provider="bbl", reference=KEY)
    refund = refund_request(Method.CARD, captured_at=real_now())
    today = business_date_of(real_now())
    await sandbox.pass_days(1)
    # The bank has settled it, though our request says the same day: the void is refused, the refund is not.
    pending = await bbl.refund(bbl_at_sandbox, refund)
    assert kinds_of(pending) == [FactKind.REFUND_PENDING]
    assert kinds_of(await bbl.refund(bbl_at_sandbox, refund)) == [FactKind.REFUND_PENDING]
    await sandbox.pass_days(2)
    found = await bbl.inquire_refund(bbl_at_sandbox, refund)
    assert (kinds_of(found), found.facts[0].provider_transaction_id) == (
        [FactKind.REFUND_SUCCEEDED],
        paid.transaction_id,
    )
    assert await charge_in_books(sandbox) == ("captured", 1234_50, 1234_50)
    await sandbox.pass_days(3)
    lines = []
    for days in range(3):
        (file,) = await bbl.statements(bbl_at_sandbox, today + timedelta(days=days))
        lines += format_of(file.source).parse(file.content).lines
    # 2.8 % of the amount, 7 % VAT on it; a refund leaves the fee.
    assert [
        (line.kind, line.amount_minor, line.fee_minor, line.vat_minor, line.references[0].value) for line in lines
    ] == [
        (LineKind.PAYMENT, 1197_51, 34_57, 2_42, paid.transaction_id),
        (LineKind.REFUND, -1234_50, 0, 0, paid.transaction_id),
    ]


async def test_card_refund_that_the_bank_does_not_approve_fails_later(sandbox: Sandbox, bbl_at_sandbox, bbl):
    await opened(bbl, bbl_at_sandbox)
    await sandbox.control.pay(world=WORLD, provider="bbl", reference=KEY)
    await sandbox.pass_days(1)
    await sandbox.control.add_fault(
        world=WORLD, provider="bbl", operation="refund", fault="refund_fails_later", times=2
    )
    refund = refund_request(Method.CARD, captured_at=real_now() - timedelta(days=1))
    assert kinds_of(await bbl.refund(bbl_at_sandbox, refund)) == [FactKind.REFUND_PENDING]
    await sandbox.pass_days(2)
    failed = await bbl.inquire_refund(bbl_at_sandbox, refund)
    assert (kinds_of(failed), failed.facts[0].provider_reference) == ([FactKind.REFUND_FAILED], "QKR2026000001")
    assert kinds_of(await bbl.inquire(bbl_at_sandbox, KEY, real_now())) == [FactKind.CAPTURED]
    assert await charge_in_books(sandbox) == ("captured", 1234_50, 0)


async def test_card_is_authorised_captured_in_part_and_refunded_once_settled(sandbox: Sandbox, bbl_at_sandbox, bbl):
    await opened(bbl, bbl_at_sandbox, capture_later=True)
    (paid,) = await sandbox.control.pay(world=WORLD, provider="bbl", reference=KEY)
    inquiry = await bbl.inquire(bbl_at_sandbox, KEY, real_now())
    assert (kinds_of(inquiry), inquiry.facts[0].provider_transaction_id) == ([FactKind.AUTHORIZED], paid.transaction_id)
    too_much = await bbl.capture(bbl_at_sandbox, capture_request(1234_51))
    assert (type(too_much), too_much.failure_code) == (Declined, "capture_refused")
    captured = await bbl.capture(bbl_at_sandbox, capture_request(1000_00))
    (fact,) = captured.facts
    assert (fact.kind, fact.provider_reference, fact.provider_transaction_id, fact.amount_minor) == (
        FactKind.CAPTURED,
        KEY,
        paid.transaction_id,
        1000_00,
    )
    assert kinds_of(await bbl.capture(bbl_at_sandbox, capture_request(1000_00))) == [FactKind.CAPTURED]
    refund = refund_request(Method.CARD, amount_minor=1000_00, captured_minor=1000_00, captured_at=fact.occurred_at)
    # A void would look like an authorisation that was given up, so it waits for the settlement.
    waits = await bbl.refund(bbl_at_sandbox, refund)
    assert (type(waits), waits.reason) == (NotAttempted, "not settled yet")
    assert (type(await bbl.cancel(bbl_at_sandbox, KEY)), await charge_in_books(sandbox)) == (
        Declined,
        ("captured", 1000_00, 0),
    )
    await sandbox.pass_days(1)
    assert kinds_of(await bbl.refund(bbl_at_sandbox, refund)) == [FactKind.REFUND_PENDING]


async def test_authorisation_is_given_up_and_an_open_page_is_not(sandbox: Sandbox, bbl_at_sandbox, bbl):
    await opened(bbl, bbl_at_sandbox, capture_later=True)
    refused = await bbl.cancel(bbl_at_sandbox, KEY)
    assert (type(refused), refused.failure_code) == (Declined, "not_cancelable")
    await sandbox.control.pay(world=WORLD, provider="bbl", reference=KEY)
    for _ in range(2):
        assert kinds_of(await bbl.cancel(bbl_at_sandbox, KEY)) == [FactKind.VOIDED]
    assert kinds_of(await bbl.inquire(bbl_at_sandbox, KEY, real_now())) == [FactKind.VOIDED]
    late = await bbl.capture(bbl_at_sandbox, capture_request())
    assert (type(late), late.failure_code) == (Declined, "capture_refused")
    assert await charge_in_books(sandbox) == ("voided", 0, 0)


async def _column(sandbox: Sandbox, name: str) -> dict[str, object]:
    return {each["reference"]: each[name] for each in (await sandbox.books())["charges"] if each["provider"] == "bbl"}


@pytest.mark.parametrize(
    ("fault", "kind", "acted"),
    [
        ("timeout_before", Unknown, False),
        ("timeout_after", Unknown, True),
        ("server_error", Unknown, False),
        ("malformed", Unknown, True),
        ("decline", Declined, False),
    ],
)
async def test_faults_of_cancel_capture_and_card_void(
    sandbox: Sandbox, bbl_at_sandbox, bbl, hasty_bbl, *, fault, kind, acted
):
    account, details = bbl_at_sandbox, {"world": WORLD, "provider": "bbl", "fault": fault, "seconds": 5}
    to_cancel, to_capture, sale = "QK2026000002", "QK2026000003", "QK2026000004"
    for key in (to_cancel, to_capture, sale):
        await opened(bbl, account, provider_key=key, capture_later=key != sale)
        await sandbox.control.pay(world=WORLD, provider="bbl", reference=key)
    capture = replace(capture_request(), charge_key=to_capture)
    refund = refund_request(Method.CARD, charge_key=sale)

    adapter = hasty_bbl if fault.startswith("timeout") else bbl
    await sandbox.control.add_fault(operation="cancel", **details)
    assert isinstance(await adapter.cancel(account, to_cancel), kind)
    await sandbox.control.add_fault(operation="capture", **details)
    assert isinstance(await adapter.capture(account, capture), kind)
    # A refused void is followed by a refused refund.
    await sandbox.control.add_fault(operation="refund", times=2 if fault == "decline" else 1, **details)
    assert isinstance(await adapter.refund(account, refund), kind)
    assert await _column(sandbox, "status") == {
        to_cancel: "voided" if acted else "authorized",
        to_capture: "captured" if acted else "authorized",
        sale: "captured",
    }
    assert await _column(sandbox, "refunded_minor") == {to_cancel: 0, to_capture: 0, sale: 1234_50 if acted else 0}

    # Asked again, each is done, and done once.
    assert kinds_of(await bbl.cancel(account, to_cancel)) == [FactKind.VOIDED]
    assert kinds_of(await bbl.capture(account, capture)) == [FactKind.CAPTURED]
    assert kinds_of(await bbl.refund(account, refund)) == [FactKind.REFUND_SUCCEEDED]
    assert await _column(sandbox, "received_minor") == {to_cancel: 0, to_capture: 1234_50, sale: 1234_50}
    assert await _column(sandbox, "refunded_minor") == {to_cancel: 0, to_capture: 0, sale: 1234_50}


async def test_card_that_is_refused_is_declined_until_another_one_pays(sandbox: Sandbox, bbl_at_sandbox, bbl):
    for code, ours, theirs in (
        ("insufficient_fund", "insufficient_funds", "1/51"),
        ("stolen_or_lost_card", "lost_or_stolen_card", "1/43"),
        ("payment_rejected", "do_not_honor", "1/05"),
        ("expired_card", "expired_card", "1/54"),
        ("failed_3d_secure", "authentication_failed", "3/0"),
        ("failed_fraud_check", "suspected_fraud", "-8/0"),
        ("failed_processing", "processing_error", "-9/0"),
    ):
        await sandbox.control.add_fault(world=WORLD, provider="bbl", operation="charge", fault="decline", code=code)
        await opened(bbl, bbl_at_sandbox)
        (fact,) = (await bbl.inquire(bbl_at_sandbox, KEY, real_now())).facts
        assert (fact.kind, fact.failure_code, fact.provider_code) == (FactKind.DECLINED, ours, theirs)
        assert (fact.provider_reference, fact.provider_transaction_id) == (KEY, KEY)
    told = await sandbox.gateway.wait_for(1)
    assert bbl.parse_callback(bbl_at_sandbox, callback_of(told[0])).event_id.endswith("-1")
    await opened(bbl, bbl_at_sandbox)
    (paid,) = await sandbox.control.pay(world=WORLD, provider="bbl", reference=KEY)
    (fact,) = (await bbl.inquire(bbl_at_sandbox, KEY, real_now())).facts
    assert (fact.kind, fact.provider_transaction_id) == (FactKind.CAPTURED, paid.transaction_id)
