"""Checks in plain Python, from rows as stored and `chain.py` alone: slow, and in words.

They read the ranges that `checks_in_columns.py` does not find in order. With `verify(…, independent=True)` they read
all, and what is rare too, so that neither arithmetic in columns nor the database's has to be believed; the last
comparisons are the same.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

import msgspec

from ledger import checks_of_ranges as ranges
from ledger.chain import LAYOUT_VERSION, block_hash, leaf_hash
from ledger.chart_of_accounts import AccountKind
from ledger.checks import Answers, Head, Problems, Range, Row, Scan, Start
from ledger.posting import Connection
from ledger.queries import QUERIES

CHUNK: Final = "chunk"
KEYS_AT_ONCE: Final = 10_000
PLACED, RELEASED, EXPIRED = 1, 3, 4
RESOLVED: Final = frozenset({2, RELEASED, EXPIRED})


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """A range with its rows. `keys` holds the key rows of the entries, by key; `holds` those that they name."""

    range: Range
    blocks: list[Row]
    entries: list[Row]
    postings: dict[int, list[Row]]
    references: dict[int, list[Row]]
    keys: dict[Any, Row]
    holds: dict[int, Row]


async def gather(connection: Connection, range_: Range) -> list[Mapping[str, Any]]:
    """Every row of a range, as the one answer to the question `chunk`."""

    async def rows(name: str, *arguments: Any) -> list[Any]:
        return list(await connection.fetch(QUERIES[name], range_.book_id, *arguments))

    between = range_.after, range_.last
    # Blocks first, as whoever posts and whoever archives a month meets them.
    blocks = await rows("blocks_between", range_.before.recorded_at, range_.end.recorded_at)
    entries = await rows("entries_with_holds_between", *between)
    chunk = Chunk(
        range=range_,
        blocks=blocks,
        entries=entries,
        postings=_by_sequence(await rows("postings_between", *between)),
        references=_by_sequence(await rows("references_between", *between)),
        keys={row["key"]: row for row in await rows("keys_at", [entry["key"] for entry in entries])},
        holds={row["sequence"]: row for row in await rows("holds_placed_or_resolved", *between)},
    )
    return [{CHUNK: chunk}]


def _by_sequence(rows: Sequence[Any]) -> dict[int, list[Row]]:
    grouped: defaultdict[int, list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row["sequence"]].append(row)
    return dict(grouped)


def _inside(chunk: Chunk, block: Row) -> range:
    """The sequences of the range that a block says it holds; what it says may be anything."""
    first, last = chunk.range.after + 1, chunk.range.last
    return range(max(block["first_sequence"], first), min(block["last_sequence"], last) + 1)


def _chunk(answers: Answers) -> Chunk:
    chunk: Chunk = answers[CHUNK][0][CHUNK]
    return chunk


class SequenceGapless(ranges.SequenceGapless):
    """Counts one by one."""

    questions: ClassVar[tuple[str, ...]] = (CHUNK,)

    def read(self, answers: Answers) -> None:
        """Compare the sequences found with the range."""
        chunk = _chunk(answers)
        times = Counter(entry["sequence"] for entry in chunk.entries)
        self.problems.rows += len(chunk.entries)
        for sequence in range(chunk.range.after + 1, chunk.range.last + 1):
            if times[sequence] != 1:
                self.problems.add(f"entry {sequence} is there {times[sequence]} times")


class PostingsWhole(ranges.PostingsWhole):
    """Looks at every posting with its entry."""

    questions: ClassVar[tuple[str, ...]] = (CHUNK,)

    def read(self, answers: Answers) -> None:
        """Look at every posting with its entry."""
        chunk = _chunk(answers)
        entries = {entry["sequence"]: entry for entry in chunk.entries}
        for sequence, postings in chunk.postings.items():
            self.problems.rows += len(postings)
            if sequence not in entries:
                self.problems.add(f"postings of {sequence} have no entry")
                continue
            for posting in postings:
                if posting["recorded_at"] != entries[sequence]["recorded_at"]:
                    self.problems.add(f"posting {sequence}/{posting['line']} is of another moment than its entry")
                if fault := _fault_of(posting):
                    self.problems.add(f"posting {sequence}/{posting['line']} {fault}")
        for sequence, entry in entries.items():
            lines = sorted(posting["line"] for posting in chunk.postings.get(sequence, []))
            moves_nothing = entry["hold_action"] in {PLACED, RELEASED, EXPIRED}
            if lines != list(range(1, len(lines) + 1)) or not (lines or moves_nothing):
                self.problems.add(f"entry {sequence} has the lines {lines}")


def _fault_of(posting: Row) -> str | None:
    if posting["debit_normal_side"] is None or posting["credit_normal_side"] is None:
        return "names an account that does not exist, or one of no kind"
    if posting["amount_minor"] <= 0 or posting["debit_account"] == posting["credit_account"]:
        return "moves nothing"
    if posting["debit_currency"] != posting["credit_currency"]:
        return "mixes currencies"
    pending = AccountKind.MERCHANT_PENDING in {posting["debit_kind"], posting["credit_kind"]}
    if pending != (posting["available_on"] is not None):
        return "has available_on where it does not belong, or none where it does"
    return None


class BalancesAfter(ranges.BalancesAfter):
    """Carries every account's debits − credits from posting to posting."""

    questions: ClassVar[tuple[str, ...]] = (CHUNK,)

    def read(self, answers: Answers) -> None:
        """Carry every account's debits − credits forward."""
        balances = self._balances.by_account()
        for posting in _in_order(_chunk(answers)):
            self.problems.rows += 1
            for side, sign in (("debit", 1), ("credit", -1)):
                account = posting[f"{side}_account"]
                balance = balances.get(account, (0,))[0] + sign * posting["amount_minor"]
                balances[account] = (balance,)
                expected = balance * (1 if posting[f"{side}_normal_side"] == "D" else -1)
                if posting[f"{side}_balance_after"] != expected:
                    self.problems.add(
                        f"posting {posting['sequence']}/{posting['line']} leaves account {account}"
                        f" {expected}, not {posting[f'{side}_balance_after']}"
                    )


