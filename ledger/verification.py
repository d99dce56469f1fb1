"""Verification: re-adds the books by another road and says whether they are what they claim to be.

Every check is named and stands alone. The books are read forward in ranges of whole blocks, each compared with itself
in columns (`range_sums.py`) or, where anything is not in order, row by row; the checks carry sums between ranges.
Nothing of it is code of posting. Each range is a transaction of its own, so no snapshot stays open, nothing is locked
and posting goes on meanwhile: verification follows the head until little is left. Memory grows with the number of
accounts and of entries drawn on, not with the history. With `independent` every range is read row by row.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec

from ledger.archives import archives, verification_start
from ledger.checks import Answers, Head, Problems, Range, Row, Scan, Start, ask, from_lines
from ledger.checks_in_columns import COLUMN_SCANS, SUMS, sums_or_rows
from ledger.checks_in_python import CHUNK, PYTHON_SCANS, gather
from ledger.checks_of_accounts import periods_closed
from ledger.checks_of_functions import code
from ledger.checks_of_ranges import RARE_QUESTIONS, RARE_SCANS
from ledger.checks_of_schema import guards, kinds, trial_balance_zero
from ledger.errors import BookNotFound
from ledger.posting import Connection
from ledger.queries import QUERIES
from ledger.range_sums import AccountFacts

SCANS: Final[tuple[type[Scan], ...]] = (*COLUMN_SCANS, *RARE_SCANS)
"""Read the books forward. The order of both is the order of the report."""
SingleCheck = Callable[[Connection, int, int], Awaitable[Problems]]
"""(connection, book, last sequence verified) → problems."""


def _through_the_last_entry(check: Callable[[Connection, int, int], AsyncIterator[str]]) -> SingleCheck:
    """A block that lies about its range must not send a check counting to 2⁶³."""

    async def clamped(connection: Connection, book_id: int, cut: int) -> Problems:
        greatest = await connection.fetchval(QUERIES["greatest_sequence"], book_id)
        return await from_lines(check)(connection, book_id, min(cut, greatest))

    return clamped


SINGLE_CHECKS: Final[dict[str, SingleCheck]] = {
    "periods_closed": _through_the_last_entry(periods_closed),
    "trial_balance_zero": trial_balance_zero,
    "kinds": kinds,
    "archives": archives,
    "code": code,
    "guards": guards,
}
"""Ask by themselves, up to the head at the start."""

RANGE_ENTRIES: Final = 2_000
LEFT_ENTRIES: Final = 10_000
RANGE_ENTRIES_MIN, RANGE_ENTRIES_MAX = 500, 50_000
RANGE_BLOCKS: Final = 20_000
RANGE_SECONDS: Final = 1
BLOCK_ENTRIES_MAX: Final = 1_000_000
"""More than anybody posts in one call."""
RANGES_AHEAD: Final = 4
EXTENSIONS_MAX: Final = 10
PROBLEMS_SHOWN: Final = 5
UNREADABLE: Final = (TypeError, ValueError, OverflowError)
"""What Python makes of values that sound books do not have: a moment beyond its calendar, a NULL."""

SETTINGS: Final = """SELECT set_config('work_mem', '64MB', true), set_config('jit', 'off', true),
    set_config('random_page_cost', '1.1', true), set_config('plan_cache_mode', 'force_custom_plan', true)"""
"""A plan for any range is not one for this range: planning is little beside reading it."""

Progress = Callable[[int, int], None]
"""Told (last sequence verified, last to be verified) after each range."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One named check.

    Attributes:
        detail: the first problems, or what was found in order.
        rows: how many rows it looked at.
    """

    name: str
    passed: bool
    detail: str
    rows: int


class VerificationReport(msgspec.Struct, frozen=True, kw_only=True):
    """What verification found.

    Attributes:
        head: the last sequence verified: the head at the start, or a later one.
        head_hash: hash of the block that holds it: compare it with a checkpoint kept elsewhere.
    """

    book_id: int
    head: int
    head_hash: bytes
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)


async def verify(
    connection: Connection,
    book_id: int,
    *,
    beside: Sequence[Connection] = (),
    independent: bool = False,
    published: SingleCheck | None = None,
    progress: Progress | None = None,
) -> VerificationReport:
    """Run every check on a book; takes no lock.

    Args:
        connection: outside any transaction; rights to read are enough (app or auditor).
        book_id: the book.
        beside: more connections of the same kind; each reads ranges of its own at the same time.
        independent: add and hash in Python, from the rows.
        published: compares with what was published outside the database (`checks_of_checkpoints.against`).
        progress: called after each range.

    Raises:
        BookNotFound: there is no such book.
    """
    connections = [connection, *beside]
    for each in connections:
        assert not each.is_in_transaction(), "verification must not keep a snapshot open"
    return await run_checks(connections, book_id, independent=independent, published=published, progress=progress)


async def run_checks(
    connections: Sequence[Connection],
    book_id: int,
    *,
    independent: bool = False,
    published: SingleCheck | None = None,
    progress: Progress | None = None,
) -> VerificationReport:
    """`verify` without its care for snapshots: for tests that roll back what they did to the books."""
    plan, seed = await Plan.make(connections[0], book_id), secrets.randbits(62)
    scans = [(PYTHON_SCANS.get(scan.name, scan) if independent else scan)(plan.start, seed) for scan in SCANS]
    singles = SINGLE_CHECKS | ({} if published is None else {"published_checkpoints": published})
    reader, found, first_cut = _Reader(plan, scans, progress), dict[str, Check](), plan.newest.last_sequence
    alone: dict[str, SingleCheck] = dict(singles)
    at_the_end: dict[str, SingleCheck] = {scan.name: scan.finish for scan in scans}

    async def finish(connection: Connection, waiting: dict[str, SingleCheck], cut: int) -> None:
        while waiting:
            name, check = waiting.popitem()  # the last: of the scans those come soon that take long
            found[name] = await _finished(name, check, connection, book_id, cut)

    async def work(connection: Connection, *, reads_first: bool) -> None:
        if reads_first:
            await reader.read(connection, seed)
        await finish(connection, alone, first_cut)
        if not reads_first:
            await reader.read(connection, seed)

    async with asyncio.TaskGroup() as group:
        for number, connection in enumerate(connections):
            group.create_task(work(connection, reads_first=number == 0))
    cut = plan.newest.last_sequence
    async with asyncio.TaskGroup() as group:
        for connection in connections:
            group.create_task(finish(connection, at_the_end, cut))
    checks = [found[name] for name in (*(scan.name for scan in scans), *singles)]
    return VerificationReport(book_id=book_id, head=cut, head_hash=plan.newest.hash, checks=tuple(checks))


async def _finished(
    name: str,
    finish: Callable[[Connection, int, int], Awaitable[Problems]],
    connection: Connection,
    book_id: int,
    cut: int,
) -> Check:
    try:
        problems = await finish(connection, book_id, cut)
    except UNREADABLE as error:
        return Check(name=name, passed=False, detail=f"cannot be read: {error}", rows=0)
    shown = "; ".join(problems.found[:PROBLEMS_SHOWN])
    if problems.count > PROBLEMS_SHOWN:
        shown += f"; and {problems.count - PROBLEMS_SHOWN} more"
    return Check(name=name, passed=problems.count == 0, detail=shown or problems.note, rows=problems.rows)


class Plan:
    """Cuts the books into ranges, one after the other, up to a head that is moved while much was posted meanwhile."""

    def __init__(self, book_id: int, start: Start, newest: Head) -> None:
        self.book_id, self.start, self.newest = book_id, start, newest
        self._at, self._after = start.head, start.head.last_sequence
        self._size, self._extensions = RANGE_ENTRIES, 0

    @classmethod
    async def make(cls, connection: Connection, book_id: int) -> "Plan":
        """A plan for the books as they are.

        Raises:
            BookNotFound: there is no such book.
        """
        newest = await _newest(connection, book_id)
        return cls(book_id, await verification_start(connection, book_id), newest)

    async def next(self, connection: Connection, seed: int) -> Range | None:
        """The next range, or None at the end."""
        if self._at.recorded_at >= self.newest.recorded_at:
            await self._extend(connection)
        arguments = {
            "book": self.book_id,
            "after_at": self._at.recorded_at,
            "last_at": self.newest.recorded_at,
            "limit": RANGE_BLOCKS,
            "wanted": self._after + self._size,
        }
        ends = await ask(connection, "range_end", arguments)
        if not ends:
            return None
        end = _head(ends[0])
        # A block that lies about its range must not send us counting to 2⁶³.
        greatest = await connection.fetchval(QUERIES["greatest_sequence"], self.book_id)
        # Nor may it have us read the rest of the books at once.
        most = self._after + self._size + BLOCK_ENTRIES_MAX
        last = max(min(end.last_sequence, greatest, most), self._after)
        planned = Range(
            book_id=self.book_id,
            before=self._at,
            end=end,
            after=self._after,
            last=last,
            cut=self.newest.last_sequence,
            start=self.start,
            seed=seed,
        )
        self._at, self._after = end, last
        return planned

    def took(self, entries: int, elapsed_seconds: float) -> None:
        """Make the next ranges larger or smaller, so that no question runs for long."""
        if elapsed_seconds > 2 * RANGE_SECONDS:
            self._size = max(min(self._size, entries) // 2, RANGE_ENTRIES_MIN)
        elif 2 * elapsed_seconds < RANGE_SECONDS:
            self._size = min(self._size * 2, RANGE_ENTRIES_MAX)

    async def _extend(self, connection: Connection) -> None:
        """Follow the head: what is posted after the cut is subtracted at the end, so it must be little."""
        newest = await _newest(connection, self.book_id)
        grown = newest.last_sequence - self.newest.last_sequence
        if grown > LEFT_ENTRIES and self._extensions < EXTENSIONS_MAX:
            self.newest, self._extensions = newest, self._extensions + 1


async def _newest(connection: Connection, book_id: int) -> Head:
    newest = await connection.fetchrow(QUERIES["newest_block"], book_id)
    if newest is None:
        raise BookNotFound(f"no book {book_id}, or it has lost all its blocks")
    return _head(newest)


def _head(row: Any) -> Head:
    return Head(**{name: row[name] for name in Head.__struct_fields__})


class _Reader:
    """Every connection takes the next range and asks; the answers are read in the order of the books."""

    def __init__(self, plan: Plan, scans: Sequence[Scan], progress: Progress | None) -> None:
        self._plan, self._scans, self._progress = plan, scans, progress
        self._questions = tuple(dict.fromkeys(question for scan in scans for question in scan.questions))
        self._facts = AccountFacts()
        self._waiting: dict[int, tuple[Range, Answers | Exception]] = {}
        self._turn, self._planned, self._read = asyncio.Condition(), 0, 0

    async def read(self, connection: Connection, seed: int) -> None:
        """Range after range until there is none; several may run, each with its connection."""
        while True:
            async with self._turn:
                await self._turn.wait_for(self._may_plan)
                range_ = await self._plan.next(connection, seed)
                if range_ is None:
                    return
                number, self._planned = self._planned, self._planned + 1
            started_seconds = time.monotonic()
            answers: Answers | Exception
            try:
                answers = await self._answers(connection, range_)
            except UNREADABLE as error:
                answers = error
            self._plan.took(range_.last - range_.after, time.monotonic() - started_seconds)
            async with self._turn:
                self._waiting[number] = (range_, answers)
                await self._read_what_follows()
                self._turn.notify_all()

    def _may_plan(self) -> bool:
        return self._planned < self._read + RANGES_AHEAD

    async def _read_what_follows(self) -> None:
        while self._read in self._waiting:
            range_, answers = self._waiting.pop(self._read)
            for scan in self._scans:
                try:
                    if isinstance(answers, Exception):
                        raise answers
                    scan.read(answers)
                except UNREADABLE as error:
                    scan.problems.add(f"entries {range_.after + 1} … {range_.last} cannot be read: {error}")
                # The other connections' transactions must not stand still meanwhile.
                await asyncio.sleep(0)
            self._read += 1
            if self._progress is not None:
                self._progress(range_.last, self._plan.newest.last_sequence)

    async def _answers(self, connection: Connection, range_: Range) -> Answers:
        arguments, answers = range_.arguments(), dict[str, list[Row]]()
        async with connection.transaction():
            await connection.execute(SETTINGS)
            for question in self._questions:
                if question == SUMS:
                    answers |= await sums_or_rows(connection, range_, self._facts)
                elif question in RARE_QUESTIONS and SUMS in answers and answers[SUMS][0][SUMS].plain:
                    answers[question] = []
                elif question == CHUNK:
                    answers[CHUNK] = await gather(connection, range_)
                else:
                    answers[question] = await ask(connection, question, arguments)
        return answers
