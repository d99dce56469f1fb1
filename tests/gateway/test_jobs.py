"""Daily jobs: which are due, in which order they run, and that a claim is nobody else's."""

from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import text

from gateway import jobs
from gateway.foundation.database import Database
from gateway.jobs import Step, due_on
from gateway.scheduler import Scheduler
from ledger.accounts import open_book
from ledger.business_days import thai_banks
from tests.statements import noted

DAY_SECONDS = 86_400
CREATED = date(2026, 11, 27)  # a Friday
NOW = datetime(2026, 11, 30, 3, tzinfo=UTC)


def due(today: date, after: date | None = None) -> list[tuple[str, str]]:
    listed = due_on(today, since=CREATED, after=after, calendar=thai_banks())
    return [(period.isoformat(), step.name.lower()) for period, step in listed]


def test_first_day_has_nothing_to_do() -> None:
    assert due(CREATED) == []


def test_weekend_is_closed_day_by_day_and_settled_on_monday() -> None:
    assert due(date(2026, 11, 30)) == [
        ("2026-11-27", "close_day"),
        ("2026-11-28", "close_day"),
        ("2026-11-29", "close_day"),
        ("2026-11-30", "settle"),
    ]


def test_only_what_is_missing_is_enqueued_after_the_last_closing() -> None:
    assert due(date(2026, 12, 1), after=date(2026, 11, 29)) == [
        ("2026-11-30", "settle"),
        ("2026-11-30", "close_day"),
        ("2026-12-01", "settle"),
    ]


def test_what_is_settled_already_is_not_enqueued_again_while_its_day_lasts() -> None:
    today = date(2026, 12, 1)
    for settled, expected in ((None, [("2026-12-01", "settle")]), (date(2026, 11, 30), [("2026-12-01", "settle")])):
        listed = due_on(today, since=CREATED, after=date(2026, 11, 30), settled=settled, calendar=thai_banks())
        assert [(period.isoformat(), step.name.lower()) for period, step in listed] == expected
    assert due_on(today, since=CREATED, after=date(2026, 11, 30), settled=today, calendar=thai_banks()) == []


def test_a_long_absence_is_caught_up_in_portions() -> None:
    listed = due_on(date(2029, 1, 1), since=CREATED, after=None, calendar=thai_banks())
    assert listed[0][0] == CREATED
    assert len({period for period, _ in listed}) == jobs.CATCH_UP_DAYS_MAX


@pytest.fixture
async def opened(database):
    db = await Database.open(database.app_dsn)
    yield db
    await db.close()


async def test_a_tick_enqueues_what_is_due_and_costs_one_question_where_nothing_is(
    opened: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened.ledger_pool.acquire() as connection:
        for book_id in (7, 8):
            await open_book(connection, book_id, code=f"book-{book_id}", mode="test")
    async with opened.transaction() as connection:
        # Of two days three apart one at least is no weekend: there something is settled on the very day.
        await connection.execute(
            text("INSERT INTO gateway.book_clocks VALUES (7, :earlier, now()), (8, :later, now())"),
            {"earlier": 10 * DAY_SECONDS, "later": 13 * DAY_SECONDS},
        )
    scheduler = Scheduler(opened, tick_seconds=60)
    assert await scheduler.tick() > 0
    statements = noted(monkeypatch, opened)
    assert await scheduler.tick() == 0
    assert len(statements) == 1


async def test_second_scheduler_adds_nothing(opened: Database) -> None:
    for expected in (4, 0):
        async with opened.transaction() as connection:
            listed = due_on(date(2026, 11, 30), since=CREATED, after=None, calendar=thai_banks())
            assert await jobs.enqueue(connection, 7, listed, at=NOW) == expected


async def test_jobs_of_a_book_run_one_by_one_oldest_first_and_books_side_by_side(opened: Database) -> None:
    async with opened.transaction() as connection:
        listed = [(CREATED, Step.CLOSE_DAY), (date(2026, 11, 30), Step.SETTLE)]
        await jobs.enqueue(connection, 7, listed, at=NOW)
        await jobs.enqueue(connection, 8, listed, at=NOW)
    claimed = []
    for _ in range(3):
        async with opened.transaction() as connection:
            claimed.append(await jobs.claim(connection, now=NOW))
    assert [(job.book_id, job.step) if job else None for job in claimed] == [
        (7, Step.CLOSE_DAY),
        (8, Step.CLOSE_DAY),
        None,
    ]
    async with opened.transaction() as connection:
        await jobs.finish(connection, claimed[0], result={"lines": 3}, now=NOW)
    async with opened.transaction() as connection:
        job = await jobs.claim(connection, now=NOW)
    assert job is not None
    assert (job.book_id, job.step) == (7, Step.SETTLE)


async def test_failed_job_comes_back_later_and_holds_back_what_stands_on_it(opened: Database) -> None:
    async with opened.transaction() as connection:
        await jobs.enqueue(connection, 7, [(CREATED, Step.CLOSE_DAY), (NOW.date(), Step.SETTLE)], at=NOW)
        job = await jobs.claim(connection, now=NOW)
        await jobs.postpone(connection, job, error="no statement yet", now=NOW)
    async with opened.transaction() as connection:
        assert await jobs.claim(connection, now=NOW + timedelta(seconds=1)) is None
        again = await jobs.claim(connection, now=NOW + timedelta(seconds=2))
    assert again is not None
    assert (again.step, again.attempts) == (Step.CLOSE_DAY, 2)


async def test_lapsed_lease_is_taken_over_and_the_first_holder_changes_nothing_any_more(opened: Database) -> None:
    async with opened.transaction() as connection:
        await jobs.enqueue(connection, 7, [(CREATED, Step.CLOSE_DAY)], at=NOW)
        first = await jobs.claim(connection, now=NOW)
    later = NOW + jobs.LEASE + timedelta(seconds=1)
    async with opened.transaction() as connection:
        second = await jobs.claim(connection, now=later)
        await jobs.postpone(connection, first, error="too late", now=later)
        await jobs.finish(connection, second, result={}, now=later)
    async with opened.transaction() as connection:
        assert await jobs.claim(connection, now=later + timedelta(days=1)) is None
