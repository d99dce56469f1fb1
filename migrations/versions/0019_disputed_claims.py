"""disputed claims: since when the payer's bank takes, or may take, what a claim sends him as well."""

from migrations.run import execute

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    execute(
        "ALTER TABLE gateway.refund_claims ADD COLUMN disputed_at timestamptz",
        "CREATE INDEX refund_claims_disputed ON gateway.refund_claims (book_id, claim_id)"
        " WHERE disputed_at IS NOT NULL",
    )
