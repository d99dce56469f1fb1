"""A fault that a request in test mode brings along, from the API to the sandbox, which plays it in that one call.

Ordered faults are rows and strike whichever operation comes next; this one is a header on the provider call that the
request itself makes, so that it strikes no other. It never leaves for a real provider (`providers/http.py`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

HEADER: Final = "QuickKub-Test-Fault"
"""Of the merchant's request its value is the fault; of the provider call `operation/fault`."""

_brought: ContextVar[str | None] = ContextVar("quickkub_test_fault", default=None)


@contextmanager
def brought(operation: str, fault: str | None) -> Iterator[None]:
    """Let the provider calls of that operation that are made within go wrong; None: nothing does."""
    token = _brought.set(None if fault is None else f"{operation}/{fault}")
    try:
        yield
    finally:
        _brought.reset(token)


def headers() -> dict[str, str]:
    """What a call to the sandbox carries of it."""
    value = _brought.get()
    return {} if value is None else {HEADER: value}


def come(value: str | None) -> None:
    """The sandbox: what the request that is answered now brought; None: nothing."""
    _brought.set(value)


def take(operation: str) -> str | None:
    """The sandbox: the fault brought for this operation, used up by this."""
    wanted, _, fault = (_brought.get() or "").partition("/")
    if wanted != operation or not fault:
        return None
    _brought.set(None)
    return fault
