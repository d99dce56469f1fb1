"""`/v1/disputes`: payments that a payer's bank questions."""

from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, Router, get, post
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from gateway.api.authentication import is_id, known_id, requires
from gateway.api.bodies import StrictBody
from gateway.api.expanding import OF_ITS_PAYMENT, ExpandedDispute, Given, payments_of, wanted_of, with_payments
from gateway.api.idempotency import MoneyOperation, run_once
from gateway.api.pagination import ListReply, PageRequest, check_cursors, list_reply
from gateway.api.problems import MONEY_RESPONSES, PROBLEM_RESPONSES, Problem
from gateway.api.services import ApiRequest, services_of
from gateway.merchants.principals import MerchantPrincipal, Scope
from gateway.payments.disputes import Evidence
from gateway.payments.idempotency import Claim
from gateway.payments.requests import SubmitEvidence
from gateway.payments.states import DisputeStatus
from gateway.payments.views import Dispute

_DONE = 200


class EvidenceList(msgspec.Struct, frozen=True, kw_only=True):
    """All that was handed in for a dispute, oldest first."""

    object: Literal["list"] = "list"
    data: list[Evidence]
    has_more: bool = False
    url: str


@get("/", guards=[requires(Scope.DISPUTES_READ)], summary="Your disputes", responses=PROBLEM_RESPONSES)
async def list_disputes(
    request: ApiRequest,
    merchant: NamedDependency[MerchantPrincipal],
    page: NamedDependency[PageRequest],
    expand: NamedDependency[Given],
    *,
    status: FromQuery[DisputeStatus | None] = None,
    payment_intent: FromQuery[str | None] = None,
    sort: Annotated[
        Literal["newest", "deadline"], QueryParameter(description="`deadline`: the next deadline first.")
    ] = "newest",
) -> ListReply[ExpandedDispute]:
    """Newest first, or by deadline; of one status or of one payment, where that is named."""
    if payment_intent is not None and not is_id(payment_intent, "pi"):
        raise Problem("parameter_invalid", "payment_intent is not the id of a payment.", param="payment_intent")
    check_cursors(page, "dp")
    wanted = wanted_of(merchant, expand, OF_ITS_PAYMENT, in_list=True)
    found = await services_of(request).disputes.list(
        merchant, status=status, payment_intent=payment_intent, sort=sort, **page.cursor()
    )
    payments = await payments_of(request, merchant, [each.payment_intent for each in found.data], wanted)
    return list_reply(request, with_payments(ExpandedDispute, found.data, payments), has_more=found.has_more)


@get(
    "/{dispute_id:str}",
    guards=[requires(Scope.DISPUTES_READ), known_id],
    summary="One dispute",
    responses=PROBLEM_RESPONSES,
)
async def get_dispute(
    request: ApiRequest,
    merchant: NamedDependency[MerchantPrincipal],
    dispute_id: FromPath[str],
    expand: NamedDependency[Given],
) -> ExpandedDispute:
    """The dispute as it stands."""
    wanted = wanted_of(merchant, expand, OF_ITS_PAYMENT)
    dispute = await services_of(request).disputes.get(merchant, dispute_id)
    payments = await payments_of(request, merchant, [dispute.payment_intent], wanted)
    [expanded] = with_payments(ExpandedDispute, [dispute], payments)
    return expanded


@get(
    "/{dispute_id:str}/evidence",
    guards=[requires(Scope.DISPUTES_READ), known_id],
    summary="What you handed in",
    responses=PROBLEM_RESPONSES,
)
async def list_evidence(
    request: ApiRequest, merchant: NamedDependency[MerchantPrincipal], dispute_id: FromPath[str]
) -> EvidenceList:
    """Oldest first, one for each stage that you answered. Events and the dispute itself never show it."""
    found = await services_of(request).disputes.evidence(merchant, dispute_id)
    return EvidenceList(data=list(found), url=request.url.path)


@post(
    "/{dispute_id:str}/evidence",
    guards=[requires(Scope.DISPUTES_WRITE), known_id],
    operation_class=MoneyOperation,
    dto=StrictBody[SubmitEvidence],
    return_dto=None,
    status_code=200,
    summary="Answer a dispute",
    responses={200: ResponseSpec(Dispute, description="The dispute"), **MONEY_RESPONSES},
)
async def submit_evidence(
    request: ApiRequest,
    merchant: NamedDependency[MerchantPrincipal],
    dispute_id: FromPath[str],
    data: JSONBody[SubmitEvidence],
) -> Response[bytes]:
    """Once a stage, before the deadline; then the dispute is `under_review`."""

    async def work(claim: Claim) -> tuple[int, Any]:
        disputes = services_of(request).disputes
        return _DONE, await disputes.submit_evidence(merchant, dispute_id, data, evidence_id=claim.id_for("dev"))

    return await run_once(request, merchant, data, work)


@post(
    "/{dispute_id:str}/accept",
    guards=[requires(Scope.DISPUTES_WRITE), known_id],
    operation_class=MoneyOperation,
    status_code=200,
    summary="Give in to a dispute",
    responses={200: ResponseSpec(Dispute, description="The dispute"), **MONEY_RESPONSES},
)
async def accept_dispute(
    request: ApiRequest, merchant: NamedDependency[MerchantPrincipal], dispute_id: FromPath[str]
) -> Response[bytes]:
    """You do not fight it: the money goes back to the payer. This cannot be undone."""

    async def work(_: Claim) -> tuple[int, Any]:
        return _DONE, await services_of(request).disputes.accept(merchant, dispute_id)

    return await run_once(request, merchant, None, work)


DISPUTES = Router(
    "/disputes",
    route_handlers=[list_disputes, get_dispute, list_evidence, submit_evidence, accept_dispute],
    tags=["disputes"],
)
