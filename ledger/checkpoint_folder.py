"""Where checkpoints are published: what the ledger needs of such a place, and the plainest one, a folder.

Published means: outside the database, so that whoever can rewrite the books cannot rewrite what was said of them. Copy
the folder to where nobody can delete (object storage with a lock, an auditor's mailbox), or write a sink that does.
"""

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Protocol


class CheckpointSink(Protocol):
    """A place outside the database that keeps small files for good."""

    async def publish(self, book_id: int, name: str, content: bytes) -> bytes:
        """Write whole or not at all, never over what is there; returns what then stands under the name."""
        ...

    async def published(self, book_id: int, after: str = "") -> list[tuple[str, bytes]]:
        """Every (name, content) of a book in order of name; only names greater than `after`."""
        ...


class CheckpointFolder:
    """A folder: `book-1/000001-000000003.checkpoint`, each file 0444 and durable before `publish` returns."""

    SUFFIX = ".checkpoint"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def publish(self, book_id: int, name: str, content: bytes) -> bytes:
        """Write the file, as in the protocol.

        Raises:
            OSError: the disk refuses.
        """
        return await asyncio.to_thread(self._publish, book_id, name, content)

    async def published(self, book_id: int, after: str = "") -> list[tuple[str, bytes]]:
        """Read the files, as in the protocol; a folder that is not there holds none."""
        return await asyncio.to_thread(self._published, book_id, after)

    def path_of(self, book_id: int, name: str) -> Path:
        """Where a checkpoint lies."""
        return self.folder / f"book-{book_id}" / f"{name}{self.SUFFIX}"

    def _publish(self, book_id: int, name: str, content: bytes) -> bytes:
        path = self.path_of(book_id, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, written = tempfile.mkstemp(dir=path.parent, prefix=".")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                os.fchmod(file.fileno(), 0o444)
            # A link is made whole or not at all, and never over a file that is there.
            os.link(written, path)
        except FileExistsError:
            return path.read_bytes()
        finally:
            Path(written).unlink()
        for folder in (path.parent, self.folder):
            _make_durable(folder)
        return content

    def _published(self, book_id: int, after: str) -> list[tuple[str, bytes]]:
        paths = sorted((self.folder / f"book-{book_id}").glob(f"[!.]*{self.SUFFIX}"))
        return [(path.stem, path.read_bytes()) for path in paths if path.stem > after]


def _make_durable(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
