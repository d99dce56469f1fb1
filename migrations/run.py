"""Run statements of a migration: one statement per execute, role names filled in."""

from typing import Final

from alembic import op

from gateway.foundation.settings import role_names

ROLE_MARK: Final = "@{}@"
"""`@app@`, `@owner@`, `@auditor@`, `@sandbox@` in SQL stand for the configured role names."""


def with_roles(statement: str) -> str:
    """The statement with the configured role names in it."""
    for role, name in role_names().items():
        statement = statement.replace(ROLE_MARK.format(role), name)
    return statement


def execute(*statements: str) -> None:
    """Run each statement by itself (Citus refuses several in one; so does a prepared statement)."""
    bind = op.get_bind()
    for statement in statements:
        bind.exec_driver_sql(with_roles(statement))
