"""The checks that re-add the books: a range in order by its sums, any other range row by row.

A check here is its namesake of `checks_in_python.py` that is spared the rows where `range_sums.py` vouches for them.
"""

from abc import abstractmethod
from collections.abc import Mapping
from datetime import date
from typing import Any, ClassVar, Final
from uuid import UUID

import numpy as np

from ledger import checks_in_python as by_row
from ledger import checks_of_ranges as ranges
from ledger.carried_sums import CarriedSums
from ledger.checks import ROWS_AT_ONCE, Answers, Problems, Range, Scan, Start, ask
from ledger.posting import Connection
from ledger.range_columns import OutOfStep, read_keys
from ledger.range_sums import AccountFacts, Sums, add_up, key_sum

SUMS: Final = "sums"
_MODULUS: Final = 1 << 64
_LAST_KEY: Final = (1 << 128) - 1


async def sums_or_rows(connection: Connection, range_: Range, facts: AccountFacts) -> dict[str, list[Any]]:
    """The answer to the question `sums`: the sums of a range in order, or the rows of one that is not."""
    sums = await add_up(connection, range_, facts)
    if sums is not None:
        return {SUMS: [{SUMS: sums}]}
    return {by_row.CHUNK: await by_row.gather(connection, range_)}


class _InColumns(Scan):
    """A check that takes sums where there are any."""

    questions: ClassVar[tuple[str, ...]] = (SUMS,)

    def read(self, answers: Answers) -> None:
        """Sums, or rows."""
        if SUMS in answers:
            self.read_sums(answers[SUMS][0][SUMS])
        else:
            super().read(answers)

    @abstractmethod
    def read_sums(self, sums: Sums) -> None:
        """Take the sums of a range in order."""


class SequenceGapless(_InColumns, by_row.SequenceGapless):
    """Counts entries."""

    def read_sums(self, sums: Sums) -> None:
        """All are there."""
        self.problems.rows += sums.entries


class PostingsWhole(_InColumns, by_row.PostingsWhole):
    """Counts postings."""

    def read_sums(self, sums: Sums) -> None:
        """All are whole."""
        self.problems.rows += sums.postings


class BalancesAfter(_InColumns, by_row.BalancesAfter):
    """Carries balances from range to range."""

    def read_sums(self, sums: Sums) -> None:
        """Compare the first posting of each account with the range before."""
        self.problems.rows += sums.postings
        moves = sums.moves
        before = self._balances.of(moves.accounts)[:, 0]
        expected = moves.sign * (before + moves.first_moved)
        for place in np.flatnonzero(moves.first_after != expected).tolist():
            self.problems.add(
                f"entry {moves.first_sequence[place]} leaves account {moves.accounts[place]}"
                f" {expected[place]}, not {moves.first_after[place]}"
            )
        self._balances.put(moves.accounts, (before + moves.debits - moves.credits_)[:, np.newaxis])


class AccountTotals(_InColumns, by_row.AccountTotals):
    """Adds sums up; what was held comes added up by the database."""

    questions: ClassVar[tuple[str, ...]] = (SUMS, "held")

    def read_sums(self, sums: Sums) -> None:
        """Add the sums of the range."""
        moves = sums.moves
        debits, credits_, _ = self._totals.of(moves.accounts).T
        after = (debits + moves.debits, credits_ + moves.credits_, moves.last_sequence)
        self._totals.put(moves.accounts, np.stack(after, axis=1))

    def read(self, answers: Answers) -> None:
        """Sums and what was held, or rows, which show both."""
        super().read(answers)
        for row in answers["held"] if SUMS in answers else ():
            if "fault_count" in row:
                self.problems.add_answer(row)
                continue
            held = self._held.get(row["account_id"], (0, 0))
            self._held[row["account_id"]] = (held[0] + row["debits_held"], held[1] + row["credits_held"])


