"""disputed claims: since when the payer's bank takes, or may take, what a claim sends him as well."""

from migrations.run import execute

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    execute(
        "ALTER TABLE gateway.refund_claims ADD COLUMN disputed_at timestamptz",
        "CREATE INDEX refund_claims_disputed ON gateway.refund_claims (book_id, claim_id)"
        " WHERE disputed_at IS NOT NULL",
        # Those whose attempt is disputed already; from now on whoever writes a dispute notes it.
        """
        UPDATE gateway.refund_claims AS claim SET disputed_at = dispute.created_at
        FROM gateway.disputes AS dispute
        WHERE dispute.book_id = claim.book_id AND dispute.intent_id = claim.intent_id AND dispute.status <> 'won'
          AND claim.state NOT IN ('expired', 'rejected', 'returned')
          AND dispute.attempt_id = coalesce(
            (SELECT refund.attempt_id FROM gateway.refunds AS refund
             WHERE refund.book_id = claim.book_id AND refund.refund_id = claim.refund_id),
            (SELECT fact.attempt_id FROM gateway.facts AS fact
             WHERE fact.book_id = claim.book_id AND fact.intent_id = claim.intent_id
               AND fact.fact_id = claim.held_fact_id))
        """,
    )
