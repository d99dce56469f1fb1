"""A report is written only when it adds up, and twice the same is the same bytes."""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, date, datetime

import msgspec
import pytest

from reports import identities
from reports.identities import Identity, IdentityFailed
from reports.rendering import ReportHead, render, write
from reports.rows import TrialBalanceLine

HEAD = ReportHead(
    report="trial_balance",
    book_id=7,
    period_from=date(2026, 11, 1),
    period_to=date(2026, 11, 23),
    cut=1042,
    control_column="closing_debit_minor",
)


def line(code: str, account: str, kind: str, *, opening: int = 0, debit: int = 0, credit: int = 0) -> TrialBalanceLine:
    closing = opening + debit - credit
    return TrialBalanceLine(
        account_code=code,
        account=account,
        account_type=kind,
        currency="THB",
        opening_debit_minor=max(opening, 0),
        opening_credit_minor=max(-opening, 0),
        period_debit_minor=debit,
        period_credit_minor=credit,
        closing_debit_minor=max(closing, 0),
        closing_credit_minor=max(-closing, 0),
    )


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    rows: tuple[TrialBalanceLine, ...]
    head: ReportHead = HEAD
    row_type: type[msgspec.Struct] = TrialBalanceLine

    def identities(self) -> Sequence[Identity]:
        return identities.trial_balance(self.rows, posted_minor={"THB": 1_017_66} if self.rows else {})


WHOLE = Balance(
    rows=(
        line("1110", "provider_receivable scb", "asset", opening=500_00, debit=1_000_00),
        line("2010", "merchant_pending acct_1", "liability", opening=-500_00, debit=17_66, credit=1_000_00),
        line("2110", "output_vat", "liability", credit=1_16),
        line("4010", "fee_income payment", "income", credit=16_50),
    )
)


def test_csv_and_json_say_the_same_and_carry_what_they_are():
    rendered = render(WHOLE)
    lines = rendered.csv.decode().splitlines()
    preamble = dict(text[2:].split(": ", 1) for text in lines if text.startswith("# "))
    assert preamble["report_id"] == "trial_balance:b7:2026-11-01:2026-11-23:s1042"
    assert preamble["timezone"] == "Asia/Bangkok"
    assert preamble["currency"] == "THB"
    assert preamble["ledger_cut"] == "1042"
    assert preamble["rows"] == "4"
    assert preamble["control_total"] == "1500.00 THB"
    body = [text for text in lines if not text.startswith("# ")]
    assert body[0].startswith("account_code,account,account_type,currency,opening_debit,opening_credit,")
    assert body[2] == "2010,merchant_pending acct_1,liability,THB,0.00,500.00,17.66,1000.00,0.00,1482.34"
    assert preamble["rows_sha256"] == hashlib.sha256(("\n".join(body) + "\n").encode()).hexdigest()
    document = json.loads(rendered.json)
    assert [",".join(row.values()) for row in document["data"]] == body[1:]
    assert {key: str(document[key]) for key in preamble if key != "subject"} == {
        key: value for key, value in preamble.items() if key != "subject"
    }


def test_second_rendering_is_the_same_bytes_and_only_the_manifest_tells_the_time(tmp_path):
    first = write(WHOLE, tmp_path / "first", generated_at=datetime(2026, 11, 23, tzinfo=UTC))
    second = write(WHOLE, tmp_path / "second", generated_at=datetime(2026, 11, 24, tzinfo=UTC))
    same = [one.read_bytes() == two.read_bytes() for one, two in zip(first, second, strict=True)]
    assert [path.name for path in first] == ["trial_balance.csv", "trial_balance.json", "trial_balance.manifest.json"]
    assert same == [True, True, False]
    manifest = json.loads(first[2].read_bytes())
    assert manifest["generated_at"] == "2026-11-23T00:00:00+00:00"
    assert manifest["files"]["trial_balance.csv"] == hashlib.sha256(first[0].read_bytes()).hexdigest()


def test_report_without_rows_still_has_its_columns():
    rendered = render(Balance(rows=()))
    assert rendered.csv.decode().splitlines()[-1].startswith("account_code,")
    assert rendered.summary["rows"] == 0
    assert rendered.summary["control_total"] == ""


@pytest.mark.parametrize("column", ["opening_debit_minor", "period_credit_minor", "closing_debit_minor"])
def test_nothing_is_written_when_one_cell_was_changed(tmp_path, column):
    row = WHOLE.rows[0]
    changed = msgspec.structs.replace(row, **{column: getattr(row, column) + 1})
    with pytest.raises(IdentityFailed) as failed:
        write(
            Balance(rows=(changed, *WHOLE.rows[1:])), tmp_path / "out", generated_at=datetime(2026, 11, 23, tzinfo=UTC)
        )
    assert failed.value.identity.name == "opening_plus_period_is_closing"
    assert abs(failed.value.difference) == 1
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_when_a_row_is_gone():
    with pytest.raises(IdentityFailed, match="opening_debits_are_credits of THB: 0 is not 50000"):
        render(Balance(rows=WHOLE.rows[1:]))


def test_failure_names_the_identity_and_the_difference():
    with pytest.raises(IdentityFailed, match=r"file_is_its_control_total of pf_1: 5 is not 7 \(difference -2\)"):
        identities.require([Identity(name="file_is_its_control_total", subject="pf_1", left=5, right=7)])
