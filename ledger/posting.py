"""The only write path: entries in, `Posted` or `Refused` out.

`post_entries` posts on the caller's own transaction and must be its last statement before COMMIT: it holds the book's
row, for which everybody else who posts to the book waits, and the database refuses every later write of that
transaction (it turns read-only). `Ledger.post` is for everybody else: it coalesces concurrent callers into one call.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import islice
from typing import Final, cast

import asyncpg

from ledger.coalescing import Coalescer
from ledger.encoding import AccountNumbers, Arguments, arguments_of, results_of, transfer_arguments_of
from ledger.errors import (
    AccountNumbersStale,
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
from ledger.journal import AccountRef, JournalEntry, LinkedGroup, Posted, PostingResult
from ledger.queries import QUERIES

POST_ENTRIES: Final = f"SELECT ledger.post_entries_v1({', '.join(f'${n}' for n in range(1, 33))})"

POST_TRANSFER: Final = f"SELECT ledger.post_transfer_v1({', '.join(f'${n}' for n in range(1, 13))})"

FLIGHTS_MAX: Final = 2
"""Calls of one book on the way at a time: the second waits for the book's lock while Python sees to what the first has
brought. Three would only wait longer."""

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
    "QK007": AccountNumbersStale,
    "55P03": LedgerBusy,  # lock_not_available: somebody holds the book longer than lock_timeout
    "57014": LedgerBusy,  # query_canceled: statement_timeout
    "40P01": LedgerBusy,  # deadlock_detected: a caller broke the lock order; its turn comes again
}
ERRORS_BY_CLASS: Final[dict[str, type[LedgerError]]] = {
    "22": EntryMalformed,
    "23": EntryMalformed,
    "53": LedgerUnavailable,
    "54": EntryMalformed,  # program_limit_exceeded: a text longer than an index takes
}


def ledger_error(error: Exception, *, commits_itself: bool = False) -> LedgerError:
    """What an error of the driver means to a caller of the ledger.

    Args:
        error: of asyncpg.
        commits_itself: no transaction was open, so a server that takes no writes (a standby) is no bug of ours.

    Raises:
        AssertionError: the database says that our own code called it wrongly.
    """
    if isinstance(error, CONNECTION_LOST):
        return LedgerUnavailable(str(error))
    if commits_itself and isinstance(error, asyncpg.ReadOnlySQLTransactionError):
        return LedgerUnavailable(f"the server takes no writes: {error}")
    if isinstance(error, asyncpg.CheckViolationError) and error.constraint_name is None:
        return MonthMissing(str(error))  # "no partition of relation … found for row"
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        assert state not in CALLED_WRONGLY, f"posting called wrongly: {error}"
        kind = ERRORS_BY_STATE.get(state) or ERRORS_BY_CLASS.get(state[:2]) or LedgerError
        return kind(str(error))
    return EntryMalformed(str(error))  # the driver could not encode a value


async def post_entries(
    connection: Connection,
    book_id: int,
    entries: Sequence[JournalEntry | LinkedGroup],
    *,
    numbers: AccountNumbers | None = None,
) -> list[PostingResult]:
    """Post entries to one book, in order, on the caller's transaction; results are in the same order.

    Locks the book's row until the transaction ends. A refusal refuses its entry, or its linked group, only. Nothing
    may follow but COMMIT: later writes are refused by the server. Nothing is posted before the caller's COMMIT has
    been acknowledged.

    Args:
        connection: in a READ COMMITTED transaction (or none: then the call commits itself).
        book_id: the one book of all these entries.
        entries: any number; an empty list does nothing. A linked group gives a result for each of its entries.
        numbers: what this process knows of the book's accounts; it learns more.

    Raises:
        OutcomeUnknown: outside a transaction only: the line was lost, before or after the call committed itself.
        LedgerError: other infrastructure; the caller's transaction is lost and nothing was posted.
    """
    flat, groups = _flattened(entries)
    if not flat:
        return []
    commits_itself = not connection.is_in_transaction()
    try:
        call, arguments, named = call_of(flat, groups, numbers)
        answer = await connection.fetchval(call, book_id, *arguments)
    except (asyncpg.PostgresError, *CONNECTION_LOST) as error:
        failure = ledger_error(error, commits_itself=commits_itself)
        if commits_itself and isinstance(error, CONNECTION_LOST):
            failure = OutcomeUnknown(str(error))
        if numbers is not None and isinstance(failure, AccountNumbersStale):
            numbers.clear()
        raise failure from error
    if numbers is not None and named:
        for account, number in zip(named, answer["found_ids"], strict=True):
            if number is not None:
                numbers.learn(account, number)
    return results_of(flat, answer)


def call_of(
    entries: Sequence[JournalEntry], groups: Sequence[int] | None, numbers: AccountNumbers | None
) -> tuple[str, Arguments, list[AccountRef]]:
    """The call that posts these, its arguments after the book, and the accounts that it names and does not number."""
    if len(entries) == 1 and groups is None and numbers is not None:
        transfer = transfer_arguments_of(entries[0], numbers)
        if transfer is not None:
            return POST_TRANSFER, transfer, []
    return POST_ENTRIES, *arguments_of(entries, groups, numbers)


def _flattened(entries: Sequence[JournalEntry | LinkedGroup]) -> tuple[Sequence[JournalEntry], list[int] | None]:
    """The entries one after the other, and the number of each one's group (None: there is no group)."""
    if LinkedGroup not in set(map(type, entries)):
        return cast("Sequence[JournalEntry]", entries), None
    flat: list[JournalEntry] = []
    groups: list[int] = []
    for number, each in enumerate(entries, 1):
        if isinstance(each, LinkedGroup):
            flat += each.entries
            groups += [number] * len(each.entries)
        else:
            flat.append(each)
            groups.append(0)
    return flat, groups


