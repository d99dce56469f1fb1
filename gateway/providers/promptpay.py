"""PromptPay QR texts (Thai QR standard on EMVCo MPM 1.1): build, read and draw; also the counters' barcode.

Tag 29 is a credit transfer to a person's proxy: nobody tells the payee that it came. Tag 30 is a bill payment: the
biller's bank calls back, answers inquiries and writes a daily file. Tag 31 repeats the bill for the acquirer
(KBank's QRs). The payer's slip carries a QR of its own: `slip_qr.py`.
"""

import io
from enum import StrEnum
from typing import Final

import msgspec
import segno

from gateway.providers import emvco
from gateway.providers.emvco import Field, QrMalformed
from ledger.money import from_text, to_text

CREDIT_TRANSFER_AID: Final = "A000000677010111"
ONE_TIME_CREDIT_TRANSFER_AID: Final = "A000000677010114"
BILL_PAYMENT_AID: Final = "A000000677010112"
CROSS_BORDER_BILL_PAYMENT_AID: Final = "A000000677012006"
INNOVATION_AID: Final = "A000000677010113"
BAHT_CODE: Final = "764"
REFERENCE_LENGTH_MAX: Final = 20
AMOUNT_LENGTH_MAX: Final = 13
BILLER_LENGTHS: Final = (13, 15)
"""Tax id with a suffix of two digits; some older QRs carry the bare tax id."""


class ProxyKind(StrEnum):
    """What stands for the payee in a tag-29 QR; the value is its sub-tag."""

    MOBILE = "01"
    TAX_ID = "02"
    EWALLET = "03"
    BANK_ACCOUNT = "04"


PROXY_LENGTHS: Final = {ProxyKind.MOBILE: 13, ProxyKind.TAX_ID: 13, ProxyKind.EWALLET: 15}
"""A mobile number is 0066 and nine digits. A bank account is three digits of bank and the account, any length."""


class CreditTransfer(msgspec.Struct, frozen=True, kw_only=True):
    """Tag 29: money to a proxy."""

    kind: ProxyKind
    proxy: str


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """Tag 30, and the reference 3 that travels in 62-07.

    Attributes:
        biller_id: 15 digits (13 in some older QRs); the references: up to 20 of A–Z and 0–9.
    """

    biller_id: str
    reference1: str
    reference2: str | None = None
    reference3: str | None = None


class Innovation(msgspec.Struct, frozen=True, kw_only=True):
    """Tag 31: the bill once more, for the acquiring bank."""

    acquirer_code: str
    reference1: str
    reference2: str | None = None


class PromptPayQr(msgspec.Struct, frozen=True, kw_only=True):
    """What a PromptPay QR says.

    Attributes:
        amount_minor: satang; None = the payer types it.
        reusable: tag 01 is 11. Only a convention: an amount in the QR does not make it payable once.
        fields: every top-level field as it stands, the CRC left out.
    """

    transfer: CreditTransfer | None = None
    bill: Bill | None = None
    innovation: Innovation | None = None
    amount_minor: int | None = None
    reusable: bool = False
    merchant_name: str | None = None
    fields: tuple[Field, ...] = ()


def mobile_proxy(number: str) -> str:
    """`0812345678` or `66812345678` as the 13 characters of a proxy.

    Raises:
        QrMalformed: not a Thai mobile number.
    """
    digits = "".join(character for character in number if character.isascii() and character.isdigit())
    national = digits.removeprefix("00").removeprefix("66").removeprefix("0")
    if len(national) != len("812345678"):
        raise QrMalformed("29.01", f"{number!r} is not a Thai mobile number")
    return f"0066{national}"


def credit_transfer_qr(kind: ProxyKind, proxy: str, amount_minor: int | None = None) -> str:
    """The text of a tag-29 QR.

    Raises:
        QrMalformed: the proxy has the wrong length or characters, or the amount is not positive.
    """
    _check_proxy(kind, proxy, "29")
    template = emvco.write([("00", CREDIT_TRANSFER_AID), (kind.value, proxy)])
    return emvco.seal([*_opening(amount_minor), ("29", template), *_money(amount_minor)])


