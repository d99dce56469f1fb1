"""The open loop: payments arrive at a fixed rate, whether or not the gateway keeps up, as payers do.

A payment is the whole walk: asked for over the API, paid in the sandbox, called back, confirmed by inquiry, booked,
and its event heard by the merchant's endpoint. Latency of asking counts from the moment at which it was planned, so a
gateway that falls behind cannot hide it by slowing the generator down.
"""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from benchmarks.http_client import Answer, request
from benchmarks.http_world import World

HEAR_TIMEOUT_SECONDS: Final = 15
HEAR_POLL_SECONDS: Final = 0.25
P99_MS_MAX: Final = 200
ERROR_SHARE_MAX: Final = 0.001
API_CALLS: Final = ("create", "read")
AMOUNT_MINOR: Final = 100_00
_numbers = itertools.count(1)
"""Names of payments; never twice, in whatever step."""


class Step(msgspec.Struct, kw_only=True):
    """One run at one rate.

    Attributes:
        milliseconds: of each call, by its name; `heard`: from the planned moment until the endpoint had the event.
        errors: by what went wrong, `create 503` or `unheard`.
        cpu_share: of each part, of one core; memory_bytes: of each part at start and end.
        drained_seconds: how long after the last arrival the last event was heard.
    """

    rate: float
    payments: int
    milliseconds: dict[str, list[float]] = {}
    errors: Counter[str] = msgspec.field(default_factory=Counter)
    cpu_share: dict[str, float] = {}
    memory_bytes: dict[str, tuple[int, int]] = {}
    drained_seconds: float = 0.0

    @property
    def error_share(self) -> float:
        """Payments that did not get through, of all."""
        return sum(self.errors.values()) / self.payments

    @property
    def holds(self) -> bool:
        """Whether the gateway keeps up: p99 of each API call, errors; an event that is not heard is an error."""
        slowest = max(quantile_ms(self.milliseconds.get(name, []), 0.99) for name in API_CALLS)
        return slowest < P99_MS_MAX and self.error_share < ERROR_SHARE_MAX

    def lines(self) -> list[str]:
        """The step as text."""
        spans = ", ".join(
            f"{name} {quantile_ms(found, 0.5):,.0f}/{quantile_ms(found, 0.99):,.0f}"
            for name, found in self.milliseconds.items()
        )
        shares = ", ".join(f"{name} {share:.0%}" for name, share in self.cpu_share.items())
        verdict = "holds" if self.holds else "FAILS"
        errors = f"errors {self.error_share:.2%} {dict(self.errors) or ''}".rstrip()
        return [
            f"{self.rate:>6.1f}/s  {verdict}  ms p50/p99: {spans}; {errors}; drained in {self.drained_seconds:.1f} s",
            f"{'':>10}CPU of one core: {shares}",
        ]

    def memory_line(self) -> str:
        """Memory at start and end."""
        parts = (f"{name} {a / 2**20:.0f} → {b / 2**20:.0f}" for name, (a, b) in self.memory_bytes.items())
        return f"{'':>10}memory, MiB: {', '.join(parts)}"


def quantile_ms(values: Sequence[float], share: float) -> float:
    """The value that this share of the calls stayed below; infinite where there are none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else float("inf")


class OpenLoop:
    """Makes payments in a world."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def run(self, rate: float, seconds: float) -> Step:
        """Let payments arrive for so long, and wait until all were heard of, or a while."""
        step = Step(rate=rate, payments=max(int(rate * seconds), 1))
        planned: dict[str, float] = {}
        memory_before, cpu_before = self._world.memory_bytes(), self._world.seconds()
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            hearing = group.create_task(self._hear(step, planned))
            async with asyncio.TaskGroup() as payments:
                for number in range(step.payments):
                    at = began + number / rate
                    if (wait := at - time.monotonic()) > 0:
                        await asyncio.sleep(wait)
                    payments.create_task(self._pay(step, at, planned))
                lasted = time.monotonic() - began
                cpu_after = self._world.seconds()
            await self._drained(planned)
            hearing.cancel()
        step.drained_seconds = time.monotonic() - began - lasted
        if planned:
            step.errors["unheard"] += len(planned)
        step.cpu_share = {name: (cpu_after[name] - cpu_before[name]) / lasted for name in cpu_after}
        after = self._world.memory_bytes()
        step.memory_bytes = {name: (memory_before[name], after[name]) for name in after}
        return step

    async def _pay(self, step: Step, at: float, planned: dict[str, float]) -> None:
        """One payment, from the planned moment on."""
        name = f"bench-{next(_numbers)}"
        body = {
            "amount": AMOUNT_MINOR,
            "currency": "thb",
            "payment_method": "promptpay",
            "provider": "scb",
            "merchant_reference": name,
        }
        secret = self._world.secret
        asked = request("POST", "/v1/payment_intents", body, bearer=secret, key=name)
        answer = await self._call(step, "create", self._world.api.call(asked), since=at)
        if answer is None:
            return
        intent = answer.json()
        if not intent["next_action"]:
            step.errors["no QR"] += 1
            return
        planned[intent["id"]] = at
        paid = {"world": str(self._world.book_id), "provider": "scb", "reference": intent["next_action"]["qr_data"]}
        pay = request("POST", "/_control/pay", paid, bearer=self._world.settings.sandbox_control_key)
        if await self._call(step, "pay", self._world.payers.call(pay)) is None:
            planned.pop(intent["id"], None)
            return
        read = request("GET", f"/v1/payment_intents/{intent['id']}", bearer=secret)
        await self._call(step, "read", self._world.api.call(read))

    async def _call(self, step: Step, name: str, call: Any, *, since: float | None = None) -> Answer | None:
        started = time.monotonic() if since is None else since
        try:
            answer: Answer = await call
        except (OSError, TimeoutError) as error:
            step.errors[f"{name} {type(error).__name__}"] += 1
            return None
        step.milliseconds.setdefault(name, []).append(1000 * (time.monotonic() - started))
        if answer.status not in {200, 201}:
            step.errors[f"{name} {answer.status}"] += 1
            return None
        return answer

    async def _drained(self, planned: dict[str, float]) -> None:
        """Return when every payment was heard of, or after a while."""
        deadline = time.monotonic() + HEAR_TIMEOUT_SECONDS
        while planned and time.monotonic() < deadline:  # noqa: ASYNC110 -- the endpoint is another process
            await asyncio.sleep(HEAR_POLL_SECONDS)

    async def _hear(self, step: Step, planned: dict[str, float]) -> None:
        """Ask the endpoint what it has heard, until cancelled."""
        early: dict[str, float] = {}
        while True:
            answer = await self._world.receiver.call(request("GET", "/heard"))
            early |= dict(answer.json())
            # What was planned by an earlier step and came too late belongs to nobody.
            for intent_id in planned.keys() & early.keys():
                waited = early.pop(intent_id) - planned.pop(intent_id)
                step.milliseconds.setdefault("heard", []).append(1000 * waited)
            await asyncio.sleep(HEAR_POLL_SECONDS)
