"""From booked receipts to journal entries: which posting rule, under which key, on which date.

Keys derive from the fact's or refund's row id, so a fact can be posted once, whoever retries.
"""

from collections.abc import Iterable
from datetime import date
from typing import Final
from uuid import UUID

import msgspec

from gateway.foundation.clock import business_date_of
from gateway.foundation.ids import entry_key
from gateway.payments.records import AttemptRow, FactRow, IntentRow, RefundRow
from gateway.providers.base import FactKind, FactSource
from ledger.business_days import thai_banks
from ledger.journal import ExternalReference, JournalEntry
from ledger.posting_rules.fees_and_tax import Fee, fee_on
from ledger.posting_rules.marks import payment_mark_proved, payment_marked
from ledger.posting_rules.payments import payer_money_accepted, payer_money_held, payment_captured
from ledger.posting_rules.receipts import receipt_captured, receipt_held, receipt_proved
from ledger.posting_rules.refunds import refund_reserved

CALLER: Final = "system"
INTENT_SCHEME: Final = "payment_intent"
REFUND_SCHEME: Final = "refund"


def available_on(fact: FactRow, attempt: AttemptRow) -> date:
    """Business date on which money paid by this fact becomes available: T+n of the merchant's terms."""
    return thai_banks().add(business_date_of(fact.occurred_at), attempt.settlement_days)


def pending_until(day: date, today: date) -> date | None:
    """Where money that becomes available on a day is: the day while it is pending, None once it is available."""
    return day if today < day else None


def entries_of_receipt(fact: FactRow, intent: IntentRow, attempt: AttemptRow) -> Iterable[JournalEntry]:
    """The entries of money that came: the captured part with the merchant's fee, and the part held for the payer.

    Where people said that it came, the captured part is a mark; money that proves a mark is neither of the two.
    """
    effective_on = business_date_of(fact.occurred_at)
    references = references_of(fact, ExternalReference(INTENT_SCHEME, intent.intent_id))
    metadata = metadata_of(attempt=attempt.attempt_id, fact=fact.fact_id)
    if fact.source is FactSource.RECEIPT:
        yield from _entries_of_assigned(fact, intent, attempt)
        return
    if fact.captured_minor:
        rule = payment_marked if is_mark(fact) else payment_captured
        yield rule(
            key=capture_key(fact),
            provider=fact.provider,
            merchant=intent.account_id,
            amount_minor=fact.captured_minor,
            currency=fact.currency,
            fee=_fee(fact, attempt, effective_on),
            available_on=available_on(fact, attempt),
            effective_on=effective_on,
            references=references,
            metadata=metadata,
            caller=CALLER,
        )
    if fact.held_minor:
        yield payer_money_held(
            key=entry_key(fact.fact_id, "held"),
            provider=fact.provider,
            intent=intent.intent_id,
            amount_minor=fact.held_minor,
            currency=fact.currency,
            effective_on=effective_on,
            references=references,
            metadata=metadata,
            caller=CALLER,
        )
    if proved_minor(fact):
        yield payment_mark_proved(
            key=entry_key(fact.fact_id, "proved"),
            provider=fact.provider,
            amount_minor=proved_minor(fact),
            currency=fact.currency,
            effective_on=effective_on,
            references=references,
            metadata=metadata,
            caller=CALLER,
        )


def _entries_of_assigned(fact: FactRow, intent: IntentRow, attempt: AttemptRow) -> Iterable[JournalEntry]:
    """As of any receipt, but the money is at our bank and was held as nobody's."""
    effective_on = business_date_of(fact.recorded_at)
    references = references_of(fact, ExternalReference(INTENT_SCHEME, intent.intent_id))
    metadata = metadata_of(attempt=attempt.attempt_id, fact=fact.fact_id)
    if fact.captured_minor:
        yield receipt_captured(
            key=capture_key(fact),
            merchant=intent.account_id,
            amount_minor=fact.captured_minor,
            currency=fact.currency,
            fee=_fee(fact, attempt, effective_on),
            available_on=available_on(fact, attempt),
            effective_on=effective_on,
            references=references,
            metadata=metadata,
            caller=CALLER,
        )
    if fact.held_minor:
        yield receipt_held(
            key=entry_key(fact.fact_id, "held"),
            intent=intent.intent_id,
            amount_minor=fact.held_minor,
            currency=fact.currency,
            effective_on=effective_on,
            references=references,
            metadata=metadata,
            caller=CALLER,
        )
    if proved_minor(fact):
        yield receipt_proved(
            key=entry_key(fact.fact_id, "proved"),
            provider=fact.provider,
            amount_minor=proved_minor(fact),
            currency=fact.currency,
            effective_on=effective_on,
            references=references,
            metadata=metadata,
            caller=CALLER,
        )


