"""Bank business days of Thailand: which days banks settle on, and T+n.

The holidays are a dated file beside the code (`data/bank_holidays_th.csv`), not a library: what the Bank of
Thailand announces differs from public holidays and changes at short notice. A run keeps the version that it used.
"""

import csv
import hashlib
from datetime import date, timedelta
from functools import cache
from importlib.resources import files
from typing import Final

import msgspec

_SATURDAY: Final = 5


class BusinessCalendar(msgspec.Struct, frozen=True, kw_only=True):
    """A version of the bank calendar.

    Attributes:
        version: SHA-256 (first 12 hex digits) of the file that it came from.
        known_through: last date that the file speaks of; beyond it only weekends are known, and
            `is_known` says so.
    """

    version: str
    holidays: frozenset[date]
    known_through: date

    def is_known(self, day: date) -> bool:
        """Whether the file speaks of that day."""
        return day <= self.known_through

    def is_business_day(self, day: date) -> bool:
        """Whether banks settle on that day."""
        return day.weekday() < _SATURDAY and day not in self.holidays

    def next_on_or_after(self, day: date) -> date:
        """The day itself where banks settle on it, else the next one on which they do."""
        while not self.is_business_day(day):
            day += timedelta(days=1)
        return day

    def add(self, day: date, business_days: int) -> date:
        """T+n: the n-th business day after `day` (n ≥ 0); T+0 of a holiday is the next business day."""
        if business_days == 0:
            return self.next_on_or_after(day)
        for _ in range(business_days):
            day = self.next_on_or_after(day + timedelta(days=1))
        return day


@cache
def thai_banks() -> BusinessCalendar:
    """The calendar that this version ships."""
    content = (files("ledger") / "data" / "bank_holidays_th.csv").read_bytes()
    rows = list(csv.DictReader(content.decode().splitlines()))
    days = [date.fromisoformat(row["date"]) for row in rows]
    return BusinessCalendar(
        version=hashlib.sha256(content).hexdigest()[:12],
        holidays=frozenset(days),
        known_through=date(max(days).year, 12, 31),
    )
