"""A range of the books compared with itself, by columns, and the sums that lead on to the next range.

`add_up` compares everything that can be compared within a range. Where anything is not in order, or so large that sums
of 64 bits might wrap, it gives up, and the rows are looked at one by one (`checks_in_python.py`), which also puts what
is wrong into words. So nothing is decided here but that there is nothing to say.
"""

from collections.abc import Mapping
from datetime import date
from itertools import pairwise
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from ledger.carried_sums import SUM_MAX
from ledger.chain import LAYOUT_VERSION
from ledger.chart_of_accounts import AccountKind
from ledger.checks import Range, Row, ask
from ledger.grouping import runs, stable_order
from ledger.leaves_in_columns import block_hashes
from ledger.posting import Connection
from ledger.range_columns import Numbers, OutOfStep, RangeColumns, read_columns, require

MOVES_NOTHING: Final = (1, 3, 4)
"""Hold actions: an entry that places, releases or expires a hold has no posting."""
_EPOCH_DAY: Final = date(2000, 1, 1).toordinal()


class Moves(msgspec.Struct, frozen=True, kw_only=True):
    """What a range did to each account that it moved, in order of the accounts.

    Attributes:
        last_sequence: the last entry that moved it.
        sign: 1 where it grows on the debit side, else −1.
        first_sequence: of its first posting of the range the entry, then the balance after it, and debits − credits.
    """

    accounts: Numbers
    debits: Numbers
    credits_: Numbers
    last_sequence: Numbers
    sign: Numbers
    first_sequence: Numbers
    first_after: Numbers
    first_moved: Numbers


class DayMoves(msgspec.Struct, frozen=True, kw_only=True):
    """What a range did to each account on one business date, in order of the accounts."""

    day: date
    accounts: Numbers
    debits: Numbers
    credits_: Numbers


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    """A range in order.

    Attributes:
        plain: as its columns say.
        keys: what `key_sum` says of its entries.
    """

    range: Range
    entries: int
    postings: int
    blocks: int
    moves: Moves
    days: list[DayMoves]
    plain: bool
    keys: int


class AccountFacts:
    """What never changes of an account, of all that were met: the number of its currency, its kind, its sign."""

    def __init__(self) -> None:
        self._accounts, self._facts = np.empty(0, np.int64), np.empty((0, 3), np.int64)
        self._currencies: dict[str, int] = {}

    async def of(self, connection: Connection, book_id: int, accounts: Numbers) -> Numbers:
        """One row each, in the same order.

        Raises:
            OutOfStep: one of them does not exist.
        """
        unknown = accounts[~np.isin(accounts, self._accounts, assume_unique=True)].tolist()
        if unknown:
            self._learn(await ask(connection, "accounts_named", {"book": book_id, "accounts": unknown}))
        place = np.searchsorted(self._accounts, accounts)
        require(np.isin(accounts, self._accounts, assume_unique=True).all())
        return self._facts[place]

    def _learn(self, rows: list[Row]) -> None:
        found = [
            (row["account_id"], self._currency(row["currency"]), row["kind"], 1 if row["normal_side"] == "D" else -1)
            for row in rows
        ]
        new = np.array(found, np.int64).reshape(-1, 4)
        accounts, first = np.unique(np.concatenate((self._accounts, new[:, 0])), return_index=True)
        self._accounts, self._facts = accounts, np.concatenate((self._facts, new[:, 1:]))[first]

    def _currency(self, code: str) -> int:
        return self._currencies.setdefault(code, len(self._currencies))


async def add_up(connection: Connection, range_: Range, facts: AccountFacts) -> Sums | None:
    """The sums of a range, or None where its rows have to be looked at one by one."""
    try:
        columns = await read_columns(connection, range_)
        posting_counts = _posting_counts(columns)
        entry_counts = _entry_counts(columns)
        require(block_hashes(columns, entry_counts, posting_counts) == columns.blocks.varying["hash"].tolist())
        legs = _Legs(columns)
        moves = legs.moves(await facts.of(connection, range_.book_id, legs.accounts))
        days = legs.days()
    except (OutOfStep, OverflowError):
        return None
    return Sums(
        range=range_,
        entries=len(columns.entries),
        postings=len(columns.postings),
        blocks=len(columns.blocks),
        moves=moves,
        days=days,
        plain=columns.plain,
        keys=key_sum(columns.entries.fixed, range_.seed),
    )


def key_sum(rows: Mapping[str, NDArray[Any]], seed: int) -> int:
    """Σ of a secret hash of (key, sequence, recorded_at) of each row, modulo 2⁶⁴.

    It stands for the set: two sets of the same size and sum are the same but once in 2⁶⁴, as long as nobody knows the
    seed. Each step is the finalizer of SplitMix64 (Steele, Lea, Flood 2014).
    """
    mixed = np.full(len(rows["sequence"]), seed, np.uint64)
    for part in (rows["key"]["high"], rows["key"]["low"], rows["sequence"], rows["recorded_at"]):
        mixed = (mixed + np.uint64(0x9E3779B97F4A7C15)) ^ part.astype(part.dtype.newbyteorder("=")).view(np.uint64)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return int(mixed.sum(dtype=np.uint64))


