"""`/v1/payment_intents`: payments, from the request for money to what became of it."""

from datetime import datetime
from functools import partial
from typing import Annotated, Any

from litestar import Response, Router, get, post
from litestar.di import NamedDependency, Provide
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from gateway.api.authentication import is_id, known_id, requires
from gateway.api.bodies import StrictBody
from gateway.api.brought_faults import ProviderOperation, brought_fault
from gateway.api.bulk_payment_intents import create_payment_intents
from gateway.api.expanding import OF_INTENT, ExpandedIntent, Given, expanded_intents, wanted_of
from gateway.api.idempotency import run_once
from gateway.api.moments import check_moment
from gateway.api.pagination import ListReply, PageRequest, check_cursors, list_reply
from gateway.api.problems import MONEY_RESPONSES, PROBLEM_RESPONSES, Problem
from gateway.api.refund_claims import accept_held, list_refund_claims, return_held
from gateway.api.services import ApiRequest, services_of
from gateway.merchants.principals import MerchantPrincipal, Scope
from gateway.payments.idempotency import Claim
from gateway.payments.requests import CaptureIntent, ConfirmIntent, CreateIntent
from gateway.payments.searching import Wanted
from gateway.payments.states import AttemptStatus, IntentStatus
from gateway.payments.timeline import Timeline, timeline
from gateway.payments.views import Intent
from gateway.providers.base import Method
from ledger.money import AMOUNT_MINOR_MAX

_CREATED = 201
_STILL_OPEN = 202
_OK = 200
_OPEN = frozenset({IntentStatus.REQUIRES_CONFIRMATION, IntentStatus.PROCESSING})
"""Nobody knows yet, or the payer has nothing to act on yet: the same request may be sent again for more."""


@post(
    "/",
    guards=[requires(Scope.PAYMENTS_WRITE)],
    operation_class=ProviderOperation,
    dto=StrictBody[CreateIntent],
    return_dto=None,
    summary="Ask for a payment",
    responses={
        201: ResponseSpec(Intent, description="The payment, waiting for the payer or done"),
        202: ResponseSpec(Intent, description="The payment; what became of it is not known yet"),
        **MONEY_RESPONSES,
    },
)
async def create_payment_intent(
    request: ApiRequest, merchant: NamedDependency[MerchantPrincipal], data: JSONBody[CreateIntent]
) -> Response[bytes]:
    """201 with what the payer must do now or with the end; 202 while nobody knows; 402 declined; 502 not attempted.

    After 202 and 502 the same request under the same key gets further with the same payment.
    """

    async def work(claim: Claim) -> tuple[int, Any]:
        intent = await services_of(request).intents.create(
            merchant, data, intent_id=claim.id_for("pi"), resumed=claim.resumed
        )
        return _answer(intent, merchant.clock.now())

    at_once = partial(services_of(request).untried_intents.create, merchant, data)
    with brought_fault(request, merchant, "charge"):
        return await run_once(request, merchant, data, work, at_once=at_once)


@get("/", guards=[requires(Scope.PAYMENTS_READ)], summary="Your payments", responses=PROBLEM_RESPONSES)
async def list_payment_intents(
    request: ApiRequest,
    merchant: NamedDependency[MerchantPrincipal],
    page: NamedDependency[PageRequest],
    wanted: NamedDependency[Wanted],
    expand: NamedDependency[Given],
) -> ListReply[ExpandedIntent]:
    """Newest first; those for which every condition given holds."""
    check_cursors(page, "pi")
    to_expand = wanted_of(merchant, expand, OF_INTENT, in_list=True)
    found = await services_of(request).intents.list(merchant, wanted=wanted, **page.cursor())
    data = await expanded_intents(request, merchant, found.data, to_expand)
    return list_reply(request, data, has_more=found.has_more)


async def provide_wanted(
    *,
    status: FromQuery[IntentStatus | None] = None,
    payment_method: FromQuery[Method | None] = None,
    merchant_reference: FromQuery[str | None] = None,
    amount: Annotated[int | None, QueryParameter(ge=1, le=AMOUNT_MINOR_MAX)] = None,
    created_from: FromQuery[datetime | None] = None,
    created_before: FromQuery[datetime | None] = None,
    provider_reference: FromQuery[str | None] = None,
    metadata: Annotated[str | None, QueryParameter(description="key=value that it has.")] = None,
    customer: FromQuery[str | None] = None,
) -> Wanted:
    """The conditions of a search.

    Raises:
        Problem: `parameter_invalid`.
    """
    if customer is not None and not is_id(customer, "cus"):
        raise Problem("parameter_invalid", "customer is not the id of a customer.", param="customer")
    pair = None
    if metadata is not None:
        key, sign, value = metadata.partition("=")
        if not key or not sign:
            raise Problem("parameter_invalid", "metadata is key=value.", param="metadata")
        pair = (key, value)
    check_moment(created_from, "created_from")
    check_moment(created_before, "created_before")
    return Wanted(
        status=status,
        method=payment_method,
        merchant_reference=merchant_reference,
        amount_minor=amount,
        created_from=created_from,
        created_before=created_before,
        provider_reference=provider_reference,
        metadata=pair,
        customer_id=customer,
    )


