"""What the facts of a payment add up to: one pure function, indifferent to the order in which facts arrived.

Facts are ranked, never dated by arrival: money outranks its absence, an end outranks a beginning. Whether money came
in time is decided by when the payer paid and by our own terms (deadline, cancelling), never by what we knew when the
message reached us. The rules of money:

- the first sufficient receipt in time, or as little late as the merchant's terms allow, pays the amount due; what it
  brings beyond that is held for the payer;
- every other receipt – short, a second one, after the deadline, after cancelling, in another currency, under a link
  whose payments others have made – is held whole;
- a receipt that was booked stays as it was booked, because entries are never rewritten;
- where people marked an attempt as paid, the provider's receipts for it first prove the mark, up to its amount, and
  are neither the merchant's once more nor the payer's.

So status, qualifiers and both sums follow from the set of facts alone. Only *which* of two sufficient receipts is the
payment, or whether it is a mark, depends on which was booked first.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from gateway.payments.states import AttemptStatus, IntentStatus, Qualifier, RefundStatus
from gateway.providers.base import FactKind

_RANK: Final = {status: rank for rank, status in enumerate(AttemptStatus)}

_STATUS_OF_FACT: Final[Mapping[FactKind, AttemptStatus]] = {
    FactKind.PENDING: AttemptStatus.PENDING,
    FactKind.AUTHORIZED: AttemptStatus.AUTHORIZED,
    FactKind.DECLINED: AttemptStatus.DECLINED,
    FactKind.EXPIRED: AttemptStatus.EXPIRED,
    FactKind.VOIDED: AttemptStatus.VOIDED,
}

_STATUS_WHILE_UNPAID: Final[Mapping[AttemptStatus, IntentStatus]] = {
    AttemptStatus.SUBMITTED: IntentStatus.REQUIRES_CONFIRMATION,
    AttemptStatus.UNKNOWN: IntentStatus.PROCESSING,
    AttemptStatus.AUTHORIZED: IntentStatus.REQUIRES_CAPTURE,
    AttemptStatus.NOT_ATTEMPTED: IntentStatus.REQUIRES_PAYMENT_METHOD,
    AttemptStatus.ABANDONED: IntentStatus.REQUIRES_PAYMENT_METHOD,
    AttemptStatus.DECLINED: IntentStatus.REQUIRES_PAYMENT_METHOD,
    AttemptStatus.EXPIRED: IntentStatus.EXPIRED,
    AttemptStatus.VOIDED: IntentStatus.CANCELED,
}

_ENDS_WITHOUT_MONEY: Final = frozenset({AttemptStatus.DECLINED, AttemptStatus.EXPIRED, AttemptStatus.VOIDED})

_ENDED_BY_US: Final = frozenset({AttemptStatus.NOT_ATTEMPTED, AttemptStatus.ABANDONED})
"""Outcomes after which nothing is waited for, whatever a provider may still say."""

CHARGE_FACTS: Final = frozenset({*_STATUS_OF_FACT, FactKind.CAPTURED})
"""What can be said of an attempt."""

DISPUTE_FACTS: Final = frozenset(
    {
        FactKind.DISPUTE_OPENED,
        FactKind.DISPUTE_UNDER_REVIEW,
        FactKind.DISPUTE_FUNDS_WITHDRAWN,
        FactKind.DISPUTE_WON,
        FactKind.DISPUTE_LOST,
    }
)
"""What can be said of a dispute; what is neither here nor in `CHARGE_FACTS` is about a refund."""


class Booking(msgspec.Struct, frozen=True):
    """How a receipt stands in the books: the merchant's part and the part held for the payer."""

    captured_minor: int = 0
    held_minor: int = 0


class KnownFact(msgspec.Struct, frozen=True, kw_only=True):
    """A fact as folding needs it.

    Attributes:
        key: whatever tells it from every other fact of the payment; ties in time are broken by it.
        booking: how it was booked before, None for a fact that is new.
        is_mark: people said so, not the provider.
        is_assigned: money on our own bank account that people gave to the payment: no word of the provider's.
    """

    key: str
    kind: FactKind
    amount_minor: int
    currency: str
    occurred_at: datetime
    booking: Booking | None = None
    is_mark: bool = False
    is_assigned: bool = False


