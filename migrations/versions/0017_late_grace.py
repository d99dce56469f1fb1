"""late grace: how long after its end a payment is still taken, by the merchant's terms."""

from migrations.run import execute

revision = "0017"
down_revision = "0016"

SECONDS_MAX = 30 * 86_400


def upgrade() -> None:
    execute(
        "ALTER TABLE gateway.fee_plans ADD COLUMN late_grace_seconds integer NOT NULL DEFAULT 0"
        f" CHECK (late_grace_seconds BETWEEN 0 AND {SECONDS_MAX})",
        "ALTER TABLE gateway.payment_attempts ADD COLUMN late_grace_seconds integer NOT NULL DEFAULT 0",
    )
