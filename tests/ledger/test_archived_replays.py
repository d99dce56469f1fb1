"""An entry of an archived month is answered as it was before: the same again is a replay, another is refused."""

import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg
import msgspec
import pytest

from ledger.accounts import open_book
from ledger.archiving import archive_month, restore_month
from ledger.feed import entry_by_key
from ledger.holds import hold_by_key, place_hold, post_hold
from ledger.journal import EntryKind, ExternalReference, JournalEntry, LinkedGroup, Posted, Posting, Refused
from ledger.posting import post_entries
from ledger.refusals import Refusal
from ledger.reversals import reversal_of
from ledger.verification import run_checks, verify
from tests.conftest import ClonedDatabase
from tests.ledger.entries import AVAILABLE, BANK, FEES, PAYOUTS, PENDING, drawing, entry, paid_out, posting, received
from tests.ledger.old_months import ACT, LAST, MONTH, at

BOOK = 2000
STRANGE = {
    "TimeZone": "Asia/Bangkok",
    "DateStyle": "German, DMY",
    "bytea_output": "escape",
    "IntervalStyle": "iso_8601",
}
Answers = dict[JournalEntry, Posted]


@pytest.fixture
async def old(app: asyncpg.Connection, database: ClonedDatabase, superuser: asyncpg.Connection) -> Answers:
    """One entry of every shape, two months ago, in a session that writes dates in its own way; what each was told."""
    await superuser.execute("SELECT ledger.create_month_v1($1)", MONTH)
    await at(superuser, datetime(MONTH.year, MONTH.month, 10, tzinfo=UTC))
    await open_book(app, BOOK, code="old", mode="test")
    expires_at = datetime(LAST.year, LAST.month, 1, 3, 30, tzinfo=UTC) + timedelta(days=365)
    references = (ExternalReference("scb", "ก b"), ExternalReference("omise", 'x"y'))
    capture = received(1_000, drawable_minor=900, references=references, metadata=b'\x00,"\\', caller="first")
    hold = place_hold(key=uuid4(), posting=posting(AVAILABLE, PAYOUTS, 40), effective_on=MONTH, expires_at=expires_at)
    as_much = Posting(debit=AVAILABLE, credit=PAYOUTS, amount_minor=9_999, up_to=True)
    entries = [
        capture,
        drawing(capture, 300),
        entry(posting(BANK, PENDING, 70), posting(BANK, FEES, 30)),
        entry(
            posting(BANK, AVAILABLE, 5),
            kind=EntryKind.HISTORY_IMPORTED,
            occurred_at=datetime(2020, 1, 1, 5, tzinfo=UTC),
        ),
        hold,
    ]
    told: Answers = {}

    async def posted(*more: JournalEntry | LinkedGroup) -> None:
        results = await post_entries(app, BOOK, more)
        flat = [each for item in more for each in (item.entries if isinstance(item, LinkedGroup) else (item,))]
        for given, result in zip(flat, results, strict=True):
            assert isinstance(result, Posted), result
            told[given] = result

    await posted(*entries)
    found = await hold_by_key(app, BOOK, hold.key)
    assert found is not None
    await posted(post_hold(found, key=uuid4(), effective_on=MONTH, amount_minor=25))
    await posted(LinkedGroup((received(3), paid_out(2))))
    whole = await entry_by_key(app, BOOK, entries[2].key)
    assert whole is not None
    await posted(reversal_of(whole, key=uuid4(), effective_on=MONTH, amounts_minor={2: 10}))
    await posted(entry(as_much, kind=EntryKind.OPERATOR_ENTRY))
    await at(superuser, None)
    return told


@pytest.fixture
async def owner(database: ClonedDatabase) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.owner_dsn, server_settings=STRANGE)
    yield connection
    await connection.close()


async def rows(app: asyncpg.Connection) -> list[int]:
    tables = ("entries", "postings", "blocks", "idempotency_keys", "entry_references", "holds", "hold_resolutions")
    counts = [await app.fetchval(f"SELECT count(*) FROM ledger.{table}") for table in tables]
    return [
        *counts,
        await app.fetchval("SELECT sum(debits_posted + credits_posted + debits_held) FROM ledger.accounts"),
    ]


def another(given: JournalEntry) -> list[JournalEntry]:
    """The same key with other content, in each way that the entry allows."""
    change = msgspec.structs.replace
    first, *rest = given.postings
    less = change(first, amount_minor=first.amount_minor - 1)
    changed = [
        change(given, effective_on=given.effective_on + timedelta(days=1)),
        change(given, metadata=given.metadata + b"\x00"),
        change(given, references=(*given.references, ExternalReference("scb", "new"))),
        change(given, postings=(less, *rest)),
    ]
    if given.draw is not None:
        changed.append(change(given, draw=change(given.draw, amount_minor=given.draw.amount_minor - 1)))
        changed.append(change(given, draw=change(given.draw, original_key=uuid4())))
    if given.references:
        changed.append(change(given, references=given.references[:1]))
    if given.drawable_minor is not None:
        changed.append(change(given, drawable_minor=given.drawable_minor + 1))
    return changed


