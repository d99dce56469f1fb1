"""What facts about a payment's disputes change: pure, from rows to rows, entries, events and moves.

Facts commute. At each stage the provider takes the money once, when it says so, and gives it back once, when it also
says that the merchant won; until either, what is questioned is held. So the merchant's balance follows from the set
of facts alone, whichever came first; only the entries on the way to it differ.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Final

import msgspec

from gateway.foundation.clock import business_date_of
from gateway.foundation.ids import new_id
from gateway.payments.dispute_money import DisputeMoney, Receipts, Said
from gateway.payments.dispute_records import DisputeRow
from gateway.payments.errors import FactContradicts, PaymentNotCaptured
from gateway.payments.fact_rows import fact_row
from gateway.payments.records import FactRow, IntentRow, Move
from gateway.payments.states import ENDED_DISPUTES, DisputeStatus
from gateway.payments.views import dispute_view, encoded
from gateway.providers.base import Fact, FactKind
from gateway.providers.dispute_terms import DisputeStage, DisputeTerms
from gateway.webhooks.events import NewEvent
from ledger.journal import EntryKind, JournalEntry

REMINDED_BEFORE: Final = timedelta(days=3)
"""How long before its deadline a merchant is told once more of a dispute that waits for evidence."""
LOOKED_AFTER_EVERY: Final = timedelta(days=1)
FORGOTTEN_AFTER: Final = timedelta(days=60)
"""How long the provider is asked about a dispute that the merchant lost by his own doing."""

_STAGES: Final = tuple(DisputeStage)
_EVENT_OF_ENTRY: Final = {
    EntryKind.DISPUTE_FUNDS_WITHDRAWN: "dispute.funds_withdrawn",
    EntryKind.DISPUTE_FUNDS_REINSTATED: "dispute.funds_reinstated",
}
_GIVEN_UP: Final = frozenset({DisputeStatus.ACCEPTED, DisputeStatus.EXPIRED})


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """An operator who states a fact: who, what it is called, why, and which receipt the dispute is about."""

    actor: str
    act: str
    reason: str
    receipt_id: str | None = None


class DisputeChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be written for the disputes of one intent.

    Attributes:
        disputed_minor: the intent's, after it all; disputed_held_minor: the part that is of held money.
        new, changed: rows; new ones are to be inserted.
        acts: operators' acts with the dispute that each is about.
    """

    disputed_minor: int
    disputed_held_minor: int
    new: list[DisputeRow] = []
    changed: list[DisputeRow] = []
    entries: list[JournalEntry] = []
    events: list[tuple[str, bytes]] = []
    moves: list[Move] = []
    acts: list[tuple[Act, str]] = []


