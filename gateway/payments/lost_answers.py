"""QR charges whose answer was lost, and with it the text that the payer needs: shown after all, or given up.

Never a second charge: the request is repeated under the same provider key, or the first is made unpayable before the
payment takes another attempt. Money that comes on the lost one all the same is booked like any other.
"""

from datetime import datetime
from typing import Final

from gateway.payments.calls import Calls, charge_request, subject_of
from gateway.payments.findings import Finding
from gateway.payments.records import AttemptRow, IntentRow
from gateway.payments.schedule import Schedule
from gateway.payments.states import AttemptStatus
from gateway.payments.views import ANSWER_LOST_CODE
from gateway.providers.base import FactKind, Inquiry, Method

_WAITING: Final = frozenset({AttemptStatus.SUBMITTED, AttemptStatus.UNKNOWN, AttemptStatus.PENDING})


def is_lost(attempt: AttemptRow, inquiry: Inquiry, schedule: Schedule, now: datetime) -> bool:
    """Whether a QR is waited for that nobody can have seen: unpaid by the provider's own word, and not at hand.

    Not before the first request has surely ended: its answer may be under way.
    """
    return (
        attempt.method is Method.PROMPTPAY
        and attempt.status in _WAITING
        and attempt.next_action is None
        and inquiry.next_action is None
        and all(fact.kind is FactKind.PENDING for fact in inquiry.facts)
        and (attempt.expires_at is None or now < attempt.expires_at)
        and schedule.may_send_again(attempt.created_at, now)
    )


async def recover(
    calls: Calls, intent: IntentRow, attempt: AttemptRow, inquiry: Inquiry, now: datetime
) -> Finding | None:
    """Ask for the same charge again; where the provider does not show it twice, have it cancelled.

    Returns:
        What came of it; None where nothing is certain, so that the attempt is asked about again.
    """
    answer = await calls.charge(attempt, charge_request(intent, attempt), now)
    if answer.outcome is AttemptStatus.PENDING:
        return answer
    if any(fact.kind is FactKind.DECLINED for fact in answer.facts):
        # Said of the repeated request: of the first one it proves nothing, so it is no decline of the charge.
        declined = next(fact for fact in answer.facts if fact.kind is FactKind.DECLINED)
        return _abandoned(attempt, declined.failure_code, declined.provider_code) if not inquiry.found else None
    if not inquiry.found:
        return None
    canceled = await calls.cancel(attempt, now)
    return _abandoned(attempt) if isinstance(canceled, Finding) else None


def _abandoned(attempt: AttemptRow, failure_code: str | None = None, provider_code: str | None = None) -> Finding:
    return Finding(
        provider=attempt.provider,
        subject=subject_of(attempt),
        outcome=AttemptStatus.ABANDONED,
        failure_code=failure_code or ANSWER_LOST_CODE,
        provider_code=provider_code,
    )
