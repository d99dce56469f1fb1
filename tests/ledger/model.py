"""The ledger once more, in plain Python: dicts of totals, one list of entries, no cleverness.

Written from `refusals.py` and `journal.py`, not from the SQL: what both say is probably right.
"""

from copy import copy
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, date, datetime
from uuid import UUID

from ledger.chart_of_accounts import CHART, NormalSide
from ledger.journal import (
    AccountRef,
    EntryKind,
    EntryMode,
    HoldAction,
    JournalEntry,
    Posting,
    UpTo,
    mode_of,
)
from ledger.refusals import Refusal
from tests.ledger.model_rules import content, line_rules_broken, shape_rules_broken

BIGINT_MAX = 2**63 - 1
NOTHING_LATER = {Refusal.ACCOUNT_FROZEN, Refusal.ACCOUNT_CLOSED}
SOFT = {Refusal.ACCOUNT_FROZEN, Refusal.ACCOUNT_CLOSED, Refusal.BELOW_FLOOR, Refusal.ABOVE_CEILING}


@dataclass(frozen=True)
class Result:
    """What posting an entry comes to."""

    refusal: Refusal | None = None
    sequence: int = 0
    replayed: bool = False
    breaches: frozenset[Refusal] = frozenset()
    amounts: tuple[int, ...] = ()


@dataclass(frozen=True)
class HeldMoney:
    debit: AccountRef
    credit: AccountRef
    amount: int
    expires_at: datetime | None
    resolved: bool = False


@dataclass
class State:
    """Everything that a refused group takes back."""

    entries: list[JournalEntry] = field(default_factory=list)
    amounts: list[tuple[int, ...]] = field(default_factory=list)
    debits: dict[AccountRef, int] = field(default_factory=dict)
    credits: dict[AccountRef, int] = field(default_factory=dict)
    held_debits: dict[AccountRef, int] = field(default_factory=dict)
    held_credits: dict[AccountRef, int] = field(default_factory=dict)
    sequences: dict[UUID, int] = field(default_factory=dict)
    drawn: dict[UUID, int] = field(default_factory=dict)
    undone: dict[tuple[UUID, int], int] = field(default_factory=dict)
    holds: dict[UUID, HeldMoney] = field(default_factory=dict)
    balances_after: list[list[tuple[int, int]]] = field(default_factory=list)
    booked_on: list[date | None] = field(default_factory=list)
    last_occurred_at: datetime | None = None

    def copied(self) -> "State":
        """As it is now: what is in the containers is never changed itself."""
        return State(**{each.name: copy(getattr(self, each.name)) for each in fields(self)})

    def balances_copied(self) -> "State":
        """The same, of what postings and holds move; the rest is shared, so that it costs nothing in a long history."""
        moved = ("debits", "credits", "held_debits", "held_credits", "holds")
        return replace(self, **{name: copy(getattr(self, name)) for name in moved})


