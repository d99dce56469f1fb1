"""Tables of the settlement room, for building statements; migrations 0007, 0014 and 0015 are what makes them."""

from sqlalchemy import ARRAY, BigInteger, Boolean, Column, Date, DateTime, Integer, LargeBinary, MetaData, Table, Text

metadata = MetaData(schema="gateway")

settlements = Table(
    "settlements",
    metadata,
    Column("book_id", BigInteger, primary_key=True, autoincrement=False),
    Column("settlement_id", Text, primary_key=True),
    Column("account_id", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("business_date", Date, nullable=False),
    Column("previous_cut", BigInteger, nullable=False),
    Column("cut", BigInteger, nullable=False),
    Column("previous_through", Date),
    Column("available_through", Date, nullable=False),
    Column("carried_in_minor", BigInteger, nullable=False),
    Column("available_minor", BigInteger, nullable=False),
    Column("became_available_minor", BigInteger, nullable=False),
    Column("debt_minor", BigInteger, nullable=False),
    Column("payout_id", Text),
    Column("payout_minor", BigInteger, nullable=False),
    Column("carried_out_minor", BigInteger),
    Column("state", Text, nullable=False),
    Column("calendar_version", Text, nullable=False),
    Column("opened_at", DateTime(timezone=True), nullable=False),
    Column("closed_at", DateTime(timezone=True)),
)

settlement_days = Table(
    "settlement_days",
    metadata,
    Column("book_id", BigInteger, primary_key=True, autoincrement=False),
    Column("settlement_id", Text, primary_key=True),
    Column("available_on", Date, primary_key=True),
    Column("amount_minor", BigInteger, nullable=False),
)

settlement_marks = Table(
    "settlement_marks",
    metadata,
    Column("book_id", BigInteger, primary_key=True, autoincrement=False),
    Column("cut", BigInteger, nullable=False),
    Column("through", Date, nullable=False),
    Column("open_days", ARRAY(Date), nullable=False),
)

payouts = Table(
    "payouts",
    metadata,
    Column("book_id", BigInteger, primary_key=True, autoincrement=False),
    Column("payout_id", Text, primary_key=True),
    Column("account_id", Text, nullable=False),
    Column("settlement_id", Text, nullable=False),
    Column("livemode", Boolean, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("bank_code", Text, nullable=False),
    Column("last_four", Text, nullable=False),
    Column("sealed_destination", LargeBinary, nullable=False),
    Column("end_to_end_id", Text, nullable=False),
    Column("effective_on", Date, nullable=False),
    Column("state", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("reserved_sequence", BigInteger),
    Column("payout_file_id", Text),
    Column("reject_code", Text),
    Column("value_on", Date),
    Column("bank_reference", Text),
    Column("requested_at", DateTime(timezone=True), nullable=False),
    Column("submitted_at", DateTime(timezone=True)),
)

payout_moves = Table(
    "payout_moves",
    metadata,
    Column("book_id", BigInteger, primary_key=True, autoincrement=False),
    Column("payout_id", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("moved_at", DateTime(timezone=True), nullable=False),
)

payout_files = Table(
    "payout_files",
    metadata,
    Column("book_id", BigInteger, primary_key=True, autoincrement=False),
    Column("payout_file_id", Text, primary_key=True),
    Column("message_id", Text, nullable=False),
    Column("format", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("execute_on", Date, nullable=False),
    Column("sealed_content", LargeBinary, nullable=False),
    Column("content_sha256", LargeBinary, nullable=False),
    Column("count", Integer, nullable=False),
    Column("control_minor", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("bank_reference", Text),
    Column("built_at", DateTime(timezone=True), nullable=False),
    Column("sent_at", DateTime(timezone=True)),
    Column("answered_at", DateTime(timezone=True)),
    Column("lease_until", DateTime(timezone=True)),
    Column("calling_until", DateTime(timezone=True)),
)

overrides = Table(
    "overrides",
    metadata,
    Column("book_id", BigInteger, primary_key=True, autoincrement=False),
    Column("override_id", Text, primary_key=True),
    Column("account_id", Text, nullable=False),
    Column("livemode", Boolean, nullable=False),
    Column("subject_kind", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    Column("intent_id", Text),
    Column("provider", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("proposed_by", Text, nullable=False),
    Column("proposed_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
)

override_decisions = Table(
    "override_decisions",
    metadata,
    Column("book_id", BigInteger, primary_key=True, autoincrement=False),
    Column("override_id", Text, primary_key=True),
    Column("proposed_by", Text, nullable=False),
    Column("decision", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("decided_by", Text, nullable=False),
    Column("decided_at", DateTime(timezone=True), nullable=False),
)

override_results = Table(
    "override_results",
    metadata,
    Column("book_id", BigInteger, primary_key=True, autoincrement=False),
    Column("override_id", Text, primary_key=True),
    Column("result", Text, nullable=False),
    Column("applied_at", DateTime(timezone=True), nullable=False),
)

receipts = Table(
    "receipts",
    metadata,
    Column("book_id", BigInteger, primary_key=True, autoincrement=False),
    Column("receipt_id", Text, primary_key=True),
    Column("line_id", Text, nullable=False),
    Column("bank", Text, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("value_on", Date, nullable=False),
    Column("paid_at", DateTime(timezone=True), nullable=False),
    Column("noted_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("noted_at", DateTime(timezone=True), nullable=False),
    Column("posted", Boolean, nullable=False),
)

receipt_assignments = Table(
    "receipt_assignments",
    metadata,
    Column("book_id", BigInteger, primary_key=True, autoincrement=False),
    Column("receipt_id", Text, primary_key=True),
    Column("target_kind", Text, nullable=False),
    Column("target_id", Text, nullable=False),
    Column("assigned_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("assigned_at", DateTime(timezone=True), nullable=False),
    Column("posted", Boolean, nullable=False),
)
