"""Checkpoints: what is signed and published, what a crash leaves, and what a restore must say."""

import asyncio
import stat
from datetime import UTC, datetime

import asyncpg
import msgspec
import pytest

from ledger import checkpoints
from ledger.checkpoint_folder import CheckpointFolder
from ledger.checkpoint_format import NO_CHECKPOINT, Checkpoint, parse, signed
from ledger.checkpoints import make_checkpoint, recorded_checkpoints
from ledger.checks_of_checkpoints import against, published_checkpoints
from ledger.errors import BookNotFound, CheckpointMalformed
from ledger.merkle import root_of
from ledger.posting import post_entries
from ledger.restoring import restored
from ledger.verification import verify
from tests.ledger.checkpointing import KEY, Key, make, post, problems
from tests.ledger.entries import BOOK, received
from tests.ledger.test_verification import GUARD, UNGUARD

EXAMPLE = Checkpoint(
    book=1,
    incarnation=1,
    number=3,
    first_block=120,
    last_block=245,
    last_sequence=61032,
    recorded_at=datetime(2026, 11, 23, 17, tzinfo=UTC),
    head_hash=bytes([0x0F] * 32),
    merkle_root=bytes([0x1E] * 32),
    previous_checkpoint=bytes([0x2D] * 32),
)
TEXT = (
    "quickkub-checkpoint 1\nbook 1\nincarnation 1\nnumber 3\nfirst_block 120\nlast_block 245\nlast_sequence 61032\n"
    "recorded_at 2026-11-23T17:00:00.000000Z\n"
    f"head_hash {'0f' * 32}\nmerkle_root {'1e' * 32}\nprevious_checkpoint {'2d' * 32}\n"
)


def test_the_bytes_are_as_documented_and_nothing_else_is_read():
    assert EXAMPLE.to_bytes().decode() == TEXT
    published = signed(EXAMPLE, KEY).to_bytes()
    assert published.startswith(TEXT.encode() + b"signature ")
    assert parse(published).checkpoint == EXAMPLE
    assert parse(published).is_signed_by(KEY.public_key)
    assert not parse(published).is_signed_by(Key(2).public_key)
    for old, new in (
        (b"quickkub-checkpoint 1", b"quickkub-checkpoint 2"),
        (b"book 1\n", b"book 01\n"),
        (b"book 1\n", b"book +1\n"),
        (b"book 1\n", b""),
        (b"book 1\n", b"book 1\nbook 1\n"),
        (b"17:00:00.000000Z", b"17:00:00Z"),
        (b"0f0f", b"0F0f"),
        (b"signature", b"signed"),
        (b"book 1\nincarnation 1\n", b"incarnation 1\nbook 1\n"),
    ):
        with pytest.raises(CheckpointMalformed):
            parse(published.replace(old, new, 1))
    for text in (b"", b"\xff", published[:-1], published + b"\n", published + published):
        with pytest.raises(CheckpointMalformed):
            parse(text)


async def test_a_checkpoint_covers_what_is_new_and_is_made_only_then(
    app: asyncpg.Connection, folder: CheckpointFolder
) -> None:
    await post(app, 1, 2)
    first = await make(app, folder)
    assert await make(app, folder) is None
    await post(app, 3)
    second = await make(app, folder)
    assert await make(app, folder) is None
    blocks = await app.fetch("SELECT * FROM ledger.blocks WHERE book_id = $1 ORDER BY block_number", BOOK)
    assert first == Checkpoint(
        book=BOOK,
        incarnation=1,
        number=1,
        first_block=0,
        last_block=2,
        last_sequence=2,
        recorded_at=blocks[2]["recorded_at"],
        head_hash=blocks[2]["hash"],
        merkle_root=root_of([block["hash"] for block in blocks[:3]]),
        previous_checkpoint=NO_CHECKPOINT,
    )
    assert second is not None
    assert (second.number, second.first_block, second.last_block, second.last_sequence) == (2, 3, 3, 3)
    assert (second.previous_checkpoint, second.merkle_root) == (first.hash, root_of([blocks[3]["hash"]]))
    paths = [folder.path_of(BOOK, name) for name in ("000001-000000001", "000001-000000002")]
    assert sorted((folder.folder / f"book-{BOOK}").iterdir()) == paths
    assert [stat.S_IMODE(path.stat().st_mode) for path in paths] == [0o444, 0o444]
    assert [parse(path.read_bytes()) for path in paths] == await recorded_checkpoints(app, BOOK)
    assert await problems(app, folder) == []
    assert (await verify(app, BOOK)).passed
    with pytest.raises(BookNotFound):
        await make_checkpoint(app, 77, signer=KEY, sink=folder)


