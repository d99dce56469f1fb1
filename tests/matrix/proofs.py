"""What must hold for every cell, and for the books as a whole: the journal against the provider's own books.

Statuses are what is proved here, never what proves: one side is the journal, the other what the sandbox's provider
believes it took and gave back.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from gateway.demo.proofs import RECEIPTS, entries_of
from gateway.payments.entries import INTENT_SCHEME
from ledger.balances import all_balances
from ledger.chart_of_accounts import AccountKind
from ledger.feed import RecordedEntry
from ledger.journal import EntryKind
from ledger.verification import verify
from tests.matrix.house import House, Lane
from tests.matrix.play import Played

FAILED: Final = frozenset({"requires_payment_method", "expired", "canceled"})
OPEN: Final = frozenset({"processing", "requires_confirmation", "requires_action", "requires_capture"})
EVENTS: Final = {
    "succeeded": "payment_intent.succeeded",
    "expired": "payment_intent.expired",
    "canceled": "payment_intent.canceled",
    "conflicted": "payment_intent.conflicted",
    "requires_payment_method": "payment_intent.payment_failed",
    "processing": "payment_intent.processing",
    "requires_action": "payment_intent.requires_action",
    "requires_capture": "payment_intent.amount_capturable_updated",
}
"""The event that tells of each status."""


async def complaints_of(house: House, lane: Lane, cells: Sequence[Played]) -> list[str]:
    """Everything that does not hold in one book; nothing where all is well. Fills in what was not reached."""
    books = await house.sandbox.books(lane.world)
    async with house.services.database.ledger_pool.acquire() as connection:
        entries = await entries_of(connection, lane.book_id)
        balances = {balance.account: balance.balance_minor for balance in await all_balances(connection, lane.book_id)}
        # The ledger's proof of itself costs more than the payment in a book of one; the big book is proved for all.
        checks = (await verify(connection, lane.book_id)).checks if len(cells) > 1 else ()
    found = [f"book {lane.book_id}: {check.name} failed" for check in checks if not check.passed]
    sums = _sums(entries)
    for played in cells:
        theirs = [charge for charge in books["charges"] if charge["amount_minor"] == played.cell.amount_minor]
        found += [
            f"{played.cell.name}: {complaint} ({played.intent['status']})"
            for complaint in _complaints(played, theirs, sums, house.ears.heard)
        ]
    due_minor = sum(
        charge["received_minor"] - charge["refunded_minor"]
        for charge in books["charges"]
        if charge["provider"] == lane.account.provider
    )
    owed_minor = sum(
        amount
        for account, amount in balances.items()
        if account.kind is AccountKind.PROVIDER_RECEIVABLE and account.owner == lane.account.provider
    )
    if due_minor != owed_minor:
        found.append(f"book {lane.book_id}: the provider owes {due_minor}, the journal says {owed_minor}")
    _note_unreached(cells, books)
    return found


class Sums(msgspec.Struct, frozen=True):
    """What the journal says of each payment: all that came, the merchant's part of it, what was given back.

    `accepted`: what of the merchant's part was held for the payer first; `held`: what still is.
    """

    received: Counter[str]
    captured: Counter[str]
    refunded: Counter[str]
    accepted: Counter[str]
    held: Counter[str]


def _sums(entries: Iterable[RecordedEntry]) -> Sums:
    sums = Sums(Counter(), Counter(), Counter(), Counter(), Counter())
    for entry in entries:
        intent = next((reference.value for reference in entry.references if reference.scheme == INTENT_SCHEME), "")
        amount_minor = entry.postings[0].amount_minor
        if entry.kind in {*RECEIPTS, EntryKind.PAYMENT_MARK_PROVED}:
            sums.received[intent] += amount_minor
        if entry.kind in {EntryKind.PAYMENT_CAPTURED, EntryKind.PAYMENT_MARKED}:
            sums.captured[intent] += amount_minor
        if entry.kind is EntryKind.PAYER_MONEY_HELD:
            sums.held[intent] += amount_minor
        if entry.kind is EntryKind.PAYER_MONEY_ACCEPTED:
            sums.captured[intent] += amount_minor
            sums.accepted[intent] += amount_minor
            sums.held[intent] -= amount_minor
        if entry.kind is EntryKind.REFUND_SUCCEEDED:
            sums.refunded[intent] += amount_minor
    return sums


def _complaints(
    played: Played, theirs: Sequence[dict[str, Any]], sums: Sums, heard: Mapping[str, list[str]]
) -> Iterable[str]:
    yield from _about_money(played, theirs, sums)
    yield from _about_the_end(played, theirs, sums.captured[played.intent["id"]])
    yield from _about_events(played, heard)


def _about_money(played: Played, theirs: Sequence[dict[str, Any]], sums: Sums) -> Iterable[str]:
    intent, name = played.intent, played.intent["id"]
    ours = (sums.received[name], sums.refunded[name])
    booked = (sum(each["received_minor"] for each in theirs), sum(each["refunded_minor"] for each in theirs))
    if ours != booked:
        yield f"the provider took and gave back {booked}, the journal says {ours}"
    shown = tuple(intent[f"amount_{name}"] for name in ("received", "captured", "held", "refunded"))
    said = (sums.received[name], sums.captured[name], sums.held[name], sums.refunded[name])
    if shown != said:
        yield f"the merchant sees {shown}, the journal says {said}"
    if sums.captured[name] - sums.accepted[name] not in {0, played.cell.amount_minor}:
        yield f"{sums.captured[name]} of {played.cell.amount_minor} was credited"
    if sums.refunded[name] > sums.captured[name]:
        yield f"{sums.refunded[name]} was given back of {sums.captured[name]}"


def _about_the_end(played: Played, theirs: Sequence[dict[str, Any]], captured_minor: int) -> Iterable[str]:
    intent, status = played.intent, played.intent["status"]
    taken_minor = sum(charge["received_minor"] for charge in theirs)
    came = taken_minor >= played.cell.amount_minor and "paid_late" not in intent["qualifiers"]
    if status in FAILED and (captured_minor or came):
        yield f"failed though {taken_minor} came"
    if status == "succeeded" and not captured_minor:
        yield "succeeded without money"
    if status in OPEN:
        yield f"never came to an end, the provider says {[charge['status'] for charge in theirs]}"
    if played.refund is not None and played.refund["status"] not in {"succeeded", "failed"}:
        yield f"the refund never came to an end: {played.refund['status']}"


def _about_events(played: Played, heard: Mapping[str, list[str]]) -> Iterable[str]:
    intent, refund = played.intent, played.refund
    events = [EVENTS[intent["status"]], *(f"payment_intent.{qualifier}" for qualifier in intent["qualifiers"])]
    if "held: accepted" in played.note:
        events.append("payment_intent.held_accepted")
    if unheard := [event for event in events if event not in heard[intent["id"]]]:
        yield f"the merchant never heard {unheard}, but {heard[intent['id']]}"
    if refund is not None and f"refund.{refund['status']}" not in heard[refund["id"]]:
        yield "the merchant never heard of the refund's end"


def _note_unreached(cells: Sequence[Played], books: dict[str, Any]) -> None:
    """A fault that was ordered and struck nothing: the payment never came to that operation."""
    waiting = {
        (fault["operation"], fault["fault"], fault["amount_minor"]) for fault in books["faults"] if fault["remaining"]
    }
    for played in cells:
        cell = played.cell
        fault = cell.ordered_fault
        if {(cell.operation, fault, cell.amount_minor), (cell.operation, fault, None)} & waiting:
            played.note = f"{played.note}, not reached".removeprefix(", ")
