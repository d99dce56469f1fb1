"""Checks of verification about accounts and periods: what is kept for speed is what the entries say.

Each yields one line a problem; nothing means that all is as it should be. They read the books forward in chunks up to
a cut, each statement a snapshot of its own of less than 5 s, and compare with rows of one later snapshot less what was
posted since the cut: posting goes on meanwhile. None uses what it checks.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import date
from itertools import pairwise
from typing import Any, Final, NamedTuple

from ledger.account_listing import RollUpBy, roll_up
from ledger.chart_of_accounts import CHART, AccountKind
from ledger.periods import Period, PeriodState, periods
from ledger.posting import Connection
from ledger.queries import QUERIES

ENTRIES_AT_ONCE: Final = 50_000


class Moved(NamedTuple):
    """Σ debits and Σ credits."""

    debits: int
    credits: int

    def plus(self, debits: int, credits_: int) -> "Moved":
        """Both sides added."""
        return Moved(self.debits + debits, self.credits + credits_)


NOTHING: Final = Moved(0, 0)


async def holds_held(connection: Connection, book_id: int, cut: int) -> AsyncIterator[str]:  # noqa: ARG001
    """What every account says is held is the sum of the holds that nothing resolved, in one snapshot."""
    for row in await connection.fetch(QUERIES["holds_out_of_step"], book_id):
        said, found = (row["debits_held"], row["credits_held"]), (int(row["debits"]), int(row["credits"]))
        yield f"account {row['account_id']} says {said} held, its holds {found}"


async def periods_closed(connection: Connection, book_id: int, cut: int) -> AsyncIterator[str]:
    """Periods follow each other, closed ones first, and nothing was booked through their end after they were closed."""
    found = await periods(connection, book_id)
    for fault in _period_faults(found):
        yield fault
    closed = [(period.closed_at_sequence, period.ends_on) for period in found if period.closed_at_sequence is not None]
    starts: list[tuple[int, date | None]] = [(0, None), *closed]
    ends = [sequence for sequence, _ in closed] + [cut]
    for (start, shut_through), end in zip(starts, ends, strict=True):
        for after, through in _ranges(start, min(end, cut), ENTRIES_AT_ONCE):
            for row in await connection.fetch(
                QUERIES["entries_booked_too_early"], book_id, after, through, shut_through
            ):
                yield (
                    f"entry {row['sequence']} of {row['effective_on']} is booked on"
                    f" {row['booked_on'] or row['effective_on']}, the books were closed through {shut_through}"
                )


async def roll_ups(connection: Connection, book_id: int, cut: int) -> AsyncIterator[str]:
    """Totals by class, kind and owner at the cut are the sum of the postings up to it."""
    moved: defaultdict[int, Moved] = defaultdict(lambda: NOTHING)
    for after, through in _ranges(0, cut, ENTRIES_AT_ONCE):
        for row in await connection.fetch(QUERIES["moved_by_accounts"], book_id, after, through):
            debit, credit, amount_minor = row["debit_account"], row["credit_account"], int(row["amount_minor"])
            moved[debit] = moved[debit].plus(amount_minor, 0)
            moved[credit] = moved[credit].plus(0, amount_minor)
    accounts = {row["account_id"]: row for row in await connection.fetch(QUERIES["account_numbers"], book_id)}
    for account in moved.keys() - accounts.keys():
        yield f"account {account} has postings and no row"
    for by in RollUpBy:
        expected: defaultdict[tuple[str, str], Moved] = defaultdict(lambda: NOTHING)
        for account, found in moved.items():
            if account in accounts:
                group = _group(accounts[account], by), accounts[account]["currency"]
                expected[group] = expected[group].plus(*found)
        for each in await roll_up(connection, book_id, by=by, cut=cut):
            said, found = Moved(each.debits_minor, each.credits_minor), expected[each.name, each.currency]
            if said != found:
                yield f"{by.value} {each.name} {each.currency} says {tuple(said)}, its postings {tuple(found)}"


CHECKS: Final[dict[str, Callable[[Connection, int, int], AsyncIterator[str]]]] = {
    "holds_held": holds_held,
    "periods_closed": periods_closed,
    "roll_ups": roll_ups,
}
"""By the name under which verification shows them; each is called with connection, book and cut."""


def _group(row: Any, by: RollUpBy) -> str:
    kind, owner = AccountKind(row["kind"]), str(row["owner"])
    match by:
        case RollUpBy.CLASS:
            return CHART[kind].account_class.value
        case RollUpBy.KIND:
            return kind.name.lower()
        case RollUpBy.OWNER:
            return owner


def _period_faults(found: Sequence[Period]) -> Iterator[str]:
    order = [PeriodState.CLOSED, PeriodState.CLOSING, PeriodState.OPEN]
    for before, after in pairwise(found):
        if (after.starts_on - before.ends_on).days != 1:
            yield f"the period through {after.ends_on} does not follow {before.ends_on}"
        if order.index(before.state) > order.index(after.state):
            yield f"the period through {after.ends_on} is {after.state.value} and the one before {before.state.value}"
        if (after.closed_at_sequence or 0) < (before.closed_at_sequence or 0) and after.state is PeriodState.CLOSED:
            yield f"the period through {after.ends_on} was closed before the one through {before.ends_on}"
    if sum(period.state is PeriodState.CLOSING for period in found) > 1:
        yield "more than one period is closing"
    for period in found:
        if (period.state is PeriodState.CLOSED) != (period.closed_at_sequence is not None):
            yield f"the period through {period.ends_on} is {period.state.value} at {period.closed_at_sequence}"


def _ranges(low: int, high: int, size: int) -> Iterator[tuple[int, int]]:
    """(after, through] of at most `size` numbers."""
    for after in range(low, high, size):
        yield after, min(after + size, high)
