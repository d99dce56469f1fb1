"""Where the bytes of an entry go: log, and disk by table and index, of a book between others.

Keys of a book lie in the middle of each index unless its number is the highest, and a page in the middle splits in
another way than the last one. So a second book stands behind the one that is filled.
"""

import re
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import asyncpg
import msgspec

from benchmarks.options import Options
from benchmarks.report import Finding, heading
from benchmarks.server import Database, Server
from benchmarks.workload import BATCH, Case, Make, maker, open_filled, post_all
from ledger.journal import JournalEntry

BOOK, BEHIND = 1, 2
ENTRIES: Final = 100_000
SHOWN_FROM_BYTES: Final = 0.5
_SIZES: Final = """
    SELECT c.relname, pg_relation_size(c.oid) AS size FROM pg_class AS c
    WHERE c.relnamespace = 'ledger'::regnamespace AND c.relkind IN ('r', 'i')"""
_PARTITION: Final = re.compile(r"_([0-9]{4}(_[0-9]{2})?|low|high)(?=_|$)")


async def measure(server: Server, _options: Options) -> tuple[list[Finding], list[dict[str, Any]]]:
    """Fill one book a case, with one posting an entry and with three."""
    findings: list[Finding] = []
    lines: list[dict[str, Any]] = []
    for case in (Case.HOT, Case.SPREAD):
        for postings in (1, 3):
            heading(f"bytes of an entry, {case}, {postings} postings")
            log, disk = await _weighed(await server.clone(f"weights_{case}_{postings}"), _of(maker(case), postings))
            for name, size in disk.most_common():
                if size >= SHOWN_FROM_BYTES:
                    print(f"{name:<48} {size:>7.1f}", flush=True)
            total = sum(disk.values())
            what = f"{case}, {postings} postings"
            findings += [
                Finding(goal="–", what=f"log bytes an entry, {what}", measured=log),
                Finding(goal="–", what=f"disk bytes an entry, {what}", measured=total),
            ]
            lines.append({"case": case, "postings": postings, "log_bytes": log, "disk_bytes": dict(disk)})
    return findings, lines


def _of(make: Make, postings: int) -> Callable[[], JournalEntry]:
    def made() -> JournalEntry:
        first, *more = (make() for _ in range(postings))
        return msgspec.structs.replace(first, postings=first.postings + tuple(each.postings[0] for each in more))

    return made


async def _weighed(database: Database, make: Callable[[], JournalEntry]) -> tuple[float, Counter[str]]:
    """Log and disk bytes an entry, the latter by table and index over all partitions."""
    for book_id in (BOOK, BEHIND):
        await open_filled(database.app_dsn, book_id)
    superuser, app = await asyncpg.connect(database.superuser_dsn), await asyncpg.connect(database.app_dsn)
    try:
        await superuser.execute("VACUUM ANALYZE")
        await superuser.execute("CHECKPOINT")
        await post_all(app, BOOK, [make() for _ in range(BATCH)])  # pages that the checkpoint left are logged whole
        before, log_before = await _sizes(superuser), await _log(superuser)
        for _ in range(ENTRIES // BATCH):
            await post_all(app, BOOK, [make() for _ in range(BATCH)])
        log, after = await _log(superuser) - log_before, await _sizes(superuser)
    finally:
        await superuser.close()
        await app.close()
    return log / ENTRIES, Counter({name: (size - before[name]) / ENTRIES for name, size in after.items()})


async def _sizes(connection: asyncpg.Connection) -> Counter[str]:
    sizes: Counter[str] = Counter()
    for row in await connection.fetch(_SIZES):
        sizes[_PARTITION.sub("", row["relname"])] += row["size"]
    return sizes


async def _log(connection: asyncpg.Connection) -> int:
    return int(await connection.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))
