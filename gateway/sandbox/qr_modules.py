"""The black and white of a QR of one size: segno draws its frame, once, and what a text changes is filled in here.

Version 7 with error correction M takes 178 capital letters, digits and signs, more than any Thai payment QR has. The
same picture from segno alone costs ten times as much: it works module by module, and anew at each call.
"""

from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain
from operator import itemgetter
from typing import Final

import segno

VERSION: Final = 7
ERROR: Final = "m"
MASK: Final = 0
"""Every mask is read alike; to try all eight for the prettiest takes four times as long as the rest."""
BLOCKS: Final = 4
BLOCK_DATA_BYTES: Final = 31
BLOCK_CHECK_BYTES: Final = 18
CHECK_MASK: Final = (1 << 8 * BLOCK_CHECK_BYTES) - 1
DATA_BYTES: Final = BLOCKS * BLOCK_DATA_BYTES
MODULES: Final = 8 * BLOCKS * (BLOCK_DATA_BYTES + BLOCK_CHECK_BYTES)
TEXT_LENGTH_MAX: Final = 178
ALPHABET: Final = {sign: value for value, sign in enumerate("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:")}
ALPHANUMERIC: Final = "0010"
PADDING: Final = bytes.fromhex("ec11") * DATA_BYTES
FIELD: Final = 0x11D
"""The polynomial by which the standard multiplies bytes."""
WIDTH: Final = 45
BORDER: Final = 4
TIMING: Final = 6
"""The row and the column of the timing pattern."""
CORNER: Final = 9
"""A finder pattern with its separator and the line of format bits beside it."""
ALIGNMENT_CENTRES: Final = (6, 22, 38)
ALIGNMENT_REACH: Final = 2
_TO_DIGITS: Final = str.maketrans("01", "f0")


def fits(text: str) -> bool:
    """Whether the size takes the text."""
    return len(text) <= TEXT_LENGTH_MAX and ALPHABET.keys() >= set(text)


def rows(text: str) -> list[str]:
    """The lines of the picture with its quiet zone; a module is `0` where dark, else `f`."""
    pick, mask, width = _frame()
    bits = int.from_bytes(_codewords(text)) ^ mask
    picture = "".join(pick("0f" + f"{bits:0{MODULES}b}".translate(_TO_DIGITS)))
    return [picture[start : start + width] for start in range(0, len(picture), width)]


def _codewords(text: str) -> bytes:
    """The text in the order in which it is laid out, each block of it with its check bytes."""
    pairs = (text[start : start + 2] for start in range(0, len(text), 2))
    said = "".join(
        f"{45 * ALPHABET[pair[0]] + ALPHABET[pair[1]]:011b}" if len(pair) == len("AB") else f"{ALPHABET[pair]:06b}"
        for pair in pairs
    )
    # Ended by four zeros, if there is room for them, and filled up to whole bytes.
    bits = f"{ALPHANUMERIC}{len(text):09b}{said}0000"[: 8 * DATA_BYTES]
    bits += "0" * (-len(bits) % 8)
    data = (int(bits, 2).to_bytes(len(bits) // 8) + PADDING)[:DATA_BYTES]
    blocks = [data[start : start + BLOCK_DATA_BYTES] for start in range(0, DATA_BYTES, BLOCK_DATA_BYTES)]
    columns = (*zip(*blocks, strict=True), *zip(*map(_check, blocks), strict=True))
    return bytes(chain.from_iterable(columns))


def _check(block: bytes) -> bytes:
    """What is left of the block when the standard's polynomial divides it."""
    multiples, rest = _multiples(), 0
    for byte in block:
        rest = (rest << 8 & CHECK_MASK) ^ multiples[rest >> CHECK_MASK.bit_length() - 8 ^ byte]
    return rest.to_bytes(BLOCK_CHECK_BYTES)


@cache
def _multiples() -> list[int]:
    """All multiples of the polynomial whose roots are the first powers of two, its leading one left out."""
    divisor, root = [1], 1
    for _ in range(BLOCK_CHECK_BYTES):
        shifted = [0, *(_product(coefficient, root) for coefficient in divisor)]
        divisor, root = [a ^ b for a, b in zip([*divisor, 0], shifted, strict=True)], _product(root, 2)
    return [int.from_bytes(bytes(_product(factor, each) for each in divisor[1:])) for factor in range(256)]


def _product(left: int, right: int) -> int:
    product = 0
    for bit in range(7, -1, -1):
        product = product << 1 ^ (FIELD if product & 0x80 else 0) ^ (left if right >> bit & 1 else 0)
    return product


@cache
def _frame() -> tuple[Callable[[str], tuple[str, ...]], int, int]:
    """What picks the picture out of dark, light and the laid out modules; the mask of these; the picture's width."""
    code = segno.make("0", version=VERSION, error=ERROR, mask=MASK, boost_error=False)
    frame = [list(row) for row in code.matrix_iter(border=BORDER)]
    places = list(_places())
    assert len(places) == MODULES, "the size holds just its bytes"
    numbers = {place: number for number, place in enumerate(places, start=len("0f"))}
    picked = [
        numbers.get((row - BORDER, column - BORDER), 0 if module else 1)
        for row, line in enumerate(frame)
        for column, module in enumerate(line)
    ]
    mask = int("".join(str((row + column + 1) % 2) for row, column in places), 2)
    return itemgetter(*picked), mask, len(frame)


def _places() -> Iterator[tuple[int, int]]:
    """Rows and columns of what a text fills: two columns at a time from the right, up and down in turn."""
    rights = [*range(WIDTH - 1, TIMING, -2), *range(TIMING - 1, 0, -2)]
    for number, right in enumerate(rights):
        for row in range(WIDTH) if number % 2 else reversed(range(WIDTH)):
            yield from ((row, column) for column in (right, right - 1) if not _is_frame(row, column))


def _is_frame(row: int, column: int) -> bool:
    low, high = sorted((row, column))
    corner = high < CORNER or (low < CORNER and high >= WIDTH - CORNER + 1)
    size = low < TIMING and high >= WIDTH - CORNER - 2
    aligned = high < WIDTH - CORNER or low >= CORNER
    return corner or size or TIMING in (row, column) or (aligned and _near(row) and _near(column))


def _near(line: int) -> bool:
    """Whether an alignment pattern lies across the line."""
    return any(abs(line - centre) <= ALIGNMENT_REACH for centre in ALIGNMENT_CENTRES)
