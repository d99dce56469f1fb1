"""EMVCo QR text: tag, two-digit length, value, nested; sealed by a CRC. Knows the form, not what the tags mean."""

import binascii
from collections.abc import Sequence
from typing import Final

Field = tuple[str, str]
"""Two-digit tag and value, in the order of the text: order is free, so compare tags and never whole texts."""

VALUE_LENGTH_MAX: Final = 99
CRC_TAG: Final = "63"
_HEAD_LENGTH: Final = 4
_CRC_LENGTH: Final = 4


class QrMalformed(Exception):
    """A QR text breaks its form; the message says where."""

    code = "qr_malformed"
    retryable = False

    def __init__(self, place: str, reason: str) -> None:
        """`place` is a path of tags and the offset in the text: `30.02 at 37`."""
        super().__init__(f"{place}: {reason}")
        self.place = place
        self.reason = reason


def crc16(text: str) -> int:
    """CRC-16/CCITT-FALSE (polynomial 0x1021, start 0xFFFF) of the text's UTF-8 bytes."""
    return binascii.crc_hqx(text.encode(), 0xFFFF)


def write(fields: Sequence[Field]) -> str:
    """The fields as text.

    Raises:
        QrMalformed: a tag is not two digits or comes twice, or a value is empty or longer than 99.
    """
    seen: set[str] = set()
    parts = []
    for tag, value in fields:
        _check_tag(tag, tag, seen)
        if not 1 <= len(value) <= VALUE_LENGTH_MAX:
            raise QrMalformed(tag, f"the value has {len(value)} characters, 1 to 99 fit")
        parts.append(f"{tag}{len(value):02d}{value}")
    return "".join(parts)


def read(text: str, *, path: str = "", offset: int = 0) -> tuple[Field, ...]:
    """The fields of a text or of a template's value.

    Args:
        text: what to read.
        path: tag of the template that the text came from, for messages.
        offset: where in the whole text it begins, for messages.

    Raises:
        QrMalformed: names the tag and the offset at which the form breaks.
    """
    fields: list[Field] = []
    seen: set[str] = set()
    position = 0
    while position < len(text):
        head = text[position : position + _HEAD_LENGTH]
        tag, length = head[:2], head[2:]
        place = f"{path}.{tag}" if path else tag
        place = f"{place} at {offset + position}"
        if len(head) < _HEAD_LENGTH:
            raise QrMalformed(place, "the text ends inside a tag or length")
        _check_tag(tag, place, seen)
        if not (length.isascii() and length.isdigit() and length != "00"):
            raise QrMalformed(place, f"length {length!r} is not 01 to 99")
        value = text[position + _HEAD_LENGTH : position + _HEAD_LENGTH + int(length)]
        if len(value) < int(length):
            raise QrMalformed(place, f"{int(length)} characters announced, {len(value)} there")
        fields.append((tag, value))
        position += _HEAD_LENGTH + int(length)
    return tuple(fields)


def seal(fields: Sequence[Field], *, crc_tag: str = CRC_TAG) -> str:
    """The fields as text with the CRC field at the end, in four upper-case digits."""
    body = f"{write(fields)}{crc_tag}04"
    return f"{body}{crc16(body):04X}"


def unseal(text: str, *, crc_tag: str = CRC_TAG) -> tuple[Field, ...]:
    """The fields before the CRC, once the CRC is proved; its case does not matter (TrueMoney writes lower case).

    Raises:
        QrMalformed: the form breaks, the CRC is not the last field, or it does not fit the text.
    """
    fields = read(text)
    place = f"{crc_tag} at {max(len(text) - _HEAD_LENGTH - _CRC_LENGTH, 0)}"
    if not fields or fields[-1][0] != crc_tag or len(fields[-1][1]) != _CRC_LENGTH:
        raise QrMalformed(place, "the text does not end in a CRC of four digits")
    expected = f"{crc16(text[:-_CRC_LENGTH]):04X}"
    if fields[-1][1].upper() != expected:
        raise QrMalformed(place, f"CRC {fields[-1][1]} does not fit the text")
    return fields[:-1]


def _check_tag(tag: str, place: str, seen: set[str]) -> None:
    if not (len(tag) == len("00") and tag.isascii() and tag.isdigit()):
        raise QrMalformed(place, f"tag {tag!r} is not two digits")
    if tag in seen:
        raise QrMalformed(place, f"tag {tag} comes twice in one level")
    seen.add(tag)
