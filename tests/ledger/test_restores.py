"""After a restore: what was published and is lost is a fault until an act on the record says so."""

import asyncpg
import msgspec
import pytest

from ledger.checkpoint_folder import CheckpointFolder
from ledger.checks_of_checkpoints import published_checkpoints
from ledger.errors import CheckpointContradicted
from ledger.restoring import restored
from ledger.verification import run_checks, verify
from tests.ledger.checkpointing import KEY, cut_off, make, post, problems
from tests.ledger.entries import BOOK


async def test_published_ahead_of_the_books_is_a_fault_until_a_restore_is_on_the_record(
    app: asyncpg.Connection, folder: CheckpointFolder, superuser: asyncpg.Connection
) -> None:
    await post(app, 1, 2)
    await make(app, folder)
    await post(app, 3, 4)
    lost = await make(app, folder)
    assert lost is not None
    await cut_off(superuser, 3)
    said = "checkpoint 000001-000000002 lies ahead of the books: it ends at block 4, they end at block 3"
    assert await problems(app, folder) == [said]
    with pytest.raises(CheckpointContradicted, match="lies ahead of the books"):
        await make(app, folder)
    assert len(await folder.published(BOOK)) == 2

    act = await restored(
        app, BOOK, sink=folder, public_key=KEY.public_key, actor="op_1", reason="disk lost, backup of noon"
    )
    assert msgspec.structs.astuple(act) == (2, "000001-000000002", 4, 4)
    [row] = await app.fetch("SELECT * FROM ledger.ledger_acts WHERE act = 'restored'")
    subject = f"book={BOOK} incarnation=2 block=4 published=1/2:{lost.hash.hex()} lost=4..4"
    assert (row["subject"], row["actor"], row["reason"]) == (subject, "op_1", "disk lost, backup of noon")
    block = await app.fetchrow("SELECT * FROM ledger.blocks WHERE book_id = $1 AND block_number = 4", BOOK)
    assert (block["incarnation"], block["first_sequence"], block["last_sequence"]) == (2, 4, 3)
    assert await problems(app, folder) == []

    await post(app, 5)
    made = await make(app, folder)
    assert made is not None
    assert (made.incarnation, made.number, made.first_block, made.last_block) == (2, 2, 3, 5)
    assert (made.last_sequence, made.name) == (4, "000002-000000002")
    found = await published_checkpoints(app, BOOK, await folder.published(BOOK), [KEY.public_key])
    assert (found.found, found.rows) == ([], 3)
    taken_back = "1 taken back on the record: incarnation 2 by op_1 (disk lost, backup of noon)"
    assert found.note == f"2 checkpoints agree with the books; {taken_back}"
    report = await verify(app, BOOK)
    assert [check.name for check in report.checks if not check.passed] == []


async def test_a_second_restore_that_forgets_the_first_begins_a_new_number(
    app: asyncpg.Connection, folder: CheckpointFolder, superuser: asyncpg.Connection
) -> None:
    async def restore() -> tuple[object, ...]:
        act = await restored(app, BOOK, sink=folder, public_key=KEY.public_key, actor="op_1", reason="again")
        return msgspec.structs.astuple(act)

    await post(app, 1, 2)
    await make(app, folder)
    await cut_off(superuser, 1)
    assert await restore() == (2, "000001-000000001", 2, 2)
    await post(app, 3, 4)
    await make(app, folder)
    await cut_off(superuser, 1)
    assert await problems(app, folder) == [
        "checkpoint 000001-000000001 lies ahead of the books: it ends at block 2, they end at block 1",
        "checkpoint 000002-000000001 lies ahead of the books: it ends at block 4, they end at block 1",
    ]
    assert await restore() == (3, "000002-000000001", 2, 3)
    assert await problems(app, folder) == []
    assert (await make(app, folder)).name == "000003-000000001"
    assert await problems(app, folder) == []


async def test_books_that_went_on_after_a_restore_differ_and_the_act_says_from_where(
    app: asyncpg.Connection, folder: CheckpointFolder, superuser: asyncpg.Connection
) -> None:
    await post(app, 1)
    await make(app, folder)
    await post(app, 2)
    await make(app, folder)
    await cut_off(superuser, 1)
    await post(app, 3, 4)
    [said] = await problems(app, folder)
    assert said == "checkpoint 000001-000000002 differs from the books: its block 2 is not there"
    with pytest.raises(CheckpointContradicted, match="differs from the books"):
        await make(app, folder)
    act = await restored(app, BOOK, sink=folder, public_key=KEY.public_key, actor="op_1", reason="late")
    assert msgspec.structs.astuple(act) == (2, "000001-000000002", 2, 2)
    assert await problems(app, folder) == []
    made = await make(app, folder)
    assert made is not None
    assert (made.name, made.first_block, made.last_block) == ("000002-000000002", 2, 4)
    assert await problems(app, folder) == []


async def test_a_restore_before_anything_was_published(app: asyncpg.Connection, folder: CheckpointFolder) -> None:
    await post(app, 1)
    act = await restored(app, BOOK, sink=folder, public_key=KEY.public_key, actor="op_1", reason="drill")
    assert msgspec.structs.astuple(act) == (2, None, 2, None)
    assert await problems(app, folder) == []
    await post(app, 2)
    assert (await make(app, folder)).name == "000002-000000001"
    assert (await verify(app, BOOK)).passed


async def test_a_restore_must_say_what_and_why(app: asyncpg.Connection) -> None:
    act = "SELECT ledger.restored_v1($1, $2, $3, $4, $5, $6, $7, $8, $9)"
    good = [BOOK, None, None, None, 1, 1, None, "op_1", "drill"]
    for position, value in ((1, 1), (4, 2), (4, None), (5, 2), (7, ""), (8, ""), (8, None)):
        fields = list(good)
        fields[position] = value
        with pytest.raises(asyncpg.PostgresError) as refused:
            await app.fetchval(act, *fields)
        assert refused.value.sqlstate == "QK003"
    assert await app.fetchval("SELECT count(*) FROM ledger.restorations") == 0
    assert await app.fetchval(act, *good) == 2
    assert (await verify(app, BOOK)).passed


async def test_a_block_without_entries_is_a_fault_where_the_incarnation_does_not_rise(
    app: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    await post(app, 1)
    statement = """INSERT INTO ledger.blocks
        SELECT book_id, recorded_at + interval '1 second', 2, {incarnation}, 1, 2, 1, hash, ledger.block_hash_v1(
            hash, 1::smallint, book_id, {incarnation}, 2, 2, 1, recorded_at + interval '1 second', sha256(''))
        FROM ledger.blocks WHERE block_number = 1"""
    for incarnation, passed in ((1, False), (2, True)):
        transaction = superuser.transaction()
        await transaction.start()
        await superuser.execute(statement.format(incarnation=incarnation))
        report = await run_checks([superuser], BOOK)
        failed = {check.name: check.detail for check in report.checks if not check.passed}
        assert failed == (
            {} if passed else {"block_chain": "block 2 is empty without a new incarnation, or begins one with entries"}
        )
        await transaction.rollback()
