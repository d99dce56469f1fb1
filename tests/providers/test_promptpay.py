"""The published and the locally built vectors, tag by tag (order of tags is free), and what breaks a QR."""

import pytest

from gateway.providers import emvco
from gateway.providers.emvco import QrMalformed
from gateway.providers.promptpay import (
    Bill,
    CreditTransfer,
    Innovation,
    ProxyKind,
    bill_barcode,
    bill_payment_qr,
    credit_transfer_qr,
    mobile_proxy,
    png,
    read_bill_barcode,
    read_qr,
    svg,
)

BILLER = "099999999999901"
MOBILE = "00020101021229370016A0000006770101110113006680000000053037645406100.005802TH63042B9C"
TAX_ID = "00020101021129370016A0000006770101110213000000000000153037645802TH630484B2"
EWALLET = "00020101021229390016A00000067701011103151400008000000005303764540520.505802TH630402FB"
BILL_TWO_REFERENCES = (
    "00020101021230650016A00000067701011201150999999999999010212QK20260000010306QKREF2530376454071234.565802TH6304D660"
)
BILL_REFERENCE_3 = (
    "00020101021230550016A00000067701011201150999999999999010212QK2026000001530376454071234.565802TH62070703QKB6304376E"
)
BILL_WITH_31 = (
    "00020101021230710016A00000067701011201150999999999999010212QK20260000010312QK000000000131590016A00000067701011301"
    "030040212QK20260000010412QK00000000015303764540599.005802TH63049F7A"
)
PUBLISHED_PROMPTPARSE = "00020101021229370016A0000006770101110113006680111111153037645802TH540520.15630442BE"
PUBLISHED_KBANK = (
    "00020101021230690016A000000677010112011301055580807780211LEX110000020313LEX026039306931590016A000000677010113"
    "01030040211LEX110000020413LEX02603930695303764540512.815802TH6304A2C1"
)
PUBLISHED_REFERENCE_3 = (
    "00020101021130620016A000000677010112011301122334455660211CUSTOMER0010306INV00153037645802TH62070703SCB6304780E"
)


def test_crc_of_the_check_value():
    assert emvco.crc16("123456789") == 0x29B1


@pytest.mark.parametrize(
    ("built", "vector"),
    [
        (credit_transfer_qr(ProxyKind.MOBILE, mobile_proxy("080-000-0000"), 100_00), MOBILE),
        (credit_transfer_qr(ProxyKind.TAX_ID, "0000000000001"), TAX_ID),
        (credit_transfer_qr(ProxyKind.EWALLET, "140000800000000", 20_50), EWALLET),
        (
            bill_payment_qr(Bill(biller_id=BILLER, reference1="QK2026000001", reference2="QKREF2"), 1234_56),
            BILL_TWO_REFERENCES,
        ),
        (
            bill_payment_qr(Bill(biller_id=BILLER, reference1="QK2026000001", reference3="QKB"), 1234_56),
            BILL_REFERENCE_3,
        ),
        (
            bill_payment_qr(
                Bill(biller_id=BILLER, reference1="QK2026000001", reference2="QK0000000001"),
                99_00,
                innovation=Innovation(acquirer_code="004", reference1="QK2026000001", reference2="QK0000000001"),
            ),
            BILL_WITH_31,
        ),
    ],
)
def test_built_qr_is_the_vector(built: str, vector: str):
    assert built == vector


def test_published_credit_transfer_is_read():
    qr = read_qr(PUBLISHED_PROMPTPARSE)
    assert qr.transfer == CreditTransfer(kind=ProxyKind.MOBILE, proxy="0066801111111")
    assert (qr.amount_minor, qr.reusable, qr.bill) == (20_15, False, None)


def test_published_bill_with_innovation_is_read():
    qr = read_qr(PUBLISHED_KBANK)
    assert qr.bill == Bill(biller_id="0105558080778", reference1="LEX11000002", reference2="LEX0260393069")
    assert qr.innovation == Innovation(acquirer_code="004", reference1="LEX11000002", reference2="LEX0260393069")
    assert qr.amount_minor == 12_81


