"""The checks of verification, one class or function each. `SCANS` read the books forward, `SINGLE_CHECKS` ask once.

A scan sees every chunk in order (`read`) and may ask a last question (`finish`). Rows are as stored; nothing here
uses what the posting function computed except to compare with it.
"""

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, ClassVar, Final

import msgspec

from ledger.chain import GENESIS_PREVIOUS, LAYOUT_VERSION, block_hash, leaf_hash
from ledger.chart_of_accounts import CHART, AccountKind
from ledger.journal import AUTHORISING, EntryKind
from ledger.posting import Connection
from ledger.queries import QUERIES

KEYS_AT_ONCE: Final = 10_000

Row = Mapping[str, Any]


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """Whole blocks and every row between two sequences. `keys` holds the key rows of the entries, by key."""

    first: int
    last: int
    blocks: list[Row]
    entries: list[Row]
    postings: dict[int, list[Row]]
    references: dict[int, list[Row]]
    keys: dict[Any, Row]


class Problems(msgspec.Struct):
    """What a check found: the first few in words, and how many in all."""

    found: list[str] = []
    count: int = 0
    rows: int = 0
    note: str = "as it should be"

    def add(self, problem: str) -> None:
        """One more; only the first hundred keep their words."""
        self.count += 1
        if len(self.found) < 100:  # noqa: PLR2004
            self.found.append(problem)


class Scan:
    """A check that reads the books forward."""

    name: ClassVar[str]

    def __init__(self) -> None:
        self.problems = Problems()

    def read(self, chunk: Chunk) -> None:
        """Look at the next chunk."""
        raise NotImplementedError

    async def finish(self, connection: Connection, book_id: int, cut: int) -> Problems:  # noqa: ARG002
        """The verdict, perhaps after a last question."""
        return self.problems


class SequenceGapless(Scan):
    """Every sequence from 1 to the head is there once, and no row of the ledger lies beyond the head."""

    name = "sequence_gapless"
    _last = 0

    def read(self, chunk: Chunk) -> None:
        """Compare the sequences found with the range."""
        self._last = chunk.last
        times = Counter(entry["sequence"] for entry in chunk.entries)
        self.problems.rows += len(chunk.entries)
        for sequence in range(chunk.first, chunk.last + 1):
            if times[sequence] != 1:
                self.problems.add(f"entry {sequence} is there {times[sequence]} times")

    async def finish(self, connection: Connection, book_id: int, cut: int) -> Problems:
        """Ask for what lies outside 1 … head, the head of the same moment."""
        if self._last < cut:
            self.problems.add(f"entries {self._last + 1} … {cut} are missing")
        for row in await connection.fetch(QUERIES["beyond_head"], book_id):
            self.problems.add(f"{row['row_count']} rows of {row['table_name']} lie outside the head {row['head']}")
        return await super().finish(connection, book_id, cut)


class PostingsWhole(Scan):
    """Each entry has postings 1 … n of its own moment, each with an amount, two accounts and one currency."""

    name = "postings_whole"

    def read(self, chunk: Chunk) -> None:
        """Look at every posting with its entry."""
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
        for sequence in entries:
            lines = sorted(posting["line"] for posting in chunk.postings.get(sequence, []))
            if not lines or lines != list(range(1, len(lines) + 1)):
                self.problems.add(f"entry {sequence} has the lines {lines}")


def _fault_of(posting: Row) -> str | None:
    if posting["debit_kind"] is None or posting["credit_kind"] is None:
        return "names an account that does not exist"
    if posting["amount_minor"] <= 0 or posting["debit_account"] == posting["credit_account"]:
        return "moves nothing"
    if posting["debit_currency"] != posting["credit_currency"]:
        return "mixes currencies"
    pending = AccountKind.MERCHANT_PENDING in {posting["debit_kind"], posting["credit_kind"]}
    if pending != (posting["available_on"] is not None):
        return "has available_on where it does not belong, or none where it does"
    return None


