"""payments: tables and functions."""

from migrations.run import execute

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    execute()
