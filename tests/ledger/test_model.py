"""The database against the model: random histories, every result, every balance, every replay equal.

Goal: the SQL function decides exactly as `model.py` does, whatever the order and however the calls are cut into
batches. Method: hypothesis drives both; after each history the books are read back and verified.
"""

import asyncio
import os
from collections.abc import Coroutine, Sequence
from datetime import UTC, date, datetime
from typing import Any, ClassVar, TypeVar
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from ledger.accounts import (
    AccountRefusal,
    close_account,
    freeze_account,
    limit_account,
    new_book_id,
    open_accounts,
    open_book,
    reopen_account,
)
from ledger.balances import balances, balances_effective
from ledger.chart_of_accounts import AccountKind, NormalSide
from ledger.feed import read_entries
from ledger.journal import (
    AccountRef,
    Draw,
    EntryKind,
    ExternalReference,
    HoldAct,
    HoldAction,
    JournalEntry,
    LinkedGroup,
    Posting,
    PostingResult,
    Refused,
    UpTo,
)
from ledger.periods import PeriodState, begin_closing, close_period, define_periods, reopen_period
from ledger.posting import post_entries
from ledger.refusals import Refusal
from ledger.verification import verify
from tests.conftest import ClonedDatabase
from tests.ledger.entries import AVAILABLE, BANK, CLEARING, DAY, FEES, PAYOUTS, PENDING
from tests.ledger.model import BIGINT_MAX, Model, Result

LONG = bool(os.environ.get("QUICKKUB_TESTS_LONG"))
LONG_EXAMPLES = 200

T = TypeVar("T")

DOLLARS = AccountRef(AccountKind.BANK, "main", "USD")
ACCOUNTS = (BANK, CLEARING, PENDING, AVAILABLE, PAYOUTS, FEES, DOLLARS)
FEW = (AVAILABLE, PAYOUTS, BANK, FEES)
UNKNOWN_KIND: Any = 999
KINDS = (EntryKind.PAYMENT_CAPTURED, EntryKind.REFUND_RESERVED, EntryKind.OPERATOR_ENTRY, EntryKind.PERIOD_ADJUSTED)
KEYS = tuple(UUID(int=n << 64) for n in range(1, 60))
ORIGINALS = KEYS[:6]
EDGES = (0, -1, 2**31, 2**53 + 1, BIGINT_MAX - 5, BIGINT_MAX)
DAYS = (DAY, DAY, DAY, date(2026, 11, 24), date(2026, 11, 10), date(2026, 10, 31))
PAST, FUTURE = datetime(2026, 1, 1, tzinfo=UTC), datetime(2999, 1, 1, tzinfo=UTC)
OCTOBER, NOVEMBER = date(2026, 10, 31), date(2026, 11, 30)
ACT: dict[str, Any] = {"actor": "op_1", "reason": "test"}


@st.composite
def postings(draw: st.DrawFn) -> Posting:
    """Mostly sound ones between few accounts; one in six of any kind, with amounts from the edges."""
    if draw(st.integers(0, 5)):
        debit, credit = draw(st.permutations((PENDING, *FEW)))[:2]
        amount = draw(st.integers(1, 12))
    else:
        debit, credit = draw(st.sampled_from(ACCOUNTS)), draw(st.sampled_from(ACCOUNTS))
        amount = draw(st.sampled_from(EDGES))
    pending = PENDING in (debit, credit)
    up_to = draw(st.sampled_from((None, None, None, None, UpTo.DEBIT_LIMIT, UpTo.CREDIT_LIMIT, UpTo(3))))
    return Posting(debit=debit, credit=credit, amount_minor=amount, available_on=DAY if pending else None, up_to=up_to)


ENTRIES = st.builds(
    JournalEntry,
    key=st.sampled_from((*ORIGINALS, *KEYS)),
    kind=st.sampled_from((*KINDS, *KINDS, *KINDS, UNKNOWN_KIND)),
    effective_on=st.sampled_from(DAYS),
    postings=st.tuples(postings()) | st.tuples(postings(), postings()) | st.lists(postings(), max_size=3).map(tuple),
    references=st.lists(
        st.builds(ExternalReference, st.just("scb"), st.sampled_from(("a", 'quo"te,', "ก"))), max_size=2
    ).map(tuple),
    draw=st.none()
    | st.none()
    | st.builds(Draw, st.sampled_from(ORIGINALS), st.sampled_from((5, 5, 10, -5, 1, 0, BIGINT_MAX))),
    drawable_minor=st.sampled_from((10, 10, None, None, None, 0, -1)),
    metadata=st.sampled_from((b"", b"\x00\xff")),
    caller=st.sampled_from(("system", "acct_1")),
    occurred_at=st.sampled_from((None,) * 8 + (PAST, datetime(2026, 1, 2, tzinfo=UTC), FUTURE)),
)


