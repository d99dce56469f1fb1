"""Disputes of money that was only held for its payer: it pays for them itself, and the merchant loses nothing."""

import asyncio
import itertools

import pytest
from msgspec.structs import replace

from gateway.foundation.ids import new_id
from gateway.payments.errors import NotFound, Refused
from gateway.payments.requests import ConfirmIntent
from gateway.providers.base import FactKind, FactSource, Method
from gateway.providers.dispute_terms import DisputeStage, DisputeTerms
from gateway.settlement.unmatched import unmatched
from ledger.verification import verify
from tests.payments.conftest import Asked
from tests.payments.test_accepting import QR_ASKED, accept, offer
from tests.payments.test_disputes_money import CARD_ASKED, LOST, OPENED, WITHDRAWN, WON, fact_of

AGAIN = ConfirmIntent(payment_method=Method.CARD, card_token="tokn_2")
HELD_MINOR = 600_00
FEES = {"fee_income": 500_00, "output_vat": 35_00, "merchant_available": -535_00}
"""What the merchant pays for a dispute whose money the provider took."""


@pytest.fixture
async def held(house, merchant):
    """1,000 baht by the second attempt; 600 by the first, which we thought not made, are held for the payer."""
    return await paid_twice(house, merchant)


async def paid_twice(house, merchant):
    house.omise.charge_script.append("not_attempted")
    intent = await house.intents.create(merchant, CARD_ASKED)
    await house.intents.confirm(merchant, intent.id, AGAIN, attempt_id=new_id("att", livemode=False))
    asked = Asked(provider_key=await charge_of(house, intent), amount_minor=HELD_MINOR)
    fact = house.omise.fact(
        asked, FactKind.CAPTURED, intent.created_at, transaction=f"txn_{intent.id}", source=FactSource.CALLBACK
    )
    await house.applier.apply(fact, book_id=merchant.book_id)
    return await house.intents.get(merchant, intent.id)


async def charge_of(house, intent, number=0):
    rows = await house.rows(
        "SELECT provider_key FROM gateway.payment_attempts WHERE intent_id = $1 ORDER BY created_at, attempt_id",
        intent.id,
    )
    return rows[number]["provider_key"]


async def tell(house, merchant, intent, *kinds, amount=HELD_MINOR, number=0, **how):
    for kind in kinds:
        fact = await fact_of(house, merchant, intent, kind, amount=amount, **how)
        told = replace(fact, provider_reference=await charge_of(house, intent, number))
        await house.applier.apply(told, book_id=merchant.book_id)


def moved(before, after):
    changes = {name: after.get(name, 0) - before.get(name, 0) for name in {*before, *after}}
    return {name: by for name, by in changes.items() if by}


async def code_of(action):
    with pytest.raises(Refused) as refused:
        await action
    return refused.value.code


async def ties_out(house, merchant):
    found = await unmatched(house.database, merchant.book_id)
    assert [tie.difference_minor for tie in found.tie_outs if tie.difference_minor] == []
    return [(row.place, row.reason, row.amount_minor) for row in found.rows]


async def test_a_notified_dispute_holds_the_payers_money_and_none_of_the_merchants(house, merchant, held):
    before = await house.balances(merchant)
    await tell(house, merchant, held, OPENED)
    assert moved(before, await house.balances(merchant)) == {
        "payer_refundable": -HELD_MINOR,
        "dispute_hold": HELD_MINOR,
    }
    view = await house.intents.get(merchant, held.id)
    assert (view.amount_disputed, view.amount_held, view.amount_refundable) == (HELD_MINOR, 0, 1_000_00)
    assert (await house.event_types(merchant))[-2:] == ["charge.disputed", "dispute.created"]
    assert await ties_out(house, merchant) == []
    assert [await code_of(use(house, merchant, held)) for use in (accept, offer)] == ["payment_disputed"] * 2
    assert await house.rows("SELECT FROM gateway.refund_claims") == []


@pytest.mark.parametrize("kinds", list(itertools.permutations([OPENED, WITHDRAWN, LOST])))
async def test_a_lost_dispute_takes_it_for_good_in_every_order(house, merchant, held, kinds):
    before = await house.balances(merchant)
    await tell(house, merchant, held, *kinds)
    after = await house.balances(merchant)
    assert moved(before, after) == FEES | {"payer_refundable": -HELD_MINOR, "provider_receivable": -HELD_MINOR}
    assert [await code_of(use(house, merchant, held)) for use in (accept, offer)] == ["payment_disputed"] * 2
    assert await house.balances(merchant) == after


