"""Refunds: reserved first, then done or given back.

`pending_until` says where the charge's money is: the charge's `available_on` while it is pending, None once it is
available. The floor of zero holds for the merchant's account as a whole; the cap of the capture entry – not the
balance – makes a second racing refund impossible.
"""

from datetime import date
from uuid import UUID

from ledger.chart_of_accounts import AccountKind
from ledger.journal import Draw, EntryKind, ExternalReference, JournalEntry
from ledger.posting_rules._postings import account, merchant_money, posting


def refund_reserved(
    *,
    key: UUID,
    captured_key: UUID,
    merchant: str,
    amount_minor: int,
    currency: str,
    pending_until: date | None,
    effective_on: date,
    metadata: bytes,
    caller: str,
) -> JournalEntry:
    """A refund was asked for: Dr merchant_pending or merchant_available, Cr refunds_payable. Authorising.

    Refused with `exceeds_original` beyond what was captured, with `below_floor` beyond what the merchant has.
    """
    reserved = posting(
        debit=merchant_money(merchant, currency, pending_until),
        credit=account(AccountKind.REFUNDS_PAYABLE, currency, merchant),
        amount_minor=amount_minor,
        available_on=pending_until,
    )
    return JournalEntry(
        key=key,
        kind=EntryKind.REFUND_RESERVED,
        effective_on=effective_on,
        postings=tuple(reserved),
        draw=Draw(original_key=captured_key, amount_minor=amount_minor),
        metadata=metadata,
        caller=caller,
    )


def refund_succeeded(
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
    """The provider gave the money back to the payer: Dr refunds_payable, Cr provider_receivable."""
    done = posting(
        debit=account(AccountKind.REFUNDS_PAYABLE, currency, merchant),
        credit=account(AccountKind.PROVIDER_RECEIVABLE, currency, provider),
        amount_minor=amount_minor,
    )
    return JournalEntry(
        key=key,
        kind=EntryKind.REFUND_SUCCEEDED,
        effective_on=effective_on,
        postings=tuple(done),
        references=references,
        metadata=metadata,
        caller=caller,
    )


def refund_paid(
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
    """The bank statement shows the transfer of a refund that no provider makes: Dr refunds_payable, Cr bank."""
    paid = posting(
        debit=account(AccountKind.REFUNDS_PAYABLE, currency, merchant),
        credit=account(AccountKind.BANK, currency, bank),
        amount_minor=amount_minor,
    )
    return JournalEntry(
        key=key,
        kind=EntryKind.REFUND_PAID,
        effective_on=effective_on,
        postings=tuple(paid),
        references=references,
        metadata=metadata,
        caller=caller,
    )


def refund_came_back(
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
    """The payer's bank sent the transfer back: Dr bank, Cr refunds_payable. Posted together with `refund_failed`."""
    back = posting(
        debit=account(AccountKind.BANK, currency, bank),
        credit=account(AccountKind.REFUNDS_PAYABLE, currency, merchant),
        amount_minor=amount_minor,
    )
    return JournalEntry(
        key=key,
        kind=EntryKind.REFUND_CAME_BACK,
        effective_on=effective_on,
        postings=tuple(back),
        references=references,
        metadata=metadata,
        caller=caller,
    )


def refund_failed(
    *,
    key: UUID,
    captured_key: UUID,
    merchant: str,
    amount_minor: int,
    currency: str,
    pending_until: date | None,
    effective_on: date,
    metadata: bytes,
    caller: str,
) -> JournalEntry:
    """The refund came to nothing: the merchant has the money again and the capture may be drawn on again.

    Dr refunds_payable, Cr merchant_pending or merchant_available – where the charge's money is by now.
    """
    back = posting(
        debit=account(AccountKind.REFUNDS_PAYABLE, currency, merchant),
        credit=merchant_money(merchant, currency, pending_until),
        amount_minor=amount_minor,
        available_on=pending_until,
    )
    return JournalEntry(
        key=key,
        kind=EntryKind.REFUND_FAILED,
        effective_on=effective_on,
        postings=tuple(back),
        draw=Draw(original_key=captured_key, amount_minor=-amount_minor),
        metadata=metadata,
        caller=caller,
    )
