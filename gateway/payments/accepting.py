"""A merchant takes money that was held for its payer as payment after all: paid late, short, over, twice.

One receipt at a time, all that no dispute took of it, under the lock of its payment, where offering it back
(`claims.py`) is decided, too: so money is accepted or returned, never both. What it was booked as stays; the entry that
moves it draws on the entry that held it. It is the merchant's from the day of accepting: the fee is due then, and T+n
counts from then.
"""

from typing import Final

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.clock import BookClock, business_date_of
from gateway.foundation.database import Database, driver
from gateway.foundation.ids import new_id
from gateway.merchants.operators import record_act
from gateway.merchants.principals import MerchantPrincipal
from gateway.payments import limits
from gateway.payments.acceptances import AcceptanceRow, acceptances_of
from gateway.payments.claims import first_free, held_by
from gateway.payments.deciding import Case, Changes, event_of
from gateway.payments.entries import accepted_key, entry_of_acceptance
from gateway.payments.errors import EntryRefused, NotFound, Refused
from gateway.payments.facts import ClockOf, RecordEvents, count_moved
from gateway.payments.held_receipts import HeldReceipt, held_receipts
from gateway.payments.records import (
    AttemptRow,
    FactRow,
    IntentRow,
    RowWrites,
    attempts_of,
    facts_of,
    lock_intents,
)
from gateway.payments.states import IntentStatus
from gateway.payments.tables import attempts, facts, held_acceptances, intents
from gateway.payments.views import Intent, encoded, intent_view
from ledger.business_days import thai_banks
from ledger.journal import Posted
from ledger.posting import post_entries

HELD_ACCEPTED: Final = "payment_intent.held_accepted"
REASON: Final = "held money accepted"


class AcceptedIntent(Intent, frozen=True, kw_only=True):
    """The payment, with the receipt that was taken: its `fact` in the payment's timeline."""

    held: str


