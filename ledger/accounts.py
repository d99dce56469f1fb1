"""Books and accounts: opening and freezing. Accounts are opened by posting to them, under the book's lock."""

from typing import Literal

import asyncpg

from ledger.journal import AccountRef
from ledger.posting import Connection, ledger_error
from ledger.queries import QUERIES

LIVE_BOOK = 1
"""The live estate."""

BookMode = Literal["live", "test"]


async def new_book_id(connection: Connection) -> int:
    """A free number for a test book (from 1000 up).

    Call it in the transaction that opens the book: until that ends, nobody else gets a number.
    """
    await connection.fetchval(QUERIES["lock_opening"])
    number = await connection.fetchval(QUERIES["next_book_id"])
    return int(number)


async def open_book(connection: Connection, book_id: int, *, code: str, mode: BookMode) -> bool:
    """Open a book with its genesis block; True when it is new, False when it was open already.

    Raises:
        BookConflict: it is open under another code or mode.
    """
    try:
        opened = await connection.fetchval("SELECT ledger.open_book_v1($1, $2, $3)", book_id, code, mode)
    except asyncpg.PostgresError as error:
        raise ledger_error(error) from error
    return bool(opened)


async def freeze_account(
    connection: Connection, book_id: int, account: AccountRef, *, debits: bool, credits_: bool, actor: str, reason: str
) -> bool:
    """Freeze or free an account for authorising entries, on the record in `ledger_acts`; locks the book's row.

    Args:
        connection: the change holds from its COMMIT on.
        book_id: the account's book.
        account: as it is after this call, whatever it was.
        debits: nobody may be authorised to debit it.
        credits_: nobody may be authorised to credit it.
        actor: who decided, an opaque id.
        reason: why, for the auditor; no personal data.

    Returns:
        False when there is no such account.
    """
    found = await connection.fetchval(
        "SELECT ledger.freeze_account_v1($1, $2, $3, $4, $5, $6, $7, $8)",
        book_id,
        int(account.kind),
        account.owner,
        account.currency,
        debits,
        credits_,
        actor,
        reason,
    )
    return bool(found)
