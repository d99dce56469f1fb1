"""Periods follow each other, close in order, reopen from the end, and what was closed can be shown for ever."""

import asyncio
from datetime import date
from uuid import UUID

import asyncpg
import pytest

from ledger.balances import trial_balance
from ledger.chart_of_accounts import CHART, AccountClass, AccountKind
from ledger.errors import BookNotFound
from ledger.feed import head
from ledger.journal import AccountRef, EntryKind, EntryMode, Posted, mode_of
from ledger.periods import (
    Period,
    PeriodRefusal,
    PeriodState,
    begin_closing,
    close_period,
    closing_trial_balance,
    define_periods,
    first_open_day,
    open_period,
    periods,
    reopen_period,
    year_end,
)
from ledger.posting import post_entries
from ledger.posting_rules import periods as rules
from tests.conftest import ClonedDatabase
from tests.ledger.entries import BANK, BOOK, CLEARING, FEES, entry, posting, received

BY = {"actor": "op_1", "reason": "month end"}
JULY, AUGUST, SEPTEMBER = date(2026, 7, 31), date(2026, 8, 31), date(2026, 9, 30)
MONTHS = [(date(2026, 7, 1), JULY), (date(2026, 8, 1), AUGUST), (date(2026, 9, 1), SEPTEMBER)]
ACTS = (begin_closing, close_period, reopen_period)
EXPENSE, DOLLAR_FEES = AccountRef(AccountKind.BANK_FEE_EXPENSE, "main"), AccountRef(AccountKind.FEE_INCOME, "m", "USD")
EARNINGS = AccountRef(AccountKind.RETAINED_EARNINGS)


async def defined(app: asyncpg.Connection) -> None:
    assert await define_periods(app, BOOK, MONTHS, **BY) is None


async def states(app: asyncpg.Connection) -> str:
    """One letter a period: open, closing (g) or closed."""
    letters = {PeriodState.OPEN: "o", PeriodState.CLOSING: "g", PeriodState.CLOSED: "c"}
    return "".join(letters[period.state] for period in await periods(app, BOOK))


async def acts(app: asyncpg.Connection) -> list[tuple[str, str, str, str]]:
    rows = await app.fetch(
        "SELECT act, subject, actor, reason FROM ledger.ledger_acts WHERE act <> 'create_month' ORDER BY acted_at"
    )
    return [tuple(row.values()) for row in rows]


async def test_periods_are_defined_without_gap_or_overlap(app: asyncpg.Connection) -> None:
    assert await periods(app, BOOK) == []
    await defined(app)
    assert [(each.starts_on, each.ends_on, each.state) for each in await periods(app, BOOK)] == [
        (*bounds, PeriodState.OPEN) for bounds in MONTHS
    ]
    for starts_on in (date(2026, 9, 30), date(2026, 10, 2), date(2026, 6, 1)):
        refusal = await open_period(app, BOOK, starts_on=starts_on, ends_on=date(2026, 10, 31), **BY)
        assert refusal is PeriodRefusal.PERIOD_MUST_FOLLOW_THE_LAST
    refusal = await open_period(app, BOOK, starts_on=date(2026, 10, 1), ends_on=SEPTEMBER, **BY)
    assert refusal is PeriodRefusal.PERIOD_ENDS_BEFORE_IT_STARTS
    assert (await states(app), len(await acts(app))) == ("ooo", 3)
    assert await open_period(app, BOOK, starts_on=date(2026, 10, 1), ends_on=date(2026, 10, 1), **BY) is None
    assert await acts(app) == [
        ("define_period", f"1000/{starts_on}..{ends_on} at=0", "op_1", "month end")
        for starts_on, ends_on in [*MONTHS, (date(2026, 10, 1), date(2026, 10, 1))]
    ]


async def test_several_periods_are_defined_all_or_none(app: asyncpg.Connection) -> None:
    refusal = await define_periods(app, BOOK, [*MONTHS, (date(2026, 10, 2), date(2026, 10, 31))], **BY)
    assert refusal is PeriodRefusal.PERIOD_MUST_FOLLOW_THE_LAST
    assert (await periods(app, BOOK), await acts(app)) == ([], [])
    with pytest.raises(BookNotFound):
        await define_periods(app, 77, MONTHS, **BY)


async def test_only_the_next_one_closes_and_only_the_last_one_reopens(app: asyncpg.Connection) -> None:
    """What each act says of each month in each reachable state; `.` is done, and is undone again."""
    await defined(app)
    table = {
        "ooo": (".44", "644", "777"),
        "goo": ("544", ".44", ".77"),
        "coo": ("5.4", "664", ".77"),
        "cgo": ("554", "6.4", "7.7"),
        "cco": ("55.", "666", "7.7"),
        "ccg": ("555", "66.", "77."),
        "ccc": ("555", "666", "77."),
    }
    found = {}
    for state in table:
        answers = []
        for act in ACTS:
            said = ""
            for _, ends_on in MONTHS:
                undo = app.transaction()
                await undo.start()
                refusal = await act(app, BOOK, ends_on=ends_on, **BY)
                assert (await states(app) == state) == (refusal is not None)
                said += "." if refusal is None else str(refusal.value)
                await undo.rollback()
            answers.append(said)
        found[state] = tuple(answers)
        following = next((n for n, letter in enumerate(state) if letter != "c"), None)
        if following is not None:
            act = begin_closing if state[following] == "o" else close_period
            assert await act(app, BOOK, ends_on=MONTHS[following][1], **BY) is None
    assert found == table
    for act in ACTS:
        assert await act(app, BOOK, ends_on=date(2026, 12, 31), **BY) is PeriodRefusal.PERIOD_NOT_FOUND
    assert len(await acts(app)) == 9