@st.composite
def holds(draw: st.DrawFn) -> JournalEntry:
    """Places a hold, or resolves one that may be there, with the accounts it may have."""
    action = draw(st.sampled_from((HoldAction.PLACE, HoldAction.PLACE, *HoldAction)))
    debit, credit = draw(
        st.sampled_from(((AVAILABLE, PAYOUTS), (AVAILABLE, PAYOUTS), (PAYOUTS, BANK), (BANK, AVAILABLE)))
    )
    placing = action == HoldAction.PLACE
    return JournalEntry(
        key=draw(st.sampled_from(ORIGINALS if placing else KEYS)),
        kind=EntryKind(699 + action),
        effective_on=draw(st.sampled_from(DAYS)),
        postings=(Posting(debit=debit, credit=credit, amount_minor=draw(st.sampled_from((4, 4, 4, 3, 5, 0)))),),
        hold=HoldAct(
            action=action,
            hold_key=None if placing else draw(st.sampled_from(ORIGINALS)),
            expires_at=draw(st.sampled_from((None, None, PAST, FUTURE))) if placing else None,
        ),
    )


class Books(RuleBasedStateMachine):
    connection: ClassVar[asyncpg.Connection]
    loop: ClassVar[asyncio.AbstractEventLoop]

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    @initialize()
    def open(self) -> None:
        self.model = Model()
        self.posted: list[JournalEntry] = []
        self.period = PeriodState.OPEN
        self.wait(self.open_new_book())

    async def open_new_book(self) -> None:
        async with self.connection.transaction():
            self.book = await new_book_id(self.connection)
            await open_book(self.connection, self.book, code="model", mode="test")
        bounds = [(date(2026, 10, 1), OCTOBER), (date(2026, 11, 1), NOVEMBER)]
        assert await define_periods(self.connection, self.book, bounds, **ACT) is None
        await open_accounts(self.connection, self.book, FEW)

    def reversal(self, data: st.DataObject) -> JournalEntry:
        """Of something posted, mostly as it should be."""
        original = data.draw(st.sampled_from(self.posted))
        lines = tuple(
            Posting(
                debit=line.credit,
                credit=line.debit,
                amount_minor=data.draw(st.sampled_from((1, 2, max(line.amount_minor, 1)))),
                available_on=line.available_on,
                reverses_line=data.draw(st.sampled_from((number, number, number, 1, 9, None))),
            )
            for number, line in enumerate(original.postings[: data.draw(st.integers(1, 2))], 1)
            if line.amount_minor <= BIGINT_MAX
        )
        drawn = original.drawable_minor is not None and data.draw(st.booleans())
        draws = st.sampled_from((1, 2, -1, max(lines[0].amount_minor, 1) if lines else 1))
        return JournalEntry(
            key=data.draw(st.sampled_from(KEYS)),
            kind=EntryKind.ENTRY_REVERSED,
            effective_on=data.draw(st.sampled_from(DAYS)),
            postings=lines,
            reverses=original.key,
            draw=Draw(original.key, data.draw(draws)) if drawn else None,
        )

    @rule(data=st.data(), entries=st.lists(ENTRIES | holds(), min_size=4, max_size=10))
    def post(self, data: st.DataObject, entries: list[JournalEntry]) -> None:
        batch: list[JournalEntry | LinkedGroup] = []
        waiting = list(entries)
        while waiting:
            size = data.draw(st.sampled_from((1, 1, 1, 2, 3)))
            some, waiting = waiting[:size], waiting[size:]
            batch.append(some[0] if len(some) == 1 else LinkedGroup(tuple(some)))
        if self.posted and data.draw(st.booleans()):
            batch.insert(data.draw(st.integers(0, len(batch))), self.reversal(data))
        self.check(batch)

    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        if self.posted:
            self.check(data.draw(st.lists(st.sampled_from(self.posted), min_size=1, max_size=6)))

    def check(self, batch: Sequence[JournalEntry | LinkedGroup]) -> None:
        expected: list[Result] = []
        for each in batch:
            if isinstance(each, LinkedGroup):
                expected += self.model.post_group(list(each.entries))
                self.posted += each.entries
            else:
                expected.append(self.model.post(each))
                self.posted.append(each)
        results = self.wait(post_entries(self.connection, self.book, batch))
        assert [result_of(each) for each in results] == expected

    @rule(account=st.sampled_from((AVAILABLE, BANK)), debits=st.booleans(), credits_=st.booleans())
    def freeze(self, account: AccountRef, debits: bool, credits_: bool) -> None:
        assert self.wait(freeze_account(self.connection, self.book, account, debits=debits, credits_=credits_, **ACT))
        self.model.frozen -= {(account, side) for side in NormalSide}
        frozen = ((NormalSide.DEBIT, debits), (NormalSide.CREDIT, credits_))
        self.model.frozen |= {(account, side) for side, yes in frozen if yes}

    @rule(account=st.sampled_from(FEW), floor=st.sampled_from((None, 0, -5, 3)), ceiling=st.sampled_from((None, 20, 8)))
    def limit(self, account: AccountRef, floor: int | None, ceiling: int | None) -> None:
        limited = limit_account(self.connection, self.book, account, floor_minor=floor, ceiling_minor=ceiling, **ACT)
        assert self.wait(limited) is None
        self.model.limits[account] = floor, ceiling

    @rule(account=st.sampled_from((PAYOUTS, FEES)), reopen=st.booleans())
    def close(self, account: AccountRef, reopen: bool) -> None:
        act = reopen_account if reopen else close_account
        refusal = self.wait(act(self.connection, self.book, account, **ACT))
        if reopen:
            self.model.closed.discard(account)
            return
        held = (self.model.state.held_debits.get(account, 0), self.model.state.held_credits.get(account, 0))
        expected = (
            AccountRefusal.BALANCE_NOT_ZERO
            if self.model.balance(account)
            else AccountRefusal.HOLDS_OUTSTANDING
            if held != (0, 0)
            else None
        )
        assert refusal == expected
        if refusal is None:
            self.model.closed.add(account)

    @rule()
    def move_period(self) -> None:
        """October: open → closing → closed → open."""
        act, after = {
            PeriodState.OPEN: (begin_closing, PeriodState.CLOSING),
            PeriodState.CLOSING: (close_period, PeriodState.CLOSED),
            PeriodState.CLOSED: (reopen_period, PeriodState.OPEN),
        }[self.period]
        assert self.wait(act(self.connection, self.book, ends_on=OCTOBER, **ACT)) is None
        self.period = after
        self.model.closing_through = date.min if after == PeriodState.OPEN else OCTOBER
        self.model.closed_through = OCTOBER if after == PeriodState.CLOSED else date.min

    def teardown(self) -> None:
        if not hasattr(self, "book"):
            return
        state = self.model.state
        recorded = self.wait(read_entries(self.connection, self.book, after=0, limit=10_000))
        assert [entry.key for entry in recorded] == [entry.key for entry in state.entries]
        assert [
            [(line.debit_balance_after, line.credit_balance_after) for line in entry.postings] for entry in recorded
        ] == state.balances_after
        assert [entry.booked_on for entry in recorded] == state.booked_on
        used = state.debits.keys() | state.credits.keys() | state.held_debits.keys() | state.held_credits.keys()
        found = self.wait(balances(self.connection, self.book, sorted(used)))
        totals = (state.debits, state.credits, state.held_debits, state.held_credits)
        assert {
            account: (each.debits_minor, each.credits_minor, each.held_debits_minor, each.held_credits_minor)
            for account, each in found.items()
        } == {account: tuple(total.get(account, 0) for total in totals) for account in used}
        for day in sorted({entry.effective_on for entry in state.entries}):
            effective = self.wait(balances_effective(self.connection, self.book, sorted(used), day))
            moved = [
                (line, amount)
                for entry, amounts, after in zip(state.entries, state.amounts, state.balances_after, strict=True)
                if entry.effective_on <= day and after
                for line, amount in zip(entry.postings, amounts, strict=True)
            ]
            assert {account: (each.debits_minor, each.credits_minor) for account, each in effective.items()} == {
                account: (
                    sum(amount for line, amount in moved if line.debit == account),
                    sum(amount for line, amount in moved if line.credit == account),
                )
                for account in used
            }
        report = self.wait(verify(self.connection, self.book))
        assert [check for check in report.checks if not check.passed] == []


