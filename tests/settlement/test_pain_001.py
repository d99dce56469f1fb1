"""A payout file holds what it says it holds, in the order and with the types that pain.001.001.09 asks for.

The standard's XSD may not be shipped with the code, so its structure rules for what we write stand here: the
sequence of children of each element, and the patterns of the simple types.
"""

import re
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from gateway.sandbox.bank import read_payment_file
from gateway.settlement.payout_files import BankAccount, PayoutOrder, Transfer
from gateway.settlement.payout_files.pain_001 import NAMESPACE, write

MAX35 = re.compile(r".{1,35}")
AMOUNT = re.compile(r"[0-9]{1,13}\.[0-9]{2}")
LEAVES = {
    "MsgId": MAX35,
    "PmtInfId": MAX35,
    "EndToEndId": MAX35,
    "CreDtTm": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"),
    "Dt": re.compile(r"\d{4}-\d\d-\d\d"),
    "NbOfTxs": re.compile(r"[0-9]{1,15}"),
    "CtrlSum": re.compile(r"[0-9]{1,15}\.[0-9]{2}"),
    "InstdAmt": AMOUNT,
    "PmtMtd": re.compile("TRF"),
    "Nm": re.compile(r".{1,140}"),
    "Id": re.compile(r".{1,34}"),
    "Cd": re.compile(r".{1,5}"),
    "MmbId": re.compile(r"[0-9]{3}"),
    "Ustrd": re.compile(r".{1,140}"),
}
CHILDREN = {
    "Document": ["CstmrCdtTrfInitn"],
    "CstmrCdtTrfInitn": ["GrpHdr", "PmtInf"],
    "GrpHdr": ["MsgId", "CreDtTm", "NbOfTxs", "CtrlSum", "InitgPty"],
    "InitgPty": ["Nm"],
    "PmtInf": ["PmtInfId", "PmtMtd", "NbOfTxs", "CtrlSum", "ReqdExctnDt", "Dbtr", "DbtrAcct", "DbtrAgt", "CdtTrfTxInf"],
    "ReqdExctnDt": ["Dt"],
    "Dbtr": ["Nm"],
    "Cdtr": ["Nm"],
    "DbtrAcct": ["Id"],
    "CdtrAcct": ["Id"],
    "Othr": ["Id"],
    "DbtrAgt": ["FinInstnId"],
    "CdtrAgt": ["FinInstnId"],
    "FinInstnId": ["ClrSysMmbId"],
    "ClrSysMmbId": ["ClrSysId", "MmbId"],
    "ClrSysId": ["Cd"],
    "CdtTrfTxInf": ["PmtId", "Amt", "CdtrAgt", "Cdtr", "CdtrAcct", "RmtInf"],
    "PmtId": ["EndToEndId"],
    "Amt": ["InstdAmt"],
    "RmtInf": ["Ustrd"],
}
OUR_ACCOUNT = BankAccount(bank_code="014", account_number="1112223334", holder="QuickKub clients' money")
SHOP = BankAccount(bank_code="004", account_number="0123456789", holder="ร้านค้า & <ทดสอบ>")


def order_of(*amounts_minor: int, currency: str = "THB") -> PayoutOrder:
    return PayoutOrder(
        message_id="PFTEST01K8",
        created_at=datetime(2026, 11, 24, 2, 30, tzinfo=UTC),
        execute_on=date(2026, 11, 24),
        debtor=OUR_ACCOUNT,
        transfers=tuple(
            Transfer(end_to_end_id=f"PO{i}", amount_minor=amount, currency=currency, creditor=SHOP)
            for i, amount in enumerate(amounts_minor)
        ),
    )


def check_structure(element: etree._Element) -> None:
    name = etree.QName(element)
    assert name.namespace == NAMESPACE
    names = [etree.QName(child).localname for child in element]
    if not names:
        assert LEAVES[name.localname].fullmatch(element.text or ""), (name.localname, element.text)
        return
    expected = ["Othr"] if name.localname == "Id" else CHILDREN[name.localname]
    assert list(dict.fromkeys(names)) == expected
    assert all(names.count(each) == 1 for each in expected if each != "CdtTrfTxInf")
    for child in element:
        check_structure(child)