@pytest.mark.parametrize("kinds", list(itertools.permutations([OPENED, WITHDRAWN, WON])))
async def test_a_won_dispute_leaves_it_held_in_every_order(house, merchant, held, kinds):
    before = await house.balances(merchant)
    await tell(house, merchant, held, *kinds)
    assert moved(before, await house.balances(merchant)) == FEES
    assert (await house.intents.get(merchant, held.id)).amount_held == HELD_MINOR
    assert await ties_out(house, merchant) == [("held", "twice", HELD_MINOR)]
    assert (await accept(house, merchant, held)).amount_captured == 1_600_00


STAGES = [
    (DisputeStage.DISPUTE, OPENED),
    (DisputeStage.DISPUTE, WITHDRAWN),
    (DisputeStage.DISPUTE, WON),
    (DisputeStage.PREARBITRATION, OPENED),
    (DisputeStage.PREARBITRATION, WITHDRAWN),
]


@pytest.mark.parametrize("order", list(itertools.permutations(STAGES))[::7])
async def test_stages_come_to_the_same_in_any_order(house, merchant, held, order):
    before = await house.balances(merchant)
    for stage, kind in order:
        await tell(house, merchant, held, kind, stage=stage)
        await ties_out(house, merchant)
    assert moved(before, await house.balances(merchant)) == FEES | {
        "payer_refundable": -HELD_MINOR,
        "provider_receivable": -HELD_MINOR,
    }


async def test_what_the_merchant_took_between_two_stages_is_his_to_lose(house, merchant, held):
    before = await house.balances(merchant)
    await tell(house, merchant, held, OPENED, WON)
    await accept(house, merchant, held)
    mine = await house.balances(merchant)
    await tell(house, merchant, held, WITHDRAWN, LOST, stage=DisputeStage.PREARBITRATION)
    assert moved(mine, await house.balances(merchant)) == FEES | {
        "merchant_pending": -HELD_MINOR,
        "provider_receivable": -HELD_MINOR,
    }
    assert before["payer_refundable"] == HELD_MINOR
    assert await ties_out(house, merchant) == []


async def test_two_cases_about_one_receipt_take_it_once_and_the_second_is_mended_when_the_first_is_won(
    house, merchant, held
):
    before = await house.balances(merchant)
    await tell(house, merchant, held, OPENED, reference="a")
    await tell(house, merchant, held, OPENED, reference="b")
    both = moved(before, await house.balances(merchant))
    assert both == {"payer_refundable": -HELD_MINOR, "merchant_pending": -HELD_MINOR, "dispute_hold": 2 * HELD_MINOR}
    await tell(house, merchant, held, WON, reference="a")
    assert [await code_of(use(house, merchant, held)) for use in (accept, offer)] == ["payment_disputed"] * 2
    await tell(house, merchant, held, WITHDRAWN, LOST, reference="b")
    assert moved(before, await house.balances(merchant)) == FEES | {
        "payer_refundable": -HELD_MINOR,
        "provider_receivable": -HELD_MINOR,
    }
    assert await ties_out(house, merchant) == []


async def test_a_case_that_holds_the_merchants_money_gives_it_back_however_quiet_its_news_was_meanwhile(
    house, merchant, held
):
    before = await house.balances(merchant)
    await tell(house, merchant, held, OPENED, reference="a")
    await tell(house, merchant, held, OPENED, reference="b")
    await tell(house, merchant, held, WON, reference="a")
    await tell(house, merchant, held, FactKind.DISPUTE_UNDER_REVIEW, reference="b")
    assert await ties_out(house, merchant) == [("held", "twice", HELD_MINOR)]
    await tell(house, merchant, held, WITHDRAWN, LOST, reference="b")
    assert moved(before, await house.balances(merchant)) == FEES | {
        "payer_refundable": -HELD_MINOR,
        "provider_receivable": -HELD_MINOR,
    }
    assert await ties_out(house, merchant) == []


