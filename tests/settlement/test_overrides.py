"""A payout of which the bank says nothing is settled by two people; the bank's statement still proves or refutes it."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from gateway.merchants.clocks import advance, clock_of
from gateway.payments.errors import Refused
from gateway.settlement.confirmations import Confirmation
from gateway.settlement.overrides import Overrides, Proposal
from gateway.settlement.payouts import PayoutState
from gateway.settlement.runs import Sweeper
from gateway.settlement.submission import measure_in_transit, measure_unanswered
from gateway.settlement.tables import payout_files, payouts
from gateway.settlement.unknowns import unknowns
from ledger.chart_of_accounts import AccountKind
from ledger.posting_rules.marks import PAYOUTS
from tests.settlement.shops import ACCEPTED, SILENT, TUESDAY, WEDNESDAY, two_in_a_file

ANN, BEN = "cli:ann", "cli:ben"
PAST = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def payout(shop):
    """In a file that the bank did not answer to, two hours ago."""
    shop.bank.outcomes = [SILENT]
    await shop.capture(1_000_00, available_on=TUESDAY)
    await shop.run.run(shop.book_id, TUESDAY)
    await hours_pass(shop)
    [payout] = await shop.payouts()
    assert payout.state is PayoutState.UNKNOWN
    return payout


@pytest.fixture
def overrides(shop):
    return Overrides(shop.database, None, None, shop.run.payouts)


async def hours_pass(shop):
    async with shop.database.transaction() as connection:
        now = (await clock_of(connection, shop.book_id)).now()
        await advance(connection, shop.book_id, now + timedelta(hours=2))


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


async def test_payout_is_not_held_to_have_failed_while_its_file_is_with_the_bank(shop, overrides, payout, monkeypatch):
    async def approved_meanwhile(account, *, message_id, content):
        with pytest.raises(Refused) as no:
            await settle(shop, overrides, payout, "failed")
        assert no.value.code == "override_too_early"
        return ACCEPTED

    monkeypatch.setattr(shop.bank, "submit_payment_file", approved_meanwhile)
    await handed_over_again(shop)
    [taken], [file] = await shop.payouts(), await shop.files()
    assert (taken.state, file["state"]) == (PayoutState.IN_TRANSIT, "acked")
    assert (await shop.money(), "payout.failed" in await shop.events()) == ((0, 0, 1_000_00), False)
    await overrides.run_once()
    [row], _ = await overrides.list(shop.book_id)
    assert (row.decision, row.result) == ("approved", "not_needed")
    assert await shop.money() == (0, 0, 1_000_00)


async def test_what_was_approved_during_a_call_is_carried_out_when_the_bank_stays_silent(
    shop, overrides, payout, monkeypatch
):
    async def approved_meanwhile(account, *, message_id, content):
        with pytest.raises(Refused, match="at this moment"):
            await settle(shop, overrides, payout, "failed")
        return SILENT

    with monkeypatch.context() as patch:
        patch.setattr(shop.bank, "submit_payment_file", approved_meanwhile)
        await handed_over_again(shop)
    assert (await shop.payouts())[0].state is PayoutState.UNKNOWN
    await overrides.run_once()
    [row], _ = await overrides.list(shop.book_id)
    assert (row.result, (await shop.payouts())[0].state) == ("applied", PayoutState.REJECTED)
    assert (await shop.money(), [file["state"] for file in await shop.files()]) == ((0, 1_000_00, 0), ["rejected"])


async def test_bank_that_takes_the_file_before_the_payout_is_rejected_has_the_last_word(
    shop, overrides, payout, monkeypatch
):
    genuine = overrides._settle_payout

    async def taken_first(row):
        shop.bank.outcomes = [ACCEPTED]
        await handed_over_again(shop)
        await genuine(row)

    monkeypatch.setattr(overrides, "_settle_payout", taken_first)
    with pytest.raises(Refused) as no:
        await settle(shop, overrides, payout, "failed")
    assert (no.value.code, (await shop.payouts())[0].state) == ("override_not_needed", PayoutState.IN_TRANSIT)
    assert await shop.money() == (0, 0, 1_000_00)


async def test_answer_to_a_call_that_outlived_its_lease_is_told_to_a_person(shop, overrides, monkeypatch, caplog):
    shop.bank.outcomes = [SILENT]
    failed, other = await two_in_a_file(shop, monkeypatch)
    await hours_pass(shop)

    async def settled_meanwhile(account, *, message_id, content):
        await changed(shop, payout_files, calling_until=PAST, lease_until=PAST)
        assert (await settle(shop, overrides, failed, "failed")).result == "applied"
        return ACCEPTED

    monkeypatch.setattr(shop.bank, "submit_payment_file", settled_meanwhile)
    await handed_over_again(shop)
    [file] = await shop.files()
    states = {each.payout_id: each.state for each in await shop.payouts()}
    assert states == {failed.payout_id: PayoutState.REJECTED, other.payout_id: PayoutState.IN_TRANSIT}
    assert (file["state"], await shop.money()) == ("rejected", (0, failed.amount_minor, other.amount_minor))
    [said] = [record for record in caplog.records if "contradicts" in record.getMessage()]
    assert (said.levelname, said.known, said.answer) == ("ERROR", "rejected", "acked")


async def test_money_on_its_way_is_on_show_for_live_books_only(shop, monkeypatch):
    async def on_show():
        async with shop.database.read() as connection:
            return await measure_in_transit(connection)

    shop.bank.outcomes = [SILENT]
    failed, other = await two_in_a_file(shop, monkeypatch)
    assert await on_show() == 0
    await changed(shop, payouts, livemode=True)
    assert await on_show() == failed.amount_minor + other.amount_minor


async def test_payouts_of_a_withdrawn_file_count_until_their_fate_is_known(shop, overrides, monkeypatch):
    async def counted():
        async with shop.database.read() as connection:
            return await measure_unanswered(connection)

    async def reasons():
        found = await unknowns(shop.database, shop.book_id)
        assert {row.payout_file_id for row in found} <= {failed.payout_file_id}
        return {row.subject_id: row.reason for row in found}

    shop.bank.outcomes = [SILENT]
    failed, other = await two_in_a_file(shop, monkeypatch)
    await hours_pass(shop)
    before = await counted()
    assert await reasons() == {failed.payout_id: "bank_silent", other.payout_id: "bank_silent"}
    await settle(shop, overrides, failed, "failed")
    assert await reasons() == {other.payout_id: "file_withdrawn"}
    assert await counted() == before
    await changed(shop, payouts, submitted_at=datetime.now(UTC) - timedelta(minutes=61))
    assert await counted() == before + 1
    sent = len(shop.bank.files)
    await handed_over_again(shop)
    assert len(shop.bank.files) == sent
    assert await shop.confirmations.confirm(shop.book_id, await shop.seen(other)) is Confirmation.CONFIRMED
    assert (await counted(), await shop.money()) == (before, (0, failed.amount_minor, 0))
    assert await reasons() == {}


async def changed(shop, table, **columns):
    async with shop.database.transaction() as connection:
        await connection.execute(update(table).where(table.c.book_id == shop.book_id).values(**columns))


async def handed_over_again(shop):
    await changed(shop, payout_files, lease_until=PAST)
    await Sweeper(shop.database, shop.run).run_once()


async def test_payout_that_the_bank_has_taken_needs_nobody(shop, overrides):
    await shop.capture(1_000_00, available_on=TUESDAY)
    await shop.run.run(shop.book_id, TUESDAY)
    [payout] = await shop.payouts()
    with pytest.raises(Refused) as no:
        await settle(shop, overrides, payout, "succeeded")
    assert (no.value.code, payout.state) == ("override_not_needed", PayoutState.IN_TRANSIT)
    assert await shop.money() == (0, 0, 1_000_00)
