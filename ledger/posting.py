"""The only write path: entries in, `Posted` or `Refused` out.

`post_entries` posts on the caller's own transaction and must be its last statement before COMMIT: it holds the book's
row, for which everybody else who posts to the book waits, and the database refuses every later write of that
transaction (it turns read-only). `Ledger.post` is for everybody else: it coalesces concurrent callers into one call.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import asyncpg

from ledger.coalescing import Coalescer
from ledger.encoding import arguments_of, results_of
from ledger.errors import (
    BookConflict,
    BookNotFound,
    EntryMalformed,
    InvariantBroken,
    LedgerBusy,
    LedgerError,
    LedgerUnavailable,
    MonthMissing,
    OutcomeUnknown,
)
from ledger.journal import JournalEntry, PostingResult

POST_ENTRIES: Final = f"SELECT * FROM ledger.post_entries_v1({', '.join(f'${n}' for n in range(1, 21))})"

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy
"""What takes a statement: a connection of asyncpg, or one lent by its pool."""

CONNECTION_LOST: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # how asyncpg meets a connection that was terminated while idle
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    OSError,
)
CALLED_WRONGLY: Final = frozenset(
    {
        "QK002",  # outside READ COMMITTED
        "QK003",  # arguments contradict each other
        "25006",  # read_only_sql_transaction: the transaction has posted already and must commit
    }
)
ERRORS_BY_STATE: Final[dict[str, type[LedgerError]]] = {
    "QK001": BookNotFound,
    "QK004": InvariantBroken,
    "QK006": BookConflict,
    "55P03": LedgerBusy,  # lock_not_available: somebody holds the book longer than lock_timeout
    "57014": LedgerBusy,  # query_canceled: statement_timeout
    "40P01": LedgerBusy,  # deadlock_detected: a caller broke the lock order; its turn comes again
}
ERRORS_BY_CLASS: Final[dict[str, type[LedgerError]]] = {
    "22": EntryMalformed,
    "23": EntryMalformed,
    "53": LedgerUnavailable,
}


def ledger_error(error: Exception) -> LedgerError:
    """What an error of the driver means to a caller of the ledger.

    Raises:
        AssertionError: the database says that our own code called it wrongly.
    """
    if isinstance(error, CONNECTION_LOST):
        return LedgerUnavailable(str(error))
    if isinstance(error, asyncpg.CheckViolationError) and error.constraint_name is None:
        return MonthMissing(str(error))  # "no partition of relation … found for row"
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        assert state not in CALLED_WRONGLY, f"posting called wrongly: {error}"
        kind = ERRORS_BY_STATE.get(state) or ERRORS_BY_CLASS.get(state[:2]) or LedgerError
        return kind(str(error))
    return EntryMalformed(str(error))  # the driver could not encode a value


async def post_entries(connection: Connection, book_id: int, entries: Sequence[JournalEntry]) -> list[PostingResult]:
    """Post entries to one book, in order, on the caller's transaction; results are in the same order.

    Locks the book's row until the transaction ends. A refusal refuses its entry only. Nothing may follow but COMMIT:
    later writes are refused by the server. Nothing is posted before the caller's COMMIT has been acknowledged.

    Args:
        connection: in a READ COMMITTED transaction (or none: then the call commits itself).
        book_id: the one book of all these entries.
        entries: any number; an empty list does nothing.

    Raises:
        LedgerError: infrastructure; the caller's transaction is lost and nothing was posted.
    """
    if not entries:
        return []
    try:
        answer = await connection.fetchrow(POST_ENTRIES, book_id, *arguments_of(entries))
    except (asyncpg.PostgresError, *CONNECTION_LOST) as error:
        raise ledger_error(error) from error
    assert answer is not None, "a function call gives one row"
    return results_of(entries, answer)


class Ledger:
    """Posts single entries for many concurrent callers of this process.

    Args:
        pool: connections of the app role; sessions set lock_timeout and idle_in_transaction_session_timeout.
        max_batch: most entries of one call to the database.
        queue_limit: most entries that may wait, for each book.
    """

    def __init__(self, pool: asyncpg.Pool, *, max_batch: int = 2000, queue_limit: int = 10_000) -> None:
        self._pool = pool
        self._max_batch = max_batch
        self._queue_limit = queue_limit
        self._books: dict[int, Coalescer[JournalEntry, PostingResult]] = {}

    async def post(self, book_id: int, entry: JournalEntry) -> PostingResult:
        """Post one entry; when this returns, it is committed (or refused and nothing moved).

        Raises:
            LedgerBusy: too many are waiting, or the book is held too long; not posted.
            OutcomeUnknown: the server was lost while committing and cannot be asked; post the same entry again.
            LedgerError: other infrastructure; not posted.
        """
        coalescer = self._books.get(book_id)
        if coalescer is None:
            coalescer = Coalescer(self._flush_into(book_id), max_batch=self._max_batch, queue_limit=self._queue_limit)
            self._books[book_id] = coalescer
        return await coalescer.submit(entry)

    async def close(self) -> None:
        """Refuse new entries and wait for those taken. The pool stays its owner's."""
        for coalescer in self._books.values():
            await coalescer.close()

    def _flush_into(self, book_id: int) -> Callable[[Sequence[JournalEntry]], Awaitable[list[PostingResult]]]:
        async def flush(entries: Sequence[JournalEntry]) -> list[PostingResult]:
            async with self._lent() as connection:
                try:
                    return await post_entries(connection, book_id, entries)
                except LedgerUnavailable as lost:
                    first_loss = lost
            # The call commits itself, so it may have been lost before or after COMMIT, and its backend may still be
            # at it. Posting the same keys again asks under the book's lock: it waits for that backend, and gives
            # back as a replay what was posted.
            try:
                async with self._lent() as connection:
                    return await post_entries(connection, book_id, entries)
            except LedgerError as error:
                raise OutcomeUnknown(str(first_loss)) from error

        return flush

    @asynccontextmanager
    async def _lent(self) -> AsyncIterator[Connection]:
        """A connection of the pool; not getting one is infrastructure, and giving a dead one back is no news."""
        try:
            connection = await self._pool.acquire()
        except (*CONNECTION_LOST, asyncpg.PostgresError) as error:
            raise ledger_error(error) from error
        try:
            yield connection
        finally:
            with suppress(*CONNECTION_LOST):
                await self._pool.release(connection)
