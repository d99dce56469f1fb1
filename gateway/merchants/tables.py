"""Tables of the merchants' room, for building statements; migrations 0002 and 0011 are what makes them."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(schema="gateway")

accounts = Table(
    "accounts",
    metadata,
    Column("account_id", Text, primary_key=True),
    Column("test_book_id", BigInteger, nullable=False, unique=True),
    Column("live_book_id", BigInteger, nullable=False),
    Column("sealed_name", LargeBinary, nullable=False),
    Column("sealed_email", LargeBinary, nullable=False),
    Column("email_lookup", LargeBinary, nullable=False),
    Column("rate_per_second", Integer, nullable=False),
    Column("rate_burst", Integer, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)

data_keys = Table(
    "data_keys",
    metadata,
    Column("account_id", Text, primary_key=True),
    Column("wrapped_key", LargeBinary, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)

bank_accounts = Table(
    "bank_accounts",
    metadata,
    Column("bank_account_id", Text, primary_key=True),
    Column("account_id", Text, nullable=False),
    Column("book_id", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("bank_code", Text, nullable=False),
    Column("sealed_number", LargeBinary, nullable=False),
    Column("sealed_name", LargeBinary, nullable=False),
    Column("last_four", Text, nullable=False),
    Column("payout_minimum_minor", BigInteger, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("disabled_at", DateTime(timezone=True)),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("gateway.accounts.account_id"), nullable=False),
    Column("livemode", Boolean, nullable=False),
    Column("name", Text, nullable=False),
    Column("key_hash", LargeBinary, nullable=False, unique=True),
    Column("prefix", Text, nullable=False),
    Column("last_four", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
    Column("last_used_at", DateTime(timezone=True)),
)

operators = Table(
    "operators",
    metadata,
    Column("operator_id", Text, primary_key=True),
    Column("sealed_name", LargeBinary, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("disabled_at", DateTime(timezone=True)),
)

operator_keys = Table(
    "operator_keys",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("operator_id", Text, ForeignKey("gateway.operators.operator_id"), nullable=False),
    Column("key_hash", LargeBinary, nullable=False, unique=True),
    Column("last_four", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("revoked_at", DateTime(timezone=True)),
    Column("last_used_at", DateTime(timezone=True)),
)

operator_acts = Table(
    "operator_acts",
    metadata,
    Column("act_id", Text, primary_key=True),
    Column("actor", Text, nullable=False),
    Column("act", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("acted_at", DateTime(timezone=True), nullable=False),
)

book_clocks = Table(
    "book_clocks",
    metadata,
    Column("book_id", BigInteger, primary_key=True, autoincrement=False),
    Column("offset_seconds", BigInteger, nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
)

fee_plans = Table(
    "fee_plans",
    metadata,
    Column("account_id", Text, primary_key=True),
    Column("method", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("rate_ppm", Integer, nullable=False),
    Column("fixed_minor", BigInteger, nullable=False),
    Column("settlement_days", Integer, nullable=False),
    Column("dispute_fee_minor", BigInteger, nullable=False),
    Column("late_grace_seconds", Integer, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)

provider_accounts = Table(
    "provider_accounts",
    metadata,
    Column("provider_account_id", Text, primary_key=True),
    Column("book_id", BigInteger, nullable=False),
    Column("provider", Text, nullable=False),
    Column("livemode", Boolean, nullable=False),
    Column("base_url", Text, nullable=False),
    Column("public_url", Text, nullable=False),
    Column("sealed_credentials", LargeBinary, nullable=False),
    Column("sealed_callback_token", LargeBinary, nullable=False),
    Column("callback_token_lookup", LargeBinary, nullable=False, unique=True),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("registered_at", DateTime(timezone=True)),
    UniqueConstraint("book_id", "provider"),
)

customers = Table(
    "customers",
    metadata,
    Column("book_id", BigInteger, primary_key=True, autoincrement=False),
    Column("customer_id", Text, primary_key=True),
    Column("account_id", Text, nullable=False),
    Column("livemode", Boolean, nullable=False),
    Column("version", Integer, nullable=False),
    Column("sealed_details", LargeBinary),
    Column("email_lookup", LargeBinary),
    Column("metadata", JSONB, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Column("deleted_at", DateTime(timezone=True)),
)

customer_moves = Table(
    "customer_moves",
    metadata,
    Column("book_id", BigInteger, primary_key=True, autoincrement=False),
    Column("customer_id", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("move", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("moved_at", DateTime(timezone=True), nullable=False),
)
