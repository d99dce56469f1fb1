"""reconciliation: statement files and lines, what the ledger expects, matches, settled groups, breaks, runs."""

from migrations.run import execute

revision = "0006"
down_revision = "0005"

TABLES = (
    "statement_files",
    "statement_balances",
    "statement_lines",
    "line_references",
    "rejected_lines",
    "expected_lines",
    "expected_references",
    "feed_positions",
    "matches",
    "settled_groups",
    "settled_items",
    "breaks",
    "runs",
)
"""Every table here. Nothing is ever deleted, so the app role gets no DELETE."""


def upgrade() -> None:
    execute("CREATE SCHEMA reconciliation", "GRANT USAGE ON SCHEMA reconciliation TO @app@, @auditor@")
    _statements()
    _expectations()
    _matches()
    _settled()
    _breaks_and_runs()
    for table in TABLES:
        execute(
            f"GRANT SELECT, INSERT, UPDATE ON reconciliation.{table} TO @app@",
            f"GRANT SELECT ON reconciliation.{table} TO @auditor@",
        )


def _statements() -> None:
    execute(
        """
        CREATE TABLE reconciliation.statement_files (
            book_id bigint NOT NULL,
            file_id text NOT NULL,
            source text NOT NULL,
            side text NOT NULL CHECK (side IN ('provider', 'bank')),
            name text NOT NULL,
            account text NOT NULL,
            content_sha256 bytea NOT NULL,
            content_sealed bytea NOT NULL,
            content_bytes bigint NOT NULL,
            header jsonb NOT NULL,
            line_count integer NOT NULL,
            line_amount_minor bigint NOT NULL,
            duplicate_count integer NOT NULL,
            duplicate_amount_minor bigint NOT NULL,
            rejected_count integer NOT NULL,
            rejected_amount_minor bigint NOT NULL,
            received_at timestamptz NOT NULL,
            run_on date,
            PRIMARY KEY (book_id, file_id),
            CONSTRAINT statement_files_content UNIQUE (book_id, source, content_sha256)
        )
        """,
        """
        CREATE TABLE reconciliation.statement_balances (
            book_id bigint NOT NULL,
            file_id text NOT NULL,
            position integer NOT NULL,
            source text NOT NULL,
            account text NOT NULL,
            currency text NOT NULL,
            number text NOT NULL,
            opened_on date NOT NULL,
            closed_on date NOT NULL,
            opening_minor bigint NOT NULL,
            closing_minor bigint NOT NULL,
            PRIMARY KEY (book_id, file_id, position)
        )
        """,
        """
        CREATE TABLE reconciliation.statement_lines (
            book_id bigint NOT NULL,
            line_id text NOT NULL,
            file_id text NOT NULL,
            line_number integer NOT NULL,
            source text NOT NULL,
            side text NOT NULL CHECK (side IN ('provider', 'bank')),
            account text NOT NULL,
            provider text,
            kind text NOT NULL,
            amount_minor bigint NOT NULL CHECK (amount_minor <> 0),
            fee_minor bigint,
            vat_minor bigint,
            currency text NOT NULL,
            value_on date NOT NULL,
            occurred_at timestamptz,
            available_at timestamptz,
            batch_reference text,
            description text NOT NULL,
            line_sha256 bytea NOT NULL,
            content_sha256 bytea NOT NULL,
            run_on date,
            PRIMARY KEY (book_id, line_id),
            CONSTRAINT statement_lines_once UNIQUE (book_id, line_sha256),
            CHECK ((fee_minor IS NULL) = (vat_minor IS NULL))
        )
        """,
        "CREATE INDEX statement_lines_by_day ON reconciliation.statement_lines (book_id, value_on, side)",
        "CREATE INDEX statement_lines_by_run ON reconciliation.statement_lines (book_id, run_on)",
        """
        CREATE TABLE reconciliation.line_references (
            book_id bigint NOT NULL,
            line_id text NOT NULL,
            scheme text NOT NULL,
            value text NOT NULL,
            strong boolean NOT NULL,
            PRIMARY KEY (book_id, scheme, value, line_id)
        )
        """,
        "CREATE INDEX line_references_by_line ON reconciliation.line_references (book_id, line_id)",
        """
        CREATE TABLE reconciliation.rejected_lines (
            book_id bigint NOT NULL,
            file_id text NOT NULL,
            line_number integer NOT NULL,
            field text NOT NULL,
            reason text NOT NULL,
            detail text NOT NULL,
            amount_minor bigint,
            PRIMARY KEY (book_id, file_id, line_number, field)
        )
        """,
    )


def _expectations() -> None:
    execute(
        """
        CREATE TABLE reconciliation.expected_lines (
            book_id bigint NOT NULL,
            expected_id text NOT NULL,
            sequence bigint NOT NULL,
            stage text NOT NULL CHECK (stage IN ('provider', 'payout')),
            provider text,
            kind text NOT NULL,
            amount_minor bigint NOT NULL,
            currency text NOT NULL,
            effective_on date NOT NULL,
            booked_sequence bigint,
            withdrawn_sequence bigint,
            PRIMARY KEY (book_id, expected_id)
        )
        """,
        "CREATE INDEX expected_lines_by_day ON reconciliation.expected_lines (book_id, effective_on, stage)",
        """
        CREATE TABLE reconciliation.expected_references (
            book_id bigint NOT NULL,
            expected_id text NOT NULL,
            scheme text NOT NULL,
            value text NOT NULL,
            PRIMARY KEY (book_id, scheme, value, expected_id)
        )
        """,
        "CREATE INDEX expected_references_by_line ON reconciliation.expected_references (book_id, expected_id)",
        """
        CREATE TABLE reconciliation.feed_positions (
            book_id bigint PRIMARY KEY,
            last_sequence bigint NOT NULL
        )
        """,
    )


