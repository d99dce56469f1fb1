"""merchants: accounts, their keys and secrets, operators and what they did, clocks, fee plans, provider accounts."""

from migrations.run import execute

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    _accounts()
    _keys()
    _operators()
    _terms()
    _provider_accounts()


def _accounts() -> None:
    execute(
        "CREATE SCHEMA gateway",
        "GRANT USAGE ON SCHEMA gateway TO @app@",
        """
        CREATE TABLE gateway.accounts (
            account_id text PRIMARY KEY,
            test_book_id bigint NOT NULL UNIQUE,
            live_book_id bigint NOT NULL,
            sealed_name bytea NOT NULL,
            sealed_email bytea NOT NULL,
            email_lookup bytea NOT NULL,
            rate_per_second integer NOT NULL CHECK (rate_per_second > 0),
            rate_burst integer NOT NULL CHECK (rate_burst > 0),
            created_at timestamptz NOT NULL,
            CHECK (test_book_id <> live_book_id)
        )
        """,
        "CREATE INDEX accounts_email_lookup ON gateway.accounts (email_lookup)",
        """
        CREATE TABLE gateway.data_keys (
            account_id text PRIMARY KEY,
            wrapped_key bytea NOT NULL,
            created_at timestamptz NOT NULL
        )
        """,
        """
        CREATE TABLE gateway.bank_accounts (
            bank_account_id text PRIMARY KEY,
            account_id text NOT NULL,
            book_id bigint NOT NULL,
            currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
            bank_code text NOT NULL,
            sealed_number bytea NOT NULL,
            sealed_name bytea NOT NULL,
            last_four text NOT NULL,
            payout_minimum_minor bigint NOT NULL CHECK (payout_minimum_minor >= 0),
            created_at timestamptz NOT NULL,
            disabled_at timestamptz
        )
        """,
        """
        CREATE UNIQUE INDEX bank_accounts_one_in_use
            ON gateway.bank_accounts (book_id, account_id, currency) WHERE disabled_at IS NULL
        """,
        "GRANT SELECT, INSERT, UPDATE ON gateway.accounts, gateway.bank_accounts TO @app@",
        # DELETE: destroying a data key is how a merchant's personal data is shredded; books and proofs stay.
        "GRANT SELECT, INSERT, DELETE ON gateway.data_keys TO @app@",
    )


def _keys() -> None:
    execute(
        """
        CREATE TABLE gateway.api_keys (
            key_id text PRIMARY KEY,
            account_id text NOT NULL REFERENCES gateway.accounts,
            livemode boolean NOT NULL,
            name text NOT NULL,
            key_hash bytea NOT NULL UNIQUE,
            prefix text NOT NULL,
            last_four text NOT NULL,
            scopes text[] NOT NULL,
            created_at timestamptz NOT NULL,
            expires_at timestamptz,
            revoked_at timestamptz,
            last_used_at timestamptz
        )
        """,
        "CREATE INDEX api_keys_account ON gateway.api_keys (account_id)",
        "GRANT SELECT, INSERT, UPDATE ON gateway.api_keys TO @app@",
    )


def _operators() -> None:
    execute(
        """
        CREATE TABLE gateway.operators (
            operator_id text PRIMARY KEY,
            sealed_name bytea NOT NULL,
            created_at timestamptz NOT NULL,
            disabled_at timestamptz
        )
        """,
        """
        CREATE TABLE gateway.operator_keys (
            key_id text PRIMARY KEY,
            operator_id text NOT NULL REFERENCES gateway.operators,
            key_hash bytea NOT NULL UNIQUE,
            last_four text NOT NULL,
            scopes text[] NOT NULL,
            created_at timestamptz NOT NULL,
            expires_at timestamptz NOT NULL,
            revoked_at timestamptz,
            last_used_at timestamptz
        )
        """,
        """
        CREATE TABLE gateway.operator_acts (
            act_id text PRIMARY KEY,
            actor text NOT NULL,
            act text NOT NULL,
            subject text NOT NULL,
            reason text NOT NULL CHECK (reason <> ''),
            acted_at timestamptz NOT NULL
        )
        """,
        "GRANT SELECT, INSERT, UPDATE ON gateway.operators, gateway.operator_keys TO @app@",
        # No UPDATE: what was done stays done.
        "GRANT SELECT, INSERT ON gateway.operator_acts TO @app@",
    )


def _terms() -> None:
    execute(
        """
        CREATE TABLE gateway.book_clocks (
            book_id bigint PRIMARY KEY,
            offset_seconds bigint NOT NULL CHECK (offset_seconds >= 0),
            updated_at timestamptz NOT NULL
        )
        """,
        """
        CREATE TABLE gateway.fee_plans (
            account_id text NOT NULL,
            method text NOT NULL,
            version integer NOT NULL CHECK (version > 0),
            rate_ppm integer NOT NULL CHECK (rate_ppm BETWEEN 0 AND 1000000),
            fixed_minor bigint NOT NULL CHECK (fixed_minor >= 0),
            settlement_days integer NOT NULL CHECK (settlement_days BETWEEN 0 AND 60),
            created_at timestamptz NOT NULL,
            PRIMARY KEY (account_id, method, version)
        )
        """,
        "GRANT SELECT, INSERT, UPDATE ON gateway.book_clocks TO @app@",
        # No UPDATE: a changed plan is a new version, so an old charge still shows the terms it was made under.
        "GRANT SELECT, INSERT ON gateway.fee_plans TO @app@",
    )


def _provider_accounts() -> None:
    execute(
        """
        CREATE TABLE gateway.provider_accounts (
            provider_account_id text PRIMARY KEY,
            book_id bigint NOT NULL,
            provider text NOT NULL,
            livemode boolean NOT NULL,
            base_url text NOT NULL,
            public_url text NOT NULL,
            sealed_credentials bytea NOT NULL,
            sealed_callback_token bytea NOT NULL,
            callback_token_lookup bytea NOT NULL UNIQUE,
            created_at timestamptz NOT NULL,
            registered_at timestamptz,
            UNIQUE (book_id, provider)
        )
        """,
        """
        CREATE INDEX provider_accounts_unregistered ON gateway.provider_accounts (created_at)
            WHERE registered_at IS NULL AND NOT livemode
        """,
        "GRANT SELECT, INSERT, UPDATE ON gateway.provider_accounts TO @app@",
    )
