"""A settlement moves what became available, once, and pays out what it fixed before it began."""

import asyncio

import pytest
from lxml import etree

from gateway.settlement.payouts import PayoutState
from gateway.settlement.runs import Sweeper
from ledger.chart_of_accounts import AccountKind
from ledger.errors import LedgerUnavailable
from ledger.feed import head
from ledger.journal import EntryKind
from ledger.posting_rules.fees_and_tax import Fee
from tests.settlement.conftest import new_shop
from tests.settlement.shops import MONDAY, THURSDAY, TUESDAY, WEDNESDAY


async def position(shop) -> int:
    async with shop.database.ledger_pool.acquire() as connection:
        return await head(connection, shop.book_id)


async def test_money_of_the_day_is_moved_and_paid_out(shop):
    await shop.capture(1_000_00, available_on=TUESDAY, fee=Fee(amount_minor=16_50, vat_minor=1_16))
    await shop.capture(500_00, available_on=WEDNESDAY)
    result = await shop.run.run(shop.book_id, TUESDAY)
    assert (result.settlements, result.became_available_minor, result.payouts, result.payouts_minor) == (
        1,
        982_34,
        1,
        982_34,
    )
    assert (result.payouts_refused, result.files_submitted) == (0, 1)
    assert await shop.money() == (500_00, 0, 982_34)
    [settlement] = await shop.settlements()
    assert (settlement["number"], settlement["previous_cut"], settlement["cut"]) == (1, 0, 2)
    assert (settlement["carried_in_minor"], settlement["carried_out_minor"], settlement["state"]) == (0, 0, "closed")
    [payout] = await shop.payouts()
    assert (payout.amount_minor, payout.state, payout.last_four) == (982_34, PayoutState.IN_TRANSIT, "0001")
    assert await shop.states(payout.payout_id) == ["requested", "approved", "submitted", "in_transit"]
    assert len(payout.end_to_end_id) == 32
    assert payout.end_to_end_id.isalnum()


async def test_bank_gets_the_file_that_is_kept(shop):
    await shop.capture(1_000_00, available_on=TUESDAY)
    await shop.run.run(shop.book_id, TUESDAY)
    [file], [(message_id, content)], [payout] = await shop.files(), shop.bank.files, await shop.payouts()
    assert (file["message_id"], file["state"], file["count"], file["control_minor"]) == (
        message_id,
        "acked",
        1,
        1_000_00,
    )
    assert file["bank_reference"] == "BF1"
    assert await shop.run.files.content(shop.book_id, file["payout_file_id"]) == content
    document = etree.fromstring(content)
    assert document.findtext(".//{*}EndToEndId") == payout.end_to_end_id
    assert document.findtext(".//{*}CdtrAcct/{*}Id/{*}Othr/{*}Id") == "9990000001"
    assert document.findtext(".//{*}ReqdExctnDt/{*}Dt") == TUESDAY.isoformat()
    assert b"9990000001" not in file["sealed_content"] + payout.sealed_destination


async def test_second_run_of_the_day_does_nothing(shop):
    await shop.capture(1_000_00, available_on=TUESDAY)
    await shop.run.run(shop.book_id, TUESDAY)
    before, money = await position(shop), await shop.money()
    again = await shop.run.run(shop.book_id, TUESDAY)
    assert (again.settlements, again.payouts, again.files_submitted) == (0, 0, 0)
    assert (await position(shop), await shop.money()) == (before, money)
    assert len(shop.bank.files) == 1


async def test_two_runs_at_once_settle_once(shop):
    await shop.capture(1_000_00, available_on=TUESDAY)
    await asyncio.gather(*(shop.run.run(shop.book_id, TUESDAY) for _ in range(4)))
    assert await shop.money() == (0, 0, 1_000_00)
    assert (len(await shop.settlements()), len(await shop.payouts()), len(shop.bank.files)) == (1, 1, 1)


