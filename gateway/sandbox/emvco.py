"""The sandbox's own EMVCo texts: written apart from the gateway's codec, so that each is a check on the other."""

import struct
import zlib
from io import BytesIO
from typing import Final

import segno

from gateway.sandbox import qr_modules

BILL_PAYMENT_AID: Final = "A000000677010112"
INNOVATION_AID: Final = "A000000677010113"
SCALE: Final = 4
FASTEST: Final = 1


def bill_payment_qr(biller_id: str, ref1: str, ref2: str, ref3: str, amount: str, *, acquirer_code: str = "") -> str:
    """A dynamic tag-30 Thai QR over `amount` baht (`1234.56`); an empty reference is left out.

    With `acquirer_code` (three digits) tag 31 says reference 1 once more, for that bank.
    """
    template = _tag("00", BILL_PAYMENT_AID) + _tag("01", biller_id) + _tag("02", ref1)
    if ref2:
        template += _tag("03", ref2)
    text = _tag("00", "01") + _tag("01", "12") + _tag("30", template)
    if acquirer_code:
        text += _tag("31", _tag("00", INNOVATION_AID) + _tag("01", acquirer_code) + _tag("02", ref1))
    text += _tag("53", "764") + _tag("54", amount)
    text += _tag("58", "TH")
    if ref3:
        text += _tag("62", _tag("07", ref3))
    text += "6304"
    return f"{text}{_crc(text.encode()):04X}"


def bill_references(qr_data: str) -> tuple[str, str, str]:
    """ref1, ref2 and ref3 in a tag-30 QR, empty where absent.

    Raises:
        ValueError: not such a QR, or its checksum is wrong.
    """
    if len(qr_data) < len("6304FFFF") or f"{_crc(qr_data[:-4].encode()):04X}" != qr_data[-4:]:
        raise ValueError("checksum of the QR text is wrong")
    tags = _tags(qr_data)
    bill = _tags(tags.get("30", ""))
    return bill.get("02", ""), bill.get("03", ""), _tags(tags.get("62", "")).get("07", "")


def picture(qr_data: str, kind: str) -> bytes:
    """The QR as a `png` or `svg` file, four pixels a module."""
    if kind == "png" and qr_modules.fits(qr_data):
        return _png(qr_modules.rows(qr_data))
    code = segno.make(qr_data, error=qr_modules.ERROR, micro=False, mask=qr_modules.MASK)
    if kind == "png":
        return _png(["".join("0" if module else "f" for module in row) for row in code.matrix_iter()])
    file = BytesIO()
    code.save(file, kind=kind, scale=SCALE)
    return file.getvalue()


def _png(rows: list[str]) -> bytes:
    """A black and white picture; a module is one hexadecimal digit, four bits wide and four lines high."""
    width = len(rows[0])
    # The line starts with its filter (none) and is filled up to whole bytes.
    lines = b"".join((b"\x00" + bytes.fromhex(row + "0" * (width % 2))) * SCALE for row in rows)
    header = struct.pack(">IIBBBBB", SCALE * width, SCALE * len(rows), 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, FASTEST)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _tag(identifier: str, value: str) -> str:
    return f"{identifier}{len(value):02d}{value}"


def _tags(text: str) -> dict[str, str]:
    tags: dict[str, str] = {}
    position = 0
    while position < len(text):
        length = int(text[position + 2 : position + 4])
        tags[text[position : position + 2]] = text[position + 4 : position + 4 + length]
        position += 4 + length
    return tags


def _crc(data: bytes) -> int:
    """CRC-16/CCITT-FALSE."""
    crc = 0xFFFF
    for byte in data:
        crc = (crc << 8 & 0xFFFF) ^ _CRC_OF_BYTE[crc >> 8 ^ byte]
    return crc


def _crc_of_byte(byte: int) -> int:
    crc = byte << 8
    for _ in range(8):
        crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


_CRC_OF_BYTE: Final = [_crc_of_byte(byte) for byte in range(256)]
