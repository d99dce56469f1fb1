"""A payout is paid when the bank's statement says so, once, and for the very amount."""

import asyncio

import pytest

from gateway.settlement.confirmations import Confirmation
from gateway.settlement.payouts import PayoutState
from ledger.chart_of_accounts import AccountKind
from ledger.feed import read_entries
from ledger.journal import EntryKind
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


async def test_entry_posted_before_a_crash_is_found_again(shop, payout, monkeypatch):
    confirmations = shop.confirmations
    genuine = shop.ledger.post

    async def crash(book_id, entry):
        await genuine(book_id, entry)
        raise KeyboardInterrupt

    monkeypatch.setattr(shop.ledger, "post", crash)
    with pytest.raises(KeyboardInterrupt):
        await confirmations.confirm(shop.book_id, await shop.seen(payout))
    monkeypatch.undo()
    assert await confirmations.confirm(shop.book_id, await shop.seen(payout)) is Confirmation.CONFIRMED
    assert await shop.balance(AccountKind.BANK, "scb_main") == -1_000_00