async def test_less_than_the_minimum_is_carried_on_until_it_is_enough(shop):
    await shop.capture(60_00, available_on=TUESDAY)
    await shop.run.run(shop.book_id, TUESDAY)
    assert await shop.money() == (0, 60_00, 0)
    [first] = await shop.settlements()
    assert (first["carried_out_minor"], first["payout_id"]) == (60_00, None)
    await shop.run.run(shop.book_id, WEDNESDAY)
    assert len(await shop.settlements()) == 1
    await shop.capture(40_00, available_on=THURSDAY)
    await shop.run.run(shop.book_id, THURSDAY)
    assert await shop.money() == (0, 0, 100_00)
    second = (await shop.settlements())[1]
    assert (second["number"], second["carried_in_minor"], second["payout_minor"]) == (2, 60_00, 100_00)


async def test_negative_day_is_a_claim_that_the_next_money_pays_first(shop):
    captured = await shop.capture(300_00, available_on=TUESDAY)
    await shop.run.run(shop.book_id, TUESDAY)
    other = await shop.capture(500_00, available_on=THURSDAY)
    # The refund was decided before the day was settled and recorded after: the day is over, and 200 too low.
    await shop.refund(captured, 200_00, pending_until=TUESDAY)
    result = await shop.run.run(shop.book_id, WEDNESDAY)
    assert (result.became_available_minor, result.payouts) == (-200_00, 0)
    assert await shop.money() == (500_00, 0, 300_00)
    assert await shop.balance(AccountKind.MERCHANT_RECEIVABLE) == 200_00
    await shop.refund(other, 50_00, pending_until=THURSDAY)
    await shop.run.run(shop.book_id, THURSDAY)
    assert await shop.money() == (0, 0, 550_00)
    assert await shop.balance(AccountKind.MERCHANT_RECEIVABLE) == 0
    listed = await shop.settlements()
    assert [each["carried_out_minor"] for each in listed] == [0, 0, 0]
    assert [each["debt_minor"] for each in listed] == [0, 200_00, -200_00]
    assert [each["payout_minor"] for each in listed] == [300_00, 0, 250_00]


async def test_payout_is_rejected_and_nothing_moves_when_the_money_left_after_the_cut(shop, monkeypatch):
    captured = await shop.capture(300_00, available_on=MONDAY)
    run = shop.run
    genuine = run.payouts.reserve

    async def refunded_meanwhile(book_id, payout_id):
        await shop.refund(captured, 250_00, pending_until=None)
        return await genuine(book_id, payout_id)

    monkeypatch.setattr(run.payouts, "reserve", refunded_meanwhile)
    result = await run.run(shop.book_id, TUESDAY)
    assert (result.payouts, result.payouts_refused, result.files_submitted) == (0, 1, 0)
    assert await shop.money() == (0, 50_00, 0)
    [payout], [settlement] = await shop.payouts(), await shop.settlements()
    assert (payout.state, payout.reject_code, payout.reserved_sequence) == (PayoutState.REJECTED, "below_floor", None)
    assert (settlement["carried_out_minor"], settlement["payout_minor"]) == (300_00, 0)
    assert "payout.failed" not in await shop.events()


async def test_what_a_refund_takes_of_a_day_after_the_cut_is_not_paid_out_as_well(shop, monkeypatch):
    captured = await shop.capture(1_000_00, available_on=TUESDAY)
    run = shop.run
    genuine = run._make_available

    async def refunded_before(settlement):
        if not await shop.balance(AccountKind.REFUNDS_PAYABLE):
            await shop.refund(captured, 400_00, pending_until=TUESDAY)
        await genuine(settlement)

    monkeypatch.setattr(run, "_make_available", refunded_before)
    result = await run.run(shop.book_id, TUESDAY)
    assert (result.payouts, result.payouts_refused, result.files_submitted) == (0, 1, 0)
    assert await shop.money() == (-400_00, 1_000_00, 0)
    [payout] = await shop.payouts()
    assert (payout.state, payout.reject_code, payout.reserved_sequence) == (PayoutState.REJECTED, "below_floor", None)
    assert [event for event in await shop.events() if event.startswith("payout")] == []
    await run.run(shop.book_id, WEDNESDAY)
    assert await shop.money() == (0, 0, 600_00)
    listed = await shop.settlements()
    assert [each["carried_out_minor"] for each in listed] == [1_000_00, 0]
    assert [(each["payout_minor"], each["debt_minor"]) for each in listed] == [(0, 0), (600_00, 0)]


