"""Time: the one place that asks what time it is.

Business time of a live book is real time. A test book has a forward-only offset that its merchant moves; the
sandbox, expiry, the janitor, T+n and the schedules of that book follow it. Signatures, tokens, leases and
rate limits use real time.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

BANGKOK: Final = ZoneInfo("Asia/Bangkok")


def real_now() -> datetime:
    """The real time, aware, in UTC."""
    return datetime.now(UTC)


def business_date_of(moment: datetime) -> date:
    """The business date (Asia/Bangkok) of an aware moment."""
    return moment.astimezone(BANGKOK).date()


class BookClock(msgspec.Struct, frozen=True):
    """The clock of one book.

    Attributes:
        offset: how far the book runs ahead of real time; zero for live books, never negative.
    """

    offset: timedelta = timedelta(0)

    def now(self) -> datetime:
        """Business time of the book, aware, in UTC."""
        return real_now() + self.offset

    def today(self) -> date:
        """Business date of the book (Asia/Bangkok)."""
        return business_date_of(self.now())