def texts(document: etree._Element, name: str) -> list[str]:
    return [element.text or "" for element in document.iter(f"{{{NAMESPACE}}}{name}")]


@given(st.lists(st.integers(min_value=1, max_value=10**14), min_size=1, max_size=20))
def test_counts_and_control_sums_are_those_of_the_body_for_any_amounts(amounts):
    document = etree.fromstring(write(order_of(*amounts)))
    check_structure(document)
    body = [Decimal(text) for text in texts(document, "InstdAmt")]
    assert body == [Decimal(amount).scaleb(-2) for amount in amounts]
    assert texts(document, "NbOfTxs") == [str(len(amounts))] * 2
    assert [Decimal(text) for text in texts(document, "CtrlSum")] == [sum(body)] * 2


def test_file_says_who_pays_whom_how_much_and_when():
    document = etree.fromstring(write(order_of(123_45, 1_000_000_00)))
    assert texts(document, "InstdAmt") == ["123.45", "1000000.00"]
    assert {element.get("Ccy") for element in document.iter(f"{{{NAMESPACE}}}InstdAmt")} == {"THB"}
    assert texts(document, "EndToEndId") == ["PO0", "PO1"]
    assert texts(document, "Ustrd") == ["PAYOUT PO0", "PAYOUT PO1"]
    assert texts(document, "Dt") == ["2026-11-24"]
    assert texts(document, "CreDtTm") == ["2026-11-24T02:30:00Z"]
    assert texts(document, "MmbId") == ["014", "004", "004"]
    assert texts(document, "Nm") == [OUR_ACCOUNT.holder, OUR_ACCOUNT.holder, SHOP.holder, SHOP.holder]


def test_bank_of_the_sandbox_reads_what_was_written():
    file = read_payment_file(write(order_of(123_45, 1_000_000_00)))
    assert (file.message_id, file.debtor_account) == ("PFTEST01K8", OUR_ACCOUNT.account_number)
    assert [(order.end_to_end_id, order.amount_minor) for order in file.orders] == [
        ("PO0", 123_45),
        ("PO1", 1_000_000_00),
    ]
    assert {order.execute_on for order in file.orders} == {date(2026, 11, 24)}


def test_same_order_is_the_same_bytes():
    assert write(order_of(1, 2, 3)) == write(order_of(1, 2, 3))


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (order_of(), "needs a transfer"),
        (order_of(100, 0), "more than nothing"),
        (order_of(100, -1), "more than nothing"),
    ],
)
def test_file_is_not_written_when_its_amounts_are_wrong(order, message):
    with pytest.raises(ValueError, match=message):
        write(order)


def test_file_is_not_written_when_an_end_to_end_id_is_used_twice():
    once = order_of(100).transfers[0]
    with pytest.raises(ValueError, match="stands in a file once"):
        write(PayoutOrder(**{**as_fields(order_of(100)), "transfers": (once, once)}))


def test_file_is_not_written_when_currencies_are_mixed():
    both = (*order_of(100).transfers, Transfer(end_to_end_id="PO9", amount_minor=1, currency="USD", creditor=SHOP))
    with pytest.raises(ValueError, match="one currency"):
        write(PayoutOrder(**{**as_fields(order_of(100)), "transfers": both}))


def test_file_is_not_written_when_an_identifier_is_longer_than_35():
    with pytest.raises(ValueError, match="1 to 35"):
        write(PayoutOrder(**{**as_fields(order_of(100)), "message_id": "P" * 36}))


@pytest.mark.parametrize(
    "wrong", [{"bank_code": "14"}, {"account_number": "123-456"}, {"account_number": "١٢٣٤٥٦٧"}, {"holder": " "}]
)
def test_bank_account_is_refused_when_no_bank_would_take_it(wrong):
    with pytest.raises(ValueError, match="is"):
        BankAccount(**{"bank_code": "014", "account_number": "1112223334", "holder": "x", **wrong})


def test_account_number_is_not_in_what_a_log_would_show():
    assert "1112223334" not in repr(OUR_ACCOUNT)
    assert OUR_ACCOUNT.masked == "••••3334"


def as_fields(order: PayoutOrder) -> dict[str, object]:
    return {name: getattr(order, name) for name in order.__struct_fields__}
