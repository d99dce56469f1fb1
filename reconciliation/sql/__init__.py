"""Named queries: each has a `-- name:` line and, after it, a comment that says what it gives."""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

from ledger.posting import Connection

__all__ = ["Connection", "queries"]

_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def queries(file: str) -> Mapping[str, str]:
    """The queries of `reconciliation/sql/<file>.sql` by name."""
    pieces = _NAME.split(files(__name__).joinpath(f"{file}.sql").read_text("utf-8"))
    return dict(zip(pieces[1::2], (query.strip() for query in pieces[2::2]), strict=True))
