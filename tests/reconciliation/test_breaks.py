"""Each kind of break: found, explained, and closed by itself."""

from datetime import date

import msgspec
import pytest

from reconciliation.breaks import BreakKind, SentTransfer, listed
from tests.reconciliation.books import BOOK, DAY, NEXT_DAY
from tests.reconciliation.files import bill_file, mt940_statement, omise_list, omise_transaction, omise_transfer, utc

NOW = utc("2026-11-24T05:00:00")
LATER = date(2026, 11, 27)
"""Past T+2 of both days."""


@pytest.fixture
def found(reconciliation):
    async def run(on=DAY):
        result = await reconciliation.run(book_id=BOOK, business_date=on, now=NOW)
        return [(each.kind, each.amount_minor, each.reason) for each in result.breaks]

    return run


async def test_a_line_that_our_books_do_not_have(bring, found):
    await bring("thai_bill_payment", bill_file([{"ref1": "QK1", "amount_minor": 500, "transaction_id": "qk01"}]))
    assert await found() == [
        (
            BreakKind.MISSING_IN_LEDGER,
            500,
            "scb shows a payment of 5.00 THB (qk01) that our books do not have",
        )
    ]


async def test_an_entry_that_no_statement_shows_is_timing_until_t_plus_2(books, found):
    await books.captured("scb", "qk01", 500)
    assert await found() == [
        (
            BreakKind.TIMING,
            500,
            (
                "entry 1, payment captured of 5.00 THB, is on no statement of scb; it may still come until "
                "2026-11-25 (T+2)"
            ),
        )
    ]
    ((kind, amount_minor, reason),) = await found(LATER)
    assert (kind, amount_minor) == (BreakKind.MISSING_AT_PROVIDER, 500)
    assert reason.endswith("is on no statement of scb; it was due on 2026-11-25 (T+2)")


async def test_a_transfer_that_the_bank_was_given_and_never_shows(reconciliation):
    transfer = SentTransfer(
        subject="clm_test_1", end_to_end_id="CLMTEST1", amount_minor=400_00, currency="THB", sent_on=DAY
    )
    tomorrow = msgspec.structs.replace(transfer, subject="clm_test_2", sent_on=NEXT_DAY)

    async def breaks_on(day, *sent):
        engine = msgspec.structs.replace(reconciliation, sent=sent)
        result = await engine.run(book_id=BOOK, business_date=day, now=NOW)
        return [(each.subject, each.kind, each.amount_minor, each.reason, each.owner) for each in result.breaks]

    words = "transfer CLMTEST1 of 400.00 THB, sent to the bank, is on no bank statement"
    assert await breaks_on(DAY, transfer, tomorrow) == [
        (
            "sent:clm_test_1",
            BreakKind.TIMING,
            -400_00,
            f"{words}; it may still come until 2026-11-25 (T+2)",
            "nobody yet",
        )
    ]
    assert await breaks_on(LATER, transfer) == [
        ("sent:clm_test_1", BreakKind.MISSING_AT_BANK, -400_00, f"{words}; it was due on 2026-11-25 (T+2)", "treasury")
    ]
    assert await breaks_on(LATER) == []


async def test_an_amount_that_differs_is_one_break_for_both_sides(books, bring, found):
    await books.captured("scb", "qk01", 500)
    await bring("thai_bill_payment", bill_file([{"ref1": "QK1", "amount_minor": 499, "transaction_id": "qk01"}]))
    assert await found() == [
        (
            BreakKind.AMOUNT_DIFFERS,
            -1,
            "scb shows a payment of 4.99 THB (qk01), our entry 1 of the same name says 5.00 THB",
        )
    ]


async def test_a_net_amount_that_the_contract_does_not_explain(books, bring, found):
    await books.captured("omise", "chrg_test_1", 12_345)
    await bring("omise_transactions", omise_list([omise_transaction("trxn_test_1", "chrg_test_1", 11_861)]))
    ((kind, amount_minor, reason),) = await found()
    assert (kind, amount_minor) == (BreakKind.AMOUNT_DIFFERS, -484)
    assert "118.61 THB (trxn_test_1) net of an unstated fee, our entry 1 of the same name says 123.45 THB" in reason


async def test_a_second_line_of_a_matched_name_is_a_duplicate(books, bring, found):
    await books.captured("scb", "qk01", 500, bill="QK1")
    await bring("thai_bill_payment", bill_file([{"ref1": "QK1", "amount_minor": 500}] * 2))
    kinds = [kind for kind, _, _ in await found()]
    assert sorted(kinds) == [BreakKind.DUPLICATE, BreakKind.TIMING]


