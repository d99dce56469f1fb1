"""reconciliation: tables and functions."""

from migrations.run import execute

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    execute()
