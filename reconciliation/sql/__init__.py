"""Named queries, a file for each module that runs them: a `-- name:` line, a comment that says what it gives, SQL."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from ledger.posting import Connection
from ledger.queries import load_queries

__all__ = ["Connection", "queries"]


@cache
def queries(file: str) -> Mapping[str, str]:
    """The queries of `reconciliation/sql/<file>.sql` by name."""
    return load_queries(Path(__file__).parent / f"{file}.sql")
