"""QR pictures that are filled in by us are those that segno draws."""

import random

import segno

from gateway.sandbox import emvco, qr_modules

QR = (
    "00020101021230550016A00000067701011201150999999999999010212QK2026000001530376454071234.565802TH62070703QKB6304376E"
)


def drawn_by_segno(text: str) -> list[str]:
    code = segno.make(text, version=7, error="m", mask=0, mode="alphanumeric", boost_error=False)
    return ["".join("0" if module else "f" for module in row) for row in code.matrix_iter()]


def test_picture_is_that_of_segno_for_a_text_of_any_length():
    random.seed(7)
    for length in range(1, 179):
        bits = 4 + 9 + 11 * (length // 2) + 6 * (length % 2) + 4
        if bits % 8 == 0:
            # Here segno fills up with a byte of zeros that the standard does not know; readers skip either.
            continue
        text = "".join(random.choices(list(qr_modules.ALPHABET), k=length))
        assert qr_modules.rows(text) == drawn_by_segno(text), text
    assert qr_modules.rows(QR) == drawn_by_segno(QR)


def test_text_that_does_not_fit_is_drawn_by_segno_alone():
    assert qr_modules.fits("A" * 178)
    for text in ("A" * 179, "a", "ก"):
        assert not qr_modules.fits(text)
        assert emvco.picture(text, "png").startswith(b"\x89PNG")
