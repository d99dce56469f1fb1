"""Which statements a process sends, whichever way they go to the server."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import event

from gateway.foundation.database import Database
from gateway.foundation.statements import Statement


def noted(database: Database) -> list[str]:
    """The statements that are sent from now on over the database's connections, without BEGIN and COMMIT.

    What goes over the ledger's own pool without `Database.ask` is not among them.
    """
    statements: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        statements.append(statement)

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    plain = database.ask

    async def ask(statement: Statement, parameters: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        statements.append(statement.sql)
        return await plain(statement, parameters)

    database.ask = ask  # type: ignore[method-assign]  # Noted on the way, and asked all the same.
    return statements
