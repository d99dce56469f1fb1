"""The adapter speaks to the sandbox as it would to Bangkok Bank; afterwards the sandbox's own books are looked at."""

from datetime import datetime, timedelta

import httpx
import pytest
from msgspec.structs import replace

from gateway.foundation.clock import BANGKOK, business_date_of, real_now
from gateway.providers.base import (
    Accepted,
    Callback,
    CallbackRejected,
    CaptureRequest,
    ChargeRequest,
    Declined,
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
from gateway.providers.bbl import Bbl
from gateway.providers.http import ProviderHttp
from gateway.sandbox.client import SandboxRefused
from reconciliation.statements.base import LineKind
from reconciliation.statements.registry import format_of
from tests.providers.bbl_account import CREDENTIALS, account_at
from tests.sandbox.conftest import WORLD, Sandbox, Told

KEY = "QK2026000001"
BEFORE_THE_CUT_OFF = datetime(2026, 1, 1, 10, tzinfo=BANGKOK)


@pytest.fixture
async def bbl():
    async with ProviderHttp(timeout_seconds=10) as http:
        yield Bbl(http)


@pytest.fixture
async def hasty():
    """The same with little patience."""
    async with ProviderHttp(timeout_seconds=1) as http:
        yield Bbl(http)


@pytest.fixture
async def account(sandbox: Sandbox) -> ProviderAccount:
    callback_url = f"{sandbox.gateway.root}/callbacks/bbl"
    await sandbox.control.register_account(
        world=WORLD, provider="bbl", credentials=CREDENTIALS, callback_url=callback_url
    )
    return account_at(f"{sandbox.url}/bbl")


def _request(method: Method = Method.PROMPTPAY, **changes) -> ChargeRequest:
    now = real_now()
    request = ChargeRequest(
        attempt_id="att_test_1",
        provider_key=KEY,
        method=method,
        amount_minor=1234_50,
        currency="THB",
        created_at=now,
        expires_at=now + timedelta(minutes=15),
        return_url="https://shop.invalid/back",
    )
    return replace(request, **changes)


def _refund(method: Method | None = Method.PROMPTPAY, **changes) -> RefundRequest:
    request = RefundRequest(
        refund_id="re_test_1",
        provider_key="QKR2026000001",
        provider_reference=KEY,
        amount_minor=1234_50,
        currency="THB",
        created_at=real_now(),
        charge_key=KEY,
        method=method,
        captured_minor=1234_50,
    )
    return replace(request, **changes)


def _capture(amount_minor: int = 1234_50) -> CaptureRequest:
    return CaptureRequest(
        capture_id="cap_test_1",
        provider_key="QKC2026000001",
        provider_reference=KEY,
        charge_key=KEY,
        method=Method.CARD,
        amount_minor=amount_minor,
        authorized_minor=1234_50,
        currency="THB",
        created_at=real_now(),
    )


def _kinds(result: object) -> list[FactKind]:
    assert isinstance(result, Accepted | Declined | Inquiry), result
    return [fact.kind for fact in result.facts]


def _callback(told: Told) -> Callback:
    return Callback(headers=told.headers, body=told.body, received_at=real_now())


async def _submit(action: NextAction | None) -> httpx.Response:
    """What the payer's browser does."""
    assert action is not None
    assert action.redirect_url is not None
    async with httpx.AsyncClient(timeout=40) as browser:
        return await browser.post(action.redirect_url, data=dict(action.form_fields or {}))


async def _opened(bbl: Bbl, account: ProviderAccount, **changes) -> Accepted:
    """A card charge whose page the payer has opened."""
    charged = await bbl.charge(account, _request(Method.CARD, **changes))
    assert isinstance(charged, Accepted)
    page = await _submit(charged.next_action)
    assert page.status_code == 200, page.text
    return charged


async def _charge_in_books(sandbox: Sandbox) -> tuple[str, int, int]:
    (charge,) = (each for each in (await sandbox.books())["charges"] if each["provider"] == "bbl")
    return charge["status"], charge["received_minor"], charge["refunded_minor"]


async def test_qr_is_paid_told_inquired_and_voided_to_the_satang(sandbox: Sandbox, account, bbl):
    request = _request()
    charged = await bbl.charge(account, request)
    assert _kinds(charged) == [FactKind.PENDING]
    assert charged.next_action.type == "display_qr_code"
    assert await bbl.inquire(account, KEY, request.created_at) == Inquiry(found=False)
    (paid,) = await sandbox.control.pay(world=WORLD, provider="bbl", reference=charged.next_action.qr_data)
    told = (await sandbox.gateway.wait_for(1))[0]
    parsed = bbl.parse_callback(account, _callback(told))
    assert (parsed.inquire, parsed.facts) == ((KEY,), ())
    reply = bbl.callback_reply(account, _callback(told), "evt_1")
    assert reply.headers == {
        "Request-Ref": told.headers["request-ref"],
        "Transmit-Date-Time": told.headers["transmit-date-time"],
    }
    inquiry = await bbl.inquire(account, parsed.inquire[0], parsed.inquire_about)
    (fact,) = inquiry.facts
    assert (fact.kind, fact.provider_reference, fact.provider_transaction_id, fact.amount_minor) == (
        FactKind.CAPTURED,
        KEY,
        paid.transaction_id,
        1234_50,
    )
    refund = _refund(captured_at=fact.occurred_at)
    assert await bbl.inquire_refund(account, refund) == Inquiry(found=False)
    late = replace(refund, created_at=refund.created_at + timedelta(days=1))
    assert (await bbl.refund(account, late)).failure_code == "refund_window_closed"
    part = await bbl.refund(account, replace(refund, amount_minor=1_00))
    assert (type(part), part.failure_code) == (Declined, "partial_refund_not_supported")
    assert await _charge_in_books(sandbox) == ("captured", 1234_50, 0)


async def test_qr_is_voided_once_and_the_report_says_so(sandbox: Sandbox, account, bbl):
    if real_now().astimezone(BANGKOK).hour == 23:
        pytest.skip("nothing is voided between 23:00 and midnight in Bangkok")
    request = _request()
    await bbl.charge(account, request)
    await bbl.charge(account, _request(provider_key="QK2026000002", amount_minor=100_00))
    (paid,) = await sandbox.control.pay(world=WORLD, provider="bbl", reference=KEY)
    (other,) = await sandbox.control.pay(world=WORLD, provider="bbl", reference="QK2026000002")
    # The method is not told, so iPay is asked whether it knows the order.
    refund = _refund(None, captured_minor=None)
    refunded = await bbl.refund(account, refund)
    assert _kinds(refunded) == [FactKind.REFUND_SUCCEEDED]
    (fact,) = refunded.facts
    assert (fact.provider_reference, fact.provider_transaction_id) == ("QKR2026000001", paid.transaction_id)
    assert _kinds(await bbl.refund(account, refund)) == [FactKind.REFUND_SUCCEEDED]
    found = await bbl.inquire_refund(account, refund)
    assert (_kinds(found), found.facts[0].provider_transaction_id) == (
        [FactKind.REFUND_SUCCEEDED],
        paid.transaction_id,
    )
    assert _kinds(await bbl.inquire(account, KEY, request.created_at)) == [FactKind.CAPTURED]
    today = business_date_of(real_now())
    with pytest.raises(StatementUnavailable):
        await bbl.statements(account, today)
    await sandbox.pass_days(1)
    (file,) = await bbl.statements(account, today)
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


async def test_qr_paid_twice_late_or_wrongly_is_seen_as_often_as_it_was_paid(sandbox: Sandbox, account, bbl):
    request = _request()
    await bbl.charge(account, request)
    first, second = await sandbox.control.pay(world=WORLD, provider="bbl", reference=KEY, transaction_count=2)
    await sandbox.control.pay(world=WORLD, provider="bbl", reference=KEY, amount_minor=1_00)
    inquiry = await bbl.inquire(account, KEY, request.created_at)
    assert [fact.amount_minor for fact in inquiry.facts] == [1234_50, 1234_50, 1_00]
    ids = [fact.provider_transaction_id for fact in inquiry.facts]
    assert ids[:2] == [first.transaction_id, second.transaction_id]
    assert len(set(ids)) == 3
    # Which of the two is meant nobody can tell, so nothing is asked.
    assert isinstance(await bbl.refund(account, _refund()), NotAttempted)
    assert await _charge_in_books(sandbox) == ("captured", 2470_00, 0)


async def test_qr_charged_again_is_unknown_until_it_is_paid(sandbox: Sandbox, account, bbl):
    request = _request()
    await bbl.charge(account, request)
    again = await bbl.charge(account, request)
    assert isinstance(again, Unknown)
    await sandbox.control.pay(world=WORLD, provider="bbl", reference=KEY)
    assert _kinds(await bbl.charge(account, request)) == [FactKind.CAPTURED]
    assert await _charge_in_books(sandbox) == ("captured", 1234_50, 0)


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
async def test_faults_of_a_qr_charge(sandbox: Sandbox, account, hasty, fault, kind, charges):
    await sandbox.control.add_fault(
        world=WORLD, provider="bbl", operation="charge", fault=fault, seconds=0.2 if fault == "slow" else 3
    )
    assert isinstance(await hasty.charge(account, _request()), kind)
    assert len((await sandbox.books())["charges"]) == charges


async def test_faults_of_token_inquiry_and_statement(sandbox: Sandbox, account, hasty):
    for fault in ("server_error", "malformed"):
        await sandbox.control.add_fault(world=WORLD, provider="bbl", operation="token", fault=fault)
        assert isinstance(await hasty.charge(account, _request()), NotAttempted)
    assert (await sandbox.books())["charges"] == []
    await hasty.charge(account, _request())
    await sandbox.control.pay(world=WORLD, provider="bbl", reference=KEY)
    for fault in ("server_error", "malformed"):
        # Both products are asked; the one that cannot answer spoils nothing that the other knows.
        await sandbox.control.add_fault(world=WORLD, provider="bbl", operation="inquiry", fault=fault, times=2)
        assert isinstance(await hasty.inquire(account, KEY, real_now()), Unknown)
    assert _kinds(await hasty.inquire(account, KEY, real_now())) == [FactKind.CAPTURED]
    today = business_date_of(real_now())
    await sandbox.pass_days(1)
    await sandbox.control.add_fault(world=WORLD, provider="bbl", operation="statement", fault="server_error")
    with pytest.raises(StatementUnavailable):
        await hasty.statements(account, today)


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
async def test_faults_of_a_qr_void(sandbox: Sandbox, account, hasty, fault, kind, returned_minor):
    if real_now().astimezone(BANGKOK).hour == 23:
        pytest.skip("nothing is voided between 23:00 and midnight in Bangkok")
    await hasty.charge(account, _request())
    await sandbox.control.pay(world=WORLD, provider="bbl", reference=KEY)
    await sandbox.control.add_fault(world=WORLD, provider="bbl", operation="refund", fault=fault, seconds=3)
    assert isinstance(await hasty.refund(account, _refund()), kind)
    assert await _charge_in_books(sandbox) == ("captured", 1234_50, returned_minor)
    # Asked again, it is done once.
    assert _kinds(await hasty.refund(account, _refund())) == [FactKind.REFUND_SUCCEEDED]
    assert await _charge_in_books(sandbox) == ("captured", 1234_50, 1234_50)


async def test_card_is_paid_on_the_page_told_by_datafeed_and_voided_the_same_day(sandbox: Sandbox, account, bbl):
    request = _request(Method.CARD)
    charged = await bbl.charge(account, request)
    assert (charged.next_action.type, charged.next_action.redirect_url) == (
        "submit_form",
        f"{sandbox.url}/bbl/ipay/payment/payForm.jsp",
    )
    assert (await sandbox.books())["charges"] == []
    assert await bbl.inquire(account, KEY, request.created_at) == Inquiry(found=False)
    assert (await _submit(charged.next_action)).status_code == 200
    # Sent again under the same key, the form opens the same page: one order is payable once.
    again = await bbl.charge(account, request)
    assert again == charged
    assert (await _submit(again.next_action)).status_code == 200
    assert await bbl.inquire(account, KEY, request.created_at) == Inquiry(found=False)
    (paid,) = await sandbox.control.pay(world=WORLD, provider="bbl", reference=KEY)
    assert (await _submit(again.next_action)).status_code == 400
    with pytest.raises(SandboxRefused):
        await sandbox.control.pay(world=WORLD, provider="bbl", reference=KEY)
    told = (await sandbox.gateway.wait_for(1))[0]
    assert told.headers["content-type"] == "application/x-www-form-urlencoded"
    parsed = bbl.parse_callback(account, _callback(told))
    assert (parsed.event_id, parsed.inquire) == (f"{paid.transaction_id}-0", (KEY,))
    assert bbl.callback_reply(account, _callback(told), "evt_1").body == b"OK"
    inquiry = await bbl.inquire(account, KEY, request.created_at)
    (fact,) = inquiry.facts
    assert (fact.kind, fact.provider_transaction_id, fact.amount_minor) == (
        FactKind.CAPTURED,
        paid.transaction_id,
        1234_50,
    )
    # The method is not told, so iPay is asked whether it knows the order.
    refund = _refund(None, captured_at=fact.occurred_at)
    assert await bbl.inquire_refund(account, refund) == Inquiry(found=False)
    refunded = await bbl.refund(account, refund)
    assert _kinds(refunded) == [FactKind.REFUND_SUCCEEDED]
    assert _kinds(await bbl.refund(account, refund)) == [FactKind.REFUND_SUCCEEDED]
    assert _kinds(await bbl.inquire_refund(account, refund)) == [FactKind.REFUND_SUCCEEDED]
    assert _kinds(await bbl.inquire(account, KEY, request.created_at)) == [FactKind.CAPTURED]
    assert await _charge_in_books(sandbox) == ("captured", 1234_50, 1234_50)


async def test_card_is_refunded_after_settlement_and_the_report_says_so(sandbox: Sandbox, account, bbl):
    await _opened(bbl, account)
    (paid,) = await sandbox.control.pay(world=WORLD, provider="bbl", reference=KEY)
    refund = _refund(Method.CARD, captured_at=real_now())
    today = business_date_of(real_now())
    await sandbox.pass_days(1)
    # The bank has settled it, though our request says the same day: the void is refused, the refund is not.
    pending = await bbl.refund(account, refund)
    assert _kinds(pending) == [FactKind.REFUND_PENDING]
    assert _kinds(await bbl.refund(account, refund)) == [FactKind.REFUND_PENDING]
    await sandbox.pass_days(2)
    found = await bbl.inquire_refund(account, refund)
    assert (_kinds(found), found.facts[0].provider_transaction_id) == (
        [FactKind.REFUND_SUCCEEDED],
        paid.transaction_id,
    )
    assert await _charge_in_books(sandbox) == ("captured", 1234_50, 1234_50)
    await sandbox.pass_days(3)
    lines = []
    for days in range(3):
        (file,) = await bbl.statements(account, today + timedelta(days=days))
        lines += format_of(file.source).parse(file.content).lines
    # 2.8 % of the amount, 7 % VAT on it; a refund leaves the fee.
    assert [
        (line.kind, line.amount_minor, line.fee_minor, line.vat_minor, line.references[0].value) for line in lines
    ] == [
        (LineKind.PAYMENT, 1197_51, 34_57, 2_42, paid.transaction_id),
        (LineKind.REFUND, -1234_50, 0, 0, paid.transaction_id),
    ]


async def test_card_refund_that_the_bank_does_not_approve_fails_later(sandbox: Sandbox, account, bbl):
    await _opened(bbl, account)
    await sandbox.control.pay(world=WORLD, provider="bbl", reference=KEY)
    await sandbox.pass_days(1)
    await sandbox.control.add_fault(
        world=WORLD, provider="bbl", operation="refund", fault="refund_fails_later", times=2
    )
    refund = _refund(Method.CARD, captured_at=real_now() - timedelta(days=1))
    assert _kinds(await bbl.refund(account, refund)) == [FactKind.REFUND_PENDING]
    await sandbox.pass_days(2)
    failed = await bbl.inquire_refund(account, refund)
    assert (_kinds(failed), failed.facts[0].provider_reference) == ([FactKind.REFUND_FAILED], "QKR2026000001")
    assert _kinds(await bbl.inquire(account, KEY, real_now())) == [FactKind.CAPTURED]
    assert await _charge_in_books(sandbox) == ("captured", 1234_50, 0)


async def test_card_is_authorised_captured_in_part_and_refunded_once_settled(sandbox: Sandbox, account, bbl):
    await _opened(bbl, account, capture_later=True)
    (paid,) = await sandbox.control.pay(world=WORLD, provider="bbl", reference=KEY)
    inquiry = await bbl.inquire(account, KEY, real_now())
    assert (_kinds(inquiry), inquiry.facts[0].provider_transaction_id) == ([FactKind.AUTHORIZED], paid.transaction_id)
    too_much = await bbl.capture(account, _capture(1234_51))
    assert (type(too_much), too_much.failure_code) == (Declined, "capture_refused")
    captured = await bbl.capture(account, _capture(1000_00))
    (fact,) = captured.facts
    assert (fact.kind, fact.provider_reference, fact.provider_transaction_id, fact.amount_minor) == (
        FactKind.CAPTURED,
        KEY,
        paid.transaction_id,
        1000_00,
    )
    assert _kinds(await bbl.capture(account, _capture(1000_00))) == [FactKind.CAPTURED]
    refund = _refund(Method.CARD, amount_minor=1000_00, captured_minor=1000_00, captured_at=fact.occurred_at)
    # A void would look like an authorisation that was given up, so it waits for the settlement.
    waits = await bbl.refund(account, refund)
    assert (type(waits), waits.reason) == (NotAttempted, "not settled yet")
    assert (type(await bbl.cancel(account, KEY)), await _charge_in_books(sandbox)) == (
        Declined,
        ("captured", 1000_00, 0),
    )
    await sandbox.pass_days(1)
    assert _kinds(await bbl.refund(account, refund)) == [FactKind.REFUND_PENDING]


async def test_authorisation_is_given_up_and_an_open_page_is_not(sandbox: Sandbox, account, bbl):
    await _opened(bbl, account, capture_later=True)
    refused = await bbl.cancel(account, KEY)
    assert (type(refused), refused.failure_code) == (Declined, "not_cancelable")
    await sandbox.control.pay(world=WORLD, provider="bbl", reference=KEY)
    for _ in range(2):
        assert _kinds(await bbl.cancel(account, KEY)) == [FactKind.VOIDED]
    assert _kinds(await bbl.inquire(account, KEY, real_now())) == [FactKind.VOIDED]
    late = await bbl.capture(account, _capture())
    assert (type(late), late.failure_code) == (Declined, "capture_refused")
    assert await _charge_in_books(sandbox) == ("voided", 0, 0)


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
async def test_faults_of_capture_cancel_and_card_void(sandbox: Sandbox, account, hasty, fault, kind, acted):
    details = {"world": WORLD, "provider": "bbl", "fault": fault, "seconds": 3, "times": 2 if fault == "decline" else 1}
    await _opened(hasty, account, capture_later=True)
    await sandbox.control.pay(world=WORLD, provider="bbl", reference=KEY)
    for operation, act in (("cancel", lambda: hasty.cancel(account, KEY)),
                           ("capture", lambda: hasty.capture(account, _capture()))):  # fmt: skip
        if operation == "capture":
            await _opened(hasty, account, capture_later=True, provider_key="QK2026000002")
            await sandbox.control.pay(world=WORLD, provider="bbl", reference="QK2026000002")
            act = lambda: hasty.capture(account, replace(_capture(), charge_key="QK2026000002"))  # noqa: E731
        await sandbox.control.add_fault(operation=operation, **{**details, "times": 1})
        assert isinstance(await act(), kind)
        charges = {each["reference"]: each["status"] for each in (await sandbox.books())["charges"]}
        ended = {"cancel": (KEY, "voided"), "capture": ("QK2026000002", "captured")}[operation]
        assert charges[ended[0]] == (ended[1] if acted else "authorized")
        assert isinstance(await act(), Accepted)
    sale = "QK2026000003"
    await _opened(hasty, account, provider_key=sale)
    await sandbox.control.pay(world=WORLD, provider="bbl", reference=sale)
    await sandbox.control.add_fault(operation="refund", **details)
    refund = _refund(Method.CARD, charge_key=sale)
    assert isinstance(await hasty.refund(account, refund), kind)
    returned = {each["reference"]: each["refunded_minor"] for each in (await sandbox.books())["charges"]}
    assert returned[sale] == (1234_50 if acted else 0)
    assert _kinds(await hasty.refund(account, refund)) == [FactKind.REFUND_SUCCEEDED]
    returned = {each["reference"]: each["refunded_minor"] for each in (await sandbox.books())["charges"]}
    assert returned[sale] == 1234_50


async def test_card_that_is_refused_is_declined_until_another_one_pays(sandbox: Sandbox, account, bbl):
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
        await _opened(bbl, account)
        (fact,) = (await bbl.inquire(account, KEY, real_now())).facts
        assert (fact.kind, fact.failure_code, fact.provider_code) == (FactKind.DECLINED, ours, theirs)
        assert (fact.provider_reference, fact.provider_transaction_id) == (KEY, KEY)
    told = await sandbox.gateway.wait_for(1)
    assert bbl.parse_callback(account, _callback(told[0])).event_id.endswith("-1")
    await _opened(bbl, account)
    (paid,) = await sandbox.control.pay(world=WORLD, provider="bbl", reference=KEY)
    (fact,) = (await bbl.inquire(account, KEY, real_now())).facts
    assert (fact.kind, fact.provider_transaction_id) == (FactKind.CAPTURED, paid.transaction_id)


async def test_forged_callbacks_move_nothing(sandbox: Sandbox, account, bbl):
    await bbl.charge(account, _request())
    await sandbox.control.forge(world=WORLD, provider="bbl", reference=KEY)
    told = (await sandbox.gateway.wait_for(1))[0]
    # It carries no signature, so it is only a reason to ask, and the bank knows of nothing.
    parsed = bbl.parse_callback(account, _callback(told))
    assert await bbl.inquire(account, parsed.inquire[0], parsed.inquire_about) == Inquiry(found=False)
    await _opened(bbl, account, provider_key="QK2026000002")
    await sandbox.control.forge(world=WORLD, provider="bbl", reference="QK2026000002")
    told = (await sandbox.gateway.wait_for(2))[1]
    with pytest.raises(CallbackRejected) as rejected:
        bbl.parse_callback(account, _callback(told))
    assert rejected.value.code == "signature_invalid"
    assert [each["received_minor"] for each in (await sandbox.books())["charges"]] == [0, 0]
