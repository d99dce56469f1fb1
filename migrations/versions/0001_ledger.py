"""ledger: books, entries, postings, blocks; the one function that writes them; guards and rights.

Rules of the shape: `book_id` leads every key (a book is a shard); no identity columns, no foreign keys and no row
triggers on insert (each halves the rate: the function and `verify` do their work); no index on a changing column of
`accounts` (HOT updates). What grows is partitioned by month of `recorded_at`.
"""

from datetime import UTC, date, datetime
from pathlib import Path

import ledger
from migrations.run import execute

revision = "0001"
down_revision = None

SQL = Path(ledger.__file__).parent / "sql"
FUNCTIONS = (
    "refuse_change_v1",
    "guard_truncate_v1",
    "block_hash_v1",
    "entry_breaches_v1",
    "given_contents_v1",
    "stored_contents_v1",
    "post_entries_v1",
    "open_book_v1",
    "freeze_account_v1",
    "create_month_v1",
)
CALLED_BY_APP = ("post_entries_v1", "open_book_v1", "freeze_account_v1", "create_month_v1")
APPEND_ONLY = (
    "books",
    "entries",
    "postings",
    "blocks",
    "idempotency_keys",
    "entry_references",
    "ledger_acts",
    "account_kinds",
    "entry_kinds",
)
ACCOUNT_KINDS = (
    "(10, 'provider_receivable', '1110', 'asset', 'D', NULL, true)",
    "(11, 'bank', '1010', 'asset', 'D', NULL, true)",
    "(12, 'input_vat', '1210', 'asset', 'D', NULL, false)",
    "(13, 'wht_receivable', '1220', 'asset', 'D', NULL, true)",
    "(14, 'prepaid_tax', '1230', 'asset', 'D', NULL, false)",
    "(15, 'merchant_receivable', '1120', 'asset', 'D', NULL, true)",
    "(30, 'merchant_pending', '2010', 'liability', 'C', 0, true)",
    "(31, 'merchant_available', '2020', 'liability', 'C', 0, true)",
    "(32, 'merchant_reserve', '2030', 'liability', 'C', 0, true)",
    "(33, 'dispute_hold', '2040', 'liability', 'C', 0, true)",
    "(34, 'refunds_payable', '2050', 'liability', 'C', 0, true)",
    "(35, 'payouts_in_transit', '2060', 'liability', 'C', 0, true)",
    "(36, 'payer_refundable', '2070', 'liability', 'C', 0, true)",
    "(37, 'unidentified_receipts', '2080', 'liability', 'C', 0, true)",
    "(38, 'output_vat', '2110', 'liability', 'C', NULL, false)",
    "(39, 'wht_payable', '2120', 'liability', 'C', NULL, false)",
    "(40, 'clearing', '1900', 'asset', 'D', NULL, true)",
    "(50, 'fx_position', '3020', 'equity', 'C', NULL, true)",
    "(51, 'capital', '3010', 'equity', 'C', NULL, false)",
    "(60, 'fee_income', '4010', 'income', 'C', NULL, true)",
    "(61, 'fx_gain_loss', '4910', 'income', 'C', NULL, false)",
    "(62, 'rounding', '4920', 'income', 'C', NULL, false)",
    "(80, 'provider_fee_expense', '5010', 'expense', 'D', NULL, true)",
    "(81, 'bank_fee_expense', '5020', 'expense', 'D', NULL, true)",
    "(82, 'bad_debt', '5030', 'expense', 'D', NULL, true)",
)
"""As chart_of_accounts.py stood when this was written: a later kind comes with its own migration."""
ENTRY_KINDS = (
    "(100, 'payment_captured', 'recording')",
    "(101, 'payer_money_held', 'recording')",
    "(102, 'payer_money_accepted', 'recording')",
    "(103, 'payer_money_returned', 'recording')",
    "(200, 'refund_reserved', 'authorising')",
    "(201, 'refund_succeeded', 'recording')",
    "(202, 'refund_failed', 'recording')",
    "(300, 'became_available', 'recording')",
    "(302, 'merchant_debt_recognised', 'recording')",
    "(303, 'merchant_debt_recovered', 'recording')",
    "(310, 'provider_settled', 'recording')",
    "(311, 'provider_fee_charged', 'recording')",
    "(312, 'bank_fee_charged', 'recording')",
    "(313, 'unidentified_credit', 'recording')",
    "(314, 'receipt_identified', 'recording')",
    "(400, 'payout_requested', 'authorising')",
    "(401, 'payout_paid', 'recording')",
    "(402, 'payout_rejected', 'recording')",
    "(403, 'payout_returned', 'recording')",
    "(900, 'operator_entry', 'authorising')",
)
KEY_YEARS = range(2026, 2041)
MONTHS_BACK, MONTHS_AHEAD = 1, 12


