"""Months of the books: the partitions must be there before the clock gets to them.

A posting into a month that is missing raises `MonthMissing`; nothing is lost, but nothing can be posted either.
Months begin at midnight UTC, as the partitions do.
"""

from datetime import date

from ledger.posting import Connection
from ledger.queries import QUERIES


def month_after(day: date, months: int) -> date:
    """The first day of the month `months` after the month of `day`."""
    years, month = divmod(day.month - 1 + months, 12)
    return date(day.year + years, month + 1, 1)


async def make_months(connection: Connection, *, today: date, ahead: int) -> int:
    """Make this month and the `ahead` after it where they are missing; how many were new.

    Any number of callers may do it at once: the database makes each month once, under a lock on `ledger_acts`, and
    a month that is there costs no lock on the books.

    Args:
        connection: outside a transaction, so that each month's locks end with it.
        today: the date in UTC.
    """
    made = await months_made(connection)
    missing = [month for month in (month_after(today, n) for n in range(ahead + 1)) if month not in made]
    return sum([await connection.fetchval("SELECT ledger.create_month_v1($1)", month) for month in missing])


async def months_ahead(connection: Connection, *, today: date) -> int:
    """How many months after this one can be posted into, without a gap; -1 where this month is missing.

    Args:
        connection: of a role that may read the ledger.
        today: the date in UTC.
    """
    made, ahead = await months_made(connection), -1
    while month_after(today, ahead + 1) in made:
        ahead += 1
    return ahead


async def months_made(connection: Connection) -> set[date]:
    """The months that can be posted into or read, each by its first day."""
    return {row["month"] for row in await connection.fetch(QUERIES["months_made"])}