async def test_blocks_are_read_in_chunks(
    app: asyncpg.Connection, folder: CheckpointFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "BLOCKS_AT_ONCE", 2)
    await post(app, *range(1, 6))
    made = await make(app, folder)
    hashes = await app.fetch("SELECT hash FROM ledger.blocks WHERE book_id = $1 ORDER BY block_number", BOOK)
    assert made is not None
    assert made.merkle_root == root_of([row["hash"] for row in hashes])
    assert await problems(app, folder) == []


async def test_a_crash_between_file_and_row_is_finished_by_the_next_call(
    app: asyncpg.Connection, folder: CheckpointFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    await post(app, 1)

    async def crash(*_: object) -> None:
        raise OSError("the connection is gone")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="gone"):
        patched.setattr(checkpoints, "record", crash)
        await make(app, folder)
    [(name, content)] = await folder.published(BOOK)
    assert await recorded_checkpoints(app, BOOK) == []
    assert await problems(app, folder) == []
    await post(app, 2)
    made = await make(app, folder)
    assert made is not None
    assert (made.number, made.previous_checkpoint) == (2, parse(content).checkpoint.hash)
    assert await folder.published(BOOK, after="") == [(name, content), *await folder.published(BOOK, after=name)]
    assert [each.checkpoint.number for each in await recorded_checkpoints(app, BOOK)] == [1, 2]
    assert await problems(app, folder) == []


async def test_what_a_crash_left_is_given_back_when_nothing_came_after_it(
    app: asyncpg.Connection, folder: CheckpointFolder, superuser: asyncpg.Connection
) -> None:
    await post(app, 1)
    made = await make(app, folder)
    await superuser.execute(f"{UNGUARD}; DELETE FROM ledger.checkpoints; {GUARD}")
    assert await make(app, folder) == made
    assert await make(app, folder) is None


async def test_of_many_at_once_one_makes_it_and_all_record_the_same(
    app: asyncpg.Connection, pool: asyncpg.Pool, folder: CheckpointFolder
) -> None:
    await post(app, 1, 2, 3)

    async def one(amount: int) -> None:
        async with pool.acquire() as connection:
            if amount % 2:
                await post_entries(connection, BOOK, [received(amount)])
            await make_checkpoint(connection, BOOK, signer=KEY, sink=folder)

    await asyncio.gather(*(one(amount) for amount in range(1, 9)))
    await make(app, folder)
    recorded = await recorded_checkpoints(app, BOOK)
    assert [each.to_bytes() for each in recorded] == [content for _, content in await folder.published(BOOK)]
    assert recorded[-1].checkpoint.last_sequence == 7
    assert await problems(app, folder) == []


async def test_what_is_there_is_never_overwritten(folder: CheckpointFolder) -> None:
    assert await folder.publish(1, "a", b"first") == b"first"
    assert await folder.publish(1, "a", b"second") == b"first"
    assert await folder.published(1) == [("a", b"first")]
    assert await folder.published(2) == []


