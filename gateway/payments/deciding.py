"""What findings about a payment change: pure, from rows to rows, entries, events and moves.

The applier (`facts.py`) loads a case for each intent under its lock, adds what was found, settles, and writes the
outcome in the same transaction. Nothing here touches a database or asks the time.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Final, TypeVar

import msgspec

from gateway.foundation.clock import business_date_of
from gateway.payments.acceptances import AcceptanceRow, captures_made
from gateway.payments.capture_ends import with_capture_end
from gateway.payments.dispute_case import DisputeCase, DisputeChanges
from gateway.payments.entries import (
    available_on,
    capture_key,
    entries_of_receipt,
    is_mark,
)
from gateway.payments.errors import FactContradicts
from gateway.payments.fact_rows import fact_row
from gateway.payments.findings import Finding, attempt_with, refund_with
from gateway.payments.folding import (
    CHARGE_FACTS,
    DISPUTE_FACTS,
    AttemptTerms,
    Booking,
    Folded,
    fold,
    fold_refund,
)
from gateway.payments.limits import Use, counts, use_of
from gateway.payments.link_rooms import LinkRoom
from gateway.payments.records import AttemptRow, FactRow, IntentRow, Move, RefundRow, Subject
from gateway.payments.refund_entries import entries_of_refund_fact
from gateway.payments.states import (
    ENDED_REFUNDS,
    OPEN_ATTEMPTS,
    RESERVED_REFUNDS,
    AttemptStatus,
    IntentStatus,
    RefundStatus,
)
from gateway.payments.terms import attempt_terms, fact_name, intent_terms, known_fact
from gateway.payments.views import encoded, intent_view, refund_view
from gateway.providers.base import Fact, FactKind, FactSource
from gateway.webhooks.events import NewEvent
from ledger.journal import JournalEntry

AnyRow = IntentRow | AttemptRow | RefundRow
Versioned = TypeVar("Versioned", AttemptRow, RefundRow)


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be written for one case.

    Attributes:
        intent: as it is now, be it changed or not; latest: its latest attempt.
        attempts, refunds: those that have changed, and those that are `answered` or `ended`.
        uses: how the account's usage of its limits changes.
        answered: ids of the attempts and refunds of which our own call was answered; ended: of those that are still due
            and need not be asked about again.
    """

    intent: IntentRow
    is_intent_changed: bool
    latest: AttemptRow
    attempts: list[AttemptRow]
    refunds: list[RefundRow]
    disputes: DisputeChanges
    facts: list[FactRow]
    entries: list[JournalEntry]
    events: list[NewEvent]
    moves: list[Move]
    uses: list[Use]
    answered: list[str]
    ended: list[str]


_EVENT_OF_STATUS: Final = {
    IntentStatus.REQUIRES_ACTION: "payment_intent.requires_action",
    IntentStatus.PROCESSING: "payment_intent.processing",
    IntentStatus.REQUIRES_CAPTURE: "payment_intent.amount_capturable_updated",
    IntentStatus.SUCCEEDED: "payment_intent.succeeded",
    IntentStatus.EXPIRED: "payment_intent.expired",
    IntentStatus.CANCELED: "payment_intent.canceled",
    IntentStatus.CONFLICTED: "payment_intent.conflicted",
    IntentStatus.REQUIRES_PAYMENT_METHOD: "payment_intent.payment_failed",
}


