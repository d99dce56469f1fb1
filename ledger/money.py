"""Money: whole minor units and a currency. No float, no hidden rounding.

Amounts everywhere in this product are `int` minor units (satang for THB). `Decimal` appears only while a
rate is applied, and the rounding is named.
"""

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

PPM: Final = 1_000_000
"""Rates are whole parts per million: 1.65 % is 16,500."""

AMOUNT_MINOR_MAX: Final = 2**63 - 1
"""What PostgreSQL's bigint holds."""

CURRENCY_EXPONENTS: Final[dict[str, int]] = {"THB": 2, "USD": 2, "EUR": 2, "SGD": 2, "JPY": 0, "KWD": 3}
"""Digits after the point, fixed for ever: an exponent cannot change once something was posted."""


def half_up(amount_minor: int, rate_ppm: int) -> int:
    """`amount_minor` × rate, rounded half-up to a whole minor unit (away from zero on a tie)."""
    exact = Decimal(amount_minor) * Decimal(rate_ppm) / PPM
    return int(exact.quantize(Decimal(1), ROUND_HALF_UP))


def split(amount_minor: int, weights: Sequence[int]) -> list[int]:
    """Split an amount by weights so that the parts always add up to it.

    Largest remainder; ties go to the earlier part.

    Raises:
        ValueError: no positive weight, or a negative amount or weight.
    """
    total = sum(weights)
    if total <= 0 or amount_minor < 0 or any(weight < 0 for weight in weights):
        message = "a split needs an amount >= 0 and weights >= 0 with a positive sum"
        raise ValueError(message)
    parts = [amount_minor * weight // total for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: (-(amount_minor * weights[i] % total), i))
    for i in by_remainder[: amount_minor - sum(parts)]:
        parts[i] += 1
    return parts


def to_text(amount_minor: int, currency: str) -> str:
    """Plain decimal text with the currency's digits: 123456, THB → `1234.56`; negative numbers are signed."""
    exponent = CURRENCY_EXPONENTS[currency]
    sign, digits = ("-" if amount_minor < 0 else ""), str(abs(amount_minor)).rjust(exponent + 1, "0")
    return f"{sign}{digits[:-exponent]}.{digits[-exponent:]}" if exponent else f"{sign}{digits}"


def from_text(text: str, currency: str) -> int:
    """Exact minor units of plain decimal text; the inverse of `to_text`.

    Raises:
        ValueError: not a plain decimal number, or finer than the currency's minor unit.
    """
    if not text.isascii() or any(character not in "+-.0123456789" for character in text):
        message = f"not a plain decimal amount: {text!r}"
        raise ValueError(message)
    try:
        minor = Decimal(text).scaleb(CURRENCY_EXPONENTS[currency])
    except ArithmeticError as error:
        message = f"not a plain decimal amount: {text!r}"
        raise ValueError(message) from error
    if minor != minor.to_integral_value():
        message = f"{text!r} is finer than the minor unit of {currency}"
        raise ValueError(message)
    return int(minor)
