"""The settlement run of a book: what became available, what is paid out, what goes to the bank.

Every step is a committed row with fixed amounts before it is an entry under a key of that row, so a run can stop
anywhere and be run again: it finishes what is open, oldest first, and opens nothing twice. `Sweeper` does that for
whatever a crash or a silent bank left behind.
"""

import asyncio
from collections.abc import Sequence
from datetime import date
from typing import Final

import msgspec
from sqlalchemy import or_, select, union

from gateway.foundation.clock import real_now
from gateway.foundation.database import Database
from gateway.foundation.encryption import Vault
from gateway.foundation.ids import entry_key
from gateway.merchants.clocks import clock_of
from gateway.payments.states import ClaimState
from gateway.payments.tables import refund_claims
from gateway.settlement import settlements
from gateway.settlement.claim_transfers import ClaimTransfers
from gateway.settlement.files import FileState, PayoutFiles
from gateway.settlement.payouts import SYSTEM, Payout, Payouts, PayoutState, reserve_key
from gateway.settlement.schedules import PAYOUT_FEE, execution_date
from gateway.settlement.settlements import Settlement
from gateway.settlement.submission import BankConnection, Submission, measure_in_transit, measure_unanswered
from gateway.settlement.tables import payout_files as files_table
from gateway.settlement.tables import payouts as payouts_table
from gateway.settlement.tables import settlements as settlements_table
from ledger import feed
from ledger.business_days import BusinessCalendar, thai_banks
from ledger.chart_of_accounts import AccountKind
from ledger.journal import AccountRef, JournalEntry, Posted
from ledger.posting import Ledger
from ledger.posting_rules.settlement import became_available, merchant_debt_recognised, merchant_debt_recovered

AT_ONCE: Final = 50
"""Settlements worked on side by side: their entries share the ledger's batches."""


class SettlementResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a run did, this time; zeros where an earlier run had done it."""

    settlements: int
    became_available_minor: int
    payouts: int
    payouts_minor: int
    payouts_refused: int
    files_submitted: int


class SettlementBroken(Exception):
    """The ledger refused to move a day's money under a key of the settlement: two settlements contradict."""

    code = "settlement_broken"
    retryable = False


