"""Omise's lists: kinds by origin, amounts as stated, and nothing believed that does not prove itself."""

from datetime import date

import pytest

from reconciliation.errors import StatementRefused
from reconciliation.statements.base import LineKind, LineReference
from reconciliation.statements.omise import parse_transactions, parse_transfers
from tests.reconciliation.files import omise_list, omise_transaction, omise_transfer, utc

CHARGE = omise_transaction("trxn_test_1", "chrg_test_1", 11_862)


def test_a_charge_states_its_net_and_not_its_fee():
    (line,) = parse_transactions(omise_list([CHARGE])).lines
    assert (line.kind, line.amount_minor, line.currency) == (LineKind.PAYMENT, 11_862, "THB")
    assert (line.fee_minor, line.vat_minor) == (None, None)
    assert line.references == (LineReference("omise", "trxn_test_1"), LineReference("omise", "chrg_test_1"))
    assert line.value_on == date(2026, 11, 23)
    assert line.available_at == utc("2026-11-24T01:00:00")
    assert (line.identity, line.description) == ("trxn_test_1", "charge.captured.net")


@pytest.mark.parametrize(
    ("origin", "direction", "kind", "amount_minor"),
    [
        ("rfnd_test_1", "debit", LineKind.REFUND, -500),
        ("trsf_test_1", "debit", LineKind.TRANSFER_DEBIT, -500),
        ("dspt_test_1", "debit", LineKind.DISPUTE, -500),
        ("rcpt_test_1", "debit", LineKind.FEE, -500),
        ("some_test_1", "credit", LineKind.CREDIT, 500),
        ("some_test_1", "debit", LineKind.DEBIT, -500),
    ],
)
def test_the_kind_follows_the_origin_whatever_the_key_says(origin, direction, kind, amount_minor):
    item = omise_transaction("trxn_test_1", origin, 500, direction=direction, key="never.seen.before", novelty=[1])
    (line,) = parse_transactions(omise_list([item])).lines
    assert (line.kind, line.amount_minor, line.fee_minor) == (kind, amount_minor, 0)
    assert line.description == "never.seen.before"


def test_the_business_date_is_bangkoks_when_utc_is_still_the_day_before():
    item = omise_transaction("trxn_test_1", "chrg_test_1", 1, created_at="2026-11-23T17:00:00Z")
    (line,) = parse_transactions(omise_list([item])).lines
    assert line.value_on == date(2026, 11, 24)


def test_a_transfer_leaves_the_balance_with_its_fee_and_vat():
    (line,) = parse_transfers(omise_list([omise_transfer("trsf_test_1", 100_000)])).lines
    assert (line.kind, line.amount_minor, line.fee_minor, line.vat_minor) == (LineKind.TRANSFER, -100_000, 3000, 210)
    assert line.references == (LineReference("omise", "trsf_test_1"),)
    assert line.batch_reference == "trsf_test_1"


def test_an_empty_list_is_believed_when_it_says_that_it_is_empty():
    assert parse_transfers(omise_list([])).lines == ()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b'{"object": "list", "data": []}', "zero_rows", id="empty without a total"),
        pytest.param(omise_list([CHARGE], total=2), "wrong_total", id="fewer than stated"),
        pytest.param(omise_list([CHARGE])[:-30], "cut_off", id="cut off"),
        pytest.param(b"<html>504</html>", "malformed", id="not JSON"),
        pytest.param(b'{"object": "error", "code": "not_found"}', "malformed", id="an error document"),
        pytest.param(b'{"object": "list", "data": {}, "total": 0}', "malformed", id="data is no list"),
        pytest.param(omise_list([CHARGE]).decode().encode("utf-16"), "wrong_encoding", id="UTF-16"),
    ],
)
def test_the_document_is_refused_when_it_does_not_prove_itself(content, reason):
    with pytest.raises(StatementRefused) as refused:
        parse_transactions(content)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({"amount": 118.62}, "amount", "not_an_amount"),
        ({"amount": "11862"}, "amount", "not_an_amount"),
        ({"amount": True}, "amount", "not_an_amount"),
        ({"amount": -5}, "amount", "not_an_amount"),
        ({"amount": 0}, "amount", "not_an_amount"),
        ({"amount": 2**63}, "amount", "not_an_amount"),
        ({"currency": "XXX"}, "currency", "not_a_currency"),
        ({"direction": "sideways"}, "direction", "unknown_value"),
        ({"created_at": "yesterday"}, "created_at", "not_a_date"),
        ({"created_at": "2026-11-23T03:15:00"}, "created_at", "not_a_date"),
        ({"id": None}, "id", "missing"),
        ({"origin": ""}, "origin", "missing"),
    ],
)
def test_only_the_item_is_rejected_when_it_cannot_be_read(fields, field, reason):
    other = omise_transaction("trxn_test_2", "chrg_test_2", 500)
    statement = parse_transactions(omise_list([{**CHARGE, **fields}, other]))
    assert [line.identity for line in statement.lines] == ["trxn_test_2"]
    (reject,) = statement.rejects
    assert (reject.line_number, reject.field, reject.reason) == (1, field, reason)


def test_a_transfer_is_rejected_when_its_net_is_not_amount_less_fee_and_vat():
    statement = parse_transfers(omise_list([omise_transfer("trsf_test_1", 100_000, net=96_791)]))
    assert statement.lines == ()
    assert statement.rejects[0].field == "net"
