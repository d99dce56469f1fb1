"""Fees and the VAT on them: how much, by which dated rate. No entry is made here; the rules beside use it.

Rounding: half-up to the satang, once for the fee and once for its VAT.
"""

from datetime import date
from typing import Final

import msgspec

from ledger.money import half_up


class VatRate(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the law's table.

    Attributes:
        verified: false where no decree was read for these dates; every report that uses the rate says so.
    """

    rate_ppm: int
    valid_from: date
    valid_to: date | None
    verified: bool
    source: str


VAT_RATES: Final = (
    VatRate(
        rate_ppm=70_000,
        valid_from=date(2023, 10, 1),
        valid_to=date(2026, 9, 30),
        verified=True,
        source="Royal Decrees under Revenue Code s.80: 7 % instead of 10 %, last read through 30 Sep 2026",
    ),
    VatRate(
        rate_ppm=70_000,
        valid_from=date(2026, 10, 1),
        valid_to=None,
        verified=False,
        source="assumed: the yearly renewal of 7 % goes on; no decree read for dates after 30 Sep 2026",
    ),
)


class VatRateUnknown(Exception):
    """No VAT rate is known for that date; the table in `fees_and_tax.py` needs a row."""


def vat_rate_on(day: date) -> VatRate:
    """The VAT rate of a business date.

    Raises:
        VatRateUnknown: the table has no row for it. Never guessed.
    """
    for rate in VAT_RATES:
        if rate.valid_from <= day and (rate.valid_to is None or day <= rate.valid_to):
            return rate
    raise VatRateUnknown(day.isoformat())


class Fee(msgspec.Struct, frozen=True, kw_only=True):
    """What we charge for one thing: the fee and the VAT on it, both ≥ 0."""

    amount_minor: int
    vat_minor: int

    @property
    def total_minor(self) -> int:
        """Fee and VAT together."""
        return self.amount_minor + self.vat_minor


NO_FEE: Final = Fee(amount_minor=0, vat_minor=0)


def fee_on(amount_minor: int, *, rate_ppm: int, fixed_minor: int, effective_on: date) -> Fee:
    """The fee on an amount: rate and fixed part, each line rounded half-up, with VAT of that date."""
    fee_minor = half_up(amount_minor, rate_ppm) + fixed_minor
    return Fee(amount_minor=fee_minor, vat_minor=half_up(fee_minor, vat_rate_on(effective_on).rate_ppm))
