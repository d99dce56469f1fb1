"""Each pass, with exact counts, and what forbids a match."""

import json

import asyncpg
import pytest

from reconciliation.expectations import follow_feed
from reconciliation.matching import PASSES, revoke, run_passes
from tests.reconciliation.books import BOOK, DAY, NEXT_DAY
from tests.reconciliation.files import (
    bill_file,
    mt940_statement,
    omise_list,
    omise_transaction,
    omise_transfer,
    utc,
)


@pytest.fixture
def match(connection):
    async def run(through=NEXT_DAY):
        await follow_feed(connection, BOOK)
        matched = await run_passes(connection, book_id=BOOK, through=through, run_id="rec_1")
        return {name: count for name, count in matched.items() if count}

    return run


async def _evidence(connection):
    rows = await connection.fetch(
        "SELECT rule, gross_minor, fee_minor, vat_minor, evidence::text FROM reconciliation.matches ORDER BY line_id"
    )
    return [
        (row["rule"], row["gross_minor"], row["fee_minor"], row["vat_minor"], json.loads(row["evidence"]))
        for row in rows
    ]


async def test_a_bill_payment_is_matched_by_the_banks_id(connection, books, bring, match):
    await books.captured("scb", "qk01", 123_456)
    await bring("thai_bill_payment", bill_file([{"ref1": "QK1", "amount_minor": 123_456, "transaction_id": "qk01"}]))
    assert await match() == {"exact_reference": 1}
    ((rule, gross, fee, vat, evidence),) = await _evidence(connection)
    assert (rule, gross, fee, vat) == ("exact_reference", 123_456, 0, 0)
    assert evidence == {
        "rule": "exact_reference",
        "scheme": "scb",
        "value": "qk01",
        "strong": True,
        "currency": "THB",
        "line_minor": 123_456,
        "fee_minor": 0,
        "vat_minor": 0,
        "expected_minor": 123_456,
        "delta_minor": 0,
        "value_on": "2026-11-23",
        "effective_on": "2026-11-23",
        "rival_lines": 0,
        "rival_expectations": 0,
    }
    assert await match() == {}


async def test_a_net_line_is_matched_only_when_the_contracts_fee_explains_the_rest(books, bring, match):
    await books.captured("omise", "chrg_test_1", 12_345)
    await books.captured("omise", "chrg_test_2", 10_000)
    await books.captured("omise", "chrg_test_3", 10_000)
    items = [
        omise_transaction("trxn_test_1", "chrg_test_1", 12_345 - 451 - 32),
        omise_transaction("trxn_test_2", "chrg_test_2", 10_000 - 165 - 12),
        omise_transaction("trxn_test_3", "chrg_test_3", 10_000 - 165 - 11),
    ]
    await bring("omise_transactions", omise_list(items))
    assert await match() == {"exact_reference_net_of_fee": 2}


async def test_fee_and_vat_are_kept_to_the_satang_when_the_line_is_net(connection, books, bring, match):
    await books.captured("omise", "chrg_test_1", 156_000)
    await bring("omise_transactions", omise_list([omise_transaction("trxn_test_1", "chrg_test_1", 153_246)]))
    assert await match() == {"exact_reference_net_of_fee": 1}
    ((_, gross, fee, vat, evidence),) = await _evidence(connection)
    assert (gross, fee, vat) == (156_000, 2_574, 180)
    assert (evidence["fee_rate_ppm"], evidence["vat_rate_ppm"]) == (16_500, 70_000)


async def test_a_refund_is_matched_by_its_own_id(books, bring, match):
    charge = await books.captured("omise", "chrg_test_1", 12_345)
    await books.refunded(charge, "rfnd_test_1", 5_000)
    items = [
        omise_transaction("trxn_test_1", "chrg_test_1", 11_862),
        omise_transaction("trxn_test_2", "rfnd_test_1", 5_000, direction="debit"),
    ]
    await bring("omise_transactions", omise_list(items))
    assert await match() == {"exact_reference_net_of_fee": 1, "exact_reference": 1}


