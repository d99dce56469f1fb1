"""GBPrimePay's settlement report: exact lines, and nothing believed that does not prove itself."""

from datetime import date

import pytest

from reconciliation.errors import StatementRefused
from reconciliation.statements.base import LineKind, LineReference, Side
from reconciliation.statements.gbprimepay import COLUMNS, FORMAT, parse
from reconciliation.statements.registry import format_of
from tests.reconciliation.files import utc

HEAD = ",".join(COLUMNS)
PAYMENT = {
    "Settlement Date": "02012026",
    "Transaction Date": "01012026",
    "Transaction Time": "090000",
    "GBP Reference No": "gbp0000000001",
    "Reference No": "QK20260000001",
    "Payment Type": "Q",
    "Amount": "1234.50",
    "Fee": "9.88",
    "VAT": "0.69",
    "WHT": "0.00",
    "Net Amount": "1223.93",
    "Status": "S",
}
REFUND = {
    **PAYMENT,
    "GBP Reference No": "gbp0000000002",
    "Amount": "-100.00",
    "Fee": "0.00",
    "VAT": "0.00",
    "Net Amount": "-100.00",
    "Status": "R",
}
VOID = {
    **PAYMENT,
    "GBP Reference No": "gbp0000000003",
    "Amount": "-1234.50",
    "Fee": "-9.88",
    "VAT": "-0.69",
    "Net Amount": "-1223.93",
    "Status": "V",
}


def report(*rows: dict[str, str], end: str = "\r\n") -> bytes:
    return ("\r\n".join([HEAD, *(",".join(row[name] for name in COLUMNS) for row in rows)]) + end).encode()


def test_a_payment_is_net_of_its_fee_and_vat():
    assert format_of("gbprimepay_settlement") is FORMAT
    assert FORMAT.side is Side.PROVIDER
    (line,) = parse(report(PAYMENT)).lines
    assert (line.kind, line.amount_minor, line.fee_minor, line.vat_minor) == (LineKind.PAYMENT, 122_393, 988, 69)
    assert (line.currency, line.provider, line.line_number) == ("THB", "gbprimepay", 2)
    assert line.references == (
        LineReference("gbprimepay", "gbp0000000001"),
        LineReference("gbprimepay", "QK20260000001", strong=False),
    )
    assert (line.value_on, line.occurred_at) == (date(2026, 1, 1), utc("2026-01-01T02:00:00"))
    assert line.available_at == utc("2026-01-01T17:00:00")
    assert (line.identity, line.batch_reference, line.description) == ("gbp0000000001", None, "Q S")


def test_what_goes_back_is_negative_and_a_void_gives_its_fee_back():
    refund, void = parse(report(REFUND, VOID)).lines
    assert (refund.kind, refund.amount_minor, refund.fee_minor, refund.vat_minor) == (LineKind.REFUND, -10_000, 0, 0)
    assert (void.kind, void.amount_minor, void.fee_minor, void.vat_minor) == (LineKind.REVERSAL, -122_393, -988, -69)


def test_a_quiet_day_and_a_byte_order_mark_are_believed():
    assert parse(report()).lines == ()
    assert len(parse(b"\xef\xbb\xbf" + report(PAYMENT)).lines) == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"", "empty_file", id="nothing"),
        pytest.param(b"<html>504</html>\n", "malformed", id="a page"),
        pytest.param(report(PAYMENT).replace(b",WHT", b""), "malformed", id="a column is missing"),
        pytest.param(report(PAYMENT, end=""), "cut_off", id="no end of the last line"),
        pytest.param(report(PAYMENT, REFUND)[:-20], "cut_off", id="cut off"),
        pytest.param(report(PAYMENT).decode().encode("utf-16"), "wrong_encoding", id="UTF-16"),
        pytest.param(report(PAYMENT).replace(b"1234.50", b'"1234.50'), "malformed", id="an open quote"),
    ],
)
def test_the_file_is_refused_when_it_does_not_prove_itself(content, reason):
    with pytest.raises(StatementRefused) as refused:
        parse(content)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({"Amount": "1234.5"}, "Amount", "not_an_amount"),
        ({"Amount": "1.234e3"}, "Amount", "not_an_amount"),
        ({"Amount": "0.00"}, "Amount", "not_an_amount"),
        ({"Amount": "-1234.50"}, "Amount", "not_an_amount"),
        ({"Status": "R"}, "Amount", "not_an_amount"),
        ({"Fee": ""}, "Fee", "not_an_amount"),
        ({"WHT": "0.30"}, "WHT", "unknown_value"),
        ({"Net Amount": "1223.92"}, "Net Amount", "unknown_value"),
        ({"Status": "G"}, "Status", "unknown_value"),
        ({"Transaction Date": "31022026"}, "Transaction Date", "not_a_date"),
        ({"Transaction Date": "2026-01-01"}, "Transaction Date", "not_a_date"),
        ({"Transaction Time": "250000"}, "Transaction Time", "not_a_date"),
        ({"Settlement Date": ""}, "Settlement Date", "not_a_date"),
        ({"GBP Reference No": ""}, "GBP Reference No", "missing"),
        ({"Reference No": "a b"}, "Reference No", "missing"),
    ],
)
def test_only_the_line_is_rejected_when_it_cannot_be_read(fields, field, reason):
    statement = parse(report({**PAYMENT, **fields}, REFUND))
    assert [line.identity for line in statement.lines] == ["gbp0000000002"]
    (reject,) = statement.rejects
    assert (reject.line_number, reject.field, reject.reason) == (2, field, reason)


def test_a_line_of_too_few_or_too_many_columns_is_rejected():
    damaged = report(PAYMENT, REFUND).replace(b",1223.93,S", b",S").replace(b",R\r", b",R,extra\r")
    statement = parse(damaged)
    assert statement.lines == ()
    assert [(reject.line_number, reject.field) for reject in statement.rejects] == [(2, "line"), (3, "line")]