def _in_order(chunk: Chunk) -> Iterator[Row]:
    for sequence in sorted(chunk.postings):
        yield from sorted(chunk.postings[sequence], key=lambda posting: posting["line"])


class AccountTotals(ranges.AccountTotals):
    """Adds posting by posting and hold by hold."""

    questions: ClassVar[tuple[str, ...]] = (CHUNK,)

    def read(self, answers: Answers) -> None:
        """Add postings and holds up."""
        chunk = _chunk(answers)
        for posting in _in_order(chunk):
            amount, sequence = posting["amount_minor"], posting["sequence"]
            self._move(posting["debit_account"], sequence, amount, 0)
            self._move(posting["credit_account"], sequence, 0, amount)
        for hold in chunk.holds.values():
            if hold["sequence"] > chunk.range.after:
                self._hold(hold, 1)
        for entry in chunk.entries:
            if entry["hold_action"] in RESOLVED and entry["hold"] in chunk.holds:
                self._hold(chunk.holds[entry["hold"]], -1)

    def _hold(self, hold: Row, sign: int) -> None:
        amount = sign * hold["amount_minor"]
        for account, debits, credits_ in ((hold["debit_account"], amount, 0), (hold["credit_account"], 0, amount)):
            held = self._held.get(account, (0, 0))
            self._held[account] = (held[0] + debits, held[1] + credits_)

    def _move(self, account: int, sequence: int, debits: int, credits_: int) -> None:
        totals = self._totals.by_account()
        before = totals.get(account, (0, 0, 0))
        totals[account] = (before[0] + debits, before[1] + credits_, max(before[2], sequence))


class AccountDays(ranges.AccountDays):
    """Adds posting by posting."""

    questions: ClassVar[tuple[str, ...]] = (CHUNK,)

    def read(self, answers: Answers) -> None:
        """Add every posting to the day of its entry."""
        chunk = _chunk(answers)
        days = {entry["sequence"]: entry["effective_on"] for entry in chunk.entries}
        for sequence, postings in chunk.postings.items():
            for posting in postings if sequence in days else ():
                amount = posting["amount_minor"]
                moved = (posting["debit_account"], amount, 0), (posting["credit_account"], 0, amount)
                self.move(days[sequence], moved)


class BlockChain(ranges.BlockChain):
    """Follows the blocks one by one."""

    questions: ClassVar[tuple[str, ...]] = (CHUNK,)

    def __init__(self, start: Start, seed: int) -> None:
        super().__init__(start, seed)
        self._before: Head = start.head

    def read(self, answers: Answers) -> None:
        """Compare each block with the one before, and the entries with their blocks."""
        chunk, of_entry = _chunk(answers), {}
        for block in chunk.blocks:
            self.problems.rows += 1
            for fault in _block_faults(block, self._before):
                self.problems.add(f"block {block['block_number']} {fault}")
            self._before = Head(**{name: block[name] for name in Head.__struct_fields__})
            for sequence in _inside(chunk, block):
                of_entry[sequence] = block
        for entry in chunk.entries:
            holder = of_entry.get(entry["sequence"])
            if holder is None or any(entry[name] != holder[name] for name in ("block_number", "recorded_at")):
                self.problems.add(f"entry {entry['sequence']} is not in the block that it says")