TAMPERINGS = {
    "UPDATE ledger.blocks SET hash = sha256('x') WHERE block_number = 2": (
        "checkpoint 000001-000000001 differs from the books: its block 2 is another than theirs"
    ),
    "UPDATE ledger.blocks SET hash = sha256('x') WHERE block_number = 1": (
        "checkpoint 000001-000000001 differs from the books: its Merkle root is another than that of their blocks"
    ),
    "DELETE FROM ledger.blocks WHERE block_number = 1": (
        "checkpoint 000001-000000001 differs from the books: block 1 is not in its place"
    ),
    "DELETE FROM ledger.blocks WHERE block_number = 3": (
        "checkpoint 000001-000000002 lies ahead of the books: it ends at block 3, they end at block 2"
    ),
    "UPDATE ledger.checkpoints SET signature = sha256('x') WHERE checkpoint_number = 1": (
        "checkpoint 000001-000000001 is recorded and not published as it is recorded"
    ),
    "INSERT INTO ledger.blocks SELECT book_id, recorded_at + interval '1 second', 4, 2, 1, 4, 3, hash, sha256('x')"
    " FROM ledger.blocks WHERE block_number = 3": "incarnation 2 began at block 4 without an act on the record",
    "INSERT INTO ledger.restorations VALUES (1000, 2, 4, 4, 4, NULL, 1, 9, sha256('x'), '2026-01-01', 'a', 'b')": (
        "the restore of incarnation 2 has no block 4"
    ),
}


async def test_each_tampering_is_found(
    app: asyncpg.Connection, folder: CheckpointFolder, superuser: asyncpg.Connection
) -> None:
    await post(app, 1, 2)
    await make(app, folder)
    await post(app, 3)
    await make(app, folder)
    for statement, said in TAMPERINGS.items():
        transaction = superuser.transaction()
        await transaction.start()
        await superuser.execute(f"{UNGUARD}; {statement}")
        assert said in await problems(superuser, folder), statement
        await transaction.rollback()
    assert await problems(app, folder) == []


async def test_each_change_of_what_is_published_is_found(app: asyncpg.Connection, folder: CheckpointFolder) -> None:
    await post(app, 1)
    await make(app, folder)
    await post(app, 2)
    await make(app, folder)
    [(one, first), (two, second)] = await folder.published(BOOK)

    async def found(*published: tuple[str, bytes]) -> list[str]:
        return (await published_checkpoints(app, BOOK, published, [KEY.public_key])).found

    assert await found((one, first), (two, second)) == []
    assert await found((two, second)) == [
        f"checkpoint {two} follows one that is not published",
        f"checkpoint {two} differs from the books: block 2 is not in its place",
        f"checkpoint {one} is recorded and not published as it is recorded",
    ]
    unpublished = f"checkpoint {two} is recorded and not published as it is recorded"
    assert await found((one, first)) == [unpublished]
    forged = signed(parse(second).checkpoint, Key(2)).to_bytes()
    assert await found((one, first), (two, forged)) == [f"checkpoint {two} is not signed with the key", unpublished]
    unreadable = f"checkpoint {two}: the file is not a checkpoint"
    assert await found((one, first), (two, second[:-3])) == [unreadable, unpublished]
    assert f"checkpoint {two} is that of book {BOOK}, {one}" in await found((one, first), (two, first))