def upgrade() -> None:
    execute("CREATE SCHEMA ledger", "REVOKE ALL ON SCHEMA ledger FROM PUBLIC")
    create_kinds()
    create_books()
    create_journal()
    create_lookups()
    for name in FUNCTIONS:
        execute((SQL / f"{name}.sql").read_text())
    guard()
    grant()
    for months in range(-MONTHS_BACK, MONTHS_AHEAD + 1):
        execute(f"SELECT ledger.create_month_v1('{month_from(datetime.now(UTC).date(), months)}')")


def month_from(day: date, months: int) -> date:
    """The first day of the month `months` after the month of `day`."""
    years, month = divmod(day.month - 1 + months, 12)
    return date(day.year + years, month + 1, 1)


def create_kinds() -> None:
    execute(
        """CREATE TABLE ledger.account_kinds (
            kind smallint PRIMARY KEY, name text NOT NULL, code text NOT NULL, account_class text NOT NULL,
            normal_side text NOT NULL CHECK (normal_side IN ('D', 'C')), floor_minor bigint, owned boolean NOT NULL)""",
        """CREATE TABLE ledger.entry_kinds (
            kind smallint PRIMARY KEY, name text NOT NULL,
            mode text NOT NULL CHECK (mode IN ('recording', 'authorising')))""",
    )
    for kind in ACCOUNT_KINDS:
        execute(f"INSERT INTO ledger.account_kinds VALUES {kind}")
    for kind in ENTRY_KINDS:
        execute(f"INSERT INTO ledger.entry_kinds VALUES {kind}")


def create_books() -> None:
    execute(
        """CREATE TABLE ledger.books (
            book_id bigint PRIMARY KEY, code text NOT NULL, mode text NOT NULL CHECK (mode IN ('live', 'test')),
            created_at timestamptz NOT NULL)""",
        # Balances are debits − credits on the kind's normal side. Half-empty pages keep updates on their page.
        """CREATE TABLE ledger.accounts (
            book_id bigint NOT NULL, account_id bigint NOT NULL, kind smallint NOT NULL,
            owner text COLLATE "C" NOT NULL CHECK (octet_length(owner) BETWEEN 1 AND 200),
            currency text COLLATE "C" NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
            floor_minor bigint CHECK (floor_minor > -9223372036854775807),
            debits_frozen boolean NOT NULL DEFAULT false, credits_frozen boolean NOT NULL DEFAULT false,
            debits_posted bigint NOT NULL DEFAULT 0 CHECK (debits_posted >= 0),
            credits_posted bigint NOT NULL DEFAULT 0 CHECK (credits_posted >= 0),
            last_sequence bigint NOT NULL DEFAULT 0, opened_at timestamptz NOT NULL,
            PRIMARY KEY (book_id, account_id),
            UNIQUE (book_id, kind, owner, currency))
        WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000)""",
    )


def create_journal() -> None:
    execute(
        """CREATE TABLE ledger.entries (
            book_id bigint NOT NULL, sequence bigint NOT NULL, recorded_at timestamptz NOT NULL,
            block_number bigint NOT NULL, key uuid NOT NULL, kind smallint NOT NULL, effective_on date NOT NULL,
            caller text NOT NULL, draws_on bigint, drawn_minor bigint, drawable_minor bigint, metadata bytea NOT NULL,
            PRIMARY KEY (book_id, sequence, recorded_at)) PARTITION BY RANGE (recorded_at)""",
        """CREATE TABLE ledger.postings (
            book_id bigint NOT NULL, sequence bigint NOT NULL, line smallint NOT NULL, recorded_at timestamptz NOT NULL,
            debit_account bigint NOT NULL, credit_account bigint NOT NULL, amount_minor bigint NOT NULL,
            available_on date, debit_balance_after bigint NOT NULL, credit_balance_after bigint NOT NULL,
            PRIMARY KEY (book_id, sequence, line, recorded_at)) PARTITION BY RANGE (recorded_at)""",
        "CREATE INDEX postings_debit ON ledger.postings (book_id, debit_account, sequence)",
        "CREATE INDEX postings_credit ON ledger.postings (book_id, credit_account, sequence)",
        """CREATE INDEX postings_available ON ledger.postings (book_id, available_on)
            WHERE available_on IS NOT NULL""",
        # recorded_at rises strictly within a book, so this key also finds the newest block and forbids a fork.
        """CREATE TABLE ledger.blocks (
            book_id bigint NOT NULL, recorded_at timestamptz NOT NULL, block_number bigint NOT NULL,
            incarnation integer NOT NULL, layout_version smallint NOT NULL, first_sequence bigint NOT NULL,
            last_sequence bigint NOT NULL, previous_hash bytea NOT NULL, hash bytea NOT NULL,
            PRIMARY KEY (book_id, recorded_at)) PARTITION BY RANGE (recorded_at)""",
    )


