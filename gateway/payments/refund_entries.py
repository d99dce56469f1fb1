"""What the facts of a refund post: each end once, whoever says it first; what two people said, until it is proved.

A mark that comes with the provider's own word, or after it, posts nothing, whichever of the two ends either names.
"""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Final

from gateway.foundation.clock import business_date_of
from gateway.foundation.ids import entry_key
from gateway.payments.entries import (
    CALLER,
    INTENT_SCHEME,
    REFUND_SCHEME,
    is_mark,
    metadata_of,
    pending_until,
    references_of,
)
from gateway.payments.records import FactRow, RefundRow
from gateway.providers.base import FactKind
from ledger.journal import ExternalReference, JournalEntry
from ledger.posting_rules.marks import refund_mark_proved, refund_mark_undone, refund_marked
from ledger.posting_rules.refunds import refund_failed, refund_succeeded

_ENDS: Final = frozenset({FactKind.REFUND_SUCCEEDED, FactKind.REFUND_FAILED})
"""What a provider says when a refund is over."""


def entries_of_refund_fact(
    fact: FactRow,
    refund: RefundRow,
    *,
    known: Sequence[FactRow],
    new: Sequence[FactRow],
    today: date,
) -> Iterable[JournalEntry]:
    """The entries of a new fact; `known` are all facts of its refund, `new` those that nobody knew before."""
    if any(each.kind in _ENDS and not is_mark(each) for each in known):
        known = [each for each in known if not (is_mark(each) and each in new)]
    if fact not in known:
        return
    done = [each for each in known if each.kind is FactKind.REFUND_SUCCEEDED]
    is_done = any(not is_mark(each) for each in done)
    is_undone = any(each.kind is FactKind.REFUND_FAILED and not is_mark(each) and each not in new for each in known)
    is_marked_done = any(is_mark(each) and each not in new for each in done) and not is_undone
    if not _is_first_to_say(fact, known, new):
        return
    if fact.kind is FactKind.REFUND_SUCCEEDED:
        if is_mark(fact):
            yield _mark(fact, refund)
        else:
            yield _proof(fact, refund) if is_marked_done else _success(fact, refund)
    elif fact.kind is FactKind.REFUND_FAILED:
        if is_marked_done and not is_done:
            yield _undoing(fact, refund)
        yield _failure(fact, refund, today)


def _is_first_to_say(fact: FactRow, known: Sequence[FactRow], new: Sequence[FactRow]) -> bool:
    """Whether no other fact said the same of the refund; a second one, under another id, moves no more money.

    What people said is proved by the first word of the provider.
    """
    alike = [other for other in known if other.kind is fact.kind]
    if fact.kind is FactKind.REFUND_SUCCEEDED:
        alike = [other for other in alike if is_mark(other) is is_mark(fact)]
    fresh = [other for other in new if other in alike]
    return len(fresh) == len(alike) and fact is fresh[0]


def _success(fact: FactRow, refund: RefundRow) -> JournalEntry:
    """The provider gave the money back."""
    return refund_succeeded(
        key=entry_key(refund.refund_id, "succeeded"),
        provider=refund.provider,
        merchant=refund.account_id,
        amount_minor=refund.amount_minor,
        currency=refund.currency,
        effective_on=business_date_of(fact.occurred_at),
        references=_of_refund(fact, refund),
        metadata=metadata_of(refund=refund.refund_id, fact=fact.fact_id),
        caller=CALLER,
    )


def _mark(fact: FactRow, refund: RefundRow) -> JournalEntry:
    """Two people say that the provider gave the money back."""
    return refund_marked(
        key=entry_key(refund.refund_id, "marked"),
        provider=refund.provider,
        merchant=refund.account_id,
        amount_minor=refund.amount_minor,
        currency=refund.currency,
        effective_on=business_date_of(fact.occurred_at),
        references=_of_refund(fact, refund),
        metadata=metadata_of(refund=refund.refund_id, fact=fact.fact_id),
        caller=CALLER,
    )


def _proof(fact: FactRow, refund: RefundRow) -> JournalEntry:
    """The provider did give the money of a marked refund back."""
    return refund_mark_proved(
        key=entry_key(refund.refund_id, "succeeded"),
        provider=refund.provider,
        amount_minor=refund.amount_minor,
        currency=refund.currency,
        effective_on=business_date_of(fact.occurred_at),
        references=_of_refund(fact, refund),
        metadata=metadata_of(refund=refund.refund_id, fact=fact.fact_id),
        caller=CALLER,
    )


def _undoing(fact: FactRow, refund: RefundRow) -> JournalEntry:
    """The provider did not give the money of a marked refund back."""
    return refund_mark_undone(
        key=entry_key(refund.refund_id, "undone"),
        provider=refund.provider,
        merchant=refund.account_id,
        amount_minor=refund.amount_minor,
        currency=refund.currency,
        effective_on=business_date_of(fact.occurred_at),
        references=_of_refund(fact, refund),
        metadata=metadata_of(refund=refund.refund_id, fact=fact.fact_id),
        caller=CALLER,
    )


def _of_refund(fact: FactRow, refund: RefundRow) -> tuple[ExternalReference, ...]:
    return references_of(
        fact, ExternalReference(REFUND_SCHEME, refund.refund_id), ExternalReference(INTENT_SCHEME, refund.intent_id)
    )


def _failure(fact: FactRow, refund: RefundRow, today: date) -> JournalEntry:
    """The refund came to nothing: the money goes where the charge's money is by `today`."""
    return refund_failed(
        key=entry_key(refund.refund_id, "failed"),
        captured_key=refund.capture_key,
        merchant=refund.account_id,
        amount_minor=refund.amount_minor,
        currency=refund.currency,
        pending_until=pending_until(refund.available_on, today),
        effective_on=business_date_of(fact.occurred_at),
        metadata=metadata_of(refund=refund.refund_id, fact=fact.fact_id),
        caller=CALLER,
    )
