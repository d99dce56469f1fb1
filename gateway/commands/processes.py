"""`quickkub up|serve|work|sandbox`: the processes of the gateway. Each loads its own part only."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Final

import rich_click as click
import uvloop

from gateway.commands import web
from gateway.foundation import logs
from gateway.foundation.embedded import ensure_port_free
from gateway.foundation.embedded.resolution import resolved
from gateway.foundation.schema import migrate
from gateway.foundation.settings import Settings, SettingsInvalid

API: Final = "gateway.app:create_app"
SANDBOX: Final = "gateway.sandbox.app:create_app"


@click.command()
def serve() -> None:
    """Answer merchants, payers and providers over HTTP."""
    _run(_serve)


@click.command()
def work() -> None:
    """Do everything that happens without a request: inbox, deliveries, inquiries, daily jobs."""
    _run(_work)


@click.command()
def sandbox() -> None:
    """Be the other side of every provider's protocol, for test-mode keys."""
    _run(_sandbox)


@click.command()
def up() -> None:
    """Run servers, migrations, sandbox, API and worker in the foreground, until Ctrl-C."""
    _run(_up)


def _run(body: Callable[[Settings, asyncio.Event], Awaitable[None]]) -> None:
    """Run the body with settings filled in and a stop event that SIGINT and SIGTERM set."""

    async def whole() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with resolved(Settings.from_environment()) as settings:
            await body(settings, stop)

    logs.configure()
    uvloop.run(whole())


async def _serve(settings: Settings, stop: asyncio.Event) -> None:
    with await web.listen(settings.api_host, settings.api_port, variable="QUICKKUB_API_PORT") as listener:
        if settings.web_workers == 1:
            await web.serve_here(API, listener, settings, stop)
        else:
            await web.serve_in_children(API, listener, settings, stop)


async def _work(settings: Settings, stop: asyncio.Event) -> None:
    from gateway.worker import run  # noqa: PLC0415 -- loaded when it is needed

    if not stop.is_set():
        await run(settings, stop)


async def _sandbox(settings: Settings, stop: asyncio.Event) -> None:
    if not settings.sandbox_enabled:
        raise SettingsInvalid("the sandbox is off in production: set QUICKKUB_SANDBOX_ENABLED=true to run it there")
    with await web.listen(settings.sandbox_host, settings.sandbox_port, variable="QUICKKUB_SANDBOX_PORT") as listener:
        await web.serve_here(SANDBOX, listener, settings, stop)


async def _up(settings: Settings, stop: asyncio.Event) -> None:
    from gateway.demo.processes import Processes  # noqa: PLC0415 -- loaded when it is needed

    ensure_port_free(settings.api_host, settings.api_port, variable="QUICKKUB_API_PORT")
    ensure_port_free(settings.sandbox_host, settings.sandbox_port, variable="QUICKKUB_SANDBOX_PORT")
    if settings.database_owner_url is not None:
        await migrate(settings)
    processes = Processes(settings.home / "logs", settings.as_environment())
    try:
        if settings.sandbox_enabled:
            await processes.start("sandbox", ["sandbox"])
        await processes.start(
            "serve", ["serve"], ready_url=f"http://{settings.api_host}:{settings.api_port}/health/live"
        )
        await processes.start("work", ["work"])
        print(
            f"API      {settings.public_url}",
            f"sandbox  {settings.sandbox_url}",
            f"logs     {settings.home / 'logs'}",
            sep="\n",
        )
        print("Ctrl-C stops everything.", flush=True)
        await stop.wait()
    finally:
        await processes.stop()
