"""A closed month leaves the books whole: what was proved before is proved after, and it can come back."""

import asyncio
import gzip
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast
from uuid import uuid4

import asyncpg
import pytest

from ledger.archived_exports import verify_export
from ledger.archives import ArchivePlace, archived_months
from ledger.archiving import archive_month, months_in_books, restore_month
from ledger.balances import balances, balances_at, balances_effective, trial_balance
from ledger.errors import ArchivingRefused, MonthArchived
from ledger.feed import entries_by_reference, entry_by_key, entry_by_sequence, pending_by_day, read_entries
from ledger.holds import place_hold
from ledger.journal import EntryKind, JournalEntry, Posted, Refused
from ledger.month_exports import load_export
from ledger.months import month_after
from ledger.posting import Connection, Ledger, post_entries
from ledger.refusals import Refusal
from ledger.statements import statement, statement_by_dates
from ledger.verification import run_checks, verify
from tests.conftest import ClonedDatabase
from tests.ledger.entries import AVAILABLE, BANK, DAY, PAYOUTS, PENDING, drawing, entry, posting, received
from tests.ledger.old_months import ACT, LAST, LIVE, MONTH, NEXT, TEST, TODAY, closed, history

ACCOUNTS = [BANK, AVAILABLE, PAYOUTS]


@pytest.fixture
async def owner(database: ClonedDatabase) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.owner_dsn)
    yield connection
    await connection.close()


async def proved(app: asyncpg.Connection, *books: int) -> None:
    for book in books:
        for independent in (False, True):
            report = await verify(app, book, independent=independent)
            assert [check for check in report.checks if not check.passed] == []


