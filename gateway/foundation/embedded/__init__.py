"""Embedded PostgreSQL and Valkey: real servers from wheels, under our own life cycle, for whoever sets nothing.

Every process that needs the servers enters `servers(home)`: the first one starts them, the others join, the last one
out stops them. Who uses them is counted by a file lock, which the kernel takes back from whoever is killed; so a
crash of ours leaves servers that the next start joins, and a crash of theirs is noticed and repaired by any user.
Both servers listen on unix sockets in a folder that only their user may enter, and PostgreSQL asks for passwords.
"""

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import asyncpg
import msgspec

from gateway.foundation.embedded import postgres, valkey
from gateway.foundation.embedded.errors import EmbeddedUnavailable
from gateway.foundation.embedded.home import Home
from gateway.foundation.embedded.roles import database_statements, role_statements
from gateway.foundation.settings import role_names

__all__ = ["EmbeddedUnavailable", "Endpoints", "endpoints_of", "ensure_port_free", "servers", "start", "status", "stop"]

DATABASE: Final = "quickkub"
SUPERVISION_SECONDS: Final = 1.0
REASON_AFTER_SECONDS: Final = 30.0
"""So long a recovery is nobody's trouble."""
PORT_POLL_SECONDS: Final = 0.1

_log = logging.getLogger(__name__)


class Endpoints(msgspec.Struct, frozen=True, kw_only=True):
    """How the running servers are reached; every address holds a password."""

    database_url: str
    database_owner_url: str
    sandbox_database_url: str
    auditor_url: str
    superuser_url: str
    redis_url: str
    master_key: bytes
    checkpoint_signing_key: bytes
    sandbox_control_key: str


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What runs of a home: process ids, None for what does not run."""

    postgres: int | None
    valkey: int | None
    detached: bool


@asynccontextmanager
async def servers(folder: Path, *, durable: bool = True) -> AsyncIterator[Endpoints]:
    """The servers of a home folder, for as long as the block lasts: started or joined, and kept alive meanwhile.

    Args:
        folder: the home; made if it is not there.
        durable: False only for throw-away databases of tests.

    Raises:
        EmbeddedUnavailable: they cannot run here; the message says why and what to do.
    """
    home = Home(folder)
    membership = await asyncio.to_thread(_enter, home, durable=durable)
    supervision = asyncio.create_task(_supervise(home, durable=durable))
    try:
        yield _endpoints(home)
    finally:
        supervision.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await supervision
        await asyncio.shield(asyncio.to_thread(_leave, home, membership))


def start(folder: Path, *, durable: bool = True) -> Endpoints:
    """Start the servers and leave them running, until `stop`. Starting what runs changes nothing.

    Raises:
        EmbeddedUnavailable: they cannot run here; the message says why and what to do.
    """
    home = Home(folder)
    home.prepare()
    home.detached_mark.touch(mode=0o600)
    _leave(home, _enter(home, durable=durable))
    return _endpoints(home)


def stop(folder: Path) -> None:
    """Stop the servers that `start` left running. Stopping what does not run changes nothing.

    Raises:
        EmbeddedUnavailable: a running process still uses them; it would only start them again.
    """
    home = Home(folder)
    if not home.folder.is_dir():
        return
    with home.starting():
        home.detached_mark.unlink(missing_ok=True)
        if not _leave_locked(home, home.join()):
            raise EmbeddedUnavailable(
                f"a running process still uses the servers of {home.folder}: stop that one, they end with it"
            )


def endpoints_of(folder: Path) -> Endpoints | None:
    """How the servers of a home are reached; None where no home is. Says nothing about whether they run."""
    home = Home(folder)
    return _endpoints(home) if home.created_mark.exists() else None


def status(folder: Path) -> Status:
    """What runs of this home."""
    home = Home(folder)
    return Status(
        postgres=postgres.process_id(home), valkey=valkey.process_id(home), detached=home.detached_mark.exists()
    )


def ensure_port_free(host: str, port: int, *, variable: str, patience_seconds: float = 0) -> None:
    """Return when nobody listens there.

    Args:
        variable: the setting that names another port, for the message.
        patience_seconds: how long to wait for whoever listens there now; blocks the thread.

    Raises:
        EmbeddedUnavailable: the port is taken, or the address is not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            socket.create_server((host, port), family=family).close()
        except OSError as error:
            if time.monotonic() > deadline:
                raise EmbeddedUnavailable(
                    f"port {port} on {host} cannot be used ({os.strerror(error.errno or 0)}): "
                    f"stop what listens there, or set {variable} to another port"
                ) from error
            time.sleep(PORT_POLL_SECONDS)
        else:
            return


