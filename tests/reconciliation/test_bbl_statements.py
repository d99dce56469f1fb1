"""Bangkok Bank's merchant report: amounts as stated, and nothing believed that does not prove itself."""

from datetime import date

import pytest

from reconciliation.errors import StatementRefused
from reconciliation.statements.base import LineKind, LineReference, Side
from reconciliation.statements.bbl import COLUMNS, FORMAT, parse
from reconciliation.statements.registry import format_of
from tests.reconciliation.files import utc

PAYMENT = {
    "Transaction Date": "2026-01-01 09:05:00",
    "Merchant Ref.": "QK2026000001",
    "Payment Ref.": "16461",
    "Currency": "THB",
    "Amount": "1234.50",
    "Payment Method": "VISA",
    "Status": "Accepted",
    "Approval Code": "123456",
    "Settle Date": "2026-01-02",
    "MDR": "34.57",
    "VAT": "2.42",
    "Net": "1197.51",
}
REFUND = {**PAYMENT, "Status": "Refunded", "MDR": "0.00", "VAT": "0.00", "Net": "1234.50"}
VOID = {**PAYMENT, "Status": "Voided"}


def report(*rows: dict[str, str], columns=COLUMNS) -> bytes:
    lines = [",".join(columns), *(",".join(row.values()) for row in rows)]
    return "".join(f"{line}\r\n" for line in lines).encode()


def test_the_format_is_found_by_its_source():
    assert format_of("bbl_settlement") is FORMAT
    assert FORMAT.side is Side.PROVIDER


def test_a_payment_states_its_fee_and_vat():
    statement = parse(report(PAYMENT))
    (line,) = statement.lines
    assert (statement.account, statement.rejects) == ("bbl", ())
    assert (line.line_number, line.kind, line.account, line.provider) == (2, LineKind.PAYMENT, "bbl", "bbl")
    assert (line.amount_minor, line.fee_minor, line.vat_minor, line.currency) == (1197_51, 34_57, 2_42, "THB")
    assert line.references == (LineReference("bbl", "16461"), LineReference("bbl", "QK2026000001", strong=False))
    assert (line.value_on, line.occurred_at) == (date(2026, 1, 1), utc("2026-01-01T02:05:00"))
    assert line.available_at == utc("2026-01-01T17:00:00")
    assert (line.identity, line.batch_reference, line.description) == ("16461", None, "VISA Accepted")


@pytest.mark.parametrize(
    ("row", "kind", "amounts"),
    [
        (REFUND, LineKind.REFUND, (-1234_50, 0, 0)),
        (VOID, LineKind.REVERSAL, (-1197_51, -34_57, -2_42)),
    ],
)
def test_money_that_went_back_bears_the_payments_id_and_no_identity(row, kind, amounts):
    (line,) = parse(report(row)).lines
    assert (line.kind, (line.amount_minor, line.fee_minor, line.vat_minor)) == (kind, amounts)
    assert (line.references[0], line.identity) == (LineReference("bbl", "16461"), None)


def test_a_day_without_movements_has_a_head_only():
    assert parse(report()).lines == ()
    assert parse(b"\xef\xbb\xbf" + report(PAYMENT)).lines[0].amount_minor == 1197_51


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"", "empty_file", id="empty"),
        pytest.param(report(PAYMENT)[:-30], "cut_off", id="cut off"),
        pytest.param(report(PAYMENT)[:-2], "cut_off", id="last line does not end"),
        pytest.param(report(PAYMENT).decode().encode("utf-16"), "wrong_encoding", id="UTF-16"),
        pytest.param(b"<html>504</html>\n", "malformed", id="not CSV"),
        pytest.param(b"No report of this day\n", "malformed", id="an error"),
        pytest.param(report(PAYMENT, columns=COLUMNS[::-1]), "malformed", id="other order of columns"),
        pytest.param(report(PAYMENT, columns=COLUMNS[:-1]), "malformed", id="a column less"),
        pytest.param(report({**PAYMENT, "Net": "1,197.51"}), "malformed", id="a field too many"),
        pytest.param(report(PAYMENT) + b"\r\n", "malformed", id="an empty line"),
        pytest.param(report({**PAYMENT, "Net": '"1197.51'}), "malformed", id="an open quote"),
    ],
)
def test_the_file_is_refused_when_its_frame_is_wrong(content, reason):
    with pytest.raises(StatementRefused) as refused:
        parse(content)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({"Status": "Pending"}, "Status", "unknown_value"),
        ({"Currency": "USD"}, "Currency", "not_a_currency"),
        ({"Currency": ""}, "Currency", "not_a_currency"),
        ({"Amount": "x"}, "Amount", "not_an_amount"),
        ({"Amount": ""}, "Amount", "not_an_amount"),
        ({"Amount": "0.00"}, "Amount", "not_an_amount"),
        ({"Amount": "1234.505"}, "Amount", "not_an_amount"),
        ({"Amount": "99999999999999999999.00"}, "Amount", "not_an_amount"),
        ({"MDR": "-34.57"}, "MDR", "not_an_amount"),
        ({"VAT": ""}, "VAT", "not_an_amount"),
        ({"Net": "1197.50"}, "Net", "unknown_value"),
        ({"Transaction Date": "01/01/2026"}, "Transaction Date", "not_a_date"),
        ({"Transaction Date": "2026-01-01"}, "Transaction Date", "not_a_date"),
        ({"Transaction Date": "2026-01-01 09:05:00+07:00"}, "Transaction Date", "not_a_date"),
        ({"Settle Date": ""}, "Settle Date", "not_a_date"),
        ({"Payment Ref.": " "}, "Payment Ref.", "missing"),
        ({"Merchant Ref.": ""}, "Merchant Ref.", "missing"),
    ],
)
def test_only_the_line_is_rejected_when_it_cannot_be_read(fields, field, reason):
    statement = parse(report({**PAYMENT, **fields}, {**PAYMENT, "Payment Ref.": "16462"}))
    assert [line.identity for line in statement.lines] == ["16462"]
    (reject,) = statement.rejects
    assert (reject.line_number, reject.field, reject.reason) == (2, field, reason)
