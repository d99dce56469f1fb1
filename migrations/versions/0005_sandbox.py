"""Sandbox: what the invented providers and the invented bank remember.

One world a test book, first in every key. The sandbox's own role sees nothing but this schema, and nobody else's
role sees it. Here are test credentials and invented payers only; of a card the last digits and the brand stay.
"""

from migrations.run import execute

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    execute("CREATE SCHEMA sandbox")
    _worlds()
    _bill_payments()
    _omise_charges()
    _omise_money()
    _acquirers()
    _bank()
    _faults_and_callbacks()
    execute(
        "GRANT USAGE ON SCHEMA sandbox TO @sandbox@",
        "GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA sandbox TO @sandbox@",
    )


def _worlds() -> None:
    execute(
        """
        CREATE TABLE sandbox.worlds (
            world text PRIMARY KEY CHECK (world ~ '^[0-9A-Za-z_-]{1,40}$'),
            offset_seconds bigint NOT NULL DEFAULT 0 CHECK (offset_seconds >= 0),
            settings jsonb NOT NULL,
            opened_on date NOT NULL,
            rolled_to_on date NOT NULL
        )
        """,
        """
        CREATE TABLE sandbox.provider_accounts (
            world text NOT NULL,
            provider text NOT NULL,
            credentials jsonb NOT NULL,
            callback_url text,
            PRIMARY KEY (world, provider)
        )
        """,
        """
        CREATE TABLE sandbox.identifiers (
            provider text NOT NULL,
            name text NOT NULL,
            value text NOT NULL,
            world text NOT NULL,
            PRIMARY KEY (provider, name, value),
            UNIQUE (world, provider, name)
        )
        """,
        """
        CREATE TABLE sandbox.access_tokens (
            token_sha256 bytea PRIMARY KEY,
            world text NOT NULL,
            expires_at timestamptz NOT NULL
        )
        """,
    )


def _bill_payments() -> None:
    execute(
        """
        CREATE TABLE sandbox.qr_codes (
            world text NOT NULL,
            ref1 text NOT NULL,
            ref2 text NOT NULL,
            ref3 text NOT NULL,
            amount_minor bigint NOT NULL CHECK (amount_minor > 0),
            qr_data text NOT NULL,
            created_at timestamptz NOT NULL,
            expires_at timestamptz,
            PRIMARY KEY (world, ref1, ref2, ref3)
        )
        """,
        """
        CREATE TABLE sandbox.bill_payments (
            world text NOT NULL,
            transaction_id text NOT NULL,
            ref1 text NOT NULL,
            ref2 text NOT NULL,
            ref3 text NOT NULL,
            amount_minor bigint NOT NULL CHECK (amount_minor > 0),
            sending_bank_code text NOT NULL,
            paid_at timestamptz NOT NULL,
            paid_on date NOT NULL,
            PRIMARY KEY (world, transaction_id)
        )
        """,
        "CREATE INDEX ON sandbox.qr_codes (world, qr_data)",
        "CREATE INDEX ON sandbox.bill_payments (world, ref1)",
        "CREATE INDEX ON sandbox.bill_payments (world, paid_on)",
    )


