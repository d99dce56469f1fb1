"""A payment of two charges, of which one is disputed: refunds keep off it, and its own day says where its money is."""

import pytest
from msgspec.structs import replace

from gateway.foundation.ids import new_id
from gateway.merchants.fee_plans import plan_for, set_plan
from gateway.payments.errors import InvalidRequest, NotFound, ReceiptAmbiguous, Refused
from gateway.payments.requests import ConfirmIntent, CreateRefund
from gateway.providers.base import FactKind, FactSource, Method
from gateway.providers.dispute_terms import DisputeStage, DisputeTerms
from ledger.feed import read_entries
from ledger.journal import EntryKind
from tests.payments.conftest import Asked
from tests.payments.test_accepting import QR_ASKED, accept, offer
from tests.payments.test_disputes_money import CARD_ASKED, OPENED, WITHDRAWN, WON, fact_of

AGAIN = ConfirmIntent(payment_method=Method.CARD, card_token="tokn_2")
SECOND_MINOR = 600_00


@pytest.fixture
async def held(house, merchant):
    """1,000 baht by the second attempt; 600 by the first, which we thought not made, are held for the payer."""
    async with house.database.transaction() as connection:
        plan = await plan_for(connection, merchant.account_id, Method.CARD)
        await set_plan(connection, merchant.account_id, replace(plan, settlement_days=10))
    await house.intents.create(merchant, CARD_ASKED)  # so that the fees are no reason to refuse a refund
    house.omise.charge_script.append("not_attempted")
    intent = await house.intents.create(merchant, CARD_ASKED)
    await house.intents.confirm(merchant, intent.id, AGAIN, attempt_id=new_id("att", livemode=False))
    first, _ = await attempts(house, intent)
    asked = Asked(provider_key=first["provider_key"], amount_minor=SECOND_MINOR)
    fact = house.omise.fact(
        asked, FactKind.CAPTURED, intent.created_at, transaction="txn_2", source=FactSource.CALLBACK
    )
    await house.applier.apply(fact, book_id=merchant.book_id)
    return await house.intents.get(merchant, intent.id)


@pytest.fixture
async def paid(house, merchant, held):
    """The same, and days later the merchant took the 600, too."""
    later = await house.move_clock(merchant, days=4)
    return await accept(house, later, held)


async def attempts(house, intent):
    return await house.rows(
        "SELECT * FROM gateway.payment_attempts WHERE intent_id = $1 ORDER BY created_at, attempt_id", intent.id
    )


async def dispute(house, merchant, intent, number, *kinds, amount):
    """News of a dispute of the charge of that attempt."""
    attempt = (await attempts(house, intent))[number]
    for kind in kinds:
        fact = await fact_of(house, merchant, intent, kind, amount=amount)
        told = replace(fact, provider_reference=attempt["provider_key"])
        await house.applier.apply(told, book_id=merchant.book_id)


async def drawn_on(house, refund):
    """Which attempt's charge a refund gives back."""
    [row] = await house.rows("SELECT attempt_id FROM gateway.refunds WHERE refund_id = $1", refund.id)
    return row["attempt_id"]


async def refund(house, merchant, intent, amount):
    return await house.refunds.create(merchant, CreateRefund(payment_intent=intent.id, amount=amount))


async def test_a_refund_draws_on_the_charge_that_is_not_disputed_where_that_bears_it(house, merchant, paid):
    first, second = [row["attempt_id"] for row in await attempts(house, paid)]
    assert await drawn_on(house, await refund(house, merchant, paid, 100_00)) == second, "the first capture"
    await dispute(house, merchant, paid, 1, OPENED, amount=1_000_00)
    given = await refund(house, merchant, paid, 400_00)
    assert (given.status, await drawn_on(house, given)) == ("succeeded", first)
    assert (await house.intents.get(merchant, paid.id)).amount_refundable == 100_00
    await dispute(house, merchant, paid, 1, FactKind.DISPUTE_LOST, amount=1_000_00)
    assert await drawn_on(house, await refund(house, merchant, paid, 50_00)) == first, "lost is disputed as well"


