"""Rows of disputes and of the evidence for them. Whoever writes a dispute holds the lock of its intent."""

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

import msgspec
from sqlalchemy import ARRAY, Text, any_, cast, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.payments.records import rows_of
from gateway.payments.states import DisputeStatus
from gateway.payments.tables import disputes
from gateway.providers.dispute_terms import DisputeStage

OwedAnswer = Literal["evidence", "accept"]
"""What the merchant decided and the provider was not told, or has not confirmed, yet."""


class DisputeRow(msgspec.Struct, frozen=True, kw_only=True):
    """A dispute, see `tables.disputes`.

    Attributes:
        provider_dispute_id: the provider's id of it, or a letter's case number.
        outcome: what the merchant and time came to at this stage; the status is this folded with the facts.
        held_minor: what `dispute_hold` holds for it; withdrawn_minor: what the provider took and did not give back.
        owed_answer: None: the provider is told all that there is to tell.
        due_at: business time at which the next thing is to be seen to; asks: how often an answer was sent in vain.
        leased_until: real time until which somebody is on it.
        receipt_id: the receipt that it is about: a fact; None: known before any was told apart.
        payer_minor: what of `amount_minor` is of money that the receipt left held for the payer; the rest is the
            merchant's.
    """

    book_id: int
    dispute_id: str
    account_id: str
    livemode: bool
    intent_id: str
    attempt_id: str
    provider: str
    provider_dispute_id: str
    amount_minor: int
    currency: str
    stage: DisputeStage
    status: DisputeStatus
    outcome: DisputeStatus
    version: int
    reason_code: str
    provider_reason: str | None
    evidence_due_at: datetime | None
    evidence_submitted_at: datetime | None
    reminded_at: datetime | None
    held_minor: int
    withdrawn_minor: int
    owed_answer: OwedAnswer | None
    created_at: datetime
    closed_at: datetime | None
    asks: int
    due_at: datetime | None
    leased_until: datetime | None
    receipt_id: str | None = None
    payer_minor: int = 0

    @property
    def disputed_minor(self) -> int:
        """What of the payment is questioned by it, or lost: all that it is of, until it is won."""
        return 0 if self.status is DisputeStatus.WON else self.amount_minor

    @property
    def disputed_held_minor(self) -> int:
        """What of that is of money that is held for the payer."""
        return min(self.disputed_minor, self.payer_minor)

    @property
    def questioned_minor(self) -> int:
        """What of it is of the merchant's money, and cannot be refunded for it."""
        return self.disputed_minor - self.disputed_held_minor

    @property
    def payer_withdrawn_minor(self) -> int:
        """What the provider took and did not give back of money held for the payer."""
        return min(self.withdrawn_minor, self.payer_minor)

    @property
    def payer_taken_minor(self) -> int:
        """What left the payer's money for it: what the provider took, and what `dispute_hold` holds."""
        return min(self.held_minor + self.withdrawn_minor, self.payer_minor)


class EvidenceRow(msgspec.Struct, frozen=True, kw_only=True):
    """Evidence as it was handed in, sealed with the merchant's data key: it tells of payers.

    Attributes:
        fields: how many texts and files it has.
        submitted_by: whose key.
    """

    book_id: int
    evidence_id: str
    dispute_id: str
    stage: DisputeStage
    sealed_evidence: bytes
    fields: int
    submitted_by: str
    submitted_at: datetime


CLAIM_DISPUTES = text("""
    WITH due AS (
        SELECT subject.book_id, subject.dispute_id
        FROM gateway.disputes AS subject
        LEFT JOIN gateway.book_clocks AS clock ON clock.book_id = subject.book_id
        WHERE subject.due_at <= CAST(:now AS timestamptz) + make_interval(secs => coalesce(clock.offset_seconds, 0))
          AND (subject.leased_until IS NULL OR subject.leased_until <= CAST(:now AS timestamptz))
        ORDER BY subject.due_at
        LIMIT :most
        FOR UPDATE OF subject SKIP LOCKED
    )
    UPDATE gateway.disputes AS subject
    SET leased_until = CAST(:leased_until AS timestamptz)
    FROM due
    WHERE subject.book_id = due.book_id AND subject.dispute_id = due.dispute_id
    RETURNING subject.*
""").columns(*disputes.c)


async def disputes_of(connection: AsyncConnection, book_id: int, intent_ids: Iterable[str]) -> list[DisputeRow]:
    """All disputes of the intents, oldest first."""
    c = disputes.c
    wanted = any_(cast(sorted(set(intent_ids)), ARRAY(Text)))
    statement = select(disputes).where(c.book_id == book_id, c.intent_id == wanted).order_by(c.dispute_id)
    return await rows_of(connection, statement, DisputeRow)


async def dispute_by_id(connection: AsyncConnection, book_id: int, dispute_id: str) -> DisputeRow | None:
    """The dispute with that id."""
    c = disputes.c
    rows = await rows_of(
        connection, select(disputes).where(c.book_id == book_id, c.dispute_id == dispute_id), DisputeRow
    )
    return rows[0] if rows else None
