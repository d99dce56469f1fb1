"""The rules of docs/scale-out.md that a machine can watch, on the migrated schema and on the statements."""

import re
from pathlib import Path

import asyncpg
import pytest

ROOT = Path(__file__).parent.parent
LEDGER_SQL = ROOT / "ledger" / "sql"
OF_THE_ESTATE = {
    "ledger.currencies": "the same on every node",
    "ledger.account_kinds": "the same on every node",
    "ledger.entry_kinds": "the same on every node",
    "ledger.ledger_acts": "acts belong to the estate",
}
"""Tables without a book, and why they may be so."""
WRITTEN_WITH_A_POSTING = (
    "gateway.payment_intents",
    "gateway.payment_attempts",
    "gateway.facts",
    "gateway.limit_usage",
    "gateway.refunds",
    "gateway.payouts",
    "gateway.events",
)
UNIQUE_KEYS = """
SELECT n.nspname || '.' || c.relname AS table_name, i.relname AS index_name, x.indisunique AS is_unique,
       (SELECT a.attname FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum = x.indkey[0]) AS first_column
FROM pg_index AS x
JOIN pg_class AS c ON c.oid = x.indrelid
JOIN pg_class AS i ON i.oid = x.indexrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname IN ('ledger', 'gateway') AND NOT c.relispartition
"""


@pytest.fixture
async def indexes(database) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(database.superuser_dsn)
    try:
        return await connection.fetch(UNIQUE_KEYS)
    finally:
        await connection.close()


async def test_book_comes_first_in_every_key_and_index_of_the_ledger(indexes):
    of_ledger = [row for row in indexes if row["table_name"].startswith("ledger.")]
    assert len(of_ledger) > 20
    wrong = [
        row["index_name"]
        for row in of_ledger
        if row["first_column"] != "book_id" and row["table_name"] not in OF_THE_ESTATE
    ]
    assert wrong == []


async def test_book_comes_first_in_keys_that_commit_with_a_posting(indexes):
    tables = {row["table_name"] for row in indexes}
    assert set(WRITTEN_WITH_A_POSTING) <= tables, "a table was renamed"
    wrong = [
        row["index_name"]
        for row in indexes
        if row["table_name"] in WRITTEN_WITH_A_POSTING and row["is_unique"] and row["first_column"] != "book_id"
    ]
    assert wrong == []


def statements() -> list[tuple[str, str]]:
    found = []
    for path in sorted(LEDGER_SQL.rglob("*.sql")):
        text = re.sub(r"--.*", "", path.read_text())
        found += [(path.name, part) for part in re.split(r";\s*\n", text)]
    return found


def test_statements_on_a_book_name_the_book():
    """Every statement that reads or changes a table of a book compares its book_id (DDL and inserts apart)."""
    tables = "accounts|account_days|entries|postings|blocks|idempotency_keys|entry_references|entry_caps|holds|periods"
    reads = re.compile(rf"\b(?:FROM|JOIN|UPDATE)\s+ledger\.(?:{tables})\b")
    months = {"create_month_v1.sql", "archive_month_v1.sql", "restore_month_v1.sql"}
    wrong = [
        (name, " ".join(part.split())[:90])
        for name, part in statements()
        if name not in months
        and reads.search(part)
        and "book_id" not in part
        and "p_book" not in part
        and ":book" not in part
    ]
    assert wrong == []


def test_no_plan_is_forced_and_nothing_counts_by_itself():
    for name, part in statements():
        assert "force_generic_plan" not in part, name
        assert not re.search(r"\b(?:bigserial|serial|GENERATED\b.*\bIDENTITY)\b", part), name
