"""Held money that goes back to its payer by a claim and through his bank's dispute: he has it twice, and owes it."""

import itertools

import pytest
from msgspec.structs import replace

from gateway.payments.errors import Refused
from gateway.providers.base import FactKind
from gateway.providers.dispute_terms import DisputeStage, DisputeTerms
from gateway.settlement.confirmations import Confirmation
from gateway.settlement.unmatched import unmatched
from ledger.verification import verify
from tests.payments.test_disputes_money import fact_of
from tests.settlement.desk import ACCOUNT

EXCESS_MINOR = 250_00


async def disputed(desk, intent, *outcomes):
    """A letter says that the receipt's excess is disputed; then what became of it."""
    acts, said = desk.house.dispute_acts, {"actor": "op_ann", "reason": "a letter"}
    terms = DisputeTerms(reference=f"case {intent.id}", stage=DisputeStage.DISPUTE, reason_code="general")
    known = (await acts.open(desk.book_id, intent.id, terms, amount_minor=EXCESS_MINOR, **said)).dispute
    for outcome in outcomes:
        await acts.record(desk.book_id, known.dispute_id, outcome, **said)


@pytest.fixture
async def sent(desk):
    """A payment of 1,000 baht that was paid with 1,250, whose excess is claimed and on its way to its payer."""
    intent = await desk.paid(amount=1_000_00 + EXCESS_MINOR)
    claim = await desk.held.offer(desk.book_id, intent.id, account_id=desk.merchant.account_id, actor="acct")
    await desk.claims.claim(claim.token, ACCOUNT)
    assert await desk.sent() == 1
    return intent, claim


async def owed(desk):
    found = await unmatched(desk.house.database, desk.book_id)
    assert [tie for tie in found.tie_outs if tie.difference_minor] == []
    return [(row.place, row.reason, row.amount_minor) for row in found.rows]


FEE = {"fee_income": 500_00, "output_vat": 35_00, "merchant_available": -535_00}


def plus(before, **changes):
    keys = {*before, *changes}
    return {name: total for name in keys if (total := before.get(name, 0) + changes.get(name, 0))}


@pytest.mark.parametrize("is_disputed_first", [True, False])
async def test_whichever_road_was_first_the_payer_owes_what_he_has_twice(desk, sent, is_disputed_first):
    intent, claim = sent
    before = await desk.balances()
    if is_disputed_first:
        await disputed(desk, intent, FactKind.DISPUTE_FUNDS_WITHDRAWN)
        assert (await desk.balances()).get("payer_refundable") is None
    assert await desk.seen(claim.id) is Confirmation.CONFIRMED
    if not is_disputed_first:
        await disputed(desk, intent, FactKind.DISPUTE_FUNDS_WITHDRAWN)
    twice = plus(
        before,
        payer_refundable=-EXCESS_MINOR,
        payer_receivable=EXCESS_MINOR,
        provider_receivable=-EXCESS_MINOR,
        bank=-EXCESS_MINOR,
    )
    assert await desk.balances() == twice, "nothing of it is the merchant's"
    assert await owed(desk) == [("owed", "paid_back_twice", EXCESS_MINOR)]
    view = await desk.house.intents.get(desk.merchant, intent.id)
    assert (view.amount_held, view.amount_returned, view.amount_disputed, view.amount_refundable) == (
        0,
        EXCESS_MINOR,
        EXCESS_MINOR,
        1_000_00,
    )
    with pytest.raises(Refused):
        await desk.held.offer(desk.book_id, intent.id, account_id=desk.merchant.account_id, actor="acct")
    async with desk.house.database.ledger_pool.acquire() as connection:
        assert (await verify(connection, desk.book_id)).passed


ORDERS = [
    order
    for order in itertools.permutations(["paid", "disputed", "won", "returned"])
    if order.index("paid") < order.index("returned") and order.index("disputed") < order.index("won")
]


@pytest.mark.parametrize("order", ORDERS)
async def test_a_won_dispute_and_a_returned_transfer_each_end_the_debt_in_any_order(desk, sent, order):
    intent, claim = sent
    before = await desk.balances()
    for step in order:
        match step:
            case "paid":
                assert await desk.seen(claim.id) is Confirmation.CONFIRMED
            case "returned":
                assert await desk.seen(claim.id, returned=True, line_id="back") is Confirmation.CONFIRMED
            case "disputed":
                await disputed(desk, intent, FactKind.DISPUTE_FUNDS_WITHDRAWN)
            case _:
                await disputed(desk, intent, FactKind.DISPUTE_WON)
        assert len(await owed(desk)) <= 1
    assert await desk.balances() == before
    assert await owed(desk) == [("held", "over", EXCESS_MINOR)]


async def test_a_charge_that_was_paid_twice_and_paid_back_once_is_disputed_in_what_was_not(desk):
    intent = await desk.paid()
    await desk.house.pay(desk.merchant, intent, desk.house.scb, transaction="txn_again")
    claim = await desk.held.offer(desk.book_id, intent.id, account_id=desk.merchant.account_id, actor="acct")
    await desk.claims.claim(claim.token, ACCOUNT)
    assert await desk.sent() == 1
    assert await desk.seen(claim.id) is Confirmation.CONFIRMED
    before = await desk.balances()
    fact = await fact_of(desk.house, desk.merchant, intent, FactKind.DISPUTE_OPENED)
    await desk.house.applier.apply(replace(fact, provider="scb"), book_id=desk.book_id)
    assert await desk.balances() == plus(before, merchant_pending=-1_000_00, dispute_hold=1_000_00)
    assert await owed(desk) == [], "he has of it once what he paid twice"
