"""The embedded PostgreSQL: one data directory, one unix socket, passwords for everybody."""

import os
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlencode

from gateway.foundation.embedded import binaries, processes
from gateway.foundation.embedded.errors import EmbeddedUnavailable
from gateway.foundation.embedded.home import Home

SUPERUSER: Final = "postgres"
START_TIMEOUT_SECONDS: Final = 60
STOP_GRACE_SECONDS: Final = 20
LOG_BYTES_MAX: Final = 16 * 1024 * 1024
_POLL_SECONDS: Final = 0.02
_SHARED_BUFFERS_BYTES_MAX: Final = 512 * 1024 * 1024
_SHARED_BUFFERS_SHARE: Final = 8

SETTINGS: Final = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Money is durable when COMMIT answers; the rest trades disk space and memory for fewer interruptions.
    "max_wal_size": "2GB",
    "checkpoint_timeout": "30min",
    # Whole pages go into the log as they are: this build compresses by pglz only, which held postings to a tenth of
    # their rate in the first second after a checkpoint. Where lz4 is built in, `lz4` is the better choice.
    "wal_compression": "off",
    # The log of a large call is on its way to the disk while the call still runs, not only from its COMMIT on.
    "wal_writer_delay": "10ms",
    "jit": "off",
    "wal_level": "replica",
    # Insert-only tables: freeze and map them as they grow, not in one large run later.
    "autovacuum_naptime": "30s",
    "autovacuum_vacuum_scale_factor": "0.05",
    "autovacuum_vacuum_insert_scale_factor": "0.2",
    "autovacuum_analyze_scale_factor": "0.05",
    "log_checkpoints": "off",
    "log_lock_waits": "on",
}
NOT_DURABLE: Final = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""For throw-away databases of tests only: a power failure may damage everything."""


def ensure_running(home: Home, *, durable: bool = True) -> None:
    """Leave with a server that accepts connections: the running one, or a new one. Call it under `home.starting()`.

    Raises:
        EmbeddedUnavailable: it cannot run here; the message says why.
    """
    data = home.postgres_folder
    if not (data / "PG_VERSION").exists():
        _create(home, durable=durable)
    process_id = _recorded_process(data)
    if process_id is not None and processes.works_in(process_id, data):
        _wait_ready(home, process_id)
        return
    processes.reap(data)
    # The recorded process is gone or is somebody else's by now: PostgreSQL itself would only look whether the id runs.
    (data / "postmaster.pid").unlink(missing_ok=True)
    _write_settings(home, durable=durable)
    log = _log(home)
    if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
        log.replace(log.with_suffix(".log.old"))
    program = str(binaries.postgres_programs(home.binaries_folder) / "postgres")
    process = processes.launcher().start([program, "-D", str(data)], folder=data, log=log)
    _wait_ready(home, process.pid)


def is_running(home: Home) -> bool:
    """Whether this home's server runs and is ready."""
    process_id = _recorded_process(home.postgres_folder)
    if process_id is None or not processes.works_in(process_id, home.postgres_folder):
        return False
    return _status(home.postgres_folder) == "ready"


def process_id(home: Home) -> int | None:
    """The process of this home's server, None when it does not run."""
    recorded = _recorded_process(home.postgres_folder)
    return recorded if recorded is not None and processes.works_in(recorded, home.postgres_folder) else None


def stop(home: Home) -> None:
    """Stop the server: sessions are ended, everything is written out. Call it under `home.starting()`."""
    running = process_id(home)
    if running is not None:
        processes.end(running, folder=home.postgres_folder, first=signal.SIGINT, grace_seconds=STOP_GRACE_SECONDS)


def url(home: Home, *, user: str, password: str, database: str) -> str:
    """The address of a database of this server, as asyncpg reads it."""
    return f"postgresql://{quote(user)}:{quote(password)}@/{quote(database)}?" + urlencode(
        {"host": str(home.socket_folder)}
    )


