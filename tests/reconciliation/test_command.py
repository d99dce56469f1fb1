"""`quickkub reconciliation`: a statement comes in, is held against the books, and what differs is listed."""

import csv
import re

import pytest
from click.testing import CliRunner

from gateway.cli import group
from tests.reconciliation.files import bill_file


@pytest.fixture
def quickkub(database, valkey_url, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", database.app_dsn)
    monkeypatch.setenv("REDIS_URL", valkey_url)
    monkeypatch.setenv("MASTER_KEY", "07" * 32)

    def run(*arguments, code=0):
        result = CliRunner().invoke(group, arguments)
        assert result.exit_code == code, result.output
        return result.output

    return run


def test_a_statement_is_imported_once_reconciled_and_its_breaks_listed(quickkub, tmp_path):
    created = quickkub("merchants", "create", "--name", "Test shop", "--email", "shop@example.test")
    book = re.search(r"test book +(\d+)", created)[1]
    path = tmp_path / "scb.txt"
    path.write_bytes(bill_file([{"ref1": "QK1", "amount_minor": 500, "transaction_id": "qk01"}]))
    statement = ("reconciliation", "import", book, "thai_bill_payment", str(path))
    assert "imported  stf_test_" in quickkub(*statement)
    assert "already imported" in quickkub(*statement)

    dry = quickkub("reconciliation", "run", book, "--on", "2026-11-23", "--dry-run")
    assert "lines 1, matched 0, unmatched 1, rejected 0" in dry
    assert "breaks               0" in quickkub("reconciliation", "breaks", book)
    wet = quickkub("reconciliation", "run", book, "--on", "2026-11-23")
    assert "missing_in_ledger  payments  5.00 THB  scb shows a payment of 5.00 THB (qk01)" in wet
    assert "brk_test_" in quickkub("reconciliation", "breaks", book)

    path.write_bytes(path.read_bytes()[:-100])
    refused = quickkub(*statement, code=1)
    assert "cut_off at line 3" in refused


def test_rejected_lines_are_written_beside_the_statement_with_place_and_reason(quickkub, tmp_path):
    created = quickkub("merchants", "create", "--name", "Test shop", "--email", "shop@example.test")
    book = re.search(r"test book +(\d+)", created)[1]
    path = tmp_path / "scb.txt"
    path.write_bytes(bill_file([{"ref1": "QK1", "amount_minor": 500, "transaction_id": "qk01"}]))
    quickkub("reconciliation", "import", book, "thai_bill_payment", str(path))
    assert not list(tmp_path.glob("*.rejects.csv"))

    changed = [{"ref1": "QK1", "amount_minor": 501, "transaction_id": "qk01"}]
    path.write_bytes(bill_file([*changed, {"ref1": "QK2", "amount_minor": 700, "transaction_id": "qk02"}]))
    shown = quickkub("reconciliation", "import", book, "thai_bill_payment", str(path))
    rejects = tmp_path / "scb.txt.rejects.csv"
    assert f"see         {rejects}" in shown
    head, *rows = csv.reader(rejects.read_text(encoding="utf-8").splitlines())
    assert head == ["line_number", "field", "reason", "detail", "amount_minor"]
    assert [(row[0], row[2], row[4]) for row in rows] == [("2", "conflicts_with_imported", "501")]
