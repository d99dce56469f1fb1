"""Payouts: a row for each, the legal moves between its states, and the entries that reserve and give back.

A payout is reserved by posting before anybody is told of it: row committed as `requested`, then the entry under a
key of the row, then the result on the row. Whoever repeats any of it after a crash gets the same answer. Every move
locks the payout's row, keeps actor and reason, and raises the version; a move that ends the payout posts its entry
in the same transaction, after the row's lock the book's.
"""

from collections.abc import Mapping
from datetime import date, datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy import RowMapping, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.database import Database, driver
from gateway.foundation.ids import entry_key
from gateway.merchants.clocks import clock_of
from gateway.payments.errors import EntryRefused
from gateway.settlement.schedules import PAYOUT_FEE
from gateway.settlement.tables import payout_moves, payouts
from gateway.webhooks.events import NewEvent, record
from ledger.journal import ExternalReference, JournalEntry, LinkedGroup, Posted
from ledger.posting import Ledger, post_entries
from ledger.posting_rules.marks import payout_marked
from ledger.posting_rules.payouts import payout_rejected, payout_requested
from ledger.refusals import Refusal

SYSTEM: Final = "system"
PAYOUT_SCHEME: Final = "payout"
"""External reference of a payout: the end-to-end id, as the bank statement shows it."""


class PayoutState(StrEnum):
    """How far a payout got.

    `submitted` is in a file on its way to the bank; `unknown` where nobody knows whether the bank has it;
    `in_transit` once the bank took it; `paid` only by a line of the bank's statement.
    """

    REQUESTED = "requested"
    APPROVED = "approved"
    SUBMITTED = "submitted"
    UNKNOWN = "unknown"
    IN_TRANSIT = "in_transit"
    PAID = "paid"
    RETURNED = "returned"
    REJECTED = "rejected"


_S = PayoutState
MOVES: Final[Mapping[PayoutState, frozenset[PayoutState]]] = {
    _S.REQUESTED: frozenset({_S.APPROVED, _S.REJECTED}),
    _S.APPROVED: frozenset({_S.SUBMITTED, _S.REJECTED}),
    _S.SUBMITTED: frozenset({_S.IN_TRANSIT, _S.UNKNOWN, _S.REJECTED, _S.PAID}),
    _S.UNKNOWN: frozenset({_S.IN_TRANSIT, _S.REJECTED, _S.PAID}),
    _S.IN_TRANSIT: frozenset({_S.REJECTED, _S.PAID}),
    _S.PAID: frozenset({_S.RETURNED}),
    _S.RETURNED: frozenset(),
    _S.REJECTED: frozenset(),
}
_EVENTS: Final[Mapping[PayoutState, str]] = {
    _S.APPROVED: "payout.approved",
    _S.IN_TRANSIT: "payout.in_transit",
    _S.PAID: "payout.paid",
    _S.RETURNED: "payout.returned",
    _S.REJECTED: "payout.failed",
}


class Payout(msgspec.Struct, frozen=True, kw_only=True):
    """A payout as it stands.

    Attributes:
        reserved_sequence: the entry that took the money from the merchant's balance, once it is posted.
        reject_code: why it was not paid: a refusal of the ledger (nothing moved) or the bank's answer.
        value_on, bank_reference: the statement line that proved it.
    """

    book_id: int
    payout_id: str
    account_id: str
    settlement_id: str
    livemode: bool
    amount_minor: int
    currency: str
    bank_code: str
    last_four: str
    sealed_destination: bytes
    end_to_end_id: str
    effective_on: date
    state: PayoutState
    version: int
    reserved_sequence: int | None
    payout_file_id: str | None
    reject_code: str | None
    value_on: date | None
    bank_reference: str | None
    requested_at: datetime
    submitted_at: datetime | None


class IllegalMove(Exception):
    """A payout cannot go from its state to that one; nothing was changed."""

    code = "payout_move_illegal"
    retryable = False


def end_to_end_id(payout_id: str) -> str:
    """What the bank calls the payout: its id in capitals and digits alone, which every bank's format carries."""
    return payout_id.replace("_", "").upper()


def reserve_key(payout_id: str) -> UUID:
    """Ledger key of the entry that takes the payout's money."""
    return entry_key(payout_id, "reserve")


def destination_context(payout_id: str) -> str:
    """What a payout's bank account is sealed for."""
    return f"payout_destination:{payout_id}"


