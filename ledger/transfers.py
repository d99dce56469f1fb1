"""Transfers between books: exactly once, resumable, and never one transaction over two books.

The sending entry is the transfer: its metadata says where the money goes, and both keys follow from the transfer's id.
After it is posted the receiving entry is owed; whoever finds it missing posts it, and a second one is a replay. So no
table of states is needed: `settle_transfers` follows the sending book's feed and finishes what a crash left.
"""

from collections.abc import Sequence
from datetime import date
from typing import Final
from uuid import UUID

import msgspec

from ledger.accounts import open_accounts
from ledger.balances import balances
from ledger.chart_of_accounts import AccountKind
from ledger.errors import BookNotFound, EntryMalformed, InvariantBroken
from ledger.feed import RecordedEntry, entry_by_key, read_entries
from ledger.journal import AccountRef, EntryKind, Posted, PostingResult, Refused
from ledger.posting import Connection, Ledger
from ledger.posting_rules.transfers import (
    TRANSFER_SCHEME,
    book_transfer_received,
    book_transfer_sent,
    clearing_with,
    received_key,
)

PAGE_ENTRIES: Final = 1_000


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """An amount from an account of one book to an account of another, in one currency.

    Attributes:
        transfer_id: permanent; the same id again is the same transfer.
        caller: who asked, an opaque id.
    """

    transfer_id: UUID
    from_book: int
    to_book: int
    from_account: AccountRef
    to_account: AccountRef
    amount_minor: int
    effective_on: date
    caller: str = "system"

    def __post_init__(self) -> None:
        """What would not be a transfer."""
        assert self.from_book != self.to_book, "a transfer crosses books"
        assert self.from_account.currency == self.to_account.currency, "a transfer is in one currency"


class CannotArrive(InvariantBroken):
    """A sending entry says of no transfer that the other book could take."""


class _Destination(msgspec.Struct, frozen=True):
    """What the sending entry says of the other side; sealed in its metadata."""

    to_book: int
    kind: str
    owner: str
    from_book: int


async def transfer(ledger: Ledger, wanted: Transfer) -> PostingResult:
    """Send, then receive; the result of sending.

    A refusal moved nothing in either book. After any error call it again, or let `settle_transfers` finish it: what is
    posted already is a replay.

    What cannot arrive is not sent: the receiving account is opened first, so its book must be there and take it.

    Raises:
        BookNotFound: there is no such receiving book; nothing was sent.
        EntryMalformed: its owner cannot be stored; nothing was sent.
        LedgerError: what `Ledger.post` raises; the money may be on its way.
        AssertionError: an account that a transfer cannot go to; nothing was sent.
    """
    arriving = clearing_with(wanted.from_book, wanted.to_account.currency)
    assert wanted.to_account != arriving, "it arrives over this account"
    assert wanted.to_account.kind != AccountKind.MERCHANT_PENDING, "a transfer does not say when it is available"
    async with ledger.connection() as connection:
        await open_accounts(connection, wanted.to_book, [wanted.to_account, arriving])
    destination = _Destination(
        wanted.to_book, wanted.to_account.kind.name.lower(), wanted.to_account.owner, wanted.from_book
    )
    sent = await ledger.post(
        wanted.from_book,
        book_transfer_sent(
            transfer=wanted.transfer_id,
            to_book=wanted.to_book,
            from_account=wanted.from_account,
            amount_minor=wanted.amount_minor,
            effective_on=wanted.effective_on,
            metadata=msgspec.json.encode(destination),
            caller=wanted.caller,
        ),
    )
    if isinstance(sent, Posted):
        await _receive(ledger, wanted)
    return sent