async def test_what_only_the_disputed_charge_could_bear_is_refused_and_nothing_moves(house, merchant, paid):
    await dispute(house, merchant, paid, 1, OPENED, amount=700_00)
    before = (await house.balances(merchant), await house.event_types(merchant))
    with pytest.raises(Refused, match="gives back 60000 at most") as refused:
        await refund(house, merchant, paid, 700_00)
    assert refused.value.code == "exceeds_original"
    assert (await house.balances(merchant), await house.event_types(merchant)) == before
    assert (await house.rows("SELECT FROM gateway.refunds"), house.omise.refunds) == ([], {})


async def test_what_is_not_questioned_of_a_disputed_charge_is_given_back_after_the_other(house, merchant, paid):
    first, second = [row["attempt_id"] for row in await attempts(house, paid)]
    await dispute(house, merchant, paid, 1, OPENED, amount=700_00)
    assert await drawn_on(house, await refund(house, merchant, paid, 600_00)) == first
    with pytest.raises(Refused) as refused:
        await refund(house, merchant, paid, 300_01)
    assert refused.value.code == "payment_disputed"
    assert await drawn_on(house, await refund(house, merchant, paid, 300_00)) == second


async def test_a_won_dispute_leaves_the_order_as_it_was(house, merchant, paid):
    await dispute(house, merchant, paid, 1, OPENED, WON, amount=1_000_00)
    assert (
        await drawn_on(house, await refund(house, merchant, paid, 1_000_00))
        == (await attempts(house, paid))[1]["attempt_id"]
    )


@pytest.mark.parametrize(("number", "amount"), [(0, SECOND_MINOR), (1, 1_000_00)])
async def test_a_dispute_takes_the_money_from_the_day_of_its_own_charge(house, merchant, paid, number, amount):
    [intent] = await house.rows("SELECT available_on FROM gateway.payment_intents WHERE intent_id = $1", paid.id)
    [accepted] = await house.rows("SELECT available_on FROM gateway.held_acceptances WHERE intent_id = $1", paid.id)
    assert intent["available_on"] < accepted["available_on"]
    await dispute(house, merchant, paid, number, OPENED, WITHDRAWN, WON, amount=amount)
    async with house.database.ledger_pool.acquire() as connection:
        entries = await read_entries(connection, merchant.book_id, after=0, limit=100)
    wanted = (accepted if number == 0 else intent)["available_on"]
    for kind, posting in ((EntryKind.DISPUTE_HELD, 0), (EntryKind.DISPUTE_FUNDS_REINSTATED, 1)):
        [entry] = [each for each in entries if each.kind is kind]
        assert (entry.postings[posting].amount_minor, entry.postings[posting].available_on) == (amount, wanted)


@pytest.fixture
def letter(house, merchant):
    """A letter about a payment is stated; answers which charge it is about, of how much, and whether it is news."""

    async def stated(intent, reference, amount=None, receipt=None, stage=DisputeStage.DISPUTE):
        terms = DisputeTerms(reference=reference, stage=stage, reason_code="general")
        told = await house.dispute_acts.open(
            merchant.book_id, intent.id, terms, amount_minor=amount, receipt=receipt, actor="op_ann", reason="a letter"
        )
        return told.dispute.attempt_id, told.dispute.amount_minor, told.is_news

    return stated


async def test_a_letter_is_about_the_receipt_that_is_named_or_the_only_one_that_it_can_be(house, paid, letter):
    first, second = [row["attempt_id"] for row in await attempts(house, paid)]
    with pytest.raises(InvalidRequest, match=r"no more than 1000\.00 THB was paid at once"):
        await letter(paid, "a", 1_000_01)
    for amount in (None, 600_00):
        with pytest.raises(ReceiptAmbiguous, match="it can be about 2 receipts") as ambiguous:
            await letter(paid, "a", amount)
        assert len(ambiguous.value.receipts) == 2
    with pytest.raises(NotFound, match="not paid by txn_9"):
        await letter(paid, "a", receipt="txn_9")
    with pytest.raises(InvalidRequest, match=r"no more than 600\.00 THB was paid at once"):
        await letter(paid, "a", 700_00, receipt="txn_2")
    assert await house.rows("SELECT FROM gateway.disputes") == []
    assert await letter(paid, "a", receipt="txn_2") == (first, SECOND_MINOR, True)
    assert await letter(paid, "a") == (first, SECOND_MINOR, False)
    with pytest.raises(InvalidRequest, match="the case is about fact_test_"):
        await letter(paid, "a", receipt="another")
    assert await letter(paid, "a", stage=DisputeStage.PREARBITRATION) == (first, SECOND_MINOR, True)
    assert await letter(paid, "b") == (second, 1_000_00, True), "the only one that is not disputed"


