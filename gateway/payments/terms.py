"""Rows as folding needs them: what was asked for, what was tried, what is known of it."""

from collections.abc import Sequence
from datetime import timedelta

from gateway.payments.entries import is_mark
from gateway.payments.folding import AttemptTerms, Booking, IntentTerms, KnownFact
from gateway.payments.records import AttemptRow, FactRow, IntentRow
from gateway.payments.states import IntentStatus
from gateway.providers.base import FactSource, Method


def intent_terms(intent: IntentRow, *, is_paid_by_others: bool) -> IntentTerms:
    """What the merchant asked for."""
    return IntentTerms(
        amount_minor=intent.amount_minor,
        currency=intent.currency,
        cancel_requested_at=intent.cancel_requested_at,
        is_canceled=intent.status is IntentStatus.CANCELED,
        capture_later=intent.capture_later,
        is_paid_by_others=is_paid_by_others,
    )


def attempt_terms(attempt: AttemptRow, facts: Sequence[KnownFact]) -> AttemptTerms:
    """An attempt with all that is known of it."""
    return AttemptTerms(
        outcome=attempt.outcome,
        shows_action=attempt.next_action is not None,
        is_unseen=attempt.method is Method.PROMPTPAY and attempt.next_action is None,
        expires_at=attempt.expires_at,
        late_grace=timedelta(seconds=attempt.late_grace_seconds),
        facts=tuple(facts),
    )


def known_fact(fact: FactRow, *, is_new: bool, accepted_minor: int = 0) -> KnownFact:
    """A fact; one that is not new stays as it was booked, but for what the merchant took of the held part since."""
    return KnownFact(
        key=fact_name(fact),
        kind=fact.kind,
        amount_minor=fact.amount_minor,
        currency=fact.currency,
        occurred_at=fact.occurred_at,
        booking=None if is_new else Booking(fact.captured_minor + accepted_minor, fact.held_minor - accepted_minor),
        is_mark=is_mark(fact),
        is_assigned=fact.source is FactSource.RECEIPT,
    )


def fact_name(fact: FactRow) -> str:
    """What tells a fact from every other of its payment."""
    return f"{fact.provider}/{fact.kind}/{fact.provider_transaction_id}"
