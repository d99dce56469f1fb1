"""The checks that re-add the books range by range. The database adds within a range, these carry between ranges."""

from collections.abc import Iterable
from typing import Any, ClassVar, Final
from uuid import UUID

from ledger.checks import ROWS_AT_ONCE, Answers, Problems, Row, Scan, Start, ask
from ledger.posting import Connection
from ledger.queries import QUERIES

FIRST_KEY: Final = UUID(int=0)


class SequenceGapless(Scan):
    """Every sequence up to the head is there once, and no row of the ledger lies beyond the head."""

    name = "sequence_gapless"
    questions: ClassVar[tuple[str, ...]] = ("sequences",)

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
    questions: ClassVar[tuple[str, ...]] = ("lines", "postings")


class BalancesAfter(Scan):
    """Every posting's balances after it are those before it, plus or minus its amount."""

    name = "balances_after"
    questions: ClassVar[tuple[str, ...]] = ("moves",)

    def __init__(self, start: Start, seed: int) -> None:
        super().__init__(start, seed)
        self._balances = {account: debits - credits_ for account, (debits, credits_, _) in start.totals.items()}

    def read(self, answers: Answers) -> None:
        """Within a range the database compared; here the first posting of each account with the range before."""
        rows, balances = _of_accounts(answers["moves"], self.problems), self._balances
        for account, side, debits, credits_, _, count, sequence, after, moved, debit_faults, credit_faults in rows:
            before = balances.get(account, 0)
            balances[account] = before + debits - credits_
            self.problems.rows += count
            if side is None:
                self.problems.add(f"account {account}, which does not exist, has balances")
                continue
            expected, faults = (before + moved, debit_faults) if side == "D" else (-before - moved, credit_faults)
            if after != expected:
                self.problems.add(f"entry {sequence} leaves account {account} {expected}, not {after}")
            if faults:
                self.problems.add(f"account {account} has other balances than its amounts leave, {faults} of them")
                self.problems.count += faults - 1


def _of_accounts(rows: list[Row], problems: Problems) -> Iterable[Any]:
    """The rows as tuples: there may be two for each entry. A single answer says that the question failed."""
    if rows and "fault_count" in rows[0]:
        problems.add_answer(rows[0])
        return ()
    return rows


class AccountTotals(Scan):
    """Every account's totals, held sums and last sequence are those of its postings and holds."""

    name = "account_totals"
    questions: ClassVar[tuple[str, ...]] = ("moves", "held")

    def __init__(self, start: Start, seed: int) -> None:
        super().__init__(start, seed)
        self._totals, self._held = dict(start.totals), dict(start.held)

    def read(self, answers: Answers) -> None:
        """Add the sums of the range."""
        totals = self._totals
        # A question that failed is reported by balances_after.
        for account, _, debits, credits_, last, *_ in _of_accounts(answers["moves"], Problems()):
            before = totals.get(account)
            totals[account] = (
                (debits, credits_, last) if before is None else (before[0] + debits, before[1] + credits_, last)
            )
        for account, debits, credits_ in _of_accounts(answers["held"], self.problems):
            held = self._held.get(account, (0, 0))
            self._held[account] = (held[0] + debits, held[1] + credits_)

    async def finish(self, connection: Connection, book_id: int, cut: int) -> Problems:
        """Compare with the accounts' rows, less what was posted after the cut, seen by the same statement."""
        after = 0
        while rows := await ask(
            connection, "totals_page", {"book": book_id, "cut": cut, "after_account": after, "limit": ROWS_AT_ONCE}
        ):
            for row in rows:
                self._compare(row)
            after = rows[-1]["account_id"]
        for account in {**self._totals, **self._held}:
            self.problems.add(f"account {account} has postings or holds and no row")
        return self.problems

    def _compare(self, row: Any) -> None:
        account, last_sequence, moved_since, *found = row
        debits, credits_, last = self._totals.pop(account, (0, 0, 0))
        expected = [debits, credits_, *self._held.pop(account, (0, 0))]
        self.problems.rows += 1
        if found != expected:
            amounts = [int(each) for each in found]
            self.problems.add(f"account {account} has debits, credits, both held {amounts}, its entries say {expected}")
        if not moved_since and last_sequence != last:
            self.problems.add(f"account {account} says {last_sequence} moved it last, not {last}")


class BlockChain(Scan):
    """Blocks follow each other without a gap, each names the one before, and entries are in the block they say."""

    name = "block_chain"
    questions: ClassVar[tuple[str, ...]] = ("blocks", "entries_in_blocks")


class BlockHashes(Scan):
    """Every block's hash is the hash of its entries, computed again from their columns."""

    name = "block_hashes"
    questions: ClassVar[tuple[str, ...]] = ("hashes",)


class Keys(Scan):
    """Every entry's key leads to it, and every key leads to an entry.

    Both are added up as a sum of hashes under a secret of this run, each in its own order; only when the sums differ
    are keys looked up one by one.
    """

    name = "keys"
    questions: ClassVar[tuple[str, ...]] = ("entry_keys",)

    def __init__(self, start: Start, seed: int) -> None:
        super().__init__(start, seed)
        self._entries, self._total = 0, 0

    def read(self, answers: Answers) -> None:
        """Add up the entries' side."""
        for row in answers["entry_keys"]:
            self._entries += row["row_count"]
            self._total += int(row["total"])

    async def finish(self, connection: Connection, book_id: int, cut: int) -> Problems:
        """Add up the keys' side, in order of key."""
        arguments = {
            "book": book_id,
            "cut": cut,
            "seed": self.seed,
            "limit": ROWS_AT_ONCE,
            "from_sequence": self.start.head.last_sequence,
        }
        pages: list[tuple[UUID, UUID | None]] = []
        total, start = 0, FIRST_KEY
        while not pages or pages[-1][1] is not None:
            ends = await ask(connection, "key_page_end", {**arguments, "from_key": start})
            pages.append((start, ends[0]["key"] if ends else None))
            page: dict[str, Any] = {"from_key": start, "to_key": pages[-1][1]}
            for row in await ask(connection, "stored_keys", {**arguments, **page}):
                self.problems.rows += row["row_count"]
                total += int(row["total"])
                if row["beyond_count"]:
                    self.problems.add(f"{row['beyond_count']} keys lead beyond the head")
            start = pages[-1][1] or start
        if (self.problems.rows, total) != (self._entries, self._total):
            for start, end in pages:
                for row in await ask(connection, "keys_without_entry", {**arguments, "from_key": start, "to_key": end}):
                    self.problems.add(f"key {row['key']} leads to entry {row['sequence']}, which has another")
            first = self.start.head.last_sequence
            for after in range(first, min(cut, first + self._entries + ROWS_AT_ONCE), ROWS_AT_ONCE):
                page = {"after": after, "last": min(after + ROWS_AT_ONCE, cut)}
                for row in await ask(connection, "entries_without_key", {**arguments, **page}):
                    self.problems.add(f"the key of entry {row['sequence']} leads elsewhere")
            if not self.problems.count:
                self.problems.add("the keys of the entries and the keys are not the same set")
        return self.problems


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
    """What reverses a line mirrors it, and all that do never pass its amount."""

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


RANGE_SCANS: Final[tuple[type[Scan], ...]] = (
    SequenceGapless,
    PostingsWhole,
    BalancesAfter,
    AccountTotals,
    BlockChain,
    BlockHashes,
    Keys,
    Caps,
    HoldsResolvedOnce,
    Reversals,
    Groups,
    References,
)
