from datetime import date

import pytest

from gateway.providers import emvco
from gateway.providers.emvco import QrMalformed
from gateway.providers.slip_qr import BankSlip, TrueMoneySlip, read_slip_qr, slip_qr

VECTOR = "0044000600000101030140223202601011234567890ABCDE5102TH91047A6D"
PUBLISHED = "0041000600000101030040220013071152533APM077365102TH91048134"
TRUEMONEY = "00490002010102010203P2P03145000000000000104080101202691048ef4"


def test_vector_is_read_and_built():
    slip = BankSlip(sending_bank="014", transaction_reference="202601011234567890ABCDE")
    assert read_slip_qr(VECTOR) == slip
    assert slip_qr(slip) == VECTOR


def test_published_slip_is_read():
    assert read_slip_qr(PUBLISHED) == BankSlip(sending_bank="004", transaction_reference="013071152533APM07736")


def test_truemoney_slip_with_lower_case_crc_is_read():
    assert read_slip_qr(TRUEMONEY) == TrueMoneySlip(
        event_type="P2P", transaction_id="50000000000001", transferred_on=date(2026, 1, 1)
    )


def test_slip_is_read_when_the_bank_dropped_zeros_of_the_crc():
    texts = (slip_qr(BankSlip(sending_bank="014", transaction_reference=f"R{number}")) for number in range(10_000))
    text = next(text for text in texts if text[-4] == "0" and text[-3] != "0")
    assert read_slip_qr(text[:-4] + text[-3:]) == read_slip_qr(text)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (VECTOR[:-1] + "E", "91 at 54"),
        (emvco.seal([("51", "TH")], crc_tag="91"), "00"),
        (emvco.seal([("00", "0006000009"), ("51", "TH")], crc_tag="91"), "00.00"),
        (emvco.seal([("00", "000600000101030140205A1"), ("51", "TH")], crc_tag="91"), "00.02 at 21"),
        (emvco.seal([("00", "00060000010102140202A1"), ("51", "TH")], crc_tag="91"), "00.01"),
        (emvco.seal([("00", "00020102031230403312"), ("51", "TH")], crc_tag="91"), "00.04"),
    ],
)
def test_bad_slip_names_its_place(text: str, place: str):
    with pytest.raises(QrMalformed) as caught:
        read_slip_qr(text)
    assert caught.value.place == place
