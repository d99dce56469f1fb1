"""Small words shared by the rules: which account, and no posting for a zero."""

from collections.abc import Iterable
from datetime import date
from uuid import UUID

from ledger.chart_of_accounts import HOUSE, AccountKind
from ledger.journal import AccountRef, EntryKind, ExternalReference, JournalEntry, Posting
from ledger.posting_rules.fees_and_tax import Fee


def account(kind: AccountKind, currency: str, owner: str = HOUSE) -> AccountRef:
    """The account of that kind, owner and currency."""
    return AccountRef(kind=kind, owner=owner, currency=currency)


def posting(
    *, debit: AccountRef, credit: AccountRef, amount_minor: int, available_on: date | None = None
) -> Iterable[Posting]:
    """The posting, or nothing where the amount is zero."""
    assert amount_minor >= 0, "a rule never turns a posting round by its sign"
    if amount_minor:
        yield Posting(debit=debit, credit=credit, amount_minor=amount_minor, available_on=available_on)


def merchant_money(merchant: str, currency: str, pending_until: date | None) -> AccountRef:
    """Where a merchant's money is: pending with a date on which it becomes available, else available."""
    kind = AccountKind.MERCHANT_AVAILABLE if pending_until is None else AccountKind.MERCHANT_PENDING
    return account(kind, currency, merchant)


def payer_money(amount_minor: int, *, owed_minor: int) -> Iterable[tuple[AccountKind, int]]:
    """Whence money of a payer comes, signed: from what is held for him, and what he has already he owes."""
    yield AccountKind.PAYER_REFUNDABLE, amount_minor - owed_minor
    yield AccountKind.PAYER_RECEIVABLE, owed_minor


def fee_postings(fee: Fee, *, paid_from: AccountRef, fees: str, available_on: date | None = None) -> Iterable[Posting]:
    """What a merchant pays us: Dr `paid_from`, Cr fee_income of `fees` with the fee and output_vat with its VAT."""
    income = account(AccountKind.FEE_INCOME, paid_from.currency, fees)
    tax = account(AccountKind.OUTPUT_VAT, paid_from.currency)
    yield from posting(debit=paid_from, credit=income, amount_minor=fee.amount_minor, available_on=available_on)
    yield from posting(debit=paid_from, credit=tax, amount_minor=fee.vat_minor, available_on=available_on)


def moved(
    kind: EntryKind,
    *,
    key: UUID,
    debit: AccountRef,
    credit: AccountRef,
    amount_minor: int,
    effective_on: date,
    caller: str,
    references: tuple[ExternalReference, ...] = (),
    metadata: bytes = b"",
) -> JournalEntry:
    """An entry that moves one amount from one account to another and nothing else."""
    return JournalEntry(
        key=key,
        kind=kind,
        effective_on=effective_on,
        postings=tuple(posting(debit=debit, credit=credit, amount_minor=amount_minor)),
        references=references,
        metadata=metadata,
        caller=caller,
    )
