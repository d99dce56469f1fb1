"""merchants: tables and functions."""

from migrations.run import execute

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    execute()
