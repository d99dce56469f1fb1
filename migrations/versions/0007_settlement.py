"""settlement: what each merchant was settled, the payouts, and the files that carried them to the bank."""

from migrations.run import execute

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    _settlements()
    _payouts()
    _payout_files()


def _settlements() -> None:
    execute(
        # `number` chains the settlements of a merchant: whoever opens the next one from an outdated view of the
        # last collides here, so no entry falls into two windows or between them.
        """
        CREATE TABLE gateway.settlements (
            book_id bigint NOT NULL,
            settlement_id text NOT NULL,
            account_id text NOT NULL,
            currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
            number integer NOT NULL CHECK (number > 0),
            business_date date NOT NULL,
            previous_cut bigint NOT NULL,
            cut bigint NOT NULL CHECK (cut >= previous_cut),
            previous_through date,
            available_through date NOT NULL CHECK (available_through > previous_through),
            carried_in_minor bigint NOT NULL,
            available_minor bigint NOT NULL,
            became_available_minor bigint NOT NULL,
            debt_minor bigint NOT NULL,
            payout_id text,
            payout_minor bigint NOT NULL CHECK (payout_minor >= 0),
            carried_out_minor bigint,
            state text NOT NULL CHECK (state IN ('open', 'closed')),
            calendar_version text NOT NULL,
            opened_at timestamptz NOT NULL,
            closed_at timestamptz,
            PRIMARY KEY (book_id, settlement_id),
            UNIQUE (book_id, account_id, currency, number),
            UNIQUE (book_id, account_id, currency, business_date),
            CHECK ((state = 'closed') = (carried_out_minor IS NOT NULL)),
            CHECK (carried_out_minor = available_minor + became_available_minor + debt_minor - payout_minor)
        )
        """,
        "CREATE INDEX settlements_open ON gateway.settlements (book_id, opened_at) WHERE state = 'open'",
        """
        CREATE TABLE gateway.settlement_days (
            book_id bigint NOT NULL,
            settlement_id text NOT NULL,
            available_on date NOT NULL,
            amount_minor bigint NOT NULL CHECK (amount_minor <> 0),
            PRIMARY KEY (book_id, settlement_id, available_on)
        )
        """,
        # How far the pending days of a book have been seen to: what the next run need not add up again.
        """
        CREATE TABLE gateway.settlement_marks (
            book_id bigint NOT NULL PRIMARY KEY,
            cut bigint NOT NULL,
            through date NOT NULL,
            open_days date[] NOT NULL
        )
        """,
        "GRANT SELECT, INSERT, UPDATE ON gateway.settlement_marks TO @app@",
        "GRANT SELECT, INSERT, UPDATE ON gateway.settlements TO @app@",
        "GRANT SELECT, INSERT ON gateway.settlement_days TO @app@",
    )


def _payouts() -> None:
    execute(
        """
        CREATE TABLE gateway.payouts (
            book_id bigint NOT NULL,
            payout_id text NOT NULL,
            account_id text NOT NULL,
            settlement_id text NOT NULL,
            livemode boolean NOT NULL,
            amount_minor bigint NOT NULL CHECK (amount_minor > 0),
            currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
            bank_code text NOT NULL,
            last_four text NOT NULL,
            sealed_destination bytea NOT NULL,
            end_to_end_id text NOT NULL CHECK (length(end_to_end_id) <= 35),
            effective_on date NOT NULL,
            state text NOT NULL CHECK (state IN ('requested', 'approved', 'submitted', 'unknown', 'in_transit',
                                                 'paid', 'returned', 'rejected')),
            version integer NOT NULL CHECK (version > 0),
            reserved_sequence bigint,
            payout_file_id text,
            reject_code text,
            value_on date,
            bank_reference text,
            requested_at timestamptz NOT NULL,
            submitted_at timestamptz,
            PRIMARY KEY (book_id, payout_id),
            UNIQUE (book_id, end_to_end_id),
            UNIQUE (book_id, settlement_id)
        )
        """,
        """
        CREATE INDEX payouts_in_progress ON gateway.payouts (book_id, state, requested_at)
            WHERE state NOT IN ('paid', 'returned', 'rejected')
        """,
        "CREATE INDEX payouts_of_file ON gateway.payouts (book_id, payout_file_id) WHERE payout_file_id IS NOT NULL",
        """
        CREATE TABLE gateway.payout_moves (
            book_id bigint NOT NULL,
            payout_id text NOT NULL,
            version integer NOT NULL,
            state text NOT NULL,
            actor text NOT NULL,
            reason text NOT NULL,
            moved_at timestamptz NOT NULL,
            PRIMARY KEY (book_id, payout_id, version)
        )
        """,
        "GRANT SELECT, INSERT, UPDATE ON gateway.payouts TO @app@",
        "GRANT SELECT, INSERT ON gateway.payout_moves TO @app@",
    )


def _payout_files() -> None:
    execute(
        """
        CREATE TABLE gateway.payout_files (
            book_id bigint NOT NULL,
            payout_file_id text NOT NULL,
            message_id text NOT NULL CHECK (length(message_id) <= 35),
            format text NOT NULL,
            currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
            execute_on date NOT NULL,
            sealed_content bytea NOT NULL,
            content_sha256 bytea NOT NULL CHECK (length(content_sha256) = 32),
            count integer NOT NULL CHECK (count > 0),
            control_minor bigint NOT NULL CHECK (control_minor > 0),
            state text NOT NULL CHECK (state IN ('built', 'sent', 'acked', 'rejected')),
            bank_reference text,
            built_at timestamptz NOT NULL,
            sent_at timestamptz,
            answered_at timestamptz,
            lease_until timestamptz,
            calling_until timestamptz,
            PRIMARY KEY (book_id, payout_file_id),
            UNIQUE (book_id, message_id)
        )
        """,
        """
        CREATE INDEX payout_files_unanswered ON gateway.payout_files (book_id, built_at)
            WHERE state IN ('built', 'sent')
        """,
        "GRANT SELECT, INSERT, UPDATE ON gateway.payout_files TO @app@",
    )
