"""Columns vouch for every range in order, whatever is in it, and for none that is not; rows then say the same."""

import random
from uuid import UUID

import asyncpg
import numpy as np
import pytest

from ledger import checks_in_columns, range_sums
from ledger.checks import Range
from ledger.posting import post_entries
from ledger.range_columns import KEYS
from ledger.range_sums import AccountFacts, add_up, key_sum
from ledger.verification import Plan, VerificationReport, run_checks, verify
from tests.ledger.entries import BANK, BOOK, FEES, entry, posting, received
from tests.ledger.histories import random_history
from tests.ledger.test_verification import GUARD, UNGUARD, books, rare_books

SEED = 5

COLUMNS = {
    "entries": (
        *(
            "block_number",
            "recorded_at",
            "key",
            "effective_on",
            "kind",
            "caller",
            "metadata",
            "booked_on",
            "occurred_at",
        ),
        *("group_first", "draws_on", "drawn_minor", "drawable_minor", "reverses", "hold_action", "hold"),
    ),
    "postings": (
        *("recorded_at", "line", "debit_account", "credit_account", "amount_minor", "debit_balance_after"),
        *("credit_balance_after", "reverses_line", "available_on", "up_to_minor"),
    ),
    "entry_references": ("scheme", "value"),
    "holds": ("debit_account", "credit_account", "amount_minor", "expires_at"),
    "blocks": (
        *("recorded_at", "block_number", "incarnation", "layout_version", "first_sequence", "last_sequence"),
        *("previous_hash", "hash"),
    ),
}
"""What is sealed, column by column."""
OTHER_VALUE = {
    "uuid": "gen_random_uuid()",
    "text": "coalesce({0}, '') || 'x'",
    "bytea": "coalesce({0}, '') || '\\x00'",
    "date": "coalesce({0}, '2026-01-01') + 1",
    "timestamp with time zone": "coalesce({0}, '2026-01-01') + interval '1 microsecond'",
}


async def ranges(connection: asyncpg.Connection) -> list[Range]:
    """The books in ranges of at most a block."""
    plan, found = await Plan.make(connection, BOOK), list[Range]()
    while range_ := await plan.next(connection, SEED):
        found.append(range_)
    return found


def rows_of(report: VerificationReport) -> dict[str, tuple[int, bool]]:
    return {check.name: (check.rows, check.passed) for check in report.checks}


