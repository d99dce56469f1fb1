"""settlement: tables and functions."""

from migrations.run import execute

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    execute()
