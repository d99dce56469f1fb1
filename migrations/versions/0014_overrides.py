"""overrides: how two people settle what nobody else settles, on the record."""

from migrations.run import execute

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    execute(
        # Books that were made from the newer schema have them.
        """
        INSERT INTO ledger.entry_kinds VALUES
            (105, 'payment_marked', 'recording', false),
            (106, 'payment_mark_proved', 'recording', false),
            (205, 'refund_marked', 'recording', false),
            (206, 'refund_mark_proved', 'recording', false),
            (207, 'refund_mark_undone', 'recording', false),
            (404, 'payout_marked', 'recording', false),
            (405, 'payout_mark_proved', 'recording', false)
        ON CONFLICT DO NOTHING
        """,
        """
        CREATE TABLE gateway.overrides (
            book_id bigint NOT NULL,
            override_id text NOT NULL,
            account_id text NOT NULL,
            livemode boolean NOT NULL,
            subject_kind text NOT NULL CHECK (subject_kind IN ('attempt', 'refund', 'payout')),
            subject_id text NOT NULL,
            intent_id text,
            provider text NOT NULL,
            outcome text NOT NULL CHECK (outcome IN ('succeeded', 'failed')),
            amount_minor bigint NOT NULL CHECK (amount_minor > 0),
            currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
            evidence text NOT NULL CHECK (evidence <> ''),
            reason text NOT NULL CHECK (reason <> ''),
            proposed_by text NOT NULL,
            proposed_at timestamptz NOT NULL,
            expires_at timestamptz NOT NULL,
            PRIMARY KEY (book_id, override_id),
            UNIQUE (book_id, override_id, proposed_by),
            CHECK ((subject_kind = 'payout') = (intent_id IS NULL))
        )
        """,
        "CREATE INDEX overrides_subject ON gateway.overrides (book_id, subject_id)",
        """
        CREATE TABLE gateway.override_decisions (
            book_id bigint NOT NULL,
            override_id text NOT NULL,
            proposed_by text NOT NULL,
            decision text NOT NULL CHECK (decision IN ('approved', 'rejected')),
            reason text NOT NULL CHECK (reason <> ''),
            decided_by text NOT NULL,
            decided_at timestamptz NOT NULL,
            PRIMARY KEY (book_id, override_id),
            FOREIGN KEY (book_id, override_id, proposed_by)
                REFERENCES gateway.overrides (book_id, override_id, proposed_by),
            -- Two people. A login of the machine and an operator's key may be one person's, so both must be of a kind.
            CONSTRAINT override_decisions_second_person CHECK (
                decision <> 'approved'
                OR (decided_by <> proposed_by AND starts_with(decided_by, 'op_') = starts_with(proposed_by, 'op_')))
        )
        """,
        # That what was approved was also carried out; missing after a crash, and then made up for.
        """
        CREATE TABLE gateway.override_results (
            book_id bigint NOT NULL,
            override_id text NOT NULL,
            result text NOT NULL CHECK (result IN ('applied', 'not_needed')),
            applied_at timestamptz NOT NULL,
            PRIMARY KEY (book_id, override_id),
            FOREIGN KEY (book_id, override_id) REFERENCES gateway.override_decisions (book_id, override_id)
        )
        """,
        # No UPDATE, no DELETE: who said what, and why, stays.
        "GRANT SELECT, INSERT ON gateway.overrides, gateway.override_decisions, gateway.override_results TO @app@",
    )
