"""When an open attempt or refund is asked about next, and who is on it. Locks rows only to put a lease on them.

`due_at` is business time of the book, so a test book that moves a day has its questions asked; leases are real time.
These columns change without the intent's lock: losing such a change costs one question more, never money.
"""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.clock import real_now
from gateway.payments.records import AttemptRow, RefundRow
from gateway.payments.tables import attempts, refunds
from gateway.providers.circuits import OPEN_MS

_DELAYS_SECONDS: Final = (10, 30, 2 * 60, 10 * 60, 3600, 6 * 3600, *(5 * [24 * 3600]))
"""From one question to the next. After the last one the statement decides, and a person."""

_CLAIM: Final = """
    WITH due AS (
        SELECT subject.book_id, subject.{key}
        FROM gateway.{table} AS subject
        LEFT JOIN gateway.book_clocks AS clock ON clock.book_id = subject.book_id
        WHERE subject.due_at <= CAST(:now AS timestamptz) + make_interval(secs => coalesce(clock.offset_seconds, 0))
          AND (subject.leased_until IS NULL OR subject.leased_until <= CAST(:now AS timestamptz))
        ORDER BY subject.due_at
        LIMIT :most
        FOR UPDATE OF subject SKIP LOCKED
    )
    UPDATE gateway.{table} AS subject
    SET leased_until = CAST(:leased_until AS timestamptz)
    FROM due
    WHERE subject.book_id = due.book_id AND subject.{key} = due.{key}
    RETURNING subject.*
"""
CLAIM_ATTEMPTS: Final = text(_CLAIM.format(table="payment_attempts", key="attempt_id")).columns(*attempts.c)
CLAIM_REFUNDS: Final = text(_CLAIM.format(table="refunds", key="refund_id")).columns(*refunds.c)


class Schedule:
    """The questions' pace.

    Args:
        first_delay_seconds: replaces the first of 10 s, 30 s, 2 min, 10 min, 1 h, 6 h, 1 d × 5.
        lease_seconds: longer than any provider call may take, so that a held lease means somebody is at it.
    """

    def __init__(self, *, first_delay_seconds: float, lease_seconds: float) -> None:
        self._delays = (first_delay_seconds, *_DELAYS_SECONDS[1:])
        self._lease = timedelta(seconds=lease_seconds)

    def may_send_again(self, created_at: datetime, now: datetime) -> bool:
        """Whether the first sending has surely ended, so that a provider that knows nothing of it may be asked anew."""
        return created_at + self._lease <= now

    def first_due_at(self, now: datetime) -> datetime:
        """When something made at `now` is asked about first."""
        return now + timedelta(seconds=self._delays[0])

    def next_due_at(
        self, asks: int, now: datetime, *, not_after: datetime | None = None, endless: bool = False
    ) -> datetime | None:
        """When it is asked about again after `asks` questions; None when asking is over.

        Args:
            not_after: the deadline of a charge, at which it is asked about in any case.
            endless: it goes on at the slowest pace. What was never sent is on no statement that could decide.
        """
        asks = min(asks, len(self._delays) - 1) if endless else asks
        delay = self._delays[asks] if asks < len(self._delays) else None
        due_at = None if delay is None else now + timedelta(seconds=delay)
        if not_after is not None and not_after > now:
            return not_after if due_at is None else min(due_at, not_after)
        return due_at

    def retry_at(self, now: datetime, *, not_after: datetime | None = None) -> datetime:
        """When a question that was never put is put again: once a circuit lets a call through."""
        due_at = now + timedelta(milliseconds=OPEN_MS)
        return min(due_at, not_after) if not_after is not None and not_after > now else due_at

    def lease_end(self) -> datetime:
        """Until when somebody who starts now is given."""
        return real_now() + self._lease


async def hasten(connection: AsyncConnection, attempt: AttemptRow, due_at: datetime) -> None:
    """Ask about an open attempt soon, at the first pace: something was asked of the provider and not answered."""
    c = attempts.c
    await connection.execute(
        update(attempts)
        .where(c.book_id == attempt.book_id, c.attempt_id == attempt.attempt_id)
        .values(asks=0, due_at=due_at, leased_until=None)
    )


async def postpone(
    connection: AsyncConnection,
    row: AttemptRow | RefundRow,
    due_at: datetime | None,
    *,
    asks: int,
    keep_lease: bool = False,
) -> None:
    """Note how many questions were asked, and when the next one is due; the lease ends unless it is kept."""
    table = attempts if isinstance(row, AttemptRow) else refunds
    is_row = (
        attempts.c.attempt_id == row.attempt_id if isinstance(row, AttemptRow) else refunds.c.refund_id == row.refund_id
    )
    await connection.execute(
        update(table)
        .where(table.c.book_id == row.book_id, is_row, table.c.due_at.is_not(None))
        .values(asks=asks, due_at=due_at, leased_until=table.c.leased_until if keep_lease else None)
    )