class DisputeCase:
    """The disputes of one intent, while facts are added to them.

    Args:
        fee_minor: what the merchant's plan asks for a dispute.
        returned: what of held money went back to its payer by claims, by receipt.
    """

    def __init__(
        self,
        rows: Sequence[DisputeRow] = (),
        facts: Sequence[FactRow] = (),
        *,
        fee_minor: int = 0,
        returned: Mapping[str, int] | None = None,
    ) -> None:
        self._before = {row.dispute_id: row for row in rows}
        self._rows = dict(self._before)
        self._old = {fact.fact_id for fact in facts}
        self._facts = [fact for fact in facts if fact.dispute_id is not None]
        self._fee_minor = fee_minor
        self._returned = returned or {}
        self._acts: list[tuple[Act, str]] = []

    def add(self, fact: Fact, intent: IntentRow, attempt_id: str, *, is_captured: bool, now: datetime) -> FactRow:
        """Take in a fact that nobody told before; returns it as a row of its dispute, which may be new.

        Raises:
            PaymentNotCaptured: nobody has told yet that the payment was made.
            FactContradicts: it does not fit the payment, or what is known of the dispute.
        """
        terms = fact.dispute
        if terms is None:
            raise FactContradicts(f"{fact.kind} names no dispute")
        if fact.currency != intent.currency:
            raise FactContradicts(f"{intent.intent_id} is in {intent.currency}, the dispute in {fact.currency}")
        if fact.amount_minor <= 0:
            raise FactContradicts(f"a dispute of {fact.amount_minor}")
        if not is_captured:
            raise PaymentNotCaptured(f"{intent.intent_id} is not captured")
        known = next((row for row in self._rows.values() if _is(row, fact, terms)), None)
        if known is not None and known.amount_minor != fact.amount_minor:
            raise FactContradicts(f"{known.dispute_id} is of {known.amount_minor}, the fact of {fact.amount_minor}")
        row = _with_terms(known or _new_row(fact, terms, intent, attempt_id, now), terms)
        self._rows[row.dispute_id] = row
        told = fact_row(fact, intent, dispute_id=row.dispute_id, dispute_stage=terms.stage, now=now)
        self._facts.append(told)
        return told

    def act(self, act: Act, facts: Iterable[FactRow]) -> None:
        """Note that an operator stated facts that nobody knew."""
        for dispute_id in [fact.dispute_id for fact in facts if fact.dispute_id is not None]:
            self._acts.append((act, dispute_id))
            row = self._rows[dispute_id]
            if row.receipt_id is None and act.receipt_id is not None:
                self._rows[dispute_id] = msgspec.structs.replace(row, receipt_id=act.receipt_id)

    def settle(
        self,
        available_on: Mapping[str, date],
        now: datetime,
        *,
        receipts: Iterable[FactRow],
        accepted: Mapping[str, int],
    ) -> DisputeChanges:
        """Fold everything.

        Args:
            available_on: by id of the attempt the day from which the money that it brought is available.
            now: business time.
            receipts: of the payment, booked; accepted: what the merchant took of held money, by receipt.
        """
        changes = DisputeChanges(disputed_minor=0, disputed_held_minor=0, acts=list(self._acts))
        its = Receipts(
            receipts,
            accepted=accepted,
            returned=self._returned,
            available_on=available_on,
            disputes=self._before.values(),
        )
        for dispute_id, row in self._rows.items():
            facts = tuple(fact for fact in self._facts if fact.dispute_id == dispute_id)
            if any(fact.fact_id not in self._old for fact in facts):
                self._rows[dispute_id] = self._settled(row, facts, now, changes, its)
        return msgspec.structs.replace(
            changes,
            disputed_minor=sum(row.disputed_minor for row in self._rows.values()),
            disputed_held_minor=sum(row.disputed_held_minor for row in self._rows.values()),
        )

    def _settled(
        self,
        row: DisputeRow,
        facts: tuple[FactRow, ...],
        now: datetime,
        changes: DisputeChanges,
        receipts: Receipts,
    ) -> DisputeRow:
        said, said_before = Said(facts), Said(tuple(fact for fact in facts if fact.fact_id in self._old))
        before = self._before.get(row.dispute_id)
        others = [other for other in self._rows.values() if other.dispute_id != row.dispute_id]
        row = receipts.placed(row, others)
        money = DisputeMoney(
            row,
            receipts,
            payer_minor=receipts.payer_minor(row, others),
            where=receipts.pending_until(row, business_date_of(now)),
        )
        newest = next(fact for fact in reversed(facts) if fact.fact_id not in self._old)
        entries = money.moved(said, said_before, newest, fee_minor=self._fee_minor)
        changes.entries.extend(entries)
        row = msgspec.structs.replace(money.row, status=fold_dispute(row.stage, row.outcome, facts))
        row = with_closing(row, now)
        if before is not None:
            row = msgspec.structs.replace(row, version=before.version + 1)
        (changes.changed if before is not None else changes.new).append(row)
        changes.events.extend((kind, encoded(dispute_view(row))) for kind in _event_types(before, row, entries))
        if before is not None and before.status is not row.status:
            act = next((act for act, dispute_id in self._acts if dispute_id == row.dispute_id), None)
            changes.moves.append(
                move_of(
                    before,
                    row,
                    actor="system" if act is None else act.actor,
                    reason="fact" if act is None else act.reason,
                    fact_id=newest.fact_id,
                )
            )
        return row


def fold_dispute(stage: DisputeStage, outcome: DisputeStatus, facts: Iterable[FactRow]) -> DisputeStatus:
    """What facts and our own side's `outcome` add up to at the stage that the dispute has reached."""
    facts = list(facts)
    kinds_at = {each: {fact.kind for fact in facts if fact.dispute_stage is each} for each in _STAGES}
    if any({FactKind.DISPUTE_WON, FactKind.DISPUTE_LOST} <= kinds for kinds in kinds_at.values()):
        return DisputeStatus.CONFLICTED
    said = kinds_at[stage]
    if outcome is DisputeStatus.EXPIRED and FactKind.DISPUTE_UNDER_REVIEW in said:
        # Answered in time, on another road than ours.
        outcome = DisputeStatus.UNDER_REVIEW
    if FactKind.DISPUTE_WON in said:
        return DisputeStatus.WON
    if FactKind.DISPUTE_LOST in said:
        return outcome if outcome in _GIVEN_UP else DisputeStatus.LOST
    if outcome is DisputeStatus.NEEDS_RESPONSE and FactKind.DISPUTE_UNDER_REVIEW in said:
        outcome = DisputeStatus.UNDER_REVIEW
    if outcome is DisputeStatus.NEEDS_RESPONSE and stage is DisputeStage.PRE_DISPUTE:
        return DisputeStatus.WARNING
    return outcome


