"""webhooks: tables and functions."""

from migrations.run import execute

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    execute()