def bill_payment_qr(
    bill: Bill,
    amount_minor: int | None = None,
    *,
    innovation: Innovation | None = None,
    merchant_name: str | None = None,
) -> str:
    """The text of a tag-30 QR, with tag 31 where `innovation` is given.

    Raises:
        QrMalformed: a reference or the biller breaks the standard, or the amount is not positive.
    """
    _check_bill(bill)
    template = [("00", BILL_PAYMENT_AID), ("01", bill.biller_id), ("02", bill.reference1)]
    if bill.reference2 is not None:
        template.append(("03", bill.reference2))
    fields = [*_opening(amount_minor), ("30", emvco.write(template))]
    if innovation is not None:
        fields.append(("31", _innovation_template(innovation)))
    fields += _money(amount_minor)
    if merchant_name is not None:
        fields.append(("59", merchant_name))
    if bill.reference3 is not None:
        fields.append(("62", emvco.write([("07", bill.reference3)])))
    return emvco.seal(fields)


def read_qr(text: str) -> PromptPayQr:
    """What a QR text says; tags of other schemes beside PromptPay's (cards, TrueMoney's message) are left alone.

    Raises:
        QrMalformed: the form, the CRC or a PromptPay field is wrong; the message names the place.
    """
    fields = emvco.unseal(text)
    tags = dict(fields)
    if tags.get("00") != "01":
        raise QrMalformed("00", "the payload format is not 01")
    if tags.get("53", BAHT_CODE) != BAHT_CODE:
        raise QrMalformed("53", f"currency {tags['53']} is not baht")
    transfer = _read_transfer(tags["29"]) if "29" in tags else None
    bill = _read_bill(tags["30"], tags.get("62")) if "30" in tags else None
    if transfer is None and bill is None:
        raise QrMalformed("29", "neither tag 29 nor 30: not a PromptPay QR")
    return PromptPayQr(
        transfer=transfer,
        bill=bill,
        innovation=_read_innovation(tags["31"]) if "31" in tags else None,
        amount_minor=_read_amount(tags["54"]) if "54" in tags else None,
        reusable=tags.get("01") == "11",
        merchant_name=tags.get("59"),
        fields=fields,
    )


def bill_barcode(bill: Bill, amount_minor: int = 0) -> str:
    """The Bank of Thailand's barcode text of a bill; amount in satang, 0 = the payer says it."""
    _check_bill(bill)
    return f"|{bill.biller_id}\r{bill.reference1}\r{bill.reference2 or ''}\r{amount_minor}"


def read_bill_barcode(text: str) -> tuple[Bill, int]:
    """Bill and amount in satang (0 = open) of a Bank of Thailand barcode.

    Raises:
        QrMalformed: the message names the line of the barcode.
    """
    lines = text.removeprefix("|").split("\r")
    if not text.startswith("|") or len(lines) != len(("biller", "reference1", "reference2", "amount")):
        raise QrMalformed("barcode", "it does not consist of `|` and four lines")
    biller_id, reference1, reference2, amount = lines
    if not (amount.isascii() and amount.isdigit()):
        raise QrMalformed("barcode line 4", f"amount {amount!r} is not whole satang")
    bill = Bill(biller_id=biller_id, reference1=reference1, reference2=reference2 or None)
    _check_bill(bill)
    return bill, int(amount)


def svg(text: str) -> bytes:
    """The QR as an SVG picture."""
    return _picture(text, "svg")


def png(text: str) -> bytes:
    """The QR as a PNG picture."""
    return _picture(text, "png")


def _picture(text: str, kind: str) -> bytes:
    target = io.BytesIO()
    segno.make(text, error="m", micro=False).save(target, kind=kind, scale=8, border=4)
    return target.getvalue()


def _opening(amount_minor: int | None) -> list[Field]:
    return [("00", "01"), ("01", "11" if amount_minor is None else "12")]


