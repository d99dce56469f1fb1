"""Marks: an operator states how something ended whose outcome stayed unknown, and later others prove it or do not.

A mark creates no cash and no claim on a provider: its other side is `unidentified_receipts` of whoever will have to
prove it. Below zero that account holds what was credited to merchants without the money being seen, above zero what is
said to have been paid out without the payment being seen; each proof brings it back to nothing.
"""

from datetime import date
from uuid import UUID

from ledger.chart_of_accounts import AccountKind
from ledger.journal import EntryKind, ExternalReference, JournalEntry
from ledger.posting_rules._postings import account, fee_postings, moved, posting
from ledger.posting_rules.fees_and_tax import Fee
from ledger.posting_rules.payments import PAYMENT_FEES

PAYOUTS = "payouts"
"""Owner of the account on which marked payouts wait for the bank's statement."""


def payment_marked(
    *,
    key: UUID,
    provider: str,
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
    """A payment is held to have succeeded: Dr unidentified_receipts of the provider, Cr merchant_pending; fee and VAT.

    Refunds and disputes draw on this entry, up to the gross, as on a capture.
    """
    pending = account(AccountKind.MERCHANT_PENDING, currency, merchant)
    gross = posting(
        debit=account(AccountKind.UNIDENTIFIED_RECEIPTS, currency, provider),
        credit=pending,
        amount_minor=amount_minor,
        available_on=available_on,
    )
    return JournalEntry(
        key=key,
        kind=EntryKind.PAYMENT_MARKED,
        effective_on=effective_on,
        postings=(*gross, *fee_postings(fee, paid_from=pending, fees=PAYMENT_FEES, available_on=available_on)),
        references=references,
        drawable_minor=amount_minor,
        metadata=metadata,
        caller=caller,
    )


def payment_mark_proved(
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
    """The money of a marked payment came after all: Dr provider_receivable, Cr unidentified_receipts of it."""
    return moved(
        EntryKind.PAYMENT_MARK_PROVED,
        key=key,
        debit=account(AccountKind.PROVIDER_RECEIVABLE, currency, provider),
        credit=account(AccountKind.UNIDENTIFIED_RECEIPTS, currency, provider),
        amount_minor=amount_minor,
        effective_on=effective_on,
        references=references,
        metadata=metadata,
        caller=caller,
    )


def refund_marked(
    *,
    key: UUID,
    provider: str,
    merchant: str,
    amount_minor: int,
    currency: str,
    effective_on: date,
    references: tuple[ExternalReference, ...],
    metadata: bytes,
    caller: str,
) -> JournalEntry:
    """A refund is held to have been made: Dr refunds_payable, Cr unidentified_receipts of the provider."""
    return moved(
        EntryKind.REFUND_MARKED,
        key=key,
        debit=account(AccountKind.REFUNDS_PAYABLE, currency, merchant),
        credit=account(AccountKind.UNIDENTIFIED_RECEIPTS, currency, provider),
        amount_minor=amount_minor,
        effective_on=effective_on,
        references=references,
        metadata=metadata,
        caller=caller,
    )


def refund_mark_proved(
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
    """The provider did make a marked refund: Dr unidentified_receipts of the provider, Cr provider_receivable."""
    return moved(
        EntryKind.REFUND_MARK_PROVED,
        key=key,
        debit=account(AccountKind.UNIDENTIFIED_RECEIPTS, currency, provider),
        credit=account(AccountKind.PROVIDER_RECEIVABLE, currency, provider),
        amount_minor=amount_minor,
        effective_on=effective_on,
        references=references,
        metadata=metadata,
        caller=caller,
    )


def refund_mark_undone(
    *,
    key: UUID,
    provider: str,
    merchant: str,
    amount_minor: int,
    currency: str,
    effective_on: date,
    references: tuple[ExternalReference, ...],
    metadata: bytes,
    caller: str,
) -> JournalEntry:
    """The provider did not make a marked refund: Dr unidentified_receipts, Cr refunds_payable; then it has failed."""
    return moved(
        EntryKind.REFUND_MARK_UNDONE,
        key=key,
        debit=account(AccountKind.UNIDENTIFIED_RECEIPTS, currency, provider),
        credit=account(AccountKind.REFUNDS_PAYABLE, currency, merchant),
        amount_minor=amount_minor,
        effective_on=effective_on,
        references=references,
        metadata=metadata,
        caller=caller,
    )


def payout_marked(
    *, key: UUID, merchant: str, amount_minor: int, currency: str, effective_on: date, metadata: bytes, caller: str
) -> JournalEntry:
    """A payout is held to have been paid: Dr payouts_in_transit, Cr unidentified_receipts of the payouts."""
    return moved(
        EntryKind.PAYOUT_MARKED,
        key=key,
        debit=account(AccountKind.PAYOUTS_IN_TRANSIT, currency, merchant),
        credit=account(AccountKind.UNIDENTIFIED_RECEIPTS, currency, PAYOUTS),
        amount_minor=amount_minor,
        effective_on=effective_on,
        references=(),
        metadata=metadata,
        caller=caller,
    )


def payout_mark_proved(
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
    """The bank statement shows the debit of a marked payout: Dr unidentified_receipts of the payouts, Cr bank."""
    return moved(
        EntryKind.PAYOUT_MARK_PROVED,
        key=key,
        debit=account(AccountKind.UNIDENTIFIED_RECEIPTS, currency, PAYOUTS),
        credit=account(AccountKind.BANK, currency, bank),
        amount_minor=amount_minor,
        effective_on=effective_on,
        references=references,
        metadata=metadata,
        caller=caller,
    )