class BalancesAfter(Scan):
    """Every posting's balances after it are those before it, plus or minus its amount."""

    name = "balances_after"

    def __init__(self) -> None:
        super().__init__()
        self._balances: defaultdict[int, int] = defaultdict(int)

    def read(self, chunk: Chunk) -> None:
        """Carry every account's debits − credits forward."""
        for posting in _in_order(chunk):
            self.problems.rows += 1
            for side, sign in (("debit", 1), ("credit", -1)):
                account = posting[f"{side}_account"]
                self._balances[account] += sign * posting["amount_minor"]
                expected = self._balances[account] * (1 if posting[f"{side}_normal_side"] == "D" else -1)
                if posting[f"{side}_balance_after"] != expected:
                    self.problems.add(
                        f"posting {posting['sequence']}/{posting['line']} leaves account {account}"
                        f" {expected}, not {posting[f'{side}_balance_after']}"
                    )


def _in_order(chunk: Chunk) -> Iterator[Row]:
    for sequence in sorted(chunk.postings):
        yield from sorted(chunk.postings[sequence], key=lambda posting: posting["line"])


class AccountTotals(Scan):
    """Every account's totals and last sequence are those of its postings."""

    name = "account_totals"

    def __init__(self) -> None:
        super().__init__()
        self._debits: defaultdict[int, int] = defaultdict(int)
        self._credits: defaultdict[int, int] = defaultdict(int)
        self._last: dict[int, int] = {}

    def read(self, chunk: Chunk) -> None:
        """Add the postings up."""
        for posting in _in_order(chunk):
            debit, credit = posting["debit_account"], posting["credit_account"]
            self._debits[debit] += posting["amount_minor"]
            self._credits[credit] += posting["amount_minor"]
            self._last[debit] = self._last[credit] = posting["sequence"]

    async def finish(self, connection: Connection, book_id: int, cut: int) -> Problems:
        """Compare with the accounts' rows, less what was posted after the cut, seen by the same statement."""
        rows = await connection.fetch(QUERIES["totals_at"], book_id, cut)
        self.problems.rows = len(rows)
        for row in rows:
            account = row["account_id"]
            expected = (self._debits.pop(account, 0), self._credits.pop(account, 0))
            found = (int(row["debits_minor"]), int(row["credits_minor"]))
            if found != expected:
                self.problems.add(f"account {account} has debits, credits {found}, its postings {expected}")
            if not row["moved_since"] and row["last_sequence"] != self._last.get(account, 0):
                self.problems.add(f"account {account} says {row['last_sequence']} moved it last")
        for account in {**self._debits, **self._credits}:
            self.problems.add(f"account {account} has postings and no row")
        return await super().finish(connection, book_id, cut)


class BlockChain(Scan):
    """Blocks follow each other without a gap, each names the one before, and entries are in the block they say."""

    name = "block_chain"

    def __init__(self) -> None:
        super().__init__()
        self._before: Row | None = None

    def read(self, chunk: Chunk) -> None:
        """Compare each block with the one before, and the entries with their blocks."""
        of_entry: dict[int, Row] = {}
        for block in chunk.blocks:
            self.problems.rows += 1
            for fault in _block_faults(block, self._before):
                self.problems.add(f"block {block['block_number']} {fault}")
            self._before = block
            for sequence in range(block["first_sequence"], min(block["last_sequence"], chunk.last) + 1):
                of_entry[sequence] = block
        for entry in chunk.entries:
            holder = of_entry.get(entry["sequence"])
            if holder is None or any(entry[name] != holder[name] for name in ("block_number", "recorded_at")):
                self.problems.add(f"entry {entry['sequence']} is not in the block that it says")


