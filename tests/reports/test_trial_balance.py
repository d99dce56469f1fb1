"""The trial balance foots for every period and cut, and says what the books said at the cut."""

from datetime import date, timedelta

import msgspec
import pytest

from reports.finance.trial_balance import trial_balance
from reports.identities import IdentityFailed
from reports.rendering import render
from tests.reports.books import BOOK, FIRST_DAY, captured

LAST_DAY = FIRST_DAY + timedelta(days=6)


async def test_whole_period_shows_every_account_with_nothing_opening(auditor, posted):
    report = await trial_balance(auditor, BOOK, from_on=FIRST_DAY, to_on=LAST_DAY)
    assert report.head.cut == 19
    assert len(report.rows) == 12
    assert {row.opening_debit_minor for row in report.rows} == {0}
    bank = next(row for row in report.rows if row.account == "bank:scb_main")
    assert (bank.account_code, bank.account_type) == ("1010", "asset")
    assert (bank.period_debit_minor, bank.period_credit_minor, bank.closing_debit_minor) == (
        2_000_000,
        150_000,
        1_850_000,
    )
    assert render(report).summary["control_total"].endswith(" THB")


async def test_closing_of_a_day_is_opening_of_the_next_for_every_day(auditor):
    for days in range(7):
        day = FIRST_DAY + timedelta(days=days)
        before = await trial_balance(auditor, BOOK, from_on=date(2026, 1, 1), to_on=day)
        after = await trial_balance(auditor, BOOK, from_on=day + timedelta(days=1), to_on=LAST_DAY)
        render(before)
        render(after)
        closing = {row.account: (row.closing_debit_minor, row.closing_credit_minor) for row in before.rows}
        opening = {row.account: (row.opening_debit_minor, row.opening_credit_minor) for row in after.rows}
        assert closing == {account: opening[account] for account in closing}


async def test_report_at_a_cut_is_the_same_bytes_when_late_entries_came_since(auditor, ledger):
    before = render(await trial_balance(auditor, BOOK, from_on=FIRST_DAY, to_on=LAST_DAY))
    await ledger.post(BOOK, captured(99, 77_00, day=FIRST_DAY))
    again = render(await trial_balance(auditor, BOOK, from_on=FIRST_DAY, to_on=LAST_DAY, cut=19))
    now = render(await trial_balance(auditor, BOOK, from_on=FIRST_DAY, to_on=LAST_DAY))
    assert (again.csv, again.json) == (before.csv, before.json)
    assert now.csv != before.csv


async def test_report_is_not_rendered_when_both_sides_of_a_row_were_changed_alike(auditor):
    report = await trial_balance(auditor, BOOK, from_on=FIRST_DAY, to_on=LAST_DAY)
    row = report.rows[0]
    changed = msgspec.structs.replace(
        row,
        period_debit_minor=row.period_debit_minor + 1,
        period_credit_minor=row.period_credit_minor + 1,
    )
    with pytest.raises(IdentityFailed, match=r"period_is_sum_of_postings of THB: .* \(difference 1\)"):
        render(msgspec.structs.replace(report, rows=(changed, *report.rows[1:])))
