"""What the bank statement says of payouts: the only proof that one was paid, or came back.

In one transaction the payout is locked, moved, its merchant told, and the entry posted under a key of the payout. A
line that does not fit – no such payout, another amount, a return of what was never paid – moves nothing and is the
reconciliation's break to keep.
"""

from enum import StrEnum
from typing import Final, Protocol

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.database import Database
from gateway.foundation.ids import entry_key
from gateway.payments.errors import EntryRefused
from gateway.settlement.payouts import (
    MOVES,
    PAYOUT_SCHEME,
    SYSTEM,
    Payout,
    PayoutState,
    locked,
    move,
    post_with,
    prove,
)
from gateway.settlement.tables import payouts
from ledger.journal import ExternalReference, JournalEntry
from ledger.posting_rules.marks import payout_mark_proved
from ledger.posting_rules.payouts import payout_paid, payout_returned
from reconciliation.runs import PayoutSeen

_SAID_TO_BE_PAID: Final = frozenset({PayoutState.PAID, PayoutState.RETURNED})
BANK_LINE_SCHEME: Final = "bank_line"
"""External reference of what proved it: the statement line."""


class Confirmation(StrEnum):
    """What became of a line. Only `confirmed` moved anything."""

    CONFIRMED = "confirmed"
    ALREADY_CONFIRMED = "already_confirmed"
    NO_SUCH_PAYOUT = "no_such_payout"
    AMOUNT_DIFFERS = "amount_differs"
    NOT_EXPECTED = "not_expected"
    """The payout is in a state that cannot lead there, or another line proved it already."""


class OtherTransfers(Protocol):
    """Transfers that are no payouts and go with the same files."""

    async def confirm(self, book_id: int, seen: PayoutSeen) -> Confirmation:
        """Book what one line proves of them."""
        ...


class Confirmations:
    """Takes lines of the bank statement to payouts, and those that name none to the other transfers."""

    def __init__(self, database: Database, others: OtherTransfers | None = None) -> None:
        self._database = database
        self._others = others

    async def confirm(self, book_id: int, seen: PayoutSeen) -> Confirmation:
        """Book what one line proves. Safe to repeat.

        Raises:
            LedgerError: infrastructure; repeat it later.
        """
        p = payouts.c
        statement = select(p.payout_id).where(p.book_id == book_id, p.end_to_end_id == seen.end_to_end_id)
        async with self._database.read() as connection:
            payout_id = (await connection.execute(statement)).scalar_one_or_none()
        if payout_id is None:
            return Confirmation.NO_SUCH_PAYOUT if self._others is None else await self._others.confirm(book_id, seen)
        try:
            async with self._database.transaction() as connection:
                return await self._confirm(connection, await locked(connection, book_id, payout_id), seen)
        except EntryRefused:
            # The key was used by another line: two lines claim the same payout.
            return Confirmation.NOT_EXPECTED

    async def _confirm(self, connection: AsyncConnection, payout: Payout, seen: PayoutSeen) -> Confirmation:
        to = PayoutState.RETURNED if seen.returned else PayoutState.PAID
        if (payout.amount_minor, payout.currency) != (seen.amount_minor, seen.currency):
            return Confirmation.AMOUNT_DIFFERS
        reason = f"bank line {seen.line_id}"
        if to in MOVES[payout.state]:
            columns = {} if seen.returned else {"value_on": seen.value_on, "bank_reference": seen.line_id}
            await move(connection, payout, to, actor=SYSTEM, reason=reason, **columns)
            await post_with(connection, _entry(payout, seen), book_id=payout.book_id)
            return Confirmation.CONFIRMED
        if payout.state in _SAID_TO_BE_PAID and payout.bank_reference is None and not seen.returned:
            # The line shows what two people said before it came.
            await prove(connection, payout, value_on=seen.value_on, bank_reference=seen.line_id, reason=reason)
            await post_with(connection, _proof(payout, seen), book_id=payout.book_id)
            return Confirmation.CONFIRMED
        return self._seen_before(payout, to, seen)

    @staticmethod
    def _seen_before(payout: Payout, to: PayoutState, seen: PayoutSeen) -> Confirmation:
        paid_by_this = payout.bank_reference == seen.line_id and not seen.returned
        if paid_by_this or (seen.returned and payout.state is to):
            return Confirmation.ALREADY_CONFIRMED
        return Confirmation.NOT_EXPECTED


def _entry(payout: Payout, seen: PayoutSeen) -> JournalEntry:
    rule, purpose = (payout_returned, "returned") if seen.returned else (payout_paid, "paid")
    return rule(
        key=entry_key(payout.payout_id, purpose),
        merchant=payout.account_id,
        bank=seen.bank,
        amount_minor=payout.amount_minor,
        currency=payout.currency,
        effective_on=seen.value_on,
        references=_references(payout, seen),
        metadata=msgspec.json.encode({"payout": payout.payout_id}),
        caller=SYSTEM,
    )


def _proof(payout: Payout, seen: PayoutSeen) -> JournalEntry:
    return payout_mark_proved(
        key=entry_key(payout.payout_id, "paid"),
        bank=seen.bank,
        amount_minor=payout.amount_minor,
        currency=payout.currency,
        effective_on=seen.value_on,
        references=_references(payout, seen),
        metadata=msgspec.json.encode({"payout": payout.payout_id}),
        caller=SYSTEM,
    )


def _references(payout: Payout, seen: PayoutSeen) -> tuple[ExternalReference, ...]:
    return (
        ExternalReference(PAYOUT_SCHEME, payout.end_to_end_id),
        ExternalReference(BANK_LINE_SCHEME, seen.line_id),
    )