@pytest.mark.parametrize("off", [-1, 1])
async def test_nothing_is_matched_when_a_satang_is_off(books, bring, match, off):
    await books.captured("scb", "qk01", 123_456)
    await books.captured("omise", "chrg_test_1", 12_345)
    await bring(
        "thai_bill_payment", bill_file([{"ref1": "Q", "amount_minor": 123_456 + off, "transaction_id": "qk01"}])
    )
    await bring("omise_transactions", omise_list([omise_transaction("trxn_test_1", "chrg_test_1", 11_862 + off)]))
    assert await match() == {}


async def test_nothing_is_matched_when_only_the_amount_agrees(books, bring, match):
    await books.captured("scb", "qk01", 123_456)
    await bring("thai_bill_payment", bill_file([{"ref1": "QK1", "amount_minor": 123_456, "transaction_id": "qk02"}]))
    assert await match() == {}


async def test_a_bill_reference_matches_when_the_file_has_no_stronger_id(books, bring, match):
    await books.captured("scb", "qk01", 500, bill="QK1")
    await books.captured("scb", "qk02", 500, bill="QK1")
    await bring("thai_bill_payment", bill_file([{"ref1": "QK1", "amount_minor": 500}] * 3))
    assert await match() == {"exact_bill_reference": 2}


async def test_a_bill_reference_matches_nothing_when_stronger_ids_contradict(books, bring, match):
    await books.captured("scb", "qk01", 500, bill="QK1")
    await bring("thai_bill_payment", bill_file([{"ref1": "QK1", "amount_minor": 500, "transaction_id": "qk02"}]))
    assert await match() == {}


async def test_the_other_books_entries_match_nothing(connection, books, bring, match):
    await bring("thai_bill_payment", bill_file([{"ref1": "QK1", "amount_minor": 500, "transaction_id": "qk01"}]))
    await books.captured("omise", "qk01", 500)
    assert await match() == {}


async def test_lines_after_the_business_date_wait(books, bring, match):
    await books.captured("scb", "qk01", 500)
    late = {"ref1": "QK1", "amount_minor": 500, "transaction_id": "qk01", "paid": "24112026000000"}
    await bring("thai_bill_payment", bill_file([late]))
    assert await match(DAY) == {}
    assert await match(NEXT_DAY) == {"exact_reference": 1}


async def test_a_transfer_is_found_on_the_balance_and_at_the_bank(connection, bring, match):
    debit = omise_transaction("trxn_test_9", "trsf_test_1", 100_000, direction="debit", key="transfer.sent.net")
    await bring("omise_transactions", omise_list([debit]))
    await bring("omise_transfers", omise_list([omise_transfer("trsf_test_1", 100_000)]))
    await bring("mt940", mt940_statement([(96_790, "OMISE TRANSFER trsf_test_1")], on=NEXT_DAY).encode())
    assert await match() == {"transfer_on_both_lists": 1, "bank_exact_reference": 1}
    assert await connection.fetchval("SELECT count(*) FROM reconciliation.open_lines") == 0


async def test_a_transfer_is_not_found_at_the_bank_when_a_satang_is_off(connection, bring, match):
    await bring("omise_transfers", omise_list([omise_transfer("trsf_test_1", 100_000)]))
    await bring("mt940", mt940_statement([(96_791, "OMISE TRANSFER trsf_test_1")], on=NEXT_DAY).encode())
    assert await match() == {}
    assert await connection.fetchval("SELECT count(*) FROM reconciliation.open_lines") == 2


async def test_bill_payments_are_found_at_the_bank_on_the_same_day_only(bring, match):
    details = [{"ref1": f"QK{n}", "amount_minor": 500, "transaction_id": f"qk0{n}"} for n in range(3)]
    await bring("thai_bill_payment", bill_file([*details, {"ref1": "QK3", "amount_minor": 500}]))
    credits_ = [(500, "BILLPAY QK0 qk00"), (500, "BILLPAY QK1 other"), (500, "BILLPAY QK3 qk03")]
    await bring("mt940", mt940_statement(credits_).encode())
    await bring("mt940", mt940_statement([(500, "BILLPAY QK2 qk02")], on=NEXT_DAY, opening_minor=1_500).encode())
    assert await match() == {"bank_exact_reference": 1, "bank_bill_reference": 1}


