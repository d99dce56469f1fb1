"""Requests that move money: the Idempotency-Key read, the work run once, the answer kept and replayed as it was."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from litestar import Response
from litestar.openapi.spec import OpenAPIType, Operation, Parameter, Schema

from gateway.api.front_door import request_id_of
from gateway.api.problems import PROBLEM_TYPE, Problem, of_payment_error, reply_body
from gateway.api.services import ApiRequest, services_of
from gateway.merchants.principals import MerchantPrincipal
from gateway.payments.errors import Refused
from gateway.payments.idempotency import KEY_LENGTH_MAX, Claim, Reply, checked_key, fingerprint_of

Work = Callable[[Claim], Awaitable[tuple[int, Any]]]
"""Does the work, commits it, and returns the status and the object to answer with, or raises a `Problem`."""


class AtOnce(Protocol):
    """Does the work with its key and its answer in one transaction; None where it is not for that."""

    async def __call__(self, *, key: str, fingerprint: bytes, request_id: str) -> Reply | None:
        """See `UntriedIntents.create`."""
        ...


_ERROR: int = 400


@dataclass
class MoneyOperation(Operation):
    """For the OpenAPI page: an address that needs an Idempotency-Key, which `run_once` reads."""

    def __post_init__(self) -> None:
        """Add the header."""
        key = Parameter(
            name="Idempotency-Key",
            param_in="header",
            required=True,
            description="Your own name for this request; under the same one it is done once.",
            schema=Schema(type=OpenAPIType.STRING, min_length=1, max_length=KEY_LENGTH_MAX, pattern="^[!-~]+$"),
        )
        self.parameters = [*(self.parameters or []), key]


async def run_once(
    request: ApiRequest,
    merchant: MerchantPrincipal,
    data: msgspec.Struct | None,
    work: Work,
    *,
    room: str = "",
    at_once: AtOnce | None = None,
) -> Response[bytes]:
    """The work's answer, or the stored one where this key has been used for this same request.

    Keys of payers, who have no API key, live in a `room` of their own beside the merchant's.

    A no after work began is kept like a yes: both are answers. A no before it leaves the key free.

    Args:
        at_once: tried first, where the work is no more than rows and their answer.
    """
    services = services_of(request)
    request_id = request_id_of(request.scope)

    async def operation(claim: Claim) -> Reply:
        try:
            status, view = await work(claim)
        except Refused as refused:
            problem = of_payment_error(refused)
        except Problem as raised:
            problem = raised
        else:
            return Reply(status=status, body=msgspec.json.encode(view))
        if problem.kind.retryable:
            # Not kept: a stored answer would be the answer to every retry.
            raise problem
        body = reply_body(
            problem, instance=request.url.path, request_id=request_id, public_url=services.settings.public_url
        )
        return Reply(status=problem.kind.status.value, body=body)

    key = room + checked_key(request.headers.get("idempotency-key"))
    fingerprint = fingerprint_of(request.method, request.scope["path_template"], request.path_params, data)
    reply = None if at_once is None else await at_once(key=key, fingerprint=fingerprint, request_id=request_id)
    if reply is None:
        reply = await services.idempotency.run_idempotent(merchant, key, fingerprint, operation, request_id=request_id)
    return _response(reply)


def _response(reply: Reply) -> Response[bytes]:
    headers = {"Idempotency-Replayed": "true"} if reply.replayed else {}
    if reply.status < _ERROR:
        return Response(reply.body, status_code=reply.status, media_type="application/json", headers=headers)
    retryable = msgspec.json.decode(reply.body)["retryable"]
    headers["QuickKub-Should-Retry"] = str(retryable).lower()
    return Response(reply.body, status_code=reply.status, media_type=PROBLEM_TYPE, headers=headers)
