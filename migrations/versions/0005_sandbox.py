"""sandbox: tables and functions."""

from migrations.run import execute

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    execute()
