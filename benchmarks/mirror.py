"""The rows that a call of posting writes, computed by plain additions: what a baseline has to write, and no more.

A mirror starts from a real book (its accounts, caps and newest block) and goes on under another book id. It knows no
rule: no floor, no freeze, no key that was used before. It takes the hash of the block as given. It takes entries of one
business date, plain or with references, caps, draws and holds; no reversals, groups, imports or balancing postings.
`tests/benchmarks/test_baseline.py` proves that its rows are those of the books, column for column.
"""

from collections.abc import Sequence
from datetime import datetime
from itertools import count
from typing import Any, Final, Self
from uuid import UUID

from benchmarks.mirror_rows import (
    HOLD,
    MOVED,
    POSTING,
    RESOLUTION,
    Account,
    Cap,
    Columns,
    Hold,
    Rows,
    cap_columns,
    columns_of,
    split_copied,
)
from ledger.encoding import account_ref
from ledger.journal import AccountRef, HoldAction, JournalEntry
from ledger.posting import Connection

TWINS: Final = ("accounts", "entry_caps")
"""Tables whose rows posting changes in place. Each change writes a whole new version, here into a table of its own."""
_ACCOUNTS: Final = """
    SELECT a.*, k.normal_side FROM ledger.accounts AS a
    JOIN ledger.account_kinds AS k ON k.kind = a.kind WHERE a.book_id = $1"""
_CAPS: Final = """
    SELECT e.key, c.sequence, c.drawable_minor, c.drawn_minor FROM ledger.entry_caps AS c
    JOIN ledger.entries AS e ON e.book_id = $1 AND e.sequence = c.sequence WHERE c.book_id = $1"""
_HEAD: Final = "SELECT * FROM ledger.blocks WHERE book_id = $1 ORDER BY recorded_at DESC LIMIT 1"


