"""Web servers: uvicorn on a listener of ours, in this process or in several children that share it.

uvicorn's own supervisor leaves its workers behind when it is killed, and they keep the port. Ours hold the end of
a pipe: when the parent is gone, however it went, the pipe closes and they finish what they have and end.
"""

import asyncio
import contextlib
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import uvicorn
import uvloop
from prometheus_client.multiprocess import mark_process_dead

from gateway.foundation import logs
from gateway.foundation.collecting import set_aside_what_stays
from gateway.foundation.embedded import ensure_port_free
from gateway.foundation.logs import get_logger
from gateway.foundation.settings import Settings, SettingsInvalid

GRACEFUL_SECONDS: Final = 5
RESTART_PAUSE_SECONDS: Final = 0.3
PORT_PATIENCE_SECONDS: Final = 10
KEEP_ALIVE_SECONDS: Final = 75
"""Longer than load balancers keep an idle connection, so that it is never us who close one that is being used."""
BACKLOG: Final = 1024
METRICS_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Read by prometheus-client when it is imported, so it must be in a child's environment from its start."""

_log = get_logger(__name__)


class _Server(uvicorn.Server):
    """uvicorn without signal handlers: signals are the command's business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        set_aside_what_stays()


async def listen(host: str, port: int, *, variable: str) -> socket.socket:
    """A listening socket; children of a killed predecessor get a moment to let go of the port.

    Args:
        variable: the setting that names another port, for the message.

    Raises:
        EmbeddedUnavailable: the port stays taken.
    """
    await asyncio.to_thread(ensure_port_free, host, port, variable=variable, patience_seconds=PORT_PATIENCE_SECONDS)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    listener.setblocking(False)
    return listener


async def serve_here(app: str, listener: socket.socket, settings: Settings, stop: asyncio.Event) -> None:
    """Serve the application in this process until `stop`.

    Args:
        app: `module:factory`; the factory reads its settings from the environment.
    """
    os.environ.update(settings.as_environment())
    config = uvicorn.Config(
        app,
        factory=True,
        loop="uvloop",
        http="httptools",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
    )
    server = _Server(config)

    async def end() -> None:
        await stop.wait()
        server.should_exit = True

    ending = asyncio.create_task(end())
    try:
        await server.serve(sockets=[listener])
    finally:
        ending.cancel()
    if not server.started:
        raise SystemExit(1)


async def serve_in_children(app: str, listener: socket.socket, settings: Settings, stop: asyncio.Event) -> None:
    """Serve the application in `settings.web_workers` children until `stop`; one that dies is started again.

    The children count into files of one folder, so that whichever is asked for `/metrics` answers for all of them.
    What an ended child has counted stays counted until the next start.
    """
    read_end, write_end = os.pipe()
    metrics_folder = _empty_metrics_folder(settings)
    environment = {**os.environ, **settings.as_environment(), METRICS_VARIABLE: str(metrics_folder)}

    async def keep_running() -> None:
        while True:
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "gateway.commands.web", app, str(listener.fileno()), str(read_end)),
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(listener.fileno(), read_end),
                start_new_session=True,
            )
            try:
                code = await child.wait()
            except asyncio.CancelledError:
                await child.wait()
                raise
            finally:
                mark_process_dead(child.pid, str(metrics_folder))  # type: ignore[no-untyped-call]  # has no types
            _log.error("a web worker has ended and is started again", extra={"exit_code": code})
            await asyncio.sleep(RESTART_PAUSE_SECONDS)

    children = [asyncio.create_task(keep_running()) for _ in range(settings.web_workers)]
    try:
        await stop.wait()
    finally:
        os.close(write_end)
        for child in children:
            child.cancel()
        await asyncio.gather(*children, return_exceptions=True)
        os.close(read_end)


def _empty_metrics_folder(settings: Settings) -> Path:
    """A folder of this port's own: two servers of one home do not clear away each other's counts.

    Raises:
        SettingsInvalid: the home cannot be written.
    """
    folder = settings.home.absolute() / "metrics" / str(settings.api_port)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsInvalid(f"{folder} cannot be written ({error.strerror}): set QUICKKUB_HOME") from error
    return folder


async def _child(app: str, listener: socket.socket, pipe: int) -> None:
    stop = asyncio.Event()
    # Nothing is ever written: readable means that the last holder of the other end is gone.
    asyncio.get_running_loop().add_reader(pipe, stop.set)
    await serve_here(app, listener, Settings.from_environment(), stop)


def main() -> None:
    """Be one child of `serve_in_children`."""
    app, listener, pipe = sys.argv[1], socket.socket(fileno=int(sys.argv[2])), int(sys.argv[3])
    logs.configure()
    uvloop.run(_child(app, listener, pipe))


if __name__ == "__main__":
    main()
