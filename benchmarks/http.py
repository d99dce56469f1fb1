"""The gateway over HTTP: what a payment costs beside an echo, and which rate of whole payments holds (goals 13, 14)."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from benchmarks import http_ratios
from benchmarks.http_open_loop import P99_MS_MAX, OpenLoop, Step
from benchmarks.http_world import GENERATOR, World, running
from benchmarks.options import Options
from benchmarks.report import Finding, heading
from benchmarks.server import Server

FIRST_RATE: Final = 10.0
LOWEST_RATE: Final = 1.0
HALVINGS: Final = 2
"""How often the gap between a rate that holds and one that does not is halved."""
LONG_SHARE: Final = 0.8
KEPT_UP_SECONDS: Final = 5
"""How long after a step's last arrival the last event may be heard, for its processor time to count."""
WARM_UP: Final = (8.0, 15)
"""Payments a second and seconds, before anything counts: each of some sixty sessions plans its statements once."""
IDLE_SECONDS: Final = 10
REST_SECONDS: Final = 2
REST_SECONDS_MAX: Final = 40
REST_CORES_MAX: Final = 0.2
"""After a step: what is left of it is worked off, until the parts use no more of a core than this, or for so long."""

Measured = tuple[list[Finding], list[dict[str, Any]]]


async def measure(server: Server, options: Options) -> Measured:
    """The search, then ratios with the endpoint switched off: its backlog would be delivered in the middle of them."""
    async with running(server, options) as world:
        found, steps, _ = await _search(world, options)
        await _rest(world)
        await world.listen_no_more()
        heading(f"HTTP: ratios, web workers: {options.http_workers}, callers: {http_ratios.CALLERS}")
        findings, figures = await http_ratios.measure(world, options)
    return [*findings, *found], [*figures, *steps]


async def measure_long(server: Server, options: Options) -> Measured:
    """Minutes at a rate that was named, or at four fifths of the highest one that the search found."""
    async with running(server, options) as world:
        findings: list[Finding] = []
        figures: list[dict[str, Any]] = []
        if rate := options.http_rate:
            await OpenLoop(world).run(*WARM_UP)
        else:
            findings, figures, best = await _search(world, options)
            rate = (best or LOWEST_RATE) * LONG_SHARE
        heading(f"HTTP: whole payments for {options.http_long_seconds} s")
        step = await _step(world, rate, options.http_long_seconds)
    finding = Finding(
        goal="–",
        what=f"HTTP: payments/s for {options.http_long_seconds} s",
        measured=rate if step.holds else None,
        floor=100.0,
        stretch=300.0,
        unit="/s",
        detail="" if step.holds else f"{rate:.1f}/s does not hold",
    )
    return [*findings, finding], [*figures, _figures(step)]


async def _search(world: World, options: Options) -> tuple[list[Finding], list[dict[str, Any]], float | None]:
    """Double the rate until it does not hold – or halve it until it does –, then halve the gap."""
    seconds = options.http_seconds
    heading(
        f"HTTP: whole QR payments at a fixed rate over {options.http_connections:,} kept-alive connections,"
        f" {seconds} s a step"
    )
    await OpenLoop(world).run(*WARM_UP)
    idle = await _idle(world)
    steps = [await _step(world, FIRST_RATE, seconds)]
    while steps[-1].holds:
        steps.append(await _step(world, steps[-1].rate * 2, seconds))
    while not any(step.holds for step in steps) and steps[-1].rate > LOWEST_RATE:
        steps.append(await _step(world, steps[-1].rate / 2, seconds))
    for _ in range(HALVINGS if any(step.holds for step in steps) else 0):
        held = max(step.rate for step in steps if step.holds)
        failed = min(step.rate for step in steps if not step.holds)
        steps.append(await _step(world, (held + failed) / 2, seconds))
    best = max((step for step in steps if step.holds), key=lambda step: step.rate, default=None)
    finding = Finding(
        goal="–",
        what=f"HTTP: whole payments/s that hold (p99 < {P99_MS_MAX} ms, < 0.1 % errors)",
        measured=None if best is None else best.rate,
        floor=100.0,
        stretch=300.0,
        unit="/s",
        detail="none holds" if best is None else "",
    )
    cost, figures = _cost(idle, steps)
    return [finding, cost], [_figures(step) for step in steps] + [figures], None if best is None else best.rate


def _cost(idle: dict[str, float], steps: Sequence[Step]) -> tuple[Finding, dict[str, Any]]:
    """What one payment more costs of each part: the slope between the lowest rate and the highest that it kept up with.

    Where it kept up with fewer than two, between nothing and the lowest rate.
    """
    low = min(steps, key=lambda step: step.rate)
    kept_up = [step for step in steps if step.drained_seconds < KEPT_UP_SECONDS]
    high = max(kept_up, key=lambda step: step.rate, default=low)
    from_shares, from_rate = (idle, 0.0) if high.rate == low.rate else (low.cpu_share, low.rate)
    milliseconds = {
        name: 1000 * (share - from_shares[name]) / (high.rate - from_rate) for name, share in high.cpu_share.items()
    }
    print("idle, ms of processor time a second: ", ", ".join(f"{name} {1000 * s:.0f}" for name, s in idle.items()))
    print(
        f"a payment, ms, {from_rate:g} to {high.rate:g}/s: ", ", ".join(f"{n} {v:.1f}" for n, v in milliseconds.items())
    )
    finding = Finding(
        goal="–",
        what="HTTP: processor time of one payment more, all parts but the generator",
        measured=sum(value for name, value in milliseconds.items() if name != GENERATOR),
        unit="ms",
    )
    return finding, {"idle_ms_per_second": {n: 1000 * s for n, s in idle.items()}, "ms_per_payment": milliseconds}


async def _step(world: World, rate: float, seconds: float) -> Step:
    step = await OpenLoop(world).run(rate, seconds)
    print("\n".join([*step.lines(), step.memory_line()]), flush=True)
    await _rest(world)
    return step


async def _idle(world: World) -> dict[str, float]:
    """What each part uses of a core when nothing happens."""
    await _rest(world)
    return await _shares(world, IDLE_SECONDS)


async def _rest(world: World) -> None:
    """Wait until what a step has left behind is done."""
    until = time.monotonic() + REST_SECONDS_MAX
    while time.monotonic() < until:
        shares = await _shares(world, REST_SECONDS)
        if sum(share for name, share in shares.items() if name != GENERATOR) < REST_CORES_MAX:
            return


async def _shares(world: World, seconds: float) -> dict[str, float]:
    before, began = world.seconds(), time.monotonic()
    await asyncio.sleep(seconds)
    after, lasted = world.seconds(), time.monotonic() - began
    return {name: (after[name] - before[name]) / lasted for name in after}


def _figures(step: Step) -> dict[str, Any]:
    return {"holds": step.holds, **msgspec.to_builtins(step)}