def _enter(home: Home, *, durable: bool) -> int:
    home.prepare()
    with home.starting():
        membership = home.join()
        try:
            _ensure_running(home, durable=durable)
            if not home.created_mark.exists():
                asyncio.run(_create_database(home))
                home.created_mark.touch(mode=0o600)
        except BaseException:
            _leave_locked(home, membership)
            raise
    return membership


def _leave(home: Home, membership: int) -> None:
    with home.starting():
        _leave_locked(home, membership)


def _leave_locked(home: Home, membership: int) -> bool:
    """Leave, and stop the servers as the last one out; False when others are still in. The start lock is held."""
    if not home.leave(membership):
        return False
    if not home.detached_mark.exists():
        valkey.stop(home)
        postgres.stop(home)
    return True


def _ensure_running(home: Home, *, durable: bool) -> None:
    postgres.ensure_running(home, durable=durable)
    valkey.ensure_running(home)


async def _supervise(home: Home, *, durable: bool) -> None:
    """Start again what was killed. Every user of the servers watches; the start lock lets one of them act.

    It is said when it begins and when it is over; in between, where that takes long, once why. A server that recovers
    refuses many a start, and nobody is helped by hearing each.
    """
    down_since: float | None = None
    is_reason_told = False
    while True:
        await asyncio.sleep(SUPERVISION_SECONDS)
        if await asyncio.to_thread(_healthy, home):
            if down_since is not None:
                _log.warning("the embedded servers run again after %.0f s", time.monotonic() - down_since)
            down_since, is_reason_told = None, False
            continue
        if down_since is None:
            down_since = time.monotonic()
            _log.warning("an embedded server has died and is started again")
        try:
            await asyncio.to_thread(_restart, home, durable=durable)
        except EmbeddedUnavailable as error:
            if not is_reason_told and time.monotonic() - down_since >= REASON_AFTER_SECONDS:
                is_reason_told = True
                _log.error("%s", error)


def _healthy(home: Home) -> bool:
    return postgres.is_running(home) and valkey.is_running(home)


def _restart(home: Home, *, durable: bool) -> None:
    with home.starting():
        _ensure_running(home, durable=durable)


async def _create_database(home: Home) -> None:
    """Make roles and database; after a crash in between, make what is missing."""
    names, passwords = role_names(), home.secrets()
    connection = await asyncpg.connect(_superuser_url(home, "postgres"))
    try:
        for statement in role_statements(names):
            await connection.execute(statement)
        for role, name in names.items():
            # ALTER ROLE takes no parameters; the password is our own hexadecimal text.
            await connection.execute(f"ALTER ROLE {name} PASSWORD '{getattr(passwords, role)}'")
        if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", DATABASE):
            await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {names['owner']}")
        for statement in database_statements(names, database=DATABASE):
            await connection.execute(statement)
    finally:
        await connection.close()


def _endpoints(home: Home) -> Endpoints:
    names, passwords = role_names(), home.secrets()

    def login(role: str) -> str:
        return postgres.url(home, user=names[role], password=getattr(passwords, role), database=DATABASE)

    return Endpoints(
        database_url=login("app"),
        database_owner_url=login("owner"),
        sandbox_database_url=login("sandbox"),
        auditor_url=login("auditor"),
        superuser_url=_superuser_url(home, DATABASE),
        redis_url=valkey.url(home),
        master_key=home.master_key(),
        checkpoint_signing_key=home.checkpoint_signing_key(),
        sandbox_control_key=passwords.sandbox_control_key,
    )


def _superuser_url(home: Home, database: str) -> str:
    return postgres.url(home, user=postgres.SUPERUSER, password=home.secrets().superuser, database=database)
