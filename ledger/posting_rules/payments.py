"""Payments: money that a provider says it received from a payer.

An authorisation is a fact, not an entry. Every rule here records; none can be refused by a balance.
"""

from datetime import date
from uuid import UUID

from ledger.chart_of_accounts import AccountKind
from ledger.journal import Draw, EntryKind, ExternalReference, JournalEntry
from ledger.posting_rules._postings import account, fee_postings, payer_money, posting
from ledger.posting_rules.fees_and_tax import Fee

PAYMENT_FEES = "payment"
"""Owner of the fee income account for fees on payments."""


def payment_captured(
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
    """A payment was captured: the provider owes us the gross, we owe the merchant the gross less fee and VAT.

    | debit | credit | amount |
    |---|---|---|
    | provider_receivable | merchant_pending | gross |
    | merchant_pending | fee_income | fee |
    | merchant_pending | output_vat | VAT on the fee |

    Refunds and disputes draw on this entry, up to the gross.
    """
    receivable = account(AccountKind.PROVIDER_RECEIVABLE, currency, provider)
    pending = account(AccountKind.MERCHANT_PENDING, currency, merchant)
    gross = posting(debit=receivable, credit=pending, amount_minor=amount_minor, available_on=available_on)
    return JournalEntry(
        key=key,
        kind=EntryKind.PAYMENT_CAPTURED,
        effective_on=effective_on,
        postings=(
            *gross,
            *fee_postings(fee, paid_from=pending, fees=PAYMENT_FEES, available_on=available_on),
        ),
        references=references,
        drawable_minor=amount_minor,
        metadata=metadata,
        caller=caller,
    )


def payer_money_held(
    *,
    key: UUID,
    provider: str,
    intent: str,
    amount_minor: int,
    currency: str,
    effective_on: date,
    references: tuple[ExternalReference, ...],
    metadata: bytes,
    caller: str,
) -> JournalEntry:
    """Money came that is not the merchant's: paid twice, too much, too little, or after expiry.

    Dr provider_receivable, Cr payer_refundable of that intent. Accepting or returning it draws on this entry.
    """
    held = posting(
        debit=account(AccountKind.PROVIDER_RECEIVABLE, currency, provider),
        credit=account(AccountKind.PAYER_REFUNDABLE, currency, intent),
        amount_minor=amount_minor,
    )
    return JournalEntry(
        key=key,
        kind=EntryKind.PAYER_MONEY_HELD,
        effective_on=effective_on,
        postings=tuple(held),
        references=references,
        drawable_minor=amount_minor,
        metadata=metadata,
        caller=caller,
    )


def payer_money_accepted(
    *,
    key: UUID,
    held_key: UUID,
    merchant: str,
    intent: str,
    amount_minor: int,
    currency: str,
    fee: Fee,
    available_on: date,
    effective_on: date,
    references: tuple[ExternalReference, ...],
    metadata: bytes,
    caller: str,
) -> JournalEntry:
    """The merchant takes held money as payment: Dr payer_refundable, Cr merchant_pending; the fee is then due.

    Refunds draw on this entry, up to the gross.
    """
    pending = account(AccountKind.MERCHANT_PENDING, currency, merchant)
    taken = posting(
        debit=account(AccountKind.PAYER_REFUNDABLE, currency, intent),
        credit=pending,
        amount_minor=amount_minor,
        available_on=available_on,
    )
    return JournalEntry(
        key=key,
        kind=EntryKind.PAYER_MONEY_ACCEPTED,
        effective_on=effective_on,
        postings=(
            *taken,
            *fee_postings(fee, paid_from=pending, fees=PAYMENT_FEES, available_on=available_on),
        ),
        references=references,
        draw=Draw(original_key=held_key, amount_minor=amount_minor),
        drawable_minor=amount_minor,
        metadata=metadata,
        caller=caller,
    )


def payer_money_returned(
    *,
    key: UUID,
    held_key: UUID,
    intent: str,
    bank: str,
    amount_minor: int,
    currency: str,
    effective_on: date,
    references: tuple[ExternalReference, ...],
    metadata: bytes,
    caller: str,
    owed_minor: int = 0,
) -> JournalEntry:
    """Held money went back to the payer from our bank account: Dr payer_refundable, Cr bank.

    `owed_minor` of it a dispute had taken before, so that he has it twice: Dr payer_receivable.
    """
    paid_from = account(AccountKind.BANK, currency, bank)
    back = [
        each
        for kind, part_minor in payer_money(amount_minor, owed_minor=owed_minor)
        for each in posting(debit=account(kind, currency, intent), credit=paid_from, amount_minor=part_minor)
    ]
    return JournalEntry(
        key=key,
        kind=EntryKind.PAYER_MONEY_RETURNED,
        effective_on=effective_on,
        postings=tuple(back),
        references=references,
        draw=Draw(original_key=held_key, amount_minor=amount_minor),
        metadata=metadata,
        caller=caller,
    )


def payer_money_came_back(
    *,
    key: UUID,
    held_key: UUID,
    intent: str,
    bank: str,
    amount_minor: int,
    currency: str,
    effective_on: date,
    references: tuple[ExternalReference, ...],
    metadata: bytes,
    caller: str,
    owed_minor: int = 0,
) -> JournalEntry:
    """The payer's bank sent returned money back: Dr bank, Cr payer_refundable; it is held and may be drawn on again.

    `owed_minor` of it he owed, because a dispute took it as well: Cr payer_receivable.
    """
    paid_to = account(AccountKind.BANK, currency, bank)
    held = [
        each
        for kind, part_minor in payer_money(amount_minor, owed_minor=owed_minor)
        for each in posting(debit=paid_to, credit=account(kind, currency, intent), amount_minor=part_minor)
    ]
    return JournalEntry(
        key=key,
        kind=EntryKind.PAYER_MONEY_CAME_BACK,
        effective_on=effective_on,
        postings=tuple(held),
        references=references,
        draw=Draw(original_key=held_key, amount_minor=-amount_minor),
        metadata=metadata,
        caller=caller,
    )
