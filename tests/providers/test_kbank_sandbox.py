"""The adapter speaks to the sandbox's KBank as it would to the bank: money in, money back, and every fault."""

from datetime import timedelta
from decimal import Decimal

import msgspec
import pytest

from gateway.foundation.clock import business_date_of
from gateway.providers.base import (
    Accepted,
    CallbackRejected,
    Declined,
    FactKind,
    Inquiry,
    NotAttempted,
    ProviderAccount,
    StatementUnavailable,
    Unknown,
)
from gateway.providers.http import ProviderHttp
from gateway.providers.kbank import Kbank
from gateway.providers.kbank_wire import uid_of
from gateway.sandbox.client import SandboxRefused
from reconciliation.statements.base import LineKind, LineReference
from reconciliation.statements.kbank import parse
from tests.providers.kbank import KEY, REFUND_KEY
from tests.providers.kbank_requests import callback_of, card_request, qr_request, refund_request, said
from tests.sandbox.conftest import WORLD, Sandbox
from tests.sandbox.kbank import CREDENTIALS, DECLINED_CARDS, SECURED_CARD
from tests.sandbox.kbank import Kbank as Bank


@pytest.fixture
async def bank(sandbox: Sandbox) -> Bank:
    return await Bank.open(sandbox)


@pytest.fixture
async def kbank():
    async with ProviderHttp(timeout_seconds=10) as http:
        yield Kbank(http)


@pytest.fixture
def account(sandbox: Sandbox) -> ProviderAccount:
    return ProviderAccount(
        account_id="pa_test_kbank",
        book_id=7,
        provider="kbank",
        base_url=f"{sandbox.url}/kbank",
        callback_url="",
        livemode=False,
        credentials=CREDENTIALS,
    )


async def test_qr_is_paid_proved_voided_and_stands_in_the_report_to_the_satang(bank, kbank, account):
    request = qr_request(bank)
    charged = await kbank.charge(account, request)
    assert said(charged) == [(FactKind.PENDING, KEY, 100_50)]
    assert charged.provider_references == (KEY, uid_of(KEY))
    assert charged.next_action.type == "display_qr_code"
    assert charged.next_action.expires_at == request.created_at + timedelta(minutes=10)
    for reference in (KEY, uid_of(KEY)):
        waiting = await kbank.inquire(account, reference, request.created_at)
        assert (said(waiting), waiting.facts[0].provider_reference) == ([(FactKind.PENDING, KEY, 100_50)], KEY)

    number = await bank.pay(charged.next_action.qr_data)
    (told,) = await bank.sandbox.gateway.wait_for(1)
    parsed = kbank.parse_callback(account, callback_of(told))
    assert (parsed.event_id, parsed.inquire, parsed.facts) == (f"{uid_of(KEY)}-{number}", (uid_of(KEY),), ())
    proved = await kbank.inquire(account, parsed.inquire[0], bank.now)
    assert (said(proved), proved.facts[0].provider_reference) == ([(FactKind.CAPTURED, number, 100_50)], KEY)
    assert business_date_of(proved.facts[0].occurred_at) == business_date_of(bank.now)
    refused = await kbank.cancel(account, uid_of(KEY))
    assert (type(refused), refused.failure_code, refused.provider_code) == (Declined, "not_cancelable", "qr_paid")

    refund = refund_request(bank, request, uid_of(KEY), 100_50)
    assert await kbank.inquire_refund(account, refund) == Inquiry(found=False)
    part = await kbank.refund(account, msgspec.structs.replace(refund, amount_minor=50_00))
    assert (type(part), part.failure_code) == (Declined, "partial_refund_not_supported")
    assert await bank.movements() == [("payment", 100_50)]
    void_id = uid_of(REFUND_KEY)
    for _ in range(2):
        assert said(await kbank.refund(account, refund)) == [(FactKind.REFUND_SUCCEEDED, void_id, 100_50)]
    assert said(await kbank.inquire_refund(account, refund)) == [(FactKind.REFUND_SUCCEEDED, void_id, 100_50)]
    assert said(await kbank.inquire(account, KEY, bank.now)) == [(FactKind.CAPTURED, number, 100_50)]
    assert await bank.movements() == [("payment", 100_50), ("void", 100_50)]

    day = business_date_of(bank.now)
    with pytest.raises(StatementUnavailable):
        await kbank.statements(account, day)
    await bank.move(timedelta(days=1))
    (file,) = await kbank.statements(account, day)
    assert (file.source, file.name) == ("kbank_settlement", f"kbank-settlement-KB000000000001-{day:%Y%m%d}.csv")
    paid, voided = parse(file.content).lines
    # 0.8 % of 100.50 is 0.80, and 7 % of that is 0.06.
    assert (paid.kind, paid.amount_minor, paid.fee_minor, paid.vat_minor) == (LineKind.PAYMENT, 99_64, 80, 6)
    assert paid.references == (LineReference("kbank", number), LineReference("kbank", KEY, strong=False))
    assert (voided.kind, voided.amount_minor, voided.fee_minor, voided.vat_minor) == (
        LineKind.REVERSAL,
        -99_64,
        -80,
        -6,
    )
    assert voided.references[0] == LineReference("kbank", void_id)
    assert (paid.value_on, paid.batch_reference) == (day, None)


