"""Books with a history: a month old enough to be archived, this one, and nothing between."""

from datetime import UTC, date, datetime, timedelta

import asyncpg

from ledger.accounts import open_book
from ledger.journal import ExternalReference, JournalEntry, Posted
from ledger.months import month_after
from ledger.periods import begin_closing, close_period, define_periods
from ledger.posting import post_entries
from ledger.schema import SQL
from tests.ledger.entries import drawing, paid_out, received

LIVE, TEST = 1, 2000
TODAY = datetime.now(UTC).date()
MONTH, NEXT, LAST = (month_after(TODAY, n) for n in (-2, -1, 0))
ACT = {"actor": "op_1", "reason": "ticket 7"}


async def at(superuser: asyncpg.Connection, moment: datetime | None) -> None:
    """Let the books believe that it is another moment; None = the clock's, by the functions that are shipped."""
    for name in ("post_entries_v1", "post_transfer_v1", "open_book_v1", "open_accounts_v1"):
        text = (SQL / f"{name}.sql").read_text().replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")
        if moment is not None:
            seconds = int((datetime.now(UTC) - moment).total_seconds())
            text = text.replace("clock_timestamp()", f"(clock_timestamp() - interval '{seconds} seconds')")
        await superuser.execute(text)


async def history(app: asyncpg.Connection, superuser: asyncpg.Connection, *more: JournalEntry) -> list[JournalEntry]:
    """Two months old: 1 with a cap, a reference, a draw; this month: 3 draws again, 4 pays out. A test book at rest."""
    await superuser.execute("SELECT ledger.create_month_v1($1)", MONTH)
    await at(superuser, datetime(MONTH.year, MONTH.month, 10, tzinfo=UTC))
    await open_book(app, LIVE, code="live", mode="live")
    await open_book(app, TEST, code="at rest", mode="test")
    captured = received(
        1_000, drawable_minor=1_000, references=(ExternalReference("scb", "b"),), effective_on=MONTH, metadata=b'\x00,"'
    )
    old = [captured, drawing(captured, 300, effective_on=MONTH)]
    await post_entries(app, LIVE, [*more, *old])
    await post_entries(app, TEST, [received(5, effective_on=MONTH)])
    await at(superuser, None)
    new = [drawing(captured, 200, effective_on=LAST), paid_out(400, effective_on=LAST)]
    results = await post_entries(app, LIVE, new)
    assert [result.sequence - len(more) for result in results if isinstance(result, Posted)] == [3, 4]
    return old + new


async def closed(app: asyncpg.Connection, through: date) -> None:
    end = through - timedelta(days=1)
    bounds = [(MONTH, end), (through, month_after(TODAY, 6) - timedelta(days=1))]
    assert await define_periods(app, LIVE, bounds, **ACT) is None
    assert await begin_closing(app, LIVE, ends_on=end, **ACT) is None
    assert await close_period(app, LIVE, ends_on=end, **ACT) is None