async def settle_transfers(
    connection: Connection, ledger: Ledger, from_book: int, *, after: int = 0
) -> tuple[int, int]:
    """Finish every transfer that a book sent after a sequence; (how many had to be, where the next call goes on).

    One that cannot arrive, sent by other means than `transfer`, keeps no other waiting: the next call looks from it
    again, and `transfers_in_flight` names it.

    Args:
        connection: reads the sending book and whether the money has arrived.
        ledger: posts to the receiving books.
        from_book: the sending book.
        after: where an earlier call had come to; keep the second result for the next one.

    Raises:
        MonthArchived: entries after that sequence are not in the books any more.
        LedgerError: infrastructure, or a book that contradicts itself.
    """
    finished, stuck = 0, None
    while page := await read_entries(connection, from_book, after=after, limit=PAGE_ENTRIES):
        for entry in page:
            if entry.kind == EntryKind.BOOK_TRANSFER_SENT:
                try:
                    wanted = _of_entry(entry)
                    if not await _has_arrived(connection, wanted):
                        await _receive(ledger, wanted)
                        finished += 1
                except (BookNotFound, EntryMalformed, CannotArrive):
                    stuck = stuck or entry.sequence
        after = page[-1].sequence
    return finished, stuck - 1 if stuck else after


async def transfers_in_flight(connection: Connection, from_book: int, *, after: int = 0) -> list[Transfer]:
    """What a book sent after a sequence and the other book does not have yet, oldest first.

    Raises:
        CannotArrive: an entry that says it sends does not say where to.
    """
    waiting = []
    while page := await read_entries(connection, from_book, after=after, limit=PAGE_ENTRIES):
        for entry in page:
            if entry.kind == EntryKind.BOOK_TRANSFER_SENT:
                wanted = _of_entry(entry)
                if not await _has_arrived(connection, wanted):
                    waiting.append(wanted)
        after = page[-1].sequence
    return waiting


async def clearing_left(connection: Connection, books: tuple[int, int], currencies: Sequence[str]) -> dict[str, int]:
    """What is on its way between two books, by currency, from their clearing accounts: empty when all has arrived."""
    one, other = books
    left: dict[str, int] = {}
    for currency in currencies:
        there, back = clearing_with(other, currency), clearing_with(one, currency)
        total = (await balances(connection, one, [there]))[there].balance_minor
        total += (await balances(connection, other, [back]))[back].balance_minor
        if total:
            left[currency] = total
    return left


async def _has_arrived(connection: Connection, wanted: Transfer) -> bool:
    key = received_key(wanted.transfer_id, wanted.from_book)
    return await entry_by_key(connection, wanted.to_book, key) is not None


async def _receive(ledger: Ledger, wanted: Transfer) -> None:
    try:
        receiving = book_transfer_received(
            transfer=wanted.transfer_id,
            from_book=wanted.from_book,
            to_account=wanted.to_account,
            amount_minor=wanted.amount_minor,
            effective_on=wanted.effective_on,
            metadata=b"",
            caller=wanted.caller,
        )
    except AssertionError as error:  # an account that takes no transfers
        raise CannotArrive(f"transfer {wanted.transfer_id} cannot be received: {error}") from error
    result = await ledger.post(wanted.to_book, receiving)
    if isinstance(result, Refused):  # it only records, and its key is derived
        raise CannotArrive(f"transfer {wanted.transfer_id} cannot be received: {result.refusal.code}")


def _of_entry(entry: RecordedEntry) -> Transfer:
    try:
        [line] = entry.postings
        destination = msgspec.json.decode(entry.metadata, type=_Destination)
        [reference] = [each for each in entry.references if each.scheme == TRANSFER_SCHEME]
        return Transfer(
            transfer_id=UUID(reference.value),
            from_book=destination.from_book,
            to_book=destination.to_book,
            from_account=line.debit,
            to_account=AccountRef(AccountKind[destination.kind.upper()], destination.owner, line.debit.currency),
            amount_minor=line.amount_minor,
            effective_on=entry.effective_on,
            caller=entry.caller,
        )
    except (msgspec.MsgspecError, ValueError, KeyError, AssertionError) as error:
        raise CannotArrive(f"entry {entry.sequence} says of no transfer where it goes") from error