async def test_reopening_is_on_the_record_and_forgets_the_sequence_only_in_the_row(app: asyncpg.Connection) -> None:
    await defined(app)
    await post_entries(app, BOOK, [received(5, effective_on=JULY)])
    await begin_closing(app, BOOK, ends_on=JULY, **BY)
    await close_period(app, BOOK, ends_on=JULY, **BY)
    assert (await periods(app, BOOK))[0].closed_at_sequence == 1
    assert await reopen_period(app, BOOK, ends_on=JULY, actor="op_2", reason="invoice found") is None
    assert (await periods(app, BOOK))[0].closed_at_sequence is None
    assert (await acts(app))[-2:] == [
        ("close_period", "1000/2026-07-01..2026-07-31 at=1", "op_1", "month end"),
        ("reopen_period", "1000/2026-07-01..2026-07-31 at=1", "op_2", "invoice found"),
    ]


async def test_close_waits_for_whoever_posts_and_counts_what_they_posted(
    app: asyncpg.Connection, database: ClonedDatabase
) -> None:
    await defined(app)
    await begin_closing(app, BOOK, ends_on=JULY, **BY)
    other = await asyncpg.connect(database.app_dsn)
    posting_still = other.transaction()
    await posting_still.start()
    await post_entries(other, BOOK, [received(5, effective_on=AUGUST)])
    closing = asyncio.create_task(close_period(app, BOOK, ends_on=JULY, **BY))
    await asyncio.sleep(0.2)
    assert not closing.done()
    await posting_still.commit()
    assert await closing is None
    await other.close()
    assert (await periods(app, BOOK))[0].closed_at_sequence == 1 == await head(app, BOOK)


async def test_periods_are_changed_in_read_committed_only(app: asyncpg.Connection) -> None:
    with pytest.raises(AssertionError, match="READ COMMITTED"):
        async with app.transaction(isolation="serializable"):
            await begin_closing(app, BOOK, ends_on=JULY, **BY)


async def test_closing_trial_balance_is_the_same_for_ever(app: asyncpg.Connection) -> None:
    await defined(app)
    await post_entries(app, BOOK, [received(500, effective_on=JULY), received(70, effective_on=AUGUST)])
    await begin_closing(app, BOOK, ends_on=JULY, **BY)
    await close_period(app, BOOK, ends_on=JULY, **BY)
    [july, *_] = await periods(app, BOOK)
    closed = await closing_trial_balance(app, BOOK, july)
    assert [(row.debits_minor, row.credits_minor, row.closing_minor) for row in closed] == [
        (500, 0, 500),
        (0, 500, 500),
    ]
    await post_entries(app, BOOK, [received(9, effective_on=AUGUST)])
    await reopen_period(app, BOOK, ends_on=JULY, **BY)
    await post_entries(app, BOOK, [received(33, effective_on=JULY)])
    assert await closing_trial_balance(app, BOOK, july) == closed
    assert await trial_balance(app, BOOK, from_on=july.starts_on, to_on=JULY) != closed


async def test_what_each_mode_may_do_in_each_state(app: asyncpg.Connection) -> None:
    """Asking entries stop when a period is closing, adjusting ones when it is closed; facts go on, booked later."""
    await defined(app)
    kinds = (EntryKind.OPERATOR_ENTRY, EntryKind.PERIOD_ADJUSTED, EntryKind.PROVIDER_SETTLED)
    found = {}
    for state, act in (("open", None), ("closing", begin_closing), ("closed", close_period)):
        if act is not None:
            assert await act(app, BOOK, ends_on=JULY, **BY) is None
        results = await post_entries(
            app, BOOK, [entry(posting(BANK, CLEARING, 1), kind=kind, effective_on=JULY) for kind in kinds]
        )
        found[state] = [
            ("booked later" if each.booked_later else "posted") if isinstance(each, Posted) else each.refusal.code
            for each in results
        ]
    assert found == {
        "open": ["posted", "posted", "posted"],
        "closing": ["period_closed", "posted", "booked later"],
        "closed": ["period_closed", "period_closed", "booked later"],
    }
    booked = await app.fetch("SELECT sequence, effective_on, booked_on FROM ledger.entries ORDER BY sequence")
    assert [tuple(row.values()) for row in booked if row["booked_on"]] == [
        (5, JULY, date(2026, 8, 1)),
        (6, JULY, date(2026, 8, 1)),
    ]
    assert first_open_day(await periods(app, BOOK), JULY) == date(2026, 8, 1)


