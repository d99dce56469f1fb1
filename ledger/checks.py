"""What a check of verification is: a scan of ranges of the books, or one question asked at the end.

A scan names the questions of `sql/verification.sql` that it wants answered for every range; the database may answer
ranges out of order, `read` sees them in order. To add a check: write a question and list it in `verification.py`.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Final

import asyncpg
import msgspec

from ledger.chain import GENESIS_PREVIOUS
from ledger.posting import Connection
from ledger.queries import load_queries

PROBLEMS_KEPT: Final = 100
ROWS_AT_ONCE: Final = 50_000

_PARAMETER: Final = re.compile(r"(?<![:\w]):([a-z_]+)")

Row = Mapping[str, Any]
Answers = Mapping[str, list[Row]]
"""The rows that each question gave for one range."""


class Problems(msgspec.Struct):
    """What a check found: the first few in words, how many in all, and how many rows it looked at."""

    found: list[str] = []
    count: int = 0
    rows: int = 0
    note: str = "as it should be"

    def add(self, problem: str) -> None:
        """One more; only the first keep their words."""
        self.count += 1
        if len(self.found) < PROBLEMS_KEPT:
            self.found.append(problem)

    def add_answer(self, row: Row) -> None:
        """What a question answered: row_count, fault_count and the first faults in words."""
        self.rows += row["row_count"]
        self.count += row["fault_count"]
        self.found += (row["faults"] or [])[: PROBLEMS_KEPT - len(self.found)]


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The newest block of a moment."""

    block_number: int
    recorded_at: datetime
    last_sequence: int
    hash: bytes
    incarnation: int


BEFORE_GENESIS: Final = Head(
    block_number=-1,
    recorded_at=datetime(1970, 1, 1, tzinfo=UTC),
    last_sequence=0,
    hash=GENESIS_PREVIOUS,
    incarnation=0,
)


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """Where verification begins: before the first block, or at the end of the newest archived month.

    Attributes:
        totals: account → (debits, credits, last sequence that moved it).
        held: account → (debits held, credits held).
        drawn: entry drawn on → how much.
    """

    head: Head = BEFORE_GENESIS
    totals: dict[int, tuple[int, int, int]] = {}
    held: dict[int, tuple[int, int]] = {}
    drawn: dict[int, int] = {}


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """Whole blocks after `before` up to `end`, and every row whose sequence lies in after + 1 … last.

    Attributes:
        last: the end's last sequence, unless that lies about what there is.
        cut: the last sequence to be verified, as known when the range was planned.
        start: where verification began.
        seed: secret of this run, for sums of hashes.
    """

    book_id: int
    before: Head
    end: Head
    after: int
    last: int
    cut: int
    start: Start
    seed: int

    def arguments(self) -> dict[str, Any]:
        """The values that a question may ask for by name."""
        return {
            "book": self.book_id,
            "after": self.after,
            "last": self.last,
            "after_at": self.before.recorded_at,
            "last_at": self.end.recorded_at,
            "cut": self.cut,
            "from_sequence": self.start.head.last_sequence,
            "seed": self.seed,
        }


class Scan:
    """A check that reads the books forward. As it stands it adds up what its questions answer."""

    name: ClassVar[str]
    questions: ClassVar[tuple[str, ...]] = ()

    def __init__(self, start: Start, seed: int) -> None:
        self.start, self.seed = start, seed
        self.problems = Problems()

    def read(self, answers: Answers) -> None:
        """Take the answers for the next range."""
        for question in self.questions:
            for row in answers[question]:
                self.problems.add_answer(row)

    async def finish(self, connection: Connection, book_id: int, cut: int) -> Problems:  # noqa: ARG002
        """The verdict, perhaps after a last question."""
        return self.problems


def from_lines(
    check: Callable[[Connection, int, int], AsyncIterator[str]],
) -> Callable[[Connection, int, int], Awaitable[Problems]]:
    """A check that yields one line a problem, as `SINGLE_CHECKS` of `verification.py` takes it."""

    async def gathered(connection: Connection, book_id: int, cut: int) -> Problems:
        problems = Problems()
        async for line in check(connection, book_id, cut):
            problems.add(line)
        return problems

    return gathered


class _Question(msgspec.Struct, frozen=True):
    sql: str
    names: tuple[str, ...]


async def ask(connection: Connection, question: str, arguments: Mapping[str, Any]) -> list[Row]:
    """The rows that a question of `sql/verification.sql` gives; a number beyond bigint is an answer too."""
    asked = _QUESTIONS[question]
    try:
        async with connection.transaction():
            rows: list[Any] = await connection.fetch(asked.sql, *(arguments[name] for name in asked.names))
            return rows
    except asyncpg.NumericValueOutOfRangeError as error:
        text = f"{question} after {arguments.get('after')}: a number is beyond its type ({error})"
        return [{"row_count": 0, "fault_count": 1, "faults": [text]}]


async def one_row(connection: Connection, question: str, arguments: Mapping[str, Any]) -> Row:
    """The one row that a question of `sql/verification.sql` gives."""
    asked = _QUESTIONS[question]
    async with connection.transaction():
        rows: list[Any] = await connection.fetch(asked.sql, *(arguments[name] for name in asked.names))
    row: Row = rows[0]
    return row


def _questions() -> dict[str, _Question]:
    """Named parameters become $1, $2, … in order of appearance."""
    found = {}
    for name, statement in load_queries(Path(__file__).parent / "sql" / "verification.sql").items():
        sql = re.sub(r"--.*", "", statement)
        names = tuple(dict.fromkeys(_PARAMETER.findall(sql)))
        for number, parameter in enumerate(names, 1):
            sql = re.sub(rf"(?<![:\w]):{parameter}\b", f"${number}", sql)
        found[name] = _Question(sql, names)
    return found


_QUESTIONS: Final = _questions()
