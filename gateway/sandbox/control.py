"""`/_control/…`: what stands outside the protocols – accounts, clock, faults, payers, books. Bodies: `client.py`."""

import hmac
from collections.abc import Mapping
from typing import Any, Final, NoReturn, TypeVar

import asyncpg
import msgspec
from litestar import Controller, Response, get, post
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath

from gateway.sandbox import bill_payments, callbacks, faults, omise_charges
from gateway.sandbox.books import books
from gateway.sandbox.client import AccountBody, ClockBody, FaultBody, ForgeBody, PayBody
from gateway.sandbox.faults import FAULTS_OF_OPERATION, OPERATIONS_OF_PROVIDER, Fault, FaultKind
from gateway.sandbox.omise_charge_object import read_charge
from gateway.sandbox.omise_events import forged_charge_event
from gateway.sandbox.service import InjectedSandbox, Sandbox
from gateway.sandbox.wire import AnyRequest, Refusal, Row, json_answer
from gateway.sandbox.world import World

Body = TypeVar("Body")
CREDENTIALS: Final = {
    "scb": {"application_key", "application_secret", "biller_id", "ref3_prefix"},
    "omise": {"public_key", "secret_key", "webhook_secret"},
    "bank": {"account_number", "access_token"},
}


class SettingsBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /_control/settings`."""

    world: str
    settings: dict[str, Any]


def _refuse(status: int, code: str, message: str) -> NoReturn:
    raise Refusal(json_answer({"code": code, "message": message}, status))


def require_control_key(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Let nobody in without the control key.

    Raises:
        Refusal: 401.
    """
    sandbox: Sandbox = connection.app.state.sandbox
    presented = connection.headers.get("authorization", "").encode()
    if not hmac.compare_digest(presented, f"Bearer {sandbox.control_key}".encode()):
        _refuse(401, "unauthorized", "the control key is missing or wrong")


async def _read(request: AnyRequest, kind: type[Body]) -> Body:
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        _refuse(400, "invalid_body", str(error))


async def _create_world(sandbox: Sandbox, world: str, settings: Mapping[str, Any]) -> None:
    try:
        await sandbox.worlds.create(world, settings)
    except msgspec.ValidationError as error:
        _refuse(400, "invalid_settings", str(error))
    except asyncpg.CheckViolationError:
        _refuse(400, "invalid_world", "a world is named by 1 to 40 letters, digits, hyphens and underscores")


class Control(Controller):
    """The control interface; all of it needs the key."""

    path = "/_control"
    guards = (require_control_key,)

    @post("/accounts", status_code=200)
    async def register_account(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """Register an account, and its world with the first one."""
        body = await _read(request, AccountBody)
        missing = CREDENTIALS[body.provider] - body.credentials.keys()
        if missing:
            _refuse(400, "invalid_credentials", f"missing: {', '.join(sorted(missing))}")
        await _create_world(sandbox, body.world, body.settings)
        try:
            await sandbox.worlds.pool.execute(
                "INSERT INTO sandbox.provider_accounts (world, provider, credentials, callback_url)"
                " VALUES ($1, $2, $3, $4)"
                " ON CONFLICT (world, provider) DO UPDATE SET credentials = $3, callback_url = $4",
                body.world,
                body.provider,
                body.credentials,
                body.callback_url,
            )
        except asyncpg.UniqueViolationError:
            _refuse(409, "credentials_taken", "another world has these credentials")
        return json_answer({}).response()

    @post("/settings", status_code=200)
    async def configure(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """Change the settings of a world."""
        body = await _read(request, SettingsBody)
        await _create_world(sandbox, body.world, body.settings)
        return json_answer({}).response()

    @post("/clock", status_code=200)
    async def move_clock(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """Move the business time of a world forward; every day between passes now."""
        body = await _read(request, ClockBody)
        async with sandbox.worlds.open(body.world) as world:
            if body.offset_seconds < world.offset.total_seconds():
                _refuse(409, "clock_goes_forward_only", "the world is further ahead already")
            await world.connection.execute(
                "UPDATE sandbox.worlds SET offset_seconds = $2 WHERE world = $1", world.name, body.offset_seconds
            )
        async with sandbox.worlds.open(body.world) as world:
            answer = json_answer({"now": world.now, "today": world.today})
        sandbox.callbacks.wake()
        return answer.response()

    @post("/faults", status_code=200)
    async def order_fault(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """Order a fault."""
        body = await _read(request, FaultBody)
        possible = FAULTS_OF_OPERATION.get(body.operation, frozenset())
        if body.operation not in OPERATIONS_OF_PROVIDER[body.provider] or body.fault not in possible:
            _refuse(400, "invalid_fault", f"{body.fault!r} cannot befall {body.provider}'s {body.operation!r}")
        fault = Fault(kind=FaultKind(body.fault), code=body.code, seconds=body.seconds, paid_minor=body.paid_minor)
        async with sandbox.worlds.open(body.world) as world:
            identifier = await faults.order(
                world,
                provider=body.provider,
                operation=body.operation,
                fault=fault,
                times=body.times,
                amount_minor=body.amount_minor,
            )
        return json_answer({"id": identifier}).response()

    @post("/pay", status_code=200)
    async def pay(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """Let a payer pay."""
        body = await _read(request, PayBody)
        async with sandbox.worlds.open(body.world) as world:
            paid = await (_pay_bill(world, body) if body.provider == "scb" else _pay_charge(world, body))
        sandbox.callbacks.wake()
        return json_answer({"transactions": paid}).response()

    @post("/forge", status_code=200)
    async def forge(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """Send a forged callback about something unpaid."""
        body = await _read(request, ForgeBody)
        async with sandbox.worlds.open(body.world) as world:
            if body.provider == "scb":
                bill = await bill_payments.find_bill(world, body.reference, None)
                if bill is None:
                    _refuse(404, "unknown_reference", "no QR with this reference was issued")
                payee = await bill_payments.Payee.of(world)
                forged = bill_payments.forged_confirmation(bill, payee, world.now)
            else:
                charge = await _find_charge(world, body.reference)
                forged = forged_charge_event(await read_charge(world, charge), world.now)
            await callbacks.enqueue_forged(
                world, provider=body.provider, subject=f"forged {body.reference}", forged_body=forged
            )
        sandbox.callbacks.wake()
        return json_answer({}).response()

    @get("/books/{world_name:str}")
    async def books(self, sandbox: InjectedSandbox, world_name: FromPath[str]) -> Response[bytes]:
        """What the world believes."""
        async with sandbox.worlds.open(world_name) as world:
            return json_answer(await books(world)).response()


async def _pay_bill(world: World, body: PayBody) -> list[dict[str, Any]]:
    bill = await bill_payments.find_bill(world, body.reference, body.amount_minor)
    if bill is None:
        _refuse(404, "unknown_reference", "no QR with this reference was issued; say an amount to pay it all the same")
    rows = await bill_payments.pay(world, bill, count=body.transaction_count, silent=body.silent)
    return [{"transaction_id": row["transaction_id"], "amount_minor": row["amount_minor"]} for row in rows]


async def _pay_charge(world: World, body: PayBody) -> list[dict[str, Any]]:
    if body.amount_minor is not None or body.transaction_count != 1 or body.silent:
        _refuse(400, "invalid_body", "an Omise charge is paid once, in full, and Omise always sends the event")
    charge = await omise_charges.pay_charge(world, (await _find_charge(world, body.reference))["id"])
    return [{"transaction_id": charge["transaction_id"], "amount_minor": charge["captured_minor"]}]


async def _find_charge(world: World, reference: str) -> Row:
    row = await world.connection.fetchrow(
        "SELECT * FROM sandbox.charges WHERE world = $1 AND (id = $2"
        " OR EXISTS (SELECT FROM jsonb_each_text(metadata) WHERE value = $2)) ORDER BY created_at DESC LIMIT 1",
        world.name,
        reference,
    )
    if row is None:
        _refuse(404, "unknown_reference", "no such charge")
    return row
