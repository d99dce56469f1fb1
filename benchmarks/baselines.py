"""Two ways to write the rows of posting and nothing else: binary COPY, and one function call of INSERT … unnest.

Both write every row that posting writes (`mirror.py`), into the same tables and all their indexes, under a book of
their own, durable when answered, through the same coalescer. New versions of what posting updates go into twins of the
same columns and checks. Those of kind `indexed` have the same indexes (not unique: versions repeat), those of kind
`bare` none, as an update that stays on its page writes none either.
"""

import struct
from collections.abc import AsyncIterator, Collection, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from itertools import repeat
from typing import Any, Final

import asyncpg
import msgspec

from benchmarks.mirror import TWINS, Mirror
from benchmarks.mirror_rows import COPY_END, COPY_HEADER, MOVED, Rows
from ledger.coalescing import Coalescer
from ledger.journal import JournalEntry
from ledger.posting import FLIGHTS_MAX, Connection

MAX_BATCH: Final = 2_000
QUEUE_LIMIT: Final = 10_000
SCHEMA: Final = "bench"
ACCOUNTS: Final = "accounts"
_SIX_BIGINTS: Final = struct.Struct(">h" + "iq" * 6)
"""The head of a row of binary COPY: number of columns, then lengths and values."""
SHARED: Final = {"book_id": "bigint", "recorded_at": "timestamptz", "block_number": "bigint"}
INSERTED: Final = (
    "idempotency_keys",
    "entries",
    "postings",
    "blocks",
    "entry_references",
    "entry_caps",
    "holds",
    "hold_resolutions",
)
BLOCK_HASH: Final = bytes(range(32))
"""Computed beforehand: hashing is no part of what a baseline does."""
_COLUMNS: Final = """
    SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type
    FROM pg_attribute AS a WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"""
_INDEXES: Final = "SELECT pg_get_indexdef(i.indexrelid) FROM pg_index AS i WHERE i.indrelid = $1::regclass"


class Twin(StrEnum):
    """Which twins the new versions go into."""

    INDEXED = "indexed"
    BARE = "bare"