class AccountDays(_InColumns, by_row.AccountDays):
    """Adds a day up for as long as ranges stay on it."""

    def __init__(self, start: Start, seed: int) -> None:
        super().__init__(start, seed)
        self._day, self._moved = date.min, CarriedSums(2)

    def read_sums(self, sums: Sums) -> None:
        """Add the days of the range."""
        for moves in sums.days:
            if moves.day != self._day:
                self._turn_to(moves.day)
            moved = self._moved.of(moves.accounts) + np.stack((moves.debits, moves.credits_), axis=1)
            self._moved.put(moves.accounts, moved)

    async def finish(self, connection: Connection, book_id: int, cut: int) -> Problems:
        """The last day is added too."""
        self._turn_to(date.min)
        return await super().finish(connection, book_id, cut)

    def _turn_to(self, day: date) -> None:
        moved = self._moved.by_account().items()
        self.move(self._day, ((account, debits, credits_) for account, (debits, credits_) in moved))
        self._day, self._moved = day, CarriedSums(2)


class BlockChain(_InColumns, by_row.BlockChain):
    """Counts blocks."""

    def read_sums(self, sums: Sums) -> None:
        """All follow each other."""
        self.problems.rows += sums.blocks
        self._before = sums.range.end


class BlockHashes(_InColumns, by_row.BlockHashes):
    """Counts entries."""

    def read_sums(self, sums: Sums) -> None:
        """All hashes are those of the rows."""
        self.problems.rows += sums.entries


class Keys(_InColumns, ranges.Keys):
    """Adds entries and keys up as sums of secret hashes, each in its own order.

    Only when the sums differ are keys looked up one by one.
    """

    def __init__(self, start: Start, seed: int) -> None:
        super().__init__(start, seed)
        self._entries, self._total, self._summed = 0, 0, True

    def read_sums(self, sums: Sums) -> None:
        """Add up the entries' side."""
        self._entries += sums.entries
        self._total += sums.keys

    def read(self, answers: Answers) -> None:
        """A range that is not in order has no sum."""
        if SUMS in answers:
            super().read(answers)
        else:
            self._entries += len(answers[by_row.CHUNK][0][by_row.CHUNK].entries)
            self._summed = False

    async def finish(self, connection: Connection, book_id: int, cut: int) -> Problems:
        """Add up the keys' side."""
        first, total, pages = self.start.head.last_sequence, 0, list[UUID]()
        arguments: dict[str, Any] = {"book": book_id, "cut": cut, "limit": ROWS_AT_ONCE, "from_sequence": first}
        at = 0
        while at <= _LAST_KEY:
            pages.append(UUID(int=at))
            try:
                keys = await read_keys(connection, {**arguments, "from_key": pages[-1]})
            except OutOfStep:
                self.problems.add(f"keys from {pages[-1]} on cannot be read")
                break
            if not len(keys):
                break
            sequences = keys["sequence"]
            ours = ((sequences > first) | (sequences < 1)) & (sequences <= cut)
            self.problems.rows += int(ours.sum())
            total += key_sum({name: column[ours] for name, column in keys.fixed.items()}, self.seed)
            if beyond := keys.counts["beyond_count"]:
                self.problems.add(f"{beyond} keys lead beyond the head")
            at = ((int(keys["key"]["high"][-1]) << 64) | int(keys["key"]["low"][-1])) + 1
        same = self.problems.rows == self._entries and (total - self._total) % _MODULUS == 0
        if not (self._summed and same):
            await self._look_up(connection, pages, arguments)
            if self._summed and not self.problems.count:
                self.problems.add("the keys of the entries and the keys are not the same set")
        return self.problems

    async def _look_up(self, connection: Connection, pages: list[UUID], arguments: Mapping[str, Any]) -> None:
        """Keys one by one, both ways."""
        for start, end in zip(pages, [*pages[1:], None], strict=True):
            for row in await ask(connection, "keys_without_entry", {**arguments, "from_key": start, "to_key": end}):
                self.problems.add(f"key {row['key']} leads to entry {row['sequence']}, which has another")
        first, cut = arguments["from_sequence"], arguments["cut"]
        for after in range(first, min(cut, first + self._entries + ROWS_AT_ONCE), ROWS_AT_ONCE):
            page = {"after": after, "last": min(after + ROWS_AT_ONCE, cut)}
            for row in await ask(connection, "entries_without_key", {**arguments, **page}):
                self.problems.add(f"the key of entry {row['sequence']} leads elsewhere")


COLUMN_SCANS: Final[tuple[type[Scan], ...]] = (
    SequenceGapless,
    PostingsWhole,
    BalancesAfter,
    AccountTotals,
    AccountDays,
    BlockChain,
    BlockHashes,
    Keys,
)
