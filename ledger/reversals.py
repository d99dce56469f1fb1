"""Reversals: undoing an entry in full or in part, by an entry of its own. Never more than the original.

Each posting of a reversal undoes one line of the original, with the accounts turned round; Σ of what undid a line
never exceeds the line (`exceeds_original`), at any concurrency: the book's lock and the sum in the books decide. An
entry that others can draw on (a capture) is drawn on by its reversal too, by at least what that undoes of its first
line (`reversal_differs_from_original`), so that what is undone is not refunded as well, while nobody
gives that draw back (a draw below zero) and no more can be drawn than the first line holds.
"""

from collections.abc import Mapping
from datetime import date
from uuid import UUID

from ledger.feed import RecordedEntry
from ledger.journal import Draw, EntryKind, ExternalReference, JournalEntry, Posting


def reversal_of(
    original: RecordedEntry,
    *,
    key: UUID,
    effective_on: date,
    amounts_minor: Mapping[int, int] | None = None,
    references: tuple[ExternalReference, ...] = (),
    metadata: bytes = b"",
    caller: str = "system",
) -> JournalEntry:
    """The entry that undoes another. Authorising: floors and closed periods refuse it as any operator's act.

    Args:
        original: as the books have it.
        key: of the reversal.
        effective_on: its own business date, never taken from the original: a filed period stays as it was filed.
        amounts_minor: how much of which line; None = all of it. Where less can be drawn on the original than its first
            line holds, that line is undone at once: each part of it would draw as much as it undoes.
        references: what others call the reversal.
        metadata: sealed as it is.
        caller: who asked.
    """
    amounts = {line.line: line.amount_minor for line in original.postings} if amounts_minor is None else amounts_minor
    lines = {posting.line: posting for posting in original.postings}
    assert amounts, "a reversal undoes something"
    assert amounts.keys() <= lines.keys(), "a reversal undoes lines that the original has"
    postings = tuple(
        Posting(
            debit=lines[number].credit,
            credit=lines[number].debit,
            amount_minor=amount,
            available_on=lines[number].available_on,
            reverses_line=number,
        )
        for number, amount in sorted(amounts.items())
    )
    draw = None
    if original.drawable_minor and 1 in amounts:
        draw = Draw(original_key=original.key, amount_minor=min(amounts[1], original.drawable_minor))
    return JournalEntry(
        key=key,
        kind=EntryKind.ENTRY_REVERSED,
        effective_on=effective_on,
        postings=postings,
        references=references,
        draw=draw,
        metadata=metadata,
        caller=caller,
        reverses=original.key,
    )
