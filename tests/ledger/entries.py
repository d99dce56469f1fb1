"""Entries for tests: short to write, every field can be set."""

from datetime import date
from typing import Any
from uuid import UUID, uuid4

from ledger.chart_of_accounts import AccountKind
from ledger.journal import AccountRef, Draw, EntryKind, JournalEntry, Posting

BOOK = 1000
DAY = date(2026, 11, 23)

BANK = AccountRef(AccountKind.BANK, "main")
CLEARING = AccountRef(AccountKind.CLEARING, "main")
PENDING = AccountRef(AccountKind.MERCHANT_PENDING, "merchant")
AVAILABLE = AccountRef(AccountKind.MERCHANT_AVAILABLE, "merchant")
PAYOUTS = AccountRef(AccountKind.PAYOUTS_IN_TRANSIT, "merchant")
FEES = AccountRef(AccountKind.FEE_INCOME, "merchant")

RECORDING, AUTHORISING = EntryKind.PROVIDER_SETTLED, EntryKind.OPERATOR_ENTRY


def posting(debit: AccountRef, credit: AccountRef, amount_minor: int) -> Posting:
    pending = AccountKind.MERCHANT_PENDING in {debit.kind, credit.kind}
    return Posting(debit=debit, credit=credit, amount_minor=amount_minor, available_on=DAY if pending else None)


def entry(*postings: Posting, kind: EntryKind = RECORDING, key: UUID | None = None, **fields: Any) -> JournalEntry:
    return JournalEntry(
        key=key or uuid4(), kind=kind, effective_on=fields.pop("effective_on", DAY), postings=postings, **fields
    )


def received(amount_minor: int, *, to: AccountRef = AVAILABLE, **fields: Any) -> JournalEntry:
    """Money comes in: debit bank, credit the account."""
    return entry(posting(BANK, to, amount_minor), **fields)


def paid_out(amount_minor: int, **fields: Any) -> JournalEntry:
    """An authorising entry that respects the floor of `merchant_available`."""
    return entry(posting(AVAILABLE, PAYOUTS, amount_minor), kind=EntryKind.PAYOUT_REQUESTED, **fields)


def drawing(on: JournalEntry, amount_minor: int, **fields: Any) -> JournalEntry:
    """A recording entry that draws on an earlier one (or gives a draw back)."""
    return entry(posting(CLEARING, BANK, abs(amount_minor) or 1), draw=Draw(on.key, amount_minor), **fields)
