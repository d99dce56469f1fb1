"""The timeline of a payment: what providers said, what became of it, what was posted, what the merchant was told."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import ARRAY, Text, any_, cast, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.database import Database, driver
from gateway.foundation.ids import entry_key
from gateway.merchants.principals import MerchantPrincipal
from gateway.payments.entries import INTENT_SCHEME
from gateway.payments.errors import NotFound
from gateway.payments.records import FactRow, IntentRow, RefundRow, attempts_of, facts_of, rows_of
from gateway.payments.tables import intents, refunds, state_moves
from gateway.webhooks.tables import events, webhook_deliveries
from ledger.feed import RecordedEntry, entries_by_reference, entry_by_key

ITEMS_MAX: Final = 500
"""A payment with more has been retried by a machine; the oldest are shown."""
_REFUND_ENTRIES: Final = ("reserve", "failed")
"""Entries of a refund that name no payment; found by their keys."""


class TimelineItem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened.

    Attributes:
        at: when; for facts, when the provider says it was – `recorded_at` is when we knew.
        type: `status` (of the payment, an attempt or a refund), `fact` (what the provider said), `entry` (what was
            posted), `event` (what you were told).
        subject: id of what it is about.
        summary: one line for people.
        details: the same for machines; amounts in minor units.
    """

    at: datetime
    type: Literal["status", "fact", "entry", "event"]
    subject: str
    summary: str
    details: dict[str, Any]


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """Oldest first."""

    object: Literal["timeline"] = "timeline"
    payment_intent: str
    data: list[TimelineItem]


async def timeline(database: Database, principal: MerchantPrincipal, intent_id: str) -> Timeline:
    """Everything that is kept of a payment.

    Raises:
        NotFound: no payment of this account has that id.
    """
    book_id = principal.book_id
    c = intents.c
    mine = select(intents).where(c.book_id == book_id, c.intent_id == intent_id, c.account_id == principal.account_id)
    async with database.snapshot() as connection:
        if not await rows_of(connection, mine, IntentRow):
            raise NotFound(f"no payment intent {intent_id}")
        its_attempts = await attempts_of(connection, book_id, [intent_id])
        its_refunds = await rows_of(
            connection, select(refunds).where(refunds.c.book_id == book_id, refunds.c.intent_id == intent_id), RefundRow
        )
        subjects = [
            intent_id,
            *(attempt.attempt_id for attempt in its_attempts),
            *(refund.refund_id for refund in its_refunds),
        ]
        items = [
            *await _moves(connection, book_id, subjects),
            *(_fact(fact) for fact in await facts_of(connection, book_id, [intent_id])),
            *await _told(connection, book_id, subjects),
            *await _posted(connection, book_id, intent_id, its_refunds),
        ]
    items.sort(key=lambda item: (item.at, _ORDER[item.type]))
    return Timeline(payment_intent=intent_id, data=items[:ITEMS_MAX])


_ORDER: Final = {"fact": 0, "status": 1, "entry": 2, "event": 3}
"""Of what bears the same moment."""


async def _moves(connection: AsyncConnection, book_id: int, subjects: Sequence[str]) -> Iterable[TimelineItem]:
    c = state_moves.c
    found = await connection.execute(
        select(state_moves).where(c.book_id == book_id, c.subject_id == any_(cast(list(subjects), ARRAY(Text))))
    )
    return [
        TimelineItem(
            at=row["moved_at"],
            type="status",
            subject=row["subject_id"],
            summary=f"{row['object']} {row['from_status']} → {row['to_status']}",
            details={
                "object": row["object"],
                "from": row["from_status"],
                "to": row["to_status"],
                "actor": row["actor"],
                "reason": row["reason"],
                "version": row["version"],
                "fact": row["fact_id"],
            },
        )
        for row in found.mappings()
    ]


def _fact(fact: FactRow) -> TimelineItem:
    return TimelineItem(
        at=fact.occurred_at,
        type="fact",
        subject=fact.refund_id or fact.attempt_id or fact.intent_id,
        summary=f"{fact.provider} says {fact.kind} of {fact.amount_minor} {fact.currency}",
        details={
            "fact": fact.fact_id,
            "provider": fact.provider,
            "kind": fact.kind,
            "provider_transaction_id": fact.provider_transaction_id,
            "amount": fact.amount_minor,
            "currency": fact.currency.lower(),
            "amount_captured": fact.captured_minor,
            "amount_held": fact.held_minor,
            "source": fact.source,
            "failure_code": fact.failure_code,
            "provider_code": fact.provider_code,
            "recorded_at": fact.recorded_at,
        },
    )


async def _told(connection: AsyncConnection, book_id: int, subjects: Sequence[str]) -> Iterable[TimelineItem]:
    c, d = events.c, webhook_deliveries.c
    its_events = select(c.event_id, c.type, c.subject_id, c.created_at).where(
        c.book_id == book_id, c.subject_id == any_(cast(list(subjects), ARRAY(Text)))
    )
    rows = (await connection.execute(its_events)).all()
    told = [event_id for event_id, *_ in rows]
    sent = await connection.execute(
        select(d.event_id, d.delivery_id, d.endpoint_id, d.state, d.attempts, d.delivered_at)
        .where(d.book_id == book_id, d.event_id == any_(cast(told, ARRAY(Text))))
        .order_by(d.delivery_id)
    )
    deliveries: dict[str, list[dict[str, Any]]] = {}
    for event_id, delivery_id, endpoint_id, state, attempts, delivered_at in sent:
        deliveries.setdefault(event_id, []).append(
            {
                "delivery": delivery_id,
                "endpoint": endpoint_id,
                "state": state,
                "attempts": attempts,
                "delivered_at": delivered_at,
            }
        )
    return [
        TimelineItem(
            at=created_at,
            type="event",
            subject=subject_id,
            summary=f"{kind} told",
            details={"event": event_id, "type": kind, "deliveries": deliveries.get(event_id, [])},
        )
        for event_id, kind, subject_id, created_at in rows
    ]


async def _posted(
    connection: AsyncConnection, book_id: int, intent_id: str, its_refunds: Sequence[RefundRow]
) -> Iterable[TimelineItem]:
    books = driver(connection)
    found = (await entries_by_reference(books, book_id, INTENT_SCHEME, [intent_id])).get(intent_id, [])
    keys = [entry_key(refund.refund_id, kind) for refund in its_refunds for kind in _REFUND_ENTRIES]
    others = [await entry_by_key(books, book_id, key) for key in keys]
    return [_entry(entry, intent_id) for entry in (*found, *(each for each in others if each is not None))]


def _entry(entry: RecordedEntry, intent_id: str) -> TimelineItem:
    postings = [
        {
            "debit": f"{posting.debit.kind.name.lower()}:{posting.debit.owner}",
            "credit": f"{posting.credit.kind.name.lower()}:{posting.credit.owner}",
            "amount": posting.amount_minor,
            "currency": posting.debit.currency.lower(),
        }
        for posting in entry.postings
    ]
    return TimelineItem(
        at=entry.recorded_at,
        type="entry",
        subject=intent_id,
        summary=f"entry {entry.sequence}: {entry.kind.name.lower()}",
        details={
            "sequence": entry.sequence,
            "kind": entry.kind.name.lower(),
            "effective_on": entry.effective_on,
            "postings": postings,
        },
    )
