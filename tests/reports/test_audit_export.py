"""The export is a book that other programs read to the same balances, and cannot be changed without a trace.

The trial balance is built three ways – SQL, Beancount's loader, and from the hledger journal by a reader of our own
(and by hledger itself where it is installed) – and must be the same.
"""

import csv
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from beancount import loader
from beancount.core.data import Balance, Transaction

from ledger.balances import trial_balance
from reports.audit import export as audit_export
from reports.audit.accounts import account_names
from reports.audit.export import EmptyBook, export
from reports.identities import IdentityFailed
from tests.reports.books import BOOK, FIRST_DAY, captured

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
LATER = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
HLEDGER_POSTING = re.compile(
    r"    (?P<account>\S+)  (?P<amount>-?[0-9.]+) (?P<currency>[A-Z]{3})(?: = (?P<asserted>-?[0-9.]+) .*)?"
)


@pytest.fixture
async def exported(auditor, tmp_path):
    return await export(auditor, BOOK, tmp_path / "export", generated_at=NOW)


def bean_check(journal: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("bean-check")
    return subprocess.run([program, "--no-cache", journal], capture_output=True, text=True, check=False)


def by_beancount(journal: Path) -> dict[str, Decimal]:
    entries, errors, _ = loader.load_file(str(journal))
    assert errors == []
    balances: defaultdict[str, Decimal] = defaultdict(Decimal)
    for entry in entries:
        if isinstance(entry, Transaction):
            for posting in entry.postings:
                balances[posting.account] += posting.units.number
    return dict(balances)


def hledger(journal: Path, *arguments: str) -> str:
    """What hledger says, where it is installed (it is no Python package); else nothing."""
    program = shutil.which("hledger")
    if program is None:
        return ""
    ran = subprocess.run([program, "-f", journal, *arguments], capture_output=True, text=True, check=False)
    # A check that this version of hledger does not have yet refuses nothing.
    assert ran.returncode == 0 or "checks are unknown" in ran.stderr, ran.stderr
    return ran.stdout


def by_hledger(journal: Path) -> dict[str, Decimal]:
    rows = csv.DictReader(hledger(journal, "balance", "-N", "--flat", "-E", "-O", "csv").splitlines())
    return {row["account"]: Decimal(row["balance"].split()[0]) for row in rows}


def by_hledger_text(journal: Path) -> dict[str, Decimal]:
    balances: defaultdict[str, Decimal] = defaultdict(Decimal)
    for line in journal.read_text().splitlines():
        if found := HLEDGER_POSTING.fullmatch(line):
            balances[found["account"]] += Decimal(found["amount"])
            if found["asserted"]:
                assert balances[found["account"]] == Decimal(found["asserted"]), line
    return dict(balances)


async def by_sql(connection) -> dict[str, Decimal]:
    rows = await trial_balance(connection, BOOK)
    names = account_names(row.account for row in rows)
    return {
        names[row.account.kind, row.account.owner]: Decimal(row.closing_debit_minor - row.closing_credit_minor).scaleb(
            -2
        )
        for row in rows
    }


async def test_trial_balance_is_the_same_three_ways(auditor, exported):
    expected = await by_sql(auditor)
    assert len(expected) == 12
    assert expected["Assets:Bank-ScbMain"] == Decimal("18500.00")
    assert expected["Liabilities:MerchantAvailable-Acct01k8shop"] == 0
    assert sum(expected.values()) == 0
    assert by_beancount(exported.folder / "journal.beancount") == expected
    assert by_hledger_text(exported.folder / "journal.hledger") == expected
    assert by_hledger(exported.folder / "journal.hledger") in ({}, expected)


async def test_bean_check_accepts_the_journal(exported):
    checked = bean_check(exported.folder / "journal.beancount")
    assert (checked.returncode, checked.stderr) == (0, "")


async def test_bean_check_refuses_the_journal_when_one_satang_was_moved(exported):
    journal = exported.folder / "journal.beancount"
    text = journal.read_text()
    journal.write_text(
        text.replace("  1500.00 THB\n", "  1500.01 THB\n", 1).replace("  -1500.00 THB\n", "  -1500.01 THB\n", 1)
    )
    assert bean_check(journal).returncode != 0


async def test_bean_check_refuses_the_journal_when_a_balance_is_asserted_one_satang_off(exported):
    journal = exported.folder / "journal.beancount"
    journal.write_text(journal.read_text().replace("18500.00 ~", "18500.01 ~"))
    checked = bean_check(journal)
    assert checked.returncode != 0
    assert "Balance failed" in checked.stderr


async def test_balances_are_asserted_after_each_month_and_at_the_end(exported):
    entries, _, _ = loader.load_file(str(exported.folder / "journal.beancount"))
    asserted = {entry.date for entry in entries if isinstance(entry, Balance)}
    assert asserted == {date(2026, 11, 1), date(2026, 11, 6)}
    at_end = [entry for entry in entries if isinstance(entry, Balance) and entry.date == date(2026, 11, 6)]
    assert len(at_end) == 12


async def test_hledger_journal_declares_everything_and_keeps_the_order_of_dates(exported):
    text = (exported.folder / "journal.hledger").read_text()
    accounts = {line.removeprefix("account ") for line in text.splitlines() if line.startswith("account ")}
    used = {found["account"] for line in text.splitlines() if (found := HLEDGER_POSTING.fullmatch(line))}
    assert used == accounts
    assert len({name.rpartition(":")[2] for name in accounts}) == len(accounts)
    heads = re.findall(r"^(\d{4}-\d\d-\d\d) \* (?:\(\d+\) )?(\w+) \|", text, re.MULTILINE)
    assert [head[0] for head in heads] == sorted(head[0] for head in heads)
    assert {head[1] for head in heads} <= set(re.findall(r"^payee (\w+)$", text, re.MULTILINE))
    tags = set(re.findall(r"^    ; (\w+):", text, re.MULTILINE))
    assert tags <= set(re.findall(r"^tag (\w+)$", text, re.MULTILINE))
    for check in ("-s", "ordereddates", "payees", "tags", "recentassertions", "uniqueleafnames"):
        hledger(exported.folder / "journal.hledger", "check", check)


async def test_second_export_of_the_same_cut_is_the_same_bytes_though_the_book_grew(
    auditor, exported, ledger, tmp_path
):
    await ledger.post(BOOK, captured(99, 77_00, day=FIRST_DAY))
    again = await export(auditor, BOOK, tmp_path / "again", generated_at=LATER, cut=exported.cut)
    for path in exported.files[:-1]:
        assert path.read_bytes() == (again.folder / path.name).read_bytes(), path.name
    one, two = (json.loads((each.folder / "manifest.json").read_bytes()) for each in (exported, again))
    assert one.pop("generated_at") != two.pop("generated_at")
    assert one == two


async def test_manifest_counts_sums_and_hashes_what_lies_beside_it(auditor, exported, posted):
    manifest = json.loads((exported.folder / "manifest.json").read_bytes())
    assert manifest["ledger_cut"] == exported.cut == posted[-1].sequence == 19
    assert manifest["counts"]["entries"] == 19
    with (exported.folder / "postings.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == manifest["counts"]["postings"] == exported.postings
    total = sum(Decimal(row["amount"]) for row in rows)
    assert manifest["control_totals"] == {"THB": str(total)}
    assert Decimal(exported.control_minor["THB"]).scaleb(-2) == total
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((exported.folder / name).read_bytes()).hexdigest() == digest
    with (exported.folder / "blocks.csv").open() as file:
        blocks = list(csv.DictReader(file))
    assert [block["previous_hash"] for block in blocks[1:]] == [block["hash"] for block in blocks[:-1]]
    assert manifest["chain"]["head"] == blocks[-1]["hash"] == exported.chain_head
    assert {path.name for path in exported.folder.iterdir()} == {path.name for path in exported.files}


async def test_export_to_an_earlier_cut_is_a_book_of_its_own(auditor, tmp_path):
    early = await export(auditor, BOOK, tmp_path / "early", generated_at=NOW, cut=5)
    assert (early.cut, early.entries) == (5, 5)
    assert bean_check(early.folder / "journal.beancount").returncode == 0
    assert sum(by_beancount(early.folder / "journal.beancount").values()) == 0


async def test_export_reads_in_chunks_and_comes_to_the_same(auditor, exported, tmp_path, monkeypatch):
    monkeypatch.setattr(audit_export, "CHUNK", 3)
    small = await export(auditor, BOOK, tmp_path / "small", generated_at=NOW)
    for path in exported.files:
        assert path.read_bytes() == (small.folder / path.name).read_bytes(), path.name


async def test_export_is_not_finished_when_an_entry_read_is_not_the_entry_posted(auditor, tmp_path, monkeypatch):
    genuine = audit_export.read_entries

    async def tampered(connection, book_id, *, after, limit):
        first, *rest = await genuine(connection, book_id, after=after, limit=limit)
        posting = msgspec.structs.replace(first.postings[0], amount_minor=first.postings[0].amount_minor + 1)
        return [msgspec.structs.replace(first, postings=(posting, *first.postings[1:])), *rest]

    monkeypatch.setattr(audit_export, "read_entries", tampered)
    with pytest.raises(IdentityFailed, match=r"postings_are_trial_balance_debits of THB: .* \(difference 1\)"):
        await export(auditor, BOOK, tmp_path / "tampered", generated_at=NOW)
    assert not (tmp_path / "tampered" / "manifest.json").exists()


async def test_empty_book_has_no_export(auditor, tmp_path):
    with pytest.raises(EmptyBook):
        await export(auditor, 4711, tmp_path / "empty", generated_at=NOW)
    assert not (tmp_path / "empty").exists()