async def test_a_bank_line_without_a_known_text(bring, found):
    await bring("mt940", mt940_statement([(77, "CASH DEPOSIT")]).encode())
    assert await found() == [
        (BreakKind.UNKNOWN_LINE, 77, "the bank shows a credit of 0.77 THB: CASH DEPOSIT"),
    ]


async def test_a_transfer_that_the_bank_does_not_show_yet(bring, found):
    await bring(
        "omise_transfers", omise_list([omise_transfer("trsf_test_1", 10_000, created_at="2026-11-23T00:00:00Z")])
    )
    ((kind, amount_minor, reason),) = await found()
    assert (kind, amount_minor) == (BreakKind.AMOUNT_DIFFERS, 10_000)
    assert "the 0 lines available since the transfer before make 0.00: nothing was booked" in reason


async def test_a_satang_in_a_transfer_is_a_break_and_posts_nothing(books, bring, found):
    await books.captured("omise", "chrg_test_1", 12_345)
    await bring("omise_transactions", omise_list([omise_transaction("trxn_test_1", "chrg_test_1", 11_862)]))
    await bring("omise_transfers", omise_list([omise_transfer("trsf_test_1", 11_863)]))
    await bring("mt940", mt940_statement([(11_863 - 3_210, "OMISE TRANSFER trsf_test_1")], on=NEXT_DAY).encode())
    calls = books.calls
    breaks = await found(NEXT_DAY)
    assert books.calls == calls
    assert [kind for kind, _, _ in breaks] == [BreakKind.TIMING, BreakKind.AMOUNT_DIFFERS]
    assert breaks[1][1:] == (
        1,
        (
            "transfer trsf_test_1 took 118.63 from the balance, the 1 lines available since the transfer before make "
            "118.62: nothing was booked"
        ),
    )


async def test_a_transfer_waits_when_one_of_its_lines_is_not_in_our_books(bring, found):
    await bring("omise_transactions", omise_list([omise_transaction("trxn_test_1", "chrg_test_1", 11_862)]))
    await bring("omise_transfers", omise_list([omise_transfer("trsf_test_1", 11_862)]))
    await bring("mt940", mt940_statement([(11_862 - 3_210, "OMISE TRANSFER trsf_test_1")], on=NEXT_DAY).encode())
    breaks = await found(NEXT_DAY)
    assert [kind for kind, _, _ in breaks] == [BreakKind.MISSING_IN_LEDGER] * 2
    assert breaks[1][2] == (
        "transfer trsf_test_1 is at the bank and waits to be booked: 1 of its 1 lines are not in our books"
    )


async def test_a_fee_with_a_wrong_vat_is_one_break(bring, found):
    lines = [(-2_400, "BILLPAY FEE 12 ITEMS"), (-169, "BILLPAY FEE VAT 12 ITEMS")]
    await bring("mt940", mt940_statement(lines, opening_minor=5_000).encode())
    assert await found() == [
        (
            BreakKind.AMOUNT_DIFFERS,
            -1,
            "VAT on scb's fee of 24.00 is 1.69, the law's rate gives 1.68: nothing was booked",
        )
    ]


async def test_a_payout_of_another_amount_is_not_handed_on(books, bring, reconciliation):
    await books.captured("scb", "qk01", 50_000)
    await books.payout("po_test_1", 40_000)
    await bring("mt940", mt940_statement([(-40_001, "PAYOUT PO_TEST_1")], on=NEXT_DAY, opening_minor=50_000).encode())
    result = await reconciliation.run(book_id=BOOK, business_date=NEXT_DAY, now=NOW)
    assert result.payouts_seen == ()
    assert (BreakKind.AMOUNT_DIFFERS, -1) in [(each.kind, each.amount_minor) for each in result.breaks]


async def test_a_payout_that_came_back_is_handed_on_until_it_is_booked(books, bring, reconciliation):
    await bring("mt940", mt940_statement([(40_000, "PAYOUT RETURN PO_TEST_1")]).encode())
    result = await reconciliation.run(book_id=BOOK, business_date=DAY, now=NOW)
    (seen,) = result.payouts_seen
    assert (seen.returned, seen.booked, seen.amount_minor) == (True, False, 40_000)
    assert [each.kind for each in result.breaks] == [BreakKind.TIMING]
    await books.returned("po_test_1", 40_000, seen.line_id, on=DAY)
    again = await reconciliation.run(book_id=BOOK, business_date=DAY, now=NOW)
    assert [each.booked for each in again.payouts_seen] == [True]
    assert again.breaks == ()
    assert again.banks[0].tied


