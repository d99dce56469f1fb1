"""The outcomes of a run come to its lines; the tie-out leaves no difference without a label or a row of its own."""

import msgspec
import pytest

from reports.finance.reconciliation_summary import RunNotFinished, reconciliation_reports
from reports.identities import IdentityFailed
from reports.rendering import render
from tests.reconciliation.books import BANK, BOOK, DAY
from tests.reconciliation.files import bill_file, mt940_statement, omise_list, omise_transaction, utc

NOW = utc("2026-11-24T05:00:00")


@pytest.fixture
async def day(books, bring, reconciliation):
    """One QR paid and one that we do not know; an Omise charge that only we know."""
    await books.captured("scb", "qk01", 50_000)
    await books.captured("omise", "chrg_test_1", 12_345)
    await books.captured("omise", "chrg_test_2", 10_000)
    bills = [
        {"ref1": "QK1", "amount_minor": 50_000, "transaction_id": "qk01"},
        {"ref1": "QK9", "amount_minor": 7_700, "transaction_id": "qk09"},
    ]
    await bring("thai_bill_payment", bill_file(bills))
    await bring("omise_transactions", omise_list([omise_transaction("trxn_test_1", "chrg_test_1", 11_862)]))
    lines = [(50_000, "BILLPAY QK1 qk01"), (7_700, "BILLPAY QK9 qk09"), (-123, "SOMETHING ELSE")]
    await bring("mt940", mt940_statement(lines).encode())
    await reconciliation.run(book_id=BOOK, business_date=DAY, now=NOW)


@pytest.fixture
async def reports(day, connection):
    return await reconciliation_reports(connection, BOOK, business_on=DAY)


async def test_outcomes_of_all_lines_add_up(reports):
    summary, _ = reports
    found = {(row.source, row.outcome): (row.lines, row.amount_minor) for row in summary.rows if row.lines}
    assert found["thai_bill_payment", "matched:exact_reference"] == (1, 50_000)
    assert found["thai_bill_payment", "unmatched"] == (1, 7_700)
    assert found["omise_transactions", "matched:exact_reference_net_of_fee"] == (1, 11_862)
    assert sum(lines for (source, _), (lines, _) in found.items() if source == "mt940") == 3
    assert render(summary).summary["control_total"] == "1271.39 THB"


async def test_every_difference_has_a_label_or_stands_unexplained(reports):
    _, tie_out = reports
    rows = {row.subject: row for row in tie_out.rows}
    assert set(rows) == {f"bank:{BANK}", "provider:scb", "provider:omise"}
    assert rows[f"bank:{BANK}"].theirs_minor == 57_577
    assert (rows["provider:omise"].ours_minor, rows["provider:omise"].theirs_minor) == (22_345, 11_862)
    assert {row.unexplained_minor for row in tie_out.rows} == {0}
    render(tie_out)


@pytest.mark.parametrize("column", ["lines", "amount_minor"])
async def test_summary_is_not_rendered_when_a_line_has_gone(reports, column):
    summary, _ = reports
    changed = msgspec.structs.replace(summary.rows[0], **{column: getattr(summary.rows[0], column) - 1})
    with pytest.raises(IdentityFailed, match=r"of mt940: .* \(difference -1\)"):
        render(msgspec.structs.replace(summary, rows=(changed, *summary.rows[1:])))


async def test_tie_out_is_not_rendered_when_an_explanation_is_short(reports):
    _, tie_out = reports
    changed = msgspec.structs.replace(tie_out.rows[0], explained_minor=tie_out.rows[0].explained_minor + 1)
    with pytest.raises(IdentityFailed, match="theirs_less_ours"):
        render(msgspec.structs.replace(tie_out, rows=(changed, *tie_out.rows[1:])))


async def test_day_without_a_run_has_no_report(books, connection):
    with pytest.raises(RunNotFinished):
        await reconciliation_reports(connection, BOOK, business_on=DAY)
