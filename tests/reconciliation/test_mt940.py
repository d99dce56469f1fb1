"""MT940: each text of ours is understood, and no statement is believed whose balances do not follow."""

from datetime import date

import pytest

from reconciliation.errors import StatementRefused
from reconciliation.statements.base import LineKind, LineReference
from reconciliation.statements.mt940 import parse
from tests.reconciliation.files import mt940_statement

LINES = [
    (123_456, "BILLPAY QK2026000001 qk0000000000000001"),
    (96_790, "OMISE TRANSFER trsf_test_1"),
    (-50_001, "PAYOUT po_test_01k8aaaaaaaaaaaaaaaaaaaaaa"),
    (-2_400, "BILLPAY FEE 12 ITEMS"),
    (-168, "BILLPAY FEE VAT 12 ITEMS"),
    (1_000, "CASH"),
    (50_001, "PAYOUT RETURN po_test_01k8aaaaaaaaaaaaaaaaaaaaaa"),
    (-1, "BILLPAY"),
    (55_500, "2C2P SETTLEMENT B01K8AAAAAAAAAAA"),
    (1, "SOME OTHER SETTLEMENT B01K8AAAAAAAAAAA"),
]
GOOD = mt940_statement(LINES, opening_minor=1_000_00)


def test_each_text_is_understood_with_its_references():
    statement = parse(GOOD.encode())
    assert [(line.kind, line.provider, line.amount_minor) for line in statement.lines] == [
        (LineKind.PAYMENT, "scb", 123_456),
        (LineKind.TRANSFER, "omise", 96_790),
        (LineKind.PAYOUT, None, -50_001),
        (LineKind.FEE, "scb", -2_400),
        (LineKind.VAT, "scb", -168),
        (LineKind.CREDIT, None, 1_000),
        (LineKind.PAYOUT_RETURN, None, 50_001),
        (LineKind.DEBIT, None, -1),
        (LineKind.TRANSFER, "2c2p", 55_500),
        (LineKind.CREDIT, None, 1),
    ]
    assert [line.references for line in statement.lines[:3]] == [
        (LineReference("scb", "QK2026000001", strong=False), LineReference("scb", "qk0000000000000001")),
        (LineReference("omise", "trsf_test_1"),),
        (LineReference("payout", "po_test_01k8aaaaaaaaaaaaaaaaaaaaaa"),),
    ]
    assert statement.lines[8].references == (LineReference("2c2p", "B01K8AAAAAAAAAAA"),)
    assert [line.batch_reference for line in statement.lines] == [*[None] * 8, "B01K8AAAAAAAAAAA", None]
    assert [line.line_number for line in statement.lines] == list(range(5, 25, 2))
    (balance,) = statement.balances
    assert (balance.account, balance.currency, balance.opening_minor) == ("0009876543", "THB", 1_000_00)
    assert balance.closing_minor == 1_000_00 + sum(amount for amount, _ in LINES)
    assert (balance.opened_on, balance.closed_on) == (date(2026, 11, 23), date(2026, 11, 23))


def test_an_overdrawn_balance_is_negative():
    (balance,) = parse(mt940_statement([(-500, "X")], opening_minor=-1_00).encode()).balances
    assert (balance.opening_minor, balance.closing_minor) == (-100, -600)


def test_a_reversed_credit_takes_money_away():
    text = mt940_statement([(500, "X")], closing_minor=-500).replace("1123C5", "1123RC5")
    assert [line.amount_minor for line in parse(text.encode()).lines] == [-500]


def test_a_text_goes_on_when_it_fills_its_line():
    whole = "P" * 65
    text = mt940_statement([(500, f"{whole}\r\nQQ\r\nR")])
    assert parse(text.encode()).lines[0].description == f"{whole}QQ R"


def test_statements_of_a_file_continue_each_other():
    second = mt940_statement([(5, "X")], on=date(2026, 11, 24), opening_minor=1_000_00 + sum(a for a, _ in LINES))
    statement = parse((GOOD + second).encode())
    assert len(statement.balances) == 2
    assert statement.lines[-1].value_on == date(2026, 11, 24)
    assert statement.lines[-1].line_number == 31


def test_a_day_without_lines_is_believed_when_the_balances_agree():
    assert parse(mt940_statement([], opening_minor=7).encode()).lines == ()


def test_the_text_is_never_taken_for_a_path(tmp_path):
    path = tmp_path / "statement"
    path.write_text(GOOD)
    with pytest.raises(StatementRefused):
        parse(str(path).encode())


@pytest.mark.parametrize(
    ("text", "reason", "line_number", "field"),
    [
        pytest.param(mt940_statement([(5, "X")], closing_minor=6), "wrong_total", 1, ":62F:", id="closing"),
        pytest.param(GOOD[: GOOD.index(":62F:")], "cut_off", 1, ":62F:", id="cut off"),
        pytest.param(GOOD.replace(":60F:", ":64:"), "malformed", 1, ":60F:", id="no opening"),
        pytest.param(GOOD.replace(":25:", ":99X:"), "malformed", 1, ":25:", id="no account"),
        pytest.param("hello\r\n", "malformed", None, None, id="no statement"),
        pytest.param(GOOD.replace("NTRFLINE0002", ""), "malformed", 1, ":61:", id="no transaction type"),
        pytest.param(GOOD.replace("2611231123C1234,56", "2611231123C12x4,56"), "malformed", 1, ":61:", id="amount"),
        pytest.param(GOOD.replace("2611231123C1234,56", "2611231123C1234,567"), "malformed", 5, ":61:", id="too fine"),
        pytest.param(GOOD.replace("2611231123C1234,56", "2602301123C1234,56"), "malformed", 1, None, id="30 February"),
        pytest.param(GOOD.replace("THB", "XXX"), "malformed", 1, ":60F:", id="currency"),
        pytest.param(
            mt940_statement([], opening_minor=7) + mt940_statement([], opening_minor=8),
            "wrong_total",
            7,
            ":60F:",
            id="a gap between statements",
        ),
    ],
)
def test_the_file_is_refused_at_its_place_when_it_does_not_follow(text, reason, line_number, field):
    with pytest.raises(StatementRefused) as refused:
        parse(text.encode())
    assert (refused.value.reason, refused.value.line_number, refused.value.field) == (reason, line_number, field)


def test_the_file_is_refused_when_it_is_not_ascii():
    with pytest.raises(StatementRefused, match="wrong_encoding"):
        parse(GOOD.replace("CASH", "เงิน").encode("cp874"))
