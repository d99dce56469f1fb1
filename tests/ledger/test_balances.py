"""Balances are what the postings add up to: now, at every sequence, through every business date, and both at once.

Method: random histories with late entries; every answer is compared with a sum in plain Python over the entries.
"""

from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest

from ledger.accounts import limit_account, open_accounts
from ledger.balances import (
    Balance,
    BalanceAt,
    DateAxis,
    EffectiveBalance,
    balances,
    balances_at,
    balances_effective,
    trial_balance,
)
from ledger.chart_of_accounts import CHART
from ledger.holds import place_hold
from ledger.journal import AccountRef, Posted, Refused
from ledger.periods import begin_closing, close_period, open_period
from ledger.posting import post_entries
from ledger.queries import QUERIES
from ledger.refusals import Refusal
from ledger.statements import statement
from tests.ledger.entries import AVAILABLE, BANK, BOOK, DAY, PAYOUTS, entry, paid_out, posting, received
from tests.ledger.histories import ACCOUNTS, FIRST_DAY, NEVER_USED, random_history, sums
from tests.ledger.old_months import LIVE, history

ASKED = (*ACCOUNTS, NEVER_USED)


@pytest.mark.parametrize("seed", [1, 2])
async def test_balance_at_a_sequence_is_the_sum_of_the_entries_up_to_it(app: asyncpg.Connection, seed: int) -> None:
    recorded = await random_history(app, seed=seed)
    for cut in range(len(recorded) + 3):
        found = await balances_at(app, BOOK, ASKED, cut)
        assert set(found) == set(ASKED)
        for account in ASKED:
            expected = sums(recorded, account, cut=cut).balance(account)
            moved = [
                each.sequence
                for each in recorded
                if each.sequence <= cut and any(account in (line.debit, line.credit) for line in each.postings)
            ]
            assert found[account] == BalanceAt(
                account=account, balance_minor=expected, last_sequence=max(moved, default=0)
            )


@pytest.mark.parametrize("seed", [3, 4])
async def test_balance_through_a_date_is_the_sum_of_its_entries_at_every_cut(
    app: asyncpg.Connection, seed: int
) -> None:
    recorded = await random_history(app, seed=seed, entries=40)
    for days in range(-1, 14):
        on_date = FIRST_DAY + timedelta(days=days)
        for cut in (None, 0, 1, 7, 20, 39, 40, 99):
            found = await balances_effective(app, BOOK, ASKED, on_date, cut)
            for account in ASKED:
                debits, credits_ = expected = sums(recorded, account, cut=cut, on_date=on_date)
                assert found[account] == EffectiveBalance(
                    account=account,
                    balance_minor=expected.balance(account),
                    debits_minor=debits,
                    credits_minor=credits_,
                )


async def test_what_is_available_leaves_out_holds_against_the_account_and_its_floor(app: asyncpg.Connection) -> None:
    holds = [
        place_hold(key=uuid4(), posting=posting(*sides, amount), effective_on=DAY)
        for sides, amount in (((AVAILABLE, PAYOUTS), 300), ((BANK, AVAILABLE), 50))
    ]
    await post_entries(app, BOOK, [received(1_000)])
    await post_entries(app, BOOK, holds)
    found = await balances(app, BOOK, [AVAILABLE, BANK, NEVER_USED])
    assert found[AVAILABLE] == Balance(
        account=AVAILABLE,
        balance_minor=1_000,
        credits_minor=1_000,
        held_debits_minor=300,
        held_credits_minor=50,
        available_minor=700,
        last_sequence=1,
    )
    assert (found[BANK].held_debits_minor, found[BANK].available_minor) == (50, None)
    assert found[NEVER_USED] == Balance(account=NEVER_USED, available_minor=0)
    limits = {"floor_minor": -500, "ceiling_minor": None, "actor": "op_1", "reason": "credit line"}
    for account, available in ((AVAILABLE, 1_200), (BANK, 1_500)):
        await limit_account(app, BOOK, account, **limits)
        assert (await balances(app, BOOK, [account]))[account].available_minor == available
    [refused, posted] = await post_entries(app, BOOK, [paid_out(1_201), paid_out(1_200)])
    assert isinstance(refused, Refused)
    assert isinstance(posted, Posted)
    assert refused.refusal is Refusal.BELOW_FLOOR
    assert (await balances(app, BOOK, [AVAILABLE]))[AVAILABLE].available_minor == 0


async def test_accounts_opened_and_never_moved_have_zero_on_every_axis(app: asyncpg.Connection) -> None:
    await open_accounts(app, BOOK, [NEVER_USED])
    assert (await balances(app, BOOK, [NEVER_USED]))[NEVER_USED] == Balance(account=NEVER_USED, available_minor=0)
    assert (await balances_at(app, BOOK, [NEVER_USED], 5))[NEVER_USED] == BalanceAt(account=NEVER_USED)
    for cut in (None, 0, 5):
        found = await balances_effective(app, BOOK, [NEVER_USED], FIRST_DAY, cut)
        assert found[NEVER_USED] == EffectiveBalance(account=NEVER_USED)


