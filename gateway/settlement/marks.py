"""How far a book's pending days have been seen to, so that a run adds up the days that can be open and no others.

A mark is written after the settlements of its cut were opened. A day counts as seen to when each open sum of it is
planned in a settlement, because that is then taken out by entries after the cut, now or by whoever resumes; any
other day with an open sum is kept in the mark by name. A run that dies before it writes leaves the mark before it,
which is true still and only makes the next run add up more; so does a mark of a slower run that overtakes a newer.
"""

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.settlement.tables import settlement_marks
from ledger.feed import PendingMark


async def read(connection: AsyncConnection, book_id: int) -> PendingMark | None:
    """The book's mark; None before its first run."""
    m = settlement_marks.c
    statement = select(m.cut, m.through, m.open_days).where(m.book_id == book_id)
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else PendingMark(row.cut, row.through, tuple(row.open_days))


async def write(connection: AsyncConnection, book_id: int, mark: PendingMark) -> None:
    """Put the mark where the last one was."""
    values = {"cut": mark.cut, "through": mark.through, "open_days": list(mark.open_days)}
    statement = insert(settlement_marks).values(book_id=book_id, **values)
    await connection.execute(statement.on_conflict_do_update(index_elements=["book_id"], set_=values))
