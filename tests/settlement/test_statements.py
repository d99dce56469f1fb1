"""Every entry of a merchant is in exactly one settlement, whatever the order of events; and each statement foots.

Random lives of a shop: captures due on any day, refunds from pending and from available money, failed refunds,
files that the bank refuses, payouts that come back, days on which nothing is settled. After each life the statements
of all its settlements are built from the ledger alone and laid side by side.
"""

import random
from collections import Counter
from datetime import timedelta

import msgspec
import pytest

from gateway.settlement import reporting
from gateway.settlement.payouts import PayoutState
from ledger.chart_of_accounts import AccountKind
from ledger.feed import head, read_entries
from ledger.journal import EntryKind
from ledger.posting_rules.fees_and_tax import fee_on
from reports.finance import merchant_settlement as statements
from reports.finance.merchant_settlement import merchant_settlement
from reports.finance.payouts import payout_report
from reports.identities import IdentityFailed
from reports.rendering import render
from tests.settlement.shops import ACCEPTED, MONDAY, REFUSED

LAST_DAY = MONDAY + timedelta(days=13)
OWN = {
    EntryKind.BECAME_AVAILABLE,
    EntryKind.MERCHANT_DEBT_RECOGNISED,
    EntryKind.MERCHANT_DEBT_RECOVERED,
    EntryKind.PAYOUT_REQUESTED,
}
MERCHANTS_MONEY = {AccountKind.MERCHANT_PENDING, AccountKind.MERCHANT_AVAILABLE}


async def statements_of(shop):
    async with shop.database.read() as connection:
        windows = await reporting.settlement_windows(connection, shop.book_id, from_on=MONDAY, to_on=LAST_DAY)
    async with shop.database.ledger_pool.acquire() as connection:
        return [await merchant_settlement(connection, shop.book_id, window) for window in windows]


async def live(shop, chance: random.Random) -> None:
    """One random life, ended by a settlement that covers whatever is left."""
    captured = []
    for number in range(10):
        day = MONDAY + timedelta(days=number)
        for _ in range(chance.randrange(5)):
            amount_minor = chance.randrange(1_00, 5_000_00)
            due = day + timedelta(days=chance.choice([-1, 0, 0, 1, 1, 2, 3]))
            fee = fee_on(amount_minor, rate_ppm=16_500, fixed_minor=0, effective_on=MONDAY)
            captured.append((await shop.capture(amount_minor, available_on=due, fee=fee), due))
        for capture, due in chance.sample(captured, min(2, len(captured))):
            await refund_some(shop, chance, capture, due if due > day else None)
        for payout in await shop.payouts():
            if payout.state is PayoutState.IN_TRANSIT:
                await shop.confirmations.confirm(shop.book_id, await shop.seen(payout, line_id=payout.payout_id))
                if chance.random() < 0.3:
                    back = await shop.seen(payout, line_id=f"back_{payout.payout_id}", returned=True)
                    await shop.confirmations.confirm(shop.book_id, back)
        if chance.random() < 0.7:
            shop.bank.outcomes = [chance.choice([ACCEPTED, ACCEPTED, REFUSED])]
            await shop.run.run(shop.book_id, day)
    await shop.capture(1_00, available_on=LAST_DAY)
    await shop.run.run(shop.book_id, LAST_DAY)


