"""limits: what an account may take in a payment, a day and a month; velocity rules, blocklists and customers."""

from migrations.run import execute

revision = "0011"
down_revision = "0010"

PAYER_KINDS = "('ip', 'card_fingerprint', 'payer_account', 'email', 'customer')"


def upgrade() -> None:
    _limits()
    _velocity()
    _blocklists()
    _customers()


def _limits() -> None:
    execute(
        """
        CREATE TABLE gateway.payment_limits (
            book_id bigint NOT NULL,
            account_id text NOT NULL,
            currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
            method text NOT NULL,
            version integer NOT NULL CHECK (version > 0),
            payment_min_minor bigint CHECK (payment_min_minor > 0),
            payment_max_minor bigint CHECK (payment_max_minor >= coalesce(payment_min_minor, 0)),
            day_max_minor bigint CHECK (day_max_minor >= 0),
            month_max_minor bigint CHECK (month_max_minor >= 0),
            day_payments_max integer CHECK (day_payments_max >= 0),
            actor text NOT NULL,
            reason text NOT NULL CHECK (reason <> ''),
            created_at timestamptz NOT NULL,
            PRIMARY KEY (book_id, account_id, currency, method, version)
        )
        """,
        # No check that sums stay above zero: a wrong counter must not keep a provider's fact from being recorded.
        """
        CREATE TABLE gateway.limit_usage (
            book_id bigint NOT NULL,
            account_id text NOT NULL,
            currency text NOT NULL,
            method text NOT NULL,
            period text NOT NULL CHECK (period IN ('day', 'month')),
            starts_on date NOT NULL,
            amount_minor bigint NOT NULL,
            payments integer NOT NULL,
            PRIMARY KEY (book_id, account_id, currency, method, period, starts_on)
        )
        """,
        "ALTER TABLE gateway.payment_attempts ADD COLUMN counted boolean NOT NULL DEFAULT false",
        # No UPDATE: changed limits are a new version, so it can be seen what was allowed when.
        "GRANT SELECT, INSERT ON gateway.payment_limits TO @app@",
        "GRANT SELECT, INSERT, UPDATE ON gateway.limit_usage TO @app@",
    )


def _velocity() -> None:
    execute(
        f"""
        CREATE TABLE gateway.velocity_rules (
            book_id bigint NOT NULL,
            account_id text NOT NULL,
            payer_kind text NOT NULL CHECK (payer_kind IN {PAYER_KINDS}),
            counting text NOT NULL CHECK (counting IN ('payments', 'declines')),
            window_seconds integer NOT NULL CHECK (window_seconds BETWEEN 1 AND 7776000),
            version integer NOT NULL CHECK (version > 0),
            count_max integer CHECK (count_max >= 0),
            actor text NOT NULL,
            reason text NOT NULL CHECK (reason <> ''),
            created_at timestamptz NOT NULL,
            PRIMARY KEY (book_id, account_id, payer_kind, counting, window_seconds, version)
        )
        """,
        f"""
        CREATE TABLE gateway.payer_marks (
            book_id bigint NOT NULL,
            attempt_id text NOT NULL,
            kind text NOT NULL CHECK (kind IN {PAYER_KINDS}),
            account_id text NOT NULL,
            intent_id text NOT NULL,
            lookup bytea NOT NULL,
            created_at timestamptz NOT NULL,
            PRIMARY KEY (book_id, attempt_id, kind)
        )
        """,
        "CREATE INDEX payer_marks_lookup ON gateway.payer_marks (book_id, account_id, kind, lookup, created_at)",
        "CREATE INDEX payer_marks_age ON gateway.payer_marks (created_at)",
        "GRANT SELECT, INSERT ON gateway.velocity_rules TO @app@",
        # DELETE: what stands for a person is kept no longer than the longest window.
        "GRANT SELECT, INSERT, DELETE ON gateway.payer_marks TO @app@",
    )


def _blocklists() -> None:
    columns = f"""
            kind text NOT NULL CHECK (kind IN {PAYER_KINDS}),
            lookup bytea NOT NULL,
            last_characters text NOT NULL CHECK (length(last_characters) <= 4),
            reason text NOT NULL CHECK (reason <> ''),
            actor text NOT NULL,
            created_at timestamptz NOT NULL,
            expires_at timestamptz,
            ended_at timestamptz,
            ended_by text,
            CHECK ((ended_at IS NULL) = (ended_by IS NULL))
    """
    execute(
        f"""
        CREATE TABLE gateway.blocked_payers (
            book_id bigint NOT NULL,
            block_id text NOT NULL,
            account_id text NOT NULL,
            livemode boolean NOT NULL,
            {columns},
            PRIMARY KEY (book_id, block_id)
        )
        """,
        "CREATE INDEX blocked_payers_account ON gateway.blocked_payers (book_id, account_id, block_id)",
        """
        CREATE INDEX blocked_payers_in_force ON gateway.blocked_payers (book_id, account_id, kind, lookup)
            WHERE ended_at IS NULL
        """,
        # Without a book: the house's own list is the same on every node.
        f"CREATE TABLE gateway.house_blocks (block_id text PRIMARY KEY, {columns})",
        "CREATE INDEX house_blocks_in_force ON gateway.house_blocks (kind, lookup) WHERE ended_at IS NULL",
        # Of a block only its end may be written: what was blocked, why and by whom stays.
        "GRANT SELECT, INSERT, UPDATE (ended_at, ended_by) ON gateway.blocked_payers, gateway.house_blocks TO @app@",
        "ALTER TABLE gateway.payment_intents ADD COLUMN refused_code text",
        "ALTER TABLE gateway.payment_intents ADD COLUMN refused_reason text",
    )


def _customers() -> None:
    execute(
        """
        CREATE TABLE gateway.customers (
            book_id bigint NOT NULL,
            customer_id text NOT NULL,
            account_id text NOT NULL,
            livemode boolean NOT NULL,
            version integer NOT NULL CHECK (version > 0),
            sealed_details bytea,
            email_lookup bytea,
            metadata jsonb NOT NULL,
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL,
            deleted_at timestamptz,
            PRIMARY KEY (book_id, customer_id),
            CHECK ((sealed_details IS NULL) = (deleted_at IS NOT NULL)),
            CHECK (email_lookup IS NULL OR deleted_at IS NULL)
        )
        """,
        "CREATE INDEX customers_account ON gateway.customers (book_id, account_id, customer_id)",
        """
        CREATE INDEX customers_email ON gateway.customers (book_id, account_id, email_lookup)
            WHERE email_lookup IS NOT NULL
        """,
        """
        CREATE TABLE gateway.customer_moves (
            book_id bigint NOT NULL,
            customer_id text NOT NULL,
            version integer NOT NULL,
            move text NOT NULL CHECK (move IN ('created', 'updated', 'deleted')),
            actor text NOT NULL,
            moved_at timestamptz NOT NULL,
            PRIMARY KEY (book_id, customer_id, version)
        )
        """,
        "ALTER TABLE gateway.payment_intents ADD COLUMN customer_id text",
        """
        CREATE INDEX payment_intents_customer ON gateway.payment_intents (book_id, account_id, customer_id, intent_id)
            WHERE customer_id IS NOT NULL
        """,
        "GRANT SELECT, INSERT, UPDATE ON gateway.customers TO @app@",
        "GRANT SELECT, INSERT ON gateway.customer_moves TO @app@",
    )
