"""receipts: credits on our bank accounts that belong to no payment, and whom people assigned them to."""

from migrations.run import execute

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    execute(
        """
        CREATE TABLE gateway.receipts (
            book_id bigint NOT NULL,
            receipt_id text NOT NULL,
            line_id text NOT NULL,
            bank text NOT NULL,
            amount_minor bigint NOT NULL CHECK (amount_minor > 0),
            currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
            value_on date NOT NULL,
            paid_at timestamptz NOT NULL,
            noted_by text NOT NULL,
            reason text NOT NULL CHECK (reason <> ''),
            noted_at timestamptz NOT NULL,
            posted boolean NOT NULL,
            PRIMARY KEY (book_id, receipt_id),
            UNIQUE (book_id, line_id)
        )
        """,
        "CREATE INDEX receipts_unposted ON gateway.receipts (book_id) WHERE NOT posted",
        """
        CREATE TABLE gateway.receipt_assignments (
            book_id bigint NOT NULL,
            receipt_id text NOT NULL,
            target_kind text NOT NULL CHECK (target_kind IN ('payment', 'merchant')),
            target_id text NOT NULL,
            assigned_by text NOT NULL,
            reason text NOT NULL CHECK (reason <> ''),
            assigned_at timestamptz NOT NULL,
            posted boolean NOT NULL,
            PRIMARY KEY (book_id, receipt_id),
            FOREIGN KEY (book_id, receipt_id) REFERENCES gateway.receipts (book_id, receipt_id)
        )
        """,
        "CREATE INDEX receipt_assignments_unposted ON gateway.receipt_assignments (book_id) WHERE NOT posted",
        # The operator's view of what is held reads the few receipts of which something is held.
        "CREATE INDEX facts_held ON gateway.facts (book_id, fact_id) WHERE held_minor > 0",
        "CREATE INDEX facts_marks ON gateway.facts (book_id, fact_id) WHERE source = 'operator'",
        # Who said what, and why, stays; only that it is in the books may be noted.
        "GRANT SELECT, INSERT, UPDATE (posted) ON gateway.receipts, gateway.receipt_assignments TO @app@",
    )
