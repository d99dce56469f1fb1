"""Disputes: what each fact moves, to the satang, and that their order and number move nothing more."""

import asyncio
import itertools
from uuid import uuid4

import pytest

from gateway.payments.errors import FactContradicts, PaymentNotCaptured, Refused
from gateway.payments.requests import CreateIntent, CreateRefund
from gateway.providers.base import Fact, FactKind, FactSource, Method
from gateway.providers.dispute_terms import DisputeStage, DisputeTerms
from ledger.journal import Posted
from ledger.posting_rules.settlement import became_available

CARD_ASKED = CreateIntent(amount=1_000_00, currency="thb", payment_method=Method.CARD, card_token="tokn_1")
PAID = {
    "provider_receivable": 2_000_00,
    "merchant_pending": 2 * 960_94,
    "fee_income": 2 * 36_50,
    "output_vat": 2 * 2_56,
}
"""Two captured payments of 1,000 baht."""
FEE = {"fee_income": PAID["fee_income"] + 500_00, "output_vat": PAID["output_vat"] + 35_00}
OPENED, WITHDRAWN, WON, LOST = (
    FactKind.DISPUTE_OPENED,
    FactKind.DISPUTE_FUNDS_WITHDRAWN,
    FactKind.DISPUTE_WON,
    FactKind.DISPUTE_LOST,
)


@pytest.fixture
async def paid(house, merchant):
    await house.intents.create(merchant, CARD_ASKED)
    return await house.intents.create(merchant, CARD_ASKED)


async def fact_of(house, merchant, intent, kind, *, reference="dspt_1", amount=None, stage=DisputeStage.DISPUTE):
    attempt = await house.attempt(intent.id)
    terms = DisputeTerms(reference=reference, stage=stage, reason_code="fraudulent")
    return Fact(
        provider="omise",
        kind=kind,
        provider_reference=attempt["provider_key"],
        provider_transaction_id=terms.transaction_id,
        amount_minor=intent.amount if amount is None else amount,
        currency="THB",
        occurred_at=merchant.clock.now(),
        source=FactSource.CALLBACK,
        dispute=terms,
    )


async def tell(house, merchant, intent, *kinds, **how):
    for kind in kinds:
        await house.applier.apply(await fact_of(house, merchant, intent, kind, **how), book_id=merchant.book_id)


async def made_available(house, merchant):
    """A week later, when the money of both payments has become available."""
    later = await house.move_clock(merchant, days=7)
    [row] = await house.rows("SELECT DISTINCT available_on FROM gateway.payment_intents")
    entry = became_available(
        key=uuid4(),
        merchant=merchant.account_id,
        amount_minor=PAID["merchant_pending"],
        currency="THB",
        available_on=row["available_on"],
        effective_on=later.clock.today(),
        caller="test",
    )
    assert isinstance(await house.ledger.post(merchant.book_id, entry), Posted)
    return later


async def test_a_notified_dispute_holds_the_money_where_it_is(house, merchant, paid):
    await tell(house, merchant, paid, OPENED)
    assert await house.balances(merchant) == PAID | {
        "merchant_pending": PAID["merchant_pending"] - 1_000_00,
        "dispute_hold": 1_000_00,
    }
    assert (await house.entries(merchant))[-1] == "dispute_held"
    view = await house.intents.get(merchant, paid.id)
    assert (view.amount_disputed, view.amount_refundable, view.amount_captured) == (1_000_00, 0, 1_000_00)
    assert view.version == paid.version + 1
    assert (await house.event_types(merchant))[-2:] == ["charge.disputed", "dispute.created"]


async def test_available_money_is_held_once_the_charge_is_available(house, merchant, paid):
    later = await made_available(house, merchant)
    await tell(house, later, paid, OPENED)
    balances = await house.balances(later)
    assert (balances["merchant_available"], balances["dispute_hold"]) == (2 * 960_94 - 1_000_00, 1_000_00)
    assert "merchant_pending" not in balances


@pytest.mark.parametrize("kinds", [[OPENED, WITHDRAWN], [WITHDRAWN, OPENED], [WITHDRAWN]])
async def test_the_provider_takes_held_money_or_the_merchants_and_the_fee_is_charged_once(house, merchant, paid, kinds):
    await tell(house, merchant, paid, *kinds)
    assert await house.balances(merchant) == PAID | FEE | {
        "provider_receivable": 1_000_00,
        "merchant_pending": PAID["merchant_pending"] - 1_000_00,
        "merchant_available": -535_00,
    }
    assert (await house.entries(merchant)).count("dispute_fee_charged") == 1