async def test_of_a_payment_that_was_paid_twice_the_letter_names_which_money_is_taken(house, merchant, letter):
    intent = await house.intents.create(merchant, QR_ASKED)
    for transaction in ("txn_1", "txn_2"):
        await house.pay(merchant, intent, house.scb, transaction=transaction)
    before = await house.balances(merchant)
    with pytest.raises(ReceiptAmbiguous) as ambiguous:
        await letter(intent, "a")
    [(mine, line), (held, held_line)] = ambiguous.value.receipts
    assert ("held" in line, "1000.00 of it held" in held_line, "txn_2" in held_line) == (False, True, True)
    assert await house.balances(merchant) == before
    await letter(intent, "a", receipt=mine)
    taken = await house.balances(merchant)
    assert before["merchant_pending"] - taken["merchant_pending"] == 1_000_00
    await letter(intent, "b", receipt=held)
    both = await house.balances(merchant)
    assert (both["merchant_pending"], both.get("payer_refundable")) == (taken["merchant_pending"], None)
    assert both["dispute_hold"] == 2_000_00
    rows = await house.rows("SELECT receipt_id, payer_minor FROM gateway.disputes ORDER BY dispute_id")
    assert rows == [{"receipt_id": mine, "payer_minor": 0}, {"receipt_id": held, "payer_minor": 1_000_00}]


async def test_a_letter_about_a_payment_that_was_only_accepted_is_booked(house, merchant):
    intent = await house.intents.create(merchant, QR_ASKED)
    terms = DisputeTerms(reference="a", stage=DisputeStage.DISPUTE, reason_code="general")

    async def letter():
        return await house.dispute_acts.open(merchant.book_id, intent.id, terms, actor="op_ann", reason="a letter")

    with pytest.raises(Refused) as refused:
        await letter()
    assert (refused.value.code, await house.entries(merchant)) == ("payment_not_captured", [])
    await house.pay(merchant, intent, house.scb, seconds=3_600)
    await house.accepting.accept(merchant, intent.id, acceptance_id=new_id("acp", livemode=False))
    assert (await letter()).dispute.amount_minor == 1_000_00
    assert (await house.balances(merchant))["dispute_hold"] == 1_000_00


async def test_held_money_of_a_disputed_charge_is_not_offered_back_for_its_payers_bank_takes_it(house, merchant, held):
    await dispute(house, merchant, held, 0, OPENED, amount=SECOND_MINOR)
    before = (await house.balances(merchant), await house.event_types(merchant))
    with pytest.raises(Refused) as no:
        await offer(house, merchant, held)
    assert no.value.code == "payment_disputed"
    assert (await house.balances(merchant), await house.event_types(merchant)) == before
    assert await house.rows("SELECT FROM gateway.refund_claims") == []
    await dispute(house, merchant, held, 0, WON, amount=SECOND_MINOR)
    assert (await offer(house, merchant, held)).amount == SECOND_MINOR


async def test_held_money_of_a_disputed_charge_pays_for_what_the_bank_took(house, merchant, held):
    before = await house.balances(merchant)
    await dispute(house, merchant, held, 0, WITHDRAWN, FactKind.DISPUTE_LOST, amount=SECOND_MINOR)
    after = await house.balances(merchant)
    for use in (offer, accept):
        with pytest.raises(Refused) as no:
            await use(house, merchant, held)
        assert no.value.code == "payment_disputed"
    assert await house.balances(merchant) == after
    assert before["provider_receivable"] - after["provider_receivable"] == SECOND_MINOR
    assert (before["payer_refundable"], after.get("payer_refundable")) == (SECOND_MINOR, None)
    assert (before["merchant_pending"], after["merchant_available"]) == (after["merchant_pending"], -535_00), "the fee"


async def test_held_money_of_a_charge_that_is_not_disputed_is_offered_back_as_ever(house, merchant, held):
    await dispute(house, merchant, held, 1, OPENED, amount=1_000_00)
    assert (await offer(house, merchant, held)).amount == SECOND_MINOR