def _matches() -> None:
    execute(
        """
        CREATE TABLE reconciliation.matches (
            book_id bigint NOT NULL,
            stage text NOT NULL CHECK (stage IN ('provider', 'transfer', 'bank', 'payout')),
            line_id text NOT NULL,
            revision integer NOT NULL,
            expected_id text,
            counterpart_line_id text,
            rule text NOT NULL,
            gross_minor bigint NOT NULL,
            fee_minor bigint NOT NULL,
            vat_minor bigint NOT NULL,
            evidence jsonb NOT NULL,
            run_id text NOT NULL,
            revoked_at timestamptz,
            revoked_reason text,
            PRIMARY KEY (book_id, stage, line_id, revision),
            CHECK ((expected_id IS NULL) <> (counterpart_line_id IS NULL)),
            CHECK ((revoked_at IS NULL) = (revoked_reason IS NULL))
        )
        """,
        """
        CREATE UNIQUE INDEX matches_one_for_a_line
            ON reconciliation.matches (book_id, stage, line_id) WHERE revoked_at IS NULL
        """,
        """
        CREATE UNIQUE INDEX matches_one_for_an_expectation
            ON reconciliation.matches (book_id, stage, expected_id) WHERE revoked_at IS NULL
        """,
        """
        CREATE UNIQUE INDEX matches_one_for_a_counterpart
            ON reconciliation.matches (book_id, stage, counterpart_line_id) WHERE revoked_at IS NULL
        """,
    )


def _settled() -> None:
    execute(
        """
        CREATE TABLE reconciliation.settled_groups (
            book_id bigint NOT NULL,
            group_id text NOT NULL,
            kind text NOT NULL CHECK (kind IN ('net_transfer', 'direct_credits', 'biller_fee')),
            provider text NOT NULL,
            transfer_line_id text,
            value_on date NOT NULL,
            currency text NOT NULL,
            payments_minor bigint NOT NULL,
            refunds_minor bigint NOT NULL,
            fee_minor bigint NOT NULL,
            vat_minor bigint NOT NULL,
            transfer_fee_minor bigint NOT NULL,
            transfer_vat_minor bigint NOT NULL,
            bank_minor bigint NOT NULL,
            bank_account text NOT NULL,
            bank_references text[] NOT NULL,
            entry_sequence bigint,
            run_id text NOT NULL,
            PRIMARY KEY (book_id, group_id),
            CONSTRAINT settled_groups_transfer_once UNIQUE (book_id, transfer_line_id),
            CHECK (payments_minor - refunds_minor - fee_minor - vat_minor
                - transfer_fee_minor - transfer_vat_minor = bank_minor)
        )
        """,
        """
        CREATE INDEX settled_groups_to_post
            ON reconciliation.settled_groups (book_id, group_id) WHERE entry_sequence IS NULL
        """,
        """
        CREATE TABLE reconciliation.settled_items (
            book_id bigint NOT NULL,
            line_id text NOT NULL,
            group_id text NOT NULL,
            PRIMARY KEY (book_id, line_id)
        )
        """,
        "CREATE INDEX settled_items_by_group ON reconciliation.settled_items (book_id, group_id)",
    )


def _breaks_and_runs() -> None:
    execute(
        """
        CREATE TABLE reconciliation.breaks (
            book_id bigint NOT NULL,
            break_id text NOT NULL,
            subject text NOT NULL,
            kind text NOT NULL,
            stage text NOT NULL,
            provider text,
            amount_minor bigint NOT NULL,
            currency text NOT NULL,
            since_on date NOT NULL,
            reason text NOT NULL,
            owner text NOT NULL,
            state text NOT NULL CHECK (state IN ('open', 'closed')),
            opened_run_id text NOT NULL,
            seen_run_id text NOT NULL,
            closed_run_id text,
            resolution text,
            PRIMARY KEY (book_id, break_id),
            CHECK ((state = 'closed') = (closed_run_id IS NOT NULL))
        )
        """,
        """
        CREATE UNIQUE INDEX breaks_one_open_for_a_subject
            ON reconciliation.breaks (book_id, subject) WHERE state = 'open'
        """,
        """
        CREATE TABLE reconciliation.runs (
            book_id bigint NOT NULL,
            business_on date NOT NULL,
            run_id text NOT NULL,
            state text NOT NULL CHECK (state IN ('started', 'finished')),
            attempts integer NOT NULL,
            started_at timestamptz NOT NULL,
            finished_at timestamptz,
            result jsonb,
            PRIMARY KEY (book_id, business_on),
            CONSTRAINT runs_id UNIQUE (book_id, run_id)
        )
        """,
    )