@get(
    "/{intent_id:str}/timeline",
    guards=[requires(Scope.PAYMENTS_READ), known_id],
    summary="All that happened to a payment",
    responses=PROBLEM_RESPONSES,
)
async def get_timeline(
    request: ApiRequest, merchant: NamedDependency[MerchantPrincipal], intent_id: FromPath[str]
) -> Timeline:
    """What the provider said, what became of it, what was posted in the books, what you were told. Oldest first."""
    return await timeline(services_of(request).database, merchant, intent_id)


@get(
    "/{intent_id:str}",
    guards=[requires(Scope.PAYMENTS_READ), known_id],
    summary="One payment",
    responses=PROBLEM_RESPONSES,
)
async def get_payment_intent(
    request: ApiRequest,
    merchant: NamedDependency[MerchantPrincipal],
    intent_id: FromPath[str],
    expand: NamedDependency[Given],
) -> ExpandedIntent:
    """The payment as it stands."""
    to_expand = wanted_of(merchant, expand, OF_INTENT)
    intent = await services_of(request).intents.get(merchant, intent_id)
    [expanded] = await expanded_intents(request, merchant, [intent], to_expand)
    return expanded


@post(
    "/{intent_id:str}/cancel",
    guards=[requires(Scope.PAYMENTS_WRITE), known_id],
    operation_class=ProviderOperation,
    status_code=200,
    summary="Give a payment up",
    responses={200: ResponseSpec(Intent, description="The payment"), **MONEY_RESPONSES},
)
async def cancel_payment_intent(
    request: ApiRequest, merchant: NamedDependency[MerchantPrincipal], intent_id: FromPath[str]
) -> Response[bytes]:
    """Makes it unpayable at the provider first; 202 until the provider has said so."""

    async def work(claim: Claim) -> tuple[int, Any]:
        del claim
        return _OK, await services_of(request).intents.cancel(merchant, intent_id)

    with brought_fault(request, merchant, "cancel"):
        return await run_once(request, merchant, None, work)


@post(
    "/{intent_id:str}/confirm",
    guards=[requires(Scope.PAYMENTS_WRITE), known_id],
    operation_class=ProviderOperation,
    dto=StrictBody[ConfirmIntent],
    return_dto=None,
    status_code=200,
    summary="Try to pay a payment",
    responses={
        200: ResponseSpec(Intent, description="The payment, waiting for the payer or done"),
        202: ResponseSpec(Intent, description="The payment; what became of it is not known yet"),
        **MONEY_RESPONSES,
    },
)
async def confirm_payment_intent(
    request: ApiRequest,
    merchant: NamedDependency[MerchantPrincipal],
    intent_id: FromPath[str],
    data: JSONBody[ConfirmIntent],
) -> Response[bytes]:
    """The first time, or again after a decline; never while an earlier attempt may still bring money."""

    async def work(claim: Claim) -> tuple[int, Any]:
        intent = await services_of(request).intents.confirm(merchant, intent_id, data, attempt_id=claim.id_for("att"))
        status, intent = _answer(intent, merchant.clock.now())
        return (_OK if status == _CREATED else status), intent

    with brought_fault(request, merchant, "charge"):
        return await run_once(request, merchant, data, work)


@post(
    "/{intent_id:str}/capture",
    guards=[requires(Scope.PAYMENTS_WRITE), known_id],
    operation_class=ProviderOperation,
    dto=StrictBody[CaptureIntent],
    return_dto=None,
    status_code=200,
    summary="Take authorised money",
    responses={
        200: ResponseSpec(Intent, description="The payment"),
        202: ResponseSpec(Intent, description="The payment; whether the money was taken is not known yet"),
        **MONEY_RESPONSES,
    },
)
async def capture_payment_intent(
    request: ApiRequest,
    merchant: NamedDependency[MerchantPrincipal],
    intent_id: FromPath[str],
    data: JSONBody[CaptureIntent],
) -> Response[bytes]:
    """All that was authorised or a part, once; what is left is released. 202 until the provider has said so."""

    async def work(claim: Claim) -> tuple[int, Any]:
        del claim
        intent = await services_of(request).intents.capture(merchant, intent_id, data)
        return (_STILL_OPEN if intent.status is IntentStatus.REQUIRES_CAPTURE else _OK), intent

    with brought_fault(request, merchant, "capture"):
        return await run_once(request, merchant, data, work)


def _answer(intent: Intent, now: datetime) -> tuple[int, Intent]:
    """The status that belongs to what became of a new payment; `now` is its book's time."""
    match intent.latest_attempt and intent.latest_attempt.status:
        case AttemptStatus.DECLINED:
            code = intent.last_error.code if intent.last_error else None
            raise Problem("payment_declined", decline_code=code, payment_intent=intent.id)
        case AttemptStatus.NOT_ATTEMPTED if intent.status is not IntentStatus.CANCELED:
            is_over = intent.expires_at is not None and now >= intent.expires_at
            raise Problem("payment_expired" if is_over else "payment_not_attempted", payment_intent=intent.id)
        case _:
            return (_STILL_OPEN if intent.status in _OPEN else _CREATED), intent


PAYMENT_INTENTS = Router(
    "/payment_intents",
    route_handlers=[
        create_payment_intent,
        create_payment_intents,
        list_payment_intents,
        get_payment_intent,
        get_timeline,
        confirm_payment_intent,
        capture_payment_intent,
        cancel_payment_intent,
        return_held,
        accept_held,
        list_refund_claims,
    ],
    dependencies={"wanted": Provide(provide_wanted)},
    tags=["payments"],
)
