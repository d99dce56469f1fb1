"""The migrated database is what the code believes it is: tables, types, and the house rules of the schema."""

import re
from importlib import import_module
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import MetaData, Table
from sqlalchemy.dialects import postgresql

from migrations import upgrade

ROOT = Path(__file__).parent.parent
SCHEMAS = ["gateway", "ledger", "reconciliation", "sandbox"]
EXACT_TYPES = re.compile(
    r"^(?:bigint|integer|smallint|text|boolean|bytea|uuid|date|jsonb|timestamp with time zone)(?:\[\])?$"
)
COLUMNS = """
SELECT format('%I.%I', namespace.nspname, class.relname) AS table_name, attname AS name,
       format_type(coalesce(nullif(typbasetype, 0), atttypid), atttypmod) AS type,  -- a domain is the type it checks
       attnotnull AS not_null, attidentity <> '' AS identity,
       coalesce(pg_get_expr(adbin, adrelid), '') AS default,
       attnum = ANY(coalesce(key.conkey, '{}')) AS is_key
  FROM pg_attribute
  JOIN pg_class class ON class.oid = attrelid
  JOIN pg_namespace namespace ON namespace.oid = relnamespace
  JOIN pg_type ON pg_type.oid = atttypid
  LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
  LEFT JOIN pg_constraint key ON key.conrelid = attrelid AND key.contype = 'p'
 WHERE namespace.nspname = ANY($1) AND relkind IN ('r', 'p') AND NOT relispartition AND attnum > 0 AND NOT attisdropped
 ORDER BY 1, attnum
"""


def declared_tables() -> list[Table]:
    found: dict[str, Table] = {}
    for path in sorted(ROOT.glob("*/**/tables.py")):
        if ".venv" in path.parts:
            continue
        module = import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for value in vars(module).values():
            if isinstance(value, MetaData):
                found |= value.tables
    return list(found.values())


@pytest.fixture
async def columns(database) -> dict[str, list[asyncpg.Record]]:
    connection = await asyncpg.connect(database.superuser_dsn)
    try:
        tables: dict[str, list[asyncpg.Record]] = {}
        for row in await connection.fetch(COLUMNS, SCHEMAS):
            tables.setdefault(row["table_name"], []).append(row)
        return tables
    finally:
        await connection.close()


def shape_of(table: Table) -> list[tuple[str, str, bool]]:
    names = {"BIGSERIAL": "bigint", "SERIAL": "integer"}
    shape = []
    for column in table.columns:
        text = column.type.compile(dialect=postgresql.dialect())
        shape.append((column.name, names.get(text, text.lower()), not column.nullable))
    return sorted(shape)


async def test_every_declared_table_is_the_migrated_one(columns):
    assert declared_tables()
    for table in declared_tables():
        name = f"{table.schema}.{table.name}"
        assert name in columns, f"{name} is declared and not migrated"
        migrated = [(row["name"], row["type"], row["not_null"]) for row in columns[name]]
        assert shape_of(table) == sorted(migrated), name
        keys = {row["name"] for row in columns[name] if row["is_key"]}
        assert {column.name for column in table.primary_key.columns} == keys, name


async def test_schema_holds_exact_types_only(columns):
    """No float, numeric, money or serial; no time without zone; ids come from our code, never from a sequence."""
    assert columns
    wrong = [
        f"{table}.{row['name']}: {row['type']}"
        for table, rows in columns.items()
        for row in rows
        if not EXACT_TYPES.match(row["type"]) or row["identity"] or "nextval" in row["default"]
    ]
    assert wrong == []


async def test_amounts_are_bigint(columns):
    wrong = [
        f"{table}.{row['name']}: {row['type']}"
        for table, rows in columns.items()
        for row in rows
        if row["name"].endswith("_minor") and row["type"] != "bigint"
    ]
    assert wrong == []


async def test_no_column_asks_the_time_by_default(columns):
    wrong = [
        f"{table}.{row['name']}"
        for table, rows in columns.items()
        for row in rows
        if re.search(r"now\(\)|timestamp|current_date", row["default"], re.IGNORECASE) and "::" not in row["default"]
    ]
    assert wrong == []


async def test_every_table_belongs_to_the_owner_role(database):
    connection = await asyncpg.connect(database.superuser_dsn)
    strangers = await connection.fetch(
        "SELECT relname, relowner::regrole::text AS owner FROM pg_class"
        " JOIN pg_namespace ON pg_namespace.oid = relnamespace"
        " WHERE nspname = ANY($1) AND relowner::regrole::text <> 'quickkub_owner'",
        SCHEMAS,
    )
    await connection.close()
    assert [tuple(row) for row in strangers] == []


def test_no_migration_reads_every_payment_while_it_holds_them_up():
    """A CHECK that comes with a column, or is not NOT VALID, does. Earlier migrations did, with fewer of them."""
    changed = re.compile(r"ALTER TABLE gateway\.(?:payment_intents|payment_attempts|facts|events)\b[^\"]*")
    for path in sorted((ROOT / "migrations/versions").glob("[0-9]*.py")):
        if path.name >= "0018":
            statements = changed.findall(re.sub(r'"\s*f?"', "", path.read_text()))
            assert [each for each in statements if "CHECK" in each and "NOT VALID" not in each] == [], path.name


def test_migrations_are_one_chain_without_gaps():
    files = sorted(path.name for path in (ROOT / "migrations/versions").glob("[0-9]*.py"))
    assert [name[:4] for name in files] == [f"{number:04}" for number in range(1, len(files) + 1)]
    assert upgrade.heads() == [files[-1][:4]]


async def test_migrating_again_changes_nothing(database):
    before = await upgrade.current(database.owner_dsn)
    await upgrade.upgrade(database.owner_dsn)
    assert await upgrade.current(database.app_dsn) == before == upgrade.heads()[0]
