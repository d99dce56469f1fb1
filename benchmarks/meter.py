"""Exact counters around a cell: log bytes, disk bytes, and the processor's time of both sides."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

import asyncpg
import msgspec

_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
_WAL: Final = "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"
_DISK: Final = """
    SELECT coalesce(sum(pg_table_size(c.oid) + pg_indexes_size(c.oid)), 0)
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_'"""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """Counters at one moment, or the difference of two; `server_seconds` of every process of the server."""

    wal_bytes: int
    disk_bytes: int
    python_seconds: float
    server_seconds: float

    def __sub__(self, other: Self) -> Self:
        return type(self)(**{name: getattr(self, name) - getattr(other, name) for name in self.__struct_fields__})


class Meter:
    """Reads the counters of a server.

    Args:
        connection: a superuser's, in the database whose tables are weighed.
        postmaster: process id of the server.
    """

    def __init__(self, connection: asyncpg.Connection, postmaster: int) -> None:
        self._connection = connection
        self._postmaster = postmaster

    async def read(self) -> Reading:
        """The counters now."""
        wal_bytes, disk_bytes = await self._connection.fetchval(_WAL), await self._connection.fetchval(_DISK)
        return Reading(
            wal_bytes=int(wal_bytes),
            disk_bytes=int(disk_bytes),
            python_seconds=time.process_time(),
            server_seconds=tree_seconds(self._postmaster),
        )


def tree_seconds(root: int) -> float:
    """Processor time (user + system) of a process and its children, of those that have ended too."""
    ticks = 0
    for number, fields in _tree(root):
        # After the name: state, parent, …; 11 and 12 are utime and stime, 13 and 14 those of waited-for children.
        ticks += sum(map(int, fields[11:15] if number == root else fields[11:13]))
    return ticks / _TICKS_PER_SECOND


def tree_memory_bytes(root: int) -> int:
    """Memory of a process and its children."""
    return sum(memory_bytes(number) for number, _ in _tree(root))


def memory_bytes(number: int) -> int:
    """Memory of a process; of what it shares with others its part (PSS), where the kernel tells."""
    for file, name in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
        try:
            lines = (Path("/proc") / str(number) / file).read_text().splitlines()
        except OSError:
            continue  # another user's, or it ended meanwhile
        if found := [int(line.split()[1]) for line in lines if line.startswith(name)]:
            return found[0] * 1024
    return 0


def _tree(root: int) -> Iterator[tuple[int, list[str]]]:
    """The process and its children: number, and the fields of `stat` after the name."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        if int(folder.name) == root or int(fields[1]) == root:
            yield int(folder.name), fields