def test_fact_of_a_shut_period_is_booked_on_the_first_open_day() -> None:
    def period(ends_on: date, state: PeriodState) -> Period:
        return Period(
            starts_on=ends_on.replace(day=1), ends_on=ends_on, state=state, changed_at=None, closed_at_sequence=None
        )

    found = [period(JULY, PeriodState.CLOSED), period(AUGUST, PeriodState.CLOSING), period(SEPTEMBER, PeriodState.OPEN)]
    assert first_open_day(found, date(2026, 7, 4)) == first_open_day(found, AUGUST) == date(2026, 9, 1)
    assert first_open_day(found, date(2026, 9, 2)) == date(2026, 9, 2)
    assert first_open_day([], JULY) == first_open_day(found[2:], JULY) == JULY


async def test_year_end_leaves_no_income_or_expense_in_any_currency(app: asyncpg.Connection) -> None:
    december = date(2026, 12, 31)
    dollars = AccountRef(AccountKind.BANK, "main", "USD")
    await post_entries(
        app,
        BOOK,
        [
            entry(posting(BANK, FEES, 1_000), posting(EXPENSE, BANK, 300), effective_on=JULY),
            entry(posting(CLEARING, BANK, 77), posting(dollars, DOLLAR_FEES, 50), effective_on=december),
            entry(posting(DOLLAR_FEES, dollars, 80), posting(FEES, BANK, 5), effective_on=AUGUST),
            entry(posting(BANK, FEES, 9_999), effective_on=date(2027, 1, 1)),
        ],
    )
    [closing] = await year_end(app, BOOK, ends_on=december, key=UUID(int=7), caller="op_1")
    assert (closing.kind, mode_of(closing.kind)) == (EntryKind.YEAR_CLOSED, EntryMode.ADJUSTING)
    assert (closing.effective_on, closing.key, closing.caller) == (december, UUID(int=7), "op_1")
    [posted] = await post_entries(app, BOOK, [closing])
    assert isinstance(posted, Posted)
    rows = {row.account: row for row in await trial_balance(app, BOOK, to_on=december)}
    results = {AccountClass.INCOME, AccountClass.EXPENSE}
    assert {row.closing_minor for account, row in rows.items() if CHART[account.kind].account_class in results} == {0}
    assert rows[EARNINGS].closing_minor == 1_000 - 5 - 300
    assert rows[AccountRef(AccountKind.RETAINED_EARNINGS, "-", "USD")].closing_minor == 50 - 80
    assert await year_end(app, BOOK, ends_on=december, key=UUID(int=7), caller="op_1") == ()
    after = {row.account: row for row in await trial_balance(app, BOOK, from_on=date(2027, 1, 1))}
    assert (after[FEES].opening_minor, after[FEES].closing_minor) == (0, 9_999)


def test_year_end_of_many_accounts_takes_several_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "POSTINGS_AT_ONCE", 3)
    accounts = {AccountRef(AccountKind.FEE_INCOME, f"m{n}"): n for n in range(8)}
    arguments = {"key": UUID(int=7), "effective_on": JULY, "caller": "op_1"}
    entries = rules.year_end_entries(balances_minor=accounts, **arguments)
    assert [len(each.postings) for each in entries] == [3, 3, 1]
    assert len({each.key for each in entries}) == 3
    assert entries == rules.year_end_entries(balances_minor=dict(reversed(accounts.items())), **arguments)
    moved = {line.debit: line.amount_minor for each in entries for line in each.postings}
    assert moved == {account: balance for account, balance in accounts.items() if balance}
    assert rules.year_end_entries(balances_minor={BANK: 5, FEES: 0}, **arguments) == ()


async def test_year_is_closed_between_begin_and_close_and_shown_so_for_ever(app: asyncpg.Connection) -> None:
    december = date(2026, 12, 31)
    await open_period(app, BOOK, starts_on=date(2026, 1, 1), ends_on=december, **BY)
    await post_entries(app, BOOK, [entry(posting(BANK, FEES, 900), posting(EXPENSE, BANK, 200), effective_on=JULY)])
    await begin_closing(app, BOOK, ends_on=december, **BY)
    closing = await year_end(app, BOOK, ends_on=december, key=UUID(int=7), caller="op_1")
    late = entry(posting(BANK, FEES, 55), effective_on=JULY)
    results = await post_entries(app, BOOK, [late, *closing])
    assert [isinstance(each, Posted) and each.booked_later for each in results] == [True, False]
    assert await close_period(app, BOOK, ends_on=december, **BY) is None
    [year] = await periods(app, BOOK)
    assert year.closed_at_sequence == 3
    closed = {row.account: row.closing_minor for row in await closing_trial_balance(app, BOOK, year)}
    assert closed == {BANK: 700, EARNINGS: 700, FEES: 0, EXPENSE: 0}
    following = await trial_balance(app, BOOK, from_on=date(2027, 1, 1))
    assert {row.account: (row.opening_minor, row.closing_minor) for row in following}[FEES] == (0, 55)
