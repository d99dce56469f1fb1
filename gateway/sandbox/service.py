"""One operation of a provider, from the fault that may spoil it to the answer: the same road for all of them."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

import asyncpg
from litestar.di import NamedDependency

from gateway.sandbox.callbacks import CallbackSender
from gateway.sandbox.clock import roll_forward
from gateway.sandbox.faults import HOLD_SECONDS, MAGIC_AMOUNTS, SLOW_SECONDS, Fault, FaultKind, cut_off, strike
from gateway.sandbox.provider import SandboxProvider
from gateway.sandbox.wire import Answer, AnyRequest, Refusal
from gateway.sandbox.world import World, Worlds

Act = Callable[[World, Fault | None], Awaitable[Answer | Callable[[], Answer]]]
"""What an operation does in its world; an answer that takes long to make is made when the world is let go."""
_HOLDS: Final = {
    FaultKind.SLOW: SLOW_SECONDS,
    FaultKind.TIMEOUT_BEFORE: HOLD_SECONDS,
    FaultKind.TIMEOUT_AFTER: HOLD_SECONDS,
}


class Sandbox:
    """What every handler needs: the worlds and the sender of callbacks."""

    def __init__(
        self, pool: asyncpg.Pool, providers: Mapping[str, SandboxProvider], *, control_key: str, sandbox_url: str
    ) -> None:
        """`pool` belongs to the application."""
        self.providers = providers
        self.worlds = Worlds(pool, lambda world: roll_forward(world, providers.values()), sandbox_url)
        self.accounts = self.worlds.accounts
        rules = {name: provider.callbacks for name, provider in providers.items() if provider.callbacks is not None}
        self.callbacks = CallbackSender(pool, rules)
        self.control_key = control_key

    async def perform(
        self,
        world_name: str,
        act: Act,
        *,
        provider: str,
        operation: str,
        amount_minor: int | None = None,
        fingerprint: str = "",
        alone: bool = False,
    ) -> Answer:
        """Run `act` in its world, unless a fault comes before it; the answer is held back or spoiled after the commit.

        Args:
            world_name: locked while `act` runs, unless it is alone, and never while an answer is held back.
            act: gets the world and the fault that it has to play itself (a decline, a refund that fails later).
            provider: who is asked.
            operation: one of `faults.FAULTS_OF_OPERATION`.
            amount_minor: what faults and magic amounts are chosen by.
            fingerprint: the same for every retry of the request.
            alone: `act` reads once or writes once, see `Worlds.open`.
        """
        # What a magic amount spoils is kept with what the operation does.
        alone = alone and amount_minor not in MAGIC_AMOUNTS
        made: Answer | Callable[[], Answer] = self.providers[provider].server_error()
        try:
            async with self.worlds.open(world_name, alone=alone) as world:
                fault = await strike(
                    world, provider=provider, operation=operation, amount_minor=amount_minor, fingerprint=fingerprint
                )
                kind = fault.kind if fault else None
                if fault is None and not world.has_moved:
                    made = await act(world, None)
                elif kind not in (FaultKind.TIMEOUT_BEFORE, FaultKind.SERVER_ERROR):
                    made = await _answer_of(world, act, fault)
        except Refusal as refusal:
            # Nothing but the refused operation was in the transaction, which is gone with it.
            return refusal.answer
        if world.calls_back or world.has_moved:
            self.callbacks.wake()
        answer = made if isinstance(made, Answer) else made()
        if fault and kind is not None and kind in _HOLDS:
            await asyncio.sleep(_HOLDS[kind] if fault.seconds is None else fault.seconds)
        return cut_off(answer) if kind is FaultKind.MALFORMED else answer


async def _answer_of(world: World, act: Act, fault: Fault | None) -> Answer | Callable[[], Answer]:
    """The answer of an operation; a refused one leaves nothing behind but the fault that it used up."""
    waiting = world.waiting[:]
    try:
        async with world.connection.transaction():
            return await act(world, fault)
    except Refusal as refusal:
        world.waiting[:] = waiting
        return refusal.answer


InjectedSandbox: TypeAlias = NamedDependency[Sandbox]
"""How handlers ask litestar for the sandbox."""


async def fingerprint_of(request: AnyRequest) -> str:
    """The same text for every request with the same path and body."""
    return hashlib.sha256(request.url.path.encode() + b"\x00" + await request.body()).hexdigest()
