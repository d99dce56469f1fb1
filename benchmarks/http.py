"""The gateway over HTTP: what a payment costs beside an echo, and which rate of whole payments holds (goals 13, 14)."""

from typing import Any, Final

import msgspec

from benchmarks import http_ratios
from benchmarks.http_open_loop import P99_MS_MAX, OpenLoop, Step
from benchmarks.http_world import running
from benchmarks.options import Options
from benchmarks.report import Finding, heading
from benchmarks.server import Server

FIRST_RATE: Final = 10.0
LOWEST_RATE: Final = 2.0
HALVINGS: Final = 2
"""How often the gap between a rate that holds and one that does not is halved."""
LONG_SECONDS: Final = 300
LONG_SHARE: Final = 0.8

Measured = tuple[list[Finding], list[dict[str, Any]]]


async def measure(server: Server, options: Options) -> Measured:
    """The ramp, then ratios with the endpoint switched off: its backlog would be delivered in the middle of them."""
    async with running(server, options) as world:
        found, steps = await _ramp(OpenLoop(world), options)
        await world.listen_no_more()
        heading(f"HTTP: ratios, {options.http_workers} web workers, {http_ratios.CALLERS} callers")
        findings, figures = await http_ratios.measure(world, options)
    return [*findings, *found], [*figures, *steps]


async def measure_long(server: Server, options: Options) -> Measured:
    """The ramp, then five minutes at four fifths of the highest rate that held."""
    async with running(server, options) as world:
        loop = OpenLoop(world)
        findings, figures = await _ramp(loop, options)
        rate = (findings[0].measured or FIRST_RATE) * LONG_SHARE
        heading(f"HTTP: whole payments for {LONG_SECONDS} s")
        step = await _step(loop, rate, LONG_SECONDS)
        print(step.memory_line(), flush=True)
    finding = Finding(
        goal="–",
        what=f"HTTP: payments/s for {LONG_SECONDS} s",
        measured=rate,
        unit="/s",
        detail="holds" if step.holds else "does not hold",
    )
    return [*findings, finding], [*figures, _figures(step)]


async def _ramp(loop: OpenLoop, options: Options) -> Measured:
    """Double the rate until it does not hold – or halve it until it does –, then halve the gap."""
    heading(
        f"HTTP: whole QR payments at a fixed rate over {options.http_connections:,} kept-alive connections,"
        f" {options.http_seconds} s a step"
    )
    steps = [await _step(loop, FIRST_RATE, options.http_seconds)]
    while steps[-1].holds:
        steps.append(await _step(loop, steps[-1].rate * 2, options.http_seconds))
    while not any(step.holds for step in steps) and steps[-1].rate > LOWEST_RATE:
        steps.append(await _step(loop, steps[-1].rate / 2, options.http_seconds))
    for _ in range(HALVINGS if any(step.holds for step in steps) else 0):
        held = max(step.rate for step in steps if step.holds)
        failed = min(step.rate for step in steps if not step.holds)
        steps.append(await _step(loop, (held + failed) / 2, options.http_seconds))
    best = max((step for step in steps if step.holds), key=lambda step: step.rate, default=None)
    if best is not None:
        print(best.memory_line(), flush=True)
    finding = Finding(
        goal="–",
        what=f"HTTP: whole payments/s that hold (p99 < {P99_MS_MAX} ms, < 0.1 % errors)",
        measured=None if best is None else best.rate,
        unit="/s",
        detail="none holds" if best is None else "",
    )
    return [finding], [_figures(step) for step in steps]


async def _step(loop: OpenLoop, rate: float, seconds: float) -> Step:
    step = await loop.run(rate, seconds)
    print("\n".join(step.lines()), flush=True)
    return step


def _figures(step: Step) -> dict[str, Any]:
    return {"holds": step.holds, **msgspec.to_builtins(step)}
