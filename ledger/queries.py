"""Named queries: the read-only SQL of this package, from `sql/queries.sql` and its two neighbours."""

import re
from pathlib import Path
from typing import Any, Final

_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_SQL: Final = Path(__file__).parent / "sql"


def load_queries(path: Path) -> dict[str, str]:
    """The statements of a file whose every statement follows a line `-- name: …`."""
    _, *parts = _NAME.split(path.read_text())
    return {name: statement.strip().rstrip(";") for name, statement in zip(parts[::2], parts[1::2], strict=True)}


QUERIES: Final = {
    name: text
    for file in ("queries", "account_queries", "entry_queries")
    for name, text in load_queries(_SQL / f"{file}.sql").items()
}


async def fetch_range(connection: Any, name: str, *arguments: Any) -> list[Any]:
    """The rows of a named query that adds up a whole range of entries.

    Entries and postings of a range are joined by hashing: a planner that has no statistics yet would believe that there
    are few and compare each with each.
    """
    async with connection.transaction():
        await connection.execute("SELECT set_config('enable_nestloop', 'off', true)")
        rows: list[Any] = await connection.fetch(QUERIES[name], *arguments)
        return rows
