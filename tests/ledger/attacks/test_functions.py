"""The functions are the shipped ones, and nothing else stands on the tables: what else would be found."""

from datetime import UTC, datetime

import pytest

from ledger.checks_of_functions import code, functions_are_ours, keys_are_there, nothing_was_added
from ledger.posting import post_entries
from ledger.verification import verify
from tests.ledger.attacks.conftest import Attackers
from tests.ledger.attacks.table import WEAKER
from tests.ledger.entries import BOOK, received

CHANGES = {
    WEAKER: "function post_entries_v1 has another body than the one shipped",
    "ALTER FUNCTION ledger.post_entries_v1 SECURITY INVOKER": (
        "function post_entries_v1 has another security definer than the one shipped"
    ),
    "ALTER FUNCTION ledger.post_entries_v1 SET search_path = public, pg_catalog": (
        "function post_entries_v1 has another settings than the one shipped"
    ),
    "ALTER FUNCTION ledger.open_book_v1 RESET ALL": "function open_book_v1 has another settings than the one shipped",
    "ALTER FUNCTION ledger.block_hash_v1 IMMUTABLE": (
        "function block_hash_v1 has another volatility than the one shipped"
    ),
    "GRANT EXECUTE ON FUNCTION ledger.guard_table_v1 TO PUBLIC": ("function guard_table_v1 may be executed by PUBLIC"),
    "CREATE FUNCTION ledger.post_entries_v1(bigint) RETURNS integer LANGUAGE sql AS 'SELECT 1';"
    " REVOKE ALL ON FUNCTION ledger.post_entries_v1(bigint) FROM PUBLIC": "function ledger.post_entries_v1(",
    "CREATE FUNCTION ledger.mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'": "function ledger.mine() is not ours",
    "ALTER FUNCTION ledger.open_book_v1 RENAME TO open_book_v9": "function open_book_v1 is missing",
    "CREATE OR REPLACE FUNCTION ledger.refuse_change_v1() RETURNS trigger LANGUAGE plpgsql"
    " SET search_path = pg_catalog, pg_temp AS $$ BEGIN RETURN NEW; END $$": (
        "function refuse_change_v1 has another body than the one shipped"
    ),
}
ADDITIONS = {
    "CREATE RULE swallow AS ON INSERT TO ledger.entry_references DO INSTEAD NOTHING": (
        "rule swallow on ledger.entry_references is not ours"
    ),
    "CREATE TRIGGER mine BEFORE INSERT ON ledger.books FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change_v1()": (
        "trigger mine on ledger.books is not ours"
    ),
    "ALTER TABLE ledger.books ENABLE ROW LEVEL SECURITY": "row security on ledger.books is not ours",
    "CREATE POLICY mine ON ledger.books USING (false)": "policy mine on ledger.books is not ours",
    "DROP TRIGGER append_only ON ledger.books; CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON ledger.books"
    " FOR EACH ROW WHEN (old.book_id = 7) EXECUTE FUNCTION ledger.refuse_change_v1();"
    " ALTER TABLE ledger.books ENABLE ALWAYS TRIGGER append_only": "trigger append_only on ledger.books is not ours",
}


async def test_functions_of_a_new_database_are_ours(fenced: Attackers) -> None:
    """With the fence's function and without; before and after a month was made."""
    assert await functions_are_ours(fenced.app) == []
    assert await nothing_was_added(fenced.app) == []
    await fenced.superuser.execute("DROP SCHEMA ledger_fence CASCADE")
    await fenced.app.execute("SELECT ledger.create_month_v1((now() + interval '13 months')::date)")
    assert await functions_are_ours(fenced.app) == []
    assert await nothing_was_added(fenced.app) == []


@pytest.mark.parametrize("by", ["owner", "superuser"])
async def test_changed_functions_are_found(attackers: Attackers, by: str) -> None:
    for change, problem in CHANGES.items():
        undo = attackers[by].transaction()
        await undo.start()
        await attackers[by].execute(change)
        found = await functions_are_ours(attackers[by])
        await undo.rollback()
        assert any(each.startswith(problem) for each in found), (change, found)
    assert await functions_are_ours(attackers.app) == []


async def test_function_given_to_another_role_is_found(attackers: Attackers) -> None:
    """SECURITY DEFINER would then run as that role."""
    app = await attackers.app.fetchval("SELECT current_user")
    await attackers.superuser.execute(f"ALTER FUNCTION ledger.post_entries_v1 OWNER TO {app}")
    [problem] = await functions_are_ours(attackers.app)
    assert problem == "function post_entries_v1 belongs to another role than the schema"


async def test_additions_that_swallow_or_hide_rows_are_found(attackers: Attackers) -> None:
    for addition, problem in ADDITIONS.items():
        undo = attackers.owner.transaction()
        await undo.start()
        await attackers.owner.execute(addition)
        found = await nothing_was_added(attackers.owner)
        await undo.rollback()
        assert problem in found, (addition, found)
    assert await nothing_was_added(attackers.app) == []


async def test_tables_that_lost_their_key_are_found(attackers: Attackers) -> None:
    assert await keys_are_there(attackers.app) == []
    undo = attackers.owner.transaction()
    await undo.start()
    await attackers.owner.execute("ALTER TABLE ledger.idempotency_keys DROP CONSTRAINT idempotency_keys_pkey")
    await attackers.owner.execute("ALTER TABLE ledger.entry_caps DROP CONSTRAINT entry_caps_pkey")
    month = f"entries_{datetime.now(UTC):%Y_%m}"
    await attackers.owner.execute(f"ALTER TABLE ledger.{month} DROP CONSTRAINT {month}_pkey")
    found = await keys_are_there(attackers.owner)
    await undo.rollback()
    assert {"ledger.entry_caps has no primary key", "ledger.idempotency_keys has no primary key"} <= set(found)
    assert {"ledger.idempotency_keys_high has no primary key", f"ledger.{month} has no primary key"} <= set(found)


async def test_posting_by_a_changed_function_leaves_sound_books_and_is_found_by_looking_at_the_function(
    attackers: Attackers,
) -> None:
    await attackers.owner.execute(WEAKER)
    await post_entries(attackers.app, BOOK, [received(1)])
    report = await verify(attackers.app, BOOK)
    assert ({check.name for check in report.checks if not check.passed} - {"code"}, report.head) == (set(), 6)
    found = await code(attackers.app, BOOK, 6)
    assert (found.count, found.rows >= 10) == (1, True)
    assert await functions_are_ours(attackers.app) == ["function post_entries_v1 has another body than the one shipped"]
