"""Whether the database runs the code that is shipped: every function of the ledger, and nothing beside them.

Who may replace `post_entries_v1` for an hour needs no access to the tables, so sound books are half of the proof only.
None of the questions needs a right but to connect.
"""

import re
from functools import cache
from typing import Any, Final

import msgspec

from ledger.checks import Problems
from ledger.posting import Connection
from ledger.queries import QUERIES
from ledger.schema import FUNCTIONS, SQL

DDL_GUARD: Final = "ddl_guard"
"""Shipped too, and there only where a superuser has installed the fence."""

_FUNCTION: Final = re.compile(
    r"CREATE (?:OR REPLACE )?FUNCTION (?:ledger|ledger_fence)\.(?P<name>\w+)\((?P<header>.*?)"
    r"AS \$(?P<tag>\w*)\$(?P<body>.*?)\$(?P=tag)\$",
    re.DOTALL,
)
_SETTING: Final = re.compile(r"\bSET (\w+) = (\w+(?:, \w+)*)")


class _Function(msgspec.Struct, frozen=True, kw_only=True):
    """What makes a function do what it does, and as whom."""

    body: str
    language: str
    security_definer: bool
    settings: tuple[str, ...]
    volatility: str


async def functions_are_ours(connection: Connection) -> list[str]:
    """What is not as shipped with the ledger's functions, in words; empty when all is well.

    Compared are the text between the dollar quotes, language, volatility, SECURITY DEFINER and pinned settings. Also
    wrong: a function that is missing, that is not shipped (an overload too), that another role owns than the
    schema's, or that PUBLIC may execute.

    Args:
        connection: any role.
    """
    required, shipped = _shipped()
    problems = []
    seen: set[str] = set()
    for row in await connection.fetch(QUERIES["functions"]):
        name = row["name"]
        if name not in shipped or name in seen:
            problems.append(f"function {row['signature']} is not ours")
            continue
        seen.add(name)
        problems += [f"function {name} {fault}" for fault in _faults(row, shipped[name])]
    return problems + [f"function {name} is missing" for name in sorted(required - seen)]


async def nothing_was_added(connection: Connection) -> list[str]:
    """Triggers, rules, row security and policies on the ledger's tables that are not ours, in words.

    Each of them can swallow or change what is inserted, or hide rows from who reads.

    Args:
        connection: any role.
    """
    return [f"{row['what']} on {row['table_name']} is not ours" for row in await connection.fetch(QUERIES["additions"])]


async def keys_are_there(connection: Connection) -> list[str]:
    """Tables and partitions of the ledger without a valid primary key, in words.

    Without the one of `idempotency_keys` a key would be posted twice and nobody would be told.

    Args:
        connection: any role.
    """
    return [f"{row['table_name']} has no primary key" for row in await connection.fetch(QUERIES["keyless"])]


async def code(connection: Connection, book_id: int, cut: int) -> Problems:  # noqa: ARG001
    """The functions are the shipped ones, nothing stands between them and the tables, and every table has its key."""
    problems = Problems(rows=len(_shipped()[1]), note="as shipped")
    for question in (functions_are_ours, nothing_was_added, keys_are_there):
        for problem in await question(connection):
            problems.add(problem)
    return problems


def _faults(row: Any, ours: _Function) -> list[str]:
    faults = [
        f"has another {name.replace('_', ' ')} than the one shipped"
        for name in _Function.__struct_fields__
        if (tuple(row[name]) if name == "settings" else row[name]) != getattr(ours, name)
    ]
    if not row["owned_by_owner"]:
        faults.append("belongs to another role than the schema")
    if row["for_everybody"]:
        faults.append("may be executed by PUBLIC")
    return faults


@cache
def _shipped() -> tuple[set[str], dict[str, _Function]]:
    """Names that must be there, and every function that we ship, by name."""
    shipped: dict[str, _Function] = {}
    required: set[str] = set()
    for file in (*FUNCTIONS, DDL_GUARD):
        for found in _FUNCTION.finditer((SQL / f"{file}.sql").read_text()):
            header = found["header"]
            shipped[found["name"]] = _Function(
                body=found["body"],
                language="plpgsql" if "LANGUAGE plpgsql" in header else "sql",
                security_definer="SECURITY DEFINER" in header,
                settings=tuple(f"{name}={value}" for name, value in _SETTING.findall(header)),
                volatility=next((word for word in ("IMMUTABLE", "STABLE") if word in header), "VOLATILE"),
            )
            if file != DDL_GUARD:
                required.add(found["name"])
    return required, shipped
