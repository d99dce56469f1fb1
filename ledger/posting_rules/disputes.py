"""Disputes: a payer's bank questions a payment. Everything here records what a provider or a letter said.

All money goes by way of `dispute_hold`, so that whatever a dispute took or gave back is seen on that one account,
whichever came first, the notice or the withdrawal. `pending_until` says where the charge's money is: the charge's
`available_on` while it is pending, None once it is available. Where the merchant has less than is asked for, its
account goes below zero; the settlement run makes a debt of that.
"""

from datetime import date
from uuid import UUID

from ledger.chart_of_accounts import AccountKind
from ledger.journal import EntryKind, ExternalReference, JournalEntry
from ledger.posting_rules._postings import account, fee_postings, merchant_money, posting
from ledger.posting_rules.fees_and_tax import Fee

DISPUTE_FEES = "dispute"
"""Owner of the fee income account for fees on disputes."""


def dispute_held(
    *,
    key: UUID,
    merchant: str,
    amount_minor: int,
    currency: str,
    pending_until: date | None,
    effective_on: date,
    metadata: bytes,
    caller: str,
) -> JournalEntry:
    """A dispute was notified and the provider has not taken the money: Dr merchant's money, Cr dispute_hold."""
    held = posting(
        debit=merchant_money(merchant, currency, pending_until),
        credit=account(AccountKind.DISPUTE_HOLD, currency, merchant),
        amount_minor=amount_minor,
        available_on=pending_until,
    )
    return JournalEntry(
        key=key,
        kind=EntryKind.DISPUTE_HELD,
        effective_on=effective_on,
        postings=tuple(held),
        metadata=metadata,
        caller=caller,
    )


def dispute_released(
    *,
    key: UUID,
    merchant: str,
    amount_minor: int,
    currency: str,
    pending_until: date | None,
    effective_on: date,
    metadata: bytes,
    caller: str,
) -> JournalEntry:
    """The dispute ended without the provider taking the money: Dr dispute_hold, Cr merchant's money."""
    released = posting(
        debit=account(AccountKind.DISPUTE_HOLD, currency, merchant),
        credit=merchant_money(merchant, currency, pending_until),
        amount_minor=amount_minor,
        available_on=pending_until,
    )
    return JournalEntry(
        key=key,
        kind=EntryKind.DISPUTE_RELEASED,
        effective_on=effective_on,
        postings=tuple(released),
        metadata=metadata,
        caller=caller,
    )


def dispute_funds_withdrawn(
    *,
    key: UUID,
    provider: str,
    merchant: str,
    amount_minor: int,
    held_minor: int,
    currency: str,
    pending_until: date | None,
    effective_on: date,
    references: tuple[ExternalReference, ...],
    metadata: bytes,
    caller: str,
) -> JournalEntry:
    """The provider took the money back.

    | debit | credit | amount |
    |---|---|---|
    | merchant_pending or merchant_available | dispute_hold | what is not held yet |
    | dispute_hold | provider_receivable | all of it |

    `held_minor` is what this dispute holds of it already.
    """
    hold = account(AccountKind.DISPUTE_HOLD, currency, merchant)
    missing = posting(
        debit=merchant_money(merchant, currency, pending_until),
        credit=hold,
        amount_minor=amount_minor - held_minor,
        available_on=pending_until,
    )
    taken = posting(
        debit=hold, credit=account(AccountKind.PROVIDER_RECEIVABLE, currency, provider), amount_minor=amount_minor
    )
    return JournalEntry(
        key=key,
        kind=EntryKind.DISPUTE_FUNDS_WITHDRAWN,
        effective_on=effective_on,
        postings=(*missing, *taken),
        references=references,
        metadata=metadata,
        caller=caller,
    )


def dispute_funds_reinstated(
    *,
    key: UUID,
    provider: str,
    merchant: str,
    amount_minor: int,
    currency: str,
    pending_until: date | None,
    effective_on: date,
    references: tuple[ExternalReference, ...],
    metadata: bytes,
    caller: str,
) -> JournalEntry:
    """The dispute was won after the provider had taken the money.

    | debit | credit | amount |
    |---|---|---|
    | provider_receivable | dispute_hold | all of it |
    | dispute_hold | merchant_pending or merchant_available | all of it |
    """
    hold = account(AccountKind.DISPUTE_HOLD, currency, merchant)
    returned = posting(
        debit=account(AccountKind.PROVIDER_RECEIVABLE, currency, provider), credit=hold, amount_minor=amount_minor
    )
    given = posting(
        debit=hold,
        credit=merchant_money(merchant, currency, pending_until),
        amount_minor=amount_minor,
        available_on=pending_until,
    )
    return JournalEntry(
        key=key,
        kind=EntryKind.DISPUTE_FUNDS_REINSTATED,
        effective_on=effective_on,
        postings=(*returned, *given),
        references=references,
        metadata=metadata,
        caller=caller,
    )


def dispute_fee_charged(
    *,
    key: UUID,
    merchant: str,
    fee: Fee,
    currency: str,
    effective_on: date,
    metadata: bytes,
    caller: str,
) -> JournalEntry:
    """What the merchant pays for a dispute: Dr merchant_available, Cr fee_income and output_vat. Not given back."""
    available = account(AccountKind.MERCHANT_AVAILABLE, currency, merchant)
    return JournalEntry(
        key=key,
        kind=EntryKind.DISPUTE_FEE_CHARGED,
        effective_on=effective_on,
        postings=tuple(fee_postings(fee, paid_from=available, fees=DISPUTE_FEES)),
        metadata=metadata,
        caller=caller,
    )
