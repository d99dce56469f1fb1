"""TrueMoney's ISV API over HTTP: who asks, whether he signed it, and that every answer is signed."""

import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import date, datetime
from typing import Any, Final

import msgspec
from litestar import Controller, Response, get, post
from litestar.params import FromPath

from gateway.foundation.clock import business_date_of
from gateway.sandbox import acquirer, acquirer_orders, truemoney_payments
from gateway.sandbox.faults import Fault
from gateway.sandbox.provider import CallbackRules, SandboxProvider
from gateway.sandbox.service import InjectedSandbox, Sandbox, fingerprint_of
from gateway.sandbox.truemoney_checkout import TrueMoneyCheckout
from gateway.sandbox.truemoney_payments import NAME, REFERENCE, amount_of, text
from gateway.sandbox.truemoney_wire import is_signed_by, refusal, refuse, signed_headers
from gateway.sandbox.wire import Answer, AnyRequest, Refusal
from gateway.sandbox.world import World

API_VERSION: Final = "1.0"
TAKEN: Final = "11111"
"""What a merchant answers who took a notification."""
NOTIFICATIONS_MAX: Final = 5
"""ASSUMED: how often a notification is repeated is not told."""
DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
BANGKOK_MOMENT: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\+07:00")

TrueMoneyAct = Callable[[World, dict[str, Any], Fault | None], Awaitable[Answer]]


async def _answer(request: AnyRequest, sandbox: Sandbox, operation: str, act: TrueMoneyAct) -> Response[bytes]:
    """Check key, headers and signature, perform `act` in the world of the key, and sign what comes of it."""
    try:
        world = await _authenticated(request, sandbox)
        fields = await _fields(request)

        async def in_world(opened: World, fault: Fault | None) -> Answer:
            return await act(opened, fields, fault)

        answer = await sandbox.perform(
            world,
            in_world,
            provider=NAME,
            operation=operation,
            amount_minor=amount_of(fields),
            fingerprint=await fingerprint_of(request),
        )
    except Refusal as caught:
        answer = caught.answer
    response = answer.response()
    response.headers.update(signed_headers(answer.body))
    return response


async def _authenticated(request: AnyRequest, sandbox: Sandbox) -> str:
    """The world of a request whose headers are complete and whose signature fits."""
    key = request.headers.get("x-api-key", "")
    world = await sandbox.accounts.find(NAME, "api_key", key) if key else None
    if world is None:
        refuse(401, "invalid_api_key", "X-API-Key is missing or unknown")
    if request.headers.get("x-api-version") != API_VERSION:
        refuse(400, "invalid_request", "X-API-Version is missing or not supported")
    if request.headers.get("content-type") != "application/json":
        refuse(400, "invalid_request", "Content-Type must be application/json")
    account = (await sandbox.accounts.of_world(world))[NAME]
    if not is_signed_by(account.credentials["private_key"], request.headers, await request.body()):
        refuse(401, "invalid_signature", "Content-Signature does not fit Timestamp and body")
    return world


async def _fields(request: AnyRequest) -> dict[str, Any]:
    """The fields of the body, or of the query where there is none."""
    raw = await request.body()
    if not raw:
        return dict(request.query_params)
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        refuse(400, "invalid_request", "the body is not a JSON object")


class TrueMoneyController(Controller):
    """`https://api-b2b.tmn-dev.com`, its path prefix left out."""

    path = "/truemoney"

    @post("/payments", status_code=200)
    async def pay(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """Debit a wallet by its code."""
        return await _answer(request, sandbox, "charge", truemoney_payments.debit)

    @post("/payments/checkout", status_code=200)
    async def open_checkout(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """A hosted checkout (ASSUMED)."""
        return await _answer(request, sandbox, "charge", truemoney_payments.open_checkout)

    @get("/payments")
    async def find(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """A payment by the merchant's reference and its day."""

        async def act(world: World, fields: dict[str, Any], _: Fault | None) -> Answer:
            reference = text(fields, "isv_payment_ref", REFERENCE)
            moment = text(fields, "transaction_date", BANGKOK_MOMENT)
            try:
                on = business_date_of(datetime.fromisoformat(moment))
            except ValueError:
                refuse(400, "invalid_request", "transaction_date is missing or invalid")
            return await truemoney_payments.by_reference(world, reference, on)

        return await _answer(request, sandbox, "inquiry", act)

    @get("/payments/{payment_id:str}")
    async def retrieve(
        self, request: AnyRequest, sandbox: InjectedSandbox, payment_id: FromPath[str]
    ) -> Response[bytes]:
        """A payment by TrueMoney's id."""

        async def act(world: World, _: dict[str, Any], __: Fault | None) -> Answer:
            return await truemoney_payments.by_id(world, payment_id)

        return await _answer(request, sandbox, "inquiry", act)

    @post("/payments/{payment_id:str}/refunds", status_code=200)
    async def refund(self, request: AnyRequest, sandbox: InjectedSandbox, payment_id: FromPath[str]) -> Response[bytes]:
        """Give back all or a part."""

        async def act(world: World, fields: dict[str, Any], fault: Fault | None) -> Answer:
            return await truemoney_payments.refund(world, payment_id, fields, fault)

        return await _answer(request, sandbox, "refund", act)

    @get("/settlements")
    async def settlement(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """The file of a day that is over (ASSUMED, path and layout)."""

        async def act(world: World, fields: dict[str, Any], _: Fault | None) -> Answer:
            try:
                on = date.fromisoformat(text(fields, "transaction_date", DAY))
            except ValueError:
                refuse(400, "invalid_request", "transaction_date is missing or invalid")
            return await truemoney_payments.statement(world, on)

        return await _answer(request, sandbox, "statement", act)


def _signed(credentials: Mapping[str, str], body: bytes, *, forged: bool) -> dict[str, str]:  # noqa: ARG001 - the shape of all
    return signed_headers(body, forged=forged)


class _ReplyStatus(msgspec.Struct):
    code: str = ""


class _Reply(msgspec.Struct):
    status: _ReplyStatus


def _is_taken(body: bytes) -> bool:
    try:
        return msgspec.json.decode(body, type=_Reply).status.code == TAKEN
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


def _fits(credentials: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> bool:
    return is_signed_by(credentials["private_key"], headers, body)


async def _due(world: World) -> None:
    await acquirer.expire_due(world, NAME)
    await acquirer.end_refunds_due(world, NAME)


PROVIDER: Final = SandboxProvider(
    name=NAME,
    credentials=frozenset({"api_key", "merchant_id", "shop_id", "private_key", "provider_public_key"}),
    identifiers=frozenset({"api_key"}),
    # A checkout is paid once, in full and in time, so nothing can befall `pay`.
    operations=frozenset({"charge", "inquiry", "refund", "statement", "callback"}),
    handlers=(TrueMoneyController, TrueMoneyCheckout),
    server_error=lambda: refusal(500, "internal_error", "Internal error"),
    callbacks=CallbackRules(
        attempts_max=NOTIFICATIONS_MAX,
        retry_seconds=lambda settings: settings.callback_retry_seconds,
        headers=_signed,
        is_taken=_is_taken,
        is_proved=_fits,
    ),
    pay=truemoney_payments.pay_ordered,
    forge=truemoney_payments.forge,
    charges=lambda world: acquirer_orders.charges(world, NAME),
    start_day=lambda world, day: acquirer.settle(world, NAME, day),
    due=_due,
)
