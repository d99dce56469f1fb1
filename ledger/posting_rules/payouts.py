"""Payouts: a merchant's available money on its way to the merchant's bank account."""

from datetime import date
from uuid import UUID

from ledger.chart_of_accounts import AccountKind
from ledger.journal import EntryKind, ExternalReference, JournalEntry
from ledger.posting_rules._postings import account, fee_postings, moved, posting
from ledger.posting_rules.fees_and_tax import Fee

PAYOUT_FEES = "payout"
"""Owner of the fee income account for fees on payouts."""


def payout_requested(
    *,
    key: UUID,
    merchant: str,
    amount_minor: int,
    currency: str,
    fee: Fee,
    effective_on: date,
    references: tuple[ExternalReference, ...] = (),
    metadata: bytes,
    caller: str,
) -> JournalEntry:
    """A payout is reserved: Dr merchant_available, Cr payouts_in_transit (and fee with VAT). Authorising.

    Refused with `below_floor` where the merchant has less than payout, fee and VAT. The references are what the bank
    statement will call the payout.
    """
    available = account(AccountKind.MERCHANT_AVAILABLE, currency, merchant)
    return JournalEntry(
        key=key,
        kind=EntryKind.PAYOUT_REQUESTED,
        effective_on=effective_on,
        postings=(
            *posting(
                debit=available,
                credit=account(AccountKind.PAYOUTS_IN_TRANSIT, currency, merchant),
                amount_minor=amount_minor,
            ),
            *fee_postings(fee, paid_from=available, fees=PAYOUT_FEES),
        ),
        references=references,
        drawable_minor=amount_minor,
        metadata=metadata,
        caller=caller,
    )


def payout_paid(
    *,
    key: UUID,
    merchant: str,
    bank: str,
    amount_minor: int,
    currency: str,
    effective_on: date,
    references: tuple[ExternalReference, ...],
    metadata: bytes,
    caller: str,
) -> JournalEntry:
    """The bank statement shows the debit: Dr payouts_in_transit, Cr bank."""
    return moved(
        EntryKind.PAYOUT_PAID,
        key=key,
        debit=account(AccountKind.PAYOUTS_IN_TRANSIT, currency, merchant),
        credit=account(AccountKind.BANK, currency, bank),
        amount_minor=amount_minor,
        effective_on=effective_on,
        references=references,
        metadata=metadata,
        caller=caller,
    )


def payout_rejected(
    *, key: UUID, merchant: str, amount_minor: int, currency: str, effective_on: date, metadata: bytes, caller: str
) -> JournalEntry:
    """The bank refused the payout before any debit: Dr payouts_in_transit, Cr merchant_available."""
    return moved(
        EntryKind.PAYOUT_REJECTED,
        key=key,
        debit=account(AccountKind.PAYOUTS_IN_TRANSIT, currency, merchant),
        credit=account(AccountKind.MERCHANT_AVAILABLE, currency, merchant),
        amount_minor=amount_minor,
        effective_on=effective_on,
        references=(),
        metadata=metadata,
        caller=caller,
    )


def payout_returned(
    *,
    key: UUID,
    merchant: str,
    bank: str,
    amount_minor: int,
    currency: str,
    effective_on: date,
    references: tuple[ExternalReference, ...],
    metadata: bytes,
    caller: str,
) -> JournalEntry:
    """A paid payout came back to our bank account: Dr bank, Cr merchant_available."""
    return moved(
        EntryKind.PAYOUT_RETURNED,
        key=key,
        debit=account(AccountKind.BANK, currency, bank),
        credit=account(AccountKind.MERCHANT_AVAILABLE, currency, merchant),
        amount_minor=amount_minor,
        effective_on=effective_on,
        references=references,
        metadata=metadata,
        caller=caller,
    )
