"""What a provider is to the sandbox: protocol, callbacks, payers, books. One value each, listed in `registry.py`."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import date
from typing import Any, TypeAlias

import msgspec
from litestar.types import ControllerRouterHandler

from gateway.sandbox.client import DisputeBody, PayBody
from gateway.sandbox.wire import Answer
from gateway.sandbox.world import World, WorldSettings

Headers: TypeAlias = Mapping[str, str]


def no_headers(credentials: Mapping[str, str], body: bytes, *, forged: bool) -> Headers:  # noqa: ARG001 - the shape of all
    """Headers of callbacks that carry no signature."""
    return {}


def taken_by_status(body: bytes) -> bool:  # noqa: ARG001 - the shape of all
    """Whether an answer of 2xx takes the callback: for most providers it does, whatever it says."""
    return True


def needs_no_proof(credentials: Mapping[str, str], headers: Headers, body: bytes) -> bool:  # noqa: ARG001 - the shape of all
    """Whether an answer is proved to be the merchant's: most providers ask for no proof."""
    return True


class CallbackRules(msgspec.Struct, frozen=True, kw_only=True):
    """How a provider calls the gateway.

    Attributes:
        attempts_max: how often one callback is sent before it is given up.
        retry_seconds: real seconds between two tries, by the world's settings.
        headers: signature and the like for a body that is sent now; a forger does not know the key.
        is_taken: whether the body of a 2xx answer says that the callback was taken.
        is_proved: whether such an answer, by its headers (lower case), is the merchant's.
    """

    attempts_max: int
    retry_seconds: Callable[[WorldSettings], int]
    headers: Callable[..., Headers] = no_headers
    is_taken: Callable[[bytes], bool] = taken_by_status
    is_proved: Callable[[Mapping[str, str], Headers, bytes], bool] = needs_no_proof


class SandboxProvider(msgspec.Struct, frozen=True, kw_only=True):
    """One provider.

    Attributes:
        credentials: what an account must have; identifiers: those of them by which a request finds its world.
        operations: of `faults.FAULTS_OF_OPERATION`, those that the provider has.
        handlers: its protocol over HTTP, under `/{name}` (or `/{name}-…` for its other hosts).
        server_error: the 500 that it would give.
        pay: lets a payer pay, and returns the payments; forge: the body of a callback about a payment that never
            happened. Both raise `Refusal`.
        dispute: lets a payer's bank question a payment or decide, and returns the dispute's id.
        charges: what it believes of every charge, in the shape of `books.py`.
        end_day, start_day: what happens at midnight, in that order, for the day that ends and the one that begins.
        due: what is due within the day (expiry, refunds that end later).
    """

    name: str
    credentials: frozenset[str]
    identifiers: frozenset[str]
    operations: frozenset[str]
    handlers: tuple[ControllerRouterHandler, ...]
    server_error: Callable[[], Answer]
    callbacks: CallbackRules | None = None
    pay: Callable[[World, PayBody], Awaitable[list[dict[str, Any]]]] | None = None
    forge: Callable[[World, str], Awaitable[bytes]] | None = None
    dispute: Callable[[World, DisputeBody], Awaitable[str]] | None = None
    charges: Callable[[World], Awaitable[list[dict[str, Any]]]] | None = None
    end_day: Callable[[World, date], Awaitable[None]] | None = None
    start_day: Callable[[World, date], Awaitable[None]] | None = None
    due: Callable[[World], Awaitable[None]] | None = None
