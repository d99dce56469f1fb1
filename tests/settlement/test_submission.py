"""A file reaches the bank once under one name, whatever the bank answers; a certain no gives the money back."""

from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import update

from gateway.merchants import data_keys
from gateway.settlement.payouts import IllegalMove, PayoutState
from gateway.settlement.runs import Sweeper
from gateway.settlement.tables import payout_files, payouts
from tests.settlement.shops import ACCEPTED, REFUSED, SILENT, TUESDAY, UNREACHABLE, WEDNESDAY, two_in_a_file


async def lease_lapses(shop) -> None:
    async with shop.database.transaction() as connection:
        past = datetime.now(UTC) - timedelta(seconds=1)
        mine = payout_files.c.book_id == shop.book_id
        await connection.execute(update(payout_files).where(mine).values(lease_until=past))


async def settled(shop):
    await shop.capture(1_000_00, available_on=TUESDAY)
    await shop.run.run(shop.book_id, TUESDAY)
    [payout] = await shop.payouts()
    return payout


async def test_unknown_outcome_is_asked_again_with_the_same_bytes_under_the_same_name(shop):
    shop.bank.outcomes = [SILENT, SILENT, ACCEPTED]
    payout = await settled(shop)
    assert payout.state is PayoutState.UNKNOWN
    assert await shop.money() == (0, 0, 1_000_00)
    # Nobody asks again while the pause runs, and no second file is made of the same payout.
    await Sweeper(shop.database, shop.run).run_once()
    await shop.run.run(shop.book_id, TUESDAY)
    assert len(shop.bank.files) == 1
    for _ in range(2):
        await lease_lapses(shop)
        await Sweeper(shop.database, shop.run).run_once()
    assert len(shop.bank.files) == 3
    assert len(set(shop.bank.files)) == 1
    [payout] = await shop.payouts()
    assert payout.state is PayoutState.IN_TRANSIT
    assert await shop.states(payout.payout_id) == ["requested", "approved", "submitted", "unknown", "in_transit"]
    await lease_lapses(shop)
    assert await Sweeper(shop.database, shop.run).run_once() == 0


async def test_refused_file_gives_the_money_back_and_says_why(shop):
    shop.bank.outcomes = [REFUSED]
    payout = await settled(shop)
    assert (payout.state, payout.reject_code) == (PayoutState.REJECTED, "file_rejected")
    assert await shop.money() == (0, 1_000_00, 0)
    assert [file["state"] for file in await shop.files()] == ["rejected"]
    assert await shop.events() == ["payout.created", "payout.approved", "payout.failed"]


async def test_refusal_of_a_file_strands_nobody_for_a_payout_that_is_held_to_be_paid(shop, monkeypatch, caplog):
    shop.bank.outcomes = [SILENT, REFUSED]
    marked, other = await two_in_a_file(shop, monkeypatch)
    await shop.run.payouts.mark_paid(shop.book_id, marked.payout_id, actor="op_1", reason="seen")
    await lease_lapses(shop)
    await Sweeper(shop.database, shop.run).run_once()
    marked, other = await shop.payouts()
    assert (marked.state, other.state, other.reject_code) == (PayoutState.PAID, PayoutState.REJECTED, "file_rejected")
    assert await shop.money() == (0, other.amount_minor, 0)
    assert [file["state"] for file in await shop.files()] == ["rejected"]
    said = [record for record in caplog.records if "held to be paid" in record.getMessage()]
    assert [(record.levelname, record.payout) for record in said] == [("ERROR", marked.payout_id)]
    await lease_lapses(shop)
    assert await Sweeper(shop.database, shop.run).run_once() == 0
    assert len(shop.bank.files) == 2


async def test_money_of_a_refused_file_is_paid_out_the_next_day_under_another_name(shop):
    shop.bank.outcomes = [REFUSED, ACCEPTED]
    await settled(shop)
    await shop.run.run(shop.book_id, WEDNESDAY)
    assert await shop.money() == (0, 0, 1_000_00)
    first, second = await shop.payouts()
    assert (first.state, second.state) == (PayoutState.REJECTED, PayoutState.IN_TRANSIT)
    assert first.end_to_end_id != second.end_to_end_id
    assert [name for name, _ in shop.bank.files] == [file["message_id"] for file in await shop.files()]


