"""What our books say that others' statements must show, written down as the entries come.

A projection of the ledger's feed, so matching is a join and needs no scan of the books: each entry that moves what
a provider owes us expects a line on that provider's statement, and each payout expects a debit on the bank's. What
reconciliation itself posts (`PROVIDER_SETTLED`) expects nothing. Rebuilding it from the feed gives the same rows.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from typing import Final

import msgspec

from ledger.chart_of_accounts import AccountKind
from ledger.feed import RecordedEntry, read_entries
from ledger.journal import AccountRef, EntryKind, ExternalReference
from reconciliation.sql import Connection, queries

CHUNK_ENTRIES: Final = 2_000

_BANK_KINDS: Final = frozenset(
    {
        EntryKind.PAYOUT_RETURNED,
        EntryKind.PAYER_MONEY_RETURNED,
        EntryKind.PAYER_MONEY_CAME_BACK,
        EntryKind.REFUND_PAID,
        EntryKind.REFUND_CAME_BACK,
        EntryKind.UNIDENTIFIED_CREDIT,
    }
)
"""Entries that a bank line caused outside of this package; they name it."""
_PAYOUT_PAID_KINDS: Final = (EntryKind.PAYOUT_PAID, EntryKind.PAYOUT_MARK_PROVED)
"""What the bank statement's debit of a payout posts."""


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """A line that a statement must show.

    Attributes:
        expected_id: `<fact>-<account>`: which fact, and which of the accounts it moved, counted from 1; an entry
            without a fact goes by its sequence.
        sequence: of the first of its entries.
        stage: `provider`, `payout` or (a credit that nobody knows) `bank`: on whose statement.
        amount_minor: signed in that account's view, gross of any fee that the provider keeps back.
    """

    expected_id: str
    sequence: int
    stage: str
    provider: str | None
    kind: str
    amount_minor: int
    currency: str
    effective_on: date
    payout_id: str | None
    references: tuple[ExternalReference, ...]


class _Metadata(msgspec.Struct):
    """What is read of an entry's metadata: our ids, where its poster put them."""

    payout: str | None = None
    fact: str | None = None


async def follow_feed(connection: Connection, book_id: int) -> int:
    """Write down what the entries since the last time expect; returns how many entries were read.

    Locks the book's position in the feed; each chunk is a transaction of its own, so that none is long.
    """
    total = 0
    while True:
        read = await _follow_chunk(connection, book_id)
        total += read
        if read < CHUNK_ENTRIES:
            return total


def expected_of(entry: RecordedEntry) -> list[Expected]:
    """The lines that an entry makes us expect; most entries none or one."""
    metadata = _metadata_of(entry)
    found = []
    for number, (account, amount_minor) in enumerate(_movements(entry), start=1):
        provider = account.owner if account.kind is AccountKind.PROVIDER_RECEIVABLE else None
        found.append(
            Expected(
                expected_id=f"{metadata.fact or entry.sequence}-{number}",
                sequence=entry.sequence,
                stage=_stage_of(entry.kind, provider),
                provider=provider,
                kind=entry.kind.name.lower(),
                amount_minor=amount_minor,
                currency=account.currency,
                effective_on=entry.effective_on,
                payout_id=metadata.payout,
                references=entry.references,
            )
        )
    return found


def _stage_of(kind: EntryKind, provider: str | None) -> str:
    if kind is EntryKind.UNIDENTIFIED_CREDIT:
        return "bank"
    return "payout" if provider is None else "provider"


def _movements(entry: RecordedEntry) -> Iterator[tuple[AccountRef, int]]:
    """The accounts of an entry that a statement shows, with the signed amount; those that net to zero are not."""
    if entry.kind is EntryKind.PROVIDER_SETTLED:
        return
    watched = AccountKind.PROVIDER_RECEIVABLE
    if entry.kind is EntryKind.PAYOUT_REQUESTED:
        watched = AccountKind.PAYOUTS_IN_TRANSIT
    elif entry.kind in _BANK_KINDS:
        watched = AccountKind.BANK
    net: defaultdict[AccountRef, int] = defaultdict(int)
    for posting in entry.postings:
        for account, signed in ((posting.debit, posting.amount_minor), (posting.credit, -posting.amount_minor)):
            if account.kind is watched:
                net[account] += signed
    yield from ((account, amount_minor) for account, amount_minor in sorted(net.items()) if amount_minor)


def _metadata_of(entry: RecordedEntry) -> _Metadata:
    try:
        return msgspec.json.decode(entry.metadata, type=_Metadata)
    except msgspec.DecodeError:
        return _Metadata()


def _together(expected: Iterable[Expected]) -> list[Expected]:
    """One for each id, with the sum of the amounts and all of the names."""
    found: dict[str, Expected] = {}
    for each in expected:
        before = found.get(each.expected_id)
        found[each.expected_id] = (
            each
            if before is None
            else msgspec.structs.replace(
                before,
                amount_minor=before.amount_minor + each.amount_minor,
                references=(*before.references, *each.references),
            )
        )
    return list(found.values())


async def _follow_chunk(connection: Connection, book_id: int) -> int:
    sql = queries("expectations")
    async with connection.transaction():
        await connection.execute(sql["start_feed"], book_id)
        after = await connection.fetchval(sql["feed_position"], book_id)
        entries = await read_entries(connection, book_id, after=after, limit=CHUNK_ENTRIES)
        if not entries:
            return 0
        await _insert(connection, book_id, _together(expected for entry in entries for expected in expected_of(entry)))
        await connection.execute(sql["book_payouts"], book_id, *_payouts_moved(entries, *_PAYOUT_PAID_KINDS))
        await connection.execute(sql["withdraw_payouts"], book_id, *_payouts_moved(entries, EntryKind.PAYOUT_REJECTED))
        await connection.execute(sql["move_feed"], book_id, entries[-1].sequence)
    return len(entries)


def _payouts_moved(entries: Iterable[RecordedEntry], *kinds: EntryKind) -> tuple[list[str], list[int]]:
    moved = [
        (payout_id, entry.sequence)
        for entry in entries
        if entry.kind in kinds and (payout_id := _metadata_of(entry).payout) is not None
    ]
    return [payout_id for payout_id, _ in moved], [sequence for _, sequence in moved]


async def _insert(connection: Connection, book_id: int, expected: Sequence[Expected]) -> None:
    sql = queries("expectations")
    columns = (
        "expected_id",
        "sequence",
        "stage",
        "provider",
        "kind",
        "amount_minor",
        "currency",
        "effective_on",
        "payout_id",
    )
    await connection.execute(
        sql["insert_expected"], book_id, *([getattr(each, column) for each in expected] for column in columns)
    )
    references = [(each.expected_id, reference) for each in expected for reference in each.references]
    await connection.execute(
        sql["insert_references"],
        book_id,
        [expected_id for expected_id, _ in references],
        [reference.scheme for _, reference in references],
        [reference.value for _, reference in references],
    )
