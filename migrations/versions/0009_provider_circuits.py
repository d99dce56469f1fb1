"""providers: circuits that are or were open, for staff to see and to close by hand."""

from migrations.run import execute

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    execute(
        """
        CREATE TABLE gateway.provider_circuits (
            provider text NOT NULL,
            operation text NOT NULL,
            scope text NOT NULL,
            opened_at timestamptz NOT NULL,
            calls integer NOT NULL,
            silent integer NOT NULL,
            closed_at timestamptz,
            closed_by text,
            PRIMARY KEY (provider, operation, scope)
        )
        """,
        "GRANT SELECT, INSERT, UPDATE ON gateway.provider_circuits TO @app@",
    )