class Way(StrEnum):
    """How rows are sent."""

    COPY = "copy"
    UNNEST = "unnest"


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A table that is written: where the rows lie in `Rows`, and its columns with their types."""

    schema: str
    table: str
    source: str
    columns: dict[str, str]

    @property
    def shared(self) -> list[str]:
        """Columns with one value a call."""
        return [name for name in self.columns if name in SHARED]

    @property
    def own(self) -> list[str]:
        """Columns with a value a row."""
        return [name for name in self.columns if name not in SHARED]

    def rows(self, rows: Rows) -> dict[str, Sequence[Any]] | None:
        """The columns for this table; None when the call writes no row of it."""
        return (rows.caps or None) if self.schema == SCHEMA else rows.inserted.get(self.source)


async def install(connection: Connection) -> None:
    """Make twins and functions in a migrated database, as a superuser."""
    await connection.execute(f"CREATE SCHEMA {SCHEMA}")
    for table in TWINS:
        for twin in Twin:
            await connection.execute(
                f"CREATE TABLE {SCHEMA}.{table}_{twin} (LIKE ledger.{table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"
            )
        for row in await connection.fetch(_INDEXES, f"ledger.{table}"):
            _, _, indexed = row[0].partition(f" ON ledger.{table} ")
            await connection.execute(
                f"CREATE INDEX ON {SCHEMA}.{table}_{Twin.INDEXED} {indexed.partition(' WITH ')[0]}"
            )


async def empty_twins(connection: Connection) -> None:
    """Twins grow with every version; start them again."""
    names = ", ".join(f"{SCHEMA}.{table}_{twin}" for table in TWINS for twin in Twin)
    await connection.execute(f"TRUNCATE {names}")


async def targets(connection: Connection, twin: Twin) -> list[Target]:
    """The tables in the order in which they are written, with the columns that the database says they have."""
    names = [("ledger", table, table) for table in INSERTED] + [(SCHEMA, f"{table}_{twin}", table) for table in TWINS]
    return [
        Target(
            schema=schema,
            table=table,
            source=source,
            columns={row["name"]: row["type"] for row in await connection.fetch(_COLUMNS, f"{schema}.{table}")},
        )
        for schema, table, source in names
    ]


def _function(name: str, written: Sequence[Target], uniform: Collection[str]) -> str:
    """The text of one function: an INSERT from plain unnest for each table that the call has rows of.

    Args:
        uniform: columns of accounts that are passed once, since every account holds the same.
    """
    parameters = [f"p_{name} {kind}" for name, kind in SHARED.items()]
    body = []
    for number, target in enumerate(written):
        once = set(uniform) if target.source == ACCOUNTS else set()
        parameters += [
            f"p_{number}_{column} {target.columns[column]}{'' if column in once else '[]'}" for column in target.own
        ]
        names = ", ".join((*target.shared, *target.own))
        own = (f"p_{number}_{x}" if x in once else f"unnest(p_{number}_{x})" for x in target.own)
        values = ", ".join((*(f"p_{column}" for column in target.shared), *own))
        body.append(
            f"IF p_{number}_{_always_there(target)} IS NOT NULL THEN\n"
            f"  INSERT INTO {target.schema}.{target.table} ({names})\n  SELECT {values};\nEND IF;"
        )
    return (
        f"CREATE FUNCTION {name}({', '.join(parameters)}) RETURNS void LANGUAGE plpgsql\n"
        "SET search_path = pg_catalog, pg_temp AS $function$\nBEGIN\n" + "\n".join(body) + "\nEND\n$function$"
    )


def _always_there(target: Target) -> str:
    return next(name for name in ("sequence", "last_sequence") if name in target.own)


class Baseline:
    """Takes entries as `Ledger.post` does and writes their rows. Made by `Baseline.open`.

    Account rows go in ways of their own: the client is not to spend its time on what never changes in them.
    """

    def __init__(self, pool: asyncpg.Pool, mirror: Mirror, way: Way, written: Sequence[Target]) -> None:
        self._pool = pool
        self._mirror = mirror
        self._written = written
        self._send = self._by_copy if way is Way.COPY else self._by_function
        self._uniform: dict[str, Any] = {}
        self._call = ""
        self._coalescer: Coalescer[JournalEntry, int] = Coalescer(
            self._flush, max_batch=MAX_BATCH, queue_limit=QUEUE_LIMIT, flights_max=FLIGHTS_MAX
        )

    @classmethod
    async def open(cls, pool: asyncpg.Pool, *, like: int, book_id: int, way: Way, twin: Twin) -> "Baseline":
        """Continue the book `like` as book `book_id`; the pool is a superuser's, `install` has run there."""
        async with pool.acquire() as connection:
            mirror = await Mirror.of(connection, like=like, book_id=book_id)
            baseline = cls(pool, mirror, way, await targets(connection, twin))
            if way is Way.UNNEST:
                await baseline._make_function(connection, f"{SCHEMA}.write_{book_id}")
            return baseline

    async def post(self, entry: JournalEntry) -> int:
        """Write one entry; its position in its batch, when that is durable."""
        return await self._coalescer.submit(entry)

    async def close(self) -> None:
        """Wait for what was taken."""
        await self._coalescer.close()

    async def write(self, entries: Sequence[JournalEntry], *, recorded_at: datetime, block_hash: bytes) -> None:
        """Write the rows of one call, durable on return."""
        rows = self._mirror.rows(entries, recorded_at=recorded_at, block_hash=block_hash)
        async with self._pool.acquire() as connection:
            await self._send(connection, rows)

    async def _flush(self, entries: Sequence[JournalEntry]) -> Sequence[int]:
        await self.write(entries, recorded_at=datetime.now(UTC), block_hash=BLOCK_HASH)
        return range(len(entries))

    async def _make_function(self, connection: Connection, name: str) -> None:
        self._uniform = self._mirror.uniform()
        await connection.execute(_function(name, self._written, self._uniform))
        arguments = len(SHARED) + sum(len(target.own) for target in self._written)
        self._call = f"SELECT {name}({', '.join(f'${n}' for n in range(1, arguments + 1))})"

    async def _by_copy(self, connection: Connection, rows: Rows) -> None:
        async with connection.transaction():
            for target in self._written:
                if target.source == ACCOUNTS:
                    await self._copy_accounts(connection, target, rows)
                    continue
                own = target.rows(rows)
                if own is None:
                    continue
                shared = target.shared
                values = [repeat(rows.shared[name]) for name in shared]
                await connection.copy_records_to_table(
                    target.table,
                    schema_name=target.schema,
                    columns=[*shared, *own],
                    records=zip(*values, *own.values(), strict=False),
                )

    async def _copy_accounts(self, connection: Connection, target: Target, rows: Rows) -> None:
        """Rows as binary COPY has them: what moved is packed, the rest is there already."""
        names = ("book_id", *MOVED, *self._mirror.rest)
        count, book_id, pack = len(names), rows.shared["book_id"], _SIX_BIGINTS.pack
        parts = [
            pack(count, 8, book_id, 8, a.debits, 8, a.credits, 8, a.last_sequence, 8, a.debits_held, 8, a.credits_held)
            + a.encoded
            for a in rows.accounts
        ]

        async def source() -> AsyncIterator[bytes]:
            yield b"".join((COPY_HEADER, *parts, COPY_END))

        await connection.copy_to_table(
            target.table, schema_name=target.schema, columns=names, source=source(), format="binary"
        )

    async def _by_function(self, connection: Connection, rows: Rows) -> None:
        arguments: list[Any] = [rows.shared[name] for name in SHARED]
        for target in self._written:
            own = self._columns_of_accounts(rows) if target.source == ACCOUNTS else target.rows(rows) or {}
            arguments += [own.get(name) for name in target.own]
        await connection.execute(self._call, *arguments)

    def _columns_of_accounts(self, rows: Rows) -> dict[str, Any]:
        accounts = rows.accounts
        totals = ((a.debits, a.credits, a.last_sequence, a.debits_held, a.credits_held) for a in accounts)
        columns: dict[str, Any] = dict(zip(MOVED, zip(*totals, strict=True), strict=True))
        varied = [(name, at) for at, name in enumerate(self._mirror.rest) if name not in self._uniform]
        return columns | {name: [a.rest[at] for a in accounts] for name, at in varied} | self._uniform
