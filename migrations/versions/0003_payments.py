"""payments: intents, attempts, facts, refunds, their moves, references of providers, idempotent requests."""

from migrations.run import execute

revision = "0003"
down_revision = "0002"

INTENT_ENDS = "requires_payment_method succeeded canceled expired conflicted"
INTENT_MOVES = {
    "requires_payment_method": "requires_confirmation requires_action processing requires_capture"
    " succeeded canceled expired conflicted",
    "requires_confirmation": f"requires_action processing requires_capture {INTENT_ENDS}",
    "requires_action": f"processing requires_capture {INTENT_ENDS}",
    "processing": f"requires_action requires_capture {INTENT_ENDS}",
    "requires_capture": INTENT_ENDS,
    "expired": "succeeded canceled conflicted",
    "canceled": "succeeded conflicted",
    "succeeded": "conflicted",
}
ATTEMPT_RANKS = "submitted not_attempted unknown pending abandoned authorized declined expired voided captured"
REFUND_MOVES = {
    "requested": "submitted failed",
    "reserved": "submitted pending succeeded failed conflicted",
    "submitted": "reserved unknown pending succeeded failed conflicted",
    "unknown": "pending succeeded failed conflicted",
    "pending": "succeeded failed conflicted",
    "succeeded": "conflicted",
    "failed": "conflicted",
}


def upgrade() -> None:
    _intents()
    _attempts()
    _facts()
    _refunds()
    _moves()
    _idempotency()


def _intents() -> None:
    execute(
        """
        CREATE TABLE gateway.payment_intents (
            book_id bigint NOT NULL,
            intent_id text NOT NULL,
            account_id text NOT NULL,
            livemode boolean NOT NULL,
            amount_minor bigint NOT NULL CHECK (amount_minor > 0),
            currency text NOT NULL,
            method text,
            status text NOT NULL,
            qualifiers text[] NOT NULL,
            version integer NOT NULL,
            captured_minor bigint NOT NULL,
            held_minor bigint NOT NULL,
            refunded_minor bigint NOT NULL,
            refund_pending_minor bigint NOT NULL CHECK (refund_pending_minor >= 0),
            capture_key uuid,
            available_on date,
            merchant_reference text,
            description text NOT NULL,
            metadata jsonb NOT NULL,
            latest_attempt_id text,
            capture_later boolean NOT NULL,
            capture_requested_minor bigint CHECK (capture_requested_minor BETWEEN 1 AND amount_minor),
            capture_requested_at timestamptz,
            cancel_requested_at timestamptz,
            created_at timestamptz NOT NULL,
            expires_at timestamptz,
            PRIMARY KEY (book_id, intent_id),
            CHECK ((capture_requested_minor IS NULL) = (capture_requested_at IS NULL))
        )
        """,
        # Lists run newest first by id, which is time-ordered, within one account.
        "CREATE INDEX payment_intents_account ON gateway.payment_intents (book_id, account_id, intent_id)",
        "CREATE INDEX payment_intents_metadata ON gateway.payment_intents USING gin (metadata jsonb_path_ops)",
        # The last guard against a payment asked for twice, when an idempotency key is older than its retention.
        """
        CREATE UNIQUE INDEX payment_intents_merchant_reference
            ON gateway.payment_intents (book_id, account_id, merchant_reference) WHERE merchant_reference IS NOT NULL
        """,
        "GRANT SELECT, INSERT, UPDATE ON gateway.payment_intents TO @app@",
    )


def _attempts() -> None:
    execute(
        """
        CREATE TABLE gateway.payment_attempts (
            book_id bigint NOT NULL,
            attempt_id text NOT NULL,
            intent_id text NOT NULL,
            provider text NOT NULL,
            method text NOT NULL,
            amount_minor bigint NOT NULL,
            currency text NOT NULL,
            provider_key text NOT NULL,
            provider_reference text,
            status text NOT NULL,
            outcome text NOT NULL,
            version integer NOT NULL,
            next_action jsonb,
            failure_code text,
            provider_code text,
            fee_rate_ppm integer NOT NULL,
            fee_fixed_minor bigint NOT NULL,
            settlement_days integer NOT NULL,
            created_at timestamptz NOT NULL,
            expires_at timestamptz,
            asks integer NOT NULL,
            due_at timestamptz,
            leased_until timestamptz,
            capture_days_max integer CHECK (capture_days_max > 0),
            capture_before timestamptz,
            capture_warned_at timestamptz,
            PRIMARY KEY (book_id, attempt_id)
        )
        """,
        "CREATE INDEX payment_attempts_intent ON gateway.payment_attempts (book_id, intent_id)",
        # No second attempt while the first may still bring money.
        """
        CREATE UNIQUE INDEX payment_attempts_one_open ON gateway.payment_attempts (book_id, intent_id)
            WHERE status IN ('submitted', 'unknown', 'pending', 'authorized')
        """,
        """
        CREATE INDEX payment_attempts_unknown ON gateway.payment_attempts (provider, created_at)
            WHERE status = 'unknown'
        """,
        "CREATE INDEX payment_attempts_due ON gateway.payment_attempts (due_at) WHERE due_at IS NOT NULL",
        """
        CREATE TABLE gateway.provider_references (
            provider text NOT NULL,
            reference text NOT NULL,
            book_id bigint NOT NULL,
            intent_id text NOT NULL,
            attempt_id text,
            refund_id text,
            PRIMARY KEY (provider, reference),
            UNIQUE (book_id, reference, provider),
            CHECK ((attempt_id IS NULL) <> (refund_id IS NULL))
        )
        """,
        "GRANT SELECT, INSERT, UPDATE ON gateway.payment_attempts TO @app@",
        # No UPDATE: a reference never changes hands.
        "GRANT SELECT, INSERT ON gateway.provider_references TO @app@",
    )


