"""Exceptions become problems here, whatever raised them; nothing of their inside reaches the caller."""

import asyncio
import re
from typing import Final

import asyncpg
from litestar import Response
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from gateway.api.front_door import request_id_of
from gateway.api.problems import RETRY_SOON_SECONDS, FieldError, Problem, of_payment_error, reply_of
from gateway.api.services import ApiRequest, services_of
from gateway.foundation.logs import get_logger
from gateway.payments.errors import PaymentError
from gateway.webhooks.addresses import AddressRefused
from gateway.webhooks.endpoints import EndpointRefused
from ledger.errors import LedgerBusy, LedgerError

_log = get_logger("quickkub.http")

_MISSING: Final = re.compile(r"Missing required \w+ parameter '(?P<name>[^']+)'")
_UNREACHABLE: Final = (
    PoolTimeout,
    OSError,
    asyncio.TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.exceptions.LockNotAvailableError,
    asyncpg.exceptions.OperatorInterventionError,
    asyncpg.exceptions.InsufficientResourcesError,
)
"""What a database that restarts, is full or is gone looks like: nothing wrong with the request."""


def answer(request: ApiRequest, error: Exception) -> Response[bytes]:
    """The problem document for an exception, logged where it is ours."""
    problem = _problem_of(error)
    if problem.code in {"internal_error", "temporarily_unavailable"}:
        _log.error("request failed: %s", type(error).__name__, exc_info=error)
    return reply_of(
        problem,
        instance=request.url.path,
        request_id=request_id_of(request.scope),
        public_url=services_of(request).settings.public_url,
    )


def _problem_of(error: Exception) -> Problem:
    match error:
        case Problem():
            return error
        case HTTPException():
            return _of_litestar(error)
        case PaymentError():
            return of_payment_error(error)
        case AddressRefused() | EndpointRefused():
            return Problem(error.code, f"{error}.", param=getattr(error, "param", "url"))
        case _:
            return _of_ours(error)


def _of_ours(error: Exception) -> Problem:
    """Nothing that the caller did."""
    if isinstance(error, LedgerBusy):
        return Problem("busy", retry_after_seconds=RETRY_SOON_SECONDS)
    if _is_passing(error):
        return Problem("temporarily_unavailable", retry_after_seconds=RETRY_SOON_SECONDS)
    return Problem("internal_error")


def _is_passing(error: BaseException | None) -> bool:
    """Whether something was not there or not free, rather than asked something wrong."""
    match error:
        case DBAPIError():
            return error.connection_invalidated or _is_passing(error.orig.__cause__ if error.orig else None)
        case LedgerError():
            return error.retryable
        case _:
            return isinstance(error, _UNREACHABLE)


def _of_litestar(error: HTTPException) -> Problem:
    match error:
        case ValidationException():
            return _of_validation(error)
        case NotFoundException():
            return Problem("route_not_found")
        case MethodNotAllowedException():
            return Problem("method_not_allowed", headers=dict(error.headers or {}))
        case RequestEntityTooLarge():
            return Problem("body_too_large")
        case _ if error.status_code >= 500:  # noqa: PLR2004 -- where server errors begin
            return Problem("internal_error")
        case _:
            return Problem("request_invalid", f"{error.detail}.")


def _of_validation(error: ValidationException) -> Problem:
    """Query, header and path parameters; bodies are read by `bodies.decode`."""
    if missing := _MISSING.match(error.detail):
        return Problem("parameter_missing", f"{missing['name']} is required.", param=missing["name"])
    details = [item for item in error.extra if isinstance(item, dict)] if isinstance(error.extra, list) else []
    errors = tuple(
        FieldError(param=str(item.get("key", "")), code="parameter_invalid", detail=f"{item.get('message', '')}.")
        for item in details
    )
    if any(item.param == "data" for item in errors):
        return Problem("body_missing")
    first = errors[0] if errors else FieldError(param="", code="parameter_invalid", detail=f"{error.detail}.")
    return Problem("parameter_invalid", f"{first.param}: {first.detail}", param=first.param or None, errors=errors)
