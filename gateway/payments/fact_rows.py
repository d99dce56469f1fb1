"""A fact as it is first written: what the provider said, of which of our rows, not booked yet."""

from datetime import datetime

from gateway.foundation.ids import new_id
from gateway.payments.records import FactRow, IntentRow
from gateway.providers.base import Fact
from gateway.providers.dispute_terms import DisputeStage


def fact_row(
    fact: Fact,
    intent: IntentRow,
    *,
    now: datetime,
    attempt_id: str | None = None,
    refund_id: str | None = None,
    dispute_id: str | None = None,
    dispute_stage: DisputeStage | None = None,
) -> FactRow:
    """The row of a fact about exactly one attempt, refund or dispute of the intent; `now` is business time."""
    return FactRow(
        book_id=intent.book_id,
        provider=fact.provider,
        kind=fact.kind,
        provider_transaction_id=fact.provider_transaction_id,
        fact_id=new_id("fact", livemode=intent.livemode),
        intent_id=intent.intent_id,
        attempt_id=attempt_id,
        refund_id=refund_id,
        provider_reference=fact.provider_reference,
        amount_minor=fact.amount_minor,
        currency=fact.currency,
        captured_minor=0,
        held_minor=0,
        provider_fee_minor=fact.provider_fee_minor,
        provider_fee_vat_minor=fact.provider_fee_vat_minor,
        failure_code=fact.failure_code,
        provider_code=fact.provider_code,
        source=fact.source,
        occurred_at=fact.occurred_at,
        recorded_at=now,
        dispute_id=dispute_id,
        dispute_stage=dispute_stage,
    )
