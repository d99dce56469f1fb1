"""`/_control/…`: what stands outside the protocols – accounts, clock, faults, payers, books. Bodies: `client.py`."""

import hmac
from collections.abc import Mapping
from typing import Any, TypeVar

import asyncpg
import msgspec
from litestar import Controller, Response, get, post
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath

from gateway.sandbox import callbacks, faults
from gateway.sandbox.books import books
from gateway.sandbox.client import AccountBody, ClockBody, DisputeBody, FaultBody, ForgeBody, PayBody
from gateway.sandbox.faults import FAULTS_OF_OPERATION, Fault, FaultKind
from gateway.sandbox.provider import SandboxProvider
from gateway.sandbox.service import InjectedSandbox, Sandbox
from gateway.sandbox.wire import AnyRequest, json_answer, refuse_control

Body = TypeVar("Body")


class SettingsBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /_control/settings`."""

    world: str
    settings: dict[str, Any]


async def require_control_key(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Let nobody in without the control key. Asynchronous, or litestar would ask a thread to do it.

    Raises:
        Refusal: 401.
    """
    sandbox: Sandbox = connection.app.state.sandbox
    presented = connection.headers.get("authorization", "").encode()
    if not hmac.compare_digest(presented, f"Bearer {sandbox.control_key}".encode()):
        refuse_control(401, "unauthorized", "the control key is missing or wrong")


async def _read(request: AnyRequest, kind: type[Body]) -> Body:
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        refuse_control(400, "invalid_body", str(error))


async def _create_world(sandbox: Sandbox, world: str, settings: Mapping[str, Any]) -> None:
    try:
        await sandbox.worlds.create(world, settings)
    except msgspec.ValidationError as error:
        refuse_control(400, "invalid_settings", str(error))
    except asyncpg.CheckViolationError:
        refuse_control(400, "invalid_world", "a world is named by 1 to 40 letters, digits, hyphens and underscores")


class Control(Controller):
    """The control interface; all of it needs the key."""

    path = "/_control"
    guards = (require_control_key,)

    @post("/accounts", status_code=200)
    async def register_account(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """Register an account, and its world with the first one."""
        body = await _read(request, AccountBody)
        provider = _provider(sandbox, body.provider)
        missing = provider.credentials - body.credentials.keys()
        if missing:
            refuse_control(400, "invalid_credentials", f"missing: {', '.join(sorted(missing))}")
        await _create_world(sandbox, body.world, body.settings)
        try:
            await sandbox.accounts.register(
                body.world, body.provider, body.credentials, body.callback_url, provider.identifiers
            )
        except asyncpg.UniqueViolationError:
            refuse_control(409, "credentials_taken", "another world has these credentials")
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
                refuse_control(409, "clock_goes_forward_only", "the world is further ahead already")
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
        if body.operation not in _provider(sandbox, body.provider).operations or body.fault not in possible:
            refuse_control(400, "invalid_fault", f"{body.fault!r} cannot befall {body.provider}'s {body.operation!r}")
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
        provider = _provider(sandbox, body.provider)
        if provider.pay is None:
            refuse_control(400, "invalid_body", f"{body.provider} has no payers")
        async with sandbox.worlds.open(body.world) as world:
            paid = await provider.pay(world, body)
        sandbox.callbacks.wake()
        return json_answer({"transactions": paid}).response()

    @post("/dispute", status_code=200)
    async def dispute(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """Let a payer's bank question a payment, or decide."""
        body = await _read(request, DisputeBody)
        provider = _provider(sandbox, body.provider)
        if provider.dispute is None:
            refuse_control(400, "invalid_body", f"{body.provider} tells of disputes by letter")
        async with sandbox.worlds.open(body.world) as world:
            identifier = await provider.dispute(world, body)
        sandbox.callbacks.wake()
        return json_answer({"id": identifier}).response()

    @post("/forge", status_code=200)
    async def forge(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """Send a forged callback about something unpaid."""
        body = await _read(request, ForgeBody)
        provider = _provider(sandbox, body.provider)
        if provider.forge is None:
            refuse_control(400, "invalid_body", f"{body.provider} does not call back")
        async with sandbox.worlds.open(body.world) as world:
            await callbacks.enqueue_forged(
                world,
                provider=body.provider,
                subject=f"forged {body.reference}",
                forged_body=await provider.forge(world, body.reference),
            )
        sandbox.callbacks.wake()
        return json_answer({}).response()

    @get("/books/{world_name:str}")
    async def books(self, sandbox: InjectedSandbox, world_name: FromPath[str]) -> Response[bytes]:
        """What the world believes."""
        async with sandbox.worlds.open(world_name) as world:
            return json_answer(await books(world, sandbox.providers.values())).response()


def _provider(sandbox: Sandbox, name: str) -> SandboxProvider:
    found = sandbox.providers.get(name)
    if found is None:
        refuse_control(400, "invalid_body", f"{name!r} is none of {', '.join(sandbox.providers)}")
    return found