def test_published_open_amount_bill_is_read():
    qr = read_qr(PUBLISHED_REFERENCE_3)
    assert qr.bill == Bill(biller_id="0112233445566", reference1="CUSTOMER001", reference2="INV001", reference3="SCB")
    assert (qr.amount_minor, qr.reusable) == (None, True)


@pytest.mark.parametrize("vector", [MOBILE, TAX_ID, EWALLET, BILL_TWO_REFERENCES, BILL_REFERENCE_3, BILL_WITH_31])
def test_any_changed_character_is_noticed(vector: str):
    for position, character in enumerate(vector):
        changed = vector[:position] + ("1" if character != "1" else "2") + vector[position + 1 :]
        with pytest.raises(QrMalformed):
            read_qr(changed)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "63 at 0"),
        ("000", "00 at 0"),
        ("0002010x", "0x at 6"),
        ("00xx01", "00 at 0"),
        ("0000", "00 at 0"),
        ("000201000201", "00 at 6"),
        ("0002010299AB", "02 at 6"),
        ("000201010211", "63 at 4"),
        (MOBILE[:-4] + "0000", "63 at 76"),
    ],
)
def test_form_error_names_its_place(text: str, place: str):
    with pytest.raises(QrMalformed) as caught:
        read_qr(text)
    assert caught.value.place == place


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ([("00", "02")], "00"),
        ([("00", "01"), ("53", "840")], "53"),
        ([("00", "01"), ("53", "764")], "29"),
        ([("00", "01"), ("29", "0016A0000006770101110112006680000000")], "29.01"),
        ([("00", "01"), ("29", "0016A0000006770101110113006680000000002130000000000001")], "29"),
        ([("00", "01"), ("30", "0016A00000067701011201150999999999999010203abc")], "30.02"),
        ([("00", "01"), ("30", "0016A00000067701011201140999999999999902011")], "30.01"),
        ([("00", "01"), ("30", "0016A00000067701011101150999999999999010203ABC")], "30.00"),
    ],
)
def test_promptpay_error_names_its_tag(fields: list[tuple[str, str]], place: str):
    with pytest.raises(QrMalformed) as caught:
        read_qr(emvco.seal(fields))
    assert caught.value.place == place


@pytest.mark.parametrize("amount", ["0.00", "-1.00", "1.005", "1,000.00", "1e3", "99999999999.99"])
def test_bad_amount_is_refused(amount: str):
    text = emvco.seal([("00", "01"), ("29", "0016A00000067701011101130066800000000"), ("54", amount)])
    with pytest.raises(QrMalformed) as caught:
        read_qr(text)
    assert caught.value.place == "54"


@pytest.mark.parametrize("amount_minor", [0, -1, 10_000_000_000_00 * 10])
def test_qr_of_a_bad_amount_is_not_built(amount_minor: int):
    with pytest.raises(QrMalformed):
        credit_transfer_qr(ProxyKind.TAX_ID, "0000000000001", amount_minor)


@pytest.mark.parametrize("reference", ["", "qk1", "QK-1", "QK1" * 7, "กข"])
def test_qr_of_a_bad_reference_is_not_built(reference: str):
    with pytest.raises(QrMalformed) as caught:
        bill_payment_qr(Bill(biller_id=BILLER, reference1=reference), 100)
    assert caught.value.place == "30.02"


def test_barcode_of_the_bank_of_thailand():
    text = "|099400016550100\r123456789012\r670429\r364922"
    bill = Bill(biller_id="099400016550100", reference1="123456789012", reference2="670429")
    assert read_bill_barcode(text) == (bill, 3649_22)
    assert bill_barcode(bill, 3649_22) == text


@pytest.mark.parametrize("text", ["", "|1\r2\r3", "|099400016550100\r1\r2\r3.5", "099400016550100\r1\r2\r3"])
def test_bad_barcode_is_refused(text: str):
    with pytest.raises(QrMalformed):
        read_bill_barcode(text)


def test_qr_is_drawn():
    assert svg(MOBILE).startswith(b"<?xml")
    assert png(MOBILE).startswith(b"\x89PNG\r\n")