async def keeps_nothing(connection: Connection) -> None:
    """For `asyncpg.create_pool(reset=…)`: posting leaves nothing in a session, so nothing need be asked to forget it.

    The usual reset is one more question to the server for each call that posts.
    """


class Ledger:
    """Posts single entries for many concurrent callers of this process.

    Args:
        pool: connections of the app role; sessions set lock_timeout and idle_in_transaction_session_timeout.
        max_batch: most entries of one call to the database.
        queue_limit: most entries that may wait, for each book.
        on_posted: told (book, last new sequence) after each COMMIT that posted something; must not wait or fail.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        max_batch: int = 2000,
        queue_limit: int = 10_000,
        on_posted: Callable[[int, int], None] | None = None,
    ) -> None:
        self._lender = _Lender(pool)
        self._on_posted = on_posted
        self._max_batch = max_batch
        self._queue_limit = queue_limit
        self._books: dict[int, Coalescer[JournalEntry | LinkedGroup, list[PostingResult]]] = {}

    async def post(self, book_id: int, entry: JournalEntry) -> PostingResult:
        """Post one entry; when this returns, it is committed (or refused and nothing moved).

        Raises:
            LedgerBusy: too many are waiting, or the book is held too long; not posted.
            OutcomeUnknown: the server was lost while committing and cannot be asked; post the same entry again.
            LedgerError: other infrastructure; not posted.
        """
        return (await self._coalescer(book_id).submit(entry))[0]

    async def post_group(self, book_id: int, entries: Sequence[JournalEntry]) -> list[PostingResult]:
        """Post entries all or none, in order; one result for each. Raises what `post` raises."""
        return await self._coalescer(book_id).submit(LinkedGroup(tuple(entries)))

    async def post_in_order(self, book_id: int, entries: Sequence[JournalEntry]) -> list[PostingResult | BaseException]:
        """Post entries one after the other in their order; the result of each, or the error that is its own.

        A refused one harms none of the others. Entries that are handed in by `post` without waiting for each other may
        be posted in any order. More than a call takes go out in several, each after the one before.

        Raises:
            LedgerBusy: too many are under way; of the entries from that call on none was posted.
        """
        results: list[PostingResult | BaseException] = []
        for start in range(0, len(entries), self._max_batch):
            outcomes = await self._coalescer(book_id).submit_together(entries[start : start + self._max_batch])
            results += [each if isinstance(each, BaseException) else each[0] for each in outcomes]
        return results

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """One of the pool's connections, for a question beside posting."""
        connection = await self._lender.take()
        try:
            yield connection
        finally:
            await self._lender.give_back(connection)

    async def close(self) -> None:
        """Refuse new entries and wait for those taken. The pool stays its owner's."""
        for coalescer in self._books.values():
            await coalescer.close()

    def _coalescer(self, book_id: int) -> Coalescer[JournalEntry | LinkedGroup, list[PostingResult]]:
        coalescer = self._books.get(book_id)
        if coalescer is None:
            writer = _BookWriter(book_id, self._lender, self._on_posted)
            coalescer = Coalescer(
                writer.flush,
                max_batch=self._max_batch,
                queue_limit=self._queue_limit,
                flights_max=FLIGHTS_MAX,
                rest=writer.rest,
            )
            self._books[book_id] = coalescer
        return coalescer