class Payouts:
    """Reserves, approves, rejects. `ledger` posts what reserves; what ends a payout is posted with its move."""

    def __init__(self, database: Database, ledger: Ledger) -> None:
        self._database = database
        self._ledger = ledger

    async def reserve(self, book_id: int, payout_id: str) -> Payout:
        """Take a requested payout's money from the merchant's balance; on a refusal the payout is `rejected`.

        A test book's payout is approved at once. Safe to repeat: the ledger knows the key.

        Raises:
            LedgerBusy, OutcomeUnknown: repeat it later; the key stays the same.
        """
        async with self._database.read() as connection:
            payout = await find(connection, book_id, payout_id)
        if payout.state is not PayoutState.REQUESTED or payout.reserved_sequence is not None:
            return payout
        result = await self._ledger.post(
            book_id,
            payout_requested(
                key=reserve_key(payout_id),
                merchant=payout.account_id,
                amount_minor=payout.amount_minor,
                currency=payout.currency,
                fee=PAYOUT_FEE,
                effective_on=payout.effective_on,
                references=(ExternalReference(PAYOUT_SCHEME, payout.end_to_end_id),),
                metadata=msgspec.json.encode({"payout": payout_id, "settlement": payout.settlement_id}),
                caller=SYSTEM,
            ),
        )
        async with self._database.transaction() as connection:
            payout = await locked(connection, book_id, payout_id)
            if payout.state is not PayoutState.REQUESTED or payout.reserved_sequence is not None:
                return payout
            if not isinstance(result, Posted):
                return await _refused(connection, payout, "the ledger refused", result.refusal)
            payout = await _set(connection, payout, reserved_sequence=result.sequence)
            await _tell(connection, payout, "payout.created")
            if payout.livemode:
                return payout
            return await move(connection, payout, PayoutState.APPROVED, actor=SYSTEM, reason="test mode")

    async def refuse(self, book_id: int, payout_id: str, *, reason: str) -> Payout:
        """Refuse a requested payout as the ledger would, and nothing moves; one that was reserved stays as it is."""
        async with self._database.transaction() as connection:
            payout = await locked(connection, book_id, payout_id)
            if payout.state is not PayoutState.REQUESTED or payout.reserved_sequence is not None:
                return payout
            return await _refused(connection, payout, reason, Refusal.BELOW_FLOOR)

    async def approve(self, book_id: int, payout_id: str, *, actor: str, reason: str) -> Payout:
        """An operator lets a reserved payout go to the bank.

        Raises:
            IllegalMove: it is not waiting for approval.
        """
        async with self._database.transaction() as connection:
            payout = await locked(connection, book_id, payout_id)
            if payout.reserved_sequence is None:
                raise IllegalMove(f"{payout_id} is not reserved")
            return await move(connection, payout, PayoutState.APPROVED, actor=actor, reason=reason)

    async def mark_paid(self, book_id: int, payout_id: str, *, actor: str, reason: str) -> Payout:
        """Two people say that the bank paid it; the bank's statement is still awaited to prove it. Safe to repeat.

        Raises:
            IllegalMove: its state does not lead there.
            EntryRefused, LedgerError: as `post_with`.
        """
        async with self._database.transaction() as connection:
            payout = await locked(connection, book_id, payout_id)
            if payout.state is PayoutState.PAID:
                return payout
            moved = await move(connection, payout, PayoutState.PAID, actor=actor, reason=reason)
            await post_with(
                connection,
                payout_marked(
                    key=entry_key(payout_id, "marked"),
                    merchant=payout.account_id,
                    amount_minor=payout.amount_minor,
                    currency=payout.currency,
                    effective_on=payout.effective_on,
                    metadata=msgspec.json.encode({"payout": payout_id}),
                    caller=SYSTEM,
                ),
                book_id=book_id,
            )
            return moved

    async def reject(self, book_id: int, payout_id: str, *, actor: str, reason: str, reject_code: str) -> Payout:
        """The payout will certainly not be paid: the merchant has the money again. Safe to repeat.

        Raises:
            IllegalMove: it is paid, or was never reserved.
            EntryRefused, LedgerError: as `post_with`.
        """
        async with self._database.transaction() as connection:
            payout = await locked(connection, book_id, payout_id)
            if payout.state is PayoutState.REJECTED:
                return payout
            return await reject_locked(connection, payout, actor=actor, reason=reason, reject_code=reject_code)


async def _refused(connection: AsyncConnection, payout: Payout, reason: str, refusal: Refusal) -> Payout:
    return await move(connection, payout, PayoutState.REJECTED, actor=SYSTEM, reason=reason, reject_code=refusal.code)


async def find(connection: AsyncConnection, book_id: int, payout_id: str) -> Payout:
    """The payout as it stands; nothing is locked.

    Raises:
        LookupError: there is none.
    """
    return await _one(connection, book_id, payout_id, lock=False)


async def locked(connection: AsyncConnection, book_id: int, payout_id: str) -> Payout:
    """The payout, locked until the caller's transaction ends.

    Raises:
        LookupError: there is none.
    """
    return await _one(connection, book_id, payout_id, lock=True)


