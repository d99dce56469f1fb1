"""Which statements a process sends, whichever way they go to the server."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from sqlalchemy import event

from gateway.foundation import database as room
from gateway.foundation.database import Database
from gateway.foundation.statements import Statement


def noted(patches: pytest.MonkeyPatch, database: Database) -> list[str]:
    """The statements that are sent from now on over the database's connections, without BEGIN and COMMIT.

    What goes over the ledger's own pool is not among them, nor what is posted.
    """
    statements: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        statements.append(statement)

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    plain = room._fetch

    async def fetch(
        connection: Any, statement: Statement, parameters: Mapping[str, Any]
    ) -> Sequence[Mapping[str, Any]]:
        statements.append(statement.sql)
        return await plain(connection, statement, parameters)

    patches.setattr(room, "_fetch", fetch)
    return statements
