"""Money that crosses books: out of one through a clearing account, into the other through its mirror.

Two entries, one a book. In the sending book `clearing` owned by the receiving book holds what is on its way, with the
opposite sign in the receiving book, so the two add up to zero once both are posted.
"""

from datetime import date
from uuid import UUID, uuid5

from ledger.chart_of_accounts import AccountKind
from ledger.journal import AccountRef, EntryKind, ExternalReference, JournalEntry
from ledger.posting_rules._postings import account, posting

TRANSFER_SCHEME = "book_transfer"


def sent_key(transfer: UUID) -> UUID:
    """The key of the entry in the sending book."""
    return uuid5(transfer, "sent")


def received_key(transfer: UUID, from_book: int) -> UUID:
    """The key of the entry in the receiving book. Two sending books may use the same id: each has its own."""
    return uuid5(transfer, f"received from {from_book}")


def clearing_with(book_id: int, currency: str) -> AccountRef:
    """The clearing account with another book."""
    return account(AccountKind.CLEARING, currency, f"book:{book_id}")


def book_transfer_sent(
    *,
    transfer: UUID,
    to_book: int,
    from_account: AccountRef,
    amount_minor: int,
    effective_on: date,
    metadata: bytes,
    caller: str,
) -> JournalEntry:
    """Dr the sender's account, Cr clearing with the receiving book. Authorising: a floor may refuse it."""
    return JournalEntry(
        key=sent_key(transfer),
        kind=EntryKind.BOOK_TRANSFER_SENT,
        effective_on=effective_on,
        postings=tuple(
            posting(
                debit=from_account,
                credit=clearing_with(to_book, from_account.currency),
                amount_minor=amount_minor,
            )
        ),
        references=(ExternalReference(TRANSFER_SCHEME, str(transfer)),),
        metadata=metadata,
        caller=caller,
    )


def book_transfer_received(
    *,
    transfer: UUID,
    from_book: int,
    to_account: AccountRef,
    amount_minor: int,
    effective_on: date,
    metadata: bytes,
    caller: str,
) -> JournalEntry:
    """Dr clearing with the sending book, Cr the receiver's account. Recording: the money has left the other book."""
    return JournalEntry(
        key=received_key(transfer, from_book),
        kind=EntryKind.BOOK_TRANSFER_RECEIVED,
        effective_on=effective_on,
        postings=tuple(
            posting(
                debit=clearing_with(from_book, to_account.currency),
                credit=to_account,
                amount_minor=amount_minor,
            )
        ),
        references=(ExternalReference(TRANSFER_SCHEME, str(transfer)),),
        metadata=metadata,
        caller=caller,
    )
