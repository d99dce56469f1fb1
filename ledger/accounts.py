"""Books and accounts: opening them, and what an account may do: limits, freezes, closing, each act on the record.

Posting opens an account on its first use; `open_accounts` does it beforehand. Every act locks the book's row, so it
holds for all entries after its COMMIT and for none before. What accounts there are: `account_listing.py`.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Literal

import asyncpg

from ledger.balances import columns_of
from ledger.journal import AccountRef
from ledger.posting import CONNECTION_LOST, Connection, ledger_error
from ledger.queries import QUERIES

LIVE_BOOK = 1
"""The live estate."""

OPENING_WAIT = "60s"
"""How long the opening of a book waits for those before it."""

BookMode = Literal["live", "test"]


class AccountRefusal(IntEnum):
    """Why an act on an account was refused: nothing was changed. The first rule broken, in this order.

    The numbers are what `change_account_v1` returns.
    """

    ACCOUNT_NOT_FOUND = 1
    BALANCE_NOT_ZERO = 2
    HOLDS_OUTSTANDING = 3
    FLOOR_ABOVE_CEILING = 4

    @property
    def code(self) -> str:
        """Stable word for APIs and logs: `balance_not_zero`."""
        return self.name.lower()


async def new_book_id(connection: Connection) -> int:
    """A free number for a test book (from 1000 up).

    Call it in the transaction that opens the book: until that ends, nobody else gets a number, and whoever wants one
    waits its turn, longer than sessions wait for other locks: many books are opened at once, and no payment waits here.
    """
    usual = await connection.fetchval(QUERIES["lock_timeout"])
    await connection.fetchval(QUERIES["wait_for_locks"], OPENING_WAIT)
    await connection.fetchval(QUERIES["lock_opening"])
    await connection.fetchval(QUERIES["wait_for_locks"], usual)
    number = await connection.fetchval(QUERIES["next_book_id"])
    return int(number)


async def open_book(connection: Connection, book_id: int, *, code: str, mode: BookMode) -> bool:
    """Open a book with its genesis block; True when it is new, False when it was open already.

    Raises:
        BookConflict: it is open under another code or mode.
    """
    return bool(await _call(connection, "SELECT ledger.open_book_v1($1, $2, $3)", book_id, code, mode))


async def open_accounts(connection: Connection, book_id: int, accounts: Sequence[AccountRef]) -> list[int]:
    """Open those accounts that are not open yet, with the limits of their kinds; locks the book's row.

    Returns:
        Their numbers within the book, in the order asked for.

    Raises:
        BookNotFound: there is no such book.
        EntryMalformed: an owner or currency is beyond the rules.
    """
    if not accounts:
        return []
    numbers = await _call(connection, "SELECT ledger.open_accounts_v1($1, $2, $3, $4)", book_id, *columns_of(accounts))
    return list(numbers)


async def limit_account(
    connection: Connection,
    book_id: int,
    account: AccountRef,
    *,
    floor_minor: int | None,
    ceiling_minor: int | None,
    actor: str,
    reason: str,
) -> AccountRefusal | None:
    """Set both limits that authorising entries respect; None when done.

    A balance that is already beyond a limit stays; only entries that take it further are refused.

    Args:
        connection: the limits hold from its COMMIT on.
        book_id: the account's book.
        account: an open account.
        floor_minor: lowest balance on the normal side, as it is after this call; None = no limit.
        ceiling_minor: highest balance, likewise.
        actor: who decided, an opaque id.
        reason: why, for the auditor; no personal data.

    Raises:
        EntryMalformed: a limit is beyond ±4 × 10¹⁸.
    """
    return await _change(
        connection,
        book_id,
        account,
        "limit_account",
        floor_minor=floor_minor,
        ceiling_minor=ceiling_minor,
        actor=actor,
        reason=reason,
    )


async def freeze_account(
    connection: Connection, book_id: int, account: AccountRef, *, debits: bool, credits_: bool, actor: str, reason: str
) -> bool:
    """Freeze or free an account for authorising entries.

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
    refusal = await _change(
        connection,
        book_id,
        account,
        "freeze_account",
        debits=debits,
        credits_=credits_,
        actor=actor,
        reason=reason,
    )
    return refusal is None


async def close_account(
    connection: Connection, book_id: int, account: AccountRef, *, actor: str, reason: str
) -> AccountRefusal | None:
    """Close an account with nothing on it and nothing held; None when it is closed.

    Authorising entries to it are refused from now on; facts are recorded all the same and reported.
    """
    return await _change(connection, book_id, account, "close_account", actor=actor, reason=reason)


async def reopen_account(
    connection: Connection, book_id: int, account: AccountRef, *, actor: str, reason: str
) -> AccountRefusal | None:
    """Open a closed account again, with the limits and freezes that it had; None when it is open."""
    return await _change(connection, book_id, account, "reopen_account", actor=actor, reason=reason)


async def write_metadata(
    connection: Connection, book_id: int, account: AccountRef, metadata: bytes, *, actor: str
) -> int | None:
    """Write the next version of an account's metadata; earlier ones stay (`account_listing.metadata_of` reads them).

    Args:
        connection: the version holds from its COMMIT on.
        book_id: the account's book.
        account: an open account.
        metadata: bytes as they are; no names, account numbers or e-mail in them.
        actor: who wrote it, an opaque id.

    Returns:
        The number of the version, from 1; None when there is no such account.
    """
    version = await _call(
        connection,
        "SELECT ledger.write_metadata_v1($1, $2, $3, $4, $5, $6)",
        book_id,
        int(account.kind),
        account.owner,
        account.currency,
        metadata,
        actor,
    )
    return version or None


async def _change(
    connection: Connection,
    book_id: int,
    account: AccountRef,
    act: str,
    *,
    actor: str,
    reason: str,
    floor_minor: int | None = None,
    ceiling_minor: int | None = None,
    debits: bool | None = None,
    credits_: bool | None = None,
) -> AccountRefusal | None:
    refusal = await _call(
        connection,
        "SELECT ledger.change_account_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        book_id,
        int(account.kind),
        account.owner,
        account.currency,
        act,
        floor_minor,
        ceiling_minor,
        debits,
        credits_,
        actor,
        reason,
    )
    return AccountRefusal(refusal) if refusal else None


async def _call(connection: Connection, statement: str, *arguments: Any) -> Any:
    try:
        return await connection.fetchval(statement, *arguments)
    except (asyncpg.PostgresError, asyncpg.DataError, *CONNECTION_LOST) as error:
        raise ledger_error(error, commits_itself=not connection.is_in_transaction()) from error
