"""TrueMoney's settlement file: what a good one says, and what is refused whole or by the line."""

from datetime import date

import pytest

from reconciliation.errors import StatementRefused
from reconciliation.statements.base import LineKind, LineReference, Side
from reconciliation.statements.registry import format_of
from reconciliation.statements.truemoney import parse
from tests.reconciliation.files import utc

HEADER = "settlement_date,transaction_date,payment_id,isv_payment_ref,type,amount,fee,vat,net,status"
PAID = (
    "2026-11-24 00:00:00,2026-11-23 00:15:00,900000000000000001,QK2026000001,PAYMENT,1234.56,24.69,1.73,1208.14,SUCCESS"
)
REFUNDED = (
    "2026-11-24 00:00:00,2026-11-23 23:59:59,800000000000000001,QKR2026000001,REFUND,-50.00,0.00,0.00,-50.00,SUCCESS"
)


def _file(*lines: str, header: str = HEADER) -> bytes:
    return "".join(f"{line}\r\n" for line in (header, *lines)).encode()


def test_every_row_becomes_a_line_with_its_fee_and_vat():
    statement = parse(_file(PAID, REFUNDED))
    assert (statement.account, statement.rejects, statement.balances) == ("truemoney", (), ())
    paid, refunded = statement.lines
    assert (paid.line_number, paid.kind, paid.amount_minor, paid.fee_minor, paid.vat_minor, paid.currency) == (
        2,
        LineKind.PAYMENT,
        120_814,
        2_469,
        173,
        "THB",
    )
    assert paid.references == (
        LineReference("truemoney", "900000000000000001"),
        LineReference("truemoney", "QK2026000001", strong=False),
    )
    assert (paid.value_on, paid.occurred_at) == (date(2026, 11, 23), utc("2026-11-22T17:15:00"))
    assert paid.available_at == utc("2026-11-23T17:00:00")
    assert (paid.provider, paid.batch_reference, paid.identity) == ("truemoney", None, "900000000000000001")
    assert (refunded.kind, refunded.amount_minor, refunded.fee_minor, refunded.vat_minor) == (
        LineKind.REFUND,
        -5_000,
        0,
        0,
    )
    assert refunded.references == (
        LineReference("truemoney", "800000000000000001"),
        LineReference("truemoney", "QKR2026000001", strong=False),
    )
    assert refunded.value_on == date(2026, 11, 23)


def test_a_day_without_payments_is_its_header():
    assert parse(_file()).lines == ()
    assert parse(b"\xef\xbb\xbf" + _file(PAID)).lines == parse(_file(PAID)).lines
    assert parse(_file(PAID).replace(b"\r\n", b"\n")).lines == parse(_file(PAID)).lines


def test_format_is_found_by_its_source():
    found = format_of("truemoney_settlement")
    assert (found.side, found.parse) == (Side.PROVIDER, parse)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"", "empty_file", id="nothing"),
        pytest.param(b"\r\n", "malformed", id="an empty line"),
        pytest.param(_file(PAID)[:-2], "cut_off", id="the last line does not end"),
        pytest.param(_file(PAID)[:-30], "cut_off", id="cut inside a line"),
        pytest.param(HEADER.encode(), "cut_off", id="only a header that does not end"),
        pytest.param(_file(PAID).decode().encode("utf-16"), "wrong_encoding", id="UTF-16"),
        pytest.param(_file(PAID, header=HEADER + ",x"), "malformed", id="one column more"),
        pytest.param(_file(PAID, header=HEADER.replace("fee,vat", "vat,fee")), "malformed", id="columns swapped"),
        pytest.param(_file(PAID)[len(HEADER) + 2 :], "malformed", id="no header"),
        pytest.param(b'{"status":{"code":"settlement_not_found"}}', "malformed", id="an error"),
        pytest.param(_file('"' + PAID), "malformed", id="a quotation that does not end"),
    ],
)
def test_the_file_is_refused_when_its_frame_is_wrong(content, reason):
    with pytest.raises(StatementRefused) as refused:
        parse(content)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("old", "new", "field", "reason", "amount_minor"),
    [
        ("PAYMENT", "TOPUP", "type", "unknown_value", 123_456),
        ("PAYMENT", "REFUND", "amount", "not_an_amount", 123_456),
        ("SUCCESS", "PENDING", "status", "unknown_value", 123_456),
        ("900000000000000001", " ", "payment_id", "missing", 123_456),
        ("QK2026000001", "", "isv_payment_ref", "missing", 123_456),
        ("1234.56", "1234.567", "amount", "not_an_amount", None),
        ("1234.56", "1,234", "columns", "missing", None),
        ("1234.56", "1e3", "amount", "not_an_amount", None),
        ("1234.56", "0.00", "amount", "not_an_amount", 0),
        ("1234.56", "-1234.56", "amount", "not_an_amount", -123_456),
        ("24.69", "24.70", "net", "unknown_value", 123_456),
        ("1208.14", "", "net", "not_an_amount", 123_456),
        ("2026-11-23 00:15:00", "2026-02-31 00:15:00", "transaction_date", "not_a_date", 123_456),
        ("2026-11-23 00:15:00", "2026-11-23T00:15:00", "transaction_date", "not_a_date", 123_456),
        ("2026-11-24 00:00:00", "", "settlement_date", "not_a_date", 123_456),
        (",SUCCESS", "", "columns", "missing", 123_456),
    ],
)
def test_only_the_line_is_rejected_when_it_cannot_be_read(old, new, field, reason, amount_minor):
    statement = parse(_file(PAID.replace(old, new, 1), REFUNDED))
    assert [line.amount_minor for line in statement.lines] == [-5_000]
    (reject,) = statement.rejects
    assert (reject.line_number, reject.field, reject.reason, reject.amount_minor) == (2, field, reason, amount_minor)
