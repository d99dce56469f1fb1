"""Statements of SQLAlchemy Core, put into words once: to compile one, or even look it up, takes longer than to send it.

Sent by itself (`Database.ask`) a statement goes to the driver as it is, without a transaction around it and without
what SQLAlchemy does for each execution: a quarter of the processor time. In a transaction it is one statement of it.
"""

from collections.abc import Mapping
from typing import Any, Final, cast

from sqlalchemy import ClauseElement, TextClause, text
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.sql.compiler import SQLCompiler

_SENT: Final = asyncpg_dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy does not annotate it.
_NAMED: Final = PGDialect(paramstyle="named")  # type: ignore[no-untyped-call]  # Nor this one.


class Statement:
    """A statement and its parameters' names. What it returns must be what the driver returns: no type of its own.

    Attributes:
        sql: as the driver sends it; text: the same for a SQLAlchemy connection.
    """

    def __init__(self, statement: ClauseElement) -> None:
        sent = cast("SQLCompiler", statement.compile(dialect=_SENT))
        self._names: Final = tuple(sent.positiontup or ())
        self._values: Final = {name: value for name, value in sent.params.items() if value is not None}
        self.sql: Final = str(sent)
        self.text: Final[TextClause] = text(str(statement.compile(dialect=_NAMED)))

    def arguments(self, parameters: Mapping[str, Any]) -> list[Any]:
        """The parameters in their order; those that the statement itself has values for need not be given.

        Raises:
            KeyError: one is missing.
        """
        return [self._values[name] if name in self._values else parameters[name] for name in self._names]

    def named(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters for `text`."""
        return {**parameters, **self._values}
