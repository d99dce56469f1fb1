"""A closed month leaves the books whole: what was proved before is proved after, and it can come back."""

import gzip
import hashlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from ledger import verification
from ledger.accounts import open_book
from ledger.archived_exports import verify_export
from ledger.archiving import archive_month, load_export, restore_month
from ledger.balances import balances, balances_at, trial_balance
from ledger.errors import ArchivingRefused, MonthArchived
from ledger.feed import entry_by_key, entry_by_sequence, pending_by_day, read_entries
from ledger.holds import place_hold
from ledger.journal import EntryKind, ExternalReference, JournalEntry, Posted
from ledger.months import month_after
from ledger.periods import begin_closing, close_period, define_periods
from ledger.posting import post_entries
from ledger.schema import SQL
from ledger.statements import statement, statement_by_dates
from ledger.verification import run_checks, verify
from tests.conftest import ClonedDatabase
from tests.ledger.entries import AVAILABLE, BANK, DAY, PAYOUTS, PENDING, drawing, entry, paid_out, posting, received

LIVE, TEST = 1, 2000
TODAY = datetime.now(UTC).date()
MONTH, NEXT, LAST = (month_after(TODAY, n) for n in (-2, -1, 0))
ACCOUNTS = [BANK, AVAILABLE, PAYOUTS]
ACT = {"actor": "op_1", "reason": "ticket 7"}


@pytest.fixture
async def owner(database: ClonedDatabase) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.owner_dsn)
    yield connection
    await connection.close()


async def at(superuser: asyncpg.Connection, moment: datetime | None) -> None:
    """Let the books believe that it is another moment; None = the clock's."""
    seconds = 0 if moment is None else int((datetime.now(UTC) - moment).total_seconds())
    for name in ("post_entries_v1", "open_book_v1", "open_accounts_v1"):
        text = (SQL / f"{name}.sql").read_text().replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")
        await superuser.execute(
            text.replace("clock_timestamp()", f"(clock_timestamp() - interval '{seconds} seconds')")
        )


async def history(app: asyncpg.Connection, superuser: asyncpg.Connection, *more: JournalEntry) -> list[JournalEntry]:
    """Two months old: 1 with a cap, a reference, a draw; this month: 3 draws again, 4 pays out. A test book at rest."""
    await superuser.execute("SELECT ledger.create_month_v1($1)", MONTH)
    await at(superuser, datetime(MONTH.year, MONTH.month, 10, tzinfo=UTC))
    await open_book(app, LIVE, code="live", mode="live")
    await open_book(app, TEST, code="at rest", mode="test")
    captured = received(
        1_000, drawable_minor=1_000, references=(ExternalReference("scb", "b"),), effective_on=MONTH, metadata=b'\x00,"'
    )
    old = [captured, drawing(captured, 300, effective_on=MONTH)]
    await post_entries(app, LIVE, [*more, *old])
    await post_entries(app, TEST, [received(5, effective_on=MONTH)])
    await at(superuser, None)
    new = [drawing(captured, 200, effective_on=LAST), paid_out(400, effective_on=LAST)]
    results = await post_entries(app, LIVE, new)
    assert [result.sequence - len(more) for result in results if isinstance(result, Posted)] == [3, 4]
    return old + new


async def closed(app: asyncpg.Connection, through: date) -> None:
    end = through - timedelta(days=1)
    bounds = [(MONTH, end), (through, month_after(TODAY, 6) - timedelta(days=1))]
    assert await define_periods(app, LIVE, bounds, **ACT) is None
    assert await begin_closing(app, LIVE, ends_on=end, **ACT) is None
    assert await close_period(app, LIVE, ends_on=end, **ACT) is None


@pytest.fixture(autouse=True)
def clock_moved_knowingly(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests move the clock by changing the functions, which verification would rightly name."""
    others = {name: check for name, check in verification.SINGLE_CHECKS.items() if name != "code"}
    monkeypatch.setattr(verification, "SINGLE_CHECKS", others)


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
    assert not isinstance(again, Posted) or (again.replayed and again.sequence == 1)
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
    await superuser.execute("ALTER TABLE ledger.accounts DISABLE TRIGGER append_only")
    await superuser.execute(
        "UPDATE ledger.accounts SET debits_posted = debits_posted + 1 WHERE kind = 11 AND book_id = 1"
    )
    await superuser.execute("ALTER TABLE ledger.accounts ENABLE ALWAYS TRIGGER append_only")
    await refused(MONTH, "book 1 does not verify: account_totals")
    for forbidden in (
        "SELECT ledger.archive_month_v1($1, '{}', '{}', '{}', '', '', '')",
        "SELECT ledger.restore_month_v1($1, '', '')",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await app.execute(forbidden, MONTH)


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
    with pytest.raises(asyncpg.PostgresError, match="was not verified, or changed since"):
        await owner.execute(call, MONTH, asked[1], [b"another"] * len(heads))
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
    await load_export(owner, folder)
    await restore_month(owner, MONTH, **ACT)
    await proved(app, LIVE, TEST)

    path = folder / "postings.csv.gz"
    changed = gzip.decompress(path.read_bytes()).replace(b",1000,", b",1001,")
    path.write_bytes(gzip.compress(changed, mtime=0))
    assert verify_export(folder) == ["postings.csv.gz is not the manifest's"]
    with pytest.raises(ArchivingRefused, match="does not verify"):
        await load_export(owner, folder)
    manifest = folder / "manifest.json"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    old = json.loads(manifest.read_text())["files"]["postings"]["sha256"]
    manifest.write_text(manifest.read_text().replace(old, digest))
    assert verify_export(folder) == ["book 1: block 1 is not what its hash says"]


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
