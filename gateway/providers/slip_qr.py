"""The small QR on a payer's slip. It names a transfer and holds no amount, payee or time: always ask the bank."""

from datetime import date
from typing import Final

import msgspec

from gateway.providers import emvco
from gateway.providers.emvco import QrMalformed

CRC_TAG: Final = "91"
VERIFY_SLIP_API: Final = "000001"
TRUEMONEY_API: Final = "01"
COUNTRY: Final = "TH"
_CRC_LENGTH: Final = 4


class BankSlip(msgspec.Struct, frozen=True, kw_only=True):
    """A transfer as the sending bank names it; (sending_bank, transaction_reference) is unique.

    Attributes:
        sending_bank: three digits (014 = SCB).
    """

    sending_bank: str
    transaction_reference: str


class TrueMoneySlip(msgspec.Struct, frozen=True, kw_only=True):
    """A transfer between TrueMoney wallets."""

    event_type: str
    transaction_id: str
    transferred_on: date


def slip_qr(slip: BankSlip) -> str:
    """The text of a bank slip's QR."""
    template = [("00", VERIFY_SLIP_API), ("01", slip.sending_bank), ("02", slip.transaction_reference)]
    return emvco.seal([("00", emvco.write(template)), ("51", COUNTRY)], crc_tag=CRC_TAG)


def read_slip_qr(text: str) -> BankSlip | TrueMoneySlip:
    """The transfer that a slip names. A CRC whose leading zeros were dropped (some bank apps do) is accepted.

    Raises:
        QrMalformed: not a slip QR, or its CRC does not fit; the message names the place.
    """
    fields = dict(emvco.unseal(_with_whole_crc(text), crc_tag=CRC_TAG))
    if "00" not in fields:
        raise QrMalformed("00", "the slip's template is missing")
    slip = dict(emvco.read(fields["00"], path="00", offset=4))
    if slip.get("00") == VERIFY_SLIP_API:
        return _bank_slip(slip)
    if slip.get("00") == TRUEMONEY_API:
        return _truemoney_slip(slip)
    raise QrMalformed("00.00", f"{slip.get('00')} is no known kind of slip")


def _with_whole_crc(text: str) -> str:
    head, mark, crc = text.rpartition(f"{CRC_TAG}04")
    return f"{head}{mark}{crc.rjust(_CRC_LENGTH, '0')}" if mark and 0 < len(crc) < _CRC_LENGTH else text


def _bank_slip(slip: dict[str, str]) -> BankSlip:
    bank, reference = slip.get("01", ""), slip.get("02", "")
    if not (bank.isdigit() and len(bank) == len("014")):
        raise QrMalformed("00.01", f"bank {bank!r} is not three digits")
    if not 1 <= len(reference) <= len("202601011234567890ABCDE01"):
        raise QrMalformed("00.02", f"transaction reference of {len(reference)} characters, 1 to 25 fit")
    return BankSlip(sending_bank=bank, transaction_reference=reference)


def _truemoney_slip(slip: dict[str, str]) -> TrueMoneySlip:
    day = slip.get("04", "")
    try:
        on = date(int(day[4:]), int(day[2:4]), int(day[:2]))
    except ValueError:
        raise QrMalformed("00.04", f"{day!r} is not a date of the form ddMMyyyy") from None
    return TrueMoneySlip(event_type=slip.get("02", ""), transaction_id=slip.get("03", ""), transferred_on=on)