def entry_of_acceptance(
    receipt: FactRow,
    intent: IntentRow,
    attempt: AttemptRow,
    *,
    amount_minor: int,
    available_on: date,
    accepted_on: date,
    caller: str,
) -> JournalEntry:
    """The merchant takes all that a receipt left held and no dispute took; the fee is due now.

    The fixed part of the fee is due once a receipt: not where the receipt paid already and only its excess was held.
    """
    fixed_minor = 0 if receipt.held_minor < receipt.amount_minor else attempt.fee_fixed_minor
    return payer_money_accepted(
        key=accepted_key(receipt.fact_id),
        held_key=entry_key(receipt.fact_id, "held"),
        merchant=intent.account_id,
        intent=intent.intent_id,
        amount_minor=amount_minor,
        currency=receipt.currency,
        fee=fee_on(amount_minor, rate_ppm=attempt.fee_rate_ppm, fixed_minor=fixed_minor, effective_on=accepted_on),
        available_on=available_on,
        effective_on=accepted_on,
        references=(ExternalReference(INTENT_SCHEME, intent.intent_id),),
        metadata=metadata_of(attempt=attempt.attempt_id, fact=receipt.fact_id),
        caller=caller,
    )


def _fee(fact: FactRow, attempt: AttemptRow, effective_on: date) -> Fee:
    return fee_on(
        fact.captured_minor,
        rate_ppm=attempt.fee_rate_ppm,
        fixed_minor=attempt.fee_fixed_minor,
        effective_on=effective_on,
    )


def is_mark(fact: FactRow) -> bool:
    """Whether people said it, of a charge or refund whose outcome stayed unknown, and not the provider."""
    return fact.source is FactSource.OPERATOR and fact.dispute_id is None


def proved_minor(fact: FactRow) -> int:
    """What of a receipt proved a mark: it was the merchant's before it came, see `folding.py`."""
    if fact.kind is not FactKind.CAPTURED or is_mark(fact):
        return 0
    return fact.amount_minor - fact.captured_minor - fact.held_minor


def reserve_entry(refund: RefundRow) -> JournalEntry:
    """The reserve of a refund; all of it from the refund's own row, so that every retry is the same entry."""
    return refund_reserved(
        key=entry_key(refund.refund_id, "reserve"),
        captured_key=refund.capture_key,
        merchant=refund.account_id,
        amount_minor=refund.amount_minor,
        currency=refund.currency,
        pending_until=refund.reserve_pending_until,
        effective_on=refund.reserve_effective_on,
        metadata=metadata_of(refund=refund.refund_id, intent=refund.intent_id),
        caller=refund.account_id,
    )


def capture_key(fact: FactRow) -> UUID:
    """Ledger key of the capture entry that a receipt makes; refunds draw on it."""
    return entry_key(fact.fact_id, "captured")


def accepted_key(fact_id: str) -> UUID:
    """Ledger key of the entry by which a merchant took held money; refunds draw on it."""
    return entry_key(fact_id, "accepted")


def references_of(fact: FactRow, *others: ExternalReference) -> tuple[ExternalReference, ...]:
    """What the provider calls the movement, by which statements find it, and what we call it."""
    names = dict.fromkeys((fact.provider_transaction_id, fact.provider_reference))
    return (*(ExternalReference(fact.provider, name) for name in names), *others)


def metadata_of(**fields: str) -> bytes:
    """What an entry says of its cause: ids of ours, nothing of anybody's person."""
    return msgspec.json.encode(fields, order="sorted")
