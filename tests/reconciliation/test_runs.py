"""A whole day, twice; what is open and why; and that everything adds up."""

import msgspec
import pytest

from reconciliation.breaks import BreakKind
from reconciliation.errors import IdentityBroken, RunInProgress
from reconciliation.runs import Counted
from reconciliation.tie_out import Difference
from tests.reconciliation.books import BANK, BOOK, DAY, NEXT_DAY
from tests.reconciliation.files import (
    bill_file,
    mt940_statement,
    omise_list,
    omise_transaction,
    omise_transfer,
    utc,
)

NOW = utc("2026-11-24T05:00:00")


@pytest.fixture
async def whole_day(books, bring):
    """A day of both providers, the transfer and the payout after it, with nothing wrong anywhere."""
    first = await books.captured("omise", "chrg_test_1", 12_345)
    await books.captured("omise", "chrg_test_2", 156_000)
    await books.refunded(first, "rfnd_test_1", 5_000)
    await books.captured("scb", "qk01", 50_000)
    await books.payout("po_test_1", 40_000)
    net = 11_862 + 153_246 - 5_000
    await bring(
        "omise_transactions",
        omise_list(
            [
                omise_transaction("trxn_test_1", "chrg_test_1", 11_862),
                omise_transaction("trxn_test_2", "chrg_test_2", 153_246),
                omise_transaction("trxn_test_3", "rfnd_test_1", 5_000, direction="debit"),
                omise_transaction(
                    "trxn_test_4", "trsf_test_1", net, direction="debit", created_at="2026-11-24T02:00:00Z"
                ),
            ]
        ),
    )
    await bring("omise_transfers", omise_list([omise_transfer("trsf_test_1", net)]))
    await bring("thai_bill_payment", bill_file([{"ref1": "QK1", "amount_minor": 50_000, "transaction_id": "qk01"}]))
    fees = [(-200, "BILLPAY FEE 1 ITEMS"), (-14, "BILLPAY FEE VAT 1 ITEMS")]
    await bring("mt940", mt940_statement([(50_000, "BILLPAY QK1 qk01"), *fees]).encode())
    second = [(net - 3_210, "OMISE TRANSFER trsf_test_1"), (-40_000, "PAYOUT PO_TEST_1")]
    await bring("mt940", mt940_statement(second, on=NEXT_DAY, opening_minor=49_786, number=2).encode())


@pytest.mark.usefixtures("whole_day")
async def test_a_day_without_fault_is_matched_settled_and_tied(books, reconciliation):
    result = await reconciliation.run(book_id=BOOK, business_date=NEXT_DAY, now=NOW)
    assert {source.source: (source.lines.count, source.matched_by_rule) for source in result.sources} == {
        "mt940": (
            5,
            {
                "bank_exact_reference": Counted(count=2, amount_minor=50_000 + 156_898),
                "biller_fee": Counted(count=2, amount_minor=-214),
                "payout_exact_reference": Counted(count=1, amount_minor=-40_000),
            },
        ),
        "omise_transactions": (
            4,
            {
                "exact_reference_net_of_fee": Counted(count=2, amount_minor=165_108),
                "exact_reference": Counted(count=1, amount_minor=-5_000),
                "transfer_on_both_lists": Counted(count=1, amount_minor=-160_108),
            },
        ),
        "omise_transfers": (1, {"bank_exact_reference": Counted(count=1, amount_minor=-160_108)}),
        "thai_bill_payment": (1, {"exact_reference": Counted(count=1, amount_minor=50_000)}),
    }
    assert result.unmatched == Counted()
    assert result.breaks == ()
    assert [(group.kind, group.line_count, group.bank_minor) for group in result.groups] == [
        ("net_transfer", 3, 156_898),
        ("direct_credits", 1, 50_000),
        ("biller_fee", 2, -214),
    ]
    assert all(group.entry_sequence for group in result.groups)
    (seen,) = result.payouts_seen
    assert (seen.end_to_end_id, seen.amount_minor, seen.bank, seen.returned, seen.booked) == (
        "PO_TEST_1",
        40_000,
        BANK,
        False,
        False,
    )
    (bank,) = result.banks
    assert (bank.gap_minor, bank.brought_forward_minor, bank.remainder_minor) == (0, 0, 0)
    assert bank.differences == (Difference(label="payout_not_booked", count=1, amount_minor=-40_000),)
    assert [
        (each.provider, each.ledger_minor, each.provider_minor, each.remainder_minor) for each in result.providers
    ] == [
        ("omise", 0, 0, 0),
        ("scb", 0, 0, 0),
    ]
    await books.paid("po_test_1", 40_000, seen.line_id)
    again = await reconciliation.run(book_id=BOOK, business_date=NEXT_DAY, now=NOW)
    assert again.banks[0].tied
    assert again.banks[0].closing_minor == again.banks[0].ledger_closing_minor == 166_684
    assert [payout.booked for payout in again.payouts_seen] == [True]


@pytest.mark.usefixtures("whole_day")
async def test_a_second_run_changes_nothing(books, reconciliation, counts):
    first = await reconciliation.run(book_id=BOOK, business_date=NEXT_DAY, now=NOW)
    before, calls = await counts(), books.calls
    assert await reconciliation.run(book_id=BOOK, business_date=NEXT_DAY, now=NOW) == first
    assert (await counts(), books.calls) == (before, calls)


