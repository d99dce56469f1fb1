"""From what is known of a dispute to its journal entries: which posting rule, under which key, on which date."""

from datetime import date

from gateway.foundation.clock import business_date_of
from gateway.foundation.ids import entry_key
from gateway.payments.dispute_records import DisputeRow
from gateway.payments.entries import CALLER, INTENT_SCHEME, metadata_of
from gateway.payments.records import FactRow
from ledger.journal import ExternalReference, JournalEntry
from ledger.posting_rules.disputes import (
    PayerShare,
    dispute_fee_charged,
    dispute_funds_reinstated,
    dispute_funds_withdrawn,
    dispute_held,
    dispute_released,
)
from ledger.posting_rules.fees_and_tax import fee_on

DISPUTE_SCHEME = "dispute"


def held_entry(
    fact: FactRow, dispute: DisputeRow, amount_minor: int, pending_until: date | None, payer: PayerShare
) -> JournalEntry:
    """The dispute holds money from this fact on; `pending_until`: where the charge's money is; `payer`: whose part."""
    return dispute_held(
        key=entry_key(fact.fact_id, "held"),
        provider=dispute.provider,
        merchant=dispute.account_id,
        amount_minor=amount_minor,
        currency=dispute.currency,
        pending_until=pending_until,
        effective_on=business_date_of(fact.occurred_at),
        metadata=_metadata(fact, dispute),
        caller=CALLER,
        payer=payer,
    )


def released_entry(
    fact: FactRow, dispute: DisputeRow, amount_minor: int, pending_until: date | None, payer: PayerShare
) -> JournalEntry:
    """The dispute holds nothing from this fact on."""
    return dispute_released(
        key=entry_key(fact.fact_id, "released"),
        provider=dispute.provider,
        merchant=dispute.account_id,
        amount_minor=amount_minor,
        currency=dispute.currency,
        pending_until=pending_until,
        effective_on=business_date_of(fact.occurred_at),
        metadata=_metadata(fact, dispute),
        caller=CALLER,
        payer=payer,
    )


def withdrawn_entry(
    fact: FactRow, dispute: DisputeRow, held_minor: int, pending_until: date | None, payer: PayerShare
) -> JournalEntry:
    """The provider took the money; `held_minor` of it is held already."""
    return dispute_funds_withdrawn(
        key=entry_key(fact.fact_id, "withdrawn"),
        provider=dispute.provider,
        merchant=dispute.account_id,
        amount_minor=fact.amount_minor,
        held_minor=held_minor,
        currency=dispute.currency,
        pending_until=pending_until,
        effective_on=business_date_of(fact.occurred_at),
        references=_references(fact, dispute),
        metadata=_metadata(fact, dispute),
        caller=CALLER,
        payer=payer,
    )


def reinstated_entry(fact: FactRow, dispute: DisputeRow, pending_until: date | None, payer: PayerShare) -> JournalEntry:
    """The provider gives back what it took."""
    return dispute_funds_reinstated(
        key=entry_key(fact.fact_id, "reinstated"),
        provider=dispute.provider,
        merchant=dispute.account_id,
        amount_minor=fact.amount_minor,
        currency=dispute.currency,
        pending_until=pending_until,
        effective_on=business_date_of(fact.occurred_at),
        references=_references(fact, dispute),
        metadata=_metadata(fact, dispute),
        caller=CALLER,
        payer=payer,
    )


def fee_entry(fact: FactRow, dispute: DisputeRow, fee_minor: int) -> JournalEntry:
    """The merchant's fee for the dispute, once; the key is the dispute's own."""
    effective_on = business_date_of(fact.occurred_at)
    return dispute_fee_charged(
        key=entry_key(dispute.dispute_id, "fee"),
        merchant=dispute.account_id,
        fee=fee_on(0, rate_ppm=0, fixed_minor=fee_minor, effective_on=effective_on),
        currency=dispute.currency,
        effective_on=effective_on,
        metadata=metadata_of(dispute=dispute.dispute_id, intent=dispute.intent_id),
        caller=CALLER,
    )


def _metadata(fact: FactRow, dispute: DisputeRow) -> bytes:
    return metadata_of(dispute=dispute.dispute_id, intent=dispute.intent_id, fact=fact.fact_id)


def _references(fact: FactRow, dispute: DisputeRow) -> tuple[ExternalReference, ...]:
    """By the dispute's id the provider's statement finds the movement, whatever the stage."""
    names = dict.fromkeys((dispute.provider_dispute_id, fact.provider_transaction_id))
    return (
        *(ExternalReference(dispute.provider, name) for name in names),
        ExternalReference(DISPUTE_SCHEME, dispute.dispute_id),
        ExternalReference(INTENT_SCHEME, dispute.intent_id),
    )