class Mirror:
    """A book that is only added up. Made by `Mirror.of`.

    Attributes:
        rest: columns of accounts that posting leaves alone, in the order of `Account.rest`.
    """

    def __init__(self, book_id: int, head: dict[str, Any]) -> None:
        self._book_id = book_id
        self._head = head
        self._accounts: dict[AccountRef, Account] = {}
        self.rest: tuple[str, ...] = ()
        self._caps: dict[UUID, Cap] = {}
        self._holds: dict[UUID, Hold] = {}

    @classmethod
    async def of(cls, connection: Connection, *, like: int, book_id: int) -> Self:
        """A mirror that continues the book `like` as the book `book_id`."""
        head = await connection.fetchrow(_HEAD, like)
        assert head is not None, f"book {like} is open"
        mirror = cls(book_id, dict(head))
        for row in await connection.fetch(_ACCOUNTS, like):
            columns = {name: value for name, value in row.items() if name != "book_id"}
            ref = account_ref(row["kind"], row["owner"], row["currency"])
            mirror._accounts[ref] = Account(columns)
            mirror.rest = tuple(name for name in columns if name not in {*MOVED, "normal_side"})
        await mirror._encode(connection, like)
        for row in await connection.fetch(_CAPS, like):
            mirror._caps[row["key"]] = Cap(row["sequence"], row["drawable_minor"], row["drawn_minor"])
        return mirror

    def rows(self, entries: Sequence[JournalEntry], *, recorded_at: datetime, block_hash: bytes) -> Rows:
        """The rows of these entries; the mirror stands after them."""
        head = self._head
        first = head["last_sequence"] + 1
        block = head | {
            "block_number": head["block_number"] + 1,
            "first_sequence": first,
            "last_sequence": head["last_sequence"] + len(entries),
            "previous_hash": head["hash"],
            "hash": block_hash,
            "recorded_at": recorded_at,
        }
        self._head = block
        keys = [entry.key for entry in entries]
        sequences = range(first, first + len(entries))
        columns: Columns = {
            "sequence": list(sequences),
            "key": keys,
            "effective_on": [entry.effective_on for entry in entries],
            "kind": [int(entry.kind) for entry in entries],
            "caller": [entry.caller for entry in entries],
            "metadata": [entry.metadata for entry in entries],
        }
        holds, resolutions, held = self._hold(entries, first, columns) if any(e.hold for e in entries) else ({}, {}, [])
        # Whose held totals changed is written a second time, as posting does.
        postings, moved = self._postings(entries, first)
        caps, drawn_caps = self._draw(entries, first, columns)
        shared = {"book_id": self._book_id, "recorded_at": recorded_at, "block_number": block["block_number"]}
        inserted: dict[str, Columns] = {
            "idempotency_keys": {"key": keys, "sequence": columns["sequence"]},
            "entries": columns,
            "postings": postings,
            "blocks": {name: [value] for name, value in block.items() if name not in shared},
            "entry_references": self._references(entries, first),
            "entry_caps": caps,
            "holds": holds,
            "hold_resolutions": resolutions,
        }
        return Rows(
            shared=shared,
            inserted={table: lists for table, lists in inserted.items() if lists},
            caps=drawn_caps,
            accounts=[*moved, *held],
        )

    def _postings(self, entries: Sequence[JournalEntry], first: int) -> tuple[Columns, list[Account]]:
        """Postings with the balances after each, and the accounts that they moved."""
        moved: dict[Account, None] = {}
        known = self._accounts
        rows = []
        for sequence, entry in enumerate(entries, first):
            if entry.hold and entry.hold.action != HoldAction.POST:
                continue
            for line, posting in enumerate(entry.postings, 1):
                debit, credit, amount = known[posting.debit], known[posting.credit], posting.amount_minor
                debit.debits += amount
                credit.credits += amount
                debit.last_sequence = credit.last_sequence = sequence
                moved[debit] = moved[credit] = None
                debit_after = debit.sign * (debit.debits - debit.credits)
                credit_after = credit.sign * (credit.debits - credit.credits)
                ids = (debit.account_id, credit.account_id)
                rows.append((sequence, *ids, amount, debit_after, credit_after, line, posting.available_on))
        return columns_of(POSTING, rows), list(moved)

    def _hold(
        self, entries: Sequence[JournalEntry], first: int, columns: Columns
    ) -> tuple[Columns, Columns, list[Account]]:
        """Holds placed, holds resolved, the accounts whose held totals changed; adds the columns to the entries'."""
        placed, resolved = [], []
        held: dict[Account, None] = {}
        columns["hold_action"] = [entry.hold and int(entry.hold.action) for entry in entries]
        numbers: list[int | None] = [None] * len(entries)
        columns["hold"] = numbers
        for place, entry in enumerate(entries):
            if entry.hold is None:
                continue
            act, posting, sequence = entry.hold, entry.postings[0], first + place
            if act.hold_key is None:
                accounts = self._accounts[posting.debit], self._accounts[posting.credit]
                hold = self._holds[entry.key] = Hold(sequence, *accounts, posting.amount_minor)
                ids = (hold.debit.account_id, hold.credit.account_id)
                placed.append((sequence, *ids, hold.amount, act.expires_at))
            else:
                hold = self._holds[act.hold_key]
                numbers[place] = hold.sequence
                posted = posting.amount_minor if act.action == HoldAction.POST else 0
                resolved.append((hold.sequence, int(act.action), posted, sequence))
            moved = hold.amount if act.hold_key is None else -hold.amount
            hold.debit.debits_held += moved
            hold.credit.credits_held += moved
            held[hold.debit] = held[hold.credit] = None
        return columns_of(HOLD, placed), columns_of(RESOLUTION, resolved), list(held)

    def uniform(self) -> dict[str, Any]:
        """Columns of `rest` that hold the same in every account, with what they hold."""
        values = zip(*(account.rest for account in self._accounts.values()), strict=True)
        columns = {name: set(held) for name, held in zip(self.rest, values, strict=True)}
        return {name: held.pop() for name, held in columns.items() if len(held) == 1}

    async def _encode(self, connection: Connection, book_id: int) -> None:
        data = bytearray()

        async def take(part: bytes) -> None:
            data.extend(part)

        names = ", ".join(self.rest)
        await connection.copy_from_query(
            f"SELECT account_id, {names} FROM ledger.accounts WHERE book_id = $1", book_id, output=take, format="binary"
        )
        encoded = split_copied(bytes(data))
        for account in self._accounts.values():
            account.encoded = encoded[account.account_id]

    def _references(self, entries: Sequence[JournalEntry], first: int) -> Columns:
        rows = [
            (reference.scheme, reference.value, sequence)
            for sequence, entry in enumerate(entries, first)
            if entry.references
            for reference in set(entry.references)
        ]
        return columns_of(("scheme", "value", "sequence"), rows)

    def _draw(self, entries: Sequence[JournalEntry], first: int, columns: Columns) -> tuple[Columns, Columns]:
        """New caps, and the caps drawn on as they stand at the end; adds the columns of draws to the entries'."""
        drawable = [entry.drawable_minor for entry in entries]
        made = [
            Cap(sequence, minor, 0)
            for sequence, minor in zip(count(first), drawable, strict=False)
            if minor is not None
        ]
        if made:
            columns["drawable_minor"] = drawable
            self._caps |= {entries[cap.sequence - first].key: cap for cap in made}
        new = cap_columns(made)
        drawn: dict[Cap, None] = {}
        if any(entry.draw for entry in entries):
            originals = [self._caps[entry.draw.original_key] if entry.draw else None for entry in entries]
            columns["draws_on"] = [cap and cap.sequence for cap in originals]
            columns["drawn_minor"] = [entry.draw and entry.draw.amount_minor for entry in entries]
            for entry, cap in zip(entries, originals, strict=True):
                if entry.draw and cap:
                    cap.drawn += entry.draw.amount_minor
                    drawn[cap] = None
        return new, cap_columns(list(drawn))