@pytest.mark.usefixtures("whole_day")
async def test_a_dry_run_says_the_same_and_keeps_nothing(books, reconciliation, counts):
    before, calls = await counts(), books.calls
    dry = await reconciliation.run(book_id=BOOK, business_date=NEXT_DAY, now=NOW, dry_run=True)
    assert (await counts(), books.calls) == (before, calls)
    wet = await reconciliation.run(book_id=BOOK, business_date=NEXT_DAY, now=NOW)
    assert dry.sources == wet.sources
    assert [group.entry_sequence for group in dry.groups] == [None, None, None]
    assert [group.bank_minor for group in dry.groups] == [group.bank_minor for group in wet.groups]


@pytest.mark.usefixtures("whole_day")
async def test_a_run_that_died_at_any_post_is_finished_by_the_next(connection, books, reconciliation):
    whole, posts = reconciliation.post, 0

    async def dies(book_id, entry):
        nonlocal posts
        posts += 1
        result = await whole(book_id, entry)
        if posts in {1, 3}:
            raise ConnectionError
        return result

    mortal = msgspec.structs.replace(reconciliation, post=dies)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            await mortal.run(book_id=BOOK, business_date=NEXT_DAY, now=NOW)
    posted = len(books.posted)
    result = await reconciliation.run(book_id=BOOK, business_date=NEXT_DAY, now=NOW)
    assert len(books.posted) == posted + 1
    assert [group.kind for group in result.groups] == ["net_transfer", "direct_credits", "biller_fee"]
    assert result.banks[0].remainder_minor == 0
    assert await connection.fetchval("SELECT attempts FROM reconciliation.runs") == 3


@pytest.mark.usefixtures("whole_day")
async def test_each_line_belongs_to_one_run(reconciliation):
    first = await reconciliation.run(book_id=BOOK, business_date=DAY, now=NOW)
    second = await reconciliation.run(book_id=BOOK, business_date=NEXT_DAY, now=NOW)
    assert (first.lines.count, second.lines.count) == (7, 4)
    assert (first.matched.count, first.unmatched.count) == (7, 0)
    assert [each.kind for each in first.breaks] == [BreakKind.TIMING]
    assert first.breaks[0].reason == "3 lines of omise are not transferable before 2026-11-24"
    assert (second.matched.count, second.breaks) == (4, ())
    omise, _ = first.providers
    assert (omise.ledger_minor, omise.provider_minor, omise.remainder_minor) == (163_345, 160_108, 0)
    assert omise.differences == (Difference(label="fee_and_vat_not_booked", count=2, amount_minor=3_237),)
    again = await reconciliation.run(book_id=BOOK, business_date=DAY, now=NOW)
    assert again.breaks == ()
    assert again.sources == first.sources


async def test_two_runs_of_a_book_do_not_meet(connection, reconciliation):
    await connection.execute("SELECT pg_advisory_lock(hashtextextended('reconciliation.runs', $1::bigint))", BOOK)
    with pytest.raises(RunInProgress):
        await reconciliation.run(book_id=BOOK, business_date=DAY, now=NOW)


async def test_a_result_that_does_not_add_up_is_not_given_out(connection, bring, reconciliation, monkeypatch):
    await bring("mt940", mt940_statement([(5, "X")]).encode())
    from reconciliation import sql

    wrong = {**sql.queries("runs"), "unmatched_by_source": sql.queries("runs")["not_lines"] + " LIMIT 0"}
    monkeypatch.setattr("reconciliation.runs.queries", lambda file: wrong if file == "runs" else sql.queries(file))
    with pytest.raises(IdentityBroken):
        await reconciliation.run(book_id=BOOK, business_date=DAY, now=NOW)


async def test_rejected_and_duplicate_lines_are_counted_beside(bring, reconciliation):
    charge = omise_transaction("trxn_test_1", "chrg_test_1", 500)
    await bring("omise_transactions", omise_list([charge, {**charge, "id": None}]))
    await bring("omise_transactions", omise_list([charge, {**charge, "amount": 501}]))
    result = await reconciliation.run(book_id=BOOK, business_date=DAY, now=NOW)
    (source,) = result.sources
    assert (source.files, source.lines.count, source.unmatched.count) == (2, 1, 1)
    assert source.rejected == Counted(count=2, amount_minor=501)
    assert source.duplicates == Counted(count=1, amount_minor=500)


async def test_a_missing_statement_shows_as_a_gap(bring, reconciliation):
    await bring("mt940", mt940_statement([(500, "X")]).encode())
    await bring("mt940", mt940_statement([(5, "Y")], on=NEXT_DAY, opening_minor=600).encode())
    result = await reconciliation.run(book_id=BOOK, business_date=NEXT_DAY, now=NOW)
    (bank,) = result.banks
    assert (bank.gap_minor, bank.brought_forward_minor, bank.remainder_minor, bank.tied) == (100, 600, 0, False)
    assert bank.differences == (Difference(label="unmatched", count=1, amount_minor=5),)
