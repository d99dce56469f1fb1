"""claims and links: money that payers claim with a bank account, and links under which payers pay."""

from migrations.run import execute

revision = "0012"
down_revision = "0011"

CLAIM_MOVES = {
    "open": "claimed expired rejected",
    "claimed": "approved rejected",
    "approved": "submitted rejected",
    "submitted": "in_transit unknown paid rejected",
    "unknown": "in_transit paid rejected",
    "in_transit": "paid rejected",
    "paid": "returned",
}
MOVES = (
    *(("claim", before, after) for before, afters in CLAIM_MOVES.items() for after in afters.split()),
    ("refund", "requested", "requires_action"),
    ("refund", "requires_action", "pending"),
    ("refund", "requires_action", "failed"),
    ("refund", "succeeded", "failed"),
    ("payment_link", "active", "inactive"),
)


def upgrade() -> None:
    _kinds_and_moves()
    _claims()
    _links()


def _kinds_and_moves() -> None:
    execute(
        # Books that were made from the newer schema have them.
        """
        INSERT INTO ledger.entry_kinds VALUES
            (104, 'payer_money_came_back', 'recording', false),
            (203, 'refund_paid', 'recording', false),
            (204, 'refund_came_back', 'recording', false)
        ON CONFLICT DO NOTHING
        """,
        *(f"INSERT INTO gateway.legal_moves VALUES ('{name}', '{before}', '{after}')" for name, before, after in MOVES),
    )


def _claims() -> None:
    execute(
        "ALTER TABLE gateway.refunds ADD COLUMN claim_id text",
        "ALTER TABLE gateway.payment_intents ADD COLUMN returned_minor bigint NOT NULL DEFAULT 0"
        " CHECK (returned_minor >= 0)",
        """
        CREATE TABLE gateway.refund_claims (
            book_id bigint NOT NULL,
            claim_id text NOT NULL,
            account_id text NOT NULL,
            livemode boolean NOT NULL,
            intent_id text NOT NULL,
            refund_id text,
            held_fact_id text,
            amount_minor bigint NOT NULL CHECK (amount_minor > 0),
            currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
            token_hash bytea NOT NULL CHECK (length(token_hash) = 32),
            state text NOT NULL CHECK (state IN ('open', 'claimed', 'approved', 'submitted', 'unknown', 'in_transit',
                                                 'paid', 'returned', 'expired', 'rejected')),
            version integer NOT NULL CHECK (version > 0),
            offered_by text NOT NULL,
            bank_code text,
            last_four text,
            sealed_destination bytea,
            end_to_end_id text NOT NULL CHECK (length(end_to_end_id) <= 35),
            payout_file_id text,
            failure_code text,
            value_on date,
            bank_reference text,
            ended_on date,
            settled boolean NOT NULL,
            created_at timestamptz NOT NULL,
            expires_at timestamptz NOT NULL,
            claimed_at timestamptz,
            submitted_at timestamptz,
            PRIMARY KEY (book_id, claim_id),
            UNIQUE (book_id, end_to_end_id),
            CHECK ((refund_id IS NULL) <> (held_fact_id IS NULL)),
            CHECK ((claimed_at IS NULL) = (sealed_destination IS NULL)),
            CHECK ((state IN ('expired', 'rejected')) = (ended_on IS NOT NULL))
        )
        """,
        "CREATE UNIQUE INDEX refund_claims_refund ON gateway.refund_claims (book_id, refund_id)"
        " WHERE refund_id IS NOT NULL",
        # Held money is offered once at a time: racing offers meet here.
        """
        CREATE UNIQUE INDEX refund_claims_held ON gateway.refund_claims (book_id, held_fact_id)
            WHERE held_fact_id IS NOT NULL AND state NOT IN ('expired', 'rejected', 'returned')
        """,
        # Without a book first: the token is all that a payer brings, and it finds the book.
        "CREATE INDEX refund_claims_token ON gateway.refund_claims (token_hash)",
        "CREATE INDEX refund_claims_intent ON gateway.refund_claims (book_id, intent_id)",
        "CREATE INDEX refund_claims_open ON gateway.refund_claims (expires_at) WHERE state = 'open'",
        "CREATE INDEX refund_claims_unsettled ON gateway.refund_claims (book_id) WHERE NOT settled",
        """
        CREATE INDEX refund_claims_waiting ON gateway.refund_claims (book_id, state)
            WHERE state IN ('claimed', 'approved')
        """,
        "CREATE INDEX refund_claims_file ON gateway.refund_claims (book_id, payout_file_id)"
        " WHERE payout_file_id IS NOT NULL",
        "GRANT SELECT, INSERT, UPDATE ON gateway.refund_claims TO @app@",
    )


def _links() -> None:
    execute(
        """
        CREATE TABLE gateway.payment_links (
            book_id bigint NOT NULL,
            link_id text NOT NULL,
            account_id text NOT NULL,
            livemode boolean NOT NULL,
            token_hash bytea NOT NULL CHECK (length(token_hash) = 32),
            amount_minor bigint CHECK (amount_minor > 0),
            amount_minor_min bigint CHECK (amount_minor_min > 0),
            amount_minor_max bigint CHECK (amount_minor_max >= amount_minor_min),
            currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
            description text NOT NULL,
            methods text[] NOT NULL CHECK (cardinality(methods) > 0),
            uses_max integer CHECK (uses_max > 0),
            status text NOT NULL CHECK (status IN ('active', 'inactive')),
            version integer NOT NULL CHECK (version > 0),
            metadata jsonb NOT NULL,
            created_by text NOT NULL,
            created_at timestamptz NOT NULL,
            expires_at timestamptz,
            PRIMARY KEY (book_id, link_id),
            CHECK ((amount_minor IS NULL) = (amount_minor_min IS NOT NULL AND amount_minor_max IS NOT NULL))
        )
        """,
        # Without a book first: the token is all that a payer brings, and it finds the book.
        "CREATE INDEX payment_links_token ON gateway.payment_links (token_hash)",
        "CREATE INDEX payment_links_account ON gateway.payment_links (book_id, account_id, link_id)",
        "ALTER TABLE gateway.payment_intents ADD COLUMN payment_link_id text",
        """
        CREATE INDEX payment_intents_link ON gateway.payment_intents (book_id, payment_link_id)
            WHERE payment_link_id IS NOT NULL
        """,
        # Of a link only its end may be written; what payers were offered stays.
        "GRANT SELECT, INSERT, UPDATE (status, version) ON gateway.payment_links TO @app@",
    )
