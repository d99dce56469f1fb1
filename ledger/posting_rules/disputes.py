"""Disputes: a payer's bank questions a payment. Everything here records what a provider or a letter said.

All money goes by way of `dispute_hold`, so that whatever a dispute took or gave back is seen on that one account,
whichever came first, the notice or the withdrawal. `pending_until` says where the charge's money is: the charge's
`available_on` while it is pending, None once it is available. Where the merchant has less than is asked for, its
account goes below zero; the settlement run makes a debt of that.

Money that was only held for its payer is no merchant's: its part of a dispute (`PayerShare`) goes from the payer's
account to a `dispute_hold` of the payment, and back. What of it went back to the payer before, by claim, he has twice:
he owes it, on `payer_receivable`.
"""

from collections.abc import Iterable
from datetime import date
from uuid import UUID

import msgspec

from ledger.chart_of_accounts import AccountKind
from ledger.journal import AccountRef, EntryKind, ExternalReference, JournalEntry, Posting
from ledger.posting_rules._postings import account, fee_postings, merchant_money, payer_money, posting
from ledger.posting_rules.fees_and_tax import Fee

DISPUTE_FEES = "dispute"
"""Owner of the fee income account for fees on disputes."""


class PayerShare(msgspec.Struct, frozen=True, kw_only=True):
    """What of an entry is of money that was held for the payer of a payment. Signed: below zero it comes back.

    Attributes:
        intent: the payment.
        set_aside_minor: what leaves the payer's money; owed_minor: the part that he has already, and owes.
        taken_minor: what goes to the provider.
    """

    intent: str
    set_aside_minor: int
    owed_minor: int = 0
    taken_minor: int = 0


def owed_minor(leaving_minor: int, *, standing_minor: int) -> int:
    """What of the payer's money that leaves, or below zero comes back, is his debt and not what is held for him.

    Args:
        standing_minor: what is held for him before it; below zero what he has twice already, and owes.
    """
    return max(0, leaving_minor - standing_minor) - max(0, -standing_minor)


def dispute_held(
    *,
    key: UUID,
    provider: str,
    merchant: str,
    amount_minor: int,
    currency: str,
    pending_until: date | None,
    effective_on: date,
    metadata: bytes,
    caller: str,
    payer: PayerShare | None = None,
) -> JournalEntry:
    """A dispute was notified and the provider has not taken the money: Dr merchant's money, Cr dispute_hold.

    The payer's part: Dr payer_refundable, Cr dispute_hold of the payment. What `provider` took before of the one's
    money may be the other's from now on: `payer.taken_minor` says so.
    """
    held = _moves(merchant, currency, pending_until, set_aside_minor=amount_minor, provider=provider, payer=payer)
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
    provider: str,
    merchant: str,
    amount_minor: int,
    currency: str,
    pending_until: date | None,
    effective_on: date,
    metadata: bytes,
    caller: str,
    payer: PayerShare | None = None,
) -> JournalEntry:
    """The dispute ended without the provider taking the money: Dr dispute_hold, Cr merchant's money, or the payer's."""
    released = _moves(merchant, currency, pending_until, set_aside_minor=-amount_minor, provider=provider, payer=payer)
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
    payer: PayerShare | None = None,
) -> JournalEntry:
    """The provider took the money back.

    | debit | credit | amount |
    |---|---|---|
    | merchant_pending or merchant_available, payer_refundable | dispute_hold | what is not held yet |
    | dispute_hold | provider_receivable | all of it |

    `held_minor` is what this dispute holds of it already.
    """
    taken = _moves(
        merchant,
        currency,
        pending_until,
        set_aside_minor=amount_minor - held_minor,
        taken_minor=amount_minor,
        provider=provider,
        payer=payer,
    )
    return JournalEntry(
        key=key,
        kind=EntryKind.DISPUTE_FUNDS_WITHDRAWN,
        effective_on=effective_on,
        postings=tuple(taken),
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
    payer: PayerShare | None = None,
) -> JournalEntry:
    """The dispute was won after the provider had taken the money.

    | debit | credit | amount |
    |---|---|---|
    | provider_receivable | dispute_hold | all of it |
    | dispute_hold | merchant_pending or merchant_available, payer_refundable | all of it |
    """
    returned = _moves(
        merchant,
        currency,
        pending_until,
        set_aside_minor=-amount_minor,
        taken_minor=-amount_minor,
        provider=provider,
        payer=payer,
    )
    return JournalEntry(
        key=key,
        kind=EntryKind.DISPUTE_FUNDS_REINSTATED,
        effective_on=effective_on,
        postings=tuple(returned),
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


def _moves(
    merchant: str,
    currency: str,
    pending_until: date | None,
    *,
    set_aside_minor: int,
    taken_minor: int = 0,
    provider: str,
    payer: PayerShare | None,
) -> Iterable[Posting]:
    """Money to the owner's `dispute_hold` and from there to the provider, each signed; what is no payer's is the rest.

    What comes in is posted before what goes out, so that no hold is below zero on the way.
    """
    share = payer or PayerShare(intent="", set_aside_minor=0)
    taker = account(AccountKind.PROVIDER_RECEIVABLE, currency, provider)
    merchants = account(AccountKind.DISPUTE_HOLD, currency, merchant)
    payers = account(AccountKind.DISPUTE_HOLD, currency, share.intent)
    money = merchant_money(merchant, currency, pending_until)
    moved = [
        *_signed(money, merchants, set_aside_minor - share.set_aside_minor, available_on=pending_until),
        *(
            each
            for kind, part_minor in payer_money(share.set_aside_minor, owed_minor=share.owed_minor)
            for each in _signed(account(kind, currency, share.intent), payers, part_minor)
        ),
        *_signed(merchants, taker, taken_minor - share.taken_minor),
        *_signed(payers, taker, share.taken_minor),
    ]
    return sorted(moved, key=lambda each: each.credit.kind is not AccountKind.DISPUTE_HOLD)


def _signed(
    here: AccountRef, there: AccountRef, amount_minor: int, *, available_on: date | None = None
) -> Iterable[Posting]:
    """From here to there, or back where the amount is below zero."""
    debit, credit = (here, there) if amount_minor > 0 else (there, here)
    return posting(debit=debit, credit=credit, amount_minor=abs(amount_minor), available_on=available_on)
