"""Entries as the parallel arrays of `ledger.post_entries_v1`, and its answer as results."""

from collections.abc import Sequence
from typing import Any

import asyncpg

from ledger.chart_of_accounts import AccountKind
from ledger.journal import AccountRef, JournalEntry, Posted, PostingResult, Refused
from ledger.refusals import Refusal

FLOOR_BREACHED, FREEZE_BREACHED = 1, 2

Arguments = tuple[list[Any] | None, ...]


def arguments_of(entries: Sequence[JournalEntry]) -> Arguments:
    """Arguments 2 … 20 of `post_entries_v1`; every account once, postings name them by position from 1."""
    numbers: dict[AccountRef, int] = {}
    counts: list[int] = []
    debits: list[int] = []
    credits_: list[int] = []
    amounts: list[int] = []
    available: list[Any] = []
    reference_entries: list[int] = []
    schemes: list[str] = []
    values: list[str] = []
    for number, entry in enumerate(entries, 1):
        counts.append(len(entry.postings))
        for posting in entry.postings:
            debits.append(numbers.setdefault(posting.debit, len(numbers) + 1))
            credits_.append(numbers.setdefault(posting.credit, len(numbers) + 1))
            amounts.append(posting.amount_minor)
            available.append(posting.available_on)
        for reference in set(entry.references):
            reference_entries.append(number)
            schemes.append(reference.scheme)
            values.append(reference.value)
    drawing = any(entry.draw is not None for entry in entries)
    drawable = any(entry.drawable_minor is not None for entry in entries)
    return (
        [entry.key for entry in entries],
        [int(entry.kind) for entry in entries],
        [entry.effective_on for entry in entries],
        [entry.caller for entry in entries],
        [entry.metadata for entry in entries],
        [entry.draw and entry.draw.original_key for entry in entries] if drawing else None,
        [entry.draw and entry.draw.amount_minor for entry in entries] if drawing else None,
        [entry.drawable_minor for entry in entries] if drawable else None,
        [int(account.kind) for account in numbers],
        [account.owner for account in numbers],
        [account.currency for account in numbers],
        counts,
        debits,
        credits_,
        amounts,
        available,
        reference_entries,
        schemes,
        values,
    )


def results_of(entries: Sequence[JournalEntry], answer: asyncpg.Record) -> list[PostingResult]:
    """The answer of `post_entries_v1`, one result for each entry, in the same order."""
    posted_at, replayed, breaches = answer["posted_at"], answer["replayed_at"], answer["breaches"]
    if replayed is None and breaches is None and not any(answer["refusals"]):
        return [
            Posted(key=entry.key, sequence=sequence, recorded_at=posted_at)
            for entry, sequence in zip(entries, answer["sequences"], strict=True)
        ]
    results: list[PostingResult] = []
    for i, (entry, refusal, sequence) in enumerate(zip(entries, answer["refusals"], answer["sequences"], strict=True)):
        if refusal:
            results.append(Refused(key=entry.key, refusal=Refusal(refusal)))
            continue
        first_recorded_at = replayed[i] if replayed else None
        breach = breaches[i] if breaches else 0
        results.append(
            Posted(
                key=entry.key,
                sequence=sequence,
                recorded_at=first_recorded_at or posted_at,
                replayed=first_recorded_at is not None,
                floor_breached=bool(breach & FLOOR_BREACHED),
                freeze_breached=bool(breach & FREEZE_BREACHED),
            )
        )
    return results


def account_ref(kind: int, owner: str, currency: str) -> AccountRef:
    """An account as a row names it."""
    return AccountRef(AccountKind(kind), owner, currency)
