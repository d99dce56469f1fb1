"""What is in the way of a command and is nobody's bug, in one sentence: a server, a login, a file."""

from typing import Final

import asyncpg
from sqlalchemy.exc import DBAPIError

_NOT_OURS: Final = ("08", "28", "3D", "53", "57")
"""Classes of SQLSTATE: connection, login, no such database, out of resources, shutting down."""


def sentence(error: Exception) -> str | None:
    """What to tell whoever runs the command; None for what only a traceback explains."""
    match error:
        case DBAPIError() if error.orig is not None and isinstance(error.orig.__cause__, Exception):
            return sentence(error.orig.__cause__)
        case OSError() if error.filename is not None:
            return f"{error.filename}: {error.strerror}"
        case OSError():
            return f"a server does not answer: {error}"
        case asyncpg.ClientConfigurationError():
            return f"the address of the database cannot be read: {error}"
        case asyncpg.PostgresError() if (error.sqlstate or "")[:2] in _NOT_OURS:
            return f"PostgreSQL refuses: {error}"
        case _:
            return None