class Model:
    """Posts one entry, or one linked group, at a time.

    `frozen` holds (account, side) pairs, `closed` accounts; `limits` overrides the floor and ceiling of the kind.
    """

    def __init__(self) -> None:
        self.state = State()
        self.frozen: set[tuple[AccountRef, NormalSide]] = set()
        self.closed: set[AccountRef] = set()
        self.limits: dict[AccountRef, tuple[int | None, int | None]] = {}
        self.closed_through = self.closing_through = date.min

    @property
    def entries(self) -> list[JournalEntry]:
        return self.state.entries

    @property
    def balances_after(self) -> list[list[tuple[int, int]]]:
        return self.state.balances_after

    def balance(self, account: AccountRef) -> int:
        net = self.state.debits.get(account, 0) - self.state.credits.get(account, 0)
        return net if CHART[account.kind].normal_side == NormalSide.DEBIT else -net

    def limits_of(self, account: AccountRef) -> tuple[int | None, int | None]:
        rules = CHART[account.kind]
        return self.limits.get(account, (rules.floor_minor, rules.ceiling_minor))

    def room(self, account: AccountRef, side: NormalSide) -> int | None:
        """How much more of that side the account takes before a limit, holds counted as if posted."""
        floor, ceiling = self.limits_of(account)
        held = self.state.held_debits if side == NormalSide.DEBIT else self.state.held_credits
        if side == CHART[account.kind].normal_side:
            return None if ceiling is None else ceiling - self.balance(account) - held.get(account, 0)
        return None if floor is None else self.balance(account) - held.get(account, 0) - floor

    def post_group(self, entries: list[JournalEntry]) -> list[Result]:
        before = self.state.copied()
        results = []
        for entry in entries:
            results.append(self.post(entry))
            if results[-1].refusal is not None:
                self.state = before
                failed = Result(refusal=Refusal.GROUP_REFUSED)
                return [failed] * (len(results) - 1) + results[-1:] + [failed] * (len(entries) - len(results))
        return results

    def post(self, entry: JournalEntry) -> Result:
        if entry.key in self.state.sequences:
            sequence = self.state.sequences[entry.key]
            if content(self.entries[sequence - 1]) == content(entry):
                amounts = self.state.amounts[sequence - 1]
                return Result(sequence=sequence, replayed=True, amounts=amounts if _balancing(entry) else ())
            return Result(refusal=Refusal.KEY_REUSED_WITH_OTHER_CONTENT)
        broken, amounts = self._rules_broken(entry)
        recording = entry.kind in set(EntryKind) and mode_of(entry.kind) == EntryMode.RECORDING
        breaches = broken & SOFT
        if recording:
            broken -= SOFT
        elif entry.hold is not None and entry.hold.action == HoldAction.POST:
            broken -= {Refusal.BELOW_FLOOR, Refusal.ABOVE_CEILING}
        if broken:
            return Result(refusal=min(broken))
        late = entry.effective_on <= self.closing_through and recording
        self._accept(entry, amounts, late=late)
        if late:
            breaches = breaches | {Refusal.PERIOD_CLOSED}
        shown = amounts if _balancing(entry) else ()
        return Result(sequence=len(self.entries), breaches=frozenset(breaches), amounts=shown)

    def _rules_broken(self, entry: JournalEntry) -> tuple[set[Refusal], tuple[int, ...]]:
        broken = shape_rules_broken(entry)
        action = entry.hold.action if entry.hold else None
        if entry.draw is not None:
            broken |= self._draw_rules_broken(entry.draw.original_key, entry.draw.amount_minor)
        if entry.reverses is not None:
            broken |= self._reversal_rules_broken(entry, entry.reverses)
        if entry.hold is not None and action != HoldAction.PLACE:
            broken |= self._hold_rules_broken(entry)
        if self._period_is_closed(entry):
            broken.add(Refusal.PERIOD_CLOSED)
        if self._import_is_out_of_order(entry.occurred_at):
            broken.add(Refusal.IMPORT_OUT_OF_ORDER)
        if action not in {HoldAction.RELEASE, HoldAction.EXPIRE}:
            broken |= self._switches_broken(entry)
        amounts = tuple(posting.amount_minor for posting in entry.postings)
        if broken - NOTHING_LATER or action in {HoldAction.RELEASE, HoldAction.EXPIRE}:
            return broken, amounts
        more, amounts = self._balance_rules_broken(entry)
        return broken | more, amounts

    def _import_is_out_of_order(self, occurred_at: datetime | None) -> bool:
        last = self.state.last_occurred_at
        return occurred_at is not None and (
            occurred_at > datetime.now(UTC) or (last is not None and occurred_at < last)
        )

    def _switches_broken(self, entry: JournalEntry) -> set[Refusal]:
        broken = set()
        for posting in entry.postings:
            if {(posting.debit, NormalSide.DEBIT), (posting.credit, NormalSide.CREDIT)} & self.frozen:
                broken.add(Refusal.ACCOUNT_FROZEN)
            if {posting.debit, posting.credit} & self.closed:
                broken.add(Refusal.ACCOUNT_CLOSED)
        return broken

    def _period_is_closed(self, entry: JournalEntry) -> bool:
        if entry.kind not in set(EntryKind) or mode_of(entry.kind) == EntryMode.RECORDING:
            return False
        through = self.closed_through if mode_of(entry.kind) == EntryMode.ADJUSTING else self.closing_through
        return entry.effective_on <= through

    def _draw_rules_broken(self, original: UUID, amount: int) -> set[Refusal]:
        if original not in self.state.sequences:
            return {Refusal.ORIGINAL_NOT_FOUND}
        drawable = self.entries[self.state.sequences[original] - 1].drawable_minor
        if drawable is None:
            return {Refusal.ORIGINAL_NOT_DRAWABLE}
        if self.state.drawn[original] + amount > drawable:
            return {Refusal.EXCEEDS_ORIGINAL}
        return {Refusal.RELEASE_EXCEEDS_DRAWS} if self.state.drawn[original] + amount < 0 else set()

    def _reversal_rules_broken(self, entry: JournalEntry, original_key: UUID) -> set[Refusal]:
        if original_key not in self.state.sequences:
            return {Refusal.ORIGINAL_NOT_FOUND}
        number = self.state.sequences[original_key] - 1
        original, amounts = self.entries[number], self.state.amounts[number]
        broken = set()
        if original.drawable_minor:
            undone = [0, *(line.amount_minor for line in entry.postings if line.reverses_line == 1)]
            drawn = entry.draw.amount_minor if entry.draw and entry.draw.original_key == original_key else 0
            if undone[-1] > 0 and drawn < min(undone[-1], original.drawable_minor):
                broken.add(Refusal.REVERSAL_DIFFERS_FROM_ORIGINAL)
        moved = original.postings if original.hold is None or original.hold.action == HoldAction.POST else ()
        left = [amount - self.state.undone.get((original_key, n), 0) for n, amount in enumerate(amounts, 1)]
        return broken | line_rules_broken(entry, moved, left)

    def _hold_rules_broken(self, entry: JournalEntry) -> set[Refusal]:
        assert entry.hold is not None
        assert entry.hold.hold_key is not None
        hold = self.state.holds.get(entry.hold.hold_key)
        if hold is None:
            return {Refusal.HOLD_NOT_FOUND}
        if hold.resolved:
            return {Refusal.HOLD_ALREADY_RESOLVED}
        is_over = hold.expires_at is not None and hold.expires_at <= datetime.now(UTC)
        if entry.hold.action == HoldAction.POST and is_over:
            return {Refusal.HOLD_EXPIRED}
        if entry.hold.action == HoldAction.EXPIRE and not is_over:
            return {Refusal.HOLD_NOT_EXPIRED}
        [line] = entry.postings
        whole = entry.hold.action == HoldAction.POST or line.amount_minor == hold.amount
        if (line.debit, line.credit) != (hold.debit, hold.credit) or not whole:
            return {Refusal.POSTING_DIFFERS_FROM_HOLD}
        return {Refusal.EXCEEDS_HOLD} if line.amount_minor > hold.amount else set()

    def _balance_rules_broken(self, entry: JournalEntry) -> tuple[set[Refusal], tuple[int, ...]]:
        after = Model()
        after.state, after.limits = self.state.balances_copied(), self.limits
        if entry.hold is not None:
            [line] = entry.postings
            if entry.hold.action == HoldAction.PLACE:
                return self._place_rules_broken(line), (line.amount_minor,)
            after.resolve(entry)
        amounts: list[int] = []
        for posting in entry.postings:
            amount = posting.amount_minor
            if posting.up_to:
                rooms = [after.room(posting.debit, NormalSide.DEBIT)] if posting.up_to & UpTo.DEBIT_LIMIT else []
                rooms += [after.room(posting.credit, NormalSide.CREDIT)] if posting.up_to & UpTo.CREDIT_LIMIT else []
                amount = min([amount, *(room for room in rooms if room is not None)])
                if amount <= 0:
                    return {Refusal.NOTHING_AVAILABLE}, ()
            amounts.append(amount)
            after.move(posting, amount)
            totals = after.state.debits.get(posting.debit, 0), after.state.credits.get(posting.credit, 0)
            if _balancing(entry) and max(totals) > BIGINT_MAX:  # what its other lines would find is not known then
                return {Refusal.BALANCE_OVERFLOW}, ()
        return self._limits_broken(entry, after), tuple(amounts)

    def _limits_broken(self, entry: JournalEntry, after: "Model") -> set[Refusal]:
        broken = set()
        for account in {posting.debit for posting in entry.postings} | {p.credit for p in entry.postings}:
            was, now = self.balance(account), after.balance(account)
            rules = CHART[account.kind]
            toward = NormalSide.CREDIT if rules.normal_side == NormalSide.DEBIT else NormalSide.DEBIT
            below, above = after.room(account, toward), after.room(account, rules.normal_side)
            if now < was and below is not None and below < 0:
                broken.add(Refusal.BELOW_FLOOR)
            if now > was and above is not None and above < 0:
                broken.add(Refusal.ABOVE_CEILING)
            if max(after.state.debits.get(account, 0), after.state.credits.get(account, 0)) > BIGINT_MAX:
                broken.add(Refusal.BALANCE_OVERFLOW)
        return broken

    def _place_rules_broken(self, line: Posting) -> set[Refusal]:
        broken = set()
        for account, side in ((line.debit, NormalSide.DEBIT), (line.credit, NormalSide.CREDIT)):
            room = self.room(account, side)
            if room is not None and line.amount_minor > room:
                grows = side == CHART[account.kind].normal_side
                broken.add(Refusal.ABOVE_CEILING if grows else Refusal.BELOW_FLOOR)
        held = max(self.state.held_debits.get(line.debit, 0), self.state.held_credits.get(line.credit, 0))
        return broken | ({Refusal.BALANCE_OVERFLOW} if held + line.amount_minor > 4 * 10**18 else set())

    def _accept(self, entry: JournalEntry, amounts: tuple[int, ...], *, late: bool) -> None:
        state = self.state
        state.entries.append(entry)
        state.amounts.append(amounts)
        state.sequences[entry.key] = len(state.entries)
        state.drawn[entry.key] = 0
        state.booked_on.append(date.fromordinal(self.closing_through.toordinal() + 1) if late else None)
        state.last_occurred_at = entry.occurred_at or state.last_occurred_at
        if entry.draw is not None:
            state.drawn[entry.draw.original_key] += entry.draw.amount_minor
        if entry.reverses is not None:
            for posting, amount in zip(entry.postings, amounts, strict=True):
                place = entry.reverses, posting.reverses_line or 0
                state.undone[place] = state.undone.get(place, 0) + amount
        if entry.hold is not None:
            self.resolve(entry)
            if entry.hold.action != HoldAction.POST:
                state.balances_after.append([])
                return
        state.balances_after.append(
            [self.move(posting, amount) for posting, amount in zip(entry.postings, amounts, strict=True)]
        )

    def resolve(self, entry: JournalEntry) -> None:
        """Hold what is placed, free what is resolved."""
        assert entry.hold is not None
        [line] = entry.postings
        if entry.hold.action == HoldAction.PLACE:
            hold = HeldMoney(line.debit, line.credit, line.amount_minor, entry.hold.expires_at)
            self.state.holds[entry.key] = hold
        else:
            assert entry.hold.hold_key is not None
            hold = replace(self.state.holds[entry.hold.hold_key], resolved=True)
            self.state.holds[entry.hold.hold_key] = hold
        sign = 1 if entry.hold.action == HoldAction.PLACE else -1
        for held, account in ((self.state.held_debits, hold.debit), (self.state.held_credits, hold.credit)):
            held[account] = held.get(account, 0) + sign * hold.amount

    def move(self, posting: Posting, amount: int) -> tuple[int, int]:
        """Post a line; both balances after it."""
        state = self.state
        state.debits[posting.debit] = state.debits.get(posting.debit, 0) + amount
        state.credits[posting.credit] = state.credits.get(posting.credit, 0) + amount
        return self.balance(posting.debit), self.balance(posting.credit)


def _balancing(entry: JournalEntry) -> bool:
    return any(posting.up_to for posting in entry.postings)