async def test_archived_month_is_away_and_the_books_go_on(
    app: asyncpg.Connection, owner: asyncpg.Connection, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    entries = await history(app, superuser)
    await closed(app, NEXT)
    before = await balances(app, LIVE, ACCOUNTS), await balances_at(app, LIVE, ACCOUNTS, 3)
    trial_before = await trial_balance(app, LIVE, from_on=NEXT)
    manifest = await archive_month(owner, MONTH, folder=tmp_path / "month", **ACT)
    assert [(book.book_id, book.first_sequence, book.last_sequence) for book in manifest.books] == [
        (1, 1, 2),
        (2000, 1, 1),
    ]
    assert {name: file.rows for name, file in manifest.files.items()} == {
        "entries": 3, "postings": 3, "references": 1, "holds": 0, "blocks": 4,
    }  # fmt: skip
    assert await app.fetchval("SELECT count(*) FROM ledger.entries WHERE book_id = 1") == 2
    await proved(app, LIVE, TEST)
    assert (await balances(app, LIVE, ACCOUNTS), await balances_at(app, LIVE, ACCOUNTS, 3)) == before
    assert {balance.last_sequence for balance in (await balances_at(app, LIVE, [AVAILABLE], 3)).values()} == {1}
    assert await trial_balance(app, LIVE, from_on=NEXT) == trial_before
    with pytest.raises(MonthArchived, match=f"{MONTH:%Y-%m}"):
        await balances_at(app, LIVE, ACCOUNTS, 1)
    with pytest.raises(MonthArchived, match=f"{MONTH:%Y-%m}"):
        await entries_by_reference(app, LIVE, "scb", ["b"])
    with pytest.raises(MonthArchived, match="business dates"):
        await trial_balance(app, LIVE, from_on=MONTH)

    for lost in (
        read_entries(app, LIVE, after=1, limit=9),
        read_entries(app, TEST, after=0, limit=9),
        entry_by_key(app, LIVE, entries[1].key),
        entry_by_sequence(app, LIVE, 2),
        statement_by_dates(app, LIVE, BANK, from_on=MONTH, to_on=LAST),
        statement(app, LIVE, BANK, after=0),
    ):
        with pytest.raises(MonthArchived):
            await lost
    assert [entry.sequence for entry in await read_entries(app, LIVE, after=2, limit=9)] == [3, 4]
    assert await entry_by_key(app, LIVE, uuid4()) is None

    # The book at rest goes on, caps still hold, and no key of the archive is posted twice.
    [at_rest] = await post_entries(app, TEST, [received(7)])
    assert isinstance(at_rest, Posted)
    assert at_rest.sequence == 2
    [refused, drawn] = await post_entries(app, LIVE, [drawing(entries[0], 501), drawing(entries[0], 500)])
    assert (getattr(refused, "sequence", None), getattr(drawn, "sequence", None)) == (None, 5)
    [again] = await post_entries(app, LIVE, [entries[0]])
    assert isinstance(again, Posted)
    assert (again.replayed, again.sequence) == (True, 1)
    await proved(app, LIVE, TEST)

    await restore_month(owner, MONTH, **ACT)
    assert await app.fetchval("SELECT count(*) FROM ledger.entries WHERE book_id = 1") == 5
    await proved(app, LIVE, TEST)
    assert (await balances_at(app, LIVE, [AVAILABLE], 1))[AVAILABLE].balance_minor == 1_000
    [replayed] = await post_entries(app, LIVE, [entries[0]])
    assert isinstance(replayed, Posted)
    assert (replayed.replayed, replayed.sequence) == (True, 1)
    acts = [row["act"] for row in await app.fetch("SELECT act FROM ledger.ledger_acts ORDER BY acted_at")]
    assert acts[-2:] == ["archive_month", "restore_month"]
    await archive_month(owner, MONTH, folder=tmp_path / "again", **ACT)
    await proved(app, LIVE, TEST)


async def test_month_that_must_stay_is_refused_and_nothing_is_changed(
    app: asyncpg.Connection, owner: asyncpg.Connection, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    await history(app, superuser)

    async def refused(month: date, why: str) -> None:
        acts = await app.fetchval("SELECT count(*) FROM ledger.ledger_acts")
        folder = tmp_path / f"{month}-{len(why)}"
        with pytest.raises(ArchivingRefused, match=why):
            await archive_month(owner, month, folder=folder, **ACT)
        assert await app.fetchval("SELECT count(*) FROM ledger.archives") == 0
        assert await app.fetchval("SELECT count(*) FROM ledger.entries") == 5
        assert await app.fetchval("SELECT count(*) FROM ledger.ledger_acts") == acts

    await refused(MONTH, "book 1: the month is not wholly before the first period that is not closed")  # no periods
    await refused(NEXT, "among the last two")
    await refused(LAST, "among the last two")
    await refused(month_after(TODAY, -5), "not in the books")
    await closed(app, MONTH + timedelta(days=20))
    await refused(MONTH, "not wholly before")
    with pytest.raises(ArchivingRefused, match="not the newest"):
        await restore_month(owner, MONTH, **ACT)
    for forbidden in (
        "SELECT ledger.archive_month_v1($1, '{}', '{}', '{}', '', '', '')",
        "SELECT ledger.restore_month_v1($1, '', '')",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await app.execute(forbidden, MONTH)


async def test_month_of_books_that_do_not_verify_or_moved_since_is_refused(
    app: asyncpg.Connection, owner: asyncpg.Connection, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    await history(app, superuser)
    await closed(app, NEXT)
    call = "SELECT ledger.archive_month_v1($1, $2, $3, $3, '', 'op_1', 'why')"
    for books, heads in (([], []), ([LIVE, TEST], [b"another", b"another"])):
        with pytest.raises(asyncpg.PostgresError, match="book 1 was not verified, or changed since"):
            await owner.execute(call, MONTH, books, heads)
    await superuser.execute("ALTER TABLE ledger.accounts DISABLE TRIGGER append_only")
    await superuser.execute(
        "UPDATE ledger.accounts SET debits_posted = debits_posted + 1 WHERE kind = 11 AND book_id = 1"
    )
    await superuser.execute("ALTER TABLE ledger.accounts ENABLE ALWAYS TRIGGER append_only")
    with pytest.raises(ArchivingRefused, match="book 1 does not verify: account_totals"):
        await archive_month(owner, MONTH, folder=tmp_path / "month", **ACT)
    assert await app.fetchval("SELECT count(*) FROM ledger.archives") == 0
    assert await app.fetchval("SELECT count(*) FROM ledger.entries") == 5


async def test_what_keeps_each_month_is_said_and_where_an_archived_one_lies(
    app: asyncpg.Connection, owner: asyncpg.Connection, database: ClonedDatabase, superuser: asyncpg.Connection,
    tmp_path: Path,
) -> None:  # fmt: skip
    await history(app, superuser)
    auditor = await asyncpg.connect(database.auditor_dsn)
    now = datetime.now(UTC)

    async def obstacles_of(reader: asyncpg.Connection) -> dict[date, tuple[str, ...]]:
        return {each.month: each.obstacles for each in await months_in_books(reader, at=now)}

    for reader in (app, auditor):
        found = await obstacles_of(reader)
        assert list(found) == [month_after(TODAY, n) for n in range(-2, 4)]
        assert found[MONTH] == ("book 1: the month is not wholly before the first period that is not closed",)
        assert found[NEXT] == (
            f"month {NEXT:%Y_%m} is among the last two",
            f"an earlier month than {NEXT:%Y_%m} is in the books",
        )
    await closed(app, NEXT)
    assert (await obstacles_of(auditor))[MONTH] == ()
    assert await archived_months(auditor) == []

    # Everything but the last step is done by a role that only reads.
    done: list[tuple[str, int, int]] = []
    manifest = await archive_month(
        owner, MONTH, folder=tmp_path / "month", readers=[auditor], progress=lambda *said: done.append(said), **ACT
    )
    assert list(dict.fromkeys(doing for doing, _, _ in done)) == [
        "exporting", "verifying book 1", "verifying book 2000", "proving the export",
        "keeping contents of book 1", "keeping contents of book 2000",
    ]  # fmt: skip
    assert all(0 <= part <= total for _, part, total in done)
    assert MONTH not in await obstacles_of(auditor)
    live, test = await archived_months(auditor)
    assert (live.book_id, live.first_sequence, live.last_sequence, live.month) == (LIVE, 1, 2, MONTH)
    assert [each.head_hash.hex() for each in (live, test)] == [book.head_hash for book in manifest.books]
    assert live.manifest_hash == hashlib.sha256((tmp_path / "month" / "manifest.json").read_bytes()).digest()
    places = [live.place]
    await restore_month(owner, MONTH, **ACT)
    places += [each.place for each in await archived_months(auditor) if each.book_id == LIVE]
    await archive_month(owner, MONTH, folder=tmp_path / "again", **ACT)
    for table in ("entries", "postings", "blocks"):
        await owner.execute(f"DROP TABLE ledger_archive.{table}_{MONTH:%Y_%m}")
    places += [each.place for each in await archived_months(auditor) if each.book_id == LIVE]
    assert places == [ArchivePlace.ARCHIVE, ArchivePlace.BOOKS, ArchivePlace.EXPORT]
    await auditor.close()


async def test_nobody_who_posts_meanwhile_is_turned_away(
    app: asyncpg.Connection,
    owner: asyncpg.Connection,
    pool: asyncpg.Pool,
    superuser: asyncpg.Connection,
    tmp_path: Path,
) -> None:
    await history(app, superuser)
    await closed(app, NEXT)
    ledger, over, posted = Ledger(pool), asyncio.Event(), []

    async def caller(book: int) -> None:
        while not over.is_set():
            posted.append(await ledger.post(book, received(1)))

    callers = [asyncio.create_task(caller(book)) for book in (LIVE, TEST) for _ in range(4)]
    for turn in range(3):
        await archive_month(owner, MONTH, folder=tmp_path / str(turn), **ACT)
        await restore_month(owner, MONTH, **ACT)
    over.set()
    await asyncio.gather(*callers)
    await ledger.close()
    assert posted
    assert {type(each) for each in posted} == {Posted}
    await proved(app, LIVE, TEST)


async def test_month_that_others_still_need_is_refused(
    app: asyncpg.Connection, owner: asyncpg.Connection, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    held = place_hold(key=uuid4(), posting=posting(BANK, PAYOUTS, 4), effective_on=MONTH)
    await history(app, superuser, received(2, effective_on=LAST), held)
    await closed(app, NEXT)
    with pytest.raises(ArchivingRefused, match="book 1: the month is not wholly before"):  # 1 counts in an open period
        await archive_month(owner, MONTH, folder=tmp_path / "a", **ACT)
    undo = superuser.transaction()
    await undo.start()
    heads = await app.fetch(
        """SELECT DISTINCT ON (book_id) book_id, hash FROM ledger.blocks
           WHERE recorded_at < $1 ORDER BY book_id, recorded_at DESC""",
        datetime(NEXT.year, NEXT.month, 1, tzinfo=UTC),
    )
    call = "SELECT ledger.archive_month_v1($1, $2, $3, $3, '', 'op_1', 'why')"
    asked = (MONTH, [row["book_id"] for row in heads], [row["hash"] for row in heads])
    await superuser.execute("UPDATE ledger.periods SET state = 'closed'")
    with pytest.raises(asyncpg.PostgresError, match="book 1: the hold of entry 2 is open"):
        await superuser.execute(call, *asked)
    await undo.rollback()
    before, starts = month_after(TODAY, -3), datetime(MONTH.year, MONTH.month, 1, tzinfo=UTC)
    undo = superuser.transaction()
    await undo.start()
    await superuser.execute(
        "CREATE TABLE ledger.entries_old PARTITION OF ledger.entries"
        f" FOR VALUES FROM ('{before} 00:00+00') TO ('{starts}')"
    )
    await superuser.execute(
        """INSERT INTO ledger.entries (book_id, sequence, recorded_at, block_number, key, effective_on, kind, caller,
               metadata) VALUES (1, 9, $1, 1, gen_random_uuid(), $2, 310, '', '')""",
        starts - timedelta(seconds=1),
        before,
    )
    with pytest.raises(asyncpg.PostgresError, match=r"an earlier month than .* is in the books"):
        await superuser.execute(call, *asked)
    await undo.rollback()
    assert await app.fetchval("SELECT count(*) FROM ledger.archives") == 0


async def test_export_proves_itself_and_tampering_with_it_is_found(
    app: asyncpg.Connection, owner: asyncpg.Connection, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    await history(app, superuser)
    await closed(app, NEXT)
    folder = tmp_path / "month"
    await archive_month(owner, MONTH, folder=folder, **ACT)
    assert verify_export(folder) == []

    # The tables were dropped, and come back from the files.
    for table in ("entries", "postings", "blocks"):
        await owner.execute(f"DROP TABLE ledger_archive.{table}_{MONTH:%Y_%m}")
    await proved(app, LIVE, TEST)
    with pytest.raises(ArchivingRefused, match="tables are not there"):
        await restore_month(owner, MONTH, **ACT)
    with pytest.raises(ArchivingRefused, match="is not the export of month"):
        await load_export(owner, NEXT, folder)
    await load_export(owner, MONTH, folder)
    await restore_month(owner, MONTH, **ACT)
    await proved(app, LIVE, TEST)

    with pytest.raises(ArchivingRefused, match=f"the tables of month {MONTH:%Y_%m} are there"):
        await load_export(owner, MONTH, folder)
    path = folder / "postings.csv.gz"
    changed = gzip.decompress(path.read_bytes()).replace(b",1000,", b",1001,")
    path.write_bytes(gzip.compress(changed, mtime=0))
    assert verify_export(folder) == ["postings.csv.gz is not the manifest's"]
    with pytest.raises(ArchivingRefused, match="does not verify"):
        await load_export(owner, MONTH, folder)
    manifest = folder / "manifest.json"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    old = json.loads(manifest.read_text())["files"]["postings"]["sha256"]
    manifest.write_text(manifest.read_text().replace(old, digest))
    assert verify_export(folder) == ["book 1: block 1 is not what its hash says"]
    manifest.write_text("{}")
    assert verify_export(folder) == ["the manifest cannot be read: Object missing required field `month`"]


async def test_tampering_with_the_archive_is_found(
    app: asyncpg.Connection, owner: asyncpg.Connection, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    await history(app, superuser)
    await closed(app, NEXT)
    await archive_month(owner, MONTH, folder=tmp_path / "month", **ACT)
    for table, change, expected in (
        ("archived_balances", "debits_posted = debits_posted + 1", {"account_totals", "archives", "balances_after"}),
        ("archived_draws", "drawn_minor = 1", {"caps"}),
        ("archives", "head_hash = sha256('x')", {"archives", "block_chain"}),
        ("archives", "first_sequence = 2", {"archives"}),
    ):
        undo = superuser.transaction()
        await undo.start()
        await superuser.execute(f"ALTER TABLE ledger.{table} DISABLE TRIGGER append_only")
        await superuser.execute(f"UPDATE ledger.{table} SET {change} WHERE book_id = 1")
        await superuser.execute(f"ALTER TABLE ledger.{table} ENABLE ALWAYS TRIGGER append_only")
        report = await verify_rolled_back(superuser)
        assert report == expected, change
        await undo.rollback()


async def verify_rolled_back(superuser: asyncpg.Connection) -> set[str]:
    return {check.name for check in (await run_checks([superuser], LIVE)).checks if not check.passed}


async def test_pending_money_of_an_archived_month_is_still_due(
    app: asyncpg.Connection, owner: asyncpg.Connection, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    await history(app, superuser, received(70, to=PENDING, effective_on=MONTH))
    await closed(app, NEXT)
    before = await pending_by_day(app, LIVE, through=DAY)
    assert [(day.available_on, day.amount_minor) for day in before] == [(DAY, 70)]
    await archive_month(owner, MONTH, folder=tmp_path / "month", **ACT)
    assert await pending_by_day(app, LIVE, through=DAY) == before
    moved = entry(posting(PENDING, AVAILABLE, 70), kind=EntryKind.BECAME_AVAILABLE, effective_on=LAST)
    assert isinstance((await post_entries(app, LIVE, [moved]))[0], Posted)
    assert await pending_by_day(app, LIVE, through=DAY) == []
    await proved(app, LIVE)
    await restore_month(owner, MONTH, **ACT)
    assert await pending_by_day(app, LIVE, through=DAY) == []


async def test_import_is_never_before_the_last_one_though_that_is_away(
    app: asyncpg.Connection, owner: asyncpg.Connection, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    def imported(year: int, on: date = LAST) -> JournalEntry:
        happened_at = datetime(year, 1, 1, tzinfo=UTC)
        return received(5, kind=EntryKind.HISTORY_IMPORTED, occurred_at=happened_at, effective_on=on)

    await history(app, superuser, imported(2020, MONTH))
    await closed(app, NEXT)
    await archive_month(owner, MONTH, folder=tmp_path / "month", **ACT)
    early, late = await post_entries(app, LIVE, [imported(2019), imported(2021)])
    assert isinstance(early, Refused)
    assert early.refusal == Refusal.IMPORT_OUT_OF_ORDER
    assert isinstance(late, Posted)
    [between] = await post_entries(app, LIVE, [imported(2020)])
    assert isinstance(between, Refused)


class Interrupted:
    """A connection on which something happens right after the statement of a number."""

    def __init__(self, connection: asyncpg.Connection, number: int, happens: Callable[[], Awaitable[object]]) -> None:
        self._connection, self._left, self._happens = connection, number, happens

    def __getattr__(self, name: str) -> Any:
        asked = getattr(self._connection, name)
        if name not in {"fetch", "fetchrow", "fetchval"}:
            return asked

        async def ask(*arguments: Any) -> Any:
            answer = await asked(*arguments)
            self._left -= 1
            if self._left == 0:
                await self._happens()
            return answer

        return ask


READS: Final[dict[str, tuple[int, Callable[[Connection], Awaitable[object]]]]] = {
    "trial balance": (2, lambda connection: trial_balance(connection, LIVE)),
    "effective, as known then": (2, lambda connection: balances_effective(connection, LIVE, ACCOUNTS, LAST, cut=1)),
    "feed": (2, lambda connection: read_entries(connection, LIVE, after=0, limit=10)),
    "entry": (2, lambda connection: entry_by_sequence(connection, LIVE, 1)),
    "statement": (1, lambda connection: statement(connection, LIVE, BANK, limit=10)),
    "statement, its end": (1, lambda connection: statement(connection, LIVE, BANK, after=2, limit=10)),
    "by dates": (6, lambda connection: statement_by_dates(connection, LIVE, BANK, from_on=MONTH, to_on=LAST)),
}
"""With the number of statements after which something may happen."""


@pytest.mark.parametrize(
    "asked",
    [pytest.param((read, n), id=f"{name} {n}") for name, (most, read) in READS.items() for n in range(1, most + 1)],
)
async def test_what_is_archived_while_it_is_read_is_not_left_out_in_silence(
    app: asyncpg.Connection,
    owner: asyncpg.Connection,
    superuser: asyncpg.Connection,
    tmp_path: Path,
    asked: tuple[Callable[[Connection], Awaitable[object]], int],
) -> None:
    read, number = asked
    await history(app, superuser)
    await closed(app, NEXT)
    before = await read(app)
    interrupted = Interrupted(app, number, lambda: archive_month(owner, MONTH, folder=tmp_path / "month", **ACT))
    try:
        during = await read(cast("Connection", interrupted))
    except MonthArchived:
        return
    assert [each.place for each in await archived_months(app)] == [ArchivePlace.ARCHIVE] * 2
    assert during == before
