"""`/v1/test`: what only test books have – a clock that can be moved, and payers that pay when told to."""

from datetime import datetime, timedelta
from typing import Annotated, Literal

import msgspec
from litestar import Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from gateway.api.authentication import known_id, requires
from gateway.api.bodies import StrictBody
from gateway.api.problems import BODY_RESPONSES, PROBLEM_RESPONSES, Problem, problem_responses
from gateway.api.services import ApiRequest, services_of
from gateway.api.test_faults import forge_callback, order_fault
from gateway.foundation.clock import BookClock
from gateway.merchants import clocks
from gateway.merchants.principals import MerchantPrincipal, Scope
from gateway.payments.requests import provider_key_of
from gateway.sandbox.client import AmountMinor, PaidTransaction, SandboxControl, SandboxRefused, SandboxUnreachable


class AdvanceClock(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Move the test book's clock forward until it shows `to`, a time with its zone."""

    to: Annotated[datetime, msgspec.Meta(tz=True)]


class ClockReply(msgspec.Struct, frozen=True, kw_only=True):
    """The clock of a test book: real time and how far ahead of it."""

    object: Literal["test_clock"] = "test_clock"
    now: datetime
    offset_seconds: int


class PayPayment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Let a payer pay a QR.

    Attributes:
        amount: what is paid, where not what was asked; transaction_count: how often; silent: without a callback.
    """

    amount: AmountMinor | None = None
    transaction_count: Annotated[int, msgspec.Meta(ge=1, le=10)] = 1
    silent: bool = False


class PaidReply(msgspec.Struct, frozen=True, kw_only=True):
    """What the payer's bank did; the payment itself changes when the provider tells us."""

    object: Literal["test_payment"] = "test_payment"
    payment_intent: str
    transactions: list[PaidTransaction]


@get(
    "/clock",
    guards=[requires(Scope.SANDBOX_WRITE)],
    summary="What time it is in your test book",
    responses=PROBLEM_RESPONSES,
)
async def get_clock(merchant: NamedDependency[MerchantPrincipal]) -> ClockReply:
    """The test book's business time."""
    _only_test(merchant)
    return _shown(merchant.clock)


@post(
    "/clock/advance",
    guards=[requires(Scope.SANDBOX_WRITE)],
    dto=StrictBody[AdvanceClock],
    return_dto=None,
    status_code=200,
    summary="Let time pass in your test book",
    responses=BODY_RESPONSES | problem_responses(502),
)
async def advance_clock(
    request: ApiRequest, merchant: NamedDependency[MerchantPrincipal], data: JSONBody[AdvanceClock]
) -> ClockReply:
    """Moves the sandbox first and the book after it, so that asking again after a failure is safe."""
    _only_test(merchant)
    services = services_of(request)
    async with services.database.read() as connection:
        wanted = await clocks.ahead(connection, merchant.book_id, data.to)
    if isinstance(wanted, clocks.ClockRefusal):
        raise Problem(wanted.value, param="to")
    await _sandbox_moved(_sandbox(services.sandbox), merchant.book_id, wanted)
    async with services.database.transaction() as connection:
        moved = await clocks.set_clock(connection, merchant.book_id, wanted)
    return _shown(moved)


@post(
    "/payments/{intent_id:str}/pay",
    guards=[requires(Scope.SANDBOX_WRITE), known_id],
    dto=StrictBody[PayPayment],
    return_dto=None,
    status_code=200,
    summary="Let a payer pay in your test book",
    responses=BODY_RESPONSES | problem_responses(502),
)
async def pay_payment(
    request: ApiRequest,
    merchant: NamedDependency[MerchantPrincipal],
    intent_id: FromPath[str],
    data: JSONBody[PayPayment],
) -> PaidReply:
    """Pays the QR of the latest attempt, through the sandbox and the provider's own callback."""
    _only_test(merchant)
    services = services_of(request)
    intent = await services.intents.get(merchant, intent_id)
    attempt = intent.latest_attempt
    if attempt is None:
        raise Problem("payment_not_payable", "Nobody was asked for this payment yet.")
    details = {} if data.amount is None else {"amount_minor": data.amount}
    try:
        transactions = await _sandbox(services.sandbox).pay(
            world=str(merchant.book_id),
            provider=attempt.provider,
            # Where the charge's answer was lost we never learned the provider's own name; it knows ours.
            reference=attempt.provider_reference or provider_key_of(attempt.id),
            **details,
            transaction_count=data.transaction_count,
            silent=data.silent,
        )
    except SandboxRefused as refusal:
        raise Problem("payment_not_payable", f"The sandbox says: {refusal}.") from refusal
    except SandboxUnreachable as error:
        raise Problem("sandbox_unreachable") from error
    return PaidReply(payment_intent=intent_id, transactions=transactions)


def _only_test(merchant: MerchantPrincipal) -> None:
    if merchant.livemode:
        raise Problem("test_mode_only")


def _sandbox(sandbox: SandboxControl | None) -> SandboxControl:
    if sandbox is None:
        raise Problem("sandbox_off")
    return sandbox


async def _sandbox_moved(sandbox: SandboxControl, book_id: int, clock: BookClock) -> None:
    try:
        await sandbox.move_clock(world=str(book_id), offset_seconds=clock.offset // timedelta(seconds=1))
    except SandboxRefused as refusal:
        raise Problem("clock_only_moves_forward", f"The sandbox says: {refusal}.", param="to") from refusal
    except SandboxUnreachable as error:
        raise Problem("sandbox_unreachable") from error


def _shown(clock: BookClock) -> ClockReply:
    return ClockReply(now=clock.now(), offset_seconds=clock.offset // timedelta(seconds=1))


TEST_MODE = Router(
    "/test", route_handlers=[get_clock, advance_clock, pay_payment, order_fault, forge_callback], tags=["test mode"]
)
