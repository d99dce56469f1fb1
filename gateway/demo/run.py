"""`quickkub demo`: start everything, play the story, prove it, say it in one summary, stay up."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Final

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from gateway.bootstrap import Services, open_services
from gateway.demo.client import MerchantClient
from gateway.demo.orders import ORDERS
from gateway.demo.processes import Processes
from gateway.demo.story import Story
from gateway.demo.summary import Summary, gather, show
from gateway.foundation import embedded
from gateway.foundation.embedded import ensure_port_free
from gateway.foundation.embedded.resolution import resolved
from gateway.foundation.schema import migrate
from gateway.foundation.settings import Settings

SHORT_WAITS: Final = {
    "provider_timeout_seconds": 5.0,
    "delivery_timeout_seconds": 2.0,
    "janitor_first_delay_seconds": 1.0,
    "janitor_poll_seconds": 0.3,
    "inbox_poll_seconds": 0.1,
    "delivery_poll_seconds": 0.1,
    "scheduler_tick_seconds": 0.5,
    "idempotency_lease_seconds": 10.0,
    "web_workers": 1,
}
"""The demonstration's settings: the same code, shorter waits. What the environment says goes before them."""


WIDTH_WITHOUT_TERMINAL: Final = 140


async def run(settings: Settings, *, once: bool, fresh: bool, stop: asyncio.Event, orders: int = ORDERS) -> int:
    """Run the demonstration.

    Args:
        settings: as read from the environment.
        once: end after the summary; else stay up until `stop`.
        fresh: forget what an earlier demonstration did.
        stop: ends everything cleanly.
        orders: how many payments.

    Returns:
        the exit code: 1 if anything that must hold does not.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH_WITHOUT_TERMINAL)
    settings = with_short_waits(settings)
    if fresh:
        _forget(settings)
    ensure_port_free(settings.api_host, settings.api_port, variable="QUICKKUB_API_PORT")
    ensure_port_free(settings.sandbox_host, settings.sandbox_port, variable="QUICKKUB_SANDBOX_PORT")
    started = monotonic()
    console.print("[bold]QuickKub[/] starts PostgreSQL and Valkey, migrates, then sandbox, API and worker …")
    async with resolved(settings) as whole, running(whole) as (services, _):
        console.print(f"{monotonic() - started:5.1f} s  everything is up")
        playing = asyncio.create_task(_play(console, services, orders, started))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({playing, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not playing.done():
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)
            return 1
        summary = playing.result()
        show(console, summary, seconds=monotonic() - started, settings=whole)
        if not once:
            console.print("Running. Ctrl-C stops everything; `make demo` comes back to this state.")
            await stop.wait()
        return 0 if summary.holds else 1


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[tuple[Services, Processes]]:
    """Migrated schema, running processes, and services of our own for what only an operator may see."""
    await migrate(settings)
    processes = Processes(settings.home / "logs", settings.as_environment())
    try:
        await asyncio.gather(
            processes.start("sandbox", ["sandbox"], ready_url=f"{settings.sandbox_url}/health"),
            processes.start("api", ["serve"], ready_url=f"{settings.public_url}/health/ready"),
        )
        await processes.start("worker", ["work"])
        async with open_services(settings) as services:
            yield services, processes
    finally:
        await processes.stop()


async def _play(console: Console, services: Services, orders: int, started: float) -> Summary:
    def say(line: str) -> None:
        progress.console.print(f"{monotonic() - started:5.1f} s  {line}")

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=not console.is_terminal) as progress:
        story = Story(services, orders=orders, say=say)
        known = await story.begin()
        async with MerchantClient(services.settings.public_url, story.state.api_key) as api:
            shop = await story.shop(api)
            if known:
                say("all of it was done before: nothing is added")
            else:
                bar = progress.add_task("payments", total=story.state.orders)
                await story.play(shop, lambda _: progress.advance(bar))
            say("reports, audit export and proofs")
            summary = await gather(services, story.state, api)
            proofs = await story.prove(shop)
    return msgspec.structs.replace(summary, proofs=tuple(proofs))


def with_short_waits(settings: Settings) -> Settings:
    """The settings with the demonstration's waits where nothing else was asked for."""
    standard = Settings()
    ours = {name: value for name, value in SHORT_WAITS.items() if getattr(settings, name) == getattr(standard, name)}
    return msgspec.structs.replace(settings, **ours)


def _forget(settings: Settings) -> None:
    """Stop the embedded servers of this home and remove it; a folder that is no home of ours is left alone."""
    embedded.stop(settings.home)
    if (settings.home / "master_key").exists():
        shutil.rmtree(settings.home)