async def test_qr_that_is_settled_is_not_voided(bank, kbank, account):
    request = qr_request(bank)
    await kbank.charge(account, request)
    await bank.pay(KEY)
    await bank.move(timedelta(hours=13))
    late = await kbank.refund(account, refund_request(bank, request, uid_of(KEY), 100_50))
    assert (type(late), late.failure_code, late.provider_code) == (Declined, "refund_window_over", "")
    # Who does not know when the money came asks the bank, and the bank refuses.
    unaware = msgspec.structs.replace(refund_request(bank, request, uid_of(KEY), 100_50), captured_at=None)
    late = await kbank.refund(account, unaware)
    assert (type(late), late.failure_code, late.provider_code) == (Declined, "refund_window_over", "settlement_error")
    assert await bank.movements() == [("payment", 100_50)]
    day = business_date_of(bank.now)
    await bank.move(timedelta(days=2))
    (first,), (second,) = [await kbank.statements(account, day + timedelta(days=number)) for number in (0, 1)]
    (paid,) = parse(first.content).lines
    (batch,) = (await bank.sandbox.books())["batches"]
    assert paid.batch_reference == batch["id"]
    (transfer,) = parse(second.content).lines
    assert (transfer.kind, transfer.amount_minor, transfer.batch_reference) == (
        LineKind.TRANSFER,
        -99_64,
        batch["id"],
    )


async def test_qr_is_canceled_or_expires_and_neither_can_be_paid(bank, kbank, account):
    await kbank.charge(account, qr_request(bank))
    await kbank.charge(account, qr_request(bank, "QK2026000002ABCDEFGH"))
    for _ in range(2):
        assert await kbank.cancel(account, KEY) == Accepted(provider_references=(KEY,))
    assert said(await kbank.inquire(account, KEY, bank.now)) == [(FactKind.VOIDED, KEY, 100_50)]
    await bank.move(timedelta(minutes=10))
    other = await kbank.inquire(account, "QK2026000002ABCDEFGH", bank.now)
    assert said(other) == [(FactKind.EXPIRED, "QK2026000002ABCDEFGH", 100_50)]
    expired = await kbank.cancel(account, "QK2026000002ABCDEFGH")
    assert (type(expired), expired.provider_code) == (Declined, "qr_expired")
    unknown = await kbank.cancel(account, "QK2026000009ABCDEFGH")
    assert unknown == NotAttempted(reason="the bank knows no such QR", provider_code="invalid_origPartnerTxnUid")
    assert await kbank.inquire(account, "QK2026000009ABCDEFGH", bank.now) == Inquiry(found=False)
    assert [charge["status"] for charge in await bank.charges()] == ["canceled", "expired"]


@pytest.mark.parametrize("fault", ["timeout_before", "timeout_after", "server_error", "malformed"])
async def test_qr_whose_answer_is_lost_is_never_payable_twice(bank, account, fault):
    acts = fault in {"timeout_after", "malformed"}
    await bank.fault("charge", fault, seconds=3)
    request = qr_request(bank)
    async with ProviderHttp(timeout_seconds=2) as http:
        assert isinstance(await Kbank(http).charge(account, request), Unknown)
    async with ProviderHttp(timeout_seconds=10) as http:
        kbank = Kbank(http)
        again = await kbank.charge(account, request)
        # The text of a QR that was issued is not shown again, so nobody can pay it and nobody says that it is dead.
        assert isinstance(again, Unknown if acts else Accepted)
        assert len(await bank.charges()) == 1
        await bank.pay(KEY, silent=True)
        found = await kbank.charge(account, request)
        assert [fact.kind for fact in found.facts] == [FactKind.CAPTURED]
        assert await bank.movements() == [("payment", 100_50)]


