"""Which book a command is about: a number that can be one, of a book that is there."""

from datetime import datetime
from typing import Final

import asyncpg
import rich_click as click

from gateway.foundation.database import Database
from ledger.posting import Connection

NUMBER: Final = click.IntRange(1, 2**63 - 1)


async def opened_at(connection: Connection, book_id: int) -> datetime:
    """When the book was opened.

    Raises:
        ClickException: there is no such book, which must not look like one without anything in it.
    """
    try:
        found: datetime | None = await connection.fetchval(
            "SELECT created_at FROM ledger.books WHERE book_id = $1", book_id
        )
    except asyncpg.UndefinedTableError as error:
        raise click.ClickException("there are no books in this database: quickkub database migrate") from error
    if found is None:
        raise click.ClickException(f"there is no book {book_id}")
    return found


async def must_exist(database: Database, book_id: int) -> None:
    """Refuse a book that is not there, as `opened_at`."""
    async with database.ledger_pool.acquire() as connection:
        await opened_at(connection, book_id)
