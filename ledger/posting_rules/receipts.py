"""Receipts that nobody can place: a credit on our bank account that belongs to no payment, until a person says whose.

All of them wait on one account, `unidentified_receipts` of the bank; each assignment takes one of them, whole.
"""

from datetime import date
from uuid import UUID

from ledger.chart_of_accounts import AccountKind
from ledger.journal import AccountRef, EntryKind, ExternalReference, JournalEntry
from ledger.posting_rules._postings import account, fee_postings, moved, posting
from ledger.posting_rules.fees_and_tax import Fee
from ledger.posting_rules.payments import PAYMENT_FEES

AT_BANK = "bank"
"""Owner of the account on which credits of our bank accounts wait for somebody to know whose they are."""


def unidentified_credit(
    *,
    key: UUID,
    bank: str,
    amount_minor: int,
    currency: str,
    effective_on: date,
    references: tuple[ExternalReference, ...],
    metadata: bytes,
    caller: str,
) -> JournalEntry:
    """Money came to our bank account and nobody knows whose it is: Dr bank, Cr unidentified_receipts."""
    return moved(
        EntryKind.UNIDENTIFIED_CREDIT,
        key=key,
        debit=account(AccountKind.BANK, currency, bank),
        credit=_waiting(currency),
        amount_minor=amount_minor,
        effective_on=effective_on,
        references=references,
        metadata=metadata,
        caller=caller,
    )


def receipt_captured(
    *,
    key: UUID,
    merchant: str,
    amount_minor: int,
    currency: str,
    fee: Fee,
    available_on: date,
    effective_on: date,
    references: tuple[ExternalReference, ...],
    metadata: bytes,
    caller: str,
) -> JournalEntry:
    """It pays a payment: Dr unidentified_receipts, Cr merchant_pending; fee and VAT. Refunds draw on this entry."""
    pending = account(AccountKind.MERCHANT_PENDING, currency, merchant)
    gross = posting(debit=_waiting(currency), credit=pending, amount_minor=amount_minor, available_on=available_on)
    return JournalEntry(
        key=key,
        kind=EntryKind.RECEIPT_IDENTIFIED,
        effective_on=effective_on,
        postings=(*gross, *fee_postings(fee, paid_from=pending, fees=PAYMENT_FEES, available_on=available_on)),
        references=references,
        drawable_minor=amount_minor,
        metadata=metadata,
        caller=caller,
    )


def receipt_held(
    *,
    key: UUID,
    intent: str,
    amount_minor: int,
    currency: str,
    effective_on: date,
    references: tuple[ExternalReference, ...],
    metadata: bytes,
    caller: str,
) -> JournalEntry:
    """It belongs to a payment and is not the merchant's: Dr unidentified_receipts, Cr payer_refundable of that intent.

    Returning it to the payer draws on this entry.
    """
    return _identified(
        account(AccountKind.PAYER_REFUNDABLE, currency, intent),
        key=key,
        amount_minor=amount_minor,
        effective_on=effective_on,
        references=references,
        drawable_minor=amount_minor,
        metadata=metadata,
        caller=caller,
    )


def receipt_proved(
    *,
    key: UUID,
    provider: str,
    amount_minor: int,
    currency: str,
    effective_on: date,
    references: tuple[ExternalReference, ...],
    metadata: bytes,
    caller: str,
) -> JournalEntry:
    """It is the money of a marked payment: Dr unidentified_receipts of the bank, Cr those of the mark."""
    return _identified(
        account(AccountKind.UNIDENTIFIED_RECEIPTS, currency, provider),
        key=key,
        amount_minor=amount_minor,
        effective_on=effective_on,
        references=references,
        metadata=metadata,
        caller=caller,
    )


def receipt_credited(
    *,
    key: UUID,
    merchant: str,
    amount_minor: int,
    currency: str,
    effective_on: date,
    references: tuple[ExternalReference, ...],
    metadata: bytes,
    caller: str,
) -> JournalEntry:
    """It is a merchant's, without a payment: Dr unidentified_receipts, Cr merchant_available. No fee."""
    return _identified(
        account(AccountKind.MERCHANT_AVAILABLE, currency, merchant),
        key=key,
        amount_minor=amount_minor,
        effective_on=effective_on,
        references=references,
        metadata=metadata,
        caller=caller,
    )


def _waiting(currency: str) -> AccountRef:
    return account(AccountKind.UNIDENTIFIED_RECEIPTS, currency, AT_BANK)


def _identified(
    target: AccountRef,
    *,
    key: UUID,
    amount_minor: int,
    effective_on: date,
    references: tuple[ExternalReference, ...],
    metadata: bytes,
    caller: str,
    drawable_minor: int | None = None,
) -> JournalEntry:
    return JournalEntry(
        key=key,
        kind=EntryKind.RECEIPT_IDENTIFIED,
        effective_on=effective_on,
        postings=tuple(posting(debit=_waiting(target.currency), credit=target, amount_minor=amount_minor)),
        references=references,
        drawable_minor=drawable_minor,
        metadata=metadata,
        caller=caller,
    )