async def test_a_payout_is_found_by_its_end_to_end_id(books, bring, match):
    await books.captured("scb", "qk01", 50_000)
    await books.payout("po_test_1", 40_000)
    lines = [(-40_000, "PAYOUT PO_TEST_1"), (-40_000, "PAYOUT PO_TEST_2")]
    await bring("mt940", mt940_statement(lines, on=NEXT_DAY, opening_minor=100_000).encode())
    assert await match() == {"payout_exact_reference": 1}


async def test_a_rejected_payout_is_expected_no_more(connection, books, bring, match):
    await books.captured("scb", "qk01", 50_000)
    await books.payout("po_test_1", 40_000)
    await books.rejected("po_test_1", 40_000)
    await bring("mt940", mt940_statement([(-40_000, "PAYOUT PO_TEST_1")], opening_minor=100_000).encode())
    assert await match() == {}
    assert (
        await connection.fetchval("SELECT count(*) FROM reconciliation.open_expected_lines WHERE stage = 'payout'") == 0
    )


async def test_a_revoked_match_leaves_its_row_and_may_be_made_again(connection, books, bring, match):
    await books.captured("scb", "qk01", 500)
    await bring("thai_bill_payment", bill_file([{"ref1": "QK1", "amount_minor": 500, "transaction_id": "qk01"}]))
    await match()
    line_id = await connection.fetchval("SELECT line_id FROM reconciliation.statement_lines")
    revoked = {"book_id": BOOK, "stage": "provider", "line_id": line_id, "reason": "wrong file"}
    assert await revoke(connection, **revoked, revoked_at=utc("2026-11-24T03:00:00"))
    assert not await revoke(connection, **revoked, revoked_at=utc("2026-11-24T03:00:00"))
    assert await match() == {"exact_reference": 1}
    rows = await connection.fetch("SELECT revision, revoked_reason FROM reconciliation.matches ORDER BY revision")
    assert [tuple(row) for row in rows] == [(0, "wrong file"), (1, None)]


async def test_the_database_refuses_a_second_match_of_either_side(connection, books, bring, match):
    await books.captured("scb", "qk01", 500)
    await bring("thai_bill_payment", bill_file([{"ref1": "QK1", "amount_minor": 500, "transaction_id": "qk01"}]))
    await match()
    copy = (
        "INSERT INTO reconciliation.matches SELECT book_id, stage, {line}, 9, {expected}, counterpart_line_id, rule, "
        "gross_minor, fee_minor, vat_minor, evidence, run_id FROM reconciliation.matches"
    )
    with pytest.raises(asyncpg.UniqueViolationError, match="matches_one_for_a_line"):
        await connection.execute(copy.format(line="line_id", expected="'other'"))
    with pytest.raises(asyncpg.UniqueViolationError, match="matches_one_for_an_expectation"):
        await connection.execute(copy.format(line="'other'", expected="expected_id"))


async def test_a_receipt_booked_as_two_entries_is_one_movement(connection, books, bring, match):
    await books.captured("scb", "qk01", 500, bill="QK1", held_minor=77)
    await bring("thai_bill_payment", bill_file([{"ref1": "QK1", "amount_minor": 577, "transaction_id": "qk01"}]))
    assert await match() == {"exact_reference": 1}
    expected = await connection.fetch("SELECT expected_id, sequence, amount_minor FROM reconciliation.expected_lines")
    assert [tuple(row) for row in expected] == [("fact_test_qk01-1", 1, 577)]


async def test_the_feed_is_the_same_in_chunks_of_one(connection, books, monkeypatch):
    monkeypatch.setattr("reconciliation.expectations.CHUNK_ENTRIES", 1)
    await books.captured("scb", "qk01", 500, held_minor=77)
    assert await follow_feed(connection, BOOK) == 2
    assert await connection.fetchval("SELECT sum(amount_minor) FROM reconciliation.expected_lines") == 577


async def test_the_feed_is_read_once(connection, books):
    await books.captured("scb", "qk01", 500)
    assert await follow_feed(connection, BOOK) == 1
    assert await follow_feed(connection, BOOK) == 0
    assert await connection.fetchval("SELECT count(*) FROM reconciliation.expected_lines") == 1


def test_every_pass_has_a_name_of_its_own_and_an_explanation():
    assert len({step.name for step in PASSES}) == len(PASSES)
    assert all(step.explanation.endswith(".") for step in PASSES)
