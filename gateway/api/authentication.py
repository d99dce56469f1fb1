"""Who asks: the guard that every address of `/v1` has but the providers' callbacks.

A key comes as `Authorization: Bearer sk_…` or as the user name of HTTP Basic (`curl -u sk_…:`). Limits are drawn
before anything else is done, first the address's, then the key's; after that the scope decides.
"""

import base64
import binascii
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.openapi.spec import SecurityScheme

from gateway.api.problems import Problem
from gateway.api.rate_limits import ADDRESS_LIMIT, PAYER_LIMIT
from gateway.api.services import ApiRequest, authenticator_of, rate_limiter_of
from gateway.foundation.metrics import API_KEY_AUTH_FAILURES
from gateway.merchants.principals import OPERATOR_SCOPES, MerchantPrincipal, OperatorPrincipal, Principal, Scope

_Connection = ASGIConnection[Any, Any, Any, Any]
Guard = Callable[[_Connection, BaseRouteHandler], Awaitable[None]]

SECURITY_SCHEMES: Final = {
    "bearer": SecurityScheme(type="http", scheme="bearer", description="The API key."),
    "basic": SecurityScheme(type="http", scheme="basic", description="The API key as the user name, no password."),
}
"""For the OpenAPI page: either of them opens."""

_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="QuickKub", Basic realm="QuickKub"'}
_ID: Final = re.compile(r"[a-z]{2,5}_(test_)?[0-9a-z]{26}")


def requires(scope: Scope) -> Guard:
    """A guard that lets through whoever holds the scope, and puts the principal into `request.auth`."""

    async def guard(connection: _Connection, _: BaseRouteHandler) -> None:
        principal = await _principal_of(connection)
        await rate_limiter_of(connection).take("key", principal.key_id, principal.rate_limit)
        if scope not in principal.scopes:
            whose = "an operator's key" if scope in OPERATOR_SCOPES else "a key"
            raise Problem("scope_missing", f"This needs {whose} with the scope {scope.value}.")
        connection.scope["auth"] = principal

    return guard


async def limit_address(connection: _Connection, _: BaseRouteHandler) -> None:
    """A guard that draws from the caller's address, before anybody is looked up."""
    await rate_limiter_of(connection).take("address", address_of(connection), ADDRESS_LIMIT)


def address_of(connection: _Connection) -> str:
    """The caller's address."""
    return connection.client.host if connection.client else "unknown"


async def limit_payer(connection: _Connection, _: BaseRouteHandler) -> None:
    """A guard for addresses that payers open with a token alone: few a second, so that nobody tries tokens out."""
    await rate_limiter_of(connection).take("payer", address_of(connection), PAYER_LIMIT)


async def known_id(connection: _Connection, _: BaseRouteHandler) -> None:
    """A guard that answers 404 for a path id that cannot be one of ours, before it reaches a query."""
    if not all(_ID.fullmatch(str(value)) for value in connection.path_params.values()):
        raise Problem("not_found")


def is_id(text: str, prefix: str) -> bool:
    """Whether the text has the form of an id with that prefix."""
    return text.startswith(f"{prefix}_") and _ID.fullmatch(text) is not None


async def provide_merchant(request: ApiRequest) -> MerchantPrincipal:
    """The merchant's key at work; its guard has seen to it that there is one."""
    assert isinstance(request.auth, MerchantPrincipal)
    return request.auth


async def provide_operator(request: ApiRequest) -> OperatorPrincipal:
    """The operator's key at work; its guard has seen to it that there is one."""
    assert isinstance(request.auth, OperatorPrincipal)
    return request.auth


async def _principal_of(connection: _Connection) -> Principal:
    presented = _presented_key(connection.headers.get("authorization", ""))
    if presented is None:
        API_KEY_AUTH_FAILURES.labels("missing").inc()
        raise Problem("authentication_required", headers=_CHALLENGE)
    principal = await authenticator_of(connection).principal_of(presented)
    if principal is None:
        API_KEY_AUTH_FAILURES.labels("invalid").inc()
        raise Problem("key_invalid", headers=_CHALLENGE)
    return principal


def _presented_key(header: str) -> str | None:
    scheme, _, value = header.strip().partition(" ")
    if scheme.lower() == "bearer":
        return value.strip() or None
    if scheme.lower() == "basic":
        try:
            pair = base64.b64decode(value.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None
        return pair.partition(":")[0] or None
    return None
