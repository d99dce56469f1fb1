"""A merchant's book with payments, refunds and payouts in it, posted as the gateway posts them."""

from datetime import date
from uuid import UUID, uuid5

import asyncpg
import msgspec

from ledger.accounts import open_book
from ledger.chart_of_accounts import AccountKind
from ledger.journal import AccountRef, ExternalReference, JournalEntry, Posted, Refused
from ledger.posting import post_entries
from ledger.posting_rules.fees_and_tax import NO_FEE
from ledger.posting_rules.payments import payer_money_held, payment_captured
from ledger.posting_rules.payouts import payout_paid, payout_rejected, payout_requested, payout_returned
from ledger.posting_rules.receipts import unidentified_credit
from ledger.posting_rules.refunds import refund_paid, refund_reserved, refund_succeeded
from ledger.posting_rules.settlement import became_available

BOOK = 1007
MERCHANT = "acct_test_1"
BANK = "operator"
DAY = date(2026, 11, 23)
NEXT_DAY = date(2026, 11, 24)

NAMESPACE = UUID("00000000-0000-8000-8000-000000000001")


def entry_key(identifier: str, purpose: str) -> UUID:
    return UUID(int=uuid5(NAMESPACE, f"{identifier}/{purpose}").int)


class Books:
    """Posts on a connection of its own and counts what was posted."""

    def __init__(self, connection: asyncpg.Connection, book_id: int = BOOK) -> None:
        self.connection = connection
        self.book_id = book_id
        self.calls = 0
        self.posted: list[JournalEntry] = []

    async def open(self) -> None:
        async with self.connection.transaction():
            await open_book(self.connection, self.book_id, code=f"test-{self.book_id}", mode="test")

    async def post(self, book_id: int, entry: JournalEntry) -> Posted | Refused:
        self.calls += 1
        async with self.connection.transaction():
            (result,) = await post_entries(self.connection, book_id, [entry])
        assert isinstance(result, Posted), result
        if not result.replayed:
            self.posted.append(entry)
        return result

    async def unidentified(self, line_id: str, amount_minor: int, *, on: date = DAY) -> None:
        """A credit on the bank's statement that nobody knows."""
        entry = unidentified_credit(
            key=entry_key(line_id, "noted"),
            bank=BANK,
            amount_minor=amount_minor,
            currency="THB",
            effective_on=on,
            references=(ExternalReference("bank_line", line_id),),
            metadata=b"{}",
            caller="system",
        )
        await self.post(self.book_id, entry)

    async def captured(
        self,
        provider: str,
        reference: str,
        amount_minor: int,
        *,
        on: date = DAY,
        bill: str | None = None,
        held_minor: int = 0,
    ) -> UUID:
        """A receipt: what was due, and what is held for the payer, as two entries of one fact."""
        key = entry_key(reference, "captured")
        references = [ExternalReference(provider, reference)]
        if bill is not None:
            references.append(ExternalReference(provider, bill))
        await self.post(
            self.book_id,
            payment_captured(
                key=key,
                provider=provider,
                merchant=MERCHANT,
                amount_minor=amount_minor,
                currency="THB",
                fee=NO_FEE,
                available_on=on,
                effective_on=on,
                references=tuple(references),
                metadata=_fact(reference),
                caller="system",
            ),
        )
        if held_minor:
            held = payer_money_held(
                key=entry_key(reference, "held"),
                provider=provider,
                intent="pi_test_1",
                amount_minor=held_minor,
                currency="THB",
                effective_on=on,
                references=tuple(references),
                metadata=_fact(reference),
                caller="system",
            )
            await self.post(self.book_id, held)
        return key

    async def refunded(
        self, charge: UUID, reference: str, amount_minor: int, *, on: date = DAY, provider: str = "omise"
    ) -> None:
        await self.post(
            self.book_id,
            refund_reserved(
                key=entry_key(reference, "reserved"),
                captured_key=charge,
                merchant=MERCHANT,
                amount_minor=amount_minor,
                currency="THB",
                pending_until=on,
                effective_on=on,
                metadata=b"{}",
                caller="system",
            ),
        )
        await self.post(
            self.book_id,
            refund_succeeded(
                key=entry_key(reference, "succeeded"),
                provider=provider,
                merchant=MERCHANT,
                amount_minor=amount_minor,
                currency="THB",
                effective_on=on,
                references=(ExternalReference(provider, reference),),
                metadata=b"{}",
                caller="system",
            ),
        )

    async def payout(self, payout_id: str, amount_minor: int, *, on: date = NEXT_DAY) -> None:
        """Make that much of the day's pending money available and reserve it for a payout."""
        await self.post(
            self.book_id,
            became_available(
                key=entry_key(payout_id, "available"),
                merchant=MERCHANT,
                amount_minor=amount_minor,
                currency="THB",
                available_on=DAY,
                effective_on=on,
                caller="system",
            ),
        )
        await self.post(
            self.book_id,
            payout_requested(
                key=entry_key(payout_id, "reserve"),
                merchant=MERCHANT,
                amount_minor=amount_minor,
                currency="THB",
                fee=NO_FEE,
                effective_on=on,
                references=(ExternalReference("payout", payout_id.upper()),),
                metadata=_payout(payout_id),
                caller="system",
            ),
        )

    async def paid(self, payout_id: str, amount_minor: int, line_id: str, *, on: date = NEXT_DAY) -> None:
        await self.post(
            self.book_id,
            payout_paid(
                key=entry_key(payout_id, "paid"),
                merchant=MERCHANT,
                bank=BANK,
                amount_minor=amount_minor,
                currency="THB",
                effective_on=on,
                references=(ExternalReference("bank_line", line_id),),
                metadata=_payout(payout_id),
                caller="system",
            ),
        )

    async def returned(self, payout_id: str, amount_minor: int, line_id: str, *, on: date = NEXT_DAY) -> None:
        await self.post(
            self.book_id,
            payout_returned(
                key=entry_key(payout_id, "returned"),
                merchant=MERCHANT,
                bank=BANK,
                amount_minor=amount_minor,
                currency="THB",
                effective_on=on,
                references=(ExternalReference("bank_line", line_id),),
                metadata=_payout(payout_id),
                caller="system",
            ),
        )

    async def refund_paid(self, name: str, amount_minor: int, line_id: str, *, on: date = DAY) -> None:
        """A claimed refund left our bank account."""
        await self.post(
            self.book_id,
            refund_paid(
                key=entry_key(name, "paid"),
                merchant=MERCHANT,
                bank=BANK,
                amount_minor=amount_minor,
                currency="THB",
                effective_on=on,
                references=(
                    ExternalReference("payout", name.replace("_", "").upper()),
                    ExternalReference("bank_line", line_id),
                ),
                metadata=msgspec.json.encode({"claim": name}),
                caller="system",
            ),
        )

    async def rejected(self, payout_id: str, amount_minor: int, *, on: date = NEXT_DAY) -> None:
        await self.post(
            self.book_id,
            payout_rejected(
                key=entry_key(payout_id, "rejected"),
                merchant=MERCHANT,
                amount_minor=amount_minor,
                currency="THB",
                effective_on=on,
                metadata=_payout(payout_id),
                caller="system",
            ),
        )


RECEIVABLE_OMISE = AccountRef(AccountKind.PROVIDER_RECEIVABLE, "omise", "THB")
RECEIVABLE_SCB = AccountRef(AccountKind.PROVIDER_RECEIVABLE, "scb", "THB")
BANK_ACCOUNT = AccountRef(AccountKind.BANK, BANK, "THB")


def _fact(reference: str) -> bytes:
    return msgspec.json.encode({"fact": f"fact_test_{reference}"})


def _payout(payout_id: str) -> bytes:
    return msgspec.json.encode({"payout": payout_id})
