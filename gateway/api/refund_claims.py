"""`/v1/refund_claims/{token}`: what payers claim. Beside it, what merchants offer them, or take, and see of it.

The token is the right to the money: nobody is told whether a guess was near, and an address has few of them.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Response, Router, get, post
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.openapi.spec import RequestBody
from litestar.params import FromPath, JSONBody

from gateway.api.authentication import known_id, requires
from gateway.api.bodies import StrictBody
from gateway.api.idempotency import MoneyOperation, run_once
from gateway.api.pagination import ListReply, list_reply
from gateway.api.problems import MONEY_RESPONSES, PROBLEM_RESPONSES, problem_responses
from gateway.api.services import ApiRequest, services_of
from gateway.merchants.principals import MerchantPrincipal, Scope
from gateway.payments.accepting import AcceptedIntent
from gateway.payments.claim_records import ClaimDestination, RefundClaim, claim_view, claims_of
from gateway.payments.errors import InvalidRequest
from gateway.payments.idempotency import Claim
from gateway.settlement.payout_files import BankAccount
from gateway.settlement.refund_claims import Offer

_CREATED = 201
_OK = 200
BankCode = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{3}\Z", description="The Bank of Thailand's three digits.")]
AccountNumber = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{7,15}\Z", description="7 to 15 digits, no dashes.")]
HeldId = Annotated[str, msgspec.Meta(pattern=r"^fact_(test_)?[0-9a-z]{26}\Z")]
HolderName = Annotated[str, msgspec.Meta(min_length=1, max_length=140)]


class ClaimRefund(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the money is to go: an account at a Thai bank, kept encrypted."""

    bank_code: BankCode
    account_number: AccountNumber
    name: HolderName

    def __repr__(self) -> str:
        """Nothing of the payer reaches a log."""
        return "ClaimRefund(…)"


class NamedReceipt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which receipt: its `fact` in the payment's timeline; without one the oldest that waits."""

    held: HeldId | None = None


_OLDEST: Final = NamedReceipt()


@dataclass
class HeldOperation(MoneyOperation):
    """For the OpenAPI page: the body may be left out."""

    def __post_init__(self) -> None:
        """Say so."""
        super().__post_init__()
        assert isinstance(self.request_body, RequestBody), "the handler takes a body"
        self.request_body = replace(self.request_body, required=False)


class OfferedRefund(msgspec.Struct, frozen=True, kw_only=True):
    """Money that waits for you. `description`: what the payment was for, in the shop's words."""

    object: Literal["offered_refund"] = "offered_refund"
    livemode: bool
    amount: int
    currency: str
    description: str
    status: str
    destination: ClaimDestination | None
    expires_at: datetime


@get(
    "/{token:str}",
    summary="What a payer may claim",
    responses=problem_responses(400, 404, 429, 503),
)
async def get_offer(request: ApiRequest, token: FromPath[str]) -> OfferedRefund:
    """The money and how far it has got."""
    return _offered(await services_of(request).refund_claims.find(token))


@post(
    "/{token:str}",
    status_code=200,
    dto=StrictBody[ClaimRefund],
    return_dto=None,
    summary="Claim a refund",
    responses=problem_responses(400, 404, 409, 413, 415, 422, 429, 503),
)
async def claim_refund(request: ApiRequest, token: FromPath[str], data: JSONBody[ClaimRefund]) -> OfferedRefund:
    """The money goes to this bank account. The same account again changes nothing; another one is refused."""
    if not data.name.isprintable() or not data.name.strip():
        raise InvalidRequest("parameter_invalid", "a name is written in letters", param="name")
    account = BankAccount(bank_code=data.bank_code, account_number=data.account_number, holder=data.name.strip())
    return _offered(await services_of(request).refund_claims.claim(token, account))


@post(
    "/{intent_id:str}/return_held",
    guards=[requires(Scope.REFUNDS_WRITE), known_id],
    operation_class=HeldOperation,
    dto=StrictBody[NamedReceipt],
    return_dto=None,
    summary="Offer held money back to its payer",
    responses={201: ResponseSpec(RefundClaim, description="The claim, with the payer's token"), **MONEY_RESPONSES},
)
async def return_held(
    request: ApiRequest,
    merchant: NamedDependency[MerchantPrincipal],
    intent_id: FromPath[str],
    data: JSONBody[NamedReceipt] = _OLDEST,
) -> Response[bytes]:
    """What was paid twice, late, too much or too little, one receipt a call, the named or the oldest one.

    409 when none is left, or the named one is offered, returned or taken already.
    """

    async def work(claim: Claim) -> tuple[int, Any]:
        offered = await services_of(request).held_money.offer(
            merchant.book_id,
            intent_id,
            account_id=merchant.account_id,
            actor=merchant.account_id,
            held_id=data.held,
            claim_id=claim.id_for("clm"),
        )
        return _CREATED, offered

    return await run_once(request, merchant, None if data == _OLDEST else data, work)


@post(
    "/{intent_id:str}/accept_held",
    guards=[requires(Scope.PAYMENTS_WRITE), known_id],
    operation_class=HeldOperation,
    dto=StrictBody[NamedReceipt],
    return_dto=None,
    status_code=200,
    summary="Take held money as payment",
    responses={
        200: ResponseSpec(AcceptedIntent, description="The payment, and which receipt was taken"),
        **MONEY_RESPONSES,
    },
)
async def accept_held(
    request: ApiRequest,
    merchant: NamedDependency[MerchantPrincipal],
    intent_id: FromPath[str],
    data: JSONBody[NamedReceipt] = _OLDEST,
) -> Response[bytes]:
    """Instead of returning it: one receipt a call, whole, the named or the oldest one; 409 as for `return_held`.

    A payment that nothing had paid is `succeeded` by it; one that was paid has `amount_captured` above its `amount`.
    """

    async def work(claim: Claim) -> tuple[int, Any]:
        accepting = services_of(request).accepting
        return _OK, await accepting.accept(merchant, intent_id, held_id=data.held, acceptance_id=claim.id_for("acp"))

    return await run_once(request, merchant, None if data == _OLDEST else data, work)


@get(
    "/{intent_id:str}/refund_claims",
    guards=[requires(Scope.REFUNDS_READ), known_id],
    summary="The claims of a payment",
    responses=PROBLEM_RESPONSES,
)
async def list_refund_claims(
    request: ApiRequest, merchant: NamedDependency[MerchantPrincipal], intent_id: FromPath[str]
) -> ListReply[RefundClaim]:
    """All of them, oldest first; without their tokens."""
    services = services_of(request)
    await services.intents.get(merchant, intent_id)
    async with services.database.read() as connection:
        found = await claims_of(connection, merchant.book_id, intent_id)
    return list_reply(request, [claim_view(claim) for claim in found], has_more=False)


def _offered(offer: Offer) -> OfferedRefund:
    seen = claim_view(offer.claim)
    return OfferedRefund(
        livemode=seen.livemode,
        amount=seen.amount,
        currency=seen.currency,
        description=offer.description,
        status=seen.status,
        destination=seen.destination,
        expires_at=seen.expires_at,
    )


REFUND_CLAIMS = Router("/refund_claims", route_handlers=[get_offer, claim_refund], tags=["payers"])
