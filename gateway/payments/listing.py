"""Pages of lists: newest first by id, which is time-ordered, within one account. No totals, they cost a scan."""

from typing import Generic, TypeVar

import msgspec
from sqlalchemy import ColumnElement, Table, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.payments.errors import InvalidRequest
from gateway.payments.records import rows_of

Item = TypeVar("Item")
Row = TypeVar("Row", bound=msgspec.Struct)


class Page(msgspec.Struct, Generic[Item], frozen=True, kw_only=True):
    """A page, newest first; `has_more`: there are further objects in the direction of the cursor."""

    data: list[Item]
    has_more: bool


async def read_page(
    connection: AsyncConnection,
    table: Table,
    key: ColumnElement[str],
    kind: type[Row],
    *where: ColumnElement[bool],
    limit: int,
    starting_after: str | None,
    ending_before: str | None,
) -> Page[Row]:
    """At most `limit` rows older than one cursor or newer than the other.

    Raises:
        InvalidRequest: `cursor_invalid`, where the cursor is not in this list.
    """
    for param, cursor in (("starting_after", starting_after), ("ending_before", ending_before)):
        if cursor is not None:
            found = await connection.execute(select(key).where(*where, key == cursor))
            if found.first() is None:
                raise InvalidRequest("cursor_invalid", f"{param} is not in this list", param=param)
    statement = select(table).where(*where).limit(limit + 1)
    if ending_before is not None:
        rows = await rows_of(connection, statement.where(key > ending_before).order_by(key), kind)
        return Page(data=rows[:limit][::-1], has_more=len(rows) > limit)
    if starting_after is not None:
        statement = statement.where(key < starting_after)
    rows = await rows_of(connection, statement.order_by(key.desc()), kind)
    return Page(data=rows[:limit], has_more=len(rows) > limit)
