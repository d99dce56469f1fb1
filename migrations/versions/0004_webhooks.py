"""webhooks: events and their deliveries to merchants' endpoints, and the inbox of providers' callbacks."""

from migrations.run import execute

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    _events()
    _endpoints()
    _deliveries()
    _inbox()


def _events() -> None:
    execute(
        # payload is the very body that every delivery sends and signs: an event never changes.
        """
        CREATE TABLE gateway.events (
            book_id bigint NOT NULL,
            event_id text NOT NULL,
            account_id text NOT NULL,
            livemode boolean NOT NULL,
            type text NOT NULL,
            subject_id text NOT NULL,
            payload bytea NOT NULL CHECK (octet_length(payload) < 20480),
            created_at timestamptz NOT NULL,
            PRIMARY KEY (book_id, event_id)
        )
        """,
        "CREATE INDEX events_account ON gateway.events (book_id, account_id, event_id)",
        "CREATE INDEX events_subject ON gateway.events (book_id, subject_id)",
        "GRANT SELECT, INSERT ON gateway.events TO @app@",
    )


def _endpoints() -> None:
    execute(
        # The row is also the endpoint's lane: whoever holds the lease sends, one delivery after the other.
        """
        CREATE TABLE gateway.webhook_endpoints (
            book_id bigint NOT NULL,
            endpoint_id text NOT NULL,
            account_id text NOT NULL,
            livemode boolean NOT NULL,
            url text NOT NULL,
            event_types text[] NOT NULL CHECK (cardinality(event_types) > 0),
            description text NOT NULL,
            status text NOT NULL CHECK (status IN ('enabled', 'disabled')),
            disabled_reason text,
            sealed_secret bytea NOT NULL,
            sealed_previous_secret bytea,
            previous_secret_until timestamptz,
            failing_since timestamptz,
            paused_until timestamptz,
            lease_until timestamptz,
            created_at timestamptz NOT NULL,
            PRIMARY KEY (book_id, endpoint_id),
            CHECK ((status = 'disabled') = (disabled_reason IS NOT NULL)),
            CHECK ((sealed_previous_secret IS NULL) = (previous_secret_until IS NULL))
        )
        """,
        "CREATE INDEX webhook_endpoints_account ON gateway.webhook_endpoints (book_id, account_id)",
        "GRANT SELECT, INSERT, UPDATE ON gateway.webhook_endpoints TO @app@",
    )


def _deliveries() -> None:
    execute(
        """
        CREATE TABLE gateway.webhook_deliveries (
            book_id bigint NOT NULL,
            delivery_id text NOT NULL,
            endpoint_id text NOT NULL,
            event_id text NOT NULL,
            state text NOT NULL CHECK (state IN ('pending', 'delivered', 'failed')),
            attempts integer NOT NULL,
            attempts_since_asked integer NOT NULL,
            next_attempt_at timestamptz NOT NULL,
            delivered_at timestamptz,
            PRIMARY KEY (book_id, delivery_id),
            CHECK ((state = 'delivered') = (delivered_at IS NOT NULL))
        )
        """,
        """
        CREATE UNIQUE INDEX webhook_deliveries_once
            ON gateway.webhook_deliveries (book_id, endpoint_id, event_id)
        """,
        "CREATE INDEX webhook_deliveries_event ON gateway.webhook_deliveries (book_id, event_id)",
        """
        CREATE INDEX webhook_deliveries_lane
            ON gateway.webhook_deliveries (book_id, endpoint_id, delivery_id) WHERE state = 'pending'
        """,
        "GRANT SELECT, INSERT, UPDATE ON gateway.webhook_deliveries TO @app@",
        """
        CREATE TABLE gateway.webhook_delivery_attempts (
            book_id bigint NOT NULL,
            delivery_id text NOT NULL,
            attempt integer NOT NULL,
            attempted_at timestamptz NOT NULL,
            outcome text NOT NULL,
            milliseconds integer NOT NULL,
            response_status integer,
            sealed_response_body bytea,
            PRIMARY KEY (book_id, delivery_id, attempt)
        )
        """,
        "GRANT SELECT, INSERT ON gateway.webhook_delivery_attempts TO @app@",
    )


def _inbox() -> None:
    execute(
        """
        CREATE TABLE gateway.webhook_inbox (
            inbox_id text PRIMARY KEY,
            provider_account_id text NOT NULL,
            provider text NOT NULL,
            book_id bigint NOT NULL,
            digest bytea NOT NULL,
            sealed_callback bytea NOT NULL,
            received_at timestamptz NOT NULL,
            arrivals integer NOT NULL,
            state text NOT NULL CHECK (state IN ('pending', 'applied', 'ignored', 'quarantined')),
            reason text,
            event_id text,
            attempts integer NOT NULL,
            next_attempt_at timestamptz NOT NULL,
            lease_until timestamptz,
            processed_at timestamptz,
            UNIQUE (provider_account_id, digest),
            CHECK ((state = 'pending') = (processed_at IS NULL))
        )
        """,
        "CREATE INDEX webhook_inbox_due ON gateway.webhook_inbox (next_attempt_at) WHERE state = 'pending'",
        "GRANT SELECT, INSERT, UPDATE ON gateway.webhook_inbox TO @app@",
    )
