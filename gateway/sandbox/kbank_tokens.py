"""KBank's gateway before the QR product: bearer tokens, and its refusals in a shape of their own."""

import base64
import binascii
import hmac
import secrets
from typing import Final, NoReturn
from urllib.parse import parse_qsl

from litestar import Controller, Response, post

from gateway.sandbox.accounts import grant_token
from gateway.sandbox.faults import Fault
from gateway.sandbox.kbank_wire import NAME, answer
from gateway.sandbox.service import InjectedSandbox, Sandbox
from gateway.sandbox.wire import Answer, AnyRequest, Refusal
from gateway.sandbox.world import World

TOKEN_SECONDS: Final = 1799
PREFIX: Final = "tok_kbank_"


def refuse_entry(status: int, message: str) -> NoReturn:
    """Say no in the words of the bank's API gateway.

    Raises:
        Refusal: always.
    """
    raise Refusal(answer({"code": "openapi_error", "message": message}, status))


class KbankTokenController(Controller):
    """`POST /v2/oauth/token`."""

    path = "/kbank/v2/oauth"

    @post("/token", status_code=200)
    async def token(self, request: AnyRequest, sandbox: InjectedSandbox) -> Response[bytes]:
        """A bearer token for a consumer id and its secret; its life is a text of real seconds."""
        try:
            consumer_id, secret = _basic(request.headers.get("authorization", ""))
            form = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
            if not form or parse_qsl((await request.body()).decode("latin-1")) != [
                ("grant_type", "client_credentials")
            ]:
                refuse_entry(400, "Invalid grant type")
            world_name = await sandbox.accounts.find(NAME, "consumer_id", consumer_id)
            if world_name is None:
                refuse_entry(401, "Invalid consumer")

            async def act(world: World, _: Fault | None) -> Answer:
                expected = world.credentials(NAME)["consumer_secret"]
                if not hmac.compare_digest(expected.encode(), secret.encode()):
                    refuse_entry(401, "Invalid consumer")
                return await _grant(world, consumer_id)

            replied = await sandbox.perform(world_name, act, provider=NAME, operation="token")
        except Refusal as refusal:
            replied = refusal.answer
        return replied.response()


async def world_of_token(request: AnyRequest, sandbox: Sandbox) -> str:
    """The world of a request's bearer token.

    Raises:
        Refusal: 401.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme != "Bearer" or not token.startswith(PREFIX):
        refuse_entry(401, "Unauthorized")
    name = await sandbox.accounts.find_by_token(NAME, token)
    if name is None:
        refuse_entry(401, "Access Token expired")
    return name


def _basic(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    try:
        consumer_id, colon, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        refuse_entry(401, "Unauthorized")
    if scheme != "Basic" or not colon:
        refuse_entry(401, "Unauthorized")
    return consumer_id, secret


async def _grant(world: World, consumer_id: str) -> Answer:
    token = PREFIX + secrets.token_urlsafe(24)
    await grant_token(world.connection, world.name, NAME, token, TOKEN_SECONDS)
    return answer(
        {
            "developer.email": "dev@quickkub.test",
            "token_type": "Bearer",
            "client_id": consumer_id,
            "access_token": token,
            "scope": "",
            "expires_in": str(TOKEN_SECONDS),
            "status": "approved",
        }
    )
