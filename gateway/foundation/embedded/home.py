"""The home folder of the embedded servers: keys, data, sockets, logs; nobody else may look inside.

.quickkub/           0700
  master_key         0600  64 hexadecimal digits; lost with it is everything sealed
  checkpoint_signing_key  0600  64 hexadecimal digits; signs what is published of the books
  checkpoints/       what was published of the books; copy it to where nobody can delete
  secrets.json       0600  generated passwords of the database roles and of the sandbox's control interface
  start.lock         taken while servers are started or stopped
  users.lock         shared by every process that uses the servers; the last one out stops them
  detached           there while `quickkub servers start` keeps them running without a user
  created            there when roles and database are
  postgres/ valkey/  data, logs, sockets' default places
"""

import fcntl
import hashlib
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from gateway.foundation.embedded.errors import EmbeddedUnavailable
from gateway.foundation.embedded.processes import STATE_FOLDER, launcher
from gateway.foundation.settings import MASTER_KEY_BYTES

SOCKET_PATH_BYTES_MAX: Final = 100
"""A socket's path must fit into sockaddr_un: 108 bytes on Linux, 104 on macOS."""
_LONGEST_SOCKET_NAME: Final = ".s.PGSQL.5432"


class Secrets(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Generated once for a home; each is 64 hexadecimal digits."""

    superuser: str
    owner: str
    app: str
    auditor: str
    sandbox: str
    sandbox_control_key: str


class Home:
    """One home folder. Creating the value touches nothing; `prepare` makes what is missing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        digest = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:16]
        moved = launcher().changes_user
        self.servers_folder = STATE_FOLDER / digest if moved else self.folder
        self.binaries_folder = STATE_FOLDER / "binaries" if moved else None
        self.postgres_folder = self.servers_folder / "postgres"
        self.valkey_folder = self.servers_folder / "valkey"
        self.socket_folder = self.servers_folder / "run"
        self.detached_mark = self.folder / "detached"
        self.created_mark = self.folder / "created"
        if len(os.fsencode(self.socket_folder / _LONGEST_SOCKET_NAME)) > SOCKET_PATH_BYTES_MAX:
            self.socket_folder = Path(tempfile.gettempdir()) / f"quickkub-{os.geteuid()}-{digest}"

    def prepare(self) -> None:
        """Make the folders, each 0700 and ours.

        Raises:
            EmbeddedUnavailable: the disk refuses, or somebody else's folder is in the way.
        """
        user = launcher()
        try:
            _private_folder(self.folder, os.geteuid())
            if user.changes_user and not self.servers_folder.parent.is_dir():
                self.servers_folder.parent.mkdir(parents=True)
                self.servers_folder.parent.chmod(0o755)
            owner = os.geteuid() if user.user_id is None else user.user_id
            for folder in (self.servers_folder, self.valkey_folder, self.socket_folder):
                _private_folder(folder, owner)
        except OSError as error:
            raise EmbeddedUnavailable(
                f"{error.filename or self.folder} cannot be written ({error.strerror}): "
                "free space or rights there, or name another folder in QUICKKUB_HOME"
            ) from error

    def secrets(self) -> Secrets:
        """The generated passwords; generated now if this home is new."""
        names = Secrets.__struct_fields__
        fresh = msgspec.json.encode({name: secrets.token_hex(32) for name in names})
        return msgspec.json.decode(_kept(self.folder / "secrets.json", fresh), type=Secrets)

    def master_key(self) -> bytes:
        """The generated master key; generated now if this home is new."""
        text = _kept(self.folder / "master_key", secrets.token_hex(MASTER_KEY_BYTES).encode())
        return bytes.fromhex(text.decode().strip())

    def checkpoint_signing_key(self) -> bytes:
        """The generated Ed25519 key of checkpoints; generated now if this home is new."""
        text = _kept(self.folder / "checkpoint_signing_key", secrets.token_hex(MASTER_KEY_BYTES).encode())
        return bytes.fromhex(text.decode().strip())

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Hold the lock under which servers are started and stopped; waits for whoever has it."""
        with _opened(self.folder / "start.lock") as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield

    def join(self) -> int:
        """Count this caller as a user of the servers; the answer is for `leave`. Call it under `starting`."""
        descriptor = os.open(self.folder / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return descriptor

    def leave(self, descriptor: int) -> bool:
        """Count this caller out; True when it was the last. Call it under `starting`.

        The kernel counts out whoever was killed, so no crash leaves a user behind.
        """
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        return True


def _private_folder(folder: Path, owner: int) -> None:
    """Make the folder 0700, or accept it when it is a real folder of the owner; rights of others' are left alone."""
    try:
        folder.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        pass
    else:
        if owner != os.geteuid():
            os.chown(folder, owner, -1)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner:
        raise EmbeddedUnavailable(
            f"{folder} is in the way: it is not a folder of user id {owner}; move it away or set QUICKKUB_HOME"
        )
    if stat.S_IMODE(found.st_mode) != stat.S_IRWXU:
        folder.chmod(0o700)


def _kept(path: Path, fresh: bytes) -> bytes:
    """The bytes kept in the file, which is made from the fresh ones if it is not there.

    Written aside and linked into place: of two first starts one wins and both read the same, and a crash leaves
    no half-written key.
    """
    if not path.exists():
        descriptor, name = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(fresh)
                file.flush()
                os.fsync(file.fileno())
            os.link(name, path)
        except FileExistsError:
            pass
        finally:
            Path(name).unlink()
    return path.read_bytes()


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
