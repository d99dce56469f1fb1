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

VIEWS = ("open_lines", "open_expected_lines", "open_expected_pairs", "open_line_pairs")


def upgrade() -> None:
    execute("CREATE SCHEMA reconciliation", "GRANT USAGE ON SCHEMA reconciliation TO @app@, @auditor@")
    _statements()
    _expectations()
    _matches()
    _settled()
    _breaks_and_runs()
    _views()
    _statistics()
    for table in TABLES:
        execute(
            f"GRANT SELECT, INSERT, UPDATE ON reconciliation.{table} TO @app@",
            f"GRANT SELECT ON reconciliation.{table} TO @auditor@",
        )
    for view in VIEWS:
        execute(f"GRANT SELECT ON reconciliation.{view} TO @app@, @auditor@")


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
            stage text NOT NULL CHECK (stage IN ('provider', 'transfer', 'bank', 'payout')),
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
            stage text NOT NULL CHECK (stage IN ('provider', 'payout', 'bank')),
            provider text,
            kind text NOT NULL,
            amount_minor bigint NOT NULL,
            currency text NOT NULL,
            effective_on date NOT NULL,
            payout_id text,
            booked_sequence bigint,
            withdrawn_sequence bigint,
            PRIMARY KEY (book_id, expected_id)
        )
        """,
        """
        CREATE INDEX expected_lines_by_payout
            ON reconciliation.expected_lines (book_id, payout_id) WHERE payout_id IS NOT NULL
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
        "CREATE INDEX matches_revoked ON reconciliation.matches (book_id, stage, line_id) WHERE revoked_at IS NOT NULL",
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
            transfer_reference text,
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


def _views() -> None:
    execute(
        # What still waits for its other half at its stage. A provider's payment has two other halves, our books
        # (stage provider) and the bank (there it is somebody's counterpart); it is listed under the first only.
        """
        CREATE VIEW reconciliation.open_lines AS
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
            SELECT FROM reconciliation.settled_items AS charged
            WHERE line.side = 'bank' AND charged.book_id = line.book_id AND charged.line_id = line.line_id
        )
        """,
        """
        CREATE VIEW reconciliation.open_expected_lines AS
        SELECT expected.*
        FROM reconciliation.expected_lines AS expected
        WHERE expected.withdrawn_sequence IS NULL AND NOT EXISTS (
            SELECT FROM reconciliation.matches AS taken
            WHERE taken.book_id = expected.book_id AND taken.stage = expected.stage
                AND taken.expected_id = expected.expected_id AND taken.revoked_at IS NULL
        )
        """,
        # A line and an expectation that share a name, whatever their amounts say. `vetoed`: they share only a weak
        # name while the expectation carries another id in the scheme of the line's strong one.
        """
        CREATE VIEW reconciliation.open_expected_pairs AS
        SELECT line.book_id, line.stage, line.line_id, line.value_on, line.occurred_at, line.currency,
            line.amount_minor, line.fee_minor, line.vat_minor, expected.expected_id, expected.sequence,
            expected.amount_minor AS expected_minor, expected.currency AS expected_currency, line.provider,
            expected.effective_on, shared.scheme, shared.value, shared.strong,
            NOT shared.strong AND EXISTS (
                SELECT FROM reconciliation.line_references AS own
                JOIN reconciliation.expected_references AS other
                    ON other.book_id = own.book_id AND other.scheme = own.scheme
                WHERE own.book_id = line.book_id AND own.line_id = line.line_id AND own.strong
                    AND other.expected_id = expected.expected_id AND other.value <> shared.value
                    AND other.value <> own.value
            ) AS vetoed
        FROM reconciliation.open_lines AS line
        JOIN reconciliation.line_references AS shared
            ON shared.book_id = line.book_id AND shared.line_id = line.line_id
        JOIN reconciliation.expected_references AS named
            ON named.book_id = line.book_id AND named.scheme = shared.scheme AND named.value = shared.value
        JOIN reconciliation.open_expected_lines AS expected
            ON expected.book_id = line.book_id AND expected.expected_id = named.expected_id
            AND expected.stage = line.stage AND expected.provider IS NOT DISTINCT FROM line.provider
            AND sign(expected.amount_minor) = sign(line.amount_minor)
        """,
        # Two statement lines that share a name: the bank's or the balance's, and the provider's. What the
        # counterpart must show: of a transfer what is left after its fee and VAT, coming instead of going.
        """
        CREATE VIEW reconciliation.open_line_pairs AS
        SELECT line.book_id, line.stage, line.line_id, line.value_on, line.occurred_at, line.currency,
            line.amount_minor, counterpart.line_id AS counterpart_line_id, counterpart.kind AS counterpart_kind,
            counterpart.value_on AS counterpart_on, counterpart.currency AS counterpart_currency, line.provider,
            CASE
                WHEN line.stage = 'bank' AND counterpart.kind = 'transfer'
                    THEN -counterpart.amount_minor - counterpart.fee_minor - counterpart.vat_minor
                ELSE counterpart.amount_minor
            END AS expected_minor,
            counterpart.fee_minor, counterpart.vat_minor, shared.scheme, shared.value, shared.strong,
            NOT shared.strong
            AND EXISTS (
                SELECT FROM reconciliation.line_references AS own
                WHERE own.book_id = line.book_id AND own.line_id = line.line_id AND own.strong
            )
            AND EXISTS (
                SELECT FROM reconciliation.line_references AS other
                WHERE other.book_id = line.book_id AND other.line_id = counterpart.line_id AND other.strong
            ) AS vetoed
        FROM reconciliation.open_lines AS line
        JOIN reconciliation.line_references AS shared
            ON shared.book_id = line.book_id AND shared.line_id = line.line_id
        JOIN reconciliation.line_references AS named
            ON named.book_id = line.book_id AND named.scheme = shared.scheme AND named.value = shared.value
            AND named.line_id <> line.line_id
        JOIN reconciliation.statement_lines AS counterpart
            ON counterpart.book_id = line.book_id AND counterpart.line_id = named.line_id
            AND counterpart.side = 'provider' AND counterpart.provider = line.provider
        WHERE (
            line.stage = 'transfer' AND counterpart.kind = 'transfer'
            OR line.stage = 'bank' AND line.side = 'bank' AND counterpart.kind = line.kind
        )
        AND NOT EXISTS (
            SELECT FROM reconciliation.matches AS taken
            WHERE taken.book_id = line.book_id AND taken.stage = line.stage
                AND taken.counterpart_line_id = counterpart.line_id AND taken.revoked_at IS NULL
        )
        """,
    )


def _statistics() -> None:
    execute(
        # A big file may be matched before autovacuum has looked at its rows, and without statistics the joins of
        # the passes turn into nested loops over everything. Only an owner may ANALYZE, so a function does it.
        """
        CREATE FUNCTION reconciliation.refresh_statistics_v1() RETURNS void
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
        BEGIN
            ANALYZE reconciliation.statement_lines, reconciliation.line_references, reconciliation.matches,
                reconciliation.expected_lines, reconciliation.expected_references, reconciliation.settled_items;
        END
        $$
        """,
        "REVOKE ALL ON FUNCTION reconciliation.refresh_statistics_v1() FROM PUBLIC",
        "GRANT EXECUTE ON FUNCTION reconciliation.refresh_statistics_v1() TO @app@",
    )