def _block_faults(block: Row, before: Row | None) -> Iterator[str]:
    if block["layout_version"] != LAYOUT_VERSION:
        yield f"has the unknown layout version {block['layout_version']}"
    if before is None:
        if (block["block_number"], block["first_sequence"], block["last_sequence"]) != (0, 1, 0):
            yield "is the first and no genesis block"
        if block["previous_hash"] != GENESIS_PREVIOUS:
            yield "is the first and follows another"
        return
    if block["block_number"] != before["block_number"] + 1:
        yield f"follows block {before['block_number']}"
    if block["first_sequence"] != before["last_sequence"] + 1 or block["last_sequence"] < block["first_sequence"]:
        yield f"holds {block['first_sequence']} … {block['last_sequence']} after {before['last_sequence']}"
    if block["previous_hash"] != before["hash"]:
        yield "does not name the hash of the block before"
    if block["incarnation"] < before["incarnation"]:
        yield "is of an earlier incarnation than the block before"


class BlockHashes(Scan):
    """Every block's hash is the hash of its entries, computed again from their columns."""

    name = "block_hashes"

    def read(self, chunk: Chunk) -> None:
        """Compute the leaves of the chunk, then its blocks."""
        leaves = {
            entry["sequence"]: leaf_hash(
                entry, chunk.postings.get(entry["sequence"], []), chunk.references.get(entry["sequence"], [])
            )
            for entry in chunk.entries
        }
        self.problems.rows += len(leaves)
        for block in chunk.blocks:
            inside = range(block["first_sequence"], min(block["last_sequence"], chunk.last) + 1)
            if block_hash(block, (leaves.get(sequence, b"") for sequence in inside)) != block["hash"]:
                self.problems.add(f"block {block['block_number']} is not what its hash says")


class Keys(Scan):
    """Every entry's key leads to it, and every key leads to an entry."""

    name = "keys"

    def read(self, chunk: Chunk) -> None:
        """Entries → keys."""
        for entry in chunk.entries:
            row = chunk.keys.get(entry["key"])
            found = row and (row["sequence"], row["recorded_at"])
            if found != (entry["sequence"], entry["recorded_at"]):
                self.problems.add(f"the key of entry {entry['sequence']} leads elsewhere")

    async def finish(self, connection: Connection, book_id: int, cut: int) -> Problems:
        """Keys → entries, in order of key."""
        after = None
        while rows := await connection.fetch(QUERIES["keys_after"], book_id, after, KEYS_AT_ONCE):
            self.problems.rows += len(rows)
            for row in rows:
                if not row["found"]:
                    self.problems.add(f"key {row['key']} leads to entry {row['sequence']}, which has another")
            after = rows[-1]["key"]
        return await super().finish(connection, book_id, cut)


class Caps(Scan):
    """Draws never passed their original at any moment, and every cap row says what was drawn."""

    name = "caps"

    def __init__(self) -> None:
        super().__init__()
        self._drawn: defaultdict[int, int] = defaultdict(int)

    def read(self, chunk: Chunk) -> None:
        """Add the draws up; a sum may never fall below zero."""
        for entry in chunk.entries:
            if (entry["draws_on"] is None) != (entry["drawn_minor"] is None):
                self.problems.add(f"entry {entry['sequence']} draws on nothing, or nothing on something")
            elif entry["draws_on"] is not None:
                self._drawn[entry["draws_on"]] += entry["drawn_minor"]
                if self._drawn[entry["draws_on"]] < 0 or entry["draws_on"] >= entry["sequence"]:
                    self.problems.add(f"entry {entry['sequence']} draws against the rules on {entry['draws_on']}")

    async def finish(self, connection: Connection, book_id: int, cut: int) -> Problems:
        """Compare with the cap rows, less what was drawn after the cut, seen by the same statement."""
        after = 0
        while rows := await connection.fetch(QUERIES["caps_after"], book_id, after, cut, KEYS_AT_ONCE):
            self.problems.rows += len(rows)
            for row in rows:
                sequence, drawn = row["sequence"], self._drawn.pop(row["sequence"], 0)
                if row["drawable_minor"] != row["entry_drawable_minor"]:
                    self.problems.add(f"the cap of entry {sequence} is not what the entry says")
                if drawn != row["drawn_minor"]:
                    now = await connection.fetchrow(QUERIES["cap_at"], book_id, sequence, cut)
                    if now is None or drawn != int(now["drawn_minor"]):
                        self.problems.add(f"the cap of entry {sequence} says {row['drawn_minor']}, draws say {drawn}")
                if drawn > row["drawable_minor"]:
                    self.problems.add(f"entry {sequence} was drawn on beyond its {row['drawable_minor']}")
            after = rows[-1]["sequence"]
        for sequence in self._drawn:
            self.problems.add(f"entry {sequence} was drawn on and has no cap")
        return await super().finish(connection, book_id, cut)