def with_closing(row: DisputeRow, now: datetime) -> DisputeRow:
    """The row with the moment of its end, or without one where it is open (again)."""
    if row.status not in ENDED_DISPUTES:
        return msgspec.structs.replace(row, closed_at=None)
    return row if row.closed_at is not None else msgspec.structs.replace(row, closed_at=now)


def move_of(before: DisputeRow, after: DisputeRow, *, actor: str, reason: str, fact_id: str | None = None) -> Move:
    """The change of status, for the record."""
    return Move(
        subject_id=after.dispute_id,
        object="dispute",
        version=after.version,
        from_status=before.status,
        to_status=after.status,
        actor=actor,
        reason=reason,
        fact_id=fact_id,
    )


def event_for(row: DisputeRow, kind: str, now: datetime) -> NewEvent:
    """An event for the dispute's merchant."""
    return NewEvent(
        book_id=row.book_id,
        account_id=row.account_id,
        livemode=row.livemode,
        type=kind,
        object=encoded(dispute_view(row)),
        created_at=now,
    )


def next_look(row: DisputeRow, now: datetime) -> datetime | None:
    """When a dispute is to be seen to next: its reminder, its deadline, and now and then; None once it is decided."""
    if row.status in ENDED_DISPUTES - _GIVEN_UP:
        return None
    if row.closed_at is not None and row.closed_at + FORGOTTEN_AFTER <= now:
        return None
    looks = [now + LOOKED_AFTER_EVERY]
    if row.evidence_due_at is not None:
        looks += [row.evidence_due_at - REMINDED_BEFORE, row.evidence_due_at]
    return min(look for look in looks if look > now)


def _event_types(before: DisputeRow | None, after: DisputeRow, entries: Sequence[JournalEntry]) -> Iterable[str]:
    is_ended = after.status in ENDED_DISPUTES
    types = ["dispute.created"] if before is None else []
    types += [_EVENT_OF_ENTRY[entry.kind] for entry in entries if entry.kind in _EVENT_OF_ENTRY]
    if is_ended and (before is None or before.status is not after.status):
        types.append("dispute.closed")
    elif before is not None and (before.status, before.stage) != (after.status, after.stage):
        types.append("dispute.updated")
    return types


def _is(row: DisputeRow, fact: Fact, terms: DisputeTerms) -> bool:
    return (row.provider, row.provider_dispute_id) == (fact.provider, terms.reference)


def _with_terms(row: DisputeRow, terms: DisputeTerms) -> DisputeRow:
    """The row with what a fact says beside its kind: the same whichever fact comes first."""
    rank, known = _STAGES.index(terms.stage), _STAGES.index(row.stage)
    if rank < known:
        return row
    if rank > known:
        return msgspec.structs.replace(
            row,
            stage=terms.stage,
            outcome=DisputeStatus.NEEDS_RESPONSE,
            reason_code=terms.reason_code,
            provider_reason=terms.provider_reason,
            evidence_due_at=terms.evidence_due_at,
            reminded_at=None,
            owed_answer=None,
        )
    deadlines = [due_at for due_at in (row.evidence_due_at, terms.evidence_due_at) if due_at is not None]
    return msgspec.structs.replace(row, evidence_due_at=max(deadlines, default=None))


def _new_row(fact: Fact, terms: DisputeTerms, intent: IntentRow, attempt_id: str, now: datetime) -> DisputeRow:
    return DisputeRow(
        book_id=intent.book_id,
        dispute_id=new_id("dp", livemode=intent.livemode),
        account_id=intent.account_id,
        livemode=intent.livemode,
        intent_id=intent.intent_id,
        attempt_id=attempt_id,
        provider=fact.provider,
        provider_dispute_id=terms.reference,
        amount_minor=fact.amount_minor,
        currency=fact.currency,
        stage=terms.stage,
        status=DisputeStatus.NEEDS_RESPONSE,
        outcome=DisputeStatus.NEEDS_RESPONSE,
        version=1,
        reason_code=terms.reason_code,
        provider_reason=terms.provider_reason,
        evidence_due_at=terms.evidence_due_at,
        evidence_submitted_at=None,
        reminded_at=None,
        held_minor=0,
        withdrawn_minor=0,
        owed_answer=None,
        created_at=now,
        closed_at=None,
        asks=0,
        due_at=now,
        leased_until=None,
    )