def _create(home: Home, *, durable: bool) -> None:
    """Run initdb aside and move the result into place, so that a crash in between leaves nothing half made."""
    data = home.postgres_folder
    user = processes.launcher()
    aside = data.with_name("postgres.new")
    shutil.rmtree(aside, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=home.servers_folder) as folder:
        password_file = Path(folder) / "password"
        password_file.write_text(home.secrets().superuser)
        if user.changes_user:
            for path in (Path(folder), password_file):
                os.chown(path, user.user_id or 0, -1)
        result = user.run(
            [
                str(binaries.postgres_programs(home.binaries_folder) / "initdb"),
                f"--pgdata={aside}",
                f"--username={SUPERUSER}",
                f"--pwfile={password_file}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                "--no-instructions",
                *(() if durable else ("--no-sync",)),
            ],
            folder=home.servers_folder,
        )
    if result.returncode != 0:
        shutil.rmtree(aside, ignore_errors=True)
        raise _reason(home, result.stderr)
    if data.exists():
        data.rmdir()
    aside.rename(data)


def _write_settings(home: Home, *, durable: bool) -> None:
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    shared_buffers = min(memory_bytes // _SHARED_BUFFERS_SHARE, _SHARED_BUFFERS_BYTES_MAX)
    settings = SETTINGS | {
        "unix_socket_directories": str(home.socket_folder),
        "shared_buffers": f"{shared_buffers // 1024}kB",
    }
    if not durable:
        settings |= NOT_DURABLE
    lines = ["# Written by QuickKub at every start; your own settings go into postgresql.local.conf."]
    for name, value in settings.items():
        quoted = value.replace("'", "''")
        lines.append(f"{name} = '{quoted}'")
    lines.append("include_if_exists = 'postgresql.local.conf'")
    path = home.postgres_folder / "postgresql.conf"
    path.write_text("\n".join(lines) + "\n")


def _wait_ready(home: Home, process_id: int) -> None:
    """Wait until the server says that it is ready; replaying the log after a crash takes its time.

    Raises:
        EmbeddedUnavailable: it ended, or is not ready in time.
    """
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        if _recorded_process(home.postgres_folder) == process_id and _status(home.postgres_folder) == "ready":
            return
        if not processes.is_alive(process_id):
            raise _reason(home, _log_tail(home))
        time.sleep(_POLL_SECONDS)
    raise EmbeddedUnavailable(
        f"PostgreSQL is not ready after {START_TIMEOUT_SECONDS} s: see {_log(home)}, then start again"
    )


def _reason(home: Home, text: str) -> EmbeddedUnavailable:
    """The sentence for what PostgreSQL wrote before it gave up."""
    if "No space left on device" in text or "could not resize shared memory" in text:
        return EmbeddedUnavailable(f"the disk under {home.servers_folder} is full: free some space and start again")
    if "Permission denied" in text or "Read-only file system" in text:
        return EmbeddedUnavailable(
            f"{home.servers_folder} cannot be written: give its rights back, or name another folder in QUICKKUB_HOME"
        )
    if "lock file" in text and "already exists" in text:
        return EmbeddedUnavailable(
            f"another PostgreSQL uses {home.postgres_folder}: stop that one, or set QUICKKUB_HOME"
        )
    if "incompatible with server" in text:
        return EmbeddedUnavailable(
            f"{home.postgres_folder} was made by another major version of PostgreSQL: "
            "dump it with that version, or set QUICKKUB_HOME to a new folder"
        )
    last = next((line for line in reversed(text.splitlines()) if "FATAL" in line or "error" in line), text.strip())
    return EmbeddedUnavailable(f"PostgreSQL did not start ({last}): see {_log(home)}")


def _recorded_process(data: Path) -> int | None:
    lines = _pid_file(data)
    return int(lines[0]) if lines and lines[0].strip().isdigit() else None


def _status(data: Path) -> str:
    """`starting`, `ready` or `stopping`: the eighth line of the file, padded with blanks."""
    lines = _pid_file(data)
    return lines[7].strip() if len(lines) > 7 else ""  # noqa: PLR2004 -- the line's number


def _pid_file(data: Path) -> list[str]:
    try:
        return (data / "postmaster.pid").read_text().splitlines()
    except OSError:
        return []


def _log(home: Home) -> Path:
    return home.servers_folder / "postgres.log"


def _log_tail(home: Home) -> str:
    with _log(home).open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
        return file.read().decode(errors="replace")