async def test_unreachable_bank_leaves_the_file_waiting(shop):
    shop.bank.outcomes = [UNREACHABLE, ACCEPTED]
    payout = await settled(shop)
    assert payout.state is PayoutState.SUBMITTED
    await lease_lapses(shop)
    await Sweeper(shop.database, shop.run).run_once()
    [payout] = await shop.payouts()
    assert payout.state is PayoutState.IN_TRANSIT
    assert len(set(shop.bank.files)) == 1


async def test_crash_while_calling_is_seen_as_handed_over(shop, monkeypatch):
    async def crash(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(shop.bank, "submit_payment_file", crash)
    with pytest.raises(KeyboardInterrupt):
        await settled(shop)
    monkeypatch.undo()
    [payout], [file] = await shop.payouts(), await shop.files()
    assert (payout.state, file["state"]) == (PayoutState.SUBMITTED, "sent")
    await lease_lapses(shop)
    await Sweeper(shop.database, shop.run).run_once()
    [payout] = await shop.payouts()
    assert payout.state is PayoutState.IN_TRANSIT


async def test_live_payout_waits_for_an_operator(shop):
    run = shop.run
    await shop.capture(1_000_00, available_on=TUESDAY)
    await run.run(shop.book_id, TUESDAY)
    async with shop.database.transaction() as connection:
        await connection.execute(
            update(payouts)
            .where(payouts.c.book_id == shop.book_id)
            .values(livemode=True, state="requested", reserved_sequence=None, payout_file_id=None)
        )
    [payout] = await shop.payouts()
    with pytest.raises(IllegalMove):
        await run.payouts.approve(shop.book_id, payout.payout_id, actor="op_1", reason="checked")
    reserved = await run.payouts.reserve(shop.book_id, payout.payout_id)
    assert reserved.state is PayoutState.REQUESTED
    assert await run.pay_out(shop.book_id, TUESDAY) == 0
    await run.payouts.approve(shop.book_id, payout.payout_id, actor="op_1", reason="checked")
    assert await run.pay_out(shop.book_id, TUESDAY) == 1
    assert await shop.money() == (0, 0, 1_000_00)


async def test_shredded_merchant_is_not_paid_and_keeps_the_money_in_the_books(shop, monkeypatch):
    run = shop.run
    genuine = run.files.build

    async def shredded_meanwhile(book_id, execute_on):
        async with shop.database.transaction() as connection:
            await data_keys.destroy(connection, shop.account_id)
        return await genuine(book_id, execute_on)

    monkeypatch.setattr(run.files, "build", shredded_meanwhile)
    await shop.capture(1_000_00, available_on=TUESDAY)
    await run.run(shop.book_id, TUESDAY)
    [payout] = await shop.payouts()
    assert (payout.state, payout.reject_code) == (PayoutState.REJECTED, "destination_destroyed")
    assert await shop.money() == (0, 1_000_00, 0)
    await shop.capture(1_000_00, available_on=WEDNESDAY)
    await shop.run.run(shop.book_id, WEDNESDAY)
    assert await shop.money() == (0, 2_000_00, 0)
    assert (len(await shop.payouts()), shop.bank.files) == (1, [])


async def test_file_that_the_bank_does_not_answer_for_an_hour_is_counted(shop):
    shop.bank.outcomes = [SILENT, ACCEPTED]
    await settled(shop)

    async def counted() -> float:
        await Sweeper(shop.database, shop.run).run_once()
        return REGISTRY.get_sample_value("quickkub_payout_files_unanswered")

    async def sent(ago: timedelta) -> None:
        async with shop.database.transaction() as connection:
            mine = payout_files.c.book_id == shop.book_id
            await connection.execute(update(payout_files).where(mine).values(sent_at=datetime.now(UTC) - ago))

    await sent(timedelta(minutes=59))
    before = await counted()
    await sent(timedelta(minutes=61))
    assert await counted() == before + 1
    await lease_lapses(shop)
    await Sweeper(shop.database, shop.run).run_once()
    assert await counted() == before