async def test_qr_whose_answer_is_lost_is_cancelled_under_its_key_and_another_is_paid(bank, account):
    await bank.fault("charge", "timeout_after", seconds=3)
    first, second = qr_request(bank), qr_request(bank, "QK2026000009ABCDEFGH")
    async with ProviderHttp(timeout_seconds=2) as http:
        assert isinstance(await Kbank(http).charge(account, first), Unknown)
    async with ProviderHttp(timeout_seconds=10) as http:
        kbank = Kbank(http)
        unpaid = await kbank.inquire(account, KEY, bank.now)
        assert (unpaid.found, unpaid.next_action, [fact.kind for fact in unpaid.facts]) == (
            True,
            None,
            [FactKind.PENDING],
        )
        assert isinstance(await kbank.cancel(account, KEY), Accepted)
        with pytest.raises(SandboxRefused, match="not_payable"):
            await bank.pay(KEY, silent=True)
        assert isinstance(await kbank.charge(account, second), Accepted)
        await bank.pay(second.provider_key, silent=True)
        assert [charge["status"] for charge in await bank.charges()] == ["canceled", "captured"]
        assert await bank.movements() == [("payment", 100_50)]


async def test_faults_of_token_inquiry_cancel_and_void_leave_the_books_as_they_say(bank, account):
    request = qr_request(bank)
    async with ProviderHttp(timeout_seconds=10) as http:
        kbank = Kbank(http)
        await bank.fault("token", "server_error")
        assert isinstance(await kbank.charge(account, request), NotAttempted)
        await bank.fault("charge", "decline")
        declined = await kbank.charge(account, request)
        assert (declined.failure_code, declined.provider_code) == ("amount_too_large", "payment_exceed_limit")
        assert await bank.charges() == []
        await kbank.charge(account, request)
        for fault in ("server_error", "malformed"):
            await bank.fault("inquiry", fault)
            assert isinstance(await kbank.inquire(account, uid_of(KEY), bank.now), Unknown)
        await bank.fault("cancel", "decline")
        assert (await kbank.cancel(account, KEY)).failure_code == "not_cancelable"
        await bank.fault("cancel", "server_error")
        assert isinstance(await kbank.cancel(account, KEY), Unknown)
        assert [charge["status"] for charge in await bank.charges()] == ["pending"]
        await bank.pay(KEY)
        refund = refund_request(bank, request, uid_of(KEY), 100_50)
        await bank.fault("refund", "decline")
        assert (await kbank.refund(account, refund)).failure_code == "refund_window_over"
        await bank.fault("refund", "server_error")
        assert isinstance(await kbank.refund(account, refund), Unknown)
        await bank.fault("inquiry", "server_error")
        assert isinstance(await kbank.refund(account, refund), NotAttempted)
        assert await bank.movements() == [("payment", 100_50)]
        await bank.fault("refund", "malformed")
        assert isinstance(await kbank.refund(account, refund), Unknown)
        assert said(await kbank.refund(account, refund)) == [(FactKind.REFUND_SUCCEEDED, uid_of(REFUND_KEY), 100_50)]
        assert await bank.movements() == [("payment", 100_50), ("void", 100_50)]


async def test_forged_notifications_move_nothing(bank, kbank, account):
    await kbank.charge(account, qr_request(bank))
    await bank.sandbox.control.forge(world=WORLD, provider="kbank", reference=KEY)
    (told,) = await bank.sandbox.gateway.wait_for(1)
    parsed = kbank.parse_callback(account, callback_of(told))
    assert parsed.facts == ()
    asked = await kbank.inquire(account, parsed.inquire[0], bank.now)
    assert [fact.kind for fact in asked.facts] == [FactKind.PENDING]

    await kbank.charge(account, await card_request(bank, "QKCARD", number=SECURED_CARD))
    await bank.sandbox.control.forge(world=WORLD, provider="kbank", reference="QKCARD")
    told = (await bank.sandbox.gateway.wait_for(2))[1]
    with pytest.raises(CallbackRejected) as rejected:
        kbank.parse_callback(account, callback_of(told))
    assert rejected.value.code == "signature_invalid"
    assert await bank.movements() == []


