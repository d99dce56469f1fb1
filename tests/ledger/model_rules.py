"""Rules of the model that look at nothing but the entry itself."""

from collections.abc import Sequence

from ledger.journal import EntryKind, HoldAction, JournalEntry, Posting
from ledger.refusals import Refusal


def shape_rules_broken(entry: JournalEntry) -> set[Refusal]:
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


def line_rules_broken(entry: JournalEntry, moved: Sequence[Posting], left: Sequence[int]) -> set[Refusal]:
    """Each posting of a reversal turns one line of the original round, no more than is left of it, once."""
    broken, seen = set(), set()
    for posting in entry.postings:
        number = posting.reverses_line
        if number is None or not 1 <= number <= len(moved):
            broken.add(Refusal.REVERSAL_DIFFERS_FROM_ORIGINAL)
            continue
        original = moved[number - 1]
        if (posting.debit, posting.credit) != (original.credit, original.debit):
            broken.add(Refusal.REVERSAL_DIFFERS_FROM_ORIGINAL)
        elif posting.amount_minor > left[number - 1] or number in seen:
            broken.add(Refusal.EXCEEDS_ORIGINAL)
        seen.add(number)
    return broken


def content(entry: JournalEntry) -> tuple[object, ...]:
    """What must be equal for a key to be a replay: everything but who asked.

    Of a hold that is placed or freed only the accounts and the amount are content; whose limit a balancing posting
    stopped at is not, that it was one is.
    """
    posted = entry.hold is None or entry.hold.action == HoldAction.POST
    lines = tuple(
        (
            line.debit,
            line.credit,
            line.amount_minor,
            line.available_on if posted else None,
            bool(line.up_to),
            line.reverses_line,
        )
        for line in entry.postings
    )
    return (
        entry.kind,
        entry.effective_on,
        lines,
        frozenset(entry.references),
        entry.draw,
        entry.drawable_minor,
        entry.metadata,
        entry.reverses,
        entry.hold,
        entry.occurred_at,
    )