async def test_a_transfer_under_a_name_that_no_payout_has_is_handed_on_until_it_is_booked(books, bring, reconciliation):
    """Claims of payers go with the same files; whoever made them knows the name, and nobody else."""
    await bring("mt940", mt940_statement([(-40_000, "PAYOUT CLMTEST1")]).encode())
    result = await reconciliation.run(book_id=BOOK, business_date=DAY, now=NOW)
    (seen,) = result.payouts_seen
    assert (seen.end_to_end_id, seen.returned, seen.booked, seen.amount_minor) == ("CLMTEST1", False, False, 40_000)
    assert [each.kind for each in result.breaks] == [BreakKind.MISSING_IN_LEDGER]
    await books.refund_paid("clm_test_1", 40_000, seen.line_id)
    again = await reconciliation.run(book_id=BOOK, business_date=DAY, now=NOW)
    assert [each.booked for each in again.payouts_seen] == [True]
    assert again.breaks == ()
    assert again.banks[0].tied
    assert (await reconciliation.run(book_id=BOOK, business_date=NEXT_DAY, now=NOW)).payouts_seen == ()


async def test_payouts_are_handed_on_before_the_returns_of_the_same_day(books, bring, reconciliation):
    """What came back on the very day can only be booked once it is paid."""
    await books.captured("scb", "qk01", 50_000)
    await books.payout("po_test_1", 40_000)
    lines = [(40_000, "PAYOUT RETURN PO_TEST_1"), (-40_000, "PAYOUT PO_TEST_1"), (40_000, "PAYOUT RETURN PO_TEST_2")]
    await bring("mt940", mt940_statement(lines, on=NEXT_DAY, opening_minor=50_000).encode())
    result = await reconciliation.run(book_id=BOOK, business_date=NEXT_DAY, now=NOW)
    assert [seen.returned for seen in result.payouts_seen] == [False, True, True]


async def test_a_break_keeps_its_id_and_closes_when_a_later_run_matches_it(connection, books, bring, reconciliation):
    await bring("thai_bill_payment", bill_file([{"ref1": "QK1", "amount_minor": 500, "transaction_id": "qk01"}]))
    first = await reconciliation.run(book_id=BOOK, business_date=DAY, now=NOW)
    second = await reconciliation.run(book_id=BOOK, business_date=NEXT_DAY, now=NOW)
    assert [each.break_id for each in first.breaks] == [each.break_id for each in second.breaks]
    assert second.breaks[0].age_days(NEXT_DAY) == 1
    await books.captured("scb", "qk01", 500)
    third = await reconciliation.run(book_id=BOOK, business_date=NEXT_DAY, now=NOW)
    assert [(each.subject, each.kind) for each in third.breaks] == [("unsettled:scb:THB:2026-11-23", BreakKind.TIMING)]
    (closed,) = await listed(connection, book_id=BOOK, state="closed")
    assert closed.break_id == first.breaks[0].break_id
    row = await connection.fetchrow(
        "SELECT closed_run_id, resolution FROM reconciliation.breaks WHERE state = 'closed'"
    )
    assert tuple(row) == (second.run_id, "resolved")


async def test_breaks_are_listed_a_page_after_another(connection, bring, reconciliation):
    await bring("mt940", mt940_statement([(amount, "X") for amount in (1, 2, 3)]).encode())
    await reconciliation.run(book_id=BOOK, business_date=date(2026, 11, 23), now=NOW)
    page = await listed(connection, book_id=BOOK, limit=2)
    rest = await listed(connection, book_id=BOOK, limit=2, after=page[-1])
    assert [each.amount_minor for each in [*page, *rest]] == [1, 2, 3]


async def test_a_credit_that_a_person_took_for_nobodys_is_no_break(connection, books, bring, found, reconciliation):
    await bring("mt940", mt940_statement([(77, "CASH DEPOSIT"), (30, "CASH DEPOSIT")]).encode())
    assert [amount_minor for _, amount_minor, _ in await found()] == [77, 30]
    line_id = await connection.fetchval("SELECT line_id FROM reconciliation.statement_lines WHERE amount_minor = 77")
    await books.unidentified(line_id, 77)
    assert [amount_minor for _, amount_minor, _ in await found()] == [30]
    result = await reconciliation.run(book_id=BOOK, business_date=DAY, now=NOW)
    [bank] = result.banks
    assert bank.remainder_minor == 0
