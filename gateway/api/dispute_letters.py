"""`/v1/dispute_letters`: operators state what reached us of disputes by letter, telephone or file."""

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from litestar import Router, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from gateway.api.authentication import known_id, requires
from gateway.api.bodies import StrictBody
from gateway.api.moments import check_moment
from gateway.api.problems import BODY_RESPONSES, problem_responses
from gateway.api.services import ApiRequest, services_of
from gateway.merchants.principals import OperatorPrincipal, Scope
from gateway.payments.views import Dispute, dispute_view
from gateway.providers.base import FactKind
from gateway.providers.dispute_terms import DisputeStage, DisputeTerms

_BOOK_MAX: Final = 2**63 - 1
Book = Annotated[int, msgspec.Meta(ge=1, le=_BOOK_MAX)]
Words = Annotated[str, msgspec.Meta(min_length=1, max_length=500, pattern=r"\S")]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"\S")]
PaymentId = Annotated[str, msgspec.Meta(pattern=r"^pi_(test_)?[0-9a-z]{26}\Z")]
Amount = Annotated[int, msgspec.Meta(ge=1, le=_BOOK_MAX)]
_OUTCOMES: Final = {
    "under_review": FactKind.DISPUTE_UNDER_REVIEW,
    "funds_withdrawn": FactKind.DISPUTE_FUNDS_WITHDRAWN,
    "won": FactKind.DISPUTE_WON,
    "lost": FactKind.DISPUTE_LOST,
}


class OpenDispute(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A payment is disputed, or a dispute has reached a later stage.

    Attributes:
        reference: the provider's case number; the same one is the same dispute.
        amount: in minor units; all that the receipt brought if not given.
        receipt: which money, where it was paid more than once: our id of it, or the provider's.
        reason: why we may believe it, for the record.
    """

    book: Book
    payment_intent: PaymentId
    reference: Name
    amount: Amount | None = None
    receipt: Name | None = None
    stage: DisputeStage = DisputeStage.DISPUTE
    reason_code: Name = "general"
    evidence_due_at: datetime | None = None
    reason: Words


class RecordOutcome(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What became of a dispute at its stage; and why we may believe it."""

    book: Book
    outcome: Literal["under_review", "funds_withdrawn", "won", "lost"]
    reason: Words


@post(
    "/",
    guards=[requires(Scope.DISPUTES_STATE)],
    dto=StrictBody[OpenDispute],
    return_dto=None,
    status_code=200,
    summary="State that a payment is disputed",
    responses=BODY_RESPONSES | problem_responses(422),
)
async def open_dispute(
    request: ApiRequest, operator: NamedDependency[OperatorPrincipal], data: JSONBody[OpenDispute]
) -> Dispute:
    """Safe to repeat. 422 `receipt_ambiguous`: it can be about several receipts; `errors` lists them, `code` the id."""
    check_moment(data.evidence_due_at, "evidence_due_at")
    stated = await services_of(request).dispute_acts.open(
        data.book,
        data.payment_intent,
        DisputeTerms(
            reference=data.reference,
            stage=data.stage,
            reason_code=data.reason_code,
            evidence_due_at=data.evidence_due_at,
        ),
        amount_minor=data.amount,
        receipt=data.receipt,
        actor=operator.operator_id,
        reason=data.reason,
    )
    return dispute_view(stated.dispute)


@post(
    "/{dispute_id:str}/outcome",
    guards=[requires(Scope.DISPUTES_STATE), known_id],
    dto=StrictBody[RecordOutcome],
    return_dto=None,
    status_code=200,
    summary="State what became of a dispute",
    responses=BODY_RESPONSES | problem_responses(422),
)
async def record_outcome(
    request: ApiRequest,
    operator: NamedDependency[OperatorPrincipal],
    dispute_id: FromPath[str],
    data: JSONBody[RecordOutcome],
) -> Dispute:
    """At the stage that it has reached. Safe to repeat."""
    stated = await services_of(request).dispute_acts.record(
        data.book, dispute_id, _OUTCOMES[data.outcome], actor=operator.operator_id, reason=data.reason
    )
    return dispute_view(stated.dispute)


DISPUTE_LETTERS = Router("/dispute_letters", route_handlers=[open_dispute, record_outcome], tags=["disputes"])
