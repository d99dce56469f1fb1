"""jobs: daily work of each book, one row a (book, job, period), claimed with a lease."""

from migrations.run import execute

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    execute(
        """
        CREATE TABLE gateway.jobs (
            book_id bigint NOT NULL,
            period date NOT NULL,
            step smallint NOT NULL,
            job text NOT NULL,
            state text NOT NULL DEFAULT 'due' CHECK (state IN ('due', 'running', 'done')),
            attempts integer NOT NULL DEFAULT 0,
            not_before timestamptz NOT NULL,
            lease_until timestamptz,
            created_at timestamptz NOT NULL,
            finished_at timestamptz,
            last_error text,
            result jsonb,
            PRIMARY KEY (book_id, period, step)
        )
        """,
        # What is claimable is looked up several times a second; what is done is most of the table.
        "CREATE INDEX jobs_unfinished ON gateway.jobs (book_id, period, step) WHERE state <> 'done'",
        "GRANT SELECT, INSERT, UPDATE ON gateway.jobs TO @app@",
    )
