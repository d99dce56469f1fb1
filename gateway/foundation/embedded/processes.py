"""Server processes: who they run as, which of them are ours, how they end.

A process is ours when its working directory is the data directory that it serves: a process id alone proves nothing,
because ids are reused, in a restarted container at once.
"""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from gateway.foundation.embedded.errors import EmbeddedUnavailable

UNPRIVILEGED_USER: Final = "nobody"
STATE_FOLDER: Final = Path("/var/lib/quickkub")
_POLL_SECONDS: Final = 0.02
_started: Final[dict[int, "ServerProcess"]] = {}
"""Children of this process, so that their ends are collected and none stays in the process table."""


class ServerProcess(subprocess.Popen[bytes]):
    """A child that may outlive us on purpose, so nothing warns when we end before it."""

    def __del__(self) -> None:
        """Leave the process alone."""


class Launcher(msgspec.Struct, frozen=True, kw_only=True):
    """How a server is started, because PostgreSQL refuses to run as root.

    Attributes:
        prefix: words in front of the command; `unshare …` makes root somebody else inside a user namespace.
        user_id: the user to change to; None = stay who we are.
        group_id: the group to change to; None = stay.
    """

    prefix: tuple[str, ...] = ()
    user_id: int | None = None
    group_id: int | None = None

    @property
    def changes_user(self) -> bool:
        """Whether servers run as another user, who can read neither our home nor our virtual environment."""
        return self.user_id is not None

    def start(self, command: list[str], *, folder: Path, log: Path) -> ServerProcess:
        """Start a server in its own session, so that Ctrl-C at our terminal does not reach it before us."""
        with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as output:
            process = ServerProcess(
                [*self.prefix, *command],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                user=self.user_id,
                group=self.group_id,
                extra_groups=None if self.user_id is None else [],
                umask=0o077,
                env=_environment(),
            )
        _started[process.pid] = process
        return process

    def run(self, command: list[str], *, folder: Path) -> subprocess.CompletedProcess[str]:
        """Run a tool to its end; the caller looks at the return code."""
        return subprocess.run(  # noqa: S603 -- commands are made here, from our own paths
            [*self.prefix, *command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            user=self.user_id,
            group=self.group_id,
            extra_groups=None if self.user_id is None else [],
            umask=0o077,
            env=_environment(),
            check=False,
        )


@cache
def launcher() -> Launcher:
    """How this user starts servers: as itself; as root in a user namespace, else as `nobody`.

    A user id without an account, as containers have them, needs the namespace too: initdb asks for its user's name.

    Raises:
        EmbeddedUnavailable: none of these is possible here.
    """
    root, account = os.geteuid() == 0, _account(os.geteuid())
    if not root and account is not None:
        return Launcher()
    in_namespace = _namespace_prefix()
    if in_namespace is not None:
        return Launcher(prefix=in_namespace)
    if not root:
        raise EmbeddedUnavailable(
            f"user id {os.geteuid()} has no account and this kernel allows no user namespace: "
            "start QuickKub as a user with an account, or set DATABASE_URL"
        )
    nobody = next((entry for entry in pwd.getpwall() if entry.pw_name == UNPRIVILEGED_USER), None)
    if nobody is None:
        raise EmbeddedUnavailable(
            "PostgreSQL does not run as root, this kernel allows no user namespace and there is no user "
            f"{UNPRIVILEGED_USER!r}: start QuickKub as a plain user, or set DATABASE_URL"
        )
    return Launcher(user_id=nobody.pw_uid, group_id=nobody.pw_gid)


def _account(user_id: int) -> str | None:
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return None


def _namespace_prefix() -> tuple[str, ...] | None:
    """The words that run a command as somebody with an account who is not root; None where the kernel refuses.

    Outside the namespace it stays our own user id, so files keep their owner and a 0700 home stays open to it.
    """
    unshare, true = shutil.which("unshare"), shutil.which("true")
    somebody = min((entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid != 0), default=None)
    if unshare is None or true is None or somebody is None:
        return None
    prefix = (unshare, "--user", f"--map-user={somebody}")
    tried = subprocess.run([*prefix, true], capture_output=True, check=False)  # noqa: S603 -- fixed words
    return prefix if tried.returncode == 0 else None


def is_alive(process_id: int) -> bool:
    """Whether the process runs; one that has ended but was not yet collected by its parent does not."""
    child = _started.get(process_id)
    if child is not None and child.poll() is not None:
        del _started[process_id]
        return False
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _state(process_id) != "Z"


def works_in(process_id: int, folder: Path) -> bool:
    """Whether the process runs and has the folder as its working directory."""
    if not is_alive(process_id):
        return False
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{process_id}/cwd").samefile(folder)
        except OSError:
            return False
    listing = subprocess.run(  # noqa: S603 -- a number and fixed words
        ["/bin/ps", "-o", "command=", "-p", str(process_id)], capture_output=True, text=True, check=False
    )
    return str(folder) in listing.stdout


def processes_in(folder: Path) -> list[int]:
    """Every process whose working directory is the folder: a server and the children it may have left behind."""
    numbers = [int(entry.name) for entry in Path("/proc").glob("[0-9]*")] if sys.platform == "linux" else []
    return [number for number in numbers if works_in(number, folder)]


def end(process_id: int, *, folder: Path, first: signal.Signals, grace_seconds: float) -> None:
    """End a server of ours and whatever it leaves behind: first politely, after the grace without asking."""
    if works_in(process_id, folder):
        os.kill(process_id, first)
        wait_gone(process_id, timeout_seconds=grace_seconds)
    reap(folder)


def reap(folder: Path) -> None:
    """Kill what still works in the folder of a dead server, e.g. a backend in the middle of a statement."""
    for number in processes_in(folder):
        try:
            os.kill(number, signal.SIGKILL)
        except ProcessLookupError:
            continue
        wait_gone(number, timeout_seconds=10)


def wait_gone(process_id: int, *, timeout_seconds: float) -> bool:
    """Wait until the process has ended; False when it still runs after the time."""
    deadline = time.monotonic() + timeout_seconds
    while is_alive(process_id):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _state(process_id: int) -> str:
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def _environment() -> dict[str, str]:
    """Only what a server needs: no setting of ours, no PG… variable of the user's."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
