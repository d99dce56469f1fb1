"""Settlement: from what providers owe us to money in the bank, and from pending to available.

Provider and bank lines are facts: these rules record.
"""

from datetime import date
from uuid import UUID

from ledger.chart_of_accounts import AccountKind
from ledger.journal import EntryKind, ExternalReference, JournalEntry
from ledger.posting_rules._postings import account, moved, posting
from ledger.posting_rules.fees_and_tax import Fee


def became_available(
    *, key: UUID, merchant: str, amount_minor: int, currency: str, available_on: date, effective_on: date, caller: str
) -> JournalEntry:
    """What is left of a day's pending money becomes available.

    `amount_minor` is the remaining sum of that day and not zero. It is negative where more was taken back than
    the day brought; then available money covers the day, so the day's sum always ends at zero.
    """
    pending = account(AccountKind.MERCHANT_PENDING, currency, merchant)
    available = account(AccountKind.MERCHANT_AVAILABLE, currency, merchant)
    debit, credit = (pending, available) if amount_minor > 0 else (available, pending)
    return JournalEntry(
        key=key,
        kind=EntryKind.BECAME_AVAILABLE,
        effective_on=effective_on,
        postings=tuple(posting(debit=debit, credit=credit, amount_minor=abs(amount_minor), available_on=available_on)),
        caller=caller,
    )


def merchant_debt_recognised(
    *, key: UUID, merchant: str, amount_minor: int, currency: str, effective_on: date, caller: str
) -> JournalEntry:
    """What a merchant's available money is below zero is owed to us: Dr merchant_receivable, Cr merchant_available.

    `amount_minor` is above zero. A liability below zero would hide the claim among what we owe to others.
    """
    return moved(
        EntryKind.MERCHANT_DEBT_RECOGNISED,
        debit=account(AccountKind.MERCHANT_RECEIVABLE, currency, merchant),
        credit=account(AccountKind.MERCHANT_AVAILABLE, currency, merchant),
        key=key,
        amount_minor=amount_minor,
        effective_on=effective_on,
        caller=caller,
    )


def merchant_debt_recovered(
    *, key: UUID, merchant: str, amount_minor: int, currency: str, effective_on: date, caller: str
) -> JournalEntry:
    """New money pays what the merchant owes: Dr merchant_available, Cr merchant_receivable.

    `amount_minor` is above zero and at most what is owed.
    """
    return moved(
        EntryKind.MERCHANT_DEBT_RECOVERED,
        debit=account(AccountKind.MERCHANT_AVAILABLE, currency, merchant),
        credit=account(AccountKind.MERCHANT_RECEIVABLE, currency, merchant),
        key=key,
        amount_minor=amount_minor,
        effective_on=effective_on,
        caller=caller,
    )


def provider_settled(
    *,
    key: UUID,
    provider: str,
    bank: str,
    received_minor: int,
    fee: Fee,
    currency: str,
    effective_on: date,
    references: tuple[ExternalReference, ...],
    metadata: bytes,
    caller: str,
) -> JournalEntry:
    """The provider's transfer is on the bank statement; its fee and VAT were kept back.

    | debit | credit | amount |
    |---|---|---|
    | bank | provider_receivable | received |
    | provider_fee_expense | provider_receivable | fee |
    | input_vat | provider_receivable | VAT on the fee |

    So the receivable falls by gross payments less refunds, exactly what the transfer paid for.
    """
    receivable = account(AccountKind.PROVIDER_RECEIVABLE, currency, provider)
    return JournalEntry(
        key=key,
        kind=EntryKind.PROVIDER_SETTLED,
        effective_on=effective_on,
        postings=(
            *posting(debit=account(AccountKind.BANK, currency, bank), credit=receivable, amount_minor=received_minor),
            *posting(
                debit=account(AccountKind.PROVIDER_FEE_EXPENSE, currency, provider),
                credit=receivable,
                amount_minor=fee.amount_minor,
            ),
            *posting(debit=account(AccountKind.INPUT_VAT, currency), credit=receivable, amount_minor=fee.vat_minor),
        ),
        references=references,
        metadata=metadata,
        caller=caller,
    )


def provider_fee_charged(
    *,
    key: UUID,
    provider: str,
    bank: str,
    fee: Fee,
    currency: str,
    effective_on: date,
    references: tuple[ExternalReference, ...],
    metadata: bytes,
    caller: str,
) -> JournalEntry:
    """The provider took its fee and VAT from our bank account: Dr expense and input VAT, Cr bank."""
    paid_from = account(AccountKind.BANK, currency, bank)
    return JournalEntry(
        key=key,
        kind=EntryKind.PROVIDER_FEE_CHARGED,
        effective_on=effective_on,
        postings=(
            *posting(
                debit=account(AccountKind.PROVIDER_FEE_EXPENSE, currency, provider),
                credit=paid_from,
                amount_minor=fee.amount_minor,
            ),
            *posting(debit=account(AccountKind.INPUT_VAT, currency), credit=paid_from, amount_minor=fee.vat_minor),
        ),
        references=references,
        metadata=metadata,
        caller=caller,
    )
