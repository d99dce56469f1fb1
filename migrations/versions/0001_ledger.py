"""ledger: tables and functions."""

from migrations.run import execute

revision = "0001"
down_revision = None


def upgrade() -> None:
    execute()