async def refund_some(shop, chance: random.Random, capture, pending_until) -> None:
    pending, available, _ = await shop.money()
    left = min(available if pending_until is None else pending, capture.drawable_minor // 3)
    if left > 0:
        amount_minor = chance.randint(1, left)
        await shop.refund(capture, amount_minor, pending_until=pending_until)
        if chance.random() < 0.3:
            await shop.refund_fails(capture, amount_minor, pending_until=pending_until)


@pytest.mark.parametrize("seed", range(4))
async def test_every_entry_is_in_exactly_one_settlement_and_each_foots(shop, seed, monkeypatch):
    monkeypatch.setattr(statements, "CHUNK", 3)
    await live(shop, random.Random(seed))
    reports = await statements_of(shop)
    seen = Counter(row.sequence for report in reports for row in report.rows if row.sequence is not None)
    async with shop.database.ledger_pool.acquire() as connection:
        entries = await read_entries(connection, shop.book_id, after=0, limit=10_000)
        last_cut = reports[-1].window.cut
    expected = {
        entry.sequence
        for entry in entries
        if entry.kind not in OWN
        and entry.sequence <= last_cut
        and any({posting.debit.kind, posting.credit.kind} & MERCHANTS_MONEY for posting in entry.postings)
    }
    assert len(reports) > 3
    assert set(seen) == expected
    assert set(seen.values()) == {1}
    for report in reports:
        render(report)
    carried = [(report.window.carried_in_minor, report.window.carried_out_minor) for report in reports]
    assert [out for _, out in carried[:-1]] == [in_ for in_, _ in carried[1:]]


@pytest.mark.parametrize("seed", range(4, 6))
async def test_payout_report_ties_to_files_bank_and_ledger_after_any_life(shop, seed):
    await live(shop, random.Random(seed))
    async with shop.database.read() as connection:
        rows = await reporting.payout_lines(connection, shop.book_id)
        files = await reporting.file_totals(connection, shop.vault, shop.book_id)
    async with shop.database.ledger_pool.acquire() as connection:
        report = await payout_report(connection, shop.book_id, rows=rows, files=files, as_of=LAST_DAY)
    assert rows
    render(report)
    with pytest.raises(IdentityFailed, match="file_is_its_control_total"):
        changed = msgspec.structs.replace(report.rows[-1], amount_minor=report.rows[-1].amount_minor + 1)
        render(msgspec.structs.replace(report, rows=(*report.rows[:-1], changed)))
    with pytest.raises(IdentityFailed):
        render(msgspec.structs.replace(report, rows=report.rows[1:]))


async def test_statement_names_gross_fee_vat_refund_and_payout(shop):
    fee = fee_on(1_000_00, rate_ppm=16_500, fixed_minor=0, effective_on=MONDAY)
    capture = await shop.capture(1_000_00, available_on=MONDAY, fee=fee)
    await shop.refund(capture, 400_00, pending_until=MONDAY)
    await shop.run.run(shop.book_id, MONDAY)
    [report] = await statements_of(shop)
    carried_in, paid_in, refunded, payout, carried_out = report.rows
    assert (paid_in.gross_minor, paid_in.fee_minor, paid_in.fee_vat_minor, paid_in.net_minor) == (
        100_000,
        1_650,
        116,
        98_234,
    )
    assert (refunded.refund_minor, refunded.net_minor, refunded.type) == (40_000, -40_000, "refund_reserved")
    assert (carried_in.carried_in_minor, payout.payout_minor, carried_out.carried_out_minor) == (0, 58_234, 0)
    assert report.head.report_id.startswith("merchant_settlement:st_test_")
    assert render(report).summary["control_total"] == "582.34 THB"


@pytest.mark.parametrize("column", ["gross_minor", "net_minor", "payout_minor", "carried_out_minor"])
async def test_statement_is_not_rendered_when_a_cell_was_changed(shop, column):
    await shop.capture(1_000_00, available_on=MONDAY)
    await shop.run.run(shop.book_id, MONDAY)
    [report] = await statements_of(shop)
    changed = msgspec.structs.replace(report.rows[1], **{column: getattr(report.rows[1], column) + 1})
    with pytest.raises(IdentityFailed, match=r"\(difference -?1\)"):
        render(msgspec.structs.replace(report, rows=(report.rows[0], changed, *report.rows[2:])))


async def test_statement_is_the_same_bytes_when_the_book_has_grown(shop):
    await shop.capture(1_000_00, available_on=MONDAY)
    await shop.run.run(shop.book_id, MONDAY)
    [before] = await statements_of(shop)
    await shop.capture(2_000_00, available_on=MONDAY)
    await shop.run.run(shop.book_id, MONDAY + timedelta(days=1))
    after, _ = await statements_of(shop)
    assert render(after) == render(before)
    async with shop.database.ledger_pool.acquire() as connection:
        assert await head(connection, shop.book_id) > before.head.cut


async def test_claim_and_its_repayment_are_rows_that_foot(shop):
    captured = await shop.capture(300_00, available_on=MONDAY)
    tuesday, wednesday, far = (MONDAY + timedelta(days=n) for n in (1, 2, 30))
    await shop.run.run(shop.book_id, MONDAY)
    await shop.capture(900_00, available_on=far)
    await shop.capture(50_00, available_on=wednesday)
    await shop.refund(captured, 200_00, pending_until=MONDAY)
    await shop.run.run(shop.book_id, tuesday)
    await shop.run.run(shop.book_id, wednesday)
    assert await shop.money() == (900_00, 0, 300_00)
    assert await shop.balance(AccountKind.MERCHANT_RECEIVABLE) == 150_00
    _, recognised, recovered = await statements_of(shop)
    for report, type_, amount_minor in (
        (recognised, "merchant_debt_recognised", 200_00),
        (recovered, "merchant_debt_recovered", -50_00),
    ):
        render(report)
        [row] = [row for row in report.rows if row.type == type_]
        assert (row.adjustment_minor, row.net_minor, row.sequence) == (amount_minor, amount_minor, None)
        assert (report.payout_minor, report.window.carried_out_minor) == (0, 0)
