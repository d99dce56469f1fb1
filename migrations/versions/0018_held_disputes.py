"""held disputes: money that was only held for its payer is disputed, too, and what he got twice he owes."""

from migrations.run import execute

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    execute(
        # Books that were made from the newer schema have it.
        """
        INSERT INTO ledger.account_kinds VALUES (16, 'payer_receivable', '1130', 'asset', 'D', NULL, NULL, true)
        ON CONFLICT DO NOTHING
        """,
        "ALTER TABLE gateway.payment_intents ADD COLUMN disputed_held_minor bigint NOT NULL DEFAULT 0",
        # Not validated: to read every payment for it would hold up all of them, and what was there before has a 0.
        "ALTER TABLE gateway.payment_intents ADD CONSTRAINT payment_intents_disputed_held"
        " CHECK (disputed_held_minor BETWEEN 0 AND disputed_minor) NOT VALID",
        "ALTER TABLE gateway.disputes ADD COLUMN receipt_id text",
        # What was disputed before was the merchant's, whatever it was about.
        "ALTER TABLE gateway.disputes ADD COLUMN payer_minor bigint NOT NULL DEFAULT 0"
        " CHECK (payer_minor BETWEEN 0 AND amount_minor)",
        # What a lost dispute left of a receipt goes back, and what a won one then gives back goes after it.
        "DROP INDEX gateway.refund_claims_held",
        """
        CREATE UNIQUE INDEX refund_claims_held ON gateway.refund_claims (book_id, held_fact_id)
            WHERE held_fact_id IS NOT NULL AND state NOT IN ('expired', 'rejected', 'returned', 'paid')
        """,
    )
