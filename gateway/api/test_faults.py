"""`/v1/test/faults` and forged callbacks: let the sandbox's providers go wrong in your own test book."""

from typing import Annotated, Literal

import msgspec
from litestar import post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from gateway.api.authentication import known_id, requires
from gateway.api.bodies import StrictBody
from gateway.api.problems import BODY_RESPONSES, PROBLEM_RESPONSES, Problem, problem_responses
from gateway.api.services import ApiRequest, services_of
from gateway.merchants.principals import MerchantPrincipal, Scope
from gateway.sandbox.client import AmountMinor, SandboxControl, SandboxRefused, SandboxUnreachable

Text = Annotated[str, msgspec.Meta(max_length=100)]


class OrderFault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Let the next `times` operations of a provider go wrong.

    Attributes:
        operation: `token`, `charge`, `inquiry`, `cancel`, `capture`, `refund`, `statement`, `pay`, `callback` …
        fault: `decline`, `slow`, `timeout_before`, `timeout_after`, `server_error`, `malformed`,
            `callback_duplicate`, `callback_late`, `callback_forged`, `callback_lost`, `callback_reordered`,
            `pay_wrong_amount`, `pay_twice`, `refund_fails_later`, `payout_returned`.
        amount: only operations over this amount, in minor units.
        code: the provider's own code of a decline; seconds: of a slow or held answer, a late callback.
    """

    provider: Text
    operation: Text
    fault: Text
    times: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1
    amount: AmountMinor | None = None
    code: Text | None = None
    seconds: Annotated[int, msgspec.Meta(ge=0, le=3600)] | None = None


class FaultReply(msgspec.Struct, frozen=True, kw_only=True):
    """The order, which waits for its operations."""

    object: Literal["test_fault"] = "test_fault"
    id: str


class ForgedReply(msgspec.Struct, frozen=True, kw_only=True):
    """A callback is on its way that says what never happened. The payment must not change."""

    object: Literal["test_forgery"] = "test_forgery"
    payment_intent: str


@post(
    "/faults",
    guards=[requires(Scope.SANDBOX_WRITE)],
    dto=StrictBody[OrderFault],
    return_dto=None,
    status_code=200,
    summary="Let a provider go wrong in your test book",
    responses=BODY_RESPONSES | problem_responses(502),
)
async def order_fault(
    request: ApiRequest, merchant: NamedDependency[MerchantPrincipal], data: JSONBody[OrderFault]
) -> FaultReply:
    """Strikes the next operations of that kind, once each, in your own test book only."""
    details = {"amount_minor": data.amount, "code": data.code, "seconds": data.seconds}
    try:
        fault_id = await sandbox_of(request, merchant).add_fault(
            world=str(merchant.book_id),
            provider=data.provider,
            operation=data.operation,
            fault=data.fault,
            times=data.times,
            **{name: value for name, value in details.items() if value is not None},
        )
    except SandboxRefused as refusal:
        raise Problem("parameter_invalid", f"The sandbox says: {refusal}.", param="fault") from refusal
    except SandboxUnreachable as error:
        raise Problem("sandbox_unreachable") from error
    return FaultReply(id=fault_id)


@post(
    "/payments/{intent_id:str}/forge",
    guards=[requires(Scope.SANDBOX_WRITE), known_id],
    status_code=200,
    summary="Send a forged callback about a payment",
    responses=PROBLEM_RESPONSES | problem_responses(409, 502),
)
async def forge_callback(
    request: ApiRequest, merchant: NamedDependency[MerchantPrincipal], intent_id: FromPath[str]
) -> ForgedReply:
    """As somebody without the provider's key would send it."""
    sandbox = sandbox_of(request, merchant)
    intent = await services_of(request).intents.get(merchant, intent_id)
    attempt = intent.latest_attempt
    if attempt is None or attempt.provider_reference is None:
        raise Problem("payment_not_payable", "The provider has not taken this payment.")
    try:
        await sandbox.forge(
            world=str(merchant.book_id), provider=attempt.provider, reference=attempt.provider_reference
        )
    except SandboxRefused as refusal:
        raise Problem("payment_not_payable", f"The sandbox says: {refusal}.") from refusal
    except SandboxUnreachable as error:
        raise Problem("sandbox_unreachable") from error
    return ForgedReply(payment_intent=intent_id)


def sandbox_of(request: ApiRequest, merchant: MerchantPrincipal) -> SandboxControl:
    """The sandbox, for test keys only.

    Raises:
        Problem: `test_mode_only`, `sandbox_off`.
    """
    if merchant.livemode:
        raise Problem("test_mode_only")
    sandbox = services_of(request).sandbox
    if sandbox is None:
        raise Problem("sandbox_off")
    return sandbox
