"""The fence around the ledger's tables: event triggers that refuse DDL, where a superuser can be had."""

from pathlib import Path
from typing import Final

from ledger.posting import Connection

STATEMENT_MARK: Final = "-- statement\n"


async def install_ddl_guard(connection: Connection) -> None:
    """Refuse ALTER, DROP, DISABLE TRIGGER and DETACH on ledger tables from now on, for the owner too.

    A change that must be says what for (`SET LOCAL quickkub.ledger_change = '…'`) and is written to `ledger_acts`.
    Without the fence such a change is not refused; `verify` still finds what it left behind, and says that the fence
    is missing.

    Args:
        connection: of a superuser, in the ledger's database. Doing it again changes nothing.
    """
    text = (Path(__file__).parent / "sql" / "ddl_guard.sql").read_text()
    async with connection.transaction():
        await connection.execute("SELECT set_config('quickkub.ledger_change', 'fence', true)")
        for statement in text.split(STATEMENT_MARK)[1:]:
            await connection.execute(statement)
