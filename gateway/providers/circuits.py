"""Circuit breakers: a provider that does not answer is left alone for a while, instead of holding everybody up.

One for each provider × operation – and, for test accounts, for each account, so that one merchant's experiments trouble
nobody else. Only silence counts: a refused connection, a time-out, a 5xx. An answer of any other kind, also a no, shows
that the provider lives. After `OPEN_MS` one call is let through; its answer closes the circuit, its silence opens
it again. A call that is not let through was certainly not attempted, so a payment may go elsewhere.

Each process judges by its own calls. What opened is written down, so that staff see it and can close it by hand.
"""

import time
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Final, Protocol

import msgspec

from gateway.foundation.clock import real_now
from gateway.providers.base import ProviderAccount

CIRCUIT_OPEN: Final = "circuit_open"
"""Reason of `NotAttempted` where a call was not let through."""
WINDOW_MS: Final = 30_000
CALLS_MIN: Final = 10
"""So many calls within the window before they are judged."""
SILENT_SHARE_PERCENT: Final = 50
OPEN_MS: Final = 30_000
LOOK_MS: Final = 1_000
"""How often an open circuit looks whether somebody closed it by hand."""


def is_circuit_open(reason: str) -> bool:
    """Whether a call was not made for this reason: its own circuit is open, or that of the token's before it."""
    return reason.rpartition(": ")[2] == CIRCUIT_OPEN


class CircuitKey(msgspec.Struct, frozen=True):
    """Which calls a circuit is about; scope: `live`, or the id of a test account."""

    provider: str
    operation: str
    scope: str

    @classmethod
    def of(cls, account: ProviderAccount, operation: str) -> "CircuitKey":
        """The circuit of an account's calls."""
        return cls(account.provider, operation, "live" if account.livemode else account.account_id)


class CircuitBook(Protocol):
    """Where open circuits are written down. A failure to write must not hurt a payment: it is the book's own matter."""

    async def opened(self, key: CircuitKey, at: datetime, *, calls: int, silent: int) -> None:
        """A circuit opened; or stays open, after another silent call."""
        ...

    async def closed(self, key: CircuitKey) -> None:
        """The provider answered again."""
        ...

    async def was_reset(self, key: CircuitKey, since: datetime) -> bool:
        """Whether somebody closed it by hand since it opened."""
        ...


class _Circuit:
    """State of one circuit: closed while `opened_at` is None; of the calls in the window, how many were silent."""

    def __init__(self) -> None:
        self.calls: deque[tuple[int, bool]] = deque()
        self.silent = 0
        self.opened_at: datetime | None = None
        self.probe_after_ms = 0
        self.look_after_ms = 0

    def note(self, now_ms: int, *, is_answered: bool) -> None:
        """Take a call into the window, and those out of it that are older."""
        self.calls.append((now_ms, is_answered))
        self.silent += not is_answered
        while self.calls[0][0] < now_ms - WINDOW_MS:
            _, was_answered = self.calls.popleft()
            self.silent -= not was_answered


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class Circuits:
    """The circuits of this process.

    Args:
        book: None: nobody else is told.
        monotonic_ms: milliseconds that only go forward.
    """

    def __init__(self, book: CircuitBook | None = None, monotonic_ms: Callable[[], int] = _monotonic_ms) -> None:
        self._book = book
        self._monotonic_ms = monotonic_ms
        self._circuits: dict[CircuitKey, _Circuit] = {}

    def is_closed(self, key: CircuitKey) -> bool:
        """Whether calls are let through without further ado."""
        circuit = self._circuits.get(key)
        return circuit is None or circuit.opened_at is None

    async def admits(self, key: CircuitKey) -> bool:
        """Whether a call may be made now. Of an open circuit one call is let through at a time."""
        circuit = self._circuits.get(key)
        if circuit is None or circuit.opened_at is None:
            return True
        now = self._monotonic_ms()
        if now >= circuit.probe_after_ms:
            circuit.probe_after_ms = now + OPEN_MS
            return True
        if self._book is not None and now >= circuit.look_after_ms:
            circuit.look_after_ms = now + LOOK_MS
            if await self._book.was_reset(key, circuit.opened_at):
                self._circuits[key] = _Circuit()
                return True
        return False

    async def record(self, key: CircuitKey, *, is_answered: bool) -> None:
        """Note how a call went."""
        circuit = self._circuits.setdefault(key, _Circuit())
        now = self._monotonic_ms()
        if circuit.opened_at is not None:
            if is_answered:
                self._circuits[key] = _Circuit()
                if self._book is not None:
                    await self._book.closed(key)
            return
        circuit.note(now, is_answered=is_answered)
        calls, silent = len(circuit.calls), circuit.silent
        if not is_answered and calls >= CALLS_MIN and silent * 100 >= calls * SILENT_SHARE_PERCENT:
            circuit.opened_at = real_now()
            circuit.probe_after_ms = now + OPEN_MS
            if self._book is not None:
                await self._book.opened(key, circuit.opened_at, calls=calls, silent=silent)
