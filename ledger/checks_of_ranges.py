"""The checks that re-add the books range by range: what each carries, and what it compares with at the end.

How a range is read is said by `checks_in_columns.py`, and once more, row by row, by `checks_in_python.py`. What is rare
in the books is re-added by the database (`sql/verification.sql`), as it says here.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from secrets import randbits
from typing import Any, ClassVar, Final

from ledger.carried_sums import CarriedSums
from ledger.checks import ROWS_AT_ONCE, Answers, Problems, Scan, Start, ask
from ledger.posting import Connection
from ledger.queries import QUERIES, fetch_range

ACCOUNTS_AT_ONCE: Final = 500
"""Accounts whose days one statement reads; an account may have moved on every day of ten years."""


class SequenceGapless(Scan):
    """Every sequence up to the head is there once, and no row of the ledger lies beyond the head."""

    name = "sequence_gapless"

    async def finish(self, connection: Connection, book_id: int, cut: int) -> Problems:
        """Ask for what lies outside the head, the head of the same moment."""
        if self.start.head.last_sequence + self.problems.rows < cut and not self.problems.count:
            self.problems.add(f"of {cut} entries {cut - self.problems.rows} are missing")
        for row in await connection.fetch(QUERIES["beyond_head"], book_id):
            self.problems.add(f"{row['row_count']} rows of {row['table_name']} lie outside the head {row['head']}")
        return self.problems


class PostingsWhole(Scan):
    """Each entry has postings 1 … n of its own moment, each with an amount, two accounts and one currency."""

    name = "postings_whole"


class BalancesAfter(Scan):
    """Every posting's balances after it are those before it, plus or minus its amount."""

    name = "balances_after"

    def __init__(self, start: Start, seed: int) -> None:
        super().__init__(start, seed)
        balances = {account: (debits - credits_,) for account, (debits, credits_, _) in start.totals.items()}
        self._balances = CarriedSums(1, balances)


class AccountTotals(Scan):
    """Every account's totals, held sums and last sequence are those of its postings and holds."""

    name = "account_totals"

    def __init__(self, start: Start, seed: int) -> None:
        super().__init__(start, seed)
        self._totals, self._held = CarriedSums(3, start.totals), dict(start.held)

    async def finish(self, connection: Connection, book_id: int, cut: int) -> Problems:
        """Compare with the accounts' rows, less what was posted after the cut, seen by the same statement."""
        after = 0
        while rows := await ask(
            connection, "totals_page", {"book": book_id, "cut": cut, "after_account": after, "limit": ROWS_AT_ONCE}
        ):
            for row in rows:
                self._compare(row)
            after = rows[-1]["account_id"]
        for account in {**self._totals.by_account(), **self._held}:
            self.problems.add(f"account {account} has postings or holds and no row")
        return self.problems

    def _compare(self, row: Any) -> None:
        account, last_sequence, moved_since, *found = row
        debits, credits_, last = self._totals.by_account().pop(account, (0, 0, 0))
        expected = [debits, credits_, *self._held.pop(account, (0, 0))]
        self.problems.rows += 1
        if found != expected:
            amounts = [int(each) for each in found]
            self.problems.add(f"account {account} has debits, credits, both held {amounts}, its entries say {expected}")
        if not moved_since and last_sequence != last:
            self.problems.add(f"account {account} says {last_sequence} moved it last, not {last}")


class AccountDays(Scan):
    """Every account's days, and its latest one in the totals, are its postings by business date.

    Every day's debits and credits are multiplied by numbers drawn anew for this run, and an account's products added
    up: one number an account, however many days. Two histories of an account have the same sum only if they are the
    same, but for a chance of 2⁻⁶⁴ that nobody can prepare.
    """

    name = "account_days"

    def __init__(self, start: Start, seed: int) -> None:
        super().__init__(start, seed)
        self._weights: dict[date, tuple[int, int]] = {}
        self._sums: defaultdict[int, int] = defaultdict(int)

    def move(self, day: date, moves: Iterable[tuple[int, int, int]]) -> None:
        """Add what moved on a day: account, Σ debits, Σ credits."""
        weights = self._weights.get(day)
        if weights is None:
            weights = self._weights[day] = randbits(64), randbits(64)
        (debit_weight, credit_weight), sums = weights, self._sums
        for account, debits, credits_ in moves:
            sums[account] += debit_weight * debits + credit_weight * credits_

    async def finish(self, connection: Connection, book_id: int, cut: int) -> Problems:
        """Take off the days that are kept, as they stood at the cut. From the first entry on, so with all of them."""
        if self.start.head.last_sequence:
            return Problems(note=f"not added up: entries through {self.start.head.last_sequence} are archived")
        last = await connection.fetchval(QUERIES["last_account"], book_id)
        for after in range(0, last, ACCOUNTS_AT_ONCE):
            page = book_id, after, min(after + ACCOUNTS_AT_ONCE, last)
            for row in await connection.fetch(QUERIES["days_at"], *page, cut):
                self.problems.rows += 1
                self.move(row["effective_on"], [(row["account_id"], -int(row["debits"]), -int(row["credits"]))])
            for row in await fetch_range(connection, "days_out_of_step", *page):
                self.problems.add(f"account {row['account_id']} does not carry its days before {row['effective_on']}")
        for account in sorted(account for account, left in self._sums.items() if left):
            self.problems.add(f"account {account} has days that are not those of its postings")
        return self.problems


