"""Until when authorised money can be taken: pure, from the attempt's terms and what its provider said."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from msgspec.structs import replace

from gateway.payments.records import AttemptRow, FactRow
from gateway.payments.states import AttemptStatus
from gateway.providers.base import FactKind

CAPTURE_WARNING: Final = timedelta(hours=24)
"""How long before the end of an authorisation its merchant is warned."""
AUTHORIZATION_EXPIRED: Final = "authorization_expired"
"""Why a payment was canceled or a capture refused, where the money was not taken in time."""


def with_capture_end(attempt: AttemptRow, facts: Iterable[FactRow]) -> AttemptRow:
    """The attempt with the end of its authorisation, and with the reason where it was voided because of it."""
    said = {fact.kind: fact for fact in sorted(facts, key=lambda fact: fact.fact_id, reverse=True)}
    authorized, voided = said.get(FactKind.AUTHORIZED), said.get(FactKind.VOIDED)
    if authorized is None or attempt.capture_days_max is None:
        return attempt
    before = authorized.occurred_at + timedelta(days=attempt.capture_days_max)
    is_late = voided is not None and voided.occurred_at >= before and attempt.status is AttemptStatus.VOIDED
    return replace(
        attempt, capture_before=before, failure_code=AUTHORIZATION_EXPIRED if is_late else attempt.failure_code
    )


def is_over(attempt: AttemptRow, now: datetime) -> bool:
    """Whether its authorised money can be taken no longer."""
    return attempt.capture_before is not None and now >= attempt.capture_before


def deadline_of(attempt: AttemptRow) -> datetime | None:
    """When an open attempt is asked about in any case: the end of its time to be paid, or the next of its capture."""
    if attempt.status is not AttemptStatus.AUTHORIZED or attempt.capture_before is None:
        return attempt.expires_at
    return attempt.capture_before - (timedelta() if attempt.capture_warned_at else CAPTURE_WARNING)
