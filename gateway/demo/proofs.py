"""What must be true at the end: our books against the providers' own, to the satang.

The sandbox keeps books of its own in a schema that the gateway cannot read. Nothing here trusts a status column:
one side is the journal, the other what the providers believe.
"""

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from gateway.payments.entries import INTENT_SCHEME
from ledger import feed
from ledger.balances import all_balances
from ledger.chart_of_accounts import AccountKind
from ledger.feed import RecordedEntry
from ledger.journal import EntryKind
from ledger.money import to_text
from ledger.posting import Connection
from ledger.verification import verify

CHUNK: Final = 1_000
RECEIPTS: Final = frozenset({EntryKind.PAYMENT_CAPTURED, EntryKind.PAYER_MONEY_HELD})


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that must hold, and the two figures or words compared."""

    name: str
    holds: bool
    detail: str


async def entries_of(connection: Connection, book_id: int) -> list[RecordedEntry]:
    """Every entry of the demonstration's book."""
    found: list[RecordedEntry] = []
    while chunk := await feed.read_entries(connection, book_id, after=found[-1].sequence if found else 0, limit=CHUNK):
        found.extend(chunk)
    return found


async def prove(
    connection: Connection, book_id: int, *, books: Mapping[str, Any], acknowledged: Sequence[Mapping[str, Any]]
) -> list[Proof]:
    """Compare journal, providers and what merchants were told.

    Args:
        connection: reads the ledger.
        book_id: the test book.
        books: the sandbox's own (`/_control/books`).
        acknowledged: every payment as the API shows it to the merchant.
    """
    entries = await entries_of(connection, book_id)
    balances = {balance.account: balance.balance_minor for balance in await all_balances(connection, book_id)}
    report = await verify(connection, book_id)
    receipts = _receipt_ids_there(books)
    failed = [check.name for check in report.checks if not check.passed]
    by_kind = {
        kind: sum(amount for account, amount in balances.items() if account.kind is kind) for kind in AccountKind
    }
    return [
        Proof(
            name="the ledger proves itself",
            holds=not failed,
            detail=f"{len(report.checks)} checks over {len(entries)} entries"
            + (f", failed: {failed}" if failed else ""),
        ),
        _same("money received, provider by provider", _received(entries), _received_there(books)),
        _same("every receipt booked once", _receipt_ids(entries, receipts), receipts),
        _same("refunds done, provider by provider", _refunded(entries), _refunded_there(books)),
        _same("merchants were told what was booked", _captured_by_intent(entries), _told(acknowledged)),
        _same_amount("our bank account = the bank's", by_kind[AccountKind.BANK], books["bank_balance_minor"]),
        _same_amount("no refund is left half done", by_kind[AccountKind.REFUNDS_PAYABLE], 0),
        _same_amount("no payout is left half done", by_kind[AccountKind.PAYOUTS_IN_TRANSIT], 0),
    ]


def _received(entries: Iterable[RecordedEntry]) -> Counter[str]:
    totals: Counter[str] = Counter()
    for entry in entries:
        if entry.kind in RECEIPTS:
            first = entry.postings[0]
            totals[first.debit.owner] += first.amount_minor
    return totals


def _received_there(books: Mapping[str, Any]) -> Counter[str]:
    totals: Counter[str] = Counter()
    for charge in books["charges"]:
        totals[charge["provider"]] += charge["received_minor"]
    return totals


def _receipt_ids(entries: Iterable[RecordedEntry], known: Container[str]) -> Counter[str]:
    """Providers' ids of the receipts that we booked; an overpaid one makes two entries and is one receipt."""
    found: set[str] = set()
    for entry in entries:
        if entry.kind in RECEIPTS:
            ids = {reference.value for reference in entry.references if reference.value in known}
            found |= ids or {f"entry {entry.sequence} without a receipt"}
    return Counter(found)


def _receipt_ids_there(books: Mapping[str, Any]) -> Counter[str]:
    """A bill may be paid several times, each with an id of its own; an Omise charge is one receipt."""
    return Counter(
        payment["transaction_id"] if charge["provider"] == "scb" else charge["reference"]
        for charge in books["charges"]
        for payment in charge["received"]
    )


def _refunded(entries: Iterable[RecordedEntry]) -> Counter[str]:
    totals: Counter[str] = Counter()
    for entry in entries:
        if entry.kind is EntryKind.REFUND_SUCCEEDED:
            totals[entry.postings[0].credit.owner] += entry.postings[0].amount_minor
    return totals


def _refunded_there(books: Mapping[str, Any]) -> Counter[str]:
    totals: Counter[str] = Counter()
    for charge in books["charges"]:
        totals[charge["provider"]] += charge["refunded_minor"]
    return totals


def _captured_by_intent(entries: Iterable[RecordedEntry]) -> Counter[str]:
    totals: Counter[str] = Counter()
    for entry in entries:
        if entry.kind is EntryKind.PAYMENT_CAPTURED:
            intent = next(reference.value for reference in entry.references if reference.scheme == INTENT_SCHEME)
            totals[intent] += entry.postings[0].amount_minor
    return totals


def _told(acknowledged: Sequence[Mapping[str, Any]]) -> Counter[str]:
    return Counter({intent["id"]: intent["amount"] for intent in acknowledged if intent["status"] == "succeeded"})


def _same(name: str, ours: Counter[str], theirs: Counter[str]) -> Proof:
    # Subtraction of Counters drops what is not positive, so both directions and zero totals are covered.
    differing = sorted((ours - theirs) | (theirs - ours))
    detail = f"{len(+ours)} on our side, {len(+theirs)} on theirs"
    return Proof(name=name, holds=not differing, detail=detail + (f", differing: {differing[:5]}" if differing else ""))


def _same_amount(name: str, ours_minor: int, theirs_minor: int) -> Proof:
    detail = f"{to_text(ours_minor, 'THB')} = {to_text(theirs_minor, 'THB')}"
    return Proof(name=name, holds=ours_minor == theirs_minor, detail=detail)
