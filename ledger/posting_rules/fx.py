"""Money in two currencies: exchange through position accounts, and what a position has gained or lost since.

A currency is never exchanged for another within a posting. What is given in one goes to the house's position account
of that currency and comes out of its position account of the other, so every currency adds to zero by itself and the
positions say what the house is long and short of.
"""

import re
from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from fractions import Fraction
from math import ceil, floor
from typing import Final
from uuid import UUID

import msgspec

from ledger.chart_of_accounts import AccountKind
from ledger.journal import AccountRef, EntryKind, JournalEntry, Posting
from ledger.money import AMOUNT_MINOR_MAX, CURRENCY_EXPONENTS, PPM
from ledger.posting_rules._postings import account, posting

_PLAIN_RATE: Final = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,18})?")


class FxRate(msgspec.Struct, frozen=True, kw_only=True):
    """How many whole units of `bought` one whole unit of `sold` brings, exactly.

    Attributes:
        text: plain decimal, as quoted: `35.1234`.
    """

    sold: str
    bought: str
    text: str

    def __post_init__(self) -> None:
        """Hold what the type cannot say.

        Raises:
            ValueError: no plain decimal above zero, a currency unknown, or one currency twice.
        """
        if not _PLAIN_RATE.fullmatch(self.text) or not Fraction(self.text):
            raise ValueError(f"not a plain decimal rate above zero: {self.text!r}")
        if self.sold == self.bought or not {self.sold, self.bought} <= CURRENCY_EXPONENTS.keys():
            raise ValueError(f"not a pair of currencies: {self.sold}, {self.bought}")

    @classmethod
    def of_ppm(cls, sold: str, bought: str, rate_ppm: int) -> "FxRate":
        """From whole parts per million: 35,123,400 is 35.1234."""
        whole, part = divmod(rate_ppm, PPM)
        return cls(sold=sold, bought=bought, text=f"{whole}.{part:06d}")

    @property
    def minor_for_minor(self) -> Fraction:
        """Minor units of `bought` for one minor unit of `sold`: JPY has no digits after the point, KWD three."""
        shift = CURRENCY_EXPONENTS[self.bought] - CURRENCY_EXPONENTS[self.sold]
        return Fraction(self.text) * Fraction(10) ** shift


class FxFixed(StrEnum):
    """Which of the two amounts was agreed; the other follows from the rate."""

    SOLD = "sold"
    BOUGHT = "bought"


class FxAmounts(msgspec.Struct, frozen=True, kw_only=True):
    """Both sides of an exchange as the customer has it.

    The amount that follows from the rate is rounded in favour of the house position: what the customer gets down, what
    the customer gives up. The position itself moves by the exact amount rounded half-up, and the whole minor unit
    between the two, if there is one, is posted to `rounding`.

    Attributes:
        rounding_minor: 0 or 1, in the currency that is not fixed.
        unposted: exact amount − what moved the position, between −1/2 and 1/2 minor unit; kept in the entry's metadata.
    """

    sold_minor: int
    bought_minor: int
    fixed: FxFixed
    rounding_minor: int
    unposted: Fraction


def amounts_at(rate: FxRate, *, fixed: FxFixed, amount_minor: int) -> FxAmounts:
    """What an exchange comes to when one side is agreed.

    Raises:
        ValueError: the amount is not above zero, its counterpart is less than one minor unit, or beyond bigint.
    """
    selling = fixed is FxFixed.SOLD
    exact = amount_minor * rate.minor_for_minor if selling else amount_minor / rate.minor_for_minor
    given, position = (floor(exact) if selling else ceil(exact)), _half_up(exact)
    if amount_minor <= 0 or min(given, position) <= 0 or max(given, amount_minor) > AMOUNT_MINOR_MAX:
        raise ValueError(f"{amount_minor} cannot be exchanged at {rate.text}")
    return FxAmounts(
        sold_minor=amount_minor if selling else given,
        bought_minor=given if selling else amount_minor,
        fixed=fixed,
        rounding_minor=abs(position - given),
        unposted=exact - position,
    )