def result_of(found: PostingResult) -> Result:
    if isinstance(found, Refused):
        return Result(refusal=found.refusal)
    breaches = {
        Refusal.BELOW_FLOOR: found.floor_breached,
        Refusal.ABOVE_CEILING: found.ceiling_breached,
        Refusal.ACCOUNT_FROZEN: found.freeze_breached,
        Refusal.ACCOUNT_CLOSED: found.closed_breached,
        Refusal.PERIOD_CLOSED: found.booked_later,
    }
    return Result(
        sequence=found.sequence,
        replayed=found.replayed,
        breaches=frozenset(rule for rule, yes in breaches.items() if yes),
        amounts=found.amounts_minor,
    )


@pytest.mark.timeout(900)
def test_database_decides_as_the_model_does(database: ClonedDatabase) -> None:
    loop = asyncio.new_event_loop()
    Books.loop, Books.connection = loop, loop.run_until_complete(asyncpg.connect(database.app_dsn))
    try:
        run_state_machine_as_test(
            Books,
            settings=settings(
                max_examples=LONG_EXAMPLES if LONG else 25,
                stateful_step_count=14,
                deadline=None,
                derandomize=not LONG,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
            ),
        )
    finally:
        loop.run_until_complete(Books.connection.close())
        loop.close()
