"""`/v1/pay/{token}`: where payers pay under a link. They see what they pay for, and nothing else of the merchant's."""

from datetime import datetime
from typing import Any, Literal

import msgspec
from litestar import Response, Router, get, post
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, JSONBody

from gateway.api.authentication import address_of, is_id
from gateway.api.bodies import StrictBody
from gateway.api.idempotency import MoneyOperation, run_once
from gateway.api.problems import Problem, problem_responses
from gateway.api.services import ApiRequest, services_of
from gateway.payments.errors import Refused
from gateway.payments.idempotency import Claim
from gateway.payments.payment_links import amount_due
from gateway.payments.requests import Amount, CreateIntent, Payer, ShortText, WebAddress
from gateway.payments.states import IntentStatus
from gateway.payments.views import Intent
from gateway.providers.base import Method, NextAction

_CREATED = 201
_STILL_OPEN = 202
_OPEN = frozenset({IntentStatus.REQUIRES_CONFIRMATION, IntentStatus.PROCESSING})

_NOT_EXPLAINED = frozenset({"payer_blocked", "velocity_exceeded", "limit_exceeded"})
"""The merchant's own rules: payers are told that one stands against them, not what it says."""


class PayLink(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Pay under a link.

    Attributes:
        payment_method: one of the link's; card_token, bank, return_url: as the method needs them.
        amount: where the link leaves it to you.
    """

    payment_method: Method
    amount: Amount | None = None
    card_token: ShortText | None = None
    bank: ShortText | None = None
    return_url: WebAddress | None = None


class OfferedLink(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be paid. `is_payable`: whether you may begin now; `amount`: null where you choose it."""

    object: Literal["offered_payment"] = "offered_payment"
    livemode: bool
    description: str
    amount: int | None
    amount_min: int | None
    amount_max: int | None
    currency: str
    payment_methods: list[Method]
    is_payable: bool
    expires_at: datetime | None


class LinkPayment(msgspec.Struct, frozen=True, kw_only=True):
    """A payment under a link, as its payer sees it. `error_code`: why the last try came to nothing."""

    object: Literal["link_payment"] = "link_payment"
    id: str
    livemode: bool
    status: IntentStatus
    amount: int
    currency: str
    description: str
    payment_method: Method | None
    next_action: NextAction | None
    error_code: str | None
    expires_at: datetime | None


@get("/{token:str}", summary="What is paid under a link", responses=problem_responses(400, 404, 429, 503))
async def get_offer(request: ApiRequest, token: FromPath[str]) -> OfferedLink:
    """The offer, also where it is over."""
    links = services_of(request).payment_links
    link, _ = await links.of_token(token)
    return OfferedLink(
        livemode=link.livemode,
        description=link.description,
        amount=link.amount_minor,
        amount_min=link.amount_minor_min,
        amount_max=link.amount_minor_max,
        currency=link.currency.lower(),
        payment_methods=link.methods,
        is_payable=await links.is_payable(link),
        expires_at=link.expires_at,
    )


@post(
    "/{token:str}",
    operation_class=MoneyOperation,
    dto=StrictBody[PayLink],
    return_dto=None,
    summary="Pay under a link",
    responses={
        201: ResponseSpec(LinkPayment, description="The payment: what is to be done now, or its end"),
        202: ResponseSpec(LinkPayment, description="The payment; what became of it is not known yet"),
        **problem_responses(400, 402, 404, 409, 413, 415, 422, 429, 502, 503),
    },
)
async def pay_link(request: ApiRequest, token: FromPath[str], data: JSONBody[PayLink]) -> Response[bytes]:
    """201 or 202 with the payment, which says what became of it; 409 where the link takes no further payment."""
    services = services_of(request)
    link, merchant = await services.payment_links.of_token(token)
    if data.payment_method not in link.methods:
        raise Problem("parameter_invalid", "The link is not paid in this way.", param="payment_method")
    wanted = CreateIntent(
        amount=amount_due(link, data.amount),
        currency=link.currency.lower(),
        payment_method=data.payment_method,
        card_token=data.card_token,
        bank=data.bank,
        return_url=data.return_url,
        payer=None if request.client is None else Payer(ip=address_of(request)),
        description=link.description,
        metadata=link.metadata,
    )

    async def work(claim: Claim) -> tuple[int, Any]:
        try:
            intent = await services.intents.create(
                merchant, wanted, intent_id=claim.id_for("pi"), payment_link_id=link.link_id
            )
        except Refused as refused:
            if refused.code in _NOT_EXPLAINED:
                raise Problem(refused.code) from refused
            raise
        return (_STILL_OPEN if intent.status in _OPEN else _CREATED), _payment(intent)

    return await run_once(request, merchant, data, work, room=f"{link.link_id}/")


@get(
    "/{token:str}/{intent_id:str}",
    summary="A payment under a link",
    responses=problem_responses(400, 404, 429, 503),
)
async def get_payment(request: ApiRequest, token: FromPath[str], intent_id: FromPath[str]) -> LinkPayment:
    """How far it has got; ask again while it is open."""
    services = services_of(request)
    link, merchant = await services.payment_links.of_token(token)
    if not is_id(intent_id, "pi"):
        raise Problem("not_found")
    intent = await services.intents.get(merchant, intent_id)
    if intent.payment_link != link.link_id:
        raise Problem("not_found")
    return _payment(intent)


def _payment(intent: Intent) -> LinkPayment:
    return LinkPayment(
        id=intent.id,
        livemode=intent.livemode,
        status=intent.status,
        amount=intent.amount,
        currency=intent.currency,
        description=intent.description,
        payment_method=intent.payment_method,
        next_action=intent.next_action,
        error_code=intent.last_error.code if intent.last_error else None,
        expires_at=intent.expires_at,
    )


PAY = Router("/pay", route_handlers=[get_offer, pay_link, get_payment], tags=["payers"])