def _posting_counts(columns: RangeColumns) -> Numbers:
    """Every sequence once; of each entry lines 1 … n of its own moment, none only where nothing moves."""
    range_, entries, postings = columns.range, columns.entries, columns.postings
    require(len(entries) == range_.last - range_.after)
    require((entries["sequence"] == np.arange(range_.after + 1, range_.last + 1)).all())
    position = postings["sequence"] - (range_.after + 1)
    counts = np.bincount(position, minlength=len(entries))
    firsts = np.cumsum(counts) - counts
    require((postings["line"] == np.arange(len(postings)) - firsts[position] + 1).all())
    require((postings["recorded_at"] == entries["recorded_at"][position]).all())
    require(np.isin(entries["hold_action"][counts == 0], MOVES_NOTHING).all())
    return counts


def _entry_counts(columns: RangeColumns) -> Numbers:
    """Blocks follow each other and hold the range; how many entries each has."""
    range_, blocks = columns.range, columns.blocks
    require(len(blocks))
    number, first, last = (blocks[name] for name in ("block_number", "first_sequence", "last_sequence"))
    incarnation = blocks["incarnation"]
    last_before = np.concatenate(([range_.before.last_sequence], last[:-1]))
    incarnation_before = np.concatenate(([range_.before.incarnation], incarnation[:-1]))
    hashes = blocks.varying["hash"].tolist()
    require((blocks["layout_version"] == LAYOUT_VERSION).all())
    require((number == range_.before.block_number + 1 + np.arange(len(blocks))).all())
    require((last >= last_before).all() and last[-1] == range_.last)
    require((first == last_before + 1).all())
    require(blocks.varying["previous_hash"].tolist() == [range_.before.hash, *hashes[:-1]])
    require((incarnation >= incarnation_before).all())
    require(((last == last_before) == (incarnation > incarnation_before)).all())
    counts = last - last_before
    require(range_.before.last_sequence == range_.after)
    for name in ("block_number", "recorded_at"):
        require((np.repeat(blocks[name], counts) == columns.entries[name]).all())
    return counts


class _Legs:
    """Two legs a posting, debit and credit in turn; `order` puts those of an account together, in time's order."""

    def __init__(self, columns: RangeColumns) -> None:
        self._columns, postings = columns, columns.postings
        both = _in_turn(postings["debit_account"], postings["credit_account"])
        self.accounts, place = np.unique(both, return_inverse=True)
        self._place = place.reshape(-1, 2)
        self._moved = _in_turn(postings["amount_minor"], -postings["amount_minor"])

    def moves(self, facts: Numbers) -> Moves:
        """The sums, once every posting is as it should be and leaves what it should."""
        postings, place = self._columns.postings, self._place
        currency, kind, sign = facts.T
        pending = (kind == AccountKind.MERCHANT_PENDING)[place].any(axis=1)
        amount = postings["amount_minor"]
        after = _in_turn(postings["debit_balance_after"], postings["credit_balance_after"])
        require((amount > 0).all() and (place[:, 0] != place[:, 1]).all())
        require((currency[place[:, 0]] == currency[place[:, 1]]).all())
        require((pending == postings["has_available_on"].astype(bool)).all())
        require(int(amount.max(initial=0)) * len(amount) < SUM_MAX)
        require(int(after.min(initial=0)) > -SUM_MAX and int(after.max(initial=0)) < SUM_MAX)
        leg, sequence = place.ravel(), np.repeat(postings["sequence"], 2)
        order = stable_order(leg, len(self.accounts))
        firsts, lasts = runs(leg[order])
        after_in_order, moved = (after * sign[leg])[order], self._moved[order]
        follows = np.diff(after_in_order) == moved[1:]
        follows[firsts[1:] - 1] = True
        require(follows.all())
        return Moves(
            accounts=self.accounts,
            debits=_sums(np.maximum(moved, 0), firsts),
            credits_=_sums(np.maximum(-moved, 0), firsts),
            last_sequence=sequence[order][lasts],
            sign=sign,
            first_sequence=sequence[order][firsts],
            first_after=after[order][firsts],
            first_moved=moved[firsts],
        )

    def days(self) -> list[DayMoves]:
        """The sums of each business date, once `moves` has found that they can be added up."""
        if not len(self.accounts):
            return []
        range_, entries = self._columns.range, self._columns.entries
        position = self._columns.postings["sequence"] - (range_.after + 1)
        days, day_of_entry = np.unique(entries["effective_on"], return_inverse=True)
        require(int(days[0]) > -_EPOCH_DAY and int(days[-1]) + _EPOCH_DAY <= date.max.toordinal())
        group = self._place.ravel() + len(self.accounts) * np.repeat(day_of_entry[position], 2)
        order = stable_order(group, len(self.accounts) * len(days))
        firsts, _ = runs(group[order])
        moved = self._moved[order]
        debits, credits_ = _sums(np.maximum(moved, 0), firsts), _sums(np.maximum(-moved, 0), firsts)
        day, account = np.divmod(group[order][firsts], len(self.accounts))
        ends = np.searchsorted(day, np.arange(len(days) + 1)).tolist()
        return [
            DayMoves(
                day=date.fromordinal(_EPOCH_DAY + number),
                accounts=self.accounts[account[start:end]],
                debits=debits[start:end],
                credits_=credits_[start:end],
            )
            for number, (start, end) in zip(days.tolist(), pairwise(ends), strict=True)
        ]


def _in_turn(debit: Numbers, credit: Numbers) -> Numbers:
    return np.stack([debit, credit], axis=1).ravel()


def _sums(numbers: Numbers, firsts: Numbers) -> Numbers:
    """Of each run that begins there."""
    return np.add.reduceat(numbers, firsts)
