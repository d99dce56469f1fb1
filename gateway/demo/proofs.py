"""What must be true at the end: our books against the providers' own, to the satang.

The sandbox keeps books of its own in a schema that the gateway cannot read. Nothing here trusts a status column:
one side is the journal, the other what the providers believe.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from gateway.payments.entries import INTENT_SCHEME
from ledger import feed
from ledger.balances import all_balances
from ledger.chart_of_accounts import AccountKind
from ledger.feed import RecordedEntry
from ledger.journal import AccountRef, EntryKind
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
    receipts = _receipts_there(books)
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
        _same("every receipt booked once", _receipt_ids(entries, receipts), Counter(set(receipts.values()))),
        _same("refunds done, provider by provider", _refunded(entries), _refunded_there(books)),
        _same("merchants were told what was booked", _captured_by_intent(entries), _told(acknowledged)),
        _same("what acquirers still owe = what they have not paid out", _owed(balances, books), _unpaid_there(books)),
        _same("acquirers' fees and VAT of what they paid out", _fees(entries, books), _fees_there(books)),
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


def _receipt_ids(entries: Iterable[RecordedEntry], known: Mapping[str, str]) -> Counter[str]:
    """Providers' ids of the receipts that we booked; an overpaid one makes two entries and is one receipt."""
    found: set[str] = set()
    for entry in entries:
        if entry.kind in RECEIPTS:
            ids = {known[reference.value] for reference in entry.references if reference.value in known}
            found |= ids or {f"entry {entry.sequence} without a receipt"}
    return Counter(found)


def _receipts_there(books: Mapping[str, Any]) -> dict[str, str]:
    """Every name of a receipt → the provider's id of it. A QR may be paid twice; then only the ids tell which."""
    names: dict[str, str] = {}
    for charge in books["charges"]:
        for payment in charge["received"]:
            receipt = f"{charge['provider']} {payment.get('transaction_id') or charge['reference']}"
            names[payment.get("transaction_id") or charge["reference"]] = receipt
            if len(charge["received"]) == 1:
                names |= {name: receipt for name in (charge["reference"], charge.get("id")) if name}
    return names


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


def _acquirers(books: Mapping[str, Any]) -> set[str]:
    """Providers that pay the net of a day to the bank."""
    return {movement["provider"] for movement in books["movements"]}


def _owed(balances: Mapping[AccountRef, int], books: Mapping[str, Any]) -> Counter[str]:
    acquirers = _acquirers(books)
    return Counter(
        {
            account.owner: amount
            for account, amount in balances.items()
            if account.kind is AccountKind.PROVIDER_RECEIVABLE and account.owner in acquirers
        }
    )


def _unpaid_there(books: Mapping[str, Any]) -> Counter[str]:
    """Gross of the movements that are in no batch yet."""
    totals: Counter[str] = Counter()
    for movement in books["movements"]:
        if movement["status"] == "done" and movement["batch_id"] is None:
            sign = 1 if movement["kind"] == "payment" else -1
            totals[movement["provider"]] += sign * movement["amount_minor"]
    return totals


def _fees(entries: Iterable[RecordedEntry], books: Mapping[str, Any]) -> Counter[str]:
    """What was kept back of the settlements that we booked."""
    totals: Counter[str] = Counter()
    acquirers = _acquirers(books)
    for entry in entries:
        if entry.kind is EntryKind.PROVIDER_SETTLED:
            for posting in entry.postings:
                if posting.debit.kind is not AccountKind.BANK and posting.credit.owner in acquirers:
                    totals[f"{posting.credit.owner} {posting.debit.kind.name}"] += posting.amount_minor
    return totals


def _fees_there(books: Mapping[str, Any]) -> Counter[str]:
    totals: Counter[str] = Counter()
    for batch in books["batches"]:
        totals[f"{batch['provider']} {AccountKind.PROVIDER_FEE_EXPENSE.name}"] += batch["fee_minor"]
        totals[f"{batch['provider']} {AccountKind.INPUT_VAT.name}"] += batch["fee_vat_minor"]
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
