"""Rows of what merchants took of held money, and what of a payment its refunds may draw on.

A payment has one capture, and one more for each receipt that was held and then accepted, with an entry and a date of
its own. A refund draws on one of them: on one whose charge is disputed only where no other bears it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.payments.dispute_records import disputes_of
from gateway.payments.entries import accepted_key, available_on, capture_key
from gateway.payments.records import AttemptRow, FactRow, IntentRow, attempts_of, facts_of, rows_of
from gateway.payments.states import RefundStatus
from gateway.payments.tables import held_acceptances, refunds


class AcceptanceRow(msgspec.Struct, frozen=True, kw_only=True):
    """A receipt whose held money the merchant took, see `tables.held_acceptances`.

    Attributes:
        fact_id: the receipt; accepted_by: the account, or the operator.
        available_on: business date on which it becomes available.
    """

    book_id: int
    acceptance_id: str
    intent_id: str
    fact_id: str
    amount_minor: int
    currency: str
    available_on: date
    accepted_by: str
    accepted_at: datetime


class Capture(NamedTuple):
    """Money that a payment brought its merchant at once.

    Attributes:
        key: ledger key of its entry; amount_minor: what it brought.
        left_minor: what of it is not refunded, nor about to be.
        refundable_minor: what of that a refund may still take: not what its charge's disputes are about.
    """

    key: UUID
    amount_minor: int
    left_minor: int
    refundable_minor: int
    available_on: date
    receipt: FactRow
    attempt: AttemptRow


async def acceptances_of(connection: AsyncConnection, book_id: int, intent_ids: Sequence[str]) -> list[AcceptanceRow]:
    """What was accepted of the payments, oldest first."""
    if not intent_ids:
        return []
    c = held_acceptances.c
    statement = select(held_acceptances).where(c.book_id == book_id, c.intent_id.in_(sorted(intent_ids)))
    return await rows_of(connection, statement.order_by(c.acceptance_id), AcceptanceRow)


async def accepted_of(connection: AsyncConnection, book_id: int, intent_ids: Sequence[str]) -> dict[str, AcceptanceRow]:
    """What was accepted of the payments, by the id of the receipt."""
    return {row.fact_id: row for row in await acceptances_of(connection, book_id, intent_ids)}


async def captures_of(connection: AsyncConnection, intent: IntentRow) -> list[Capture]:
    """The captures of a locked payment, the first one first; those whose charge is disputed, or lost, come last."""
    book_id, its = intent.book_id, [intent.intent_id]
    attempts = {attempt.attempt_id: attempt for attempt in await attempts_of(connection, book_id, its)}
    accepted = await acceptances_of(connection, book_id, its if intent.accepted_minor else [])
    found = captures_made(await facts_of(connection, book_id, its), attempts, accepted, first=intent.capture_key)
    if len(found) == 1:
        return [found[0]._replace(left_minor=intent.unrefunded_minor, refundable_minor=intent.refundable_minor)]
    drawn = await _drawn_minor(connection, intent)
    found = [each._replace(left_minor=each.left_minor - drawn.get(each.key, 0)) for each in found]
    room: Counter[str] = Counter()
    for each in found:
        room[each.receipt.fact_id] += each.left_minor
    first_of = {each.attempt.attempt_id: each.receipt.fact_id for each in reversed(found)}
    disputed = [row for row in await disputes_of(connection, book_id, its) if row.questioned_minor]
    receipts = [row.receipt_id or first_of.get(row.attempt_id, "") for row in disputed]
    for row, receipt in zip(disputed, receipts, strict=True):
        room[receipt] -= row.questioned_minor
    found = [each._replace(refundable_minor=min(each.left_minor, room[each.receipt.fact_id])) for each in found]
    return sorted(found, key=lambda each: each.receipt.fact_id in receipts)


def captures_made(
    facts: Iterable[FactRow],
    attempts: Mapping[str, AttemptRow],
    accepted: Iterable[AcceptanceRow],
    *,
    first: UUID | None,
) -> list[Capture]:
    """The captures of a payment as they were made, the one whose key is `first` and then the oldest first."""
    receipts = {fact.fact_id: fact for fact in facts if fact.attempt_id is not None}
    found = [
        *(
            (capture_key(fact), fact.captured_minor, available_on(fact, attempts[fact.attempt_id or ""]), fact)
            for fact in receipts.values()
            if fact.captured_minor
        ),
        *((accepted_key(row.fact_id), row.amount_minor, row.available_on, receipts[row.fact_id]) for row in accepted),
    ]
    made = [
        Capture(key, amount_minor, amount_minor, amount_minor, day, receipt, attempts[receipt.attempt_id or ""])
        for key, amount_minor, day, receipt in found
    ]
    return sorted(made, key=lambda each: (each.key != first, each.receipt.fact_id))


async def _drawn_minor(connection: AsyncConnection, intent: IntentRow) -> dict[UUID, int]:
    """What refunds took, or are about to, by the key of the capture."""
    r = refunds.c
    statement = (
        select(r.capture_key, func.sum(r.amount_minor))
        .where(r.book_id == intent.book_id, r.intent_id == intent.intent_id, r.status != RefundStatus.FAILED)
        .group_by(r.capture_key)
    )
    return {row[0]: int(row[1]) for row in await connection.execute(statement)}