class AttemptTerms(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt and all that is known of it.

    Attributes:
        outcome: what our own calls came to, without the facts: submitted, not_attempted, unknown, pending or abandoned.
        shows_action: whether there is something for the payer to do.
        is_unseen: a QR whose text never reached us, so that no payer has seen it.
        late_grace: how long after `expires_at` a receipt may still be the payment. It is late all the same.
    """

    outcome: AttemptStatus
    shows_action: bool
    expires_at: datetime | None
    facts: tuple[KnownFact, ...]
    is_unseen: bool = False
    late_grace: timedelta = timedelta()


class IntentTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What the merchant asked for.

    Attributes:
        cancel_requested_at: money paid after it is not wanted.
        is_canceled: the merchant was told so. It stays, whatever a sending that was under way then came to.
        capture_later: the merchant takes what he wants of what was authorised, so less is not too little.
        is_paid_by_others: the payment's link has all the payments that it may have.
    """

    amount_minor: int
    currency: str
    cancel_requested_at: datetime | None
    is_canceled: bool = False
    capture_later: bool = False
    is_paid_by_others: bool = False

    def pays(self, amount_minor: int) -> bool:
        """Whether a receipt of so much can be the payment."""
        return not self.is_paid_by_others and amount_minor >= (1 if self.capture_later else self.amount_minor)


class Folded(msgspec.Struct, frozen=True, kw_only=True):
    """What the facts add up to.

    Attributes:
        attempts: status of each attempt, in the order given.
        bookings: of every receipt, by key; of old ones as they were.
        captured_minor, held_minor: sums in the intent's currency.
    """

    status: IntentStatus
    qualifiers: frozenset[Qualifier]
    attempts: tuple[AttemptStatus, ...]
    bookings: Mapping[str, Booking]
    captured_minor: int
    held_minor: int


class _Receipt(msgspec.Struct, frozen=True):
    fact: KnownFact
    in_time: bool
    is_wanted: bool
    """In time, or late within the grace of the merchant's terms."""
    attempt: int
    """Position of its attempt."""

    def proved_minor(self, booking: Booking) -> int:
        """What of it proved a mark: it is nobody's anew."""
        if self.fact.is_mark:
            return 0
        return self.fact.amount_minor - booking.captured_minor - booking.held_minor


def fold(terms: IntentTerms, attempts: Sequence[AttemptTerms]) -> Folded:
    """What the facts of all attempts (oldest first, at least one) add up to."""
    receipts = sorted(
        (receipt for number, attempt in enumerate(attempts) for receipt in _receipts(terms, attempt, number)),
        key=lambda receipt: (receipt.fact.occurred_at, receipt.fact.key),
    )
    bookings = _book(terms, receipts)
    ours = [receipt for receipt in receipts if receipt.fact.currency == terms.currency]
    captured_minor = sum(bookings[receipt.fact.key].captured_minor for receipt in ours)
    held_minor = sum(bookings[receipt.fact.key].held_minor for receipt in ours)
    statuses = tuple(_attempt_status(attempt, bookings) for attempt in attempts)
    if len(ours) < len(receipts) or any(_contradicts_itself(terms, attempt, bookings) for attempt in attempts):
        status = IntentStatus.CONFLICTED
    elif captured_minor:
        status = IntentStatus.SUCCEEDED
    else:
        status = _unpaid_status(terms, attempts[-1], statuses[-1])
    return Folded(
        status=status,
        qualifiers=frozenset(_qualifiers(terms, ours, bookings, captured_minor, held_minor)),
        attempts=statuses,
        bookings=bookings,
        captured_minor=captured_minor,
        held_minor=held_minor,
    )


def fold_refund(outcome: RefundStatus, kinds: Iterable[FactKind]) -> RefundStatus:
    """What the facts of a refund add up to; `outcome` is what our own calls came to."""
    said = frozenset(kinds)
    if {FactKind.REFUND_SUCCEEDED, FactKind.REFUND_FAILED} <= said:
        return RefundStatus.CONFLICTED
    if FactKind.REFUND_SUCCEEDED in said:
        return RefundStatus.SUCCEEDED
    if FactKind.REFUND_FAILED in said:
        return RefundStatus.FAILED
    return RefundStatus.PENDING if FactKind.REFUND_PENDING in said else outcome


def higher(one: AttemptStatus, other: AttemptStatus) -> AttemptStatus:
    """The one of higher rank."""
    return max(one, other, key=_RANK.__getitem__)


def _receipts(terms: IntentTerms, attempt: AttemptTerms, number: int = 0) -> Iterable[_Receipt]:
    """What is said to have come for an attempt. People who mark it paid have decided that it was in time.

    The grace is for payers who were slow; what the merchant cancelled is not wanted a moment later.
    """
    end, canceled_at = attempt.expires_at, terms.cancel_requested_at
    for fact in attempt.facts:
        if fact.kind is FactKind.CAPTURED:
            is_asked_for = fact.is_mark or canceled_at is None or fact.occurred_at <= canceled_at
            in_time = fact.is_mark or end is None or fact.occurred_at <= end
            in_grace = in_time or (end is not None and fact.occurred_at <= end + attempt.late_grace)
            yield _Receipt(fact, in_time=is_asked_for and in_time, is_wanted=is_asked_for and in_grace, attempt=number)


def _book(terms: IntentTerms, receipts: Sequence[_Receipt]) -> dict[str, Booking]:
    bookings = {receipt.fact.key: receipt.fact.booking for receipt in receipts if receipt.fact.booking is not None}
    is_paid = any(booking.captured_minor for booking in bookings.values())
    # What the provider says goes first: then a mark that comes with it says nothing new.
    for receipt in sorted(receipts, key=lambda receipt: receipt.fact.is_mark):
        fact = receipt.fact
        if fact.key in bookings:
            continue
        unproved_minor = _unproved_minor(receipts, bookings, receipt.attempt)
        if fact.is_mark:
            bookings[fact.key] = Booking() if is_paid else Booking(terms.amount_minor, 0)
            is_paid = True
            continue
        if unproved_minor and fact.currency == terms.currency:
            bookings[fact.key] = Booking(0, max(0, fact.amount_minor - unproved_minor))
            continue
        pays = receipt.is_wanted and fact.currency == terms.currency and terms.pays(fact.amount_minor)
        if pays and not is_paid:
            is_paid = True
            due_minor = min(fact.amount_minor, terms.amount_minor)
            bookings[fact.key] = Booking(due_minor, fact.amount_minor - due_minor)
        else:
            bookings[fact.key] = Booking(0, fact.amount_minor)
    return bookings


def _unproved_minor(receipts: Iterable[_Receipt], bookings: Mapping[str, Booking], attempt: int) -> int:
    """What of an attempt's mark no receipt has proved yet; 0 where it has none."""
    booked = [(each, bookings[each.fact.key]) for each in receipts if each.fact.key in bookings]
    its = [(receipt, booking) for receipt, booking in booked if receipt.attempt == attempt]
    marked_minor = sum(booking.captured_minor for receipt, booking in its if receipt.fact.is_mark)
    return marked_minor - sum(receipt.proved_minor(booking) for receipt, booking in its) if marked_minor else 0


def _attempt_status(attempt: AttemptTerms, bookings: Mapping[str, Booking]) -> AttemptStatus:
    """The highest rank that anything says; money that is only held leaves the attempt open for the rest."""
    status = attempt.outcome
    for fact in attempt.facts:
        if fact.kind is FactKind.CAPTURED:
            paid = bookings[fact.key].captured_minor > 0
            status = higher(status, AttemptStatus.CAPTURED if paid else AttemptStatus.PENDING)
        else:
            status = higher(status, _STATUS_OF_FACT[fact.kind])
    return status


def _contradicts_itself(terms: IntentTerms, attempt: AttemptTerms, bookings: Mapping[str, Booking]) -> bool:
    """Money came and the provider also says that it refused it, or that it voided a payment made in time or grace.

    Money that reached our bank by another road, which people gave to the payment, is none that the provider refused.
    A mark is contradicted by any end without money, and by a receipt of less money, whatever else comes: nothing that
    arrives may lead out of a conflict.
    """
    receipts = list(_receipts(terms, attempt))
    kinds = {fact.kind for fact in attempt.facts}
    if any(receipt.fact.is_mark and bookings[receipt.fact.key].captured_minor for receipt in receipts):
        proofs = [each.fact for each in receipts if each.proved_minor(bookings[each.fact.key])]
        is_short = any(fact.amount_minor < terms.amount_minor for fact in proofs)
        if is_short or kinds & {FactKind.DECLINED, FactKind.EXPIRED, FactKind.VOIDED}:
            return True
    its_own = [receipt for receipt in receipts if not receipt.fact.is_assigned]
    refused = FactKind.DECLINED in kinds and bool(its_own)
    paid = any(receipt.is_wanted and terms.pays(receipt.fact.amount_minor) for receipt in its_own)
    return refused or (paid and FactKind.VOIDED in kinds)


def _unpaid_status(terms: IntentTerms, attempt: AttemptTerms, status: AttemptStatus) -> IntentStatus:
    is_over = status in _ENDS_WITHOUT_MONEY or attempt.outcome in _ENDED_BY_US
    if terms.is_canceled or (terms.cancel_requested_at is not None and is_over):
        return IntentStatus.CANCELED
    if attempt.outcome is AttemptStatus.ABANDONED or (attempt.is_unseen and status is AttemptStatus.VOIDED):
        # Ended by us and by no wish of the merchant's: the payer may pay in another way. The second is a QR whose
        # cancellation was done, and whose answer was lost, too.
        return IntentStatus.REQUIRES_PAYMENT_METHOD
    if status is AttemptStatus.PENDING:
        return IntentStatus.REQUIRES_ACTION if attempt.shows_action else IntentStatus.PROCESSING
    return _STATUS_WHILE_UNPAID[status]


def _qualifiers(
    terms: IntentTerms,
    receipts: Sequence[_Receipt],
    bookings: Mapping[str, Booking],
    captured_minor: int,
    held_minor: int,
) -> Iterable[Qualifier]:
    if any(receipt.fact.is_mark and bookings[receipt.fact.key].captured_minor for receipt in receipts):
        yield Qualifier.MARKED_MANUALLY
    receipts = [each for each in receipts if bookings[each.fact.key] != Booking()]
    if held_minor and (captured_minor or terms.is_paid_by_others):
        yield Qualifier.OVERPAID
    elif not captured_minor and any(receipt.in_time for receipt in receipts):
        yield Qualifier.PARTIALLY_PAID
    if not all(receipt.in_time for receipt in receipts):
        yield Qualifier.PAID_LATE