async def test_card_is_charged_voided_on_its_day_and_found_by_every_name(bank, kbank, account):
    request = await card_request(bank)
    charged = await kbank.charge(account, request)
    key, charge_id = charged.provider_references
    assert (key, said(charged)) == (KEY, [(FactKind.CAPTURED, charge_id, 1234_50)])
    # The same attempt once more, as after a lost answer: the order is taken, and it was us.
    assert said(await kbank.charge(account, request)) == [(FactKind.CAPTURED, charge_id, 1234_50)]
    (told,) = await bank.sandbox.gateway.wait_for(1)
    assert kbank.parse_callback(account, callback_of(told)).inquire == (charge_id,)
    for reference in (KEY, charge_id):
        found = await kbank.inquire(account, reference, bank.now)
        assert (said(found), found.facts[0].provider_reference) == ([(FactKind.CAPTURED, charge_id, 1234_50)], KEY)
    refused = await kbank.cancel(account, charge_id)
    assert (type(refused), refused.failure_code) == (Declined, "not_cancelable")

    part = await kbank.refund(account, refund_request(bank, request, charge_id, 34_50))
    assert (type(part), part.provider_code) == (NotAttempted, "not_settled")
    assert await bank.movements() == [("payment", 1234_50)]
    refund = refund_request(bank, request, charge_id, 1234_50)
    for _ in range(2):
        assert said(await kbank.refund(account, refund)) == [(FactKind.REFUND_SUCCEEDED, f"{charge_id}-void", 1234_50)]
    assert said(await kbank.inquire_refund(account, refund)) == [
        (FactKind.REFUND_SUCCEEDED, f"{charge_id}-void", 1234_50)
    ]
    assert said(await kbank.inquire(account, charge_id, bank.now)) == [(FactKind.CAPTURED, charge_id, 1234_50)]
    assert await bank.movements() == [("payment", 1234_50), ("void", 1234_50)]


async def test_card_is_refunded_in_parts_once_settled_and_the_report_says_so(bank, kbank, account):
    request = await card_request(bank)
    charged = await kbank.charge(account, request)
    charge_id = charged.provider_references[1]
    await bank.move(timedelta(days=1))
    first = await kbank.refund(account, refund_request(bank, request, charge_id, 34_50))
    assert [(fact.kind, fact.provider_reference, fact.amount_minor) for fact in first.facts] == [
        (FactKind.REFUND_SUCCEEDED, REFUND_KEY, 34_50)
    ]
    again = await kbank.refund(account, refund_request(bank, request, charge_id, 34_50))
    assert said(again) == said(first)
    # Who believes it is still the day of the payment is told otherwise, and the other road is taken.
    unaware = msgspec.structs.replace(refund_request(bank, request, charge_id, 1234_50), captured_at=bank.now)
    too_much = await kbank.refund(account, msgspec.structs.replace(unaware, provider_key="QKR2"))
    assert (type(too_much), too_much.provider_code) == (Declined, "amount_exceeds_charge")
    rest = await kbank.refund(account, refund_request(bank, request, charge_id, 1200_00, "QKR3"))
    assert isinstance(rest, Accepted)
    found = await kbank.inquire(account, charge_id, bank.now)
    assert [(fact.kind, fact.provider_reference, fact.amount_minor) for fact in found.facts] == [
        (FactKind.CAPTURED, KEY, 1234_50),
        (FactKind.REFUND_SUCCEEDED, REFUND_KEY, 34_50),
        (FactKind.REFUND_SUCCEEDED, "QKR3", 1200_00),
    ]
    assert await bank.movements() == [("payment", 1234_50), ("refund", 34_50), ("refund", 1200_00)]

    day = business_date_of(bank.now)
    await bank.move(timedelta(days=1))
    (before,), (on) = [await kbank.statements(account, day - timedelta(days=number)) for number in (1, 0)]
    (paid,) = parse(before.content).lines
    # 2.8 % of 1,234.50 is 34.57, and 7 % of that is 2.42.
    assert (paid.amount_minor, paid.fee_minor, paid.vat_minor) == (1197_51, 34_57, 2_42)
    assert paid.references == (LineReference("kbank", charge_id), LineReference("kbank", KEY, strong=False))
    back = [line for line in parse(on[0].content).lines if line.kind is LineKind.REFUND]
    assert [(line.amount_minor, line.fee_minor, line.vat_minor) for line in back] == [(-34_50, 0, 0), (-1200_00, 0, 0)]
    assert back[0].references == (
        LineReference("kbank", first.facts[0].provider_transaction_id),
        LineReference("kbank", REFUND_KEY, strong=False),
    )