class _Lender:
    """Lends the connections of a pool and knows whether somebody waits for one."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._waiting = 0

    @property
    def is_waited_for(self) -> bool:
        """Whether somebody waits for a connection."""
        return self._waiting > 0

    async def take(self) -> asyncpg.pool.PoolConnectionProxy:
        """A connection; not getting one is infrastructure."""
        self._waiting += 1
        try:
            return await self._pool.acquire()
        except (*CONNECTION_LOST, asyncpg.PostgresError) as error:
            raise ledger_error(error) from error
        finally:
            self._waiting -= 1

    async def give_back(self, connection: asyncpg.pool.PoolConnectionProxy) -> None:
        """Put it back into the pool. A dead one is no news, and of any other trouble the pool has ended it."""
        with suppress(Exception):
            await self._pool.release(connection)


class _BookWriter:
    """Posts what gathers for one book.

    While entries follow each other they go out on one connection, two where many do: taking one from the pool and
    giving it back after each call is a third of the Python of a single caller. Who waits for a connection gets this one
    after the flush.
    """

    def __init__(self, book_id: int, lender: _Lender, on_posted: Callable[[int, int], None] | None) -> None:
        self._book_id = book_id
        self._lender = lender
        self._on_posted = on_posted
        self._numbers = AccountNumbers()
        self._kept: list[tuple[asyncpg.pool.PoolConnectionProxy, int]] = []  # with its backend's process id

    async def flush(self, entries: Sequence[JournalEntry | LinkedGroup]) -> list[list[PostingResult]]:
        """Post, and ask again where the answer was lost. Raises what `Ledger.post` raises."""
        connection, backend = await self._connection()
        try:
            results = await self._post(connection, entries)
        except (OutcomeUnknown, AccountNumbersStale) as lost:
            first_loss = lost
            await self._lender.give_back(connection)
        except BaseException:
            await self._lender.give_back(connection)
            raise
        else:
            if self._lender.is_waited_for:
                await self._lender.give_back(connection)
            else:
                self._kept.append((connection, backend))
            return results
        # The call commits itself, so it may have been lost before or after COMMIT, and its backend may still be
        # at it, or not even have read it. It is ended first: else a refusal below would not be final, because
        # the first call could still arrive when there is money. Then posting the same keys again asks under the
        # book's lock, and gives back as a replay what was posted.
        try:
            connection, _ = await self._connection()
            try:
                if isinstance(first_loss, OutcomeUnknown):
                    await _end_backend(connection, backend)
                return await self._post(connection, entries)
            finally:
                await self._lender.give_back(connection)
        except LedgerError as error:
            if isinstance(first_loss, AccountNumbersStale):
                raise  # the first call had posted nothing: what came of the second one is known
            raise OutcomeUnknown(str(first_loss)) from error

    async def rest(self) -> None:
        """Give back the connections that no call is on."""
        while self._kept:
            await self._lender.give_back(self._kept.pop()[0])

    async def _connection(self) -> tuple[asyncpg.pool.PoolConnectionProxy, int]:
        """One that is kept, or another, and its backend.

        The pool has taken back a dead one by itself, or does when it comes back.
        """
        while self._kept:
            connection, backend = self._kept.pop()
            if not _is_dead(connection):
                return connection, backend
            await self._lender.give_back(connection)
        connection = await self._lender.take()
        return connection, connection.get_server_pid()

    async def _post(
        self, connection: Connection, entries: Sequence[JournalEntry | LinkedGroup]
    ) -> list[list[PostingResult]]:
        results = await post_entries(connection, self._book_id, entries, numbers=self._numbers)
        if self._on_posted is not None:
            new = [each.sequence for each in results if isinstance(each, Posted) and not each.replayed]
            if new:
                self._on_posted(self._book_id, new[-1])
        return _by_item(entries, results)


def _is_dead(connection: asyncpg.pool.PoolConnectionProxy) -> bool:
    """Whether it died since it was lent; its pool has taken back the dead one by itself then."""
    try:
        return bool(connection.is_closed())
    except asyncpg.InterfaceError:
        return True


async def _end_backend(connection: Connection, backend: int) -> None:
    """Return when a backend of our own role is gone, and with it whatever it had not yet read.

    Raises:
        LedgerError: it could not be ended in time, or the line is lost again.
    """
    try:
        ended = await connection.fetchval(QUERIES["end_backend"], backend)
    except (asyncpg.PostgresError, *CONNECTION_LOST) as error:
        raise ledger_error(error) from error
    if ended is False:
        raise LedgerUnavailable(f"backend {backend} does not end")


def _by_item(entries: Sequence[JournalEntry | LinkedGroup], results: list[PostingResult]) -> list[list[PostingResult]]:
    """The results of each item handed in: one for an entry, all of its own for a group."""
    if LinkedGroup not in set(map(type, entries)):
        return [[result] for result in results]
    following = iter(results)
    return [list(islice(following, len(each.entries) if isinstance(each, LinkedGroup) else 1)) for each in entries]
