"""A new version of the posting function stands beside the old one: both post to one book, then the old one goes."""

import asyncio
from typing import Any

import asyncpg
import pytest

from ledger.errors import LedgerError
from ledger.journal import JournalEntry, Posted, PostingResult, Refused
from ledger.posting import post_entries
from ledger.refusals import Refusal
from ledger.schema import SQL
from ledger.verification import verify
from tests.conftest import ClonedDatabase
from tests.ledger.entries import BOOK, drawing, received

CALLS_EACH = 40


async def migrate_beside(owner: asyncpg.Connection, app_role: str) -> None:
    """What a migration to version 2 does while version 1 is in use: add a column, add a function, let the app call it.

    The visible difference of version 2: the caller of what it posts is marked, and the new column says who wrote.
    """
    text = (SQL / "post_entries_v1.sql").read_text()
    assert "FUNCTION ledger.post_entries_v1(" in text
    text = text.replace("FUNCTION ledger.post_entries_v1(", "FUNCTION ledger.post_entries_v2(", 1)
    marked = text.replace(
        "BEGIN\n",
        "BEGIN\n    p_caller := ARRAY(SELECT 'v2:' || given.caller FROM unnest(p_caller) AS given(caller));\n",
        1,
    )
    assert marked != text
    async with owner.transaction():
        await owner.execute("SET LOCAL quickkub.ledger_change = 'migration 0002'")
        await owner.execute("ALTER TABLE ledger.entries ADD COLUMN written_by smallint DEFAULT 1")
        await owner.execute(marked)
        await owner.execute("REVOKE ALL ON FUNCTION ledger.post_entries_v2 FROM PUBLIC")
        await owner.execute(f"GRANT EXECUTE ON FUNCTION ledger.post_entries_v2 TO {app_role}")


class NewCode(asyncpg.Connection):
    """A connection of the new code: it calls version 2."""

    async def fetchval(self, query: str, *args: Any, **options: Any) -> Any:
        return await super().fetchval(query.replace("post_entries_v1", "post_entries_v2"), *args, **options)


async def post_on(connection: asyncpg.Connection, original: JournalEntry) -> list[PostingResult]:
    found = []
    for _ in range(CALLS_EACH):
        entries = [received(5, caller="x"), drawing(original, 3, caller="x")]
        found += await post_entries(connection, BOOK, entries)
    return found


async def test_old_and_new_code_post_side_by_side_and_the_old_function_goes(
    app: asyncpg.Connection, database: ClonedDatabase
) -> None:
    owner = await asyncpg.connect(database.owner_dsn)
    role = await app.fetchval("SELECT session_user")
    first = received(100_000, drawable_minor=100_000)
    await post_entries(app, BOOK, [first])
    older = await asyncpg.connect(database.app_dsn)
    newer = await asyncpg.connect(database.app_dsn, connection_class=NewCode)

    running = asyncio.create_task(post_on(older, first))
    await asyncio.sleep(0.05)
    await migrate_beside(owner, role)
    results = [*await post_on(newer, first), *await running]
    assert len(results) == 4 * CALLS_EACH
    assert all(isinstance(result, Posted) for result in results)
    rows = await app.fetch("SELECT caller, count(*) AS n, count(written_by) AS marked FROM ledger.entries GROUP BY 1")
    assert {row["caller"]: row["n"] for row in rows} == {"system": 1, "x": 2 * CALLS_EACH, "v2:x": 2 * CALLS_EACH}
    assert sum(row["marked"] for row in rows) == 1 + 4 * CALLS_EACH
    for independent in (False, True):
        report = await verify(app, BOOK, independent=independent)
        # A function that this version does not ship is named, as it should be.
        assert {check.name for check in report.checks if not check.passed} == {"code"}

    # What the old code posted is a replay for the new code, and other content is refused.
    [again] = await post_entries(newer, BOOK, [first])
    assert isinstance(again, Posted)
    assert (again.replayed, again.sequence) == (True, 1)
    [other] = await post_entries(older, BOOK, [received(1, key=first.key)])
    assert other == Refused(key=first.key, refusal=Refusal.KEY_REUSED_WITH_OTHER_CONTENT)

    async with owner.transaction():
        await owner.execute("SET LOCAL quickkub.ledger_change = 'migration 0003'")
        await owner.execute("DROP FUNCTION ledger.post_entries_v1")
    with pytest.raises(LedgerError, match="post_entries_v1"):
        await post_entries(older, BOOK, [received(1)])
    [last] = await post_entries(newer, BOOK, [received(1)])
    assert isinstance(last, Posted)
    assert last.sequence == 2 + 4 * CALLS_EACH
    assert {check.name for check in (await verify(app, BOOK)).checks if not check.passed} == {"code"}
    for connection in (owner, older, newer):
        await connection.close()
