"""The ledger once more, in plain Python: one dict of totals, one list of entries, no cleverness.

Written from `refusals.py` and `journal.py`, not from the SQL: what both say is probably right.
"""

from uuid import UUID

from ledger.chart_of_accounts import CHART, NormalSide
from ledger.journal import AUTHORISING, AccountRef, EntryKind, JournalEntry
from ledger.refusals import Refusal

BIGINT_MAX = 2**63 - 1


class Model:
    """Posts one entry at a time. `frozen` holds (account, side) pairs that authorising entries may not move."""

    def __init__(self) -> None:
        self.entries: list[JournalEntry] = []
        self.debits: dict[AccountRef, int] = {}
        self.credits: dict[AccountRef, int] = {}
        self.sequences: dict[UUID, int] = {}
        self.drawn: dict[UUID, int] = {}
        self.balances_after: list[list[tuple[int, int]]] = []
        self.frozen: set[tuple[AccountRef, NormalSide]] = set()

    def balance(self, account: AccountRef) -> int:
        net = self.debits.get(account, 0) - self.credits.get(account, 0)
        return net if CHART[account.kind].normal_side == NormalSide.DEBIT else -net

    def post(self, entry: JournalEntry) -> tuple[Refusal | None, int, bool, bool, bool]:
        """(refusal, sequence, replayed, floor breached, freeze breached)."""
        if entry.key in self.sequences:
            sequence = self.sequences[entry.key]
            if content(self.entries[sequence - 1]) == content(entry):
                return None, sequence, True, False, False
            return Refusal.KEY_REUSED_WITH_OTHER_CONTENT, 0, False, False, False
        broken = self._rules_broken(entry)
        authorising = entry.kind in AUTHORISING
        floor, freeze = Refusal.BELOW_FLOOR in broken, Refusal.ACCOUNT_FROZEN in broken
        if not authorising:
            broken -= {Refusal.BELOW_FLOOR, Refusal.ACCOUNT_FROZEN}
        if broken:
            return min(broken), 0, False, False, False
        self._accept(entry)
        return None, len(self.entries), False, floor, freeze

    def _rules_broken(self, entry: JournalEntry) -> set[Refusal]:
        broken = _shape_rules_broken(entry)
        if entry.draw is not None:
            broken |= self._draw_rules_broken(entry.draw.original_key, entry.draw.amount_minor)
        for posting in entry.postings:
            if {(posting.debit, NormalSide.DEBIT), (posting.credit, NormalSide.CREDIT)} & self.frozen:
                broken.add(Refusal.ACCOUNT_FROZEN)
        if not broken & set(Refusal) - {Refusal.ACCOUNT_FROZEN}:
            broken |= self._balance_rules_broken(entry)
        return broken

    def _draw_rules_broken(self, original: UUID, amount: int) -> set[Refusal]:
        if original not in self.sequences:
            return {Refusal.ORIGINAL_NOT_FOUND}
        drawable = self.entries[self.sequences[original] - 1].drawable_minor
        if drawable is None:
            return {Refusal.ORIGINAL_NOT_DRAWABLE}
        if self.drawn[original] + amount > drawable:
            return {Refusal.EXCEEDS_ORIGINAL}
        return {Refusal.RELEASE_EXCEEDS_DRAWS} if self.drawn[original] + amount < 0 else set()

    def _balance_rules_broken(self, entry: JournalEntry) -> set[Refusal]:
        broken = set()
        after = Model()
        after.debits, after.credits = dict(self.debits), dict(self.credits)
        after._move(entry)
        for account in {posting.debit for posting in entry.postings} | {p.credit for p in entry.postings}:
            floor = CHART[account.kind].floor_minor
            lowered = after.balance(account) < self.balance(account)
            if floor is not None and lowered and after.balance(account) < floor:
                broken.add(Refusal.BELOW_FLOOR)
            if max(after.debits.get(account, 0), after.credits.get(account, 0)) > BIGINT_MAX:
                broken.add(Refusal.BALANCE_OVERFLOW)
        return broken

    def _accept(self, entry: JournalEntry) -> None:
        self.entries.append(entry)
        self.sequences[entry.key] = len(self.entries)
        self.drawn[entry.key] = 0
        if entry.draw is not None:
            self.drawn[entry.draw.original_key] += entry.draw.amount_minor
        self.balances_after.append(self._move(entry))

    def _move(self, entry: JournalEntry) -> list[tuple[int, int]]:
        after = []
        for posting in entry.postings:
            self.debits[posting.debit] = self.debits.get(posting.debit, 0) + posting.amount_minor
            self.credits[posting.credit] = self.credits.get(posting.credit, 0) + posting.amount_minor
            after.append((self.balance(posting.debit), self.balance(posting.credit)))
        return after


def _shape_rules_broken(entry: JournalEntry) -> set[Refusal]:
    broken = set()
    if entry.kind not in set(EntryKind):
        broken.add(Refusal.ENTRY_KIND_UNKNOWN)
    if not entry.postings:
        broken.add(Refusal.ENTRY_MUST_HAVE_POSTINGS)
    amounts = [posting.amount_minor for posting in entry.postings]
    if any(amount <= 0 for amount in amounts) or (entry.drawable_minor or 0) < 0:
        broken.add(Refusal.AMOUNT_MUST_BE_POSITIVE)
    if entry.draw is not None and entry.draw.amount_minor == 0:
        broken.add(Refusal.AMOUNT_MUST_BE_POSITIVE)
    if any(posting.debit == posting.credit for posting in entry.postings):
        broken.add(Refusal.ACCOUNTS_MUST_DIFFER)
    if any(posting.debit.currency != posting.credit.currency for posting in entry.postings):
        broken.add(Refusal.CURRENCIES_MUST_MATCH)
    return broken


def content(entry: JournalEntry) -> tuple[object, ...]:
    """What must be equal for a key to be a replay: everything but who asked."""
    return (
        entry.kind,
        entry.effective_on,
        entry.postings,
        frozenset(entry.references),
        entry.draw,
        entry.drawable_minor,
        entry.metadata,
    )
