"""Bring a statement file in: all of it or nothing, and never the same line twice.

The raw bytes are kept sealed, found again by their SHA-256. Each line has two hashes: `line_sha256` says which line
it is, `content_sha256` what it says. Which line it is follows from the source's own id; without one, from its
content and from how many equal lines stood before it in the file. Two identical genuine lines of a day so stay two,
and a file that overlaps an earlier one adds only what is new. A line that comes again with other content is not
guessed about: it is rejected beside the good ones.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from reconciliation.errors import StatementRefused
from reconciliation.sql import Connection, queries
from reconciliation.statements.base import (
    LineReference,
    ParsedStatement,
    RejectedLine,
    Side,
    StatementFormat,
    StatementLine,
    stage_of,
)
from reconciliation.statements.registry import format_of

CONTENT_BYTES_MAX: Final = 64 * 1024 * 1024
"""A quarter of a million bill payments; read whole, because its totals stand at its end."""

CHUNK_LINES: Final = 5_000

BANK_LINE_SCHEME: Final = "bank_line"
"""External reference of ledger entries that a line of the bank's statement caused: its `stl_…`."""


class RawFile(msgspec.Struct, frozen=True, kw_only=True):
    """A statement as it was given out, untouched.

    Attributes:
        source: name of its format in the registry.
    """

    source: str
    name: str
    content: bytes


class ImportResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a file: `lines` + `duplicates` + `rejected` is what stood in it, in count and in amount.

    Attributes:
        status: `already_imported` where this very content was there before; nothing was changed then and the
            counts are those of the first time.
        lines: new lines; duplicates: lines that an earlier file brought already.
    """

    status: Literal["imported", "already_imported"]
    file_id: str
    lines: int
    lines_amount_minor: int
    duplicates: int
    duplicates_amount_minor: int
    rejected: int
    rejected_amount_minor: int


class _Hashed(msgspec.Struct, frozen=True):
    line: StatementLine
    line_sha256: bytes
    content_sha256: bytes


class _Sorted(msgspec.Struct):
    """The lines of a file by what becomes of them."""

    new: list[_Hashed]
    duplicates: list[StatementLine]
    rejects: list[RejectedLine]


async def import_statement(
    connection: Connection,
    *,
    book_id: int,
    file: RawFile,
    received_at: datetime,
    new_id: Callable[[str], str],
    seal: Callable[[bytes, str], bytes],
) -> ImportResult:
    """Read, check and keep a statement file in one transaction of its own.

    Imports of one book wait for each other (an advisory lock, held until the transaction ends).

    Args:
        new_id: makes an id from a prefix (`stf`, `stl`).
        seal: encrypts the raw bytes; its second argument is the context that opening will need (`stf_…`).

    Raises:
        StatementRefused: the file cannot be trusted as a whole; nothing was kept.
    """
    statement_format = format_of(file.source)
    _check_size(file)
    digest = hashlib.sha256(file.content).digest()
    async with connection.transaction():
        sql = queries("importing")
        await connection.execute(sql["lock_imports"], book_id)
        earlier = await connection.fetchrow(sql["file_by_content"], book_id, file.source, digest)
        if earlier is not None:
            return _result("already_imported", dict(earlier))
        parsed = statement_format.parse(file.content)
        found = await _sort(connection, book_id, file.source, parsed)
        file_id = new_id("stf")
        counts = _counts(file_id, found)
        await connection.execute(
            sql["insert_file"],
            book_id,
            file_id,
            file.source,
            statement_format.side,
            file.name,
            parsed.account,
            digest,
            seal(file.content, file_id),
            len(file.content),
            msgspec.json.encode(parsed.header).decode(),
            *list(counts.values())[1:],
            received_at,
        )
        await _insert_lines(
            connection,
            book_id,
            file_id,
            statement_format=statement_format,
            hashed_lines=found.new,
            new_id=new_id,
        )
        await _insert_rejects(connection, book_id, file_id, found.rejects)
        await _insert_balances(connection, book_id, file_id, file.source, parsed)
    return _result("imported", counts)


def _check_size(file: RawFile) -> None:
    if not file.content.strip():
        raise StatementRefused("empty_file", "nothing in it")
    if len(file.content) > CONTENT_BYTES_MAX:
        raise StatementRefused("file_too_large", f"{len(file.content)} bytes, {CONTENT_BYTES_MAX} are the limit")


async def _sort(connection: Connection, book_id: int, source: str, parsed: ParsedStatement) -> _Sorted:
    """Tell new lines from those that this or an earlier file brought already, and from contradictions."""
    hashed_lines = list(_hashed(source, parsed))
    known: dict[bytes, bytes] = {}
    for chunk in _chunks(hashed_lines):
        rows = await connection.fetch(
            queries("importing")["known_lines"], book_id, [hashed.line_sha256 for hashed in chunk]
        )
        known.update((row["line_sha256"], row["content_sha256"]) for row in rows)
    result = _Sorted([], [], list(parsed.rejects))
    for hashed in hashed_lines:
        content = known.get(hashed.line_sha256)
        if content is None:
            known[hashed.line_sha256] = hashed.content_sha256
            result.new.append(hashed)
        elif content == hashed.content_sha256:
            result.duplicates.append(hashed.line)
        else:
            result.rejects.append(_contradiction(hashed.line))
    return result


def _hashed(source: str, parsed: ParsedStatement) -> Iterator[_Hashed]:
    """Each line with its hashes; equal lines without an id of their own are counted as they come."""
    seen: Counter[bytes] = Counter()
    for line in parsed.lines:
        content = _digest(
            source,
            line.account,
            line.kind,
            line.amount_minor,
            line.currency,
            line.value_on.isoformat(),
            "" if line.occurred_at is None else line.occurred_at.isoformat(),
            line.description,
            *("" if part is None else part for part in (line.fee_minor, line.vat_minor)),
            *(part for reference in line.references for part in (reference.scheme, reference.value)),
        )
        if line.identity is not None:
            yield _Hashed(line, _digest(source, line.account, "identity", line.identity), content)
            continue
        seen[content] += 1
        yield _Hashed(line, _digest(content.hex(), "occurrence", seen[content]), content)


def _digest(*parts: str | int) -> bytes:
    """SHA-256 over length-prefixed parts, so that no two lists of parts look alike."""
    digest = hashlib.sha256()
    for part in parts:
        data = str(part).encode()
        digest.update(len(data).to_bytes(4, "big") + data)
    return digest.digest()


def _contradiction(line: StatementLine) -> RejectedLine:
    return RejectedLine(
        line_number=line.line_number,
        field="id",
        reason="conflicts_with_imported",
        detail=f"{line.identity} was imported earlier with other content",
        amount_minor=line.amount_minor,
    )


def _counts(file_id: str, found: _Sorted) -> dict[str, Any]:
    return {
        "file_id": file_id,
        "line_count": len(found.new),
        "line_amount_minor": sum(hashed.line.amount_minor for hashed in found.new),
        "duplicate_count": len(found.duplicates),
        "duplicate_amount_minor": sum(line.amount_minor for line in found.duplicates),
        "rejected_count": len(found.rejects),
        "rejected_amount_minor": sum(reject.amount_minor or 0 for reject in found.rejects),
    }


def _result(status: Literal["imported", "already_imported"], counts: Mapping[str, Any]) -> ImportResult:
    return ImportResult(
        status=status,
        file_id=counts["file_id"],
        lines=counts["line_count"],
        lines_amount_minor=counts["line_amount_minor"],
        duplicates=counts["duplicate_count"],
        duplicates_amount_minor=counts["duplicate_amount_minor"],
        rejected=counts["rejected_count"],
        rejected_amount_minor=counts["rejected_amount_minor"],
    )


async def _insert_lines(
    connection: Connection,
    book_id: int,
    file_id: str,
    *,
    statement_format: StatementFormat,
    hashed_lines: Sequence[_Hashed],
    new_id: Callable[[str], str],
) -> None:
    for chunk in _chunks(hashed_lines):
        rows = [(new_id("stl"), hashed) for hashed in chunk]
        await connection.execute(
            queries("importing")["insert_lines"],
            book_id,
            file_id,
            statement_format.source,
            statement_format.side,
            [line_id for line_id, _ in rows],
            [stage_of(statement_format.side, hashed.line.kind) for hashed in chunk],
            *([getattr(hashed.line, column) for hashed in chunk] for column in _LINE_COLUMNS),
            [hashed.line_sha256 for hashed in chunk],
            [hashed.content_sha256 for hashed in chunk],
        )
        references = [(line_id, reference) for line_id, hashed in rows for reference in hashed.line.references]
        if statement_format.side is Side.BANK:
            # Entries that a bank line caused name the line; so it is found again, whatever its text says.
            references += [(line_id, LineReference(BANK_LINE_SCHEME, line_id)) for line_id, _ in rows]
        await connection.execute(
            queries("importing")["insert_references"],
            book_id,
            [line_id for line_id, _ in references],
            [reference.scheme for _, reference in references],
            [reference.value for _, reference in references],
            [reference.strong for _, reference in references],
        )


_LINE_COLUMNS: Final = (
    "account",
    "line_number",
    "provider",
    "kind",
    "amount_minor",
    "fee_minor",
    "vat_minor",
    "currency",
    "value_on",
    "occurred_at",
    "available_at",
    "batch_reference",
    "description",
)
"""Attributes of `StatementLine` in the order of the query `insert_lines`."""


async def _insert_rejects(connection: Connection, book_id: int, file_id: str, rejects: Sequence[RejectedLine]) -> None:
    columns = ("line_number", "field", "reason", "detail", "amount_minor")
    await connection.execute(
        queries("importing")["insert_rejects"],
        book_id,
        file_id,
        *([getattr(reject, column) for reject in rejects] for column in columns),
    )


async def _insert_balances(
    connection: Connection, book_id: int, file_id: str, source: str, parsed: ParsedStatement
) -> None:
    columns = ("account", "currency", "number", "opened_on", "closed_on", "opening_minor", "closing_minor")
    await connection.execute(
        queries("importing")["insert_balances"],
        book_id,
        file_id,
        source,
        list(range(len(parsed.balances))),
        *([getattr(balance, column) for balance in parsed.balances] for column in columns),
    )


def _chunks(lines: Sequence[_Hashed]) -> Iterator[Sequence[_Hashed]]:
    return (lines[start : start + CHUNK_LINES] for start in range(0, len(lines), CHUNK_LINES))


async def rejected_lines(connection: Connection, *, book_id: int, file_id: str) -> list[RejectedLine]:
    """What a file held that was not kept as a line, each with its place and reason; in the file's order."""
    rows = await connection.fetch(queries("importing")["rejected_lines"], book_id, file_id)
    return [RejectedLine(**dict(row)) for row in rows]
