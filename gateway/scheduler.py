"""The ticker: APScheduler says when to look, the rows in `gateway.jobs` say what is due.

Every process may run one; `enqueue` makes a second tick harmless. Business dates come from each book's own
clock, so a test book whose clock was moved gets the days that it skipped.
"""

from datetime import date, timedelta
from typing import Any, Final

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from sqlalchemy import Row
from sqlalchemy import text as sql

from gateway import jobs
from gateway.foundation.clock import BookClock, business_date_of, real_now
from gateway.foundation.database import Database
from ledger.business_days import thai_banks

_BOOKS: Final = sql("""
    SELECT book.book_id, coalesce(clock.offset_seconds, 0) AS offset_seconds, book.created_at,
      (SELECT max(period) FROM gateway.jobs AS job
       WHERE job.book_id = book.book_id AND job.step = :close_day) AS closed,
      (SELECT max(period) FROM gateway.jobs AS job
       WHERE job.book_id = book.book_id AND job.step = :settle) AS settled
    FROM ledger.books AS book
    LEFT JOIN gateway.book_clocks AS clock USING (book_id)
""")


class Scheduler:
    """Enqueues the daily jobs of every book, each tick."""

    def __init__(self, database: Database, *, tick_seconds: float) -> None:
        """`tick_seconds`: how often to look; real time."""
        self._database = database
        self._ticker = AsyncIOScheduler(timezone="UTC")
        self._ticker.add_job(
            self.tick, "interval", seconds=tick_seconds, max_instances=1, coalesce=True, misfire_grace_time=None
        )

    def start(self) -> None:
        """Start ticking on the running event loop."""
        self._ticker.start()

    def stop(self) -> None:
        """Stop ticking; a tick under way finishes by itself."""
        self._ticker.shutdown(wait=False)

    async def tick(self) -> int:
        """Enqueue what became due; returns how many jobs are new. Where nothing did, one question is all it costs."""
        steps = {"close_day": int(jobs.Step.CLOSE_DAY), "settle": int(jobs.Step.SETTLE)}
        async with self._database.read() as connection:
            books = (await connection.execute(_BOOKS, steps)).all()
        listed = [(book.book_id, due) for book in books if (due := _due(book))]
        if not listed:
            return 0
        now = real_now()
        async with self._database.transaction() as connection:
            return sum([await jobs.enqueue(connection, book_id, due, at=now) for book_id, due in listed])


def _due(book: Row[Any]) -> list[tuple[date, jobs.Step]]:
    return jobs.due_on(
        BookClock(timedelta(seconds=book.offset_seconds)).today(),
        since=business_date_of(book.created_at),
        after=book.closed,
        settled=book.settled,
        calendar=thai_banks(),
    )
