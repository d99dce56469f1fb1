"""`/v1/refunds`: money given back."""

from typing import Any

from litestar import Response, Router, get, post
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, FromQuery, JSONBody

from gateway.api.authentication import is_id, known_id, requires
from gateway.api.bodies import StrictBody
from gateway.api.brought_faults import ProviderOperation, brought_fault
from gateway.api.expanding import OF_ITS_PAYMENT, ExpandedRefund, Given, payments_of, wanted_of, with_payments
from gateway.api.idempotency import run_once
from gateway.api.pagination import ListReply, PageRequest, check_cursors, list_reply
from gateway.api.problems import MONEY_RESPONSES, PROBLEM_RESPONSES, Problem
from gateway.api.services import ApiRequest, services_of
from gateway.merchants.principals import MerchantPrincipal, Scope
from gateway.payments.idempotency import Claim
from gateway.payments.requests import CreateRefund
from gateway.payments.states import RefundStatus
from gateway.payments.views import Refund

_CREATED = 201


@post(
    "/",
    guards=[requires(Scope.REFUNDS_WRITE)],
    operation_class=ProviderOperation,
    dto=StrictBody[CreateRefund],
    return_dto=None,
    summary="Give money back",
    responses={201: ResponseSpec(Refund, description="The refund"), **MONEY_RESPONSES},
)
async def create_refund(
    request: ApiRequest, merchant: NamedDependency[MerchantPrincipal], data: JSONBody[CreateRefund]
) -> Response[bytes]:
    """201 with the refund, pending or done; 402 declined; 422 beyond what is left of the payment or of your balance."""

    async def work(claim: Claim) -> tuple[int, Any]:
        refund = await services_of(request).refunds.create(merchant, data, refund_id=claim.id_for("re"))
        if refund.status == RefundStatus.FAILED:
            code = refund.last_error.code if refund.last_error else None
            raise Problem("refund_declined", decline_code=code, refund=refund.id)
        return _CREATED, refund

    with brought_fault(request, merchant, "refund"):
        return await run_once(request, merchant, data, work)


@get("/", guards=[requires(Scope.REFUNDS_READ)], summary="Your refunds", responses=PROBLEM_RESPONSES)
async def list_refunds(
    request: ApiRequest,
    merchant: NamedDependency[MerchantPrincipal],
    page: NamedDependency[PageRequest],
    expand: NamedDependency[Given],
    payment_intent: FromQuery[str | None] = None,
) -> ListReply[ExpandedRefund]:
    """Newest first; of one payment, where that is named."""
    if payment_intent is not None and not is_id(payment_intent, "pi"):
        raise Problem("parameter_invalid", "payment_intent is not the id of a payment.", param="payment_intent")
    check_cursors(page, "re")
    wanted = wanted_of(merchant, expand, OF_ITS_PAYMENT, in_list=True)
    found = await services_of(request).refunds.list(merchant, payment_intent=payment_intent, **page.cursor())
    payments = await payments_of(request, merchant, [each.payment_intent for each in found.data], wanted)
    return list_reply(request, with_payments(ExpandedRefund, found.data, payments), has_more=found.has_more)


@get(
    "/{refund_id:str}",
    guards=[requires(Scope.REFUNDS_READ), known_id],
    summary="One refund",
    responses=PROBLEM_RESPONSES,
)
async def get_refund(
    request: ApiRequest,
    merchant: NamedDependency[MerchantPrincipal],
    refund_id: FromPath[str],
    expand: NamedDependency[Given],
) -> ExpandedRefund:
    """The refund as it stands."""
    wanted = wanted_of(merchant, expand, OF_ITS_PAYMENT)
    refund = await services_of(request).refunds.get(merchant, refund_id)
    payments = await payments_of(request, merchant, [refund.payment_intent], wanted)
    [expanded] = with_payments(ExpandedRefund, [refund], payments)
    return expanded


REFUNDS = Router("/refunds", route_handlers=[create_refund, list_refunds, get_refund], tags=["refunds"])