async def move(
    connection: AsyncConnection, payout: Payout, to: PayoutState, *, actor: str, reason: str, **columns: object
) -> Payout:
    """Move a payout that the caller has locked, keep who and why, and tell the merchant.

    Args:
        connection: the transaction that holds the lock.
        payout: as `locked` gave it.
        to: the new state.
        actor: `system`, or an operator's id.
        reason: for the record.
        columns: other columns that change with the move.

    Raises:
        IllegalMove: the state does not lead there.
    """
    if to not in MOVES[payout.state]:
        raise IllegalMove(f"{payout.payout_id} is {payout.state}, not to be {to}")
    moved = await _set(connection, payout, state=to, version=payout.version + 1, **columns)
    await note(connection, moved, actor=actor, reason=reason)
    # What the ledger refused was never told of, so there is nothing to take back.
    if to in _EVENTS and moved.reserved_sequence is not None:
        await _tell(connection, moved, _EVENTS[to])
    return moved


async def reject_locked(
    connection: AsyncConnection, payout: Payout, *, actor: str, reason: str, reject_code: str
) -> Payout:
    """Give a payout's money back that the caller has locked. Nothing but COMMIT may follow.

    Raises:
        IllegalMove: its state does not lead there, or it was never reserved.
        EntryRefused, LedgerError: as `post_with`.
    """
    if payout.reserved_sequence is None:
        raise IllegalMove(f"{payout.payout_id} is not reserved")
    moved = await move(connection, payout, PayoutState.REJECTED, actor=actor, reason=reason, reject_code=reject_code)
    entry = payout_rejected(
        key=entry_key(payout.payout_id, "rejected"),
        merchant=payout.account_id,
        amount_minor=payout.amount_minor,
        currency=payout.currency,
        effective_on=payout.effective_on,
        metadata=msgspec.json.encode({"payout": payout.payout_id}),
        caller=SYSTEM,
    )
    await post_with(connection, entry, book_id=payout.book_id)
    return moved


async def post_with(connection: AsyncConnection, entry: JournalEntry | LinkedGroup, *, book_id: int) -> None:
    """Post the entry of a move, as the last statement of the transaction that holds the row's lock and moves it.

    The ends of a payout or claim have keys of their own, so the ledger cannot tell that two of them exclude each
    other: only the state can, which is why it is read under the lock and entry and move are committed together or
    not at all.

    Raises:
        EntryRefused: an entry that only records was refused; the transaction is to be rolled back.
        LedgerError: infrastructure; the transaction is lost. Repeat it later.
    """
    for result in await post_entries(driver(connection), book_id, [entry]):
        if not isinstance(result, Posted):
            raise EntryRefused(f"{result.key}: {result.refusal.code}")


async def prove(
    connection: AsyncConnection, payout: Payout, *, value_on: date, bank_reference: str, reason: str
) -> Payout:
    """Note on a marked payout that the caller has locked which line of the bank's statement shows it."""
    proved = await _set(
        connection, payout, version=payout.version + 1, value_on=value_on, bank_reference=bank_reference
    )
    await note(connection, proved, actor=SYSTEM, reason=reason)
    return proved


async def note(connection: AsyncConnection, payout: Payout, *, actor: str, reason: str) -> None:
    """Keep who brought the payout into its state and why."""
    moved_at = (await clock_of(connection, payout.book_id)).now()
    await connection.execute(
        insert(payout_moves).values(
            book_id=payout.book_id,
            payout_id=payout.payout_id,
            version=payout.version,
            state=payout.state,
            actor=actor,
            reason=reason,
            moved_at=moved_at,
        )
    )


async def _one(connection: AsyncConnection, book_id: int, payout_id: str, *, lock: bool) -> Payout:
    statement = select(payouts).where(payouts.c.book_id == book_id, payouts.c.payout_id == payout_id)
    if lock:
        statement = statement.with_for_update()
    row = (await connection.execute(statement)).mappings().one_or_none()
    if row is None:
        raise LookupError(f"no payout {payout_id} in book {book_id}")
    return of_row(row)


def of_row(row: RowMapping) -> Payout:
    """The payout of a row of `gateway.payouts`."""
    return Payout(**{**row, "state": PayoutState(row["state"])})


async def _set(connection: AsyncConnection, payout: Payout, **columns: object) -> Payout:
    await connection.execute(
        update(payouts)
        .where(payouts.c.book_id == payout.book_id, payouts.c.payout_id == payout.payout_id)
        .values(**columns)
    )
    return msgspec.structs.replace(payout, **columns)


async def _tell(connection: AsyncConnection, payout: Payout, event: str) -> None:
    created_at = (await clock_of(connection, payout.book_id)).now()
    wire = {
        "object": "payout",
        "id": payout.payout_id,
        "livemode": payout.livemode,
        "amount": payout.amount_minor,
        "currency": payout.currency.lower(),
        "status": payout.state,
        "settlement": payout.settlement_id,
        "destination": {"bank_code": payout.bank_code, "last_four": payout.last_four},
        "bank_reference": payout.end_to_end_id,
        "failure_code": payout.reject_code,
        "value_on": payout.value_on,
        "created_at": payout.requested_at,
        "version": payout.version,
    }
    await record(
        connection,
        [
            NewEvent(
                book_id=payout.book_id,
                account_id=payout.account_id,
                livemode=payout.livemode,
                type=event,
                object=msgspec.json.encode(wire),
                created_at=created_at,
            )
        ],
    )