@pytest.mark.parametrize("kinds", list(itertools.permutations([OPENED, WITHDRAWN, WON])))
async def test_a_won_dispute_gives_the_money_back_in_every_order(house, merchant, paid, kinds):
    await tell(house, merchant, paid, *kinds)
    assert await house.balances(merchant) == PAID | FEE | {"merchant_available": -535_00}
    view = await house.intents.get(merchant, paid.id)
    assert (view.amount_disputed, view.amount_refundable) == (0, 1_000_00)
    types = await house.event_types(merchant)
    assert {types.count(f"dispute.{kind}") for kind in ("created", "funds_withdrawn", "funds_reinstated")} == {1}


@pytest.mark.parametrize("kinds", list(itertools.permutations([OPENED, WITHDRAWN, LOST])))
async def test_a_lost_dispute_leaves_the_money_with_the_provider_in_every_order(house, merchant, paid, kinds):
    await tell(house, merchant, paid, *kinds)
    assert await house.balances(merchant) == PAID | FEE | {
        "provider_receivable": 1_000_00,
        "merchant_pending": PAID["merchant_pending"] - 1_000_00,
        "merchant_available": -535_00,
    }
    [row] = await house.rows("SELECT status, held_minor, withdrawn_minor FROM gateway.disputes")
    assert row == {"status": "lost", "held_minor": 0, "withdrawn_minor": 1_000_00}


@pytest.mark.parametrize("kinds", [[OPENED, WON], [WON, OPENED]])
async def test_a_warning_that_comes_to_nothing_costs_nothing(house, merchant, paid, kinds):
    await tell(house, merchant, paid, *kinds, stage=DisputeStage.PRE_DISPUTE)
    assert await house.balances(merchant) == PAID
    assert (await house.intents.get(merchant, paid.id)).amount_disputed == 0


async def test_the_same_facts_again_and_at_once_move_nothing_more(house, merchant, paid):
    facts = [await fact_of(house, merchant, paid, kind) for kind in (OPENED, WITHDRAWN, LOST)] * 4
    other = house.new_applier()
    await asyncio.gather(
        *(
            applier.apply(fact, book_id=merchant.book_id)
            for fact, applier in zip(facts, itertools.cycle([house.applier, other]))
        )
    )
    await other.close()
    entries = await house.entries(merchant)
    assert (entries.count("dispute_funds_withdrawn"), entries.count("dispute_fee_charged")) == (1, 1)
    assert len(await house.rows("SELECT 1 FROM gateway.disputes")) == 1
    assert (await house.balances(merchant))["provider_receivable"] == 1_000_00


STAGES = [
    (DisputeStage.PRE_DISPUTE, OPENED),
    (DisputeStage.DISPUTE, WITHDRAWN),
    (DisputeStage.DISPUTE, WON),
    (DisputeStage.PREARBITRATION, WITHDRAWN),
]


@pytest.mark.parametrize("order", list(itertools.permutations(STAGES))[::3])
async def test_stages_come_to_the_same_in_any_order(house, merchant, paid, order):
    for stage, kind in order:
        await tell(house, merchant, paid, kind, stage=stage)
    assert await house.balances(merchant) == PAID | FEE | {
        "provider_receivable": 1_000_00,
        "merchant_pending": PAID["merchant_pending"] - 1_000_00,
        "merchant_available": -535_00,
    }
    [row] = await house.rows("SELECT status, stage, withdrawn_minor FROM gateway.disputes")
    assert row == {"status": "needs_response", "stage": "prearbitration", "withdrawn_minor": 1_000_00}


async def test_won_and_lost_is_a_conflict_in_both_orders(house, merchant, paid):
    await tell(house, merchant, paid, WON, LOST, reference="a", amount=100_00)
    await tell(house, merchant, paid, LOST, WON, reference="b", amount=100_00)
    rows = await house.rows("SELECT status, held_minor FROM gateway.disputes")
    assert rows == [{"status": "conflicted", "held_minor": 0}] * 2
    assert await house.balances(merchant) == PAID