class Accepting:
    """Takes held money for merchants.

    Args:
        clock_of: business time of a book.
    """

    def __init__(self, database: Database, *, clock_of: ClockOf, record_events: RecordEvents) -> None:
        self._database = database
        self._clock_of = clock_of
        self._record_events = record_events

    async def accept(
        self, principal: MerchantPrincipal, intent_id: str, *, held_id: str | None = None, acceptance_id: str
    ) -> AcceptedIntent:
        """Accept a receipt of a payment that is held, in whole or in part, and is not offered back.

        A payment that nothing has paid yet is `succeeded` by it, whatever it lacks; one that is paid has so much more.

        Args:
            held_id: which receipt; None: the oldest.
            acceptance_id: `claim.id_for("acp")`, so that a retry finds what an earlier run did.

        Raises:
            NotFound: no payment of this account has that id, or nothing of it was ever held by that receipt.
            Refused: `nothing_held`, `payment_conflicted`, `payment_disputed`: the payer's bank takes it back, or may
                yet; nothing moved.
            LedgerError: infrastructure; nothing moved, repeat it later.
        """
        return await self._accept(
            principal.book_id,
            intent_id,
            account_id=principal.account_id,
            actor=principal.account_id,
            acceptance_id=acceptance_id,
            held_id=held_id,
        )

    async def accept_receipt(self, book_id: int, held_id: str, *, actor: str, reason: str) -> AcceptedIntent:
        """An operator accepts one receipt for its merchant, who asked for it; the act is kept. Safe to repeat.

        Args:
            held_id: as `unmatched` lists it.

        Raises:
            NotFound: nothing is held of it, and was not.
            Refused, LedgerError: as `accept`.
        """
        f = facts.c
        statement = select(f.intent_id).where(f.book_id == book_id, f.fact_id == held_id, f.held_minor > 0)
        async with self._database.read() as connection:
            intent_id = (await connection.execute(statement)).scalar_one_or_none()
        if intent_id is None:
            raise NotFound(f"nothing held {held_id}")
        return await self._accept(book_id, intent_id, account_id=None, actor=actor, reason=reason, held_id=held_id)

    async def _accept(
        self,
        book_id: int,
        intent_id: str,
        *,
        account_id: str | None,
        actor: str,
        reason: str = "",
        acceptance_id: str | None = None,
        held_id: str | None,
    ) -> AcceptedIntent:
        """The receipt that is named, or the oldest; `account_id` None: an operator does it, who may do it again."""
        async with self._database.transaction() as connection:
            rows = await lock_intents(connection, book_id, [intent_id])
            if not rows or account_id not in {None, rows[0].account_id}:
                raise NotFound(f"no payment intent {intent_id}")
            its_attempts = await attempts_of(connection, book_id, [intent_id])
            accepted = await acceptances_of(connection, book_id, [intent_id])
            for each in accepted:
                if acceptance_id == each.acceptance_id or (account_id is None and held_id == each.fact_id):
                    return _accepted(_view(rows[0], its_attempts), each)
            its_facts = await facts_of(connection, book_id, [intent_id])
            held = held_by(await held_receipts(connection, book_id, [intent_id], facts=its_facts), held_id)
            waiting = _waiting(rows[0], held)
            receipt = waiting.receipt
            clock: BookClock = await self._clock_of(connection, book_id)
            [attempt] = [each for each in its_attempts if each.attempt_id == receipt.attempt_id]
            row = AcceptanceRow(
                book_id=book_id,
                acceptance_id=acceptance_id or new_id("acp", livemode=rows[0].livemode),
                intent_id=intent_id,
                fact_id=receipt.fact_id,
                amount_minor=waiting.free_minor,
                currency=receipt.currency,
                available_on=thai_banks().add(clock.today(), attempt.settlement_days),
                accepted_by=actor,
                accepted_at=clock.now(),
            )
            taken = {each.fact_id: each for each in (*accepted, row)}
            changes = Case(rows[0], its_attempts, [], its_facts, accepted=taken).settle(row.accepted_at)
            view = await self._write(connection, changes, row)
            if account_id is None:
                await record_act(connection, actor=actor, act="held_money.accepted", subject=intent_id, reason=reason)
            await _post(connection, rows[0], receipt, attempt, row)
        count_moved(changes)
        return _accepted(view, row)

    async def _write(self, connection: AsyncConnection, changes: Changes, row: AcceptanceRow) -> Intent:
        """Write all but the entry; returns the payment as it then stands."""
        intent = changes.intent
        if intent.capture_key is None:
            key = accepted_key(row.fact_id)
            intent = msgspec.structs.replace(intent, capture_key=key, available_on=row.available_on)
        intent = msgspec.structs.replace(intent, accepted_minor=intent.accepted_minor + row.amount_minor)
        moves = [
            msgspec.structs.replace(move, actor=row.accepted_by, reason=REASON, fact_id=row.fact_id)
            for move in changes.moves
        ]
        writes = (
            RowWrites()
            .insert(held_acceptances, [row])
            .replace(intents, [intent])
            .replace(attempts, changes.attempts, ended=changes.ended)
            .move(row.book_id, moves, row.accepted_at)
        )
        limits.add_uses(writes, row.book_id, changes.uses)
        await writes.send(connection)
        view = _view(intent, await attempts_of(connection, row.book_id, [row.intent_id]))
        told = event_of(intent, HELD_ACCEPTED, encoded(view), row.accepted_at)
        await self._record_events(connection, [*changes.events, told])
        return view


def _waiting(intent: IntentRow, held: list[HeldReceipt]) -> HeldReceipt:
    """The receipt to accept; one is accepted once."""
    if intent.status is IntentStatus.CONFLICTED:
        raise Refused("payment_conflicted", "what is said of it contradicts itself", param="payment_intent")
    return first_free([each for each in held if not each.accepted_minor], held, currency=intent.currency)


def _accepted(view: Intent, row: AcceptanceRow) -> AcceptedIntent:
    return AcceptedIntent(**msgspec.structs.asdict(view), held=row.fact_id)


def _view(intent: IntentRow, its_attempts: list[AttemptRow]) -> Intent:
    return intent_view(intent, next(each for each in its_attempts if each.attempt_id == intent.latest_attempt_id))


async def _post(
    connection: AsyncConnection, intent: IntentRow, receipt: FactRow, attempt: AttemptRow, row: AcceptanceRow
) -> None:
    """Post, as the last statement of the transaction.

    Raises:
        EntryRefused: an entry that only records was refused; the transaction is to be rolled back.
    """
    entry = entry_of_acceptance(
        receipt,
        intent,
        attempt,
        amount_minor=row.amount_minor,
        available_on=row.available_on,
        accepted_on=business_date_of(row.accepted_at),
        caller=row.accepted_by,
    )
    [result] = await post_entries(driver(connection), row.book_id, [entry])
    if not isinstance(result, Posted):
        raise EntryRefused(f"{result.key}: {result.refusal.code}")
