"""reconciliation: bank credits of a provider's batch, settled without a line of their own at the provider."""

from migrations.run import execute

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    execute(
        "ALTER TABLE reconciliation.settled_groups DROP CONSTRAINT settled_groups_kind_check",
        """
        ALTER TABLE reconciliation.settled_groups ADD CONSTRAINT settled_groups_kind_check
            CHECK (kind IN ('net_transfer', 'net_batch', 'direct_credits', 'biller_fee'))
        """,
        """
        CREATE INDEX statement_lines_by_batch
            ON reconciliation.statement_lines (book_id, provider, batch_reference) WHERE batch_reference IS NOT NULL
        """,
        # Lines that have their other half in a settled group and not in a match: the bank's fees and credits, and a
        # provider's own line of a payment that came after the payment was settled, if it says the same amount.
        """
        CREATE VIEW reconciliation.settled_alone AS
        SELECT item.book_id, item.line_id, settled.kind
        FROM reconciliation.settled_items AS item
        JOIN reconciliation.settled_groups AS settled USING (book_id, group_id)
        JOIN reconciliation.statement_lines AS line USING (book_id, line_id)
        WHERE line.side = 'bank'
        UNION ALL
        SELECT line.book_id, line.line_id, settled.kind
        FROM reconciliation.settled_groups AS settled
        JOIN reconciliation.statement_lines AS line
            ON line.book_id = settled.book_id AND line.provider = settled.provider
            AND line.batch_reference = settled.transfer_reference AND line.currency = settled.currency
        WHERE settled.kind = 'net_batch' AND line.side = 'provider' AND line.kind = 'transfer'
            AND -line.amount_minor - line.fee_minor - line.vat_minor = settled.bank_minor
        """,
        """
        CREATE OR REPLACE VIEW reconciliation.open_lines AS
        SELECT line.*
        FROM reconciliation.statement_lines AS line
        WHERE NOT EXISTS (
            SELECT FROM reconciliation.matches AS taken
            WHERE taken.book_id = line.book_id AND taken.stage = line.stage AND taken.line_id = line.line_id
                AND taken.revoked_at IS NULL
        )
        AND NOT EXISTS (
            SELECT FROM reconciliation.matches AS taken
            WHERE line.kind = 'transfer' AND taken.book_id = line.book_id AND taken.stage = line.stage
                AND taken.counterpart_line_id = line.line_id AND taken.revoked_at IS NULL
        )
        AND NOT EXISTS (
            SELECT FROM reconciliation.settled_alone AS charged
            WHERE charged.book_id = line.book_id AND charged.line_id = line.line_id
        )
        """,
        "GRANT SELECT ON reconciliation.settled_alone TO @app@, @auditor@",
    )