class SettlementRun:
    """Settles books. Everything that it needs is handed in."""

    def __init__(
        self,
        *,
        database: Database,
        ledger: Ledger,
        vault: Vault,
        bank: BankConnection,
        calendar: BusinessCalendar | None = None,
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._vault = vault
        self._calendar = calendar or thai_banks()
        self.payouts = Payouts(database, ledger)
        self.claims = ClaimTransfers(database, ledger, vault)
        self.files = PayoutFiles(database, vault, self.claims)
        self._submission = Submission(
            database=database, vault=vault, payouts=self.payouts, claims=self.claims, bank=bank
        )

    async def run(self, book_id: int, business_date: date) -> SettlementResult:
        """Settle every merchant of the book through that date and hand the payouts to the bank. Safe to repeat.

        Raises:
            LedgerBusy, OutcomeUnknown: run it again; nothing is done twice.
            SettlementBroken: the books contradict the settlements.
        """
        # What an earlier run left open is finished first: the next window begins where that one ends.
        before = await self._finish(book_id)
        await settlements.open_due(
            self._database, self._vault, book_id=book_id, business_date=business_date, calendar=self._calendar
        )
        done = before + await self._finish(book_id)
        submitted = await self.pay_out(book_id, business_date)
        paid = [settlement for settlement, paid_minor in done if paid_minor]
        return SettlementResult(
            settlements=len(done),
            became_available_minor=sum(settlement.became_available_minor for settlement, _ in done),
            payouts=len(paid),
            payouts_minor=sum(paid_minor for _, paid_minor in done),
            payouts_refused=sum(1 for settlement, paid_minor in done if settlement.payout_id and not paid_minor),
            files_submitted=submitted,
        )

    async def pay_out(self, book_id: int, business_date: date) -> int:
        """Put approved payouts into a file and hand over every file that waits; returns how many were handed over."""
        async with self._database.read() as connection:
            today = (await clock_of(connection, book_id)).today()
        for payout_id in await self.files.build(book_id, execution_date(business_date, today, self._calendar)):
            await self.payouts.reject(
                book_id,
                payout_id,
                actor=SYSTEM,
                reason="the merchant's data was shredded",
                reject_code="destination_destroyed",
            )
        return await self._submission.submit_due(book_id)

    async def resume(self, book_id: int) -> None:
        """Finish what is open without opening anything new."""
        await self._finish(book_id)
        async with self._database.read() as connection:
            today = (await clock_of(connection, book_id)).today()
        await self.pay_out(book_id, today)

    async def _finish(self, book_id: int) -> list[tuple[Settlement, int]]:
        async with self._database.read() as connection:
            waiting = await settlements.open_settlements(connection, book_id)
        done: list[tuple[Settlement, int]] = []
        for start in range(0, len(waiting), AT_ONCE):
            done += await self._finish_chunk(waiting[start : start + AT_ONCE])
        return done

    async def _finish_chunk(self, chunk: Sequence[Settlement]) -> list[tuple[Settlement, int]]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._settle(settlement)) for settlement in chunk]
        return [(settlement, task.result()) for settlement, task in zip(chunk, tasks, strict=True)]

    async def _settle(self, settlement: Settlement) -> int:
        """Post what the settlement planned and close it; returns what was reserved for its payout."""
        await self._make_available(settlement)
        await self._post_debt(settlement)
        paid_minor = 0
        if settlement.payout_id is not None:
            payout = await self._pay_out(settlement, settlement.payout_id)
            if payout.reserved_sequence is not None:
                paid_minor = payout.amount_minor + PAYOUT_FEE.total_minor
        async with self._database.transaction() as connection:
            closed_at = (await clock_of(connection, settlement.book_id)).now()
            await settlements.close(connection, settlement, paid_minor=paid_minor, at=closed_at)
        return paid_minor

    async def _pay_out(self, settlement: Settlement, payout_id: str) -> Payout:
        """Reserve the payout, unless a refund took of a day's money after the cut and before the day was moved.

        The day is below zero then, and what is available higher by as much than what the merchant has.
        """
        pending = AccountRef(AccountKind.MERCHANT_PENDING, settlement.account_id, settlement.currency)
        async with self._database.read() as connection:
            days = await settlements.days_of(connection, settlement)
        async with self._database.ledger_pool.acquire() as ledger:
            left = [await feed.pending_on(ledger, settlement.book_id, pending, day) for day, _ in days]
            # A run that died after the reserve goes on with it: it is posted, and was covered then.
            is_reserved = await feed.entry_by_key(ledger, settlement.book_id, reserve_key(payout_id)) is not None
        if is_reserved or min(left, default=0) >= 0:
            return await self.payouts.reserve(settlement.book_id, payout_id)
        return await self.payouts.refuse(settlement.book_id, payout_id, reason="its money was taken after the cut")

    async def _make_available(self, settlement: Settlement) -> None:
        async with self._database.read() as connection:
            days = await settlements.days_of(connection, settlement)
        for available_on, amount_minor in days:
            entry = became_available(
                key=entry_key(settlement.settlement_id, f"available:{available_on}"),
                merchant=settlement.account_id,
                amount_minor=amount_minor,
                currency=settlement.currency,
                available_on=available_on,
                effective_on=settlement.business_date,
                caller=SYSTEM,
            )
            await self._post(settlement, entry)

    async def _post_debt(self, settlement: Settlement) -> None:
        """What is below zero becomes a claim on the merchant; new money pays an earlier claim first."""
        if not settlement.debt_minor:
            return
        rule = merchant_debt_recognised if settlement.debt_minor > 0 else merchant_debt_recovered
        entry = rule(
            key=entry_key(settlement.settlement_id, "debt"),
            merchant=settlement.account_id,
            amount_minor=abs(settlement.debt_minor),
            currency=settlement.currency,
            effective_on=settlement.business_date,
            caller=SYSTEM,
        )
        await self._post(settlement, entry)

    async def _post(self, settlement: Settlement, entry: JournalEntry) -> None:
        result = await self._ledger.post(settlement.book_id, entry)
        if not isinstance(result, Posted):
            raise SettlementBroken(f"{settlement.settlement_id}, {entry.kind.name.lower()}: {result.refusal.code}")


class Sweeper:
    """Finds books where something of a settlement stands still, and resumes it.

    It may meet a run that is at work: both then post under the same keys, so nothing is done twice.
    """

    def __init__(self, database: Database, run: SettlementRun) -> None:
        self._database = database
        self._run = run

    async def run_once(self) -> int:
        """Resume every such book; returns how many."""
        s, p, f, claim = settlements_table.c, payouts_table.c, files_table.c, refund_claims.c
        stuck = union(
            select(s.book_id).where(s.state == "open"),
            select(p.book_id).where(p.state == PayoutState.APPROVED, p.payout_file_id.is_(None)),
            select(claim.book_id).where(claim.state == ClaimState.APPROVED, claim.payout_file_id.is_(None)),
            select(f.book_id).where(
                f.state.in_([FileState.BUILT, FileState.SENT]),
                or_(f.lease_until.is_(None), f.lease_until < real_now()),
            ),
        )
        async with self._database.read() as connection:
            books = list((await connection.execute(stuck)).scalars())
            await measure_unanswered(connection)
            await measure_in_transit(connection)
        for book_id in books:
            await self._run.resume(book_id)
        return len(books)