def _money(amount_minor: int | None) -> list[Field]:
    fields = [("53", BAHT_CODE)]
    if amount_minor is not None:
        text = to_text(amount_minor, "THB")
        if amount_minor <= 0 or len(text) > AMOUNT_LENGTH_MAX:
            raise QrMalformed("54", f"amount {text} is not above zero and within 13 characters")
        fields.append(("54", text))
    return [*fields, ("58", "TH")]


def _read_amount(text: str) -> int:
    try:
        amount_minor = from_text(text, "THB")
    except ValueError as error:
        raise QrMalformed("54", str(error)) from None
    if amount_minor <= 0 or len(text) > AMOUNT_LENGTH_MAX:
        raise QrMalformed("54", f"amount {text} is not above zero and within 13 characters")
    return amount_minor


def _check_proxy(kind: ProxyKind, proxy: str, place: str) -> None:
    length = PROXY_LENGTHS.get(kind, len(proxy))
    if not (proxy.isascii() and proxy.isdigit()) or len(proxy) != length:
        raise QrMalformed(f"{place}.{kind.value}", f"proxy of {len(proxy)} characters is not {length} digits")
    if kind is ProxyKind.MOBILE and not proxy.startswith("0066"):
        raise QrMalformed(f"{place}.{kind.value}", "a mobile proxy begins with 0066")


def _read_transfer(template: str) -> CreditTransfer:
    fields = dict(emvco.read(template, path="29"))
    if fields.get("00") not in {CREDIT_TRANSFER_AID, ONE_TIME_CREDIT_TRANSFER_AID}:
        raise QrMalformed("29.00", f"application {fields.get('00')} is not PromptPay's credit transfer")
    kinds = [kind for kind in ProxyKind if kind.value in fields]
    if len(kinds) != 1:
        raise QrMalformed("29", f"{len(kinds)} proxies, one is due")
    _check_proxy(kinds[0], fields[kinds[0].value], "29")
    return CreditTransfer(kind=kinds[0], proxy=fields[kinds[0].value])


def _check_bill(bill: Bill) -> None:
    if not (bill.biller_id.isascii() and bill.biller_id.isdigit()) or len(bill.biller_id) not in BILLER_LENGTHS:
        raise QrMalformed("30.01", f"biller id of {len(bill.biller_id)} characters is not 15 digits")
    _check_reference("30.02", bill.reference1)
    for place, reference in (("30.03", bill.reference2), ("62.07", bill.reference3)):
        if reference is not None:
            _check_reference(place, reference)


def _check_reference(place: str, reference: str) -> None:
    fits = reference.isascii() and reference.isalnum() and reference == reference.upper()
    if not fits or not 1 <= len(reference) <= REFERENCE_LENGTH_MAX:
        raise QrMalformed(place, f"reference {reference!r} is not 1 to 20 of A–Z and 0–9")


def _read_bill(template: str, additional: str | None) -> Bill:
    fields = dict(emvco.read(template, path="30"))
    if fields.get("00") not in {BILL_PAYMENT_AID, CROSS_BORDER_BILL_PAYMENT_AID}:
        raise QrMalformed("30.00", f"application {fields.get('00')} is not PromptPay's bill payment")
    bill = Bill(
        biller_id=fields.get("01", ""),
        reference1=fields.get("02", ""),
        reference2=fields.get("03"),
        reference3=dict(emvco.read(additional, path="62")).get("07") if additional else None,
    )
    _check_bill(bill)
    return bill


def _innovation_template(innovation: Innovation) -> str:
    template = [("00", INNOVATION_AID), ("01", innovation.acquirer_code), ("02", innovation.reference1)]
    if innovation.reference2 is not None:
        template.append(("04", innovation.reference2))
    return emvco.write(template)


def _read_innovation(template: str) -> Innovation:
    fields = dict(emvco.read(template, path="31"))
    if fields.get("00") != INNOVATION_AID or not {"01", "02"} <= fields.keys():
        raise QrMalformed("31", "not a payment innovation template")
    return Innovation(acquirer_code=fields["01"], reference1=fields["02"], reference2=fields.get("04"))