def _omise_charges() -> None:
    execute(
        """
        CREATE TABLE sandbox.card_tokens (
            world text NOT NULL,
            id text NOT NULL,
            card_id text NOT NULL,
            brand text NOT NULL,
            last_digits text NOT NULL CHECK (length(last_digits) = 4),
            expiration_month integer NOT NULL,
            expiration_year integer NOT NULL,
            failure_code text,
            used boolean NOT NULL DEFAULT false,
            created_at timestamptz NOT NULL,
            PRIMARY KEY (world, id)
        )
        """,
        """
        CREATE TABLE sandbox.sources (
            world text NOT NULL,
            id text NOT NULL,
            type text NOT NULL,
            amount_minor bigint NOT NULL,
            currency text NOT NULL,
            created_at timestamptz NOT NULL,
            PRIMARY KEY (world, id)
        )
        """,
        """
        CREATE TABLE sandbox.charges (
            world text NOT NULL,
            id text NOT NULL,
            method text NOT NULL CHECK (method IN ('card', 'promptpay')),
            amount_minor bigint NOT NULL CHECK (amount_minor > 0),
            currency text NOT NULL,
            status text NOT NULL
                CHECK (status IN ('pending', 'successful', 'failed', 'expired', 'reversed')),
            authorized boolean NOT NULL,
            capture boolean NOT NULL,
            captured_minor bigint NOT NULL DEFAULT 0,
            fee_minor bigint NOT NULL DEFAULT 0,
            fee_vat_minor bigint NOT NULL DEFAULT 0,
            refunded_minor bigint NOT NULL DEFAULT 0 CHECK (refunded_minor BETWEEN 0 AND captured_minor),
            voided boolean NOT NULL DEFAULT false,
            description text,
            metadata jsonb NOT NULL,
            return_uri text,
            webhook_endpoints jsonb NOT NULL,
            card_token_id text,
            source_id text,
            qr_data text,
            download_token text,
            failure_code text,
            failure_message text,
            transaction_id text,
            created_at timestamptz NOT NULL,
            expires_at timestamptz NOT NULL,
            paid_at timestamptz,
            expired_at timestamptz,
            reversed_at timestamptz,
            PRIMARY KEY (world, id)
        )
        """,
        "CREATE INDEX ON sandbox.charges (world, expires_at) WHERE status = 'pending'",
        """
        CREATE TABLE sandbox.refunds (
            world text NOT NULL,
            id text NOT NULL,
            charge_id text NOT NULL,
            amount_minor bigint NOT NULL CHECK (amount_minor > 0),
            currency text NOT NULL,
            status text NOT NULL CHECK (status IN ('pending', 'closed', 'failed')),
            voided boolean NOT NULL,
            metadata jsonb NOT NULL,
            transaction_id text,
            fails_at timestamptz,
            created_at timestamptz NOT NULL,
            PRIMARY KEY (world, id)
        )
        """,
        "CREATE INDEX ON sandbox.refunds (world, charge_id)",
    )


def _omise_money() -> None:
    execute(
        """
        CREATE TABLE sandbox.transactions (
            world text NOT NULL,
            id text NOT NULL,
            origin text NOT NULL,
            key text NOT NULL,
            direction text NOT NULL CHECK (direction IN ('credit', 'debit')),
            amount_minor bigint NOT NULL CHECK (amount_minor > 0),
            currency text NOT NULL,
            transferable_at timestamptz NOT NULL,
            created_at timestamptz NOT NULL,
            PRIMARY KEY (world, id)
        )
        """,
        """
        CREATE TABLE sandbox.transfers (
            world text NOT NULL,
            id text NOT NULL,
            amount_minor bigint NOT NULL CHECK (amount_minor > 0),
            fee_minor bigint NOT NULL,
            fee_vat_minor bigint NOT NULL,
            currency text NOT NULL,
            idempotency_key text,
            metadata jsonb NOT NULL,
            transaction_id text NOT NULL,
            created_at timestamptz NOT NULL,
            arrives_on date NOT NULL,
            paid_at timestamptz,
            PRIMARY KEY (world, id)
        )
        """,
        """
        CREATE TABLE sandbox.events (
            world text NOT NULL,
            id text NOT NULL,
            key text NOT NULL,
            data jsonb NOT NULL,
            created_at timestamptz NOT NULL,
            PRIMARY KEY (world, id)
        )
        """,
    )


