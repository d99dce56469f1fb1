"""Importing: whole files, each line once, and nothing half done."""

import hashlib

import asyncpg
import pytest

from reconciliation.errors import StatementRefused
from tests.reconciliation.books import BOOK
from tests.reconciliation.files import bill_file, mt940_statement, omise_list, omise_transaction, omise_transfer

CHARGES = [omise_transaction(f"trxn_test_{n}", f"chrg_test_{n}", 1_000 + n) for n in range(1, 6)]


async def test_a_file_is_kept_sealed_with_its_hash_counts_and_lines(connection, bring):
    content = omise_list([*CHARGES, {**CHARGES[0], "id": "trxn_test_9", "amount": 1.5}])
    result = await bring("omise_transactions", content)
    assert (result.status, result.file_id) == ("imported", "stf_000001")
    assert (result.lines, result.lines_amount_minor) == (5, 5_015)
    assert (result.duplicates, result.rejected) == (0, 1)
    row = await connection.fetchrow("SELECT * FROM reconciliation.statement_files")
    assert row["book_id"] == BOOK
    assert row["content_sha256"] == hashlib.sha256(content).digest()
    assert row["content_sealed"] == b"sealed:stf_000001:" + content[::-1]
    assert content not in row["content_sealed"]
    line = await connection.fetchrow("SELECT * FROM reconciliation.statement_lines WHERE line_number = 3")
    assert (line["kind"], line["amount_minor"], line["fee_minor"], line["side"]) == ("payment", 1_003, None, "provider")
    references = await connection.fetch(
        "SELECT value FROM reconciliation.line_references WHERE line_id = $1 ORDER BY value", line["line_id"]
    )
    assert [reference["value"] for reference in references] == ["chrg_test_3", "trxn_test_3"]
    reject = await connection.fetchrow("SELECT * FROM reconciliation.rejected_lines")
    assert (reject["line_number"], reject["field"], reject["reason"]) == (6, "amount", "not_an_amount")


async def test_the_second_import_changes_nothing_when_the_content_is_the_same(bring, counts):
    content = omise_list(CHARGES)
    first = await bring("omise_transactions", content)
    before = await counts()
    second = await bring("omise_transactions", content)
    assert second.status == "already_imported"
    assert (second.file_id, second.lines, second.lines_amount_minor) == (first.file_id, 5, 5_015)
    assert await counts() == before


async def test_an_overlapping_file_adds_only_what_is_new(connection, bring):
    await bring("omise_transactions", omise_list(CHARGES[:3]))
    result = await bring("omise_transactions", omise_list(CHARGES))
    assert (result.lines, result.duplicates, result.rejected) == (2, 3, 0)
    assert (result.lines_amount_minor, result.duplicates_amount_minor) == (2_009, 3_006)
    assert await connection.fetchval("SELECT count(*) FROM reconciliation.statement_lines") == 5


async def test_pages_that_overlap_bring_an_item_once(bring):
    result = await bring("omise_transactions", omise_list([*CHARGES, CHARGES[4]]))
    assert (result.lines, result.duplicates) == (5, 1)


async def test_a_transfer_is_one_line_when_it_comes_again_as_paid(bring):
    await bring("omise_transfers", omise_list([omise_transfer("trsf_test_1", 9_000, paid=False)]))
    result = await bring("omise_transfers", omise_list([omise_transfer("trsf_test_1", 9_000, paid=True)]))
    assert (result.lines, result.duplicates, result.rejected) == (0, 1, 0)


async def test_a_line_is_rejected_when_its_id_came_earlier_with_another_amount(connection, bring):
    await bring("omise_transactions", omise_list(CHARGES[:1]))
    result = await bring("omise_transactions", omise_list([{**CHARGES[0], "amount": 1_002}, CHARGES[1]]))
    assert (result.lines, result.duplicates, result.rejected, result.rejected_amount_minor) == (1, 0, 1, 1_002)
    reject = await connection.fetchrow("SELECT * FROM reconciliation.rejected_lines")
    assert (reject["reason"], reject["amount_minor"]) == ("conflicts_with_imported", 1_002)
    amounts = await connection.fetch("SELECT amount_minor FROM reconciliation.statement_lines ORDER BY 1")
    assert [row["amount_minor"] for row in amounts] == [1_001, 1_002]


async def test_identical_genuine_lines_survive_and_do_not_double(bring):
    twice = [{"ref1": "QK1", "amount_minor": 500}, {"ref1": "QK1", "amount_minor": 500}]
    first = await bring("thai_bill_payment", bill_file(twice))
    assert (first.lines, first.duplicates) == (2, 0)
    longer = await bring("thai_bill_payment", bill_file([*twice, {"ref1": "QK1", "amount_minor": 500}]))
    assert (longer.lines, longer.duplicates) == (1, 2)


async def test_the_balances_of_a_bank_statement_are_kept(connection, bring):
    await bring("mt940", mt940_statement([(500, "X"), (500, "X")], opening_minor=100).encode())
    balance = await connection.fetchrow("SELECT * FROM reconciliation.statement_balances")
    assert (balance["opening_minor"], balance["closing_minor"], balance["account"]) == (100, 1_100, "0009876543")


@pytest.mark.parametrize(
    ("source", "content", "reason"),
    [
        ("omise_transactions", omise_list(CHARGES)[:-9], "cut_off"),
        ("omise_transactions", b"", "empty_file"),
        ("omise_transactions", b"\r\n \r\n", "empty_file"),
        ("mt940", mt940_statement([(5, "X")], closing_minor=6).encode(), "wrong_total"),
        ("thai_bill_payment", bill_file([{"ref1": "Q", "amount_minor": 5}]).replace(b"\r\n", b"\n"), "wrong_length"),
        ("camt053", b"<xml/>", "unknown_source"),
    ],
)
async def test_nothing_is_kept_when_the_file_is_refused(bring, counts, source, content, reason):
    before = await counts()
    with pytest.raises(StatementRefused) as refused:
        await bring(source, content)
    assert refused.value.reason == reason
    assert await counts() == before


async def test_nothing_is_kept_when_the_database_fails_in_the_middle(connection, bring, counts):
    before = await counts()
    await connection.execute("SET statement_timeout = 0")
    taken = "stl_000002"
    await connection.execute(
        "INSERT INTO reconciliation.statement_lines (book_id, line_id, file_id, line_number, source, side, account, "
        "stage, kind, amount_minor, currency, value_on, description, line_sha256, content_sha256) "
        "VALUES ($1, $2, 'x', 1, 'x', 'bank', 'x', 'bank', 'credit', 1, 'THB', '2026-11-23', '', 'x', 'x')",
        BOOK,
        taken,
    )
    with pytest.raises(asyncpg.UniqueViolationError):
        await bring("omise_transactions", omise_list(CHARGES))
    assert await counts() == {**before, "statement_lines": 1}


async def test_more_lines_than_a_chunk_are_kept(connection, bring):
    items = [omise_transaction(f"trxn_test_{n}", f"chrg_test_{n}", 1) for n in range(5_001)]
    assert (await bring("omise_transactions", omise_list(items))).lines == 5_001
    assert await connection.fetchval("SELECT count(*) FROM reconciliation.line_references") == 10_002
