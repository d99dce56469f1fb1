"""Web servers: uvicorn on a listener of ours, in this process or in several children that share it.

uvicorn's own supervisor leaves its workers behind when it is killed, and they keep the port. Ours hold the end of
a pipe: when the parent is gone, however it went, the pipe closes and they finish what they have and end.
"""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from typing import Final

import uvicorn

from gateway.foundation import logs
from gateway.foundation.embedded import ensure_port_free
from gateway.foundation.logs import get_logger
from gateway.foundation.settings import Settings

GRACEFUL_SECONDS: Final = 5
RESTART_PAUSE_SECONDS: Final = 0.3
PORT_PATIENCE_SECONDS: Final = 10
BACKLOG: Final = 1024

_log = get_logger(__name__)


class _Server(uvicorn.Server):
    """uvicorn without signal handlers: signals are the command's business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


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
    """Serve the application in `settings.web_workers` children until `stop`; one that dies is started again."""
    read_end, write_end = os.pipe()
    environment = {**os.environ, **settings.as_environment()}

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


async def _child(app: str, listener: socket.socket, pipe: int) -> None:
    stop = asyncio.Event()
    # Nothing is ever written: readable means that the last holder of the other end is gone.
    asyncio.get_running_loop().add_reader(pipe, stop.set)
    await serve_here(app, listener, Settings.from_environment(), stop)


def main() -> None:
    """Be one child of `serve_in_children`."""
    app, listener, pipe = sys.argv[1], socket.socket(fileno=int(sys.argv[2])), int(sys.argv[3])
    logs.configure()
    asyncio.run(_child(app, listener, pipe))


if __name__ == "__main__":
    main()
