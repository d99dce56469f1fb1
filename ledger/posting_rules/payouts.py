"""Payouts: a merchant's available money on its way to the merchant's bank account."""

from datetime import date
from uuid import UUID

from ledger.chart_of_accounts import AccountKind
from ledger.journal import EntryKind, ExternalReference, JournalEntry
from ledger.posting_rules._postings import account, fee_postings, posting
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
    return _moved(
        EntryKind.PAYOUT_PAID,
        key=key,
        debit=(AccountKind.PAYOUTS_IN_TRANSIT, merchant),
        credit=(AccountKind.BANK, bank),
        amount_minor=amount_minor,
        currency=currency,
        effective_on=effective_on,
        references=references,
        metadata=metadata,
        caller=caller,
    )


def payout_rejected(
    *, key: UUID, merchant: str, amount_minor: int, currency: str, effective_on: date, metadata: bytes, caller: str
) -> JournalEntry:
    """The bank refused the payout before any debit: Dr payouts_in_transit, Cr merchant_available."""
    return _moved(
        EntryKind.PAYOUT_REJECTED,
        key=key,
        debit=(AccountKind.PAYOUTS_IN_TRANSIT, merchant),
        credit=(AccountKind.MERCHANT_AVAILABLE, merchant),
        amount_minor=amount_minor,
        currency=currency,
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
    return _moved(
        EntryKind.PAYOUT_RETURNED,
        key=key,
        debit=(AccountKind.BANK, bank),
        credit=(AccountKind.MERCHANT_AVAILABLE, merchant),
        amount_minor=amount_minor,
        currency=currency,
        effective_on=effective_on,
        references=references,
        metadata=metadata,
        caller=caller,
    )


def _moved(
    kind: EntryKind,
    *,
    key: UUID,
    debit: tuple[AccountKind, str],
    credit: tuple[AccountKind, str],
    amount_minor: int,
    currency: str,
    effective_on: date,
    references: tuple[ExternalReference, ...],
    metadata: bytes,
    caller: str,
) -> JournalEntry:
    return JournalEntry(
        key=key,
        kind=kind,
        effective_on=effective_on,
        postings=tuple(
            posting(
                debit=account(debit[0], currency, debit[1]),
                credit=account(credit[0], currency, credit[1]),
                amount_minor=amount_minor,
            )
        ),
        references=references,
        metadata=metadata,
        caller=caller,
    )