async def test_archived_entry_is_replayed_and_another_under_its_key_refused(
    app: asyncpg.Connection, owner: asyncpg.Connection, database: ClonedDatabase, old: Answers, tmp_path: Path
) -> None:
    [capture, *_] = old
    late = drawing(capture, 100, effective_on=LAST)  # it stays in the books, what it draws on does not
    [told_late] = await post_entries(app, BOOK, [late])
    assert isinstance(told_late, Posted)
    strange = await asyncpg.connect(database.app_dsn, server_settings=STRANGE)
    told = old | {late: told_late}
    again = {given: msgspec.structs.replace(answer, replayed=True) for given, answer in told.items()}

    async def same_answers() -> None:
        before = await rows(app)
        for reader in (app, strange):
            for given, answer in again.items():
                assert await post_entries(reader, BOOK, [msgspec.structs.replace(given, caller="again")]) == [answer]
                for other in another(given):
                    assert await post_entries(reader, BOOK, [other]) == [
                        Refused(key=given.key, refusal=Refusal.KEY_REUSED_WITH_OTHER_CONTENT)
                    ]
            shuffled = list(again)
            random.shuffle(shuffled)
            assert await post_entries(reader, BOOK, shuffled) == [again[given] for given in shuffled]
        assert await rows(app) == before
        assert (await verify(app, BOOK)).passed

    await same_answers()
    await archive_month(owner, MONTH, folder=tmp_path / "month", **ACT)
    assert await app.fetchval("SELECT count(*) FROM ledger.entries") == 1
    await same_answers()
    for table in ("entries", "postings", "blocks"):
        await owner.execute(f"DROP TABLE ledger_archive.{table}_{MONTH:%Y_%m}")
    await same_answers()
    [new] = await post_entries(app, BOOK, [received(1)])
    assert isinstance(new, Posted)
    assert (new.sequence, new.replayed) == (len(told) + 1, False)
    await strange.close()


async def test_contents_are_kept_before_a_month_goes_and_once(
    app: asyncpg.Connection, owner: asyncpg.Connection, superuser: asyncpg.Connection, old: Answers, tmp_path: Path
) -> None:
    call = "SELECT ledger.archive_month_v1($1, $2, $3, $3, '', 'op_1', 'why')"
    head = await app.fetchval(
        "SELECT hash FROM ledger.blocks WHERE book_id = $1 ORDER BY recorded_at DESC LIMIT 1", BOOK
    )
    with pytest.raises(asyncpg.PostgresError, match=f"book {BOOK} was not verified, or changed since"):
        await owner.execute(call, MONTH, [BOOK], [head])
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await app.execute("SELECT ledger.archive_contents_v1($1, 1, 1)", BOOK)
    await archive_month(owner, MONTH, folder=tmp_path / "month", **ACT)
    kept = await app.fetch("SELECT * FROM ledger.archived_contents")
    assert [(row["first_sequence"], len(row["hashes"])) for row in kept] == [(1, 16 * len(old))]
    amounts = await app.fetch("SELECT sequence, line, amount_minor FROM ledger.archived_amounts")
    assert [tuple(row) for row in amounts] == [(len(old), 1, old[list(old)[-1]].amounts_minor[0])]
    await restore_month(owner, MONTH, **ACT)
    await archive_month(owner, MONTH, folder=tmp_path / "again", **ACT)
    assert await app.fetch("SELECT * FROM ledger.archived_contents") == kept
    for table, change in (
        ("archived_contents", "hashes = set_byte(hashes, 0, get_byte(hashes, 0) # 1)"),
        ("archived_contents", "first_sequence = first_sequence + 1"),
        ("archived_amounts", "amount_minor = amount_minor + 1"),
    ):
        undo = superuser.transaction()
        await undo.start()
        await superuser.execute(f"ALTER TABLE ledger.{table} DISABLE TRIGGER append_only")
        await superuser.execute(f"UPDATE ledger.{table} SET {change}")
        await superuser.execute(f"ALTER TABLE ledger.{table} ENABLE ALWAYS TRIGGER append_only")
        report = await run_checks([superuser], BOOK)
        assert [check.name for check in report.checks if not check.passed] == ["archives"], change
        await undo.rollback()


async def test_contents_of_many_entries_are_found_each_by_its_place(
    app: asyncpg.Connection, owner: asyncpg.Connection, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    await superuser.execute("SELECT ledger.create_month_v1($1)", MONTH)
    await at(superuser, datetime(MONTH.year, MONTH.month, 10, tzinfo=UTC))
    await open_book(app, BOOK, code="old", mode="test")
    entries = [received(amount) for amount in range(1, 252)]
    await post_entries(app, BOOK, entries)
    await at(superuser, None)
    await archive_month(owner, MONTH, folder=tmp_path / "month", **ACT)
    kept = await app.fetch("SELECT first_sequence, octet_length(hashes) FROM ledger.archived_contents ORDER BY 1")
    assert [tuple(row) for row in kept] == [(1, 1_920), (121, 1_920), (241, 176)]
    results = await post_entries(app, BOOK, entries)
    assert [(each.sequence, each.replayed) for each in results if isinstance(each, Posted)] == [
        (sequence, True) for sequence in range(1, 252)
    ]