def _block_faults(block: Row, before: Head) -> Iterator[str]:
    if block["layout_version"] != LAYOUT_VERSION:
        yield f"has the unknown layout version {block['layout_version']}"
    if block["block_number"] != before.block_number + 1:
        yield f"follows block {before.block_number}"
    if block["first_sequence"] != before.last_sequence + 1 or block["last_sequence"] < before.last_sequence:
        yield f"holds {block['first_sequence']} … {block['last_sequence']} after {before.last_sequence}"
    if block["previous_hash"] != before.hash:
        yield "does not name the hash of the block before"
    if block["incarnation"] < before.incarnation:
        yield "is of an earlier incarnation than the block before"
    if (block["last_sequence"] == before.last_sequence) != (block["incarnation"] > before.incarnation):
        yield "is empty without a new incarnation, or begins one with entries"


class BlockHashes(ranges.BlockHashes):
    """Computes leaves and blocks with `chain.py`."""

    questions: ClassVar[tuple[str, ...]] = (CHUNK,)

    def read(self, answers: Answers) -> None:
        """Compute the leaves of the chunk, then its blocks."""
        chunk = _chunk(answers)
        leaves = {
            entry["sequence"]: leaf_hash(
                entry, chunk.postings.get(entry["sequence"], []), chunk.references.get(entry["sequence"], [])
            )
            for entry in chunk.entries
        }
        self.problems.rows += len(leaves)
        for block in chunk.blocks:
            if block_hash(block, (leaves.get(sequence, b"") for sequence in _inside(chunk, block))) != block["hash"]:
                self.problems.add(f"block {block['block_number']} is not what its hash says")


class Keys(ranges.Keys):
    """Looks every key up, in both directions."""

    questions: ClassVar[tuple[str, ...]] = (CHUNK,)

    def read(self, answers: Answers) -> None:
        """Entries → keys."""
        chunk = _chunk(answers)
        for entry in chunk.entries:
            row = chunk.keys.get(entry["key"])
            found = row and (row["sequence"], row["recorded_at"])
            if found != (entry["sequence"], entry["recorded_at"]):
                self.problems.add(f"the key of entry {entry['sequence']} leads elsewhere")

    async def finish(self, connection: Connection, book_id: int, cut: int) -> Problems:
        """Keys → entries, in order of key."""
        after, first = None, self.start.head.last_sequence + 1
        while rows := await connection.fetch(QUERIES["keys_after"], book_id, after, KEYS_AT_ONCE):
            head = await connection.fetchval(QUERIES["head"], book_id)
            for row in rows:
                if row["sequence"] > head:
                    self.problems.add(f"key {row['key']} leads beyond the head")
                elif row["sequence"] >= first or row["sequence"] < 1:
                    self.problems.rows += row["sequence"] <= cut
                    if not row["found"]:
                        self.problems.add(f"key {row['key']} leads to entry {row['sequence']}, which has another")
            after = rows[-1]["key"]
        return self.problems


class Caps(ranges.Caps):
    """Adds draw by draw."""

    questions: ClassVar[tuple[str, ...]] = ("caps", CHUNK)

    def read(self, answers: Answers) -> None:
        """Add the draws up; a sum may never fall below zero."""
        for row in answers["caps"]:
            self.problems.add_answer(row)
        for entry in _chunk(answers).entries:
            original, amount = entry["draws_on"], entry["drawn_minor"]
            if (original is None) != (amount is None):
                self.problems.add(f"entry {entry['sequence']} draws on nothing, or nothing on something")
            elif original is not None:
                drawn = self._drawn[original] = self._drawn.get(original, 0) + amount
                if drawn < 0 or original >= entry["sequence"]:
                    self.problems.add(f"entry {entry['sequence']} draws against the rules on {original}")


PYTHON_SCANS: Final[dict[str, type[Scan]]] = {
    scan.name: scan
    for scan in (
        SequenceGapless,
        PostingsWhole,
        BalancesAfter,
        AccountTotals,
        AccountDays,
        BlockChain,
        BlockHashes,
        Keys,
        Caps,
    )
}
"""By the name of the check that each of them does."""
