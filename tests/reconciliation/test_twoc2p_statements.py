"""2C2P's reconcile report: every row's arithmetic, every total against its rows, nothing believed that is damaged."""

from datetime import UTC, date, datetime

import pytest

from reconciliation.errors import StatementRefused
from reconciliation.statements.base import ControlTotal, LineKind, LineReference
from reconciliation.statements.registry import format_of
from reconciliation.statements.twoc2p import parse_settlement

# The published sample row, in baht: 1600.00 − 48.00 − 3.36 + 1.44 = 1550.08.
SAMPLE = {
    1: "2C2P2026062201",
    2: "1",
    3: "D",
    4: "test",
    6: "14/05/2026",
    8: "05/05/2026",
    9: "130426",
    10: "05/05/2026",
    11: "000000",
    12: "702702000000000",
    13: "QK2026000001",
    15: "001",
    16: "VI",
    17: '"TEST BANK, LTD"',
    18: "1600.00000",
    21: "48.00000",
    22: "3.36000",
    29: "1.44000",
    30: "1550.08000",
    32: "THB",
    45: "14744058",
}
TOTAL = {2: "1", 3: "H", 12: "702702000000000", 18: "1600.00", 21: "48.00", 22: "3.36", 29: "1.44", 30: "1550.08"}
EMPTY = {3: "H", 2: "0", 12: "702702000000000", **dict.fromkeys((18, 21, 22, 29, 30), "0.00")}


def file(*rows: dict[int, str], columns: int = 67) -> bytes:
    lines = [",".join(row.get(column, "") for column in range(1, columns + 1)) for row in rows]
    return "".join(f"{line}\r\n" for line in lines).encode()


def reason_of(content: bytes) -> str:
    with pytest.raises(StatementRefused) as refused:
        parse_settlement(content)
    return refused.value.reason


def test_the_published_row_is_read_to_the_satang():
    statement = format_of("2c2p_settlement").parse(file(TOTAL, SAMPLE))
    (line,) = statement.lines
    assert (line.kind, line.amount_minor, line.fee_minor, line.vat_minor) == (LineKind.PAYMENT, 1548_64, 48_00, 3_36)
    assert (line.line_number, line.currency, line.account, line.provider) == (2, "THB", "702702000000000", "2c2p")
    assert line.references == (
        LineReference("2c2p", "14744058"),
        LineReference("2c2p", "QK2026000001", strong=False),
    )
    assert (line.value_on, line.occurred_at) == (date(2026, 5, 5), datetime(2026, 5, 5, 6, 4, 26, tzinfo=UTC))
    assert (line.batch_reference, line.identity, line.description) == ("2C2P2026062201", "14744058", "VI 001")
    assert statement.account == "702702000000000"
    assert statement.header == {"batches": "2C2P2026062201", "withholding_tax_minor": "144"}
    assert statement.control_totals == (
        ControlTotal(name="rows", stated=1, found=1),
        ControlTotal(name="gross", stated=1600_00, found=1600_00),
        ControlTotal(name="fee", stated=48_00, found=48_00),
        ControlTotal(name="vat", stated=3_36, found=3_36),
        ControlTotal(name="withholding_tax", stated=1_44, found=1_44),
        ControlTotal(name="net", stated=1550_08, found=1550_08),
    )


def test_negative_rows_are_voids_or_refunds_by_their_reference():
    back = {18: "-1600.00000", 21: "-48.00000", 22: "-3.36000", 29: "-1.44000", 30: "-1550.08000"}
    refund = {**dict.fromkeys((21, 22, 29), "0.00000"), 18: "-100.00000", 30: "-100.00000", 45: "14744099"}
    totals = {2: "3", 18: "-100.00", 21: "0.00", 22: "0.00", 29: "0.00", 30: "-100.00"}
    lines = parse_settlement(file({**TOTAL, **totals}, SAMPLE, {**SAMPLE, **back}, {**SAMPLE, **refund})).lines
    assert [(line.kind, line.amount_minor, line.fee_minor, line.identity) for line in lines] == [
        (LineKind.PAYMENT, 1548_64, 48_00, "14744058"),
        (LineKind.REVERSAL, -1548_64, -48_00, "14744058V"),
        (LineKind.REFUND, -100_00, 0, "14744099"),
    ]


