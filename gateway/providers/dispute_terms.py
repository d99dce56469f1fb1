"""What a provider says of a dispute beside amount and time: which one, at which stage, why, until when."""

from datetime import datetime
from enum import StrEnum

import msgspec


class DisputeStage(StrEnum):
    """How far a dispute has gone; in order, a later stage opens it anew."""

    PRE_DISPUTE = "pre_dispute"
    """A question or warning before any claim."""
    DISPUTE = "dispute"
    """A chargeback."""
    PREARBITRATION = "prearbitration"
    """The payer's bank does not take the answer for an answer."""


class DisputeTerms(msgspec.Struct, frozen=True, kw_only=True):
    """Of which dispute a fact speaks.

    Attributes:
        reference: the provider's own id of the dispute, or the case number of its letter.
        reason_code: why, in our word; `provider_reason`: in theirs.
        evidence_due_at: until when the merchant may answer, where it is known.
    """

    reference: str
    stage: DisputeStage = DisputeStage.DISPUTE
    reason_code: str = "general"
    provider_reason: str | None = None
    evidence_due_at: datetime | None = None

    @property
    def transaction_id(self) -> str:
        """What tells the stage's facts from those of the other stages, where the provider numbers disputes only."""
        return self.reference if self.stage is DisputeStage.DISPUTE else f"{self.reference}/{self.stage}"
