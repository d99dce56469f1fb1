"""Tables of reconciliation, for building statements; migration 0006 is what makes them."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(schema="reconciliation")

statement_files = Table(
    "statement_files",
    metadata,
    Column("book_id", BigInteger, primary_key=True),
    Column("file_id", Text, primary_key=True),
    Column("source", Text, nullable=False),
    Column("side", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("content_sha256", LargeBinary, nullable=False),
    Column("content_sealed", LargeBinary, nullable=False),
    Column("content_bytes", BigInteger, nullable=False),
    Column("header", JSONB, nullable=False),
    Column("line_count", Integer, nullable=False),
    Column("line_amount_minor", BigInteger, nullable=False),
    Column("duplicate_count", Integer, nullable=False),
    Column("duplicate_amount_minor", BigInteger, nullable=False),
    Column("rejected_count", Integer, nullable=False),
    Column("rejected_amount_minor", BigInteger, nullable=False),
    Column("received_at", DateTime(timezone=True), nullable=False),
    Column("run_on", Date),
    UniqueConstraint("book_id", "source", "content_sha256", name="statement_files_content"),
)

statement_balances = Table(
    "statement_balances",
    metadata,
    Column("book_id", BigInteger, primary_key=True),
    Column("file_id", Text, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("source", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("number", Text, nullable=False),
    Column("opened_on", Date, nullable=False),
    Column("closed_on", Date, nullable=False),
    Column("opening_minor", BigInteger, nullable=False),
    Column("closing_minor", BigInteger, nullable=False),
)

statement_lines = Table(
    "statement_lines",
    metadata,
    Column("book_id", BigInteger, primary_key=True),
    Column("line_id", Text, primary_key=True),
    Column("file_id", Text, nullable=False),
    Column("line_number", Integer, nullable=False),
    Column("source", Text, nullable=False),
    Column("side", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("provider", Text),
    Column("kind", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("fee_minor", BigInteger),
    Column("vat_minor", BigInteger),
    Column("currency", Text, nullable=False),
    Column("value_on", Date, nullable=False),
    Column("occurred_at", DateTime(timezone=True)),
    Column("available_at", DateTime(timezone=True)),
    Column("batch_reference", Text),
    Column("description", Text, nullable=False),
    Column("line_sha256", LargeBinary, nullable=False),
    Column("content_sha256", LargeBinary, nullable=False),
    Column("run_on", Date),
    UniqueConstraint("book_id", "line_sha256", name="statement_lines_once"),
)

line_references = Table(
    "line_references",
    metadata,
    Column("book_id", BigInteger, primary_key=True),
    Column("line_id", Text, primary_key=True),
    Column("scheme", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Column("strong", Boolean, nullable=False),
)

rejected_lines = Table(
    "rejected_lines",
    metadata,
    Column("book_id", BigInteger, primary_key=True),
    Column("file_id", Text, primary_key=True),
    Column("line_number", Integer, primary_key=True),
    Column("field", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("amount_minor", BigInteger),
)

expected_lines = Table(
    "expected_lines",
    metadata,
    Column("book_id", BigInteger, primary_key=True),
    Column("expected_id", Text, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("stage", Text, nullable=False),
    Column("provider", Text),
    Column("kind", Text, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("effective_on", Date, nullable=False),
    Column("payout_id", Text),
    Column("booked_sequence", BigInteger),
    Column("withdrawn_sequence", BigInteger),
)

expected_references = Table(
    "expected_references",
    metadata,
    Column("book_id", BigInteger, primary_key=True),
    Column("expected_id", Text, primary_key=True),
    Column("scheme", Text, primary_key=True),
    Column("value", Text, primary_key=True),
)

feed_positions = Table(
    "feed_positions",
    metadata,
    Column("book_id", BigInteger, primary_key=True),
    Column("last_sequence", BigInteger, nullable=False),
)

matches = Table(
    "matches",
    metadata,
    Column("book_id", BigInteger, primary_key=True),
    Column("stage", Text, primary_key=True),
    Column("line_id", Text, primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("expected_id", Text),
    Column("counterpart_line_id", Text),
    Column("rule", Text, nullable=False),
    Column("gross_minor", BigInteger, nullable=False),
    Column("fee_minor", BigInteger, nullable=False),
    Column("vat_minor", BigInteger, nullable=False),
    Column("evidence", JSONB, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("revoked_at", DateTime(timezone=True)),
    Column("revoked_reason", Text),
)

settled_groups = Table(
    "settled_groups",
    metadata,
    Column("book_id", BigInteger, primary_key=True),
    Column("group_id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("transfer_line_id", Text),
    Column("value_on", Date, nullable=False),
    Column("currency", Text, nullable=False),
    Column("payments_minor", BigInteger, nullable=False),
    Column("refunds_minor", BigInteger, nullable=False),
    Column("fee_minor", BigInteger, nullable=False),
    Column("vat_minor", BigInteger, nullable=False),
    Column("transfer_fee_minor", BigInteger, nullable=False),
    Column("transfer_vat_minor", BigInteger, nullable=False),
    Column("bank_minor", BigInteger, nullable=False),
    Column("bank_account", Text, nullable=False),
    Column("transfer_reference", Text),
    Column("entry_sequence", BigInteger),
    Column("run_id", Text, nullable=False),
    UniqueConstraint("book_id", "transfer_line_id", name="settled_groups_transfer_once"),
)

settled_items = Table(
    "settled_items",
    metadata,
    Column("book_id", BigInteger, primary_key=True),
    Column("line_id", Text, primary_key=True),
    Column("group_id", Text, nullable=False),
)

breaks = Table(
    "breaks",
    metadata,
    Column("book_id", BigInteger, primary_key=True),
    Column("break_id", Text, primary_key=True),
    Column("subject", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("provider", Text),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("since_on", Date, nullable=False),
    Column("reason", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("opened_run_id", Text, nullable=False),
    Column("seen_run_id", Text, nullable=False),
    Column("closed_run_id", Text),
    Column("resolution", Text),
)

runs = Table(
    "runs",
    metadata,
    Column("book_id", BigInteger, primary_key=True),
    Column("business_on", Date, primary_key=True),
    Column("run_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("finished_at", DateTime(timezone=True)),
    Column("result", JSONB),
    UniqueConstraint("book_id", "run_id", name="runs_id"),
)