def _acquirers() -> None:
    execute(
        """
        CREATE TABLE sandbox.acquired_charges (
            world text NOT NULL,
            provider text NOT NULL,
            id text NOT NULL,
            reference text NOT NULL,
            method text NOT NULL,
            amount_minor bigint NOT NULL CHECK (amount_minor > 0),
            status text NOT NULL CHECK (
                status IN ('pending', 'authorized', 'captured', 'failed', 'expired', 'canceled', 'voided')
            ),
            failure_code text,
            captured_minor bigint NOT NULL DEFAULT 0,
            returned_minor bigint NOT NULL DEFAULT 0 CHECK (returned_minor BETWEEN 0 AND captured_minor),
            qr_data text,
            details jsonb NOT NULL,
            created_at timestamptz NOT NULL,
            expires_at timestamptz,
            PRIMARY KEY (world, provider, id)
        )
        """,
        "CREATE INDEX ON sandbox.acquired_charges (world, provider, reference)",
        "CREATE INDEX ON sandbox.acquired_charges (world, expires_at) WHERE status IN ('pending', 'authorized')",
        """
        CREATE TABLE sandbox.acquired_movements (
            world text NOT NULL,
            provider text NOT NULL,
            id text NOT NULL,
            charge_id text NOT NULL,
            kind text NOT NULL CHECK (kind IN ('payment', 'void', 'refund')),
            status text NOT NULL CHECK (status IN ('done', 'pending', 'failed')),
            amount_minor bigint NOT NULL CHECK (amount_minor > 0),
            fee_minor bigint NOT NULL,
            fee_vat_minor bigint NOT NULL,
            reference text NOT NULL,
            details jsonb NOT NULL,
            occurred_at timestamptz NOT NULL,
            booked_on date NOT NULL,
            ends_as text CHECK (ends_as IN ('done', 'failed')),
            ends_at timestamptz,
            batch_id text,
            PRIMARY KEY (world, provider, id)
        )
        """,
        "CREATE INDEX ON sandbox.acquired_movements (world, provider, charge_id)",
        "CREATE INDEX ON sandbox.acquired_movements (world, provider, booked_on)",
        "CREATE INDEX ON sandbox.acquired_movements (world, ends_at) WHERE status = 'pending'",
        """
        CREATE TABLE sandbox.acquired_batches (
            world text NOT NULL,
            provider text NOT NULL,
            id text NOT NULL,
            settled_on date NOT NULL,
            gross_minor bigint NOT NULL,
            fee_minor bigint NOT NULL,
            fee_vat_minor bigint NOT NULL,
            net_minor bigint NOT NULL CHECK (net_minor > 0 AND net_minor = gross_minor - fee_minor - fee_vat_minor),
            PRIMARY KEY (world, provider, id)
        )
        """,
        "CREATE INDEX ON sandbox.acquired_batches (world, provider, settled_on)",
    )


def _bank() -> None:
    execute(
        """
        CREATE TABLE sandbox.bank_lines (
            world text NOT NULL,
            id text NOT NULL,
            position integer NOT NULL,
            booked_on date NOT NULL,
            amount_minor bigint NOT NULL CHECK (amount_minor <> 0),
            reference text NOT NULL,
            description text NOT NULL,
            PRIMARY KEY (world, id),
            UNIQUE (world, position)
        )
        """,
        "CREATE INDEX ON sandbox.bank_lines (world, booked_on)",
        """
        CREATE TABLE sandbox.payment_files (
            world text NOT NULL,
            message_id text NOT NULL,
            file_reference text NOT NULL,
            content_sha256 bytea NOT NULL,
            received_at timestamptz NOT NULL,
            PRIMARY KEY (world, message_id),
            UNIQUE (world, file_reference)
        )
        """,
        """
        CREATE TABLE sandbox.payouts (
            world text NOT NULL,
            end_to_end_id text NOT NULL,
            file_reference text NOT NULL,
            amount_minor bigint NOT NULL CHECK (amount_minor > 0),
            account_last_digits text NOT NULL,
            execute_on date NOT NULL,
            state text NOT NULL CHECK (state IN ('accepted', 'executed', 'returned')),
            to_be_returned boolean NOT NULL,
            executed_on date,
            returned_on date,
            PRIMARY KEY (world, end_to_end_id)
        )
        """,
    )


def _faults_and_callbacks() -> None:
    execute(
        """
        CREATE TABLE sandbox.faults (
            world text NOT NULL,
            id text NOT NULL,
            provider text NOT NULL,
            operation text NOT NULL,
            fault text NOT NULL,
            remaining integer NOT NULL CHECK (remaining >= 0),
            amount_minor bigint,
            parameters jsonb NOT NULL,
            PRIMARY KEY (world, id)
        )
        """,
        """
        CREATE TABLE sandbox.magic_amounts_used (
            world text NOT NULL,
            operation text NOT NULL,
            fingerprint text NOT NULL,
            PRIMARY KEY (world, operation, fingerprint)
        )
        """,
        """
        CREATE TABLE sandbox.callback_queue (
            id text PRIMARY KEY,
            world text NOT NULL,
            provider text NOT NULL,
            subject text NOT NULL,
            url text NOT NULL,
            body bytea NOT NULL,
            content_type text NOT NULL,
            forged boolean NOT NULL,
            held boolean NOT NULL,
            state text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'delivered', 'failed')),
            attempts integer NOT NULL DEFAULT 0,
            due_at timestamptz NOT NULL,
            last_status integer,
            created_at timestamptz NOT NULL
        )
        """,
        "CREATE INDEX ON sandbox.callback_queue (due_at) WHERE state = 'queued'",
        "CREATE INDEX ON sandbox.callback_queue (world, created_at)",
    )