async def test_one_that_is_made_while_the_check_reads_is_no_fault(
    app: asyncpg.Connection, folder: CheckpointFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    await post(app, 1)
    await make(app, folder)
    published = folder.published

    async def one_more(book_id: int, after: str = "") -> list[tuple[str, bytes]]:
        found = await published(book_id, after)
        monkeypatch.undo()
        await post(app, 2)
        await make(app, folder)
        return found

    monkeypatch.setattr(folder, "published", one_more)
    found = await against(folder, [KEY.public_key])(app, BOOK, 0)
    assert (found.found, found.rows, found.note) == ([], 1, "1 checkpoints agree with the books")
    found = await against(folder, [Key(2).public_key, KEY.public_key])(app, BOOK, 0)
    assert (found.found, found.rows) == ([], 2)


async def test_what_is_not_ours_is_neither_recorded_nor_excused(
    app: asyncpg.Connection, folder: CheckpointFolder
) -> None:
    await post(app, 1)
    made = await make(app, folder)
    assert made is not None
    ahead = msgspec.structs.replace(made, number=2, first_block=2, last_block=9, previous_checkpoint=made.hash)
    await folder.publish(BOOK, ahead.name, signed(ahead, Key(2)).to_bytes())
    with pytest.raises(CheckpointMalformed, match="not one of ours"):
        await make(app, folder)
    with pytest.raises(CheckpointMalformed, match="not one of ours"):
        await restored(app, BOOK, sink=folder, public_key=KEY.public_key, actor="a", reason="b")
    assert len(await recorded_checkpoints(app, BOOK)) == 1
    assert await app.fetchval("SELECT max(incarnation) FROM ledger.blocks") == 1


async def test_rows_cannot_be_changed_and_only_the_functions_write_them(
    app: asyncpg.Connection, folder: CheckpointFolder, superuser: asyncpg.Connection
) -> None:
    await post(app, 1)
    await make(app, folder)
    await restored(app, BOOK, sink=folder, public_key=KEY.public_key, actor="op_1", reason="drill")
    for table in ("checkpoints", "restorations"):
        attacks = (
            f"UPDATE ledger.{table} SET incarnation = 7",
            f"DELETE FROM ledger.{table}",
            f"TRUNCATE ledger.{table}",
        )
        for statement in (*attacks, f"INSERT INTO ledger.{table} SELECT * FROM ledger.{table}"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await app.execute(statement)
        for statement in attacks:
            with pytest.raises(asyncpg.PostgresError, match="append-only"):
                await superuser.execute(statement)
    assert await problems(app, folder) == []


RECORD = "SELECT ledger.record_checkpoint_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"


async def test_the_database_records_only_what_follows_and_ends_at_a_block(
    app: asyncpg.Connection, folder: CheckpointFolder
) -> None:
    await post(app, 1)
    made = await make(app, folder)
    assert made is not None
    good = [getattr(made, name) for name in made.__struct_fields__]
    for position, value in ((1, 2), (2, 2), (3, 1), (4, 2), (5, 7), (7, bytes(32)), (9, bytes([1] * 32)), (0, 1001)):
        fields = [*good, made.hash, bytes(64)]
        fields[position] = value
        with pytest.raises(asyncpg.PostgresError) as refused:
            await app.fetchval(RECORD, *fields)
        assert refused.value.sqlstate == "QK003"
    with pytest.raises(asyncpg.PostgresError, match="other contents"):
        await app.fetchval(RECORD, *good, bytes(32), bytes(64))
    assert await app.fetchval(RECORD, *good, made.hash, bytes(64)) is False
    assert await app.fetchval("SELECT count(*) FROM ledger.checkpoints") == 1


async def test_the_database_records_a_further_checkpoint_only_after_the_one_before(
    app: asyncpg.Connection, folder: CheckpointFolder
) -> None:
    await post(app, 1)
    await make(app, folder)
    await post(app, 1)
    made = await make(app, folder)
    assert made is not None
    good = {name: getattr(made, name) for name in made.__struct_fields__}
    third = good | {"number": 3, "first_block": made.last_block + 1, "previous_checkpoint": made.hash}
    for wrong in (
        {"first_block": made.last_block},
        {"first_block": 0},
        {"previous_checkpoint": bytes(32)},
        {"number": 4},
    ):
        with pytest.raises(asyncpg.PostgresError) as refused:
            await app.fetchval(RECORD, *(third | wrong).values(), bytes(32), bytes(64))
        assert refused.value.sqlstate == "QK003", wrong