async def trial_balance_zero(connection: Connection, book_id: int, cut: int) -> Problems:  # noqa: ARG001
    """Σ debits = Σ credits over all accounts, in every currency."""
    problems = Problems()
    for row in await connection.fetch(QUERIES["totals_by_currency"], book_id):
        problems.rows += row["accounts"]
        if row["debits"] != row["credits"]:
            problems.add(f"{row['currency']}: debits {row['debits']}, credits {row['credits']}")
    return problems


async def kinds(connection: Connection, book_id: int, cut: int) -> Problems:  # noqa: ARG001
    """The database's charts of accounts and entries are the program's."""
    problems = Problems()
    stored = {
        row["kind"]: tuple(row.values())[1:]
        for row in await connection.fetch("SELECT k.* FROM ledger.account_kinds AS k")
    }
    ours = {
        int(kind): (
            kind.name.lower(),
            rules.code,
            rules.account_class.value,
            rules.normal_side.value,
            rules.floor_minor,
            rules.owned,
        )
        for kind, rules in CHART.items()
    }
    modes = {
        row["kind"]: (row["name"], row["mode"])
        for row in await connection.fetch("SELECT k.* FROM ledger.entry_kinds AS k")
    }
    our_modes = {
        int(kind): (kind.name.lower(), "authorising" if kind in AUTHORISING else "recording") for kind in EntryKind
    }
    problems.rows = len(stored) + len(modes)
    for kind in sorted(stored.keys() | ours.keys()):
        if stored.get(kind) != ours.get(kind):
            problems.add(f"account kind {kind}: stored {stored.get(kind)}, ours {ours.get(kind)}")
    for kind in sorted(modes.keys() | our_modes.keys()):
        if modes.get(kind) != our_modes.get(kind):
            problems.add(f"entry kind {kind}: stored {modes.get(kind)}, ours {our_modes.get(kind)}")
    return problems


async def guards(connection: Connection, book_id: int, cut: int) -> Problems:  # noqa: ARG001
    """Every table and partition refuses UPDATE, DELETE and TRUNCATE, and only the owner could write at all."""
    problems = Problems()
    for row in await connection.fetch(QUERIES["tables_and_guards"]):
        problems.rows += 1
        if not (row["row_guarded"] and row["truncate_guarded"]):
            problems.add(f"ledger.{row['table_name']} is not guarded")
        if row["writers"]:
            problems.add(f"ledger.{row['table_name']} can be written by {', '.join(row['writers'])}")
        if row["unbound"]:
            problems.add(f"ledger.{row['table_name']} is a partition no more")
    fence = await connection.fetchval(QUERIES["ddl_guard"])
    problems.note = "guarded; DDL trips an event trigger" if fence else "guarded; DDL is detected, not refused"
    return problems


SCANS: Final[tuple[type[Scan], ...]] = (
    SequenceGapless,
    PostingsWhole,
    BalancesAfter,
    AccountTotals,
    BlockChain,
    BlockHashes,
    Keys,
    Caps,
)
SINGLE_CHECKS: Final[dict[str, Callable[[Connection, int, int], Awaitable[Problems]]]] = {
    "trial_balance_zero": trial_balance_zero,
    "kinds": kinds,
    "guards": guards,
}
