"""The embedded Valkey: sessions, rate limits, live-page push. It keeps nothing on disk: nothing in it counts."""

import contextlib
import signal
import socket
import time
from pathlib import Path
from typing import Final

from gateway.foundation.embedded import binaries, processes
from gateway.foundation.embedded.errors import EmbeddedUnavailable
from gateway.foundation.embedded.home import Home

START_TIMEOUT_SECONDS: Final = 20
STOP_GRACE_SECONDS: Final = 5
DATABASES: Final = 64
_PROBE_TIMEOUT_SECONDS: Final = 2
_POLL_SECONDS: Final = 0.02
_OPTIONS: Final = (
    *("--port", "0"),
    *("--unixsocketperm", "700"),
    *("--databases", str(DATABASES)),
    *("--save", ""),
    *("--appendonly", "no"),
    *("--maxmemory", "256mb"),
    *("--maxmemory-policy", "volatile-lru"),
    *("--daemonize", "no"),
)


def ensure_running(home: Home) -> None:
    """Leave with a server that answers: the running one, or a new one. Call it under `home.starting()`.

    Raises:
        EmbeddedUnavailable: it cannot run here; the message says why.
    """
    if is_running(home):
        return
    processes.reap(home.valkey_folder)
    _socket(home).unlink(missing_ok=True)
    log = home.servers_folder / "valkey.log"
    log.unlink(missing_ok=True)
    program = binaries.valkey_server(home.binaries_folder)
    command = [
        str(program),
        "--unixsocket",
        str(_socket(home)),
        "--dir",
        str(home.valkey_folder),
        *_OPTIONS,
    ]
    process = processes.launcher().start(command, folder=home.valkey_folder, log=log)
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while not is_running(home):
        if not processes.is_alive(process.pid) or time.monotonic() > deadline:
            raise EmbeddedUnavailable(f"Valkey did not start: see {log}, or set REDIS_URL")
        time.sleep(_POLL_SECONDS)


def is_running(home: Home) -> bool:
    """Whether this home's server answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_TIMEOUT_SECONDS)
        with contextlib.suppress(OSError):
            probe.connect(str(_socket(home)))
            probe.sendall(b"PING\r\n")
            return probe.recv(16).startswith(b"+PONG")
    return False


def process_id(home: Home) -> int | None:
    """The process of this home's server, None when it does not run."""
    return next(iter(processes.processes_in(home.valkey_folder)), None)


def stop(home: Home) -> None:
    """Stop the server. Call it under `home.starting()`."""
    running = process_id(home)
    if running is not None:
        processes.end(running, folder=home.valkey_folder, first=signal.SIGTERM, grace_seconds=STOP_GRACE_SECONDS)
    _socket(home).unlink(missing_ok=True)


def url(home: Home) -> str:
    """The address as redis-py reads it."""
    return f"unix://{_socket(home)}"


def _socket(home: Home) -> Path:
    return home.socket_folder / "valkey.sock"