@pytest.mark.parametrize("is_won", [True, False])
async def test_what_the_provider_took_of_the_merchant_is_the_payers_once_another_case_let_that_go(
    house, merchant, held, is_won
):
    before = await house.balances(merchant)
    await tell(house, merchant, held, OPENED, reference="a")
    await tell(house, merchant, held, WITHDRAWN, reference="b")
    await tell(house, merchant, held, WON, reference="a")
    await tell(house, merchant, held, OPENED, reference="b", stage=DisputeStage.PREARBITRATION)
    taken = FEES | {"payer_refundable": -HELD_MINOR, "provider_receivable": -HELD_MINOR}
    held_more = {"merchant_pending": -HELD_MINOR, "dispute_hold": HELD_MINOR}
    assert moved(before, await house.balances(merchant)) == taken | held_more
    assert await ties_out(house, merchant) == []
    if is_won:
        await tell(house, merchant, held, WON, reference="b", stage=DisputeStage.PREARBITRATION)
        assert moved(before, await house.balances(merchant)) == taken
    else:
        await tell(house, merchant, held, WON, reference="b")
        assert moved(before, await house.balances(merchant)) == FEES | {
            "payer_refundable": -HELD_MINOR,
            "dispute_hold": HELD_MINOR,
        }
    await ties_out(house, merchant)


async def test_money_that_the_provider_kept_of_an_earlier_stage_is_not_free_once_a_later_one_is_won(
    house, merchant, held
):
    await tell(house, merchant, held, WITHDRAWN, LOST)
    await tell(house, merchant, held, WON, stage=DisputeStage.PREARBITRATION)
    after = await house.balances(merchant)
    assert after.get("payer_refundable") is None
    assert [await code_of(use(house, merchant, held)) for use in (accept, offer)] == ["payment_disputed"] * 2
    assert await house.balances(merchant) == after
    await tell(house, merchant, held, WON)
    assert await ties_out(house, merchant) == [("held", "twice", HELD_MINOR)]


async def test_what_a_lost_dispute_left_may_be_taken_or_offered_and_no_more(house, merchant, held):
    before = await house.balances(merchant)
    await tell(house, merchant, held, OPENED, amount=400_00)
    assert [await code_of(use(house, merchant, held)) for use in (accept, offer)] == ["payment_disputed"] * 2
    await tell(house, merchant, held, WITHDRAWN, LOST, amount=400_00)
    assert await ties_out(house, merchant) == [("held", "twice", 200_00)]
    view = await house.intents.get(merchant, held.id)
    assert (view.amount_held, view.amount_disputed) == (200_00, 400_00)
    taken = await accept(house, merchant, held)
    assert (taken.amount_captured, taken.amount_held, taken.amount_refundable) == (1_200_00, 0, 1_200_00)
    after = await house.balances(merchant)
    assert after.get("payer_refundable") is None
    assert moved(before, after)["provider_receivable"] == -400_00
    assert await code_of(offer(house, merchant, held)) == "nothing_held"


async def test_the_rest_is_offered_to_its_payer_once(house, merchant, held):
    await tell(house, merchant, held, WITHDRAWN, LOST, amount=400_00)
    assert (await offer(house, merchant, held)).amount == 200_00
    assert [await code_of(use(house, merchant, held)) for use in (accept, offer)] == ["payment_disputed"] * 2


async def test_an_excess_pays_first_and_the_merchant_the_rest(house, merchant):
    intent = await house.intents.create(merchant, QR_ASKED)
    await house.pay(merchant, intent, house.scb, amount=1_250_00)
    before = await house.balances(merchant)
    await tell_scb(house, merchant, intent, OPENED, amount=1_250_00)
    assert moved(before, await house.balances(merchant)) == {
        "payer_refundable": -250_00,
        "merchant_pending": -1_000_00,
        "dispute_hold": 1_250_00,
    }
    view = await house.intents.get(merchant, intent.id)
    assert (view.amount_refundable, view.amount_held, view.amount_disputed) == (0, 0, 1_250_00)
    await tell_scb(house, merchant, intent, WITHDRAWN, WON, amount=1_250_00)
    assert await house.balances(merchant) == before


async def tell_scb(house, merchant, intent, *kinds, amount):
    for kind in kinds:
        fact = await fact_of(house, merchant, intent, kind, amount=amount)
        told = replace(fact, provider="scb", provider_reference=await charge_of(house, intent))
        await house.applier.apply(told, book_id=merchant.book_id)