async def test_payout_that_is_reserved_stays_whatever_is_taken_of_its_day_later(shop, monkeypatch):
    captured = await shop.capture(1_000_00, available_on=TUESDAY)
    await shop.capture(500_00, available_on=THURSDAY)
    genuine = shop.ledger.post

    async def post(book_id, entry):
        result = await genuine(book_id, entry)
        if entry.kind is EntryKind.PAYOUT_REQUESTED:
            raise LedgerUnavailable("gone after the commit")
        return result

    with monkeypatch.context() as broken:
        broken.setattr(shop.ledger, "post", post)
        with pytest.raises(ExceptionGroup):
            await shop.run.run(shop.book_id, TUESDAY)
    await shop.refund(captured, 400_00, pending_until=TUESDAY)
    await Sweeper(shop.database, shop.run).run_once()
    [payout], [settlement] = await shop.payouts(), await shop.settlements()
    assert (payout.state, settlement["state"]) == (PayoutState.IN_TRANSIT, "closed")
    assert await shop.money() == (100_00, 0, 1_000_00)


async def test_claim_is_posted_once_by_a_run_that_died_after_posting_it(shop, monkeypatch):
    captured = await shop.capture(300_00, available_on=TUESDAY)
    await shop.run.run(shop.book_id, TUESDAY)
    await shop.capture(500_00, available_on=THURSDAY)
    await shop.refund(captured, 200_00, pending_until=TUESDAY)
    genuine = shop.ledger.post

    async def post(book_id, entry):
        result = await genuine(book_id, entry)
        if entry.kind is EntryKind.MERCHANT_DEBT_RECOGNISED:
            raise LedgerUnavailable("gone after the commit")
        return result

    with monkeypatch.context() as broken:
        broken.setattr(shop.ledger, "post", post)
        with pytest.raises(ExceptionGroup):
            await shop.run.run(shop.book_id, WEDNESDAY)
    # What came in meanwhile changes nothing of the plan.
    await shop.capture(70_00, available_on=WEDNESDAY)
    await Sweeper(shop.database, shop.run).run_once()
    assert await shop.balance(AccountKind.MERCHANT_RECEIVABLE) == 200_00
    assert await shop.money() == (570_00, 0, 300_00)
    assert [each["state"] for each in await shop.settlements()] == ["closed", "closed"]


@pytest.mark.parametrize("survived", range(4))
async def test_run_goes_on_where_a_crash_stopped_it(shop, monkeypatch, survived):
    """The ledger goes away after `survived` calls, each time answered or not; a later run finishes."""
    for day in (MONDAY, TUESDAY):
        await shop.capture(1_000_00, available_on=day)
    genuine, calls = shop.ledger.post, 0

    async def post(book_id, entry):
        nonlocal calls
        calls += 1
        result = await genuine(book_id, entry)
        if calls > survived:
            raise LedgerUnavailable("gone after the commit")
        return result

    monkeypatch.setattr(shop.ledger, "post", post)
    if survived < 3:
        with pytest.raises(ExceptionGroup):
            await shop.run.run(shop.book_id, TUESDAY)
    monkeypatch.setattr(shop.ledger, "post", genuine)
    await Sweeper(shop.database, shop.run).run_once()
    assert await shop.money() == (0, 0, 2_000_00) or survived == 3
    await shop.run.run(shop.book_id, TUESDAY)
    assert await shop.money() == (0, 0, 2_000_00)
    assert await position(shop) == 5
    assert (len(await shop.settlements()), len(shop.bank.files)) == (1, 1)
    assert (await shop.events()).count("payout.created") == 1


async def test_merchants_of_a_book_are_settled_apart(opened, vault, ledger, bank):
    one, two = [await new_shop(opened, vault, ledger, bank) for _ in range(2)]
    await one.capture(1_000_00, available_on=TUESDAY)
    await two.capture(2_000_00, available_on=TUESDAY)
    await one.run.run(one.book_id, TUESDAY)
    assert await one.money() == (0, 0, 1_000_00)
    assert await two.money() == (2_000_00, 0, 0)
