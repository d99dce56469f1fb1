"""`/v1/overrides`: operators settle what nobody else settles; one proposes, another approves."""

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from litestar import Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from gateway.api.authentication import is_id, known_id, requires
from gateway.api.bodies import StrictBody
from gateway.api.pagination import ListReply, list_reply
from gateway.api.problems import BODY_RESPONSES, PROBLEM_RESPONSES, Problem, problem_responses
from gateway.api.services import ApiRequest, services_of
from gateway.merchants.principals import OperatorPrincipal, Scope
from gateway.settlement.override_records import OverrideOutcome, OverrideRow, OverrideState, SubjectKind
from gateway.settlement.overrides import OVERRIDE_AFTER, Proposal
from gateway.settlement.unknowns import UnknownReason, UnknownRow, unknowns

_BOOK_MAX: Final = 2**63 - 1
Book = Annotated[int, msgspec.Meta(ge=1, le=_BOOK_MAX)]
Words = Annotated[str, msgspec.Meta(min_length=1, max_length=500, pattern=r"\S")]
SubjectId = Annotated[str, msgspec.Meta(pattern=r"^(pi|att|re|po)_(test_)?[0-9a-z]{26}\Z")]


class ProposeOverride(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How something unknown ended.

    Attributes:
        subject: id of a payment (its latest attempt is meant), refund or payout.
        evidence: what shows it: a statement's line, the number of the provider's letter. Name no payer.
        reason: why a person must settle it.
    """

    book: Book
    subject: SubjectId
    outcome: OverrideOutcome
    evidence: Words
    reason: Words


class DecideOverride(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A decision on a proposal, and why."""

    book: Book
    reason: Words


class Override(msgspec.Struct, frozen=True, kw_only=True):
    """A proposal and what became of it.

    Attributes:
        status: `approved` is decided and about to be carried out; `applied` is done; `not_needed`: the provider spoke
            before it was done.
    """

    object: Literal["override"] = "override"
    id: str
    livemode: bool
    book: int
    account: str
    subject: str
    subject_kind: SubjectKind
    payment_intent: str | None
    provider: str
    outcome: OverrideOutcome
    amount: int
    currency: str
    status: OverrideState
    evidence: str
    reason: str
    proposed_by: str
    proposed_at: datetime
    expires_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    decision_reason: str | None


class UnknownOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """A payment's attempt, a refund or a payout of which nobody knows what became.

    Attributes:
        reason: `provider_silent` and `bank_silent` are asked about on; `file_withdrawn`: another payout of the same
            file was settled by hand, so the bank is not asked any more – only its statement tells, or two people.
        may_be_proposed_at: from then on a proposal is not too early.
        override: the proposal that waits to be decided.
    """

    object: Literal["unknown_outcome"] = "unknown_outcome"
    subject: str
    subject_kind: SubjectKind
    payment_intent: str | None
    account: str
    provider: str
    amount: int
    currency: str
    since: datetime
    reason: UnknownReason
    payout_file: str | None
    may_be_proposed_at: datetime
    override: str | None


@post(
    "/",
    guards=[requires(Scope.OVERRIDES_WRITE)],
    dto=StrictBody[ProposeOverride],
    return_dto=None,
    summary="Propose how something unknown ended",
    responses=BODY_RESPONSES | problem_responses(422),
)
async def propose_override(
    request: ApiRequest, operator: NamedDependency[OperatorPrincipal], data: JSONBody[ProposeOverride]
) -> Override:
    """Nothing moves until another operator approves, within three days."""
    proposal = Proposal(subject=data.subject, outcome=data.outcome, evidence=data.evidence, reason=data.reason)
    row = await services_of(request).overrides.propose(data.book, proposal, actor=operator.operator_id)
    return _view(row, row.proposed_at)


@get("/", guards=[requires(Scope.OVERRIDES_READ)], summary="Proposals of a book", responses=PROBLEM_RESPONSES)
async def list_overrides(
    request: ApiRequest,
    *,
    book: Annotated[int, QueryParameter(ge=1, le=_BOOK_MAX, description="Number of the book.")],
    status: FromQuery[OverrideState | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 10,
    starting_after: FromQuery[str | None] = None,
) -> ListReply[Override]:
    """Oldest first, walked with `starting_after`."""
    if starting_after is not None and not is_id(starting_after, "ovr"):
        raise Problem("cursor_invalid", param="starting_after")
    found, now = await services_of(request).overrides.list(
        book, state=status, after=starting_after or "", limit=limit + 1
    )
    return list_reply(request, [_view(row, now) for row in found[:limit]], has_more=len(found) > limit)


@get(
    "/waiting",
    guards=[requires(Scope.OVERRIDES_READ)],
    summary="What is unknown, and why",
    responses=PROBLEM_RESPONSES,
)
async def list_waiting(
    request: ApiRequest,
    *,
    book: Annotated[int, QueryParameter(ge=1, le=_BOOK_MAX, description="Number of the book.")],
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 10,
    starting_after: Annotated[str | None, QueryParameter(pattern="^(att|re|po)_(test_)?[0-9a-z]{26}$")] = None,
) -> ListReply[UnknownOutcome]:
    """Oldest first, walked with `starting_after` (a `subject`). Of these a proposal may be made."""
    found = await unknowns(services_of(request).database, book, after=starting_after or "", limit=limit + 1)
    return list_reply(request, [_unknown(row) for row in found[:limit]], has_more=len(found) > limit)


@get(
    "/{override_id:str}",
    guards=[requires(Scope.OVERRIDES_READ), known_id],
    summary="One proposal",
    responses=PROBLEM_RESPONSES,
)
async def get_override(
    request: ApiRequest,
    *,
    override_id: FromPath[str],
    book: Annotated[int, QueryParameter(ge=1, le=_BOOK_MAX, description="Number of the book.")],
) -> Override:
    """The proposal, what was decided of it, and whether that is done."""
    row, now = await services_of(request).overrides.seen(book, override_id)
    return _view(row, now)


@post(
    "/{override_id:str}/approve",
    guards=[requires(Scope.OVERRIDES_APPROVE), known_id],
    dto=StrictBody[DecideOverride],
    return_dto=None,
    status_code=200,
    summary="Approve a proposal",
    responses=BODY_RESPONSES,
)
async def approve_override(
    request: ApiRequest,
    operator: NamedDependency[OperatorPrincipal],
    override_id: FromPath[str],
    data: JSONBody[DecideOverride],
) -> Override:
    """Never one of your own. The provider is asked once more; where it knows, its word counts.

    409 `override_too_early`: you have approved, and the bank has the payout's file in hand at this moment; it is
    carried out after that by itself, or by the same request again.
    """
    overrides = services_of(request).overrides
    row = await overrides.approve(data.book, override_id, actor=operator.operator_id, reason=data.reason)
    return _view(row, row.decided_at or row.proposed_at)


@post(
    "/{override_id:str}/reject",
    guards=[requires(Scope.OVERRIDES_WRITE), known_id],
    dto=StrictBody[DecideOverride],
    return_dto=None,
    status_code=200,
    summary="Reject a proposal, or take your own back",
    responses=BODY_RESPONSES,
)
async def reject_override(
    request: ApiRequest,
    operator: NamedDependency[OperatorPrincipal],
    override_id: FromPath[str],
    data: JSONBody[DecideOverride],
) -> Override:
    """Nothing is settled; another proposal may be made."""
    overrides = services_of(request).overrides
    row = await overrides.reject(data.book, override_id, actor=operator.operator_id, reason=data.reason)
    return _view(row, row.decided_at or row.proposed_at)


def _unknown(row: UnknownRow) -> UnknownOutcome:
    return UnknownOutcome(
        subject=row.subject_id,
        subject_kind=row.subject_kind,
        payment_intent=row.intent_id,
        account=row.account_id,
        provider=row.provider,
        amount=row.amount_minor,
        currency=row.currency.lower(),
        since=row.since,
        reason=row.reason,
        payout_file=row.payout_file_id,
        may_be_proposed_at=row.since + OVERRIDE_AFTER,
        override=row.override_id,
    )


def _view(row: OverrideRow, now: datetime) -> Override:
    return Override(
        id=row.override_id,
        livemode=row.livemode,
        book=row.book_id,
        account=row.account_id,
        subject=row.subject_id,
        subject_kind=row.subject_kind,
        payment_intent=row.intent_id,
        provider=row.provider,
        outcome=row.outcome,
        amount=row.amount_minor,
        currency=row.currency.lower(),
        status=row.state_at(now),
        evidence=row.evidence,
        reason=row.reason,
        proposed_by=row.proposed_by,
        proposed_at=row.proposed_at,
        expires_at=row.expires_at,
        decided_by=row.decided_by,
        decided_at=row.decided_at,
        decision_reason=row.decision_reason,
    )


OVERRIDES = Router(
    "/overrides",
    route_handlers=[propose_override, list_overrides, list_waiting, get_override, approve_override, reject_override],
    tags=["overrides"],
)