@pytest.mark.parametrize(
    ("pays", "reason"),
    [({"seconds": 3_600}, "late"), ({"amount": 600_00}, "short")],
)
async def test_late_and_short_money_pays_for_its_own_dispute(house, merchant, pays, reason):
    intent = await house.intents.create(merchant, QR_ASKED)
    await house.pay(merchant, intent, house.scb, **pays)
    amount = pays.get("amount", 1_000_00)
    assert await ties_out(house, merchant) == [("held", reason, amount)]
    await tell_scb(house, merchant, intent, OPENED, WITHDRAWN, amount=amount)
    assert await house.balances(merchant) == {}, "no merchant's money: what came went back"
    assert await code_of(accept(house, merchant, intent)) == "payment_disputed"
    assert (await house.intents.get(merchant, intent.id)).status != "succeeded"


async def test_of_two_receipts_of_one_charge_the_held_one_pays(house, merchant):
    intent = await house.intents.create(merchant, QR_ASKED)
    await house.pay(merchant, intent, house.scb)
    await house.pay(merchant, intent, house.scb, transaction="txn_2")
    before = await house.balances(merchant)
    await tell_scb(house, merchant, intent, WITHDRAWN, amount=1_000_00)
    assert moved(before, await house.balances(merchant)) == {
        "payer_refundable": -1_000_00,
        "provider_receivable": -1_000_00,
    }
    assert (await house.intents.get(merchant, intent.id)).amount_refundable == 1_000_00


async def test_no_provider_takes_back_what_came_to_our_bank_by_another_road(house, merchant):
    intent = await house.intents.create(merchant, QR_ASKED)
    await house.pay(merchant, intent, house.scb)
    assigned = replace(
        await house.paid_fact(intent, house.scb, transaction="rcp_1"),
        source=FactSource.RECEIPT,
    )
    await house.applier.apply(assigned, book_id=merchant.book_id)
    before = await house.balances(merchant)
    assert before["payer_refundable"] == 1_000_00
    await tell_scb(house, merchant, intent, WITHDRAWN, amount=1_000_00)
    assert moved(before, await house.balances(merchant)) == {
        "merchant_pending": -1_000_00,
        "provider_receivable": -1_000_00,
    }
    assert (await offer(house, merchant, intent)).amount == 1_000_00


async def test_a_letter_says_which_money_a_case_of_before_receipts_were_told_apart_is_about(house, merchant):
    intent = await house.intents.create(merchant, QR_ASKED)
    await house.pay(merchant, intent, house.scb)
    await tell_scb(house, merchant, intent, OPENED, amount=1_000_00)
    await house.run("UPDATE gateway.disputes SET receipt_id = NULL")
    await house.pay(merchant, intent, house.scb, transaction="txn_2")
    before = await house.balances(merchant)
    terms = DisputeTerms(reference="dspt_1", stage=DisputeStage.PREARBITRATION)
    said = {"actor": "op_ann", "reason": "a letter"}
    with pytest.raises(NotFound):
        await house.dispute_acts.open(merchant.book_id, intent.id, terms, receipt="txn_9", **said)
    told = await house.dispute_acts.open(merchant.book_id, intent.id, terms, receipt="txn_1", **said)
    [first, _] = await house.rows("SELECT fact_id FROM gateway.facts WHERE kind = 'captured' ORDER BY fact_id")
    assert (told.dispute.receipt_id, told.dispute.payer_minor) == (first["fact_id"], 0)
    assert await house.balances(merchant) == before, "what is held for the payer stays so"


async def test_racing_acceptance_and_dispute_leave_books_and_rows_in_agreement(house, merchant):
    for _ in range(4):
        intent = await paid_twice(house, merchant)
        results = await asyncio.gather(
            accept(house, merchant, intent),
            offer(house, merchant, intent),
            tell(house, merchant, intent, WITHDRAWN, reference=f"dspt_{intent.id}"),
            return_exceptions=True,
        )
        refused = {each.code for each in results if isinstance(each, Refused)}
        assert not [each for each in results if isinstance(each, Exception) and not isinstance(each, Refused)]
        assert refused
        assert refused <= {"payment_disputed", "nothing_held"}
        await ties_out(house, merchant)
    async with house.database.ledger_pool.acquire() as connection:
        assert (await verify(connection, merchant.book_id)).passed