def test_a_day_without_a_movement_is_one_total_over_nothing():
    statement = parse_settlement(file(EMPTY))
    assert (statement.lines, statement.account) == ((), "702702000000000")


def test_each_scheme_has_its_total():
    qr = {**SAMPLE, 16: "PPQR", 45: "2"}
    assert len(parse_settlement(file(TOTAL, SAMPLE, TOTAL, qr)).lines) == 2
    assert reason_of(file({**TOTAL, 2: "2"}, SAMPLE, TOTAL, qr)) == "wrong_total"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty_file"),
        (b"\r\n", "empty_file"),
        (file(TOTAL, SAMPLE).decode().encode("utf-16"), "wrong_encoding"),
        (b"<html>404</html>", "cut_off"),
        (file(TOTAL, SAMPLE, columns=85), "wrong_length"),
        (file(TOTAL, SAMPLE)[:-30], "cut_off"),
        (file(TOTAL), "cut_off"),
        (file(TOTAL, SAMPLE, SAMPLE), "wrong_total"),
        (file(SAMPLE), "wrong_order"),
        (file(TOTAL, {**SAMPLE, 3: "T"}), "wrong_order"),
        (file({**TOTAL, 2: "x"}, SAMPLE), "malformed"),
        (file({**TOTAL, 2: ""}, SAMPLE), "malformed"),
        (file(TOTAL, {**SAMPLE, 18: "1600.005"}), "malformed"),
        (file(TOTAL, {**SAMPLE, 18: ""}), "malformed"),
        (file(TOTAL, {**SAMPLE, 18: "1e3"}), "malformed"),
        (file(TOTAL, {**SAMPLE, 17: '"open'}), "malformed"),
        *((file({**TOTAL, column: "1.00"}, SAMPLE), "wrong_total") for column in (18, 21, 22, 29, 30)),
    ],
)
def test_the_file_is_refused_when_its_frame_is_wrong(content: bytes, reason: str):
    assert reason_of(content) == reason


@pytest.mark.parametrize(
    ("changed", "field", "reason"),
    [
        ({45: ""}, "tranRef", "missing"),
        ({13: ""}, "invoiceNo", "missing"),
        ({12: ""}, "merchantID", "missing"),
        ({32: "SGD"}, "currency", "not_a_currency"),
        ({32: ""}, "currency", "missing"),
        ({8: "2026-05-05"}, "transaction time", "not_a_date"),
        ({9: "x"}, "transaction time", "not_a_date"),
        ({10: "31/02/2026"}, "settled on", "not_a_date"),
        ({10: ""}, "settled on", "missing"),
    ],
)
def test_one_unreadable_row_is_rejected_and_the_others_stand(changed: dict[int, str], field: str, reason: str):
    totals = {2: "2", 18: "3200.00", 21: "96.00", 22: "6.72", 29: "2.88", 30: "3100.16"}
    statement = parse_settlement(file({**TOTAL, **totals}, {**SAMPLE, **changed}, {**SAMPLE, 45: "2"}))
    (reject,) = statement.rejects
    assert (reject.line_number, reject.field, reject.reason, reject.amount_minor) == (2, field, reason, 1600_00)
    assert [line.identity for line in statement.lines] == ["2"]


def test_a_row_whose_net_does_not_follow_is_rejected():
    statement = parse_settlement(file({**TOTAL, 30: "1550.09"}, {**SAMPLE, 30: "1550.09000"}))
    assert statement.lines == ()
    assert [(reject.field, reject.reason) for reject in statement.rejects] == [("net", "unknown_value")]
    nothing = {18: "0", 21: "0", 22: "0", 29: "0", 30: "0"}
    assert parse_settlement(file({**TOTAL, **nothing}, {**SAMPLE, **nothing})).rejects[0].field == "gross"
