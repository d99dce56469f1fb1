"""Clocks of books: real time for live books, real time plus a forward-only offset for test books.

Only test books have a row in `book_clocks`; its absence *is* the rule that live time cannot be moved.
"""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import msgspec
from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.clock import BookClock, real_now
from gateway.foundation.reads import Query
from gateway.merchants.tables import book_clocks

AHEAD_DAYS_MAX: Final = 3660
"""A test book may run ten years ahead; further, dates of its own making begin to overflow."""


class ClockRefusal(StrEnum):
    """Why a clock was not moved."""

    BOOK_HAS_REAL_TIME = "book_has_real_time"
    CLOCK_ONLY_MOVES_FORWARD = "clock_only_moves_forward"
    CLOCK_TOO_FAR_AHEAD = "clock_too_far_ahead"


async def open_clock(connection: AsyncConnection, book_id: int) -> None:
    """Give a new test book its clock, at real time."""
    await connection.execute(insert(book_clocks).values(book_id=book_id, offset_seconds=0, updated_at=real_now()))


class Offset(msgspec.Struct, frozen=True):
    """How far a test book is ahead of real time."""

    offset_seconds: int


_OFFSET: Final = select(book_clocks.c.offset_seconds).where(book_clocks.c.book_id == bindparam("book_id"))
OFFSET: Final = Query(_OFFSET, Offset)
"""A book's offset, see `clock_at`; no row for a book that has real time."""


def clock_at(offsets: Sequence[Offset]) -> BookClock:
    """The clock of the book whose offset was asked for."""
    return BookClock(timedelta(seconds=offsets[0].offset_seconds if offsets else 0))


async def clock_of(connection: AsyncConnection, book_id: int) -> BookClock:
    """The book's clock; real time for a book that has no row (live)."""
    offset_seconds = (await connection.execute(_OFFSET, {"book_id": book_id})).scalar_one_or_none()
    return BookClock(timedelta(seconds=offset_seconds or 0))


async def ahead(connection: AsyncConnection, book_id: int, to: datetime) -> BookClock | ClockRefusal:
    """The clock that would show at least `to` (whole seconds, rounded up), if the book's may be moved there."""
    current_seconds = (await connection.execute(_OFFSET, {"book_id": book_id})).scalar_one_or_none()
    if current_seconds is None:
        return ClockRefusal.BOOK_HAS_REAL_TIME
    wanted = to - real_now()
    if wanted < timedelta(seconds=current_seconds):
        return ClockRefusal.CLOCK_ONLY_MOVES_FORWARD
    if wanted > timedelta(days=AHEAD_DAYS_MAX):
        return ClockRefusal.CLOCK_TOO_FAR_AHEAD
    return BookClock(timedelta(seconds=math.ceil(wanted / timedelta(seconds=1))))


async def set_clock(connection: AsyncConnection, book_id: int, clock: BookClock) -> BookClock:
    """Move a test book's clock, unless somebody moved it further meanwhile; returns where it is now."""
    offset_seconds = clock.offset // timedelta(seconds=1)
    statement = (
        update(book_clocks)
        .where(book_clocks.c.book_id == book_id)
        .values(offset_seconds=func.greatest(book_clocks.c.offset_seconds, offset_seconds), updated_at=real_now())
        .returning(book_clocks.c.offset_seconds)
    )
    return BookClock(timedelta(seconds=(await connection.execute(statement)).scalar_one()))


async def advance(connection: AsyncConnection, book_id: int, to: datetime) -> BookClock | ClockRefusal:
    """Move a test book's clock forward so that it shows at least `to`. The sandbox has to be told as well."""
    clock = await ahead(connection, book_id, to)
    return clock if isinstance(clock, ClockRefusal) else await set_clock(connection, book_id, clock)
