"""A payout is paid when the bank's statement says so, once, and for the very amount."""

import asyncio

import pytest

from gateway.settlement import confirmations, payouts
from gateway.settlement.confirmations import Confirmation
from gateway.settlement.payouts import IllegalMove, Payout, PayoutState
from ledger.chart_of_accounts import AccountKind
from ledger.feed import read_entries
from ledger.journal import EntryKind
from ledger.posting_rules.marks import PAYOUTS
from tests.settlement.shops import SILENT, THURSDAY, TUESDAY, WEDNESDAY


@pytest.fixture
async def payout(shop):
    await shop.capture(1_000_00, available_on=TUESDAY)
    await shop.run.run(shop.book_id, TUESDAY)
    [payout] = await shop.payouts()
    return payout


async def test_debit_on_the_statement_pays_the_payout(shop, payout):
    assert await shop.confirmations.confirm(shop.book_id, await shop.seen(payout)) is Confirmation.CONFIRMED
    [paid] = await shop.payouts()
    assert (paid.state, paid.value_on, paid.bank_reference) == (PayoutState.PAID, TUESDAY, "line_1")
    assert await shop.money() == (0, 0, 0)
    assert await shop.balance(AccountKind.BANK, "scb_main") == -1_000_00
    assert await shop.events() == ["payout.created", "payout.approved", "payout.in_transit", "payout.paid"]
    async with shop.database.ledger_pool.acquire() as connection:
        *_, entry = await read_entries(connection, shop.book_id, after=0, limit=100)
    assert (entry.kind, entry.effective_on) == (EntryKind.PAYOUT_PAID, TUESDAY)
    assert [(each.scheme, each.value) for each in entry.references] == [
        ("bank_line", "line_1"),
        ("payout", payout.end_to_end_id),
    ]


async def test_line_that_comes_again_pays_nothing_more(shop, payout):
    seen = await shop.seen(payout)
    answers = await asyncio.gather(*(shop.confirmations.confirm(shop.book_id, seen) for _ in range(4)))
    assert set(answers) <= {Confirmation.CONFIRMED, Confirmation.ALREADY_CONFIRMED}
    assert answers.count(Confirmation.CONFIRMED) == 1
    assert await shop.confirmations.confirm(shop.book_id, seen) is Confirmation.ALREADY_CONFIRMED
    assert await shop.balance(AccountKind.BANK, "scb_main") == -1_000_00
    assert (await shop.events()).count("payout.paid") == 1


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"amount_minor": 999_99}, Confirmation.AMOUNT_DIFFERS),
        ({"currency": "USD"}, Confirmation.AMOUNT_DIFFERS),
        ({"end_to_end_id": "POTESTNOBODY"}, Confirmation.NO_SUCH_PAYOUT),
        ({"returned": True}, Confirmation.NOT_EXPECTED),
    ],
)
async def test_line_that_does_not_fit_moves_nothing(shop, payout, changes, answer):
    assert await shop.confirmations.confirm(shop.book_id, await shop.seen(payout, **changes)) is answer
    assert await shop.money() == (0, 0, 1_000_00)
    assert (await shop.payouts())[0].state is PayoutState.IN_TRANSIT


async def test_second_line_for_a_paid_payout_moves_nothing(shop, payout):
    await shop.confirmations.confirm(shop.book_id, await shop.seen(payout))
    other = await shop.seen(payout, line_id="line_2")
    assert await shop.confirmations.confirm(shop.book_id, other) is Confirmation.NOT_EXPECTED
    assert await shop.balance(AccountKind.BANK, "scb_main") == -1_000_00


async def test_payout_of_unknown_fate_is_paid_by_the_statement(shop):
    shop.bank.outcomes = [SILENT]
    await shop.capture(1_000_00, available_on=TUESDAY)
    await shop.run.run(shop.book_id, TUESDAY)
    [payout] = await shop.payouts()
    assert payout.state is PayoutState.UNKNOWN
    assert await shop.confirmations.confirm(shop.book_id, await shop.seen(payout)) is Confirmation.CONFIRMED
    assert await shop.money() == (0, 0, 0)


