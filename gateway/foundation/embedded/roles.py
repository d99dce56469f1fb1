"""The four database roles and what they may do before the first migration grants more."""

from collections.abc import Mapping

MEANING: Mapping[str, str] = {
    "owner": "owns every table; migrations only",
    "app": "serve and work; may call the posting functions, may not write to the ledger's tables",
    "auditor": "reads the ledger and reconciliation; exports and verification",
    "sandbox": "the providers' other side; its own schema only",
}


def role_statements(names: Mapping[str, str]) -> list[str]:
    """Statements that make each missing role; they can be run again."""
    return [
        f"DO $$ BEGIN CREATE ROLE {name} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE; "
        "EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        for name in names.values()
    ]


def database_statements(names: Mapping[str, str], *, database: str) -> list[str]:
    """Statements, after `CREATE DATABASE`, that let our roles and nobody else into it; they can be run again."""
    everybody = ", ".join(names.values())
    return [
        f"REVOKE ALL ON DATABASE {database} FROM PUBLIC",
        f"GRANT CONNECT ON DATABASE {database} TO {everybody}",
        f"GRANT CREATE, TEMPORARY ON DATABASE {database} TO {names['owner']}",
    ]


def script_for_administrator(names: Mapping[str, str], *, database: str) -> str:
    """The whole as a script for psql, run by an administrator of your own server."""
    lines = ["-- Roles and database of QuickKub. Run as an administrator: psql -f roles.sql", ""]
    for (role, name), statement in zip(names.items(), role_statements(names), strict=True):
        lines += [f"-- {name}: {MEANING[role]}", f"{statement};", rf"\password {name}", ""]
    lines += [f"CREATE DATABASE {database} OWNER {names['owner']} ENCODING 'UTF8' TEMPLATE template0;"]
    lines += [f"{statement};" for statement in database_statements(names, database=database)]
    return "\n".join(lines) + "\n"
