"""GBPrimePay over HTTP: authentication, paths, bodies. What happens is in `gbprimepay_charges.py`."""

import base64
import binascii
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import date, datetime
from typing import Any, Final

from litestar import Controller, Response, get, post

from gateway.sandbox import acquirer, acquirer_orders, emvco, gbprimepay_charges
from gateway.sandbox.faults import Fault
from gateway.sandbox.gbprimepay_objects import (
    NAME,
    answer,
    form_amount,
    form_fields,
    json_amount,
    json_fields,
    refuse,
    refuse_text,
    settlement_report,
)
from gateway.sandbox.provider import CallbackRules, SandboxProvider
from gateway.sandbox.service import InjectedSandbox, Sandbox, fingerprint_of
from gateway.sandbox.wire import Answer, AnyRequest, Refusal
from gateway.sandbox.world import World

ATTEMPTS_MAX: Final = 3
"""ASSUMED: that failed callbacks are repeated is documented, how often is not."""
DAY: Final = re.compile(r"[0-9]{8}")
FORMS: Final = {
    "/v2/trueWallet": "truemoney",
    "/v2/linepay": "rabbit_linepay",
    "/v1/shopeePay": "shopeepay",
    "/v2/mobileBanking": "mobile_banking",
}

Fields = Mapping[str, Any]
GbpAct = Callable[[World, Fields, Fault | None], Awaitable[Answer]]


