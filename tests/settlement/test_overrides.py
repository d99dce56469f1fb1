"""A payout of which the bank says nothing is settled by two people; the bank's statement still proves or refutes it."""

from datetime import timedelta

import pytest

from gateway.merchants.clocks import advance, clock_of
from gateway.payments.errors import Refused
from gateway.settlement.confirmations import Confirmation
from gateway.settlement.overrides import Overrides, Proposal
from gateway.settlement.payouts import PayoutState
from ledger.chart_of_accounts import AccountKind
from ledger.posting_rules.marks import PAYOUTS
from tests.settlement.shops import SILENT, TUESDAY, WEDNESDAY

ANN, BEN = "cli:ann", "cli:ben"


@pytest.fixture
async def payout(shop):
    """In a file that the bank did not answer to, two hours ago."""
    shop.bank.outcomes = [SILENT]
    await shop.capture(1_000_00, available_on=TUESDAY)
    await shop.run.run(shop.book_id, TUESDAY)
    async with shop.database.transaction() as connection:
        now = (await clock_of(connection, shop.book_id)).now()
        await advance(connection, shop.book_id, now + timedelta(hours=2))
    [payout] = await shop.payouts()
    assert payout.state is PayoutState.UNKNOWN
    return payout


@pytest.fixture
def overrides(shop):
    return Overrides(shop.database, None, None, shop.run.payouts)


async def settle(shop, overrides, payout, outcome):
    proposal = Proposal(subject=payout.payout_id, outcome=outcome, evidence="call to the bank", reason="silence")
    row = await overrides.propose(shop.book_id, proposal, actor=ANN)
    with pytest.raises(Refused, match=ANN) as no:
        await overrides.approve(shop.book_id, row.override_id, actor=ANN, reason="sure")
    assert no.value.code == "second_person_required"
    assert (await shop.payouts())[0].state is PayoutState.UNKNOWN
    return await overrides.approve(shop.book_id, row.override_id, actor=BEN, reason="seen")


async def waiting(shop):
    return await shop.balance(AccountKind.UNIDENTIFIED_RECEIPTS, PAYOUTS)


async def test_marked_payout_is_proved_by_the_statement(shop, overrides, payout):
    done = await settle(shop, overrides, payout, "succeeded")
    assert (done.result, done.subject_kind, done.amount_minor) == ("applied", "payout", 1_000_00)
    [marked] = await shop.payouts()
    assert (marked.state, marked.bank_reference) == (PayoutState.PAID, None)
    assert (await shop.money(), await waiting(shop)) == ((0, 0, 0), 1_000_00)
    assert await shop.balance(AccountKind.BANK, "scb_main") == 0
    seen = await shop.seen(payout)
    assert await shop.confirmations.confirm(shop.book_id, seen) is Confirmation.CONFIRMED
    assert await shop.confirmations.confirm(shop.book_id, seen) is Confirmation.ALREADY_CONFIRMED
    other = await shop.seen(payout, line_id="line_2")
    assert await shop.confirmations.confirm(shop.book_id, other) is Confirmation.NOT_EXPECTED
    assert (await shop.money(), await waiting(shop)) == ((0, 0, 0), 0)
    assert await shop.balance(AccountKind.BANK, "scb_main") == -1_000_00
    [proved] = await shop.payouts()
    assert (proved.state, proved.value_on, proved.bank_reference) == (PayoutState.PAID, TUESDAY, "line_1")
    assert (await shop.events()).count("payout.paid") == 1


async def test_marked_payout_that_comes_back_is_the_merchants_money_again(shop, overrides, payout):
    await settle(shop, overrides, payout, "succeeded")
    back = await shop.seen(payout, line_id="line_9", value_on=WEDNESDAY, returned=True)
    assert await shop.confirmations.confirm(shop.book_id, back) is Confirmation.CONFIRMED
    assert await shop.confirmations.confirm(shop.book_id, await shop.seen(payout)) is Confirmation.CONFIRMED
    assert (await shop.money(), await waiting(shop)) == ((0, 1_000_00, 0), 0)
    assert await shop.balance(AccountKind.BANK, "scb_main") == 0
    assert (await shop.payouts())[0].state is PayoutState.RETURNED


async def test_payout_held_to_have_failed_is_never_handed_over_again(shop, overrides, payout):
    await settle(shop, overrides, payout, "failed")
    [failed] = await shop.payouts()
    assert (failed.state, failed.reject_code) == (PayoutState.REJECTED, "settled_as_failed")
    assert (await shop.money(), await waiting(shop)) == ((0, 1_000_00, 0), 0)
    assert [file["state"] for file in await shop.files()] == ["rejected"]
    sent = len(shop.bank.files)
    await shop.run.run(shop.book_id, TUESDAY)
    assert len(shop.bank.files) == sent
    assert (await shop.events())[-1] == "payout.failed"


async def test_payout_that_the_bank_has_taken_needs_nobody(shop, overrides):
    await shop.capture(1_000_00, available_on=TUESDAY)
    await shop.run.run(shop.book_id, TUESDAY)
    [payout] = await shop.payouts()
    with pytest.raises(Refused) as no:
        await settle(shop, overrides, payout, "succeeded")
    assert (no.value.code, payout.state) == ("override_not_needed", PayoutState.IN_TRANSIT)
    assert await shop.money() == (0, 0, 1_000_00)
