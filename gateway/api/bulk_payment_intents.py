"""`/v1/payment_intents/bulk`: up to 100 payments in one call, each with its own answer."""

from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, post
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import JSONBody

from gateway.api.authentication import requires
from gateway.api.bodies import StrictBody
from gateway.api.idempotency import MoneyOperation, run_once
from gateway.api.problems import MONEY_RESPONSES, of_payment_error
from gateway.api.services import ApiRequest, services_of
from gateway.merchants.principals import MerchantPrincipal, Scope
from gateway.payments.bulk import ITEMS_MAX
from gateway.payments.idempotency import Claim
from gateway.payments.requests import CreateIntent
from gateway.payments.views import Intent


class CreateIntents(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Up to 100 payments."""

    items: Annotated[list[CreateIntent], msgspec.Meta(min_length=1, max_length=ITEMS_MAX)]


class ItemProblem(msgspec.Struct, frozen=True, kw_only=True):
    """Why an item was not made; `code` as in any error of a single payment."""

    code: str
    detail: str
    param: str | None
    retryable: bool


class ItemResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one item: a payment – look at its `status` and `last_error` – or a problem."""

    payment_intent: Intent | None = None
    problem: ItemProblem | None = None


class BulkReply(msgspec.Struct, frozen=True, kw_only=True):
    """The results, in the order of the items."""

    object: Literal["bulk_result"] = "bulk_result"
    made: int
    refused: int
    data: list[ItemResult]


@post(
    "/bulk",
    guards=[requires(Scope.PAYMENTS_WRITE)],
    operation_class=MoneyOperation,
    dto=StrictBody[CreateIntents],
    return_dto=None,
    status_code=200,
    summary="Ask for many payments",
    responses={200: ResponseSpec(BulkReply, description="A result for each item"), **MONEY_RESPONSES},
)
async def create_payment_intents(
    request: ApiRequest, merchant: NamedDependency[MerchantPrincipal], data: JSONBody[CreateIntents]
) -> Response[bytes]:
    """Each item stands for itself; a declined payment is made and says so. The same call again changes nothing."""

    async def work(claim: Claim) -> tuple[int, Any]:
        ids = [claim.id_for("pi", number) for number in range(len(data.items))]
        made = await services_of(request).bulk_intents.create(merchant, data.items, ids)
        results = [
            ItemResult(payment_intent=each) if isinstance(each, Intent) else ItemResult(problem=_problem(each))
            for each in made
        ]
        refused = sum(result.problem is not None for result in results)
        return 200, BulkReply(made=len(results) - refused, refused=refused, data=results)

    return await run_once(request, merchant, data, work)


def _problem(error: Any) -> ItemProblem:
    problem = of_payment_error(error)
    return ItemProblem(code=problem.code, detail=problem.detail, param=problem.param, retryable=problem.kind.retryable)
