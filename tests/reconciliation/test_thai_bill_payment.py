"""The bill payment file: what a good one says, and that each way of being wrong is refused at its place."""

from datetime import date

import pytest

from reconciliation.errors import StatementRefused
from reconciliation.statements.base import LineKind, LineReference
from reconciliation.statements.thai_bill_payment import parse
from tests.reconciliation.files import bill_detail, bill_file, bill_head, bill_total, utc

GOOD = bill_file(
    [
        {"ref1": "QK2026000001", "amount_minor": 123_456, "transaction_id": "qk0000000000000001"},
        {"ref1": "QK2026000002", "amount_minor": 5_000, "paid": "23112026235959"},
        {"ref1": "QK2026000002", "amount_minor": 5_000, "kind": "D", "paid": "23112026235959"},
    ]
)


def _records(*rows: str) -> bytes:
    return "".join(f"{row}\r\n" for row in rows).encode("cp874")


def test_every_record_becomes_a_line_when_the_file_is_whole():
    statement = parse(GOOD)
    assert statement.account == "0001234567"
    assert statement.header == {"bank_code": "014", "effective_on": "23112026", "service_code": "QKSVC"}
    assert statement.rejects == ()
    paid, late, reversal = statement.lines
    assert (paid.line_number, paid.kind, paid.amount_minor, paid.currency) == (2, LineKind.PAYMENT, 123_456, "THB")
    assert paid.references == (
        LineReference("scb", "qk0000000000000001"),
        LineReference("scb", "QK2026000001", strong=False),
    )
    assert (paid.fee_minor, paid.vat_minor) == (0, 0)
    assert paid.occurred_at == utc("2026-11-23T03:15:00")
    assert late.value_on == date(2026, 11, 23)
    assert late.occurred_at == utc("2026-11-23T16:59:59")
    assert late.references == (LineReference("scb", "QK2026000002", strong=False),)
    assert (reversal.kind, reversal.amount_minor) == (LineKind.REVERSAL, -5_000)
    assert [(total.name, total.stated, total.found) for total in statement.control_totals] == [
        ("debit_amount", 5_000, 5_000),
        ("debit_count", 1, 1),
        ("credit_amount", 128_456, 128_456),
        ("credit_count", 2, 2),
    ]


def test_no_payer_name_reaches_a_line():
    assert "ผู้จ่าย".encode("cp874") in GOOD
    assert "ผู้จ่าย" not in repr(parse(GOOD))


def test_a_day_without_payments_is_believed_when_the_totals_say_so():
    assert parse(bill_file([])).lines == ()


@pytest.mark.parametrize(
    ("content", "reason", "line_number", "field"),
    [
        pytest.param(GOOD.replace(b"0000000128456", b"0000000128457"), "wrong_total", 5, "credit_amount", id="total"),
        pytest.param(_records(bill_head(), bill_total(2, credit=(0, 1))), "wrong_total", 2, "credit_count", id="count"),
        pytest.param(GOOD[: 258 * 3], "cut_off", 3, None, id="cut between records"),
        pytest.param(GOOD[: 258 * 3 + 100], "cut_off", 4, None, id="cut inside a record"),
        pytest.param(_records(bill_head()), "cut_off", 1, None, id="only a head"),
        pytest.param(GOOD.decode("cp874").encode("utf-8"), "wrong_encoding", 2, None, id="UTF-8"),
        pytest.param(GOOD.replace("ผู้จ่าย".encode("cp874"), b"\xdb" * 7), "wrong_encoding", 2, None, id="not CP874"),
        pytest.param(GOOD.replace(b"\r\n", b"\n"), "wrong_length", 1, None, id="bare line feeds"),
        pytest.param(GOOD[258:], "wrong_order", 1, None, id="head missing"),
        pytest.param(GOOD[:258] + GOOD[258 * 2 :], "wrong_order", 2, "sequence", id="a record is missing"),
        pytest.param(GOOD.replace(b"C" + b"PMH", b"X" + b"PMH", 1), "malformed", 2, "kind", id="kind"),
        pytest.param(GOOD.replace(b"0000000123456", b"00000001234.6", 1), "malformed", 2, "amount", id="amount"),
        pytest.param(GOOD.replace(b"0140001234567", b"0990001234567"), "unsupported", 1, "bank_code", id="bank"),
        pytest.param(GOOD.replace(b"D000003014", b"D000003004"), "malformed", 3, "bank_code", id="two banks"),
    ],
)
def test_the_file_is_refused_at_its_place_when_its_frame_is_wrong(content, reason, line_number, field):
    with pytest.raises(StatementRefused) as refused:
        parse(content)
    assert (refused.value.reason, refused.value.line_number, refused.value.field) == (reason, line_number, field)


@pytest.mark.parametrize(
    ("wrong", "field", "reason", "amount_minor"),
    [
        ({"ref1": "QK1", "amount_minor": 700, "paid": "31022026101500"}, "paid_on", "not_a_date", 700),
        ({"ref1": "QK1", "amount_minor": 700, "paid": "23112026256161"}, "paid_on", "not_a_date", 700),
        ({"ref1": "", "amount_minor": 700, "kind": "D"}, "ref1", "missing", -700),
        ({"ref1": "QK1", "amount_minor": 0}, "amount", "not_an_amount", 0),
    ],
)
def test_only_the_line_is_rejected_when_the_totals_still_hold(wrong, field, reason, amount_minor):
    statement = parse(bill_file([{"ref1": "QK2026000001", "amount_minor": 123_456}, wrong]))
    assert [line.amount_minor for line in statement.lines] == [123_456]
    (reject,) = statement.rejects
    assert (reject.line_number, reject.field, reject.reason, reject.amount_minor) == (3, field, reason, amount_minor)


def test_a_record_is_256_characters_when_written_by_hand():
    assert len(bill_detail(2, ref1="QK1", amount_minor=1)) == 256