class Case:
    """One intent with all that belongs to it, while findings are added to it.

    Args:
        room: what is left of its link, where that matters: it has no money of the merchant's yet, and money came.
        accepted: what the merchant took of held money, by the id of its receipt; it may tell of other payments, too.
    """

    def __init__(
        self,
        intent: IntentRow,
        attempts: Sequence[AttemptRow],
        refunds: Sequence[RefundRow],
        facts: Sequence[FactRow],
        disputes: DisputeCase | None = None,
        *,
        room: LinkRoom | None = None,
        accepted: Mapping[str, AcceptanceRow] | None = None,
    ) -> None:
        self._before = intent
        self._accepted = accepted or {}
        self._room = room
        self._disputes = disputes or DisputeCase()
        self._dispute_changes = DisputeChanges(
            disputed_minor=intent.disputed_minor, disputed_held_minor=intent.disputed_held_minor
        )
        self._attempts_before = {attempt.attempt_id: attempt for attempt in attempts}
        self._refunds_before = {refund.refund_id: refund for refund in refunds}
        self._attempts = dict(self._attempts_before)
        self._refunds = dict(self._refunds_before)
        self._facts = {_key(fact): fact for fact in facts}
        self._new: list[FactRow] = []
        self._answered: set[str] = set()

    def add(self, finding: Finding, subject: Subject, now: datetime) -> int:
        """Take in a finding whole, or not at all; returns how many of its facts are new.

        Raises:
            FactContradicts: a fact does not fit what it speaks of.
        """
        fresh = [row for fact in finding.facts if (row := self._checked(fact, subject, now)) is not None]
        if finding.act is not None:
            self._disputes.act(finding.act, fresh)
        fresh = list({_key(row): row for row in fresh}.values())
        self._facts |= {_key(row): row for row in fresh}
        self._new += fresh
        if subject.attempt_id is not None:
            self._attempts[subject.attempt_id] = attempt_with(self._attempts[subject.attempt_id], finding)
        elif subject.refund_id is not None:
            self._refunds[subject.refund_id] = refund_with(self._refunds[subject.refund_id], finding)
        if finding.subject is not None and not finding.goes_on:
            self._answered |= {subject.attempt_id or subject.refund_id or ""}
        return len(fresh)

    def settle(self, now: datetime) -> Changes:
        """Fold everything; what comes of it is to be written as it is, `now` being business time."""
        self._drop_overtaken_marks()
        attempts = sorted(self._attempts.values(), key=lambda attempt: (attempt.created_at, attempt.attempt_id))
        is_paid_by_others = self._room is not None and self._room.is_used_up
        terms = intent_terms(self._before, is_paid_by_others=is_paid_by_others)
        folded = fold(terms, [self._terms_of(attempt) for attempt in attempts])
        if self._room is not None and folded.captured_minor:
            self._room.use()
        self._new = [_booked(fact, folded) for fact in self._new]
        self._facts |= {_key(fact): fact for fact in self._new}
        settled_attempts = [
            self._settled_attempt(attempt, status) for attempt, status in zip(attempts, folded.attempts, strict=True)
        ]
        self._attempts = {attempt.attempt_id: attempt for attempt in settled_attempts}
        self._refunds = {refund_id: self._settled_refund(refund) for refund_id, refund in self._refunds.items()}
        intent = self._settled_intent(folded, now)
        ended = {
            *(row.attempt_id for row in settled_attempts if row.due_at is not None and row.status not in OPEN_ATTEMPTS),
            *(
                row.refund_id
                for row in self._refunds.values()
                if row.due_at is not None and row.status in ENDED_REFUNDS
            ),
        }
        written = self._answered | ended
        changed_attempts = [
            row for row in settled_attempts if row != self._attempts_before[row.attempt_id] or row.attempt_id in written
        ]
        changed_refunds = [
            row
            for row in self._refunds.values()
            if row != self._refunds_before[row.refund_id] or row.refund_id in written
        ]
        return Changes(
            intent=intent,
            is_intent_changed=intent != self._before,
            latest=self._latest(intent),
            attempts=changed_attempts,
            refunds=changed_refunds,
            disputes=self._dispute_changes,
            facts=self._new,
            entries=[
                *(entry for fact in self._new for entry in self._entries(fact, intent, now)),
                *self._dispute_changes.entries,
            ],
            events=list(self._events(intent, now)),
            moves=[*self._moves(intent, changed_attempts, changed_refunds), *self._dispute_changes.moves],
            uses=[use for row in changed_attempts if (use := self._use(row)) is not None],
            answered=sorted(self._answered),
            ended=sorted(ended),
        )

    def _latest(self, intent: IntentRow) -> AttemptRow:
        assert intent.latest_attempt_id is not None, "nothing is found out about a payment that was never attempted"
        return self._attempts[intent.latest_attempt_id]

    def _checked(self, fact: Fact, subject: Subject, now: datetime) -> FactRow | None:
        """The fact as a row, None where it is known."""
        known = self._facts.get((fact.provider, fact.kind, fact.provider_transaction_id))
        if known is not None:
            if (known.amount_minor, known.currency) != (fact.amount_minor, fact.currency):
                raise FactContradicts(
                    f"{fact.provider} {fact.kind} {fact.provider_transaction_id} was of {known.amount_minor} "
                    f"{known.currency} and is now of {fact.amount_minor} {fact.currency}"
                )
            return None
        if fact.source is FactSource.RECEIPT and self._has_receipt(fact.provider_transaction_id):
            return None
        if fact.kind in DISPUTE_FACTS:
            is_captured = any(other.kind is FactKind.CAPTURED for other in self._facts.values())
            return self._disputes.add(fact, self._before, subject.attempt_id or "", is_captured=is_captured, now=now)
        if (fact.kind in CHARGE_FACTS) != (subject.attempt_id is not None):
            raise FactContradicts(f"{fact.kind} cannot be said of {subject.attempt_id or subject.refund_id}")
        if subject.refund_id is not None:
            self._check_refund_fact(fact, self._refunds_before[subject.refund_id])
        elif self._attempts_before[subject.attempt_id or ""].provider != fact.provider:
            raise FactContradicts(f"{fact.provider} does not carry {subject.attempt_id}")
        return fact_row(
            fact,
            self._before,
            attempt_id=subject.attempt_id,
            refund_id=subject.refund_id,
            now=now,
        )

    def _has_receipt(self, receipt_id: str) -> bool:
        """Whether the payment took that receipt before, be it for an earlier attempt at another provider."""
        receipts = (fact for fact in self._facts.values() if fact.source is FactSource.RECEIPT)
        return any(receipt.provider_transaction_id == receipt_id for receipt in receipts)

    def _check_refund_fact(self, fact: Fact, refund: RefundRow) -> None:
        if refund.provider != fact.provider:
            raise FactContradicts(f"{fact.provider} does not carry {refund.refund_id}")
        if (refund.amount_minor, refund.currency) != (fact.amount_minor, fact.currency):
            raise FactContradicts(
                f"{refund.refund_id} is of {refund.amount_minor} {refund.currency}, "
                f"the provider speaks of {fact.amount_minor} {fact.currency}"
            )
        if refund.outcome is RefundStatus.REQUESTED:
            raise FactContradicts(f"{refund.refund_id} was never sent to a provider")

    def _drop_overtaken_marks(self) -> None:
        """What people said of an outcome that is known by now, or that comes together with it, was never said.

        They decided while nobody knew; until their word got here, under the lock, the provider may have spoken.
        """
        spoken_of = {fact.attempt_id or fact.refund_id for fact in self._new if not is_mark(fact)}
        overtaken = {
            _key(fact)
            for fact in self._new
            if is_mark(fact) and ((fact.attempt_id or fact.refund_id) in spoken_of or not self._was_unknown(fact))
        }
        if overtaken:
            self._new = [fact for fact in self._new if _key(fact) not in overtaken]
            self._facts = {key: fact for key, fact in self._facts.items() if key not in overtaken}

    def _was_unknown(self, fact: FactRow) -> bool:
        """Whether nobody knew the outcome of the fact's attempt or refund before."""
        if fact.attempt_id is not None:
            return self._attempts_before[fact.attempt_id].status is AttemptStatus.UNKNOWN
        return self._refunds_before[fact.refund_id or ""].status is RefundStatus.UNKNOWN

    def _facts_of(self, subject_id: str) -> list[FactRow]:
        return [fact for fact in self._facts.values() if subject_id in {fact.attempt_id, fact.refund_id}]

    def _terms_of(self, attempt: AttemptRow) -> AttemptTerms:
        new = {_key(fact) for fact in self._new}
        facts = self._facts_of(attempt.attempt_id)
        known = [
            known_fact(fact, is_new=_key(fact) in new, accepted_minor=self._accepted_minor(fact)) for fact in facts
        ]
        return attempt_terms(attempt, known)

    def _accepted_minor(self, fact: FactRow) -> int:
        row = self._accepted.get(fact.fact_id)
        return 0 if row is None else row.amount_minor

    def _settled_attempt(self, attempt: AttemptRow, status: AttemptStatus) -> AttemptRow:
        declined = _first(self._facts_of(attempt.attempt_id), FactKind.DECLINED)
        if declined is not None:
            attempt = msgspec.structs.replace(
                attempt, failure_code=declined.failure_code, provider_code=declined.provider_code
            )
        attempt = with_capture_end(
            msgspec.structs.replace(attempt, status=status, counted=counts(status)), self._facts_of(attempt.attempt_id)
        )
        return _with_version(attempt, self._attempts_before[attempt.attempt_id])

    def _use(self, attempt: AttemptRow) -> Use | None:
        counted_before = self._attempts_before[attempt.attempt_id].counted
        return use_of(self._before.account_id, attempt, counted_before=counted_before)

    def _settled_refund(self, refund: RefundRow) -> RefundRow:
        facts = self._facts_of(refund.refund_id)
        failed = _first(facts, FactKind.REFUND_FAILED)
        if failed is not None:
            refund = msgspec.structs.replace(
                refund, failure_code=failed.failure_code or "refund_failed", provider_code=failed.provider_code
            )
        status = fold_refund(refund.outcome, (fact.kind for fact in facts))
        return _with_version(msgspec.structs.replace(refund, status=status), self._refunds_before[refund.refund_id])

    def _settled_intent(self, folded: Folded, now: datetime) -> IntentRow:
        intent = self._before
        paying = next((fact for fact in self._new if fact.captured_minor), None)
        if paying is not None:
            intent = msgspec.structs.replace(
                intent,
                capture_key=capture_key(paying),
                available_on=available_on(paying, self._attempts[paying.attempt_id or ""]),
            )
        if any(fact.dispute_id is not None for fact in self._new):
            self._dispute_changes = self._disputes.settle(
                self._available_on(intent),
                now,
                receipts=self._facts.values(),
                accepted={fact_id: row.amount_minor for fact_id, row in self._accepted.items()},
            )
        refunded, pending = intent.refunded_minor, intent.refund_pending_minor
        for refund in self._refunds.values():
            done_before, open_before = refund_amounts(self._refunds_before[refund.refund_id])
            done_after, open_after = refund_amounts(refund)
            refunded, pending = refunded + done_after - done_before, pending + open_after - open_before
        intent = msgspec.structs.replace(
            intent,
            status=folded.status,
            qualifiers=folded.qualifiers,
            captured_minor=folded.captured_minor,
            held_minor=folded.held_minor,
            refunded_minor=refunded,
            refund_pending_minor=pending,
            disputed_minor=self._dispute_changes.disputed_minor,
            disputed_held_minor=self._dispute_changes.disputed_held_minor,
        )
        # The merchant also sees the latest attempt and next action through the intent, so its changes count.
        seen_before = intent_view(self._before, self._attempts_before[self._latest(self._before).attempt_id])
        seen = intent_view(intent, self._latest(intent))
        return intent if seen == seen_before else msgspec.structs.replace(intent, version=intent.version + 1)

    def _available_on(self, intent: IntentRow) -> dict[str, date]:
        """By attempt the day of the first money that it brought its merchant; of what only held money came, the first.

        A charge is disputed whole, and one attempt is one charge.
        """
        its = [row for row in self._accepted.values() if row.intent_id == intent.intent_id]
        made = captures_made(self._facts.values(), self._attempts, its, first=intent.capture_key)
        first = dict.fromkeys(self._attempts, made[0].available_on) if made else {}
        return first | {each.attempt.attempt_id: each.available_on for each in reversed(made)}

    def _entries(self, fact: FactRow, intent: IntentRow, now: datetime) -> Iterable[JournalEntry]:
        if fact.attempt_id is not None:
            yield from entries_of_receipt(fact, intent, self._attempts[fact.attempt_id])
        elif fact.refund_id is not None:
            refund = self._refunds[fact.refund_id]
            known, today = self._facts_of(fact.refund_id), business_date_of(now)
            yield from entries_of_refund_fact(fact, refund, known=known, new=self._new, today=today)

    def _events(self, intent: IntentRow, now: datetime) -> Iterable[NewEvent]:
        types = []
        if intent.status is not self._before.status and intent.status in _EVENT_OF_STATUS:
            types.append(_EVENT_OF_STATUS[intent.status])
        types += [f"payment_intent.{qualifier}" for qualifier in sorted(intent.qualifiers - self._before.qualifiers)]
        if intent.refunded_minor > self._before.refunded_minor:
            types.append("charge.refunded")
        if intent.disputed_minor > self._before.disputed_minor:
            types.append("charge.disputed")
        view = encoded(intent_view(intent, self._latest(intent)))
        for kind in types:
            yield event_of(intent, kind, view, now)
        for refund in self._refunds.values():
            before = self._refunds_before[refund.refund_id].status
            if refund.status is not before and refund.status in ENDED_REFUNDS:
                yield event_of(intent, f"refund.{refund.status}", encoded(refund_view(refund)), now)
        for kind, view in self._dispute_changes.events:
            yield event_of(intent, kind, view, now)

    def _moves(self, intent: IntentRow, attempts: Sequence[AttemptRow], refunds: Sequence[RefundRow]) -> Iterable[Move]:
        because = {
            subject: fact.fact_id
            for fact in self._new
            for subject in (fact.intent_id, fact.attempt_id, fact.refund_id)
            if subject is not None
        }
        pairs: list[tuple[str, str, AnyRow, AnyRow]] = [
            ("intent", intent.intent_id, self._before, intent),
            *(("attempt", row.attempt_id, self._attempts_before[row.attempt_id], row) for row in attempts),
            *(("refund", row.refund_id, self._refunds_before[row.refund_id], row) for row in refunds),
        ]
        for kind, subject_id, before, after in pairs:
            if before.status != after.status:
                fact_id = because.get(subject_id)
                yield Move(
                    subject_id=subject_id,
                    object=kind,
                    version=after.version,
                    from_status=before.status,
                    to_status=after.status,
                    actor="system",
                    reason="outcome" if fact_id is None else "fact",
                    fact_id=fact_id,
                )