def create_lookups() -> None:
    execute(
        """CREATE TABLE ledger.idempotency_keys (
            book_id bigint NOT NULL, key uuid NOT NULL, sequence bigint NOT NULL, recorded_at timestamptz NOT NULL,
            PRIMARY KEY (book_id, key)) PARTITION BY RANGE (key)""",
        *key_partitions(),
        """CREATE TABLE ledger.entry_references (
            book_id bigint NOT NULL, scheme text COLLATE "C" NOT NULL, value text COLLATE "C" NOT NULL,
            sequence bigint NOT NULL,
            PRIMARY KEY (book_id, scheme, value, sequence))""",
        "CREATE INDEX entry_references_sequence ON ledger.entry_references (book_id, sequence)",
        """CREATE TABLE ledger.entry_caps (
            book_id bigint NOT NULL, sequence bigint NOT NULL, drawable_minor bigint NOT NULL,
            drawn_minor bigint NOT NULL, CHECK (drawn_minor BETWEEN 0 AND drawable_minor),
            PRIMARY KEY (book_id, sequence))
        WITH (fillfactor = 80)""",
        """CREATE TABLE ledger.ledger_acts (
            act_id uuid PRIMARY KEY, acted_at timestamptz NOT NULL, act text NOT NULL, actor text NOT NULL,
            subject text NOT NULL, reason text NOT NULL)""",
    )


def key_partitions() -> list[str]:
    """Partitions of the keys, by the keys themselves, so that a key is unique over all time.

    Keys that begin with milliseconds (UUIDv7, and v8 of ours) fill one year at a time and leave old pages alone.
    Random keys fall nearly all into `high`: the milliseconds of 2041 are below 1 % of the range of 48 bits.
    """
    bounds = [uuid_at_year(year) for year in (*KEY_YEARS, KEY_YEARS.stop)]
    names = ["low", *(str(year) for year in KEY_YEARS), "high"]
    starts, ends = ["MINVALUE", *bounds], [*bounds, "MAXVALUE"]
    return [
        f"CREATE TABLE ledger.idempotency_keys_{name} PARTITION OF ledger.idempotency_keys"
        f" FOR VALUES FROM ({start}) TO ({end})"
        for name, start, end in zip(names, starts, ends, strict=True)
    ]


def uuid_at_year(year: int) -> str:
    """The smallest UUID that begins with the milliseconds of a year's start, as an SQL literal."""
    milliseconds = int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * 1000
    digits = f"{milliseconds:012x}"
    return f"'{digits[:8]}-{digits[8:]}-0000-0000-000000000000'"


def guard() -> None:
    """Refuse UPDATE, DELETE and TRUNCATE, for the owner and under session_replication_role = replica too."""
    for table in APPEND_ONLY:
        refuse(table, "UPDATE OR DELETE")
    # Totals and freezes change, by the functions only; what an account is never does.
    refuse("accounts", "DELETE OR UPDATE OF book_id, account_id, kind, owner, currency")
    refuse("entry_caps", "DELETE OR UPDATE OF book_id, sequence, drawable_minor")
    for name in ("low", *KEY_YEARS, "high"):
        execute(f"SELECT ledger.guard_truncate_v1('idempotency_keys_{name}')")


def refuse(table: str, events: str) -> None:
    execute(
        f"CREATE TRIGGER append_only BEFORE {events} ON ledger.{table}"
        " FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change_v1()",
        f"ALTER TABLE ledger.{table} ENABLE ALWAYS TRIGGER append_only",
        f"SELECT ledger.guard_truncate_v1('{table}')",
    )


def grant() -> None:
    """The application reads, and writes by calling; the auditor reads."""
    execute(
        "REVOKE ALL ON ALL FUNCTIONS IN SCHEMA ledger FROM PUBLIC",
        "GRANT USAGE ON SCHEMA ledger TO @app@",
        "GRANT USAGE ON SCHEMA ledger TO @auditor@",
        "GRANT SELECT ON ALL TABLES IN SCHEMA ledger TO @app@",
        "GRANT SELECT ON ALL TABLES IN SCHEMA ledger TO @auditor@",
        *(f"GRANT EXECUTE ON FUNCTION ledger.{name} TO @app@" for name in CALLED_BY_APP),
    )
