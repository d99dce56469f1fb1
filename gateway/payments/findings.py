"""What was learned at once of an attempt or refund, and what of it stands on its row before facts are folded."""

import msgspec

from gateway.payments.dispute_case import Act
from gateway.payments.folding import higher
from gateway.payments.records import AttemptRow, RefundRow, Subject
from gateway.payments.states import AttemptStatus, RefundStatus
from gateway.providers.base import Fact, NextAction


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What was learned at once about one attempt or refund.

    Attributes:
        subject: whom it is about, where our own call asked; None: the fact's provider reference says it.
        outcome: what our own call came to.
        references: further names under which the provider may speak of the subject.
        provider_reference: the provider's own id of the charge, for later calls.
        goes_on: whoever asked is not done with the subject and keeps its lease.
        act: the operator who states it, of a dispute.
    """

    provider: str
    facts: tuple[Fact, ...] = ()
    subject: Subject | None = None
    outcome: AttemptStatus | RefundStatus | None = None
    next_action: NextAction | None = None
    provider_reference: str | None = None
    references: tuple[str, ...] = ()
    failure_code: str | None = None
    provider_code: str | None = None
    goes_on: bool = False
    act: Act | None = None


def attempt_with(attempt: AttemptRow, finding: Finding) -> AttemptRow:
    """The attempt with what our own call brought; an outcome only rises, so a late answer takes nothing back."""
    outcome = attempt.outcome
    if finding.outcome is not None:
        outcome = higher(outcome, AttemptStatus(finding.outcome))
    return msgspec.structs.replace(
        attempt,
        outcome=outcome,
        next_action=finding.next_action or attempt.next_action,
        provider_reference=finding.provider_reference or attempt.provider_reference,
        failure_code=finding.failure_code or attempt.failure_code,
        provider_code=finding.provider_code or attempt.provider_code,
    )


def refund_with(refund: RefundRow, finding: Finding) -> RefundRow:
    """The refund with what our own call came to; from unknown and pending only facts lead on."""
    settled = {RefundStatus.UNKNOWN, RefundStatus.PENDING}
    if finding.outcome is None or (refund.outcome in settled and finding.outcome is not RefundStatus.PENDING):
        return refund
    return msgspec.structs.replace(refund, outcome=RefundStatus(finding.outcome))
