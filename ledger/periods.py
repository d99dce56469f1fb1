"""Accounting periods of a book: defined, closed in order, reopened on the record.

They follow each other without a gap: first the closed ones, then at most one that is closing, then the open ones. Each
act locks the book's row, so no entry slips in. What a state allows is decided where entries are posted: `closing` takes
adjusting entries only, `closed` takes none; facts that come late are booked on the first open day and keep their date.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from enum import IntEnum, StrEnum
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from ledger.balances import TrialBalanceRow, trial_balance
from ledger.journal import JournalEntry
from ledger.posting import CONNECTION_LOST, Connection, ledger_error
from ledger.posting_rules.periods import year_end_entries
from ledger.queries import QUERIES


class PeriodState(StrEnum):
    """Where a period stands."""

    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class PeriodRefusal(IntEnum):
    """Why an act on a period was refused: nothing was changed. The first rule broken, in this order.

    What is closed says that it is, before anything of earlier periods. The numbers are what `change_period_v1` returns.
    """

    PERIOD_NOT_FOUND = 1
    PERIOD_ENDS_BEFORE_IT_STARTS = 2
    PERIOD_MUST_FOLLOW_THE_LAST = 3
    EARLIER_PERIOD_NOT_CLOSED = 4
    PERIOD_ALREADY_CLOSING = 5
    PERIOD_NOT_CLOSING = 6
    PERIOD_NOT_LAST_CLOSED = 7

    @property
    def code(self) -> str:
        """Stable word for APIs and logs: `period_not_closing`."""
        return self.name.lower()


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """A period of business dates, both ends included.

    Attributes:
        changed_at: when it came into its state.
        closed_at_sequence: the last entry of the book when it was closed; None while it is not.
    """

    starts_on: date
    ends_on: date
    state: PeriodState
    changed_at: datetime
    closed_at_sequence: int | None


async def periods(connection: Connection, book_id: int) -> list[Period]:
    """Every period of the book, oldest first."""
    return [
        Period(
            starts_on=row["starts_on"],
            ends_on=row["ends_on"],
            state=PeriodState(row["state"]),
            changed_at=row["changed_at"],
            closed_at_sequence=row["closed_at_sequence"],
        )
        for row in await connection.fetch(QUERIES["periods"], book_id)
    ]


async def open_period(
    connection: Connection, book_id: int, *, starts_on: date, ends_on: date, actor: str, reason: str
) -> PeriodRefusal | None:
    """Define the next period, open; the first one may start on any day. None when done."""
    return await _change(
        connection, book_id, "define_period", starts_on=starts_on, ends_on=ends_on, actor=actor, reason=reason
    )


async def define_periods(
    connection: Connection, book_id: int, bounds: Sequence[tuple[date, date]], *, actor: str, reason: str
) -> PeriodRefusal | None:
    """Define several periods in order, all or none; None when done.

    Args:
        connection: outside or inside a transaction.
        book_id: the book.
        bounds: first and last day of each.
        actor: who decided, an opaque id.
        reason: why, for the auditor.
    """
    undo = connection.transaction()
    await undo.start()
    refusal: PeriodRefusal | None = None
    try:
        for starts_on, ends_on in bounds:
            refusal = await open_period(
                connection, book_id, starts_on=starts_on, ends_on=ends_on, actor=actor, reason=reason
            )
            if refusal is not None:
                break
    except BaseException:
        await undo.rollback()
        raise
    await (undo.commit() if refusal is None else undo.rollback())
    return refusal


async def begin_closing(
    connection: Connection, book_id: int, *, ends_on: date, actor: str, reason: str
) -> PeriodRefusal | None:
    """Let only adjusting entries into a period from now on; it must be the first that is not closed. None when done."""
    return await _change(connection, book_id, "begin_closing", ends_on=ends_on, actor=actor, reason=reason)


async def close_period(
    connection: Connection, book_id: int, *, ends_on: date, actor: str, reason: str
) -> PeriodRefusal | None:
    """Close the period that is closing; its `closed_at_sequence` is the head of that moment. None when done."""
    return await _change(connection, book_id, "close_period", ends_on=ends_on, actor=actor, reason=reason)


async def reopen_period(
    connection: Connection, book_id: int, *, ends_on: date, actor: str, reason: str
) -> PeriodRefusal | None:
    """Open the latest period that is closing or closed again. None when done.

    What was booked meanwhile stays where it was booked. The acts keep the sequence at which it had been closed.
    """
    return await _change(connection, book_id, "reopen_period", ends_on=ends_on, actor=actor, reason=reason)


async def closing_trial_balance(connection: Connection, book_id: int, period: Period) -> list[TrialBalanceRow]:
    """The trial balance of a closed period as it was closed, the same for ever.

    Args:
        connection: any snapshot.
        book_id: the book.
        period: a closed one.
    """
    assert period.closed_at_sequence is not None, "only a closed period has a closing trial balance"
    return await trial_balance(
        connection, book_id, from_on=period.starts_on, to_on=period.ends_on, cut=period.closed_at_sequence
    )


async def year_end(
    connection: Connection, book_id: int, *, ends_on: date, key: UUID, caller: str
) -> tuple[JournalEntry, ...]:
    """The entries that take a year's income and expense into retained earnings, from what is booked through a day.

    Post them while the year's last period is closing: then nothing but adjusting entries can come in between.

    Args:
        connection: any snapshot.
        book_id: the book.
        ends_on: the year's last day; the entries are effective on it.
        key: of the first entry; further ones have keys derived from it.
        caller: who asked, an opaque id.
    """
    rows = await trial_balance(connection, book_id, to_on=ends_on)
    balances = {row.account: row.closing_minor for row in rows}
    return year_end_entries(key=key, balances_minor=balances, effective_on=ends_on, caller=caller)


def first_open_day(found: Sequence[Period], day: date) -> date:
    """On which day a fact of `day` is booked: that day, or the first one after all that is closing or closed."""
    shut = [period.ends_on for period in found if period.state is not PeriodState.OPEN]
    return max(day, max(shut) + timedelta(days=1)) if shut else day


async def _change(
    connection: Connection,
    book_id: int,
    act: str,
    *,
    ends_on: date,
    actor: str,
    reason: str,
    starts_on: date | None = None,
) -> PeriodRefusal | None:
    arguments: tuple[Any, ...] = (book_id, act, starts_on, ends_on, actor, reason)
    try:
        refusal = await connection.fetchval("SELECT ledger.change_period_v1($1, $2, $3, $4, $5, $6)", *arguments)
    except (asyncpg.PostgresError, *CONNECTION_LOST) as error:
        raise ledger_error(error, commits_itself=not connection.is_in_transaction()) from error
    return PeriodRefusal(refusal) if refusal else None