@pytest.mark.parametrize("entries_at_once", [100_000, 7])
async def test_trial_balance_is_the_sum_of_the_entries_of_each_stretch_of_days(
    app: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, entries_at_once: int
) -> None:
    monkeypatch.setattr("ledger.balances.ENTRIES_AT_ONCE", entries_at_once)
    recorded = await random_history(app, seed=9)
    from_on, to_on = FIRST_DAY + timedelta(days=3), FIRST_DAY + timedelta(days=7)
    for cut in (None, 30, 99):
        rows = await trial_balance(app, BOOK, from_on=from_on, to_on=to_on, cut=cut)
        assert [row.account for row in rows] == sorted(
            ACCOUNTS, key=lambda account: (CHART[account.kind].code, account.owner, account.currency)
        )
        for row in rows:
            before = sums(recorded, row.account, cut=cut, on_date=from_on - timedelta(days=1))
            through = sums(recorded, row.account, cut=cut, on_date=to_on)
            assert row.opening_minor == before.balance(row.account)
            assert row.closing_minor == through.balance(row.account)
            assert (row.debits_minor, row.credits_minor) == (
                through.debits - before.debits,
                through.credits - before.credits,
            )
    assert await trial_balance(app, BOOK, cut=0) == []


async def test_late_fact_stands_on_its_booked_day_or_on_its_true_one(app: asyncpg.Connection) -> None:
    act = {"ends_on": date(2026, 10, 31), "actor": "op_1", "reason": "month end"}
    await open_period(app, BOOK, starts_on=date(2026, 10, 1), **act)
    await begin_closing(app, BOOK, **act)
    await close_period(app, BOOK, **act)
    [_, late] = await post_entries(app, BOOK, [received(5), received(70, effective_on=date(2026, 10, 31))])
    assert isinstance(late, Posted)
    assert late.booked_later
    october = {"from_on": date(2026, 10, 1), "to_on": date(2026, 10, 31)}
    november = {"from_on": date(2026, 11, 1), "to_on": date(2026, 11, 30)}
    assert await trial_balance(app, BOOK, **october) == []
    [bank, available] = await trial_balance(app, BOOK, **november)
    assert (bank.opening_minor, bank.debits_minor, available.closing_minor) == (0, 75, 75)
    [bank, _] = await trial_balance(app, BOOK, **october, axis=DateAxis.EFFECTIVE)
    assert (bank.opening_minor, bank.debits_minor) == (0, 70)
    [bank, _] = await trial_balance(app, BOOK, **november, axis=DateAxis.EFFECTIVE)
    assert (bank.opening_minor, bank.debits_minor, bank.closing_minor) == (70, 5, 75)
    found = await balances_effective(app, BOOK, [BANK], date(2026, 10, 31))
    assert found[BANK].balance_minor == 70


async def test_what_did_not_move_in_the_month_of_an_entry_is_found_in_the_months_before(
    app: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    """Entries 1 and 2 are two months old; 3 of this month leaves alone what 1 moved and 4 moves again."""
    await history(app, superuser)
    expected = {
        AVAILABLE: [(0, 0), (1_000, 1), (1_000, 1), (1_000, 1), (600, 4), (600, 4)],
        BANK: [(0, 0), (1_000, 1), (700, 2), (500, 3), (500, 3), (500, 3)],
        PAYOUTS: [(0, 0), (0, 0), (0, 0), (0, 0), (400, 4), (400, 4)],
    }
    for account, points in expected.items():
        for cut, (balance_minor, last_sequence) in enumerate(points):
            found = await balances_at(app, LIVE, [account], cut)
            assert found == {
                account: BalanceAt(account=account, balance_minor=balance_minor, last_sequence=last_sequence)
            }
            for after in range(cut + 1):
                page = await statement(app, LIVE, account, after=after, through=cut)
                assert (page.opening_minor, page.closing_minor) == (points[after][0], balance_minor)
                moved = {sequence for _, sequence in points[after + 1 : cut + 1] if sequence > after}
                assert [line.sequence for line in page.lines] == sorted(moved)


def merchant(number: int) -> AccountRef:
    return AccountRef(AVAILABLE.kind, f"merchant_{number}")


async def test_point_in_time_is_read_from_the_indexes_of_the_account(
    app: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    """Many accounts, so that a plan that reads a partition would cost more than the index."""
    for start in range(0, 3_000, 1_000):
        batch = [entry(posting(BANK, merchant((start + n) % 150), n + 1)) for n in range(1_000)]
        await post_entries(app, BOOK, batch)
    await superuser.execute("VACUUM ANALYZE ledger.postings, ledger.entries, ledger.accounts")
    month = await app.fetchval("SELECT to_char(max(recorded_at) AT TIME ZONE 'UTC', 'YYYY_MM') FROM ledger.blocks")
    arrays, always = ([31], ["merchant_7"], ["THB"]), tuple(datetime(year, 1, 1, tzinfo=UTC) for year in (2000, 2200))
    number = await app.fetchval("SELECT account_id FROM ledger.accounts WHERE owner = 'merchant_7'")
    for name, arguments in (
        ("balances_at", (*arrays, [2_000] * len(arrays[0]))),
        ("balances_effective", (*arrays, FIRST_DAY)),
        ("balances_effective_at", (*arrays, FIRST_DAY, 2_990)),
        ("statement_start", (31, "merchant_7", "THB", 1_000, 2_000, 1_000)),
        ("statement_turnover", (number, 1_000, 2_000, FIRST_DAY, FIRST_DAY)),
        ("statement_lines", (number, 1_000, 2_000, *always, 10)),
        ("statement_lines_of_dates", (number, 1_000, 2_000, FIRST_DAY, FIRST_DAY, 10)),
    ):
        rows = await app.fetch(f"EXPLAIN {QUERIES[name]}", BOOK, *arguments)
        plan = "\n".join(row[0] for row in rows)
        assert f"Seq Scan on postings_{month}" not in plan, plan
        assert f"Seq Scan on entries_{month}" not in plan, plan