async def test_a_dispute_after_a_partial_refund_takes_all_that_it_is_of(house, merchant, paid):
    await house.refunds.create(merchant, CreateRefund(payment_intent=paid.id, amount=400_00))
    await tell(house, merchant, paid, WITHDRAWN)
    balances = await house.balances(merchant)
    assert balances["merchant_pending"] == PAID["merchant_pending"] - 1_400_00
    assert balances["provider_receivable"] == PAID["provider_receivable"] - 1_400_00
    view = await house.intents.get(merchant, paid.id)
    assert (view.amount_refunded, view.amount_disputed, view.amount_refundable) == (400_00, 1_000_00, 0)


async def test_a_dispute_after_a_full_refund_is_booked_all_the_same(house, merchant, paid):
    await house.refunds.create(merchant, CreateRefund(payment_intent=paid.id))
    await tell(house, merchant, paid, OPENED, WITHDRAWN)
    balances = await house.balances(merchant)
    assert "provider_receivable" not in balances
    assert balances["merchant_pending"] == PAID["merchant_pending"] - 2_000_00


async def test_disputed_money_cannot_be_refunded_and_the_rest_can(house, merchant, paid):
    await tell(house, merchant, paid, OPENED, amount=700_00)
    before = await house.balances(merchant)
    with pytest.raises(Refused) as refused:
        await house.refunds.create(merchant, CreateRefund(payment_intent=paid.id, amount=400_00))
    assert refused.value.code == "payment_disputed"
    assert (await house.balances(merchant), await house.rows("SELECT 1 FROM gateway.refunds")) == (before, [])
    rest = await house.refunds.create(merchant, CreateRefund(payment_intent=paid.id))
    assert (rest.status, rest.amount) == ("succeeded", 300_00)
    with pytest.raises(Refused) as refused:
        await house.refunds.create(merchant, CreateRefund(payment_intent=paid.id))
    assert refused.value.code == "payment_disputed"
    await tell(house, merchant, paid, WON, amount=700_00)
    assert (await house.intents.get(merchant, paid.id)).amount_refundable == 700_00


async def test_racing_refunds_and_a_dispute_leave_books_and_amounts_in_agreement(house, merchant, paid):
    results = await asyncio.gather(
        *(house.refunds.create(merchant, CreateRefund(payment_intent=paid.id, amount=300_00)) for _ in range(6)),
        tell(house, merchant, paid, WITHDRAWN),
        return_exceptions=True,
    )
    refused = [result for result in results if isinstance(result, Refused)]
    assert {error.code for error in refused} <= {"payment_disputed", "exceeds_original", "below_floor"}
    given_minor = sum(each.amount for each in results[:6] if not isinstance(each, BaseException))
    balances = await house.balances(merchant)
    assert balances["provider_receivable"] == PAID["provider_receivable"] - 1_000_00 - given_minor
    view = await house.intents.get(merchant, paid.id)
    assert (view.amount_refunded, view.amount_disputed) == (given_minor, 1_000_00)


async def test_a_merchant_without_money_goes_below_zero(house, merchant, paid):
    later = await made_available(house, merchant)
    for reference in ("a", "b", "c"):
        await tell(house, later, paid, WITHDRAWN, reference=reference)
    assert (await house.balances(later))["merchant_available"] == 2 * 960_94 - 3 * 1_535_00


async def test_what_does_not_fit_is_put_aside_and_moves_nothing(house, merchant, paid):
    await tell(house, merchant, paid, OPENED)
    before = await house.balances(merchant)
    with pytest.raises(FactContradicts, match="the fact of 90000"):
        await tell(house, merchant, paid, WITHDRAWN, amount=900_00)
    with pytest.raises(FactContradicts):
        await tell(house, merchant, paid, OPENED, reference="other", amount=0)
    assert await house.balances(merchant) == before
    assert len(await house.rows("SELECT 1 FROM gateway.fact_quarantine")) == 2


async def test_a_dispute_of_what_nobody_paid_yet_waits_for_the_news(house, merchant):
    house.omise.charge_script.append("lost_after")
    intent = await house.intents.create(merchant, CARD_ASKED)
    with pytest.raises(PaymentNotCaptured):
        await tell(house, merchant, intent, OPENED)
    assert await house.balances(merchant) == {}
    assert await house.rows("SELECT 1 FROM gateway.fact_quarantine") == []
    await house.make_due()
    await house.janitor.run_once()
    await tell(house, merchant, intent, OPENED)
    assert (await house.balances(merchant))["dispute_hold"] == 1_000_00
