"""disputes: what payers' banks question, the evidence for it, and the entries that it makes."""

from migrations.run import execute

revision = "0010"
down_revision = "0009"

ENDS = "won lost accepted expired conflicted"
DISPUTE_MOVES = {
    "warning": f"needs_response under_review {ENDS}",
    "needs_response": f"under_review {ENDS}",
    "under_review": "needs_response won lost conflicted",
    "won": "needs_response under_review lost conflicted",
    "lost": "needs_response under_review won conflicted",
    "accepted": "needs_response under_review won lost conflicted",
    "expired": "needs_response under_review won lost conflicted",
}


def upgrade() -> None:
    _ledger()
    _columns()
    _disputes()
    _sandbox()


def _ledger() -> None:
    execute(
        # Books that were made from the newer schema have them.
        """
        INSERT INTO ledger.entry_kinds VALUES
            (220, 'dispute_held', 'recording', false),
            (221, 'dispute_released', 'recording', false),
            (222, 'dispute_funds_withdrawn', 'recording', false),
            (223, 'dispute_funds_reinstated', 'recording', false),
            (224, 'dispute_fee_charged', 'recording', false)
        ON CONFLICT DO NOTHING
        """,
    )


def _columns() -> None:
    execute(
        "ALTER TABLE gateway.payment_intents ADD COLUMN disputed_minor bigint NOT NULL DEFAULT 0"
        " CHECK (disputed_minor >= 0)",
        "ALTER TABLE gateway.facts ADD COLUMN dispute_id text",
        "ALTER TABLE gateway.facts ADD COLUMN dispute_stage text",
        "ALTER TABLE gateway.fee_plans ADD COLUMN dispute_fee_minor bigint NOT NULL DEFAULT 0"
        " CHECK (dispute_fee_minor >= 0)",
    )


def _disputes() -> None:
    execute(
        """
        CREATE TABLE gateway.disputes (
            book_id bigint NOT NULL,
            dispute_id text NOT NULL,
            account_id text NOT NULL,
            livemode boolean NOT NULL,
            intent_id text NOT NULL,
            attempt_id text NOT NULL,
            provider text NOT NULL,
            provider_dispute_id text NOT NULL,
            amount_minor bigint NOT NULL CHECK (amount_minor > 0),
            currency text NOT NULL,
            stage text NOT NULL CHECK (stage IN ('pre_dispute', 'dispute', 'prearbitration')),
            status text NOT NULL,
            outcome text NOT NULL,
            version integer NOT NULL,
            reason_code text NOT NULL,
            provider_reason text,
            evidence_due_at timestamptz,
            evidence_submitted_at timestamptz,
            reminded_at timestamptz,
            held_minor bigint NOT NULL CHECK (held_minor BETWEEN 0 AND amount_minor),
            withdrawn_minor bigint NOT NULL CHECK (withdrawn_minor >= 0),
            owed_answer text CHECK (owed_answer IN ('evidence', 'accept')),
            created_at timestamptz NOT NULL,
            closed_at timestamptz,
            asks integer NOT NULL,
            due_at timestamptz,
            leased_until timestamptz,
            PRIMARY KEY (book_id, dispute_id),
            UNIQUE (book_id, provider, provider_dispute_id)
        )
        """,
        "CREATE INDEX disputes_intent ON gateway.disputes (book_id, intent_id)",
        "CREATE INDEX disputes_account ON gateway.disputes (book_id, account_id, dispute_id)",
        """
        CREATE INDEX disputes_deadline ON gateway.disputes (book_id, account_id, evidence_due_at, dispute_id)
            WHERE status IN ('warning', 'needs_response')
        """,
        "CREATE INDEX disputes_due ON gateway.disputes (due_at) WHERE due_at IS NOT NULL",
        """
        CREATE TABLE gateway.dispute_evidence (
            book_id bigint NOT NULL,
            evidence_id text NOT NULL,
            dispute_id text NOT NULL,
            stage text NOT NULL,
            sealed_evidence bytea NOT NULL,
            fields integer NOT NULL CHECK (fields BETWEEN 1 AND 20),
            submitted_by text NOT NULL,
            submitted_at timestamptz NOT NULL,
            PRIMARY KEY (book_id, evidence_id)
        )
        """,
        "CREATE INDEX dispute_evidence_dispute ON gateway.dispute_evidence (book_id, dispute_id)",
        *(
            f"INSERT INTO gateway.legal_moves VALUES ('dispute', '{before}', '{after}')"
            for before, afters in DISPUTE_MOVES.items()
            for after in afters.split()
        ),
        "GRANT SELECT, INSERT, UPDATE ON gateway.disputes TO @app@",
        # No UPDATE: evidence stays as it was handed in.
        "GRANT SELECT, INSERT ON gateway.dispute_evidence TO @app@",
    )


def _sandbox() -> None:
    execute(
        """
        CREATE TABLE sandbox.disputes (
            world text NOT NULL,
            id text NOT NULL,
            charge_id text NOT NULL,
            amount_minor bigint NOT NULL CHECK (amount_minor > 0),
            currency text NOT NULL,
            status text NOT NULL CHECK (status IN ('open', 'pending', 'won', 'lost')),
            reason_code text NOT NULL,
            message text NOT NULL,
            metadata jsonb NOT NULL,
            transaction_ids text[] NOT NULL,
            created_at timestamptz NOT NULL,
            closed_at timestamptz,
            PRIMARY KEY (world, id)
        )
        """,
        "CREATE INDEX sandbox_disputes_charge ON sandbox.disputes (world, charge_id)",
        "GRANT SELECT, INSERT, UPDATE ON sandbox.disputes TO @sandbox@",
    )