async def test_every_range_of_sound_books_is_in_order_and_rows_say_the_same(
    app: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.verification.RANGE_ENTRIES", 3)
    await books(app)
    await rare_books(app)
    await random_history(app, seed=3, entries=60)
    by_row = await verify(app, BOOK, independent=True)
    with monkeypatch.context() as patched:
        patched.setattr(checks_in_columns.by_row, "gather", None)
        in_columns = await verify(app, BOOK)
    assert rows_of(in_columns) == rows_of(by_row)
    assert in_columns.passed
    monkeypatch.setattr(range_sums, "SUM_MAX", 10)
    assert await add_up(app, (await ranges(app))[1], AccountFacts()) is None
    assert rows_of(await verify(app, BOOK)) == rows_of(by_row)


async def test_no_sealed_column_can_change_unseen(
    app: asyncpg.Connection, superuser: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.verification.RANGE_ENTRIES", 100)
    await books(app)
    await rare_books(app)
    [range_] = await ranges(app)
    assert await add_up(app, range_, AccountFacts()) is not None
    draw, unseen = random.Random(SEED), []
    for table, names in COLUMNS.items():
        kinds = {
            row["column_name"]: row["data_type"]
            for row in await app.fetch(
                "SELECT column_name, data_type FROM information_schema.columns"
                " WHERE table_schema = 'ledger' AND table_name = $1",
                table,
            )
        }
        rows = await app.fetch(f"SELECT tableoid::regclass::text AS name, ctid::text FROM ledger.{table}")
        if table == "blocks":
            rows = [row for row in rows if row["ctid"] != "(0,1)"]  # the genesis block's recorded_at begins the range
        for name in names:
            row = draw.choice(rows)
            other = OTHER_VALUE.get(kinds[name], "coalesce({0}, 0) + 1").format(name)
            undo = superuser.transaction()
            await undo.start()
            await superuser.execute(UNGUARD)
            changed = await superuser.execute(f"UPDATE {row['name']} SET {name} = {other} WHERE ctid = '{row['ctid']}'")
            assert changed == "UPDATE 1"
            if await add_up(superuser, range_, AccountFacts()) is not None:
                unseen.append(f"{table}.{name}")
            await undo.rollback()
    assert unseen == []


def test_sum_of_keys_depends_on_each_part_and_not_on_the_order() -> None:
    keys = (UUID(int=1), UUID(int=1 << 64), UUID(int=(1 << 128) - 1))
    rows = {
        "key": np.frombuffer(b"".join(key.bytes for key in keys), KEYS.fixed["key"]),
        "sequence": np.array([1, 2, 3]),
        "recorded_at": np.array([0, 1_000, 2_000]),
    }

    def some(places: slice) -> int:
        return key_sum({name: column[places] for name, column in rows.items()}, SEED)

    total = some(slice(None))
    assert 0 < total < 1 << 64
    assert some(slice(None, None, -1)) == total == (some(slice(1)) + some(slice(1, None))) % (1 << 64)
    assert key_sum(rows, SEED + 1) != total
    for name in rows:
        assert key_sum({**rows, name: rows[name][[1, 0, 2]]}, SEED) != total


async def test_a_column_of_another_type_has_its_rows_looked_at(
    app: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    await books(app)
    for change in (
        "ALTER TABLE ledger.postings ALTER COLUMN amount_minor TYPE numeric",
        "ALTER TABLE ledger.entries ALTER COLUMN kind TYPE bigint",
        "ALTER TABLE ledger.entries ALTER COLUMN metadata TYPE text USING encode(metadata, 'hex')",
        "ALTER TABLE ledger.blocks ALTER COLUMN hash DROP NOT NULL; UPDATE ledger.blocks SET hash = NULL",
    ):
        [range_] = await ranges(superuser)
        assert await add_up(superuser, range_, AccountFacts()) is not None
        undo = superuser.transaction()
        await undo.start()
        await superuser.execute(f"{UNGUARD}; {change}")
        assert await add_up(superuser, range_, AccountFacts()) is None
        assert await superuser.fetchval("SELECT 1") == 1
        await undo.rollback()


async def test_lines_may_lie_in_any_order_in_their_table(
    app: asyncpg.Connection, superuser: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await books(app)
    await superuser.execute(f"""
        {UNGUARD};
        WITH gone AS (DELETE FROM ledger.postings WHERE sequence = 1 AND line = 1 RETURNING *)
        INSERT INTO ledger.postings SELECT * FROM gone;
        {GUARD}""")
    lines = await app.fetch("SELECT line FROM ledger.postings WHERE sequence = 1 ORDER BY tableoid, ctid")
    assert [row["line"] for row in lines] == [2, 1]
    monkeypatch.setattr(checks_in_columns.by_row, "gather", None)
    assert (await verify(app, BOOK)).passed


async def test_a_cap_that_no_entry_sets_is_found_where_nothing_else_is_rare(
    app: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    fee = posting(BANK, FEES, 5)
    await post_entries(app, BOOK, [entry(fee), entry(fee)])
    assert (await verify(app, BOOK)).passed
    await superuser.execute(f"{UNGUARD}; INSERT INTO ledger.entry_caps VALUES ({BOOK}, 1, 7, 0); {GUARD}")
    assert [check.name for check in (await verify(app, BOOK)).checks if not check.passed] == ["caps"]


async def test_a_block_that_lies_does_not_have_the_whole_history_read_at_once(
    app: asyncpg.Connection, superuser: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(6):
        await post_entries(app, BOOK, [received(1), received(2)])
    monkeypatch.setattr("ledger.verification.RANGE_ENTRIES", 1)
    monkeypatch.setattr("ledger.verification.BLOCK_ENTRIES_MAX", 2)
    assert (await verify(app, BOOK)).passed
    undo = superuser.transaction()
    await undo.start()
    for statement in (
        UNGUARD,
        "UPDATE ledger.blocks SET last_sequence = 9223372036854775807 WHERE block_number = 2",
        GUARD,
    ):
        await superuser.execute(statement)
    plan, sizes = await Plan.make(superuser, BOOK), list[int]()
    while range_ := await plan.next(superuser, seed=1):
        sizes.append(range_.last - range_.after)
    assert max(sizes) == 3
    report = await run_checks([superuser], BOOK)
    assert {"block_chain", "block_hashes"} <= {check.name for check in report.checks if not check.passed}
    await undo.rollback()
