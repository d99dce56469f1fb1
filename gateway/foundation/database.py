"""Connections to PostgreSQL: an engine for transactions, a pool for statements by themselves, a pool for the ledger.

Locks are taken by callers. What takes long – a posting that waits for its book, a ledger that is read – has connections
of its own, so that no request's key has to wait for one.

All log in as the app role. A posting session never waits long for a lock and never idles in a transaction
with the book locked: `lock_timeout` 2 s, `idle_in_transaction_session_timeout` 5 s. Transactions are READ COMMITTED
and are opened and committed by the use case, before any reply is built.
"""

import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any, Final, Self, cast

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, DisconnectionError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from gateway.foundation.statements import Statement
from ledger.posting import keeps_nothing

POOL_SIZE: Final = 10
CONNECT_TIMEOUT_SECONDS: Final = 10
WAIT_SECONDS_MAX: Final = 30
"""For a connection to become free."""
KEPT_PREPARED: Final[Mapping[str, Any]] = {
    "statement_cache_size": 300,
    "max_cached_statement_lifetime": 0,
    "max_cacheable_statement_size": 0,
}
"""What a session has prepared stays so, however long it is; there are fewer statements."""
IDLE_SECONDS_MAX: Final = 5
"""A connection that was idle longer is asked whether it is alive before it is lent."""
_RETURNED_AT: Final = "returned_at"
_WRITES: Final = re.compile(r"\b(?:INSERT\s+INTO|DELETE\s+FROM)\b|^\s*UPDATE\b|\bUPDATE\s+\w+\.", re.IGNORECASE)
SESSION_SETTINGS: Final = {
    "application_name": "quickkub",
    "timezone": "UTC",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "5s",
}
BY_KEYS: Final = {"enable_seqscan": "off", "jit": "off"}
"""For sessions that look rows up by their keys. A statement is planned when a session first needs it, and its plan is
kept: made while a table has a few pages, it would read the whole table for each row until somebody analyses it. Up to
PostgreSQL 17 a scan that cannot be avoided counts as so costly that the statement would be compiled to machine code."""
LOOKING_UP: Final = SESSION_SETTINGS | BY_KEYS
STANDING_ALONE: Final = LOOKING_UP | {"enable_hashjoin": "off", "enable_mergejoin": "off"}
"""For sessions of single statements, which name what they want: each row is looked up, none is read to be joined."""