async def _world_of(request: AnyRequest, sandbox: Sandbox, credential: str) -> str:
    """The world of the key in `Authorization: Basic base64(key + ":")`."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    try:
        key, colon, rest = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        key, colon, rest = "", "", ""
    world = await sandbox.accounts.find(NAME, credential, key) if scheme == "Basic" and colon and not rest else None
    if world is None:
        refuse_text("Unauthorized", 401)
    return world


async def _by_key(
    request: AnyRequest,
    sandbox: Sandbox,
    operation: str,
    act: GbpAct,
    *,
    credential: str = "secret_key",
) -> Response[bytes]:
    """A JSON call with a Basic key."""
    try:
        world = await _world_of(request, sandbox, credential)
        fields = await json_fields(request)
        # Of a request with a card number not even a fingerprint is kept.
        fingerprint = await fingerprint_of(request) if operation != "token" else ""
        amount_minor = json_amount(fields.get("amount"))
        return await _performed(
            sandbox, world, operation, act, fields, amount_minor=amount_minor, fingerprint=fingerprint
        )
    except Refusal as refusal:
        return refusal.answer.response()


async def _by_field(
    request: AnyRequest, sandbox: Sandbox, act: GbpAct, *, field: str, credential: str
) -> Response[bytes]:
    """A form that bears its credential among its fields."""
    try:
        fields = await form_fields(request)
        value = fields.get(field)
        world = await sandbox.accounts.find(NAME, credential, value) if isinstance(value, str) and value else None
        if world is None:
            refuse_text("Incomplete information", 400)
        amount_minor = form_amount(fields.get("amount"))
        fingerprint = await fingerprint_of(request)
        return await _performed(
            sandbox, world, "charge", act, fields, amount_minor=amount_minor, fingerprint=fingerprint
        )
    except Refusal as refusal:
        return refusal.answer.response()


async def _performed(
    sandbox: Sandbox,
    world: str,
    operation: str,
    act: GbpAct,
    fields: Fields,
    *,
    amount_minor: int | None = None,
    fingerprint: str = "",
) -> Response[bytes]:
    async def in_world(opened: World, fault: Fault | None) -> Answer:
        return await act(opened, fields, fault)

    done = await sandbox.perform(
        world, in_world, provider=NAME, operation=operation, amount_minor=amount_minor, fingerprint=fingerprint
    )
    return done.response()


class GbprimepayController(Controller):
    """`https://api.globalprimepay.com`."""

    path = "/gbprimepay"

    @post("/v2/tokens", status_code=200)
    async def create_token(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """Turn a published test card into a single-use token; asked with the public key."""

        async def act(world: World, fields: Fields, _: Fault | None) -> Answer:
            return await gbprimepay_charges.create_token(world, fields)

        return await _by_key(request, sandbox, "token", act, credential="public_key")

    @post("/v2/tokens/charge", status_code=200)
    async def charge_card(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """Charge a token."""
        return await _by_key(request, sandbox, "charge", gbprimepay_charges.charge_card)

    @post("/v2/tokens/3d_secured", status_code=200)
    async def three_d_secure(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """The payer's browser comes for 3-D Secure."""
        return await _by_field(
            request, sandbox, gbprimepay_charges.three_d_secure, field="publicKey", credential="public_key"
        )

    @post("/v3/qrcode/text", status_code=200)
    async def qr_text(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """A QR as text."""

        async def act(world: World, fields: Fields, fault: Fault | None) -> Answer:
            charge = await gbprimepay_charges.issue_qr(world, fields, fault)
            return answer(
                {
                    "referenceNo": charge["reference"],
                    "qrcode": charge["qr_data"],
                    "resultCode": "00",
                    "gbpReferenceNo": charge["id"],
                    "resultMessage": "Success",
                }
            )

        return await _by_field(request, sandbox, act, field="token", credential="token")

    @post("/v3/qrcode", status_code=200)
    async def qr_picture(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """A QR as a picture."""

        async def act(world: World, fields: Fields, fault: Fault | None) -> Answer:
            charge = await gbprimepay_charges.issue_qr(world, fields, fault)
            return Answer(body=emvco.picture(charge["qr_data"], "png"), media_type="image/png")

        return await _by_field(request, sandbox, act, field="token", credential="token")

    @post(list(FORMS), status_code=200)
    async def begin_by_form(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """The payer's browser posts a wallet's or bank's form."""
        method = FORMS[request.url.path.removeprefix(f"/{NAME}")]

        async def act(world: World, fields: Fields, fault: Fault | None) -> Answer:
            return await gbprimepay_charges.begin_by_form(world, method, fields, fault)

        return await _by_field(request, sandbox, act, field="publicKey", credential="public_key")

    @post("/v1/check_status_txn", status_code=200)
    async def check_status(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """What became of a reference."""

        async def act(world: World, fields: Fields, _: Fault | None) -> Answer:
            return await gbprimepay_charges.check_status(world, fields)

        return await _by_key(request, sandbox, "inquiry", act)

    @post(["/v1/void", "/v1/refund"], status_code=200)
    async def give_back(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """Money back (ASSUMED paths)."""
        kind = request.url.path.rpartition("/")[2]

        async def act(world: World, fields: Fields, fault: Fault | None) -> Answer:
            return await gbprimepay_charges.give_back(world, kind, fields, fault)

        return await _by_key(request, sandbox, "refund", act)

    @get("/v1/settlement_report")
    async def report(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """The settlement report of a day that is over (ASSUMED path: merchants download it from the portal)."""
        text = request.query_params.get("date", "")

        async def act(world: World, _: Fields, __: Fault | None) -> Answer:
            on = _day(text)
            if not world.opened_on <= on < world.today:
                refuse("02", "The report of this day is not available", 404)
            content = settlement_report(world, on, await acquirer.of_day(world, NAME, on))
            return Answer(body=content, media_type="text/csv")

        try:
            world_name = await _world_of(request, sandbox, "secret_key")
            return await _performed(sandbox, world_name, "statement", act, {})
        except Refusal as refusal:
            return refusal.answer.response()


def _day(text: str) -> date:
    if not DAY.fullmatch(text):
        refuse("02", "date must be ddMMyyyy", 400)
    try:
        return datetime.strptime(text, "%d%m%Y").date()  # noqa: DTZ007 - a date has no zone
    except ValueError:
        refuse("02", "date must be ddMMyyyy", 400)


async def _due(world: World) -> None:
    await acquirer.expire_due(world, NAME)
    await acquirer.end_refunds_due(world, NAME)


async def _start_day(world: World, day: date) -> None:
    await acquirer.settle(world, NAME, day)


async def _charges(world: World) -> list[dict[str, Any]]:
    return await acquirer_orders.charges(world, NAME)


PROVIDER: Final = SandboxProvider(
    name=NAME,
    credentials=frozenset({"public_key", "secret_key", "token"}),
    identifiers=frozenset({"public_key", "secret_key", "token"}),
    operations=frozenset({"token", "charge", "inquiry", "refund", "statement", "pay", "callback"}),
    handlers=(GbprimepayController,),
    server_error=lambda: answer({"resultCode": "99", "resultMessage": "System error"}, 500),
    callbacks=CallbackRules(attempts_max=ATTEMPTS_MAX, retry_seconds=lambda settings: settings.callback_retry_seconds),
    pay=gbprimepay_charges.pay,
    forge=gbprimepay_charges.forge,
    charges=_charges,
    start_day=_start_day,
    due=_due,
)
