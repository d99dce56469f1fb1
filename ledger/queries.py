"""Named queries: the read-only SQL of this package, from `sql/queries.sql`."""

import re
from pathlib import Path
from typing import Final

_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load_queries(path: Path) -> dict[str, str]:
    """The statements of a file whose every statement follows a line `-- name: …`."""
    _, *parts = _NAME.split(path.read_text())
    return {name: statement.strip().rstrip(";") for name, statement in zip(parts[::2], parts[1::2], strict=True)}


QUERIES: Final = load_queries(Path(__file__).parent / "sql" / "queries.sql")
