"""KBank's settlement report: exact amounts, names of both kinds, and nothing believed that does not prove itself."""

from datetime import UTC, date, datetime

import pytest

from reconciliation.errors import StatementRefused
from reconciliation.statements.base import ControlTotal, LineKind, LineReference, Side
from reconciliation.statements.kbank import FORMAT, parse
from reconciliation.statements.registry import format_of

HEAD = "H,kbank_settlement,1,KB000000000001,01/01/2026"
PAID = (
    "D,1,PAYMENT,QR,20260101000000000001,A1B2C3D4E5F6G7H,QK2026000001ABCDEFGH,01/01/2026,09:00:01,"
    "100.50,0.80,0.06,99.64,B123"
)
VOIDED = (
    "D,2,VOID,QR,V1V2V3V4V5V6V7V,A1B2C3D4E5F6G7H,QK2026000001ABCDEFGH,01/01/2026,10:00:00,-100.50,-0.80,-0.06,-99.64,"
)
REFUNDED = "D,3,REFUND,CARD,rfnd_test_1,chrg_test_1,QKR1,01/01/2026,23:59:59,-34.50,0.00,0.00,-34.50,B123"
BATCH = "S,B122,01/01/2026,1234.50,34.57,2.42,1197.51"
TOTAL = "T,3,-34.50,0.00,0.00,-34.50"


def _file(*records: str) -> bytes:
    return "".join(record + "\r\n" for record in records).encode()


WHOLE = _file(HEAD, PAID, VOIDED, REFUNDED, BATCH, TOTAL)


def test_report_is_read_to_the_satang():
    statement = parse(WHOLE)
    paid, voided, refunded, transfer = statement.lines
    assert (statement.account, statement.rejects) == ("kbank", ())
    assert statement.header == {"merchant_id": "KB000000000001", "day": "01/01/2026"}
    assert statement.control_totals == (
        ControlTotal(name="count", stated=3, found=3),
        ControlTotal(name="gross", stated=-34_50, found=-34_50),
        ControlTotal(name="fee", stated=0, found=0),
        ControlTotal(name="vat", stated=0, found=0),
        ControlTotal(name="net", stated=-34_50, found=-34_50),
    )
    assert (paid.line_number, paid.kind, paid.currency, paid.provider) == (2, LineKind.PAYMENT, "THB", "kbank")
    assert (paid.amount_minor, paid.fee_minor, paid.vat_minor) == (99_64, 80, 6)
    assert paid.references == (
        LineReference("kbank", "20260101000000000001"),
        LineReference("kbank", "QK2026000001ABCDEFGH", strong=False),
    )
    assert (paid.value_on, paid.occurred_at) == (date(2026, 1, 1), datetime(2026, 1, 1, 2, 0, 1, tzinfo=UTC))
    assert (paid.batch_reference, paid.identity, paid.description) == ("B123", "20260101000000000001", "QR PAYMENT")
    assert (voided.kind, voided.amount_minor, voided.fee_minor, voided.vat_minor) == (
        LineKind.REVERSAL,
        -99_64,
        -80,
        -6,
    )
    assert (voided.batch_reference, voided.references[0]) == (None, LineReference("kbank", "V1V2V3V4V5V6V7V"))
    assert (refunded.kind, refunded.amount_minor, refunded.fee_minor, refunded.vat_minor) == (
        LineKind.REFUND,
        -34_50,
        0,
        0,
    )
    assert refunded.references[1] == LineReference("kbank", "QKR1", strong=False)
    assert (transfer.kind, transfer.amount_minor, transfer.value_on) == (
        LineKind.TRANSFER,
        -1197_51,
        date(2026, 1, 1),
    )
    assert (transfer.batch_reference, transfer.references) == ("B122", (LineReference("kbank", "B122"),))


def test_day_without_movements_is_believed_because_its_total_says_so():
    statement = parse(_file(HEAD, "T,0,0.00,0.00,0.00,0.00"))
    assert (statement.lines, statement.rejects) == ((), ())


def test_format_is_registered_as_the_providers():
    assert (format_of("kbank_settlement"), FORMAT.side) == (FORMAT, Side.PROVIDER)