def exchanged(
    *,
    key: UUID,
    rate: FxRate,
    amounts: FxAmounts,
    giver: AccountRef,
    taker: AccountRef,
    position: str,
    effective_on: date,
    caller: str,
) -> JournalEntry:
    """A customer gives one currency and takes another.

    | debit | credit | amount |
    |---|---|---|
    | giver | fx_position (sold) | sold, at the exact rate where bought is fixed |
    | giver | rounding (sold) | what the customer gave more, 0 or 1 minor unit |
    | fx_position (bought) | taker | bought |
    | fx_position (bought) | rounding (bought) | what the customer got less, 0 or 1 minor unit |

    Args:
        key: of the caller's row.
        rate: as agreed.
        amounts: of `amounts_at` with this rate.
        giver: a liability or other account that the customer's money leaves, in the currency sold.
        taker: where it arrives, in the currency bought.
        position: owner of the house's position accounts.
        effective_on: business date.
        caller: who asked.
    """
    assert (giver.currency, taker.currency) == (rate.sold, rate.bought), "accounts are of the rate's currencies"
    sold_position = account(AccountKind.FX_POSITION, rate.sold, position)
    bought_position = account(AccountKind.FX_POSITION, rate.bought, position)
    more_given = amounts.rounding_minor if amounts.fixed is FxFixed.BOUGHT else 0
    less_taken = amounts.rounding_minor if amounts.fixed is FxFixed.SOLD else 0
    return JournalEntry(
        key=key,
        kind=EntryKind.FX_EXCHANGED,
        effective_on=effective_on,
        postings=(
            *posting(debit=giver, credit=sold_position, amount_minor=amounts.sold_minor - more_given),
            *posting(debit=giver, credit=account(AccountKind.ROUNDING, rate.sold), amount_minor=more_given),
            *posting(debit=bought_position, credit=taker, amount_minor=amounts.bought_minor),
            *posting(debit=bought_position, credit=account(AccountKind.ROUNDING, rate.bought), amount_minor=less_taken),
        ),
        metadata=msgspec.json.encode(
            {
                "rate": rate.text,
                "sold": rate.sold,
                "bought": rate.bought,
                "fixed": amounts.fixed.value,
                "unposted_minor": str(amounts.unposted),
            }
        ),
        caller=caller,
    )


def revalued(
    *,
    key: UUID,
    position: str,
    home_currency: str,
    home_minor: int,
    foreign_minor: Mapping[str, int],
    rates: Mapping[str, FxRate],
    effective_on: date,
    caller: str,
) -> JournalEntry | None:
    """State a position at today's rates: what it gained or lost since the last time is income or expense.

    The position in the home currency is brought to minus the value of the foreign ones, so that all together come to
    nothing at these rates. The value is rounded down, once for the whole position: no gain is shown before it is there.
    Nothing is dropped by rounding, because the next revaluation starts from the positions, not from this one.

    | the position is worth | debit | credit |
    |---|---|---|
    | more | fx_position (home) | fx_gain_loss (home) |
    | less | fx_gain_loss (home) | fx_position (home) |

    Args:
        key: of the caller's row.
        position: owner of the position accounts.
        home_currency: in which gains are counted.
        home_minor: balance of the position in that currency, on its credit side.
        foreign_minor: balances of the positions in the others, likewise; above zero is long.
        rates: home currency for each of them, by currency.
        effective_on: business date of the rates.
        caller: who asked.

    Returns:
        None when nothing changed.

    Raises:
        ValueError: the difference is beyond bigint.
    """
    value = Fraction(0)
    for currency, balance_minor in foreign_minor.items():
        rate = rates[currency]
        assert (rate.sold, rate.bought) == (currency, home_currency), "rates are into the home currency"
        value += balance_minor * rate.minor_for_minor
    gain_minor = home_minor + floor(value)
    if gain_minor == 0:
        return None
    if abs(gain_minor) > AMOUNT_MINOR_MAX:
        raise ValueError(f"a difference of {gain_minor} is beyond bigint")
    home = account(AccountKind.FX_POSITION, home_currency, position)
    result = account(AccountKind.FX_GAIN_LOSS, home_currency)
    debit, credit = (home, result) if gain_minor > 0 else (result, home)
    return JournalEntry(
        key=key,
        kind=EntryKind.FX_REVALUED,
        effective_on=effective_on,
        postings=(Posting(debit=debit, credit=credit, amount_minor=abs(gain_minor)),),
        metadata=msgspec.json.encode({"rates": {name: rates[name].text for name in sorted(foreign_minor)}}),
        caller=caller,
    )


def _half_up(exact: Fraction) -> int:
    return floor(exact + Fraction(1, 2))
