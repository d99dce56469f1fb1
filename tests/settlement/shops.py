"""A shop with a test book, the run that settles it, and a bank that answers as it is told."""

from collections.abc import Sequence
from datetime import date, timedelta
from uuid import uuid4

import msgspec
import pytest

from gateway.foundation.database import Database
from gateway.foundation.encryption import Vault
from gateway.providers.base import Accepted, Declined, NotAttempted, Outcome, ProviderAccount, Unknown
from gateway.settlement.confirmations import Confirmations
from gateway.settlement.payouts import Payout, of_row
from gateway.settlement.runs import SettlementRun
from gateway.settlement.tables import payout_files, payout_moves, payouts, settlements
from ledger.balances import balances
from ledger.chart_of_accounts import AccountKind
from ledger.journal import AccountRef, JournalEntry, Posted
from ledger.posting import Ledger
from ledger.posting_rules.fees_and_tax import NO_FEE, Fee
from ledger.posting_rules.payments import payment_captured
from ledger.posting_rules.refunds import refund_failed, refund_reserved
from reconciliation.runs import PayoutSeen

MONDAY = date(2030, 11, 25)
"""Ahead of real time, which the books of these tests follow: no bank executes in the past."""
TUESDAY, WEDNESDAY, THURSDAY = (MONDAY + timedelta(days=n) for n in (1, 2, 3))
ACCEPTED = Accepted(provider_references=("BF1",))
REFUSED = Declined(failure_code="file_rejected", provider_code="file_rejected", message="no")
UNREACHABLE = NotAttempted(reason="connection refused")
SILENT = Unknown(reason="timeout")


class FakeBank:
    """Remembers every file handed in; answers with the outcomes in turn, the last one again and again."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes) or [ACCEPTED]
        self.files: list[tuple[str, bytes]] = []

    async def submit_payment_file(self, account: ProviderAccount, *, message_id: str, content: bytes) -> Outcome:
        assert account.provider == "bank"
        self.files.append((message_id, content))
        return self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]


class Shop(msgspec.Struct, frozen=True, kw_only=True):
    """One merchant and all that settles it."""

    account_id: str
    book_id: int
    database: Database
    vault: Vault
    ledger: Ledger
    bank: FakeBank

    @property
    def run(self) -> SettlementRun:
        return SettlementRun(database=self.database, ledger=self.ledger, vault=self.vault, bank=self.bank)

    @property
    def confirmations(self) -> Confirmations:
        return Confirmations(self.database)

    async def post(self, entry: JournalEntry) -> Posted:
        posted = await self.ledger.post(self.book_id, entry)
        assert isinstance(posted, Posted), posted
        return posted

    async def capture(self, amount_minor: int, *, available_on: date, fee: Fee = NO_FEE) -> JournalEntry:
        entry = payment_captured(
            key=uuid4(),
            provider="scb",
            merchant=self.account_id,
            amount_minor=amount_minor,
            currency="THB",
            fee=fee,
            available_on=available_on,
            effective_on=MONDAY,
            references=(),
            metadata=b"",
            caller="system",
        )
        await self.post(entry)
        return entry

    async def refund(self, captured: JournalEntry, amount_minor: int, *, pending_until: date | None) -> None:
        await self.post(
            refund_reserved(
                key=uuid4(),
                captured_key=captured.key,
                merchant=self.account_id,
                amount_minor=amount_minor,
                currency="THB",
                pending_until=pending_until,
                effective_on=MONDAY,
                metadata=b"",
                caller="system",
            )
        )

    async def refund_fails(self, captured: JournalEntry, amount_minor: int, *, pending_until: date | None) -> None:
        await self.post(
            refund_failed(
                key=uuid4(),
                captured_key=captured.key,
                merchant=self.account_id,
                amount_minor=amount_minor,
                currency="THB",
                pending_until=pending_until,
                effective_on=MONDAY,
                metadata=b"",
                caller="system",
            )
        )

    async def balance(self, kind: AccountKind, owner: str | None = None) -> int:
        account = AccountRef(kind, owner or self.account_id, "THB")
        async with self.database.ledger_pool.acquire() as connection:
            return (await balances(connection, self.book_id, [account]))[account].balance_minor

    async def money(self) -> tuple[int, int, int]:
        """Pending, available, in transit."""
        kinds = (AccountKind.MERCHANT_PENDING, AccountKind.MERCHANT_AVAILABLE, AccountKind.PAYOUTS_IN_TRANSIT)
        pending, available, in_transit = [await self.balance(kind) for kind in kinds]
        return pending, available, in_transit

    async def payouts(self) -> list[Payout]:
        return [of_row(row) for row in await self._rows(payouts, "payout_id")]

    async def settlements(self) -> Sequence[dict]:
        return await self._rows(settlements, "settlement_id")

    async def files(self) -> Sequence[dict]:
        return await self._rows(payout_files, "payout_file_id")

    async def states(self, payout_id: str) -> list[str]:
        return [row["state"] for row in await self._rows(payout_moves, "version") if row["payout_id"] == payout_id]

    async def events(self) -> list[str]:
        async with self.database.ledger_pool.acquire() as connection:
            rows = await connection.fetch(
                "SELECT type FROM gateway.events WHERE book_id = $1 ORDER BY event_id", self.book_id
            )
        return [row["type"] for row in rows]

    async def seen(self, payout: Payout, **changes: object) -> PayoutSeen:
        line = PayoutSeen(
            end_to_end_id=payout.end_to_end_id,
            amount_minor=payout.amount_minor,
            currency="THB",
            bank="scb_main",
            line_id="line_1",
            value_on=TUESDAY,
            returned=False,
            booked=False,
        )
        return msgspec.structs.replace(line, **changes)

    async def _rows(self, table, order: str) -> list[dict]:
        async with self.database.read() as connection:
            statement = table.select().where(table.c.book_id == self.book_id).order_by(table.c[order])
            return [dict(row) for row in (await connection.execute(statement)).mappings()]


async def two_in_a_file(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> tuple[Payout, Payout]:
    """Payouts of two days, 1000 and 2000 baht, that went to the bank together."""

    async def nothing(book_id: int, execute_on: date) -> list[str]:
        return []

    run = shop.run
    with monkeypatch.context() as patch:
        patch.setattr(run.files, "build", nothing)
        await shop.capture(1_000_00, available_on=TUESDAY)
        await run.run(shop.book_id, TUESDAY)
    await shop.capture(2_000_00, available_on=WEDNESDAY)
    await run.run(shop.book_id, WEDNESDAY)
    first, second = await shop.payouts()
    assert first.payout_file_id == second.payout_file_id
    return first, second
