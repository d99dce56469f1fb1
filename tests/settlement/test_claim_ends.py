"""How a claim ends is booked once, whatever comes at the same moment: the bank's refusal, its line, a crash."""

import asyncio

import pytest

from gateway.payments.errors import Refused
from gateway.settlement import claim_transfers
from gateway.settlement.confirmations import Confirmation
from gateway.settlement.rounds import AT_ONCE
from gateway.settlement.runs import Sweeper
from tests.settlement.desk import ACCOUNT, TWO_PAID
from tests.settlement.shops import REFUSED, SILENT


async def test_refusal_and_line_at_once_book_one_end(desk, paid):
    bank_minor, ends = 0, set()
    for turn in range(24):
        refund = await desk.refund(paid, 10_00)
        await desk.claims.claim(refund.claim_token, ACCOUNT)
        await desk.sent()
        refusal = desk.claims.reject(desk.book_id, refund.claim, reason="refused", code="file_rejected")
        line = desk.seen(refund.claim)
        # Each of them begins first by as much as a transaction takes, or less; in the last two turns by so much that on
        # the busiest machine each has come first once.
        lead_seconds = turn % 4 / 400 if turn < 22 else 0.5
        answers = await asyncio.gather(
            after(lead_seconds if turn % 2 else 0, refusal),
            after(0 if turn % 2 else lead_seconds, line),
            return_exceptions=True,
        )
        state = (await desk.row(refund.claim))["state"]
        status = (await desk.house.refunds.get(desk.merchant, refund.id)).status
        if state == "paid":
            bank_minor -= 10_00
            assert (type(answers[0]), answers[1], status) == (Refused, Confirmation.CONFIRMED, "succeeded")
        else:
            assert (state, *answers, status) == ("rejected", None, Confirmation.NOT_EXPECTED, "failed")
        balances = await desk.balances()
        assert (balances.get("bank", 0), balances.get("refunds_payable", 0)) == (bank_minor, 0)
        assert balances["merchant_pending"] == TWO_PAID["merchant_pending"] + bank_minor
        ends.add(state)
    assert ends == {"paid", "rejected"}


async def test_refusal_waits_for_a_line_that_is_being_booked(desk, paid, monkeypatch):
    refund = await desk.refund(paid)
    await desk.claims.claim(refund.claim_token, ACCOUNT)
    await desk.sent()
    genuine, reached, go_on = claim_transfers.post_with, asyncio.Event(), asyncio.Event()

    async def slow(*arguments, **named):
        reached.set()
        await go_on.wait()
        await genuine(*arguments, **named)

    monkeypatch.setattr(claim_transfers, "post_with", slow)
    line = asyncio.create_task(desk.seen(refund.claim))
    await reached.wait()
    refusal = asyncio.create_task(
        desk.claims.reject(desk.book_id, refund.claim, reason="refused", code="file_rejected")
    )
    await asyncio.wait([refusal], timeout=0.2)
    assert not refusal.done()
    go_on.set()
    assert await line is Confirmation.CONFIRMED
    with pytest.raises(Refused):
        await refusal
    assert await desk.balances() == TWO_PAID | {"merchant_pending": 1_564_68, "bank": -400_00}


async def test_crash_before_the_commit_leaves_neither_entry_nor_move(desk, paid, monkeypatch):
    refund = await desk.refund(paid)
    await desk.claims.claim(refund.claim_token, ACCOUNT)
    await desk.sent()
    before = (await desk.balances(), await desk.moves(refund.claim))
    genuine = claim_transfers.post_with

    async def crash(*arguments, **named):
        await genuine(*arguments, **named)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(claim_transfers, "post_with", crash)
        with pytest.raises(KeyboardInterrupt):
            await desk.seen(refund.claim)
    assert (await desk.balances(), await desk.moves(refund.claim)) == before
    assert await desk.seen(refund.claim) is Confirmation.CONFIRMED
    assert (await desk.balances())["bank"] == -400_00


async def test_more_than_a_round_of_claims_that_cannot_be_ended_hold_nothing_back(desk, paid):
    refund = await desk.refund(paid)
    [row] = await desk.house.rows("SELECT * FROM gateway.refund_claims WHERE claim_id = $1", refund.claim)
    names = [name for name in row if name not in {"claim_id", "intent_id", "refund_id", "end_to_end_id"}]
    for number in range(AT_ONCE + 1):
        await desk.house.run(
            f"INSERT INTO gateway.refund_claims (claim_id, intent_id, refund_id, end_to_end_id, {', '.join(names)})"
            f" SELECT $2, 'pi_none', $2, $2, {', '.join(names)} FROM gateway.refund_claims WHERE claim_id = $1",
            refund.claim,
            f"clm_test_{number:026}",
        )
    await desk.house.move_clock(desk.merchant, days=31)
    assert await desk.claims.run_once() == AT_ONCE
    assert (await desk.row(refund.claim))["state"] == "open"
    assert await desk.claims.run_once() == 2
    assert (await desk.row(refund.claim))["state"] == "expired"
    assert await desk.claims.run_once() == AT_ONCE, "and from the start again"


async def test_refused_file_gives_the_others_their_money_although_one_was_paid(desk, paid):
    desk.bank.outcomes = [SILENT, REFUSED]
    refunds = [await desk.refund(paid, amount) for amount in (100_00, 200_00)]
    for refund in refunds:
        await desk.claims.claim(refund.claim_token, ACCOUNT)
    await desk.sent()
    assert await desk.seen(refunds[0].claim) is Confirmation.CONFIRMED
    await desk.house.run("UPDATE gateway.payout_files SET lease_until = NULL")
    await Sweeper(desk.house.database, desk.run).run_once()
    assert [(await desk.row(refund.claim))["state"] for refund in refunds] == ["paid", "rejected"]
    assert await desk.balances() == TWO_PAID | {"merchant_pending": 1_864_68, "bank": -100_00}


async def after(seconds, doing):
    await asyncio.sleep(seconds)
    return await doing
