"""Daily jobs: rows that say what must be done for a book and a business date, claimed with a lease.

APScheduler only enqueues (`scheduler.py`); the row is the truth. One row a (book, period, step), so a second
scheduler is harmless. The jobs of a book run one after the other, oldest first: what was missed is caught up in
order, and a job that cannot finish holds back those that stand on it. Only the search for statements that were late
holds back nobody: what it waits for may come in a week, or never. Every job is idempotent; a lapsed lease
only means that it runs once more. Real time throughout.
"""

from datetime import date, datetime, timedelta
from enum import IntEnum
from typing import Any, Final

import msgspec
from sqlalchemy import Column, MetaData, Table, types
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.database import Source, send
from gateway.foundation.statements import Statement
from ledger.business_days import BusinessCalendar

LEASE: Final = timedelta(minutes=5)
RETRY_AFTER_MAX: Final = timedelta(minutes=10)
CATCH_UP_DAYS_MAX: Final = 400
"""A scheduler that was away longer enqueues the rest on its next ticks."""

metadata = MetaData(schema="gateway")
jobs = Table(
    "jobs",
    metadata,
    Column("book_id", types.BigInteger, primary_key=True),
    Column("period", types.Date, primary_key=True),
    Column("step", types.SmallInteger, primary_key=True),
    Column("job", types.Text, nullable=False),
    Column("state", types.Text, nullable=False),
    Column("attempts", types.Integer, nullable=False),
    Column("not_before", types.DateTime(timezone=True), nullable=False),
    Column("lease_until", types.DateTime(timezone=True)),
    Column("created_at", types.DateTime(timezone=True), nullable=False),
    Column("finished_at", types.DateTime(timezone=True)),
    Column("last_error", types.Text),
    Column("result", JSONB),
)


class Step(IntEnum):
    """What is done for a business date, in this order.

    `SETTLE` of a date needs the statements of the dates before it, never its own; so it goes first. `LATE_STATEMENTS`
    is there only for a date whose closing went without somebody's statement.
    """

    SETTLE = 1
    CLOSE_DAY = 2
    LATE_STATEMENTS = 3


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A claimed job."""

    book_id: int
    period: date
    step: Step
    attempts: int


def due_on(
    today: date, *, since: date, after: date | None, settled: date | None = None, calendar: BusinessCalendar
) -> list[tuple[date, Step]]:
    """Which jobs a book must have by its business date `today`, oldest first.

    A day is closed once it is over. Settlement runs on business days, the first one after `since`.

    Args:
        today: the book's business date.
        since: the book's first business date.
        after, settled: the last dates that were enqueued for closing and for settlement, if any; older ones are there
            already.
        calendar: on which days banks settle.
    """
    first = since if after is None else after + timedelta(days=1)
    days = [first + timedelta(days=n) for n in range(min((today - first).days + 1, CATCH_UP_DAYS_MAX))]
    closings = [(day, Step.CLOSE_DAY) for day in days if day < today]
    settlements = [
        (day, Step.SETTLE) for day in days if day > max(since, settled or since) and calendar.is_business_day(day)
    ]
    return sorted(closings + settlements)


async def enqueue(connection: AsyncConnection, book_id: int, due: list[tuple[date, Step]], *, at: datetime) -> int:
    """Insert what is not there yet; returns how many rows are new."""
    if not due:
        return 0
    rows = [
        {
            "book_id": book_id,
            "period": period,
            "step": int(step),
            "job": step.name.lower(),
            "state": "due",
            "attempts": 0,
            "not_before": at,
            "created_at": at,
        }
        for period, step in due
    ]
    statement = insert(jobs).values(rows).on_conflict_do_nothing().returning(jobs.c.step)
    return len((await connection.execute(statement)).all())


_CLAIM: Final = Statement(
    sql("""
    WITH claimable AS (
        SELECT book_id, period, step FROM gateway.jobs AS job
        WHERE state <> 'done' AND not_before <= :now AND (lease_until IS NULL OR lease_until < :now)
          AND NOT EXISTS (
            SELECT FROM gateway.jobs AS earlier
            WHERE earlier.book_id = job.book_id AND earlier.state <> 'done' AND earlier.step <> :late_statements
              AND (earlier.period, earlier.step) < (job.period, job.step))
        ORDER BY period, step, book_id LIMIT 1 FOR UPDATE SKIP LOCKED)
    UPDATE gateway.jobs AS job
    SET state = 'running', attempts = attempts + 1, lease_until = :lease_until
    FROM claimable
    WHERE (job.book_id, job.period, job.step) = (claimable.book_id, claimable.period, claimable.step)
    RETURNING job.book_id, job.period, job.step, job.attempts
""")
)


async def claim(source: Source, *, now: datetime) -> Job | None:
    """Lease the oldest job that nothing older of its book holds back."""
    parameters = {"now": now, "lease_until": now + LEASE, "late_statements": int(Step.LATE_STATEMENTS)}
    for row in await send(source, _CLAIM, parameters):
        return Job(book_id=row["book_id"], period=row["period"], step=Step(row["step"]), attempts=row["attempts"])
    return None


async def result_of(connection: AsyncConnection, book_id: int, period: date, step: Step) -> dict[str, Any]:
    """What a job that is done did; empty where there is none."""
    c = jobs.c
    found = await connection.scalar(
        jobs.select()
        .with_only_columns(c.result)
        .where(c.book_id == book_id, c.period == period, c.step == int(step), c.state == "done")
    )
    return dict(found or {})


async def finish(connection: AsyncConnection, job: Job, *, result: dict[str, Any], now: datetime) -> None:
    """The job is done; a claim that was taken over meanwhile (another attempt number) changes nothing."""
    await connection.execute(
        jobs.update()
        .where(*_is(job))
        .values(state="done", result=result, finished_at=now, lease_until=None, last_error=None)
    )


async def postpone(connection: AsyncConnection, job: Job, *, error: str, now: datetime) -> None:
    """The job could not finish: try again later, the longer it fails the later."""
    wait = min(timedelta(seconds=2 ** min(job.attempts, 10)), RETRY_AFTER_MAX)
    await connection.execute(
        jobs.update()
        .where(*_is(job))
        .values(state="due", last_error=error[:2000], not_before=now + wait, lease_until=None)
    )


def _is(job: Job) -> tuple[Any, ...]:
    return (
        jobs.c.book_id == job.book_id,
        jobs.c.period == job.period,
        jobs.c.step == int(job.step),
        jobs.c.attempts == job.attempts,
        jobs.c.state == "running",
    )