@pytest.mark.parametrize(
    ("content", "reason", "line_number"),
    [
        pytest.param(b"", "empty_file", None, id="empty"),
        pytest.param(WHOLE[:-1], "cut_off", None, id="last byte lost"),
        pytest.param(_file(HEAD, PAID, VOIDED, REFUNDED, BATCH), "cut_off", 5, id="no total"),
        pytest.param(_file(HEAD), "cut_off", 1, id="only a head"),
        pytest.param(WHOLE.replace(b"\r\n", b"\n"), "cut_off", None, id="other line ends"),
        pytest.param(WHOLE.decode().encode("utf-16"), "wrong_encoding", None, id="UTF-16"),
        pytest.param(b"<html>504</html>\r\n", "malformed", 1, id="not a report"),
        pytest.param(_file(HEAD, 'D,"1'), "malformed", None, id="an open quotation"),
        pytest.param(_file("", TOTAL), "malformed", 1, id="an empty record"),
        pytest.param(WHOLE.replace(b"settlement,1,", b"settlement,2,"), "malformed", 1, id="another version"),
        pytest.param(WHOLE.replace(b"001,01/01/2026", b"001,31/02/2026"), "malformed", 1, id="no day in the head"),
        pytest.param(_file(HEAD, PAID + ",x", TOTAL), "wrong_length", 2, id="a field too many"),
        pytest.param(_file(HEAD, VOIDED, PAID, REFUNDED, TOTAL), "wrong_order", 2, id="numbers out of order"),
        pytest.param(_file(HEAD, BATCH, PAID, TOTAL), "wrong_order", None, id="kinds out of order"),
        pytest.param(_file(HEAD, PAID, REFUNDED.replace("D,3", "D,2"), TOTAL), "wrong_total", 4, id="a line lost"),
        pytest.param(WHOLE.replace(b"T,3", b"T,2"), "wrong_total", 6, id="wrong count"),
        pytest.param(WHOLE.replace(b"T,3", b"T,x"), "malformed", 6, id="no count"),
        pytest.param(_file(HEAD, PAID, "T,1,100.50,0.81,0.06,99.63"), "wrong_total", 3, id="wrong fee"),
        pytest.param(WHOLE.replace(b"99.64,B123", b"99.65,B123"), "malformed", 2, id="net is not the rest"),
        pytest.param(WHOLE.replace(b"100.50,0.80", b"100.5,0.80"), "malformed", 2, id="one decimal"),
        pytest.param(WHOLE.replace(b"100.50,0.80", b"1e2,0.80"), "malformed", 2, id="an exponent"),
        pytest.param(WHOLE.replace(b"S,B122", b"S,"), "malformed", 5, id="a batch without a name"),
        pytest.param(WHOLE.replace(b"B122,01/01", b"B122,41/01"), "malformed", 5, id="a batch without a day"),
    ],
)
def test_report_is_refused_whole_when_its_frame_is_wrong(content, reason, line_number):
    with pytest.raises(StatementRefused) as refused:
        parse(content)
    assert (refused.value.reason, refused.value.line_number) == (reason, line_number)


@pytest.mark.parametrize(
    ("old", "new", "field", "reason"),
    [
        ("PAYMENT", "CHARGEBACK", "type", "unknown_value"),
        ("PAYMENT,QR", "PAYMENT,ALIPAY", "type", "unknown_value"),
        ("PAYMENT", "REFUND", "gross", "not_an_amount"),
        ("20260101000000000001", "", "transaction", "missing"),
        ("A1B2C3D4E5F6G7H", "", "transaction", "missing"),
        ("01/01/2026", "2026-01-01", "day", "not_a_date"),
        ("01/01/2026", "30/02/2026", "day", "not_a_date"),
        ("09:00:01", "25:00:01", "time", "not_a_date"),
        ("09:00:01", "9:00", "day", "not_a_date"),
    ],
)
def test_only_the_line_is_rejected_when_it_cannot_be_read(old, new, field, reason):
    assert old in PAID
    statement = parse(_file(HEAD, PAID.replace(old, new), VOIDED, REFUNDED, TOTAL))
    assert [line.identity for line in statement.lines] == ["V1V2V3V4V5V6V7V", "rfnd_test_1"]
    (reject,) = statement.rejects
    assert (reject.line_number, reject.field, reject.reason, reject.amount_minor) == (2, field, reason, 99_64)