async def test_card_holder_passes_3_d_secure_or_does_not(bank, kbank, account):
    charged = await kbank.charge(account, await card_request(bank, number=SECURED_CARD))
    charge_id = charged.provider_references[1]
    assert said(charged) == [(FactKind.PENDING, charge_id, 1234_50)]
    assert charged.next_action.type == "redirect"
    assert charged.next_action.redirect_url.endswith(charge_id)
    again = await kbank.inquire(account, KEY, bank.now)
    assert again.next_action == charged.next_action
    assert await bank.pay(KEY) == charge_id
    (told,) = await bank.sandbox.gateway.wait_for(1)
    assert kbank.parse_callback(account, callback_of(told)).inquire == (charge_id,)
    assert said(await kbank.inquire(account, charge_id, bank.now)) == [(FactKind.CAPTURED, charge_id, 1234_50)]

    other = await kbank.charge(account, await card_request(bank, "QKOTHER", number=SECURED_CARD))
    await bank.move(timedelta(minutes=15))
    (fact,) = (await kbank.inquire(account, other.provider_references[1], bank.now)).facts
    assert (fact.kind, fact.failure_code) == (FactKind.DECLINED, "authentication_failed")
    assert await bank.movements() == [("payment", 1234_50)]


async def test_declined_card_keeps_the_banks_word(bank, kbank, account):
    ours_of = {"insufficient_fund": "insufficient_funds", "stolen_or_lost_card": "lost_or_stolen_card"}
    for word, ours in ours_of.items():
        declined = await kbank.charge(account, await card_request(bank, f"QK{len(word)}", number=DECLINED_CARDS[word]))
        assert (type(declined), declined.failure_code) == (Declined, ours)
        assert [fact.kind for fact in declined.facts] == [FactKind.DECLINED]
    await bank.fault("charge", "decline", code="failed_processing")
    declined = await kbank.charge(account, await card_request(bank))
    assert (declined.failure_code, declined.provider_code) == ("processing_error", "failed_processing")
    gone = msgspec.structs.replace(await card_request(bank, "QKGONE"), card_token="tokn_kgp_none")
    assert (await kbank.charge(account, gone)).failure_code == "card_token_not_found"
    used = msgspec.structs.replace(await card_request(bank, "QKUSED"))
    await kbank.charge(account, used)
    assert (await kbank.charge(account, msgspec.structs.replace(used, provider_key="QKUSED2"))).failure_code == (
        "card_token_used"
    )
    assert await bank.movements() == [("payment", 1234_50)]


@pytest.mark.parametrize("fault", ["timeout_before", "timeout_after", "server_error", "malformed"])
async def test_card_whose_answer_is_lost_is_charged_once(bank, account, fault):
    await bank.fault("charge", fault, seconds=3)
    request = await card_request(bank)
    async with ProviderHttp(timeout_seconds=2) as http:
        assert isinstance(await Kbank(http).charge(account, request), Unknown)
    async with ProviderHttp(timeout_seconds=10) as http:
        kbank = Kbank(http)
        again = await kbank.charge(account, request)
        assert [fact.kind for fact in again.facts] == [FactKind.CAPTURED]
        assert await bank.movements() == [("payment", 1234_50)]
        refund = refund_request(bank, request, again.provider_references[1], 1234_50)
        await bank.fault("refund", fault, seconds=0)
        first = await kbank.refund(account, refund)
        assert isinstance(first, Accepted if fault.startswith("timeout_after") else Unknown)
        second = await kbank.refund(account, refund)
        assert [fact.kind for fact in second.facts] == [FactKind.REFUND_SUCCEEDED]
        assert await bank.movements() == [("payment", 1234_50), ("void", 1234_50)]


async def test_refused_refund_of_a_card_moves_nothing(bank, kbank, account):
    request = await card_request(bank)
    charge_id = (await kbank.charge(account, request)).provider_references[1]
    await bank.fault("refund", "decline")
    refused = await kbank.refund(account, refund_request(bank, request, charge_id, 1234_50))
    assert (type(refused), refused.failure_code) == (Declined, "refund_refused")
    waiting = await card_request(bank, "QKWAITS", number=SECURED_CARD)
    waiting_id = (await kbank.charge(account, waiting)).provider_references[1]
    refused = await kbank.refund(account, refund_request(bank, waiting, waiting_id, 1234_50))
    assert (type(refused), refused.provider_code) == (Declined, "not_voidable")
    nobody = await kbank.refund(account, refund_request(bank, request, "chrg_test_none", 1234_50))
    assert nobody == NotAttempted(reason="KGP knows no such charge")
    assert await bank.movements() == [("payment", 1234_50)]
    assert Decimal((await bank.kgp("GET", f"/card/v2/charge/{charge_id}")).json()["amount"]) == Decimal("1234.5")
