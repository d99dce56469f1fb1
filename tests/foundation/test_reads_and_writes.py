"""Rows that travel as JSON: what is written is what is read, by one statement, all of it or nothing."""

from datetime import UTC, date, datetime
from enum import StrEnum
from uuid import UUID

import asyncpg
import msgspec
import pytest
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    select,
    text,
)
from sqlalchemy import (
    UUID as UUID_TYPE,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError

from gateway.foundation.database import Database
from gateway.foundation.reads import Query, Reads
from gateway.foundation.writes import Writes
from tests.conftest import ClonedDatabase
from tests.statements import noted

METADATA = MetaData(schema="public")
SHELVES = Table("shelves", METADATA, Column("shelf_id", Text, primary_key=True), Column("rank", Integer))
BOXES = Table(
    "boxes",
    METADATA,
    Column("book_id", BigInteger, primary_key=True),
    Column("box_id", Text, primary_key=True),
    Column("shelf_id", Text),
    Column("colour", Text),
    Column("marks", ARRAY(Text)),
    Column("note", JSONB),
    Column("seal", LargeBinary),
    Column("key", UUID_TYPE),
    Column("packed_on", Date),
    Column("packed_at", DateTime(timezone=True)),
    Column("is_open", Boolean),
    Column("leased_until", DateTime(timezone=True)),
)


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Note(msgspec.Struct, frozen=True):
    lines: list[str]
    weight: int


class Box(msgspec.Struct, frozen=True, kw_only=True):
    book_id: int = 7
    box_id: str
    shelf_id: str | None = None
    colour: Colour = Colour.RED
    marks: frozenset[str] = frozenset()
    note: Note | None = None
    key: UUID | None = None
    packed_on: date | None = None
    packed_at: datetime | None = None
    is_open: bool = False
    leased_until: datetime | None = None


class SealedBox(Box, frozen=True, kw_only=True):
    seal: bytes | None


class Shelf(msgspec.Struct, frozen=True):
    shelf_id: str
    rank: int


LEASE = datetime(2026, 5, 1, tzinfo=UTC)
FULL = Box(
    box_id="b1",
    shelf_id="top",
    colour=Colour.BLUE,
    marks=frozenset({"z", "a", 'with "quotes", {braces}', "ไทย"}),
    note=Note(["line\nand \\ line", "ใบเสร็จ"], 2**60 + 1),
    key=UUID(int=5),
    packed_on=date(2026, 2, 28),
    packed_at=datetime(2026, 2, 28, 17, 0, 0, 123456, tzinfo=UTC),
    is_open=True,
    leased_until=LEASE,
)
EMPTY = Box(box_id="b2")
BOX_QUERY = Query(select(BOXES).order_by(BOXES.c.book_id, BOXES.c.box_id), Box)
SHELF_QUERY = Query(text("SELECT shelf_id, rank FROM public.shelves ORDER BY rank").columns(*SHELVES.c), Shelf)
BOTH = Reads(boxes=BOX_QUERY, shelves=SHELF_QUERY)


@pytest.fixture
async def opened(database: ClonedDatabase):
    owner = await asyncpg.connect(database.owner_dsn)
    await owner.execute("CREATE TABLE public.shelves (shelf_id text PRIMARY KEY, rank integer NOT NULL)")
    await owner.execute(
        "CREATE TABLE public.boxes (book_id bigint, box_id text, shelf_id text REFERENCES public.shelves, colour text, "
        "marks text[], note jsonb, seal bytea, key uuid, packed_on date, packed_at timestamptz, is_open boolean, "
        "leased_until timestamptz, added_later text NOT NULL DEFAULT 'by itself', PRIMARY KEY (book_id, box_id))"
    )
    await owner.execute("GRANT SELECT, INSERT, UPDATE ON public.shelves, public.boxes TO quickkub_app")
    await owner.close()
    opened = await Database.open(database.app_dsn, pool_size=2)
    yield opened
    await opened.close()


@pytest.fixture(params=["by itself", "in a transaction"])
def write(opened, request):
    """Sends writes, in both ways in which statements are sent."""

    async def sent(writes: Writes) -> dict[str, list]:
        if request.param == "by itself":
            return await writes.send(opened)
        async with opened.transaction() as connection:
            return await writes.send(connection)

    return sent


async def everything(opened: Database) -> list[list[msgspec.Struct]]:
    return await BOTH.ask(opened, {})


async def test_what_is_written_is_what_is_read(opened, write):
    await write(Writes().insert(SHELVES, [Shelf("top", 1)]).insert(BOXES, [EMPTY, FULL]))
    assert await everything(opened) == [[FULL, EMPTY], [Shelf("top", 1)]]


async def test_all_parts_are_one_statement_and_a_reference_may_point_to_another_part(opened, write, monkeypatch):
    statements = noted(monkeypatch, opened)
    await write(Writes().insert(BOXES, [FULL]).insert(SHELVES, [Shelf("top", 1)]))
    assert len(statements) == 1


async def test_nothing_is_written_where_one_part_cannot_be(opened, write):
    with pytest.raises(IntegrityError):
        await write(Writes().insert(SHELVES, [Shelf("low", 1)]).insert(BOXES, [FULL]))
    assert await everything(opened) == [[], []]


async def test_a_known_key_is_an_error_unless_known_ones_stay(opened, write):
    await write(Writes().insert(BOXES, [EMPTY]))
    other = msgspec.structs.replace(EMPTY, colour=Colour.BLUE)
    with pytest.raises(IntegrityError):
        await write(Writes().insert(BOXES, [other]))
    new = Box(box_id="b3")
    await write(Writes().insert(BOXES, [other, new], known_ones_stay=True))
    assert (await everything(opened))[0] == [EMPTY, new]


async def test_an_update_finds_rows_by_their_key_and_leaves_what_is_untouched(opened, write):
    leased = msgspec.structs.replace(EMPTY, leased_until=LEASE)
    elsewhere = msgspec.structs.replace(leased, book_id=8)
    await write(Writes().insert(BOXES, [leased, elsewhere]))
    changed = msgspec.structs.replace(EMPTY, colour=Colour.BLUE, packed_on=date(2026, 1, 1))
    await write(Writes().update(BOXES, [changed], untouched=["leased_until"]))
    assert (await everything(opened))[0] == [msgspec.structs.replace(changed, leased_until=LEASE), elsewhere]


async def test_a_column_is_cleared_in_the_rows_named_and_kept_in_the_others(opened, write):
    first, second = (Box(box_id=name, leased_until=LEASE) for name in ("b1", "b2"))
    await write(Writes().insert(BOXES, [first, second]))
    stale = [msgspec.structs.replace(row, leased_until=datetime(2020, 1, 1, tzinfo=UTC)) for row in (first, second)]
    await write(Writes().update(BOXES, stale, cleared={"leased_until": ["b2"]}))
    assert (await everything(opened))[0] == [first, msgspec.structs.replace(second, leased_until=None)]


async def test_bytes_are_written_as_they_are_and_none_is_null(opened, write):
    rows = [SealedBox(box_id="b1", seal=bytes(range(256))), SealedBox(box_id="b2", seal=None)]
    await write(Writes().insert(BOXES, rows))
    async with opened.read() as connection:
        found = (await connection.execute(select(BOXES.c.seal).order_by(BOXES.c.box_id))).scalars().all()
    assert found == [bytes(range(256)), None]


async def test_a_column_that_the_rows_do_not_know_has_its_default_and_keeps_it(opened, write):
    await write(Writes().insert(BOXES, [EMPTY]))
    await write(Writes().update(BOXES, [msgspec.structs.replace(EMPTY, is_open=True)]))
    async with opened.read() as connection:
        assert (await connection.execute(text("SELECT is_open, added_later FROM public.boxes"))).one() == (
            True,
            "by itself",
        )


async def test_what_a_statement_returns_comes_back_under_its_name(opened, write):
    raised = text("UPDATE public.shelves SET rank = rank + :more RETURNING shelf_id, rank").columns(*SHELVES.c)
    await write(Writes().insert(SHELVES, [Shelf("top", 1), Shelf("low", 2)]))
    returned = await write(Writes().insert(BOXES, [EMPTY]).also("raised", raised, {"more": 10}, Shelf))
    assert sorted(returned["raised"], key=lambda shelf: shelf.rank) == [Shelf("top", 11), Shelf("low", 12)]
    missed = text("UPDATE public.shelves SET rank = 0 WHERE shelf_id = :none RETURNING shelf_id, rank")
    nothing = await write(Writes().also("missed", missed.columns(*SHELVES.c), {"none": "x"}, Shelf))
    assert nothing == {"missed": []}


async def test_nothing_gathered_is_nothing_sent():
    assert await Writes().insert(BOXES, []).update(BOXES, []).send(None) == {}


async def test_rows_of_a_table_are_added_once(opened):
    with pytest.raises(AssertionError, match="added before"):
        Writes().insert(BOXES, [EMPTY]).insert(BOXES, [FULL])


async def test_a_reader_cannot_write_by_a_part_of_a_statement(opened):
    async with opened.read() as connection:
        with pytest.raises(AssertionError, match="a reader writes"):
            await Writes().insert(BOXES, [EMPTY]).insert(SHELVES, [Shelf("top", 1)]).send(connection)
    assert await everything(opened) == [[], []]


async def test_queries_that_find_nothing_are_empty_and_share_their_parameters(opened, write):
    await write(Writes().insert(SHELVES, [Shelf("top", 1), Shelf("low", 2)]).insert(BOXES, [FULL, EMPTY]))
    on_shelf = Query(
        text("SELECT shelf_id, rank FROM public.shelves WHERE shelf_id = :shelf").columns(*SHELVES.c), Shelf
    )
    in_shelf = Query(text("SELECT * FROM public.boxes WHERE shelf_id = :shelf").columns(*BOXES.c), Box)
    reads = Reads(shelves=on_shelf, boxes=in_shelf)
    assert await reads.ask(opened, {"shelf": "low"}) == [[Shelf("low", 2)], []]
    async with opened.read() as connection:
        assert await reads.ask(connection, {"shelf": "top"}) == [[Shelf("top", 1)], [FULL]]