class Database:
    """The connections of one process to one database; open with `Database.open`, end with `close`."""

    def __init__(
        self, dsn: str, engine: AsyncEngine, *, statement_pool: asyncpg.Pool, ledger_pool: asyncpg.Pool
    ) -> None:
        self._dsn = dsn
        self.engine = engine
        self._statement_pool = statement_pool
        self.ledger_pool = ledger_pool
        # The same connections; a statement is a transaction of its own, without BEGIN before and ROLLBACK after it.
        self._reading = engine.execution_options(isolation_level="AUTOCOMMIT")
        event.listen(self._reading.sync_engine, "before_cursor_execute", _refuse_writes)

    @classmethod
    async def open(cls, dsn: str, *, pool_size: int = POOL_SIZE) -> Self:
        """Open all. The ledger's pool connects now, so a wrong address shows here.

        Args:
            dsn: `postgresql://…` of the app role, as asyncpg reads it (a socket folder goes into `?host=`).
            pool_size: most connections of the engine, and of the ledger's pool; half as many for single statements,
                which are short.
        """

        async def connect(*_: object, **__: object) -> asyncpg.Connection:
            return await asyncpg.connect(
                dsn, timeout=CONNECT_TIMEOUT_SECONDS, server_settings=LOOKING_UP, **KEPT_PREPARED
            )

        async def pool(size: int, *, at_once: int, settings: Mapping[str, str]) -> asyncpg.Pool:
            return await asyncpg.create_pool(
                dsn,
                min_size=at_once,
                max_size=size,
                timeout=CONNECT_TIMEOUT_SECONDS,
                server_settings=dict(settings),
                reset=keeps_nothing,
                **KEPT_PREPARED,
            )

        engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=connect,
            pool_size=pool_size,
            max_overflow=0,
            # The connection that was used last knows the statements: one that is new to a session costs it ten times.
            pool_use_lifo=True,
            isolation_level="READ COMMITTED",
            # Errors are logged with their text, and what is written may be personal or secret.
            hide_parameters=True,
        )
        _check_when_lent(engine)
        ledger_pool = await pool(pool_size, at_once=1, settings=SESSION_SETTINGS)
        statement_pool = await pool((pool_size + 1) // 2, at_once=0, settings=STANDING_ALONE)
        return cls(dsn, engine, statement_pool=statement_pool, ledger_pool=ledger_pool)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction: committed at the end, rolled back on any error."""
        async with self.engine.begin() as connection:
            yield connection

    async def ask(self, statement: Statement, parameters: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """Send one statement by itself: when this returns it has committed, and has done nothing where it raises.

        Raises:
            DBAPIError: of SQLAlchemy, as from a connection of its own. OSError: there was no connection.
        """
        try:
            async with self._statement_pool.acquire(timeout=WAIT_SECONDS_MAX) as connection:
                return await _fetch(connection, statement, parameters)
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise _as_of_sqlalchemy(statement.sql, error) from error

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection for reading: each statement sees what is committed, no transaction and no snapshot is open.

        Whoever writes through it, outside any transaction, has a bug: an assertion says so.
        """
        async with self._reading.connect() as connection:
            yield connection

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """A connection for a few short reads that must agree with each other (REPEATABLE READ, read only).

        An open snapshot holds back vacuum and slows posting, so nothing long belongs in it.
        """
        async with self.engine.connect() as connection:
            yield await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def dsn_for(self, book_id: int) -> str:
        """The address of the database that holds a book: one today, the shard map's answer when books move."""
        assert book_id > 0
        return self._dsn

    async def close(self) -> None:
        """Close every connection, letting none linger in a transaction."""
        await self.engine.dispose()
        await self._statement_pool.close()
        await self.ledger_pool.close()


@lru_cache(maxsize=1000)
def _is_write(statement: str) -> bool:
    return _WRITES.search(statement) is not None


def _refuse_writes(connection: object, cursor: object, statement: str, *_: Any) -> None:
    del connection, cursor
    assert not _is_write(statement), f"a reader writes: {statement[:80]}"


def _check_when_lent(engine: AsyncEngine) -> None:
    """Lend no dead connection: one that the server closed is known to be, one that was idle long is asked.

    Asking every time is a round trip a transaction, a tenth of what a payment takes.
    """
    dialect = engine.sync_engine.dialect

    def note_return(connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
        del connection
        record.info[_RETURNED_AT] = time.monotonic()

    def check(connection: DBAPIConnection, record: ConnectionPoolEntry, _: object) -> None:
        driver_connection: asyncpg.Connection = record.driver_connection  # type: ignore[assignment]  # it is asyncpg's
        if driver_connection.is_closed():
            raise DisconnectionError("the server has closed it")
        returned_at = record.info.get(_RETURNED_AT)
        if returned_at is None or time.monotonic() - returned_at < IDLE_SECONDS_MAX:
            return
        try:
            dialect.do_ping(connection)
        except (dialect.loaded_dbapi.Error, OSError) as error:
            raise DisconnectionError("it does not answer") from error

    event.listen(engine.sync_engine, "checkin", note_return)
    event.listen(engine.sync_engine, "checkout", check)


Source = Database | AsyncConnection
"""Where a statement may be sent: by itself, or in a transaction."""


async def send(source: Source, statement: Statement, parameters: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Send a statement by itself or in a transaction; returns its rows, if it returns any, by their columns' names.

    In a transaction that has begun it goes to the driver as it is, at half of what SQLAlchemy's way costs; the first
    statement goes that way, for SQLAlchemy begins the transaction with it.

    Raises:
        DBAPIError: see `Database.ask`.
    """
    if isinstance(source, Database):
        return await source.ask(statement, parameters)
    inner = _driver_of(source)
    if inner.is_in_transaction():
        try:
            return await _fetch(inner, statement, parameters)
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise _as_of_sqlalchemy(statement.sql, error) from error
    result = await source.execute(statement.text, statement.named(parameters))
    return cast("Sequence[Mapping[str, Any]]", result.mappings().all()) if result.returns_rows else ()


async def _fetch(
    connection: asyncpg.Connection | PoolConnectionProxy, statement: Statement, parameters: Mapping[str, Any]
) -> Sequence[Mapping[str, Any]]:
    rows = await connection.fetch(statement.sql, *statement.arguments(parameters))
    return cast("Sequence[Mapping[str, Any]]", rows)  # records are, but do not say so


class _DriverError(Exception):
    """An error of the driver as SQLAlchemy hands it on: with its SQLSTATE, and itself as the cause."""

    def __init__(self, error: Exception) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.sqlstate: str | None = getattr(error, "sqlstate", None)
        self.__cause__ = error


def _as_of_sqlalchemy(sql: str, error: Exception) -> DBAPIError:
    """The error as SQLAlchemy would raise it, so that callers need to know one kind."""
    state = getattr(error, "sqlstate", None) or ""
    kind = IntegrityError if state.startswith("23") else DBAPIError
    # Of the driver's own errors one speaks of a value that it cannot send, all others of the connection.
    is_gone = isinstance(error, asyncpg.InterfaceError | asyncpg.PostgresConnectionError)
    is_gone = is_gone and not isinstance(error, ValueError)
    return kind(sql, None, _DriverError(error), hide_parameters=True, connection_invalidated=is_gone)


def is_passing(error: DBAPIError) -> bool:
    """Whether the database was not there or not free, rather than asked something it must refuse."""
    state = getattr(error.orig, "sqlstate", None) or ""
    return error.connection_invalidated or state[:2] in {"08", "40", "53", "57"} or state == "55P03"


def driver(connection: AsyncConnection) -> asyncpg.Connection:
    """The asyncpg connection under a SQLAlchemy one, inside the same transaction: for `post_entries`.

    SQLAlchemy sends BEGIN with the first statement, so at least one must have run; posting outside the caller's
    transaction would be our bug.
    """
    inner = _driver_of(connection)
    assert inner.is_in_transaction(), "run a statement of the transaction before taking its driver connection"
    return inner


def _driver_of(connection: AsyncConnection) -> asyncpg.Connection:
    sync_connection = connection.sync_connection
    assert sync_connection is not None
    inner = sync_connection.connection.driver_connection
    assert isinstance(inner, asyncpg.Connection)
    return inner