class BlockChain(Scan):
    """Blocks follow each other without a gap, each names the one before, and entries are in the block they say."""

    name = "block_chain"


class BlockHashes(Scan):
    """Every block's hash is the hash of its entries, computed again from their columns."""

    name = "block_hashes"


class Keys(Scan):
    """Every entry's key leads to it, and every key leads to an entry."""

    name = "keys"


class Caps(Scan):
    """Draws never passed their original at any moment, and every cap row says what was drawn."""

    name = "caps"
    questions: ClassVar[tuple[str, ...]] = ("caps", "draws")

    def __init__(self, start: Start, seed: int) -> None:
        super().__init__(start, seed)
        self._drawn = dict(start.drawn)

    def read(self, answers: Answers) -> None:
        """Add the draws up; a sum may never fall below zero nor rise above the cap."""
        for row in answers["caps"]:
            self.problems.add_answer(row)
        for row in answers["draws"]:
            if "fault_count" in row:
                self.problems.add_answer(row)
                continue
            if row["faulty"]:
                self.problems.add(f"entry {row['first_sequence']} draws on nothing, nothing on something, or ahead")
                continue
            original, drawable = row["draws_on"], row["drawable_minor"]
            before = self._drawn.get(original, 0)
            self._drawn[original] = before + row["drawn"]
            if before + row["least"] < 0 or (drawable is not None and before + row["greatest"] > drawable):
                self.problems.add(f"entry {original} was drawn on beyond its {drawable}, or given back more than that")

    async def finish(self, connection: Connection, book_id: int, cut: int) -> Problems:
        """Compare with the cap rows, less what was drawn after the cut, seen by the same statement."""
        arguments = {"book": book_id, "cut": cut, "after_sequence": 0, "limit": ROWS_AT_ONCE}
        while rows := await ask(connection, "drawn_caps", arguments):
            for row in rows:
                await self._compare(connection, book_id, cut, row["sequence"], row["drawn_minor"])
            arguments["after_sequence"] = rows[-1]["sequence"]
        for sequence in [sequence for sequence, drawn in self._drawn.items() if drawn]:
            await self._compare(connection, book_id, cut, sequence, 0)
        return self.problems

    async def _compare(self, connection: Connection, book_id: int, cut: int, sequence: int, found: int) -> None:
        drawn = self._drawn.pop(sequence, 0)
        if drawn != found:
            now = await connection.fetchrow(QUERIES["cap_at"], book_id, sequence, cut)
            if now is None or drawn != int(now["drawn_minor"]):
                self.problems.add(f"the cap of entry {sequence} says {found}, draws say {drawn}")


class HoldsResolvedOnce(Scan):
    """Every hold and resolution has its entry and says what that did; who is unresolved is in `account_totals`."""

    name = "holds_resolved_once"
    questions: ClassVar[tuple[str, ...]] = ("holds",)


class Reversals(Scan):
    """What reverses a line mirrors it, all that do never pass its amount, and what could be drawn is drawn."""

    name = "reversals"
    questions: ClassVar[tuple[str, ...]] = ("reversals",)


class Groups(Scan):
    """Entries that were posted together lie together, in one block."""

    name = "groups"
    questions: ClassVar[tuple[str, ...]] = ("groups",)


class References(Scan):
    """Every reference names an entry."""

    name = "references"
    questions: ClassVar[tuple[str, ...]] = ("references",)


RARE_QUESTIONS: Final = frozenset({"caps", "draws", "holds", "held", "reversals", "groups"})
"""Where nothing is rare in a range, these have no rows to look at."""
RARE_SCANS: Final[tuple[type[Scan], ...]] = (Caps, HoldsResolvedOnce, Reversals, Groups, References)
"""Asked of the database as they stand here. What the others carry is read by `checks_in_columns.py`."""
