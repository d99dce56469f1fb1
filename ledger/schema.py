"""The ledger's schema as statements, in order: tables, functions, guards, rights, the first months.

`migrations/` runs them for the product; `install` runs them for whoever uses the ledger alone. `sql/schema/*.sql` are
the tables, `sql/<name>_vN.sql` one function each. Rules of the shape: `book_id` leads every key (a book is a shard);
no identity columns; one statement at a time.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

from ledger.months import month_after
from ledger.posting import Connection

SQL: Final = Path(__file__).parent / "sql"
STATEMENT_MARK: Final = "-- statement\n"

FUNCTIONS: Final = (
    "refuse_change_v1",
    "guard_truncate_v1",
    "guard_table_v1",
    "block_hash_v1",
    "leaf_head_v1",
    "leaf_rare_v1",
    "leaf_line_v1",
    "leaf_name_v1",
    "given_contents_v1",
    "stored_contents_v1",
    "is_archived_v1",
    "entry_breaches_v1",
    "check_rare_v1",
    "numbers_of_v1",
    "drawn_on_v1",
    "reversed_by_v1",
    "holds_of_v1",
    "write_holds_v1",
    "days_of_v1",
    "move_days_v1",
    "replayed_amounts_v1",
    "leaves_hash_v1",
    "given_leaves_hash_v1",
    "open_accounts_v1",
    "post_entries_v1",
    "post_transfer_v1",
    "newest_posting_v1",
    "open_book_v1",
    "change_account_v1",
    "write_metadata_v1",
    "change_period_v1",
    "create_month_v1",
    "archive_contents_v1",
    "archive_refusals_v1",
    "archive_month_v1",
    "restore_month_v1",
    "claim_consumer_v1",
    "advance_consumer_v1",
    "rewind_consumer_v1",
    "record_checkpoint_v1",
    "restored_v1",
)
"""Each in a file of its name, in the order in which they need each other."""
CALLED_BY_APP: Final = (
    "post_entries_v1",
    "post_transfer_v1",
    "open_accounts_v1",
    "open_book_v1",
    "change_account_v1",
    "write_metadata_v1",
    "change_period_v1",
    "create_month_v1",
    "claim_consumer_v1",
    "advance_consumer_v1",
    "rewind_consumer_v1",
    "record_checkpoint_v1",
    "restored_v1",
)
CALLED_BY_READERS: Final = ("archive_refusals_v1", "newest_posting_v1")
"""By app and auditor; they only read."""
APPEND_ONLY: Final = (
    "currencies",
    "account_kinds",
    "entry_kinds",
    "books",
    "account_metadata",
    "entries",
    "postings",
    "blocks",
    "idempotency_keys",
    "entry_references",
    "holds",
    "hold_resolutions",
    "ledger_acts",
    "archives",
    "archived_balances",
    "archived_draws",
    "archived_pending",
    "archived_contents",
    "archived_amounts",
    "checkpoints",
    "restorations",
)
"""Tables whose rows never change."""
CHANGING: Final = {
    "accounts": "DELETE OR UPDATE OF book_id, account_id, fingerprint, kind, owner, currency, opened_at",
    "account_days": "DELETE OR UPDATE OF book_id, account_id, effective_on",
    "feed_consumers": "DELETE OR UPDATE OF book_id, name",
    "periods": "DELETE OR UPDATE OF book_id, starts_on, ends_on",
    "entry_caps": "DELETE OR UPDATE OF book_id, sequence, drawable_minor",
}
"""Tables whose functions change totals and states, and what nobody may change in them."""
KEY_YEARS: Final = range(2026, 2041)
INSERTED_ONLY: Final = (
    "WITH (autovacuum_vacuum_insert_threshold = 200000, autovacuum_vacuum_insert_scale_factor = 0,"
    " autovacuum_freeze_min_age = 0, autovacuum_analyze_threshold = 50000, autovacuum_analyze_scale_factor = 0.02)"
)
"""Rows that never change are frozen by the vacuum that their insertion starts, and never read for it again."""
MONTHS_BACK: Final = 1
MONTHS_AHEAD: Final = 3


def statements(*, app: str, auditor: str, today: date) -> Iterator[str]:
    """Every statement that an empty database needs, to be run one by one as the owner of the schema.

    Args:
        app: role that reads, and writes by calling functions.
        auditor: role that reads.
        today: the date in UTC; the first months lie around it.
    """
    yield "CREATE SCHEMA ledger"
    yield "REVOKE ALL ON SCHEMA ledger FROM PUBLIC"
    for path in sorted((SQL / "schema").glob("*.sql")):
        yield from split(path.read_text())
    yield from _key_partitions()
    for name in FUNCTIONS:
        yield (SQL / f"{name}.sql").read_text()
    for table in APPEND_ONLY:
        yield f"SELECT ledger.guard_table_v1('{table}', 'UPDATE OR DELETE')"
    for table, events in CHANGING.items():
        yield f"SELECT ledger.guard_table_v1('{table}', '{events}')"
    for name in _key_partition_names():
        yield f"SELECT ledger.guard_truncate_v1('{name}')"
    yield "REVOKE ALL ON ALL FUNCTIONS IN SCHEMA ledger FROM PUBLIC"
    for role in (app, auditor):
        yield f"GRANT USAGE ON SCHEMA ledger TO {role}"
        yield f"GRANT SELECT ON ALL TABLES IN SCHEMA ledger TO {role}"
    for name in CALLED_BY_APP:
        yield f"GRANT EXECUTE ON FUNCTION ledger.{name} TO {app}"
    for name in CALLED_BY_READERS:
        yield f"GRANT EXECUTE ON FUNCTION ledger.{name} TO {app}, {auditor}"
    for months in range(-MONTHS_BACK, MONTHS_AHEAD + 1):
        yield f"SELECT ledger.create_month_v1('{month_after(today, months)}')"


async def install(connection: Connection, *, app: str, auditor: str, today: date) -> None:
    """Make the schema in an empty database, in one transaction.

    Args:
        connection: of the role that is to own the books; it may create schemas in this database.
        app: existing role of those who post.
        auditor: existing role of those who only read.
        today: the date in UTC.
    """
    async with connection.transaction():
        for statement in statements(app=app, auditor=auditor, today=today):
            await connection.execute(statement)


def split(text: str) -> list[str]:
    """The statements of a file, each after a line `-- statement`."""
    return text.split(STATEMENT_MARK)[1:]


def _key_partition_names() -> list[str]:
    return [f"idempotency_keys_{name}" for name in ("low", *(str(year) for year in KEY_YEARS), "high")]


def _key_partitions() -> Iterator[str]:
    """Partitions of the keys, by the keys themselves, so that a key is unique over all time.

    Keys that begin with milliseconds (UUIDv7, and v8 of ours) fill one year at a time and leave old pages alone.
    Random keys fall nearly all into `high`: the milliseconds of 2041 are below 1 % of the range of 48 bits.
    """
    bounds = [_uuid_at_year(year) for year in (*KEY_YEARS, KEY_YEARS.stop)]
    starts, ends = ["MINVALUE", *bounds], [*bounds, "MAXVALUE"]
    for name, start, end in zip(_key_partition_names(), starts, ends, strict=True):
        bounds_of_keys = f"FOR VALUES FROM ({start}) TO ({end})"
        yield f"CREATE TABLE ledger.{name} PARTITION OF ledger.idempotency_keys {bounds_of_keys} {INSERTED_ONLY}"


def _uuid_at_year(year: int) -> str:
    """The smallest UUID that begins with the milliseconds of a year's start, as an SQL literal."""
    milliseconds = int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * 1000
    digits = f"{milliseconds:012x}"
    return f"'{digits[:8]}-{digits[8:]}-0000-0000-000000000000'"
