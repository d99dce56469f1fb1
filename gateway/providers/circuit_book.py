"""Open circuits, written down: processes tell staff, and staff tell processes.

Writing here must never hurt a payment: a database that does not answer leaves a line in the log, and the circuit works
on by what its own process saw.
"""

from collections.abc import Awaitable
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.clock import real_now
from gateway.foundation.database import Database
from gateway.foundation.logs import get_logger
from gateway.foundation.metrics import PROVIDER_CIRCUITS_OPEN
from gateway.providers.circuits import CircuitKey

_OPENED: Final = text("""
    INSERT INTO gateway.provider_circuits (provider, operation, scope, opened_at, calls, silent)
    VALUES (:provider, :operation, :scope, :at, :calls, :silent)
    ON CONFLICT (provider, operation, scope) DO UPDATE
    SET opened_at = :at, calls = :calls, silent = :silent, closed_at = NULL, closed_by = NULL
""")
_CLOSED: Final = text("""
    UPDATE gateway.provider_circuits SET closed_at = :at, closed_by = :by
    WHERE provider = :provider AND operation = :operation AND scope = :scope AND closed_at IS NULL
    RETURNING opened_at
""")
_RESET: Final = text("""
    SELECT closed_at > :since AND closed_by <> 'answer' FROM gateway.provider_circuits
    WHERE provider = :provider AND operation = :operation AND scope = :scope
""")
_LISTED: Final = text("""
    SELECT provider, operation, scope, opened_at, calls, silent, closed_at, closed_by
    FROM gateway.provider_circuits WHERE closed_at IS NULL OR :closed_too ORDER BY opened_at DESC LIMIT 500
""")
BY_ANSWER: Final = "answer"

_log = get_logger("quickkub.providers")


class OpenCircuit(msgspec.Struct, frozen=True, kw_only=True):
    """A circuit that opened.

    Attributes:
        scope: `live`, or the test account (`pa_test_…`) whose calls alone are held back.
        calls, silent: of the seconds before it opened.
        closed_by: `answer` where the provider answered again, else who closed it by hand.
    """

    provider: str
    operation: str
    scope: str
    opened_at: datetime
    calls: int
    silent: int
    closed_at: datetime | None
    closed_by: str | None


class StoredCircuits:
    """A `CircuitBook` in the gateway's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def opened(self, key: CircuitKey, at: datetime, *, calls: int, silent: int) -> None:
        """A circuit opened."""
        PROVIDER_CIRCUITS_OPEN.labels(key.provider, key.operation).inc()
        _log.error("circuit opened", extra={**msgspec.structs.asdict(key), "calls": calls, "silent": silent})
        await self._write(self._execute(_OPENED, {**_names(key), "at": at, "calls": calls, "silent": silent}))

    async def closed(self, key: CircuitKey) -> None:
        """The provider answered again."""
        PROVIDER_CIRCUITS_OPEN.labels(key.provider, key.operation).dec()
        _log.warning("circuit closed", extra=msgspec.structs.asdict(key))
        await self._write(self._execute(_CLOSED, {**_names(key), "at": real_now(), "by": BY_ANSWER}))

    async def was_reset(self, key: CircuitKey, since: datetime) -> bool:
        """Whether somebody closed it by hand since it opened."""
        try:
            async with self._database.read() as connection:
                found = await connection.scalar(_RESET, {**_names(key), "since": since})
        except (SQLAlchemyError, OSError):
            return False
        if found:
            PROVIDER_CIRCUITS_OPEN.labels(key.provider, key.operation).dec()
        return bool(found)

    async def _execute(self, statement: object, values: dict[str, object]) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(statement, values)  # type: ignore[call-overload]

    async def _write(self, work: Awaitable[None]) -> None:
        try:
            await work
        except (SQLAlchemyError, OSError) as error:
            _log.warning("circuit not written down", extra={"error": type(error).__name__})


async def open_circuits(connection: AsyncConnection, *, closed_too: bool = False) -> list[OpenCircuit]:
    """The circuits that are open, and if wanted those that were, newest first."""
    rows = (await connection.execute(_LISTED, {"closed_too": closed_too})).mappings()
    return [msgspec.convert(dict(row), OpenCircuit) for row in rows]


async def close_by_hand(connection: AsyncConnection, key: CircuitKey, *, actor: str) -> bool:
    """Let calls through again, in every process within a second; false where it was not open."""
    found = await connection.execute(_CLOSED, {**_names(key), "at": real_now(), "by": actor})
    return found.first() is not None


def _names(key: CircuitKey) -> dict[str, object]:
    return {"provider": key.provider, "operation": key.operation, "scope": key.scope}