def _facts() -> None:
    execute(
        """
        CREATE TABLE gateway.facts (
            book_id bigint NOT NULL,
            provider text NOT NULL,
            kind text NOT NULL,
            provider_transaction_id text NOT NULL,
            fact_id text NOT NULL,
            intent_id text NOT NULL,
            attempt_id text,
            refund_id text,
            provider_reference text NOT NULL,
            amount_minor bigint NOT NULL CHECK (amount_minor >= 0),
            currency text NOT NULL,
            captured_minor bigint NOT NULL,
            held_minor bigint NOT NULL,
            provider_fee_minor bigint,
            provider_fee_vat_minor bigint,
            failure_code text,
            provider_code text,
            source text NOT NULL,
            occurred_at timestamptz NOT NULL,
            recorded_at timestamptz NOT NULL,
            PRIMARY KEY (book_id, provider, kind, provider_transaction_id)
        )
        """,
        "CREATE INDEX facts_intent ON gateway.facts (book_id, intent_id)",
        """
        CREATE TABLE gateway.fact_quarantine (
            book_id bigint NOT NULL,
            quarantine_id text NOT NULL,
            provider text NOT NULL,
            kind text NOT NULL,
            provider_reference text NOT NULL,
            provider_transaction_id text NOT NULL,
            amount_minor bigint NOT NULL,
            currency text NOT NULL,
            error_code text NOT NULL,
            error_detail text NOT NULL,
            quarantined_at timestamptz NOT NULL,
            PRIMARY KEY (book_id, quarantine_id)
        )
        """,
        # No UPDATE: what a provider said and how it was booked never changes.
        "GRANT SELECT, INSERT ON gateway.facts, gateway.fact_quarantine TO @app@",
    )


def _refunds() -> None:
    execute(
        """
        CREATE TABLE gateway.refunds (
            book_id bigint NOT NULL,
            refund_id text NOT NULL,
            account_id text NOT NULL,
            livemode boolean NOT NULL,
            intent_id text NOT NULL,
            attempt_id text NOT NULL,
            provider text NOT NULL,
            provider_key text NOT NULL,
            charge_reference text NOT NULL,
            charge_key text NOT NULL,
            method text NOT NULL,
            captured_minor bigint NOT NULL,
            captured_at timestamptz NOT NULL,
            amount_minor bigint NOT NULL CHECK (amount_minor > 0),
            currency text NOT NULL,
            status text NOT NULL,
            outcome text NOT NULL,
            version integer NOT NULL,
            reason text NOT NULL,
            metadata jsonb NOT NULL,
            failure_code text,
            provider_code text,
            capture_key uuid NOT NULL,
            reserve_pending_until date,
            reserve_effective_on date NOT NULL,
            created_at timestamptz NOT NULL,
            asks integer NOT NULL,
            due_at timestamptz,
            leased_until timestamptz,
            PRIMARY KEY (book_id, refund_id)
        )
        """,
        "CREATE INDEX refunds_intent ON gateway.refunds (book_id, intent_id)",
        "CREATE INDEX refunds_account ON gateway.refunds (book_id, account_id, refund_id)",
        "CREATE INDEX refunds_due ON gateway.refunds (due_at) WHERE due_at IS NOT NULL",
        "GRANT SELECT, INSERT, UPDATE ON gateway.refunds TO @app@",
    )


def _moves() -> None:
    execute(
        """
        CREATE TABLE gateway.legal_moves (
            object text NOT NULL,
            from_status text NOT NULL,
            to_status text NOT NULL,
            PRIMARY KEY (object, from_status, to_status)
        )
        """,
        *(_legal("intent", before, after) for before, afters in INTENT_MOVES.items() for after in afters.split()),
        *(
            _legal("attempt", before, after)
            for rank, before in enumerate(ATTEMPT_RANKS.split())
            for after in ATTEMPT_RANKS.split()[rank + 1 :]
        ),
        *(_legal("refund", before, after) for before, afters in REFUND_MOVES.items() for after in afters.split()),
        """
        CREATE TABLE gateway.state_moves (
            book_id bigint NOT NULL,
            subject_id text NOT NULL,
            version integer NOT NULL,
            object text NOT NULL,
            from_status text NOT NULL,
            to_status text NOT NULL,
            actor text NOT NULL,
            reason text NOT NULL,
            fact_id text,
            moved_at timestamptz NOT NULL,
            PRIMARY KEY (book_id, subject_id, version)
        )
        """,
        "GRANT SELECT ON gateway.legal_moves TO @app@",
        "GRANT SELECT, INSERT ON gateway.state_moves TO @app@",
    )


def _legal(subject: str, before: str, after: str) -> str:
    return (
        f"INSERT INTO gateway.legal_moves (object, from_status, to_status) VALUES ('{subject}', '{before}', '{after}')"
    )


def _idempotency() -> None:
    execute(
        """
        CREATE TABLE gateway.idempotency_requests (
            book_id bigint NOT NULL,
            account_id text NOT NULL,
            key text NOT NULL,
            fingerprint bytea NOT NULL,
            operation_id uuid NOT NULL,
            request_id text NOT NULL,
            lease_id uuid,
            leased_until timestamptz,
            response_status integer,
            sealed_response bytea,
            created_at timestamptz NOT NULL,
            PRIMARY KEY (book_id, account_id, key)
        )
        """,
        "CREATE INDEX idempotency_requests_age ON gateway.idempotency_requests (created_at)",
        # DELETE: a request refused before anything began frees its key; answers are kept 90 days.
        "GRANT SELECT, INSERT, UPDATE, DELETE ON gateway.idempotency_requests TO @app@",
    )