async def test_returned_payout_is_the_merchants_money_again(shop, payout):
    await shop.confirmations.confirm(shop.book_id, await shop.seen(payout))
    back = await shop.seen(payout, line_id="line_9", value_on=WEDNESDAY, returned=True)
    assert await shop.confirmations.confirm(shop.book_id, back) is Confirmation.CONFIRMED
    assert await shop.confirmations.confirm(shop.book_id, back) is Confirmation.ALREADY_CONFIRMED
    assert await shop.money() == (0, 1_000_00, 0)
    assert await shop.balance(AccountKind.BANK, "scb_main") == 0
    assert (await shop.payouts())[0].state is PayoutState.RETURNED
    assert (await shop.events())[-1] == "payout.returned"
    await shop.run.run(shop.book_id, THURSDAY)
    assert await shop.money() == (0, 0, 1_000_00)


@pytest.mark.parametrize("last", ["move", "post_with"])
async def test_crash_before_the_commit_leaves_neither_entry_nor_move(shop, payout, monkeypatch, last):
    await crashes_after(
        monkeypatch, confirmations, last, shop.confirmations.confirm(shop.book_id, await shop.seen(payout))
    )
    assert (await shop.money(), await shop.payouts()) == ((0, 0, 1_000_00), [payout])
    assert await shop.balance(AccountKind.BANK, "scb_main") == 0
    assert await shop.confirmations.confirm(shop.book_id, await shop.seen(payout)) is Confirmation.CONFIRMED
    assert await shop.balance(AccountKind.BANK, "scb_main") == -1_000_00


@pytest.mark.parametrize("end", ["mark_paid", "reject"])
async def test_line_after_a_crash_in_another_end_takes_the_money_once(shop, payout, monkeypatch, end):
    await crashes_after(monkeypatch, payouts, "move", ended(shop, payout, end))
    assert (await shop.money(), await shop.payouts()) == ((0, 0, 1_000_00), [payout])
    assert await shop.confirmations.confirm(shop.book_id, await shop.seen(payout)) is Confirmation.CONFIRMED
    assert await shop.money() == (0, 0, 0)
    assert await shop.balance(AccountKind.BANK, "scb_main") == -1_000_00


@pytest.mark.parametrize("end", ["mark_paid", "reject"])
async def test_two_ends_at_once_take_the_money_once(shop, payout, end):
    seen = await shop.seen(payout)
    other, line = await asyncio.gather(
        ended(shop, payout, end), shop.confirmations.confirm(shop.book_id, seen), return_exceptions=True
    )
    [after] = await shop.payouts()
    if after.state is PayoutState.REJECTED:
        assert (line, await shop.money()) == (Confirmation.NOT_EXPECTED, (0, 1_000_00, 0))
        return
    assert (line, after.state, after.bank_reference) == (Confirmation.CONFIRMED, PayoutState.PAID, "line_1")
    assert isinstance(other, IllegalMove if end == "reject" else Payout)
    assert await shop.money() == (0, 0, 0)
    assert await shop.balance(AccountKind.UNIDENTIFIED_RECEIPTS, PAYOUTS) == 0
    assert await shop.balance(AccountKind.BANK, "scb_main") == -1_000_00


def ended(shop, payout, end):
    reason = {"actor": "op_1", "reason": "seen"}
    if end == "mark_paid":
        return shop.run.payouts.mark_paid(shop.book_id, payout.payout_id, **reason)
    return shop.run.payouts.reject(shop.book_id, payout.payout_id, reject_code="gone", **reason)


async def crashes_after(monkeypatch, module, name, doing):
    """Do it as a process that dies as soon as that function of the module is done."""
    genuine = getattr(module, name)

    async def crash(*arguments, **named):
        await genuine(*arguments, **named)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, name, crash)
        with pytest.raises(KeyboardInterrupt):
            await doing