def refund_amounts(refund: RefundRow) -> tuple[int, int]:
    """The refund's part in (refunded, pending) of its intent. Money of a conflict counts as gone."""
    if refund.status in {RefundStatus.SUCCEEDED, RefundStatus.CONFLICTED}:
        return refund.amount_minor, 0
    return (0, refund.amount_minor) if refund.status in RESERVED_REFUNDS else (0, 0)


def event_of(intent: IntentRow, kind: str, view: bytes, now: datetime) -> NewEvent:
    """An event for the intent's merchant."""
    return NewEvent(
        book_id=intent.book_id,
        account_id=intent.account_id,
        livemode=intent.livemode,
        type=kind,
        object=view,
        created_at=now,
    )


def _booked(fact: FactRow, folded: Folded) -> FactRow:
    booking = folded.bookings.get(fact_name(fact), Booking())
    return msgspec.structs.replace(fact, captured_minor=booking.captured_minor, held_minor=booking.held_minor)


def _key(fact: FactRow) -> tuple[str, FactKind, str]:
    return fact.provider, fact.kind, fact.provider_transaction_id


def _first(facts: Iterable[FactRow], kind: FactKind) -> FactRow | None:
    """The fact of a kind that was recorded first."""
    return min((fact for fact in facts if fact.kind is kind), key=lambda fact: fact.fact_id, default=None)


def _with_version(after: Versioned, before: Versioned) -> Versioned:
    return after if after == before else msgspec.structs.replace(after, version=before.version + 1)
