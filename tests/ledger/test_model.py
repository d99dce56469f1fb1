"""The database against the model: random histories, every result, every balance, every replay equal.

Goal: the SQL function decides exactly as `model.py` does, whatever the order and however the calls are cut into
batches. Method: hypothesis drives both; after each history the books are read back and verified.
"""

import asyncio
from collections.abc import Coroutine
from datetime import date
from typing import Any, ClassVar, TypeVar
from uuid import UUID

import asyncpg
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from ledger.accounts import freeze_account, new_book_id, open_book
from ledger.balances import all_balances
from ledger.chart_of_accounts import AccountKind, NormalSide
from ledger.feed import read_entries
from ledger.journal import AccountRef, Draw, EntryKind, ExternalReference, JournalEntry, Posted, Posting
from ledger.posting import post_entries
from ledger.verification import verify
from tests.conftest import ClonedDatabase
from tests.ledger.entries import AVAILABLE, BANK, CLEARING, DAY, FEES, PAYOUTS, PENDING
from tests.ledger.model import BIGINT_MAX, Model

T = TypeVar("T")

DOLLARS = AccountRef(AccountKind.BANK, "main", "USD")
ACCOUNTS = (BANK, CLEARING, PENDING, AVAILABLE, PAYOUTS, FEES, DOLLARS)
UNKNOWN_KIND: Any = 999
KINDS = (EntryKind.PAYMENT_CAPTURED, EntryKind.REFUND_RESERVED, EntryKind.OPERATOR_ENTRY, EntryKind.PROVIDER_SETTLED)
KEYS = tuple(UUID(int=n << 64) for n in range(1, 200))
ORIGINALS = KEYS[:3]
EDGES = (0, -1, 2**31, 2**53 + 1, BIGINT_MAX - 5, BIGINT_MAX)


@st.composite
def postings(draw: st.DrawFn) -> Posting:
    """Mostly sound ones between few accounts; one in six of any kind, with amounts from the edges."""
    if draw(st.integers(0, 5)):
        debit, credit = draw(st.permutations((PENDING, AVAILABLE, BANK, FEES)))[:2]
        amount = draw(st.integers(1, 12))
    else:
        debit, credit = draw(st.sampled_from(ACCOUNTS)), draw(st.sampled_from(ACCOUNTS))
        amount = draw(st.sampled_from(EDGES))
    pending = PENDING in (debit, credit)
    return Posting(debit=debit, credit=credit, amount_minor=amount, available_on=DAY if pending else None)


ENTRIES = st.builds(
    JournalEntry,
    key=st.sampled_from((*ORIGINALS, *KEYS)),
    kind=st.sampled_from((*KINDS, *KINDS, *KINDS, UNKNOWN_KIND)),
    effective_on=st.sampled_from((DAY, DAY, DAY, date(2026, 11, 24))),
    postings=st.tuples(postings()) | st.tuples(postings(), postings()) | st.lists(postings(), max_size=3).map(tuple),
    references=st.lists(
        st.builds(ExternalReference, st.just("scb"), st.sampled_from(("a", 'quo"te,', "ก"))), max_size=2
    ).map(tuple),
    draw=st.none()
    | st.none()
    | st.builds(Draw, st.sampled_from(ORIGINALS), st.sampled_from((5, 5, 10, -5, 1, 0, BIGINT_MAX))),
    drawable_minor=st.sampled_from((10, 10, 10, 10, None, 0, -1)),
    metadata=st.sampled_from((b"", b"\x00\xff")),
    caller=st.sampled_from(("system", "acct_1")),
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
        self.wait(self.open_new_book())

    async def open_new_book(self) -> None:
        async with self.connection.transaction():
            self.book = await new_book_id(self.connection)
            await open_book(self.connection, self.book, code="model", mode="test")

    @rule(batch=st.lists(ENTRIES, min_size=5, max_size=12))
    def post(self, batch: list[JournalEntry]) -> None:
        expected = [self.model.post(entry) for entry in batch]
        results = self.wait(post_entries(self.connection, self.book, batch))
        found = [
            (None, each.sequence, each.replayed, each.floor_breached, each.freeze_breached)
            if isinstance(each, Posted)
            else (each.refusal, 0, False, False, False)
            for each in results
        ]
        assert found == expected
        self.posted += batch

    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        if self.posted:
            self.post(data.draw(st.lists(st.sampled_from(self.posted), min_size=1, max_size=6)))

    @rule(account=st.sampled_from((AVAILABLE, BANK)), debits=st.booleans(), credits_=st.booleans())
    def freeze(self, account: AccountRef, debits: bool, credits_: bool) -> None:
        found = self.wait(
            freeze_account(
                self.connection, self.book, account, debits=debits, credits_=credits_, actor="op_1", reason="test"
            )
        )
        if found:
            self.model.frozen -= {(account, side) for side in NormalSide}
            frozen = ((NormalSide.DEBIT, debits), (NormalSide.CREDIT, credits_))
            self.model.frozen |= {(account, side) for side, yes in frozen if yes}

    def teardown(self) -> None:
        if not hasattr(self, "book"):
            return
        recorded = self.wait(read_entries(self.connection, self.book, after=0, limit=10_000))
        assert [entry.key for entry in recorded] == [entry.key for entry in self.model.entries]
        assert [
            [(line.debit_balance_after, line.credit_balance_after) for line in entry.postings] for entry in recorded
        ] == self.model.balances_after
        balances = self.wait(all_balances(self.connection, self.book))
        assert {each.account: (each.debits_minor, each.credits_minor) for each in balances} == {
            account: (self.model.debits.get(account, 0), self.model.credits.get(account, 0))
            for account in self.model.debits.keys() | self.model.credits.keys()
        }
        report = self.wait(verify(self.connection, self.book))
        assert [check for check in report.checks if not check.passed] == []


def test_database_decides_as_the_model_does(database: ClonedDatabase) -> None:
    loop = asyncio.new_event_loop()
    Books.loop, Books.connection = loop, loop.run_until_complete(asyncpg.connect(database.app_dsn))
    try:
        run_state_machine_as_test(
            Books,
            settings=settings(
                max_examples=40,
                stateful_step_count=12,
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
            ),
        )
    finally:
        loop.run_until_complete(Books.connection.close())
        loop.close()
