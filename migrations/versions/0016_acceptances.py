"""acceptances: money that was held for its payer and that the merchant took as payment after all."""

from migrations.run import execute

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    execute(
        """
        CREATE TABLE gateway.held_acceptances (
            book_id bigint NOT NULL,
            acceptance_id text NOT NULL,
            intent_id text NOT NULL,
            fact_id text NOT NULL,
            amount_minor bigint NOT NULL CHECK (amount_minor > 0),
            currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
            available_on date NOT NULL,
            accepted_by text NOT NULL,
            accepted_at timestamptz NOT NULL,
            PRIMARY KEY (book_id, acceptance_id),
            UNIQUE (book_id, fact_id)
        )
        """,
        "CREATE INDEX held_acceptances_intent ON gateway.held_acceptances (book_id, intent_id)",
        # No UPDATE: what was accepted can be refunded, never held again.
        "GRANT SELECT, INSERT ON gateway.held_acceptances TO @app@",
        "ALTER TABLE gateway.payment_intents ADD COLUMN accepted_minor bigint NOT NULL DEFAULT 0"
        " CHECK (accepted_minor >= 0)",
        # A payment has several dates once it took money at several times; a refund goes by that of its capture.
        "ALTER TABLE gateway.refunds ADD COLUMN available_on date",
        """
        UPDATE gateway.refunds AS refund SET available_on = intent.available_on
        FROM gateway.payment_intents AS intent
        WHERE intent.book_id = refund.book_id AND intent.intent_id = refund.intent_id
        """,
        "ALTER TABLE gateway.refunds ALTER COLUMN available_on SET NOT NULL",
    )
