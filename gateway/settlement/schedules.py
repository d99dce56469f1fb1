"""When payouts are executed and how much is paid out. Pure; the calendar and the dates are handed in.

When money becomes available (T+n) is fixed with each payment, by its fee plan (`payments/entries.py`).
"""

from datetime import date
from typing import Final

from ledger.business_days import BusinessCalendar
from ledger.posting_rules.fees_and_tax import NO_FEE, Fee

PAYOUT_FEE: Final[Fee] = NO_FEE
"""What we charge for a payout. Nothing by today's price list."""


def execution_date(business_date: date, today: date, calendar: BusinessCalendar) -> date:
    """When the bank is to debit us: the business date settled, or the next on which banks work.

    A run that catches up is late, and no bank executes in the past: then it is today, or the next such day.
    """
    return calendar.next_on_or_after(max(business_date, today))


def debt_minor(available_minor: int, owed_minor: int) -> int:
    """What becomes a claim on the merchant (above zero) or is taken for an earlier claim (below zero).

    All that is below zero becomes a claim; what is above zero pays an earlier one before anything is paid out.
    """
    return -available_minor if available_minor < 0 else -min(available_minor, max(owed_minor, 0))


def payout_minor(available_minor: int, minimum_minor: int | None) -> int:
    """What to pay out of what is available: all of it, or nothing.

    Nothing below the minimum, nothing of zero or less, and nothing where the merchant has named no bank account
    (`minimum_minor` is None).
    """
    if minimum_minor is None or available_minor < max(minimum_minor, 1):
        return 0
    return available_minor
