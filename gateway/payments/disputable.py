"""Which receipt of a payment a letter is about: what a payment was paid by, as whoever reads the letter knows it."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.payments.acceptances import acceptances_of
from gateway.payments.dispute_records import DisputeRow
from gateway.payments.errors import InvalidRequest, NotFound, ReceiptAmbiguous
from gateway.payments.records import AttemptRow, IntentRow, attempts_of, facts_of
from gateway.providers.base import FactKind
from ledger.money import to_text


class DisputableReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """Money that a payment was paid by.

    Attributes:
        receipt_id: the fact; `transaction_id`: the provider's word for it, `charge`: for its charge.
        held_minor: what of it is no merchant's: it was held for the payer, and nobody accepted it.
        is_disputed: a dispute that was not won is about it.
    """

    receipt_id: str
    attempt: AttemptRow
    transaction_id: str
    charge: str
    amount_minor: int
    held_minor: int
    currency: str
    paid_at: datetime
    is_disputed: bool

    @property
    def names(self) -> set[str]:
        """What it may be called."""
        return {self.receipt_id, self.transaction_id, self.charge}

    def __str__(self) -> str:
        """One line for people: its id, how much, when, and what the provider calls it."""
        amount = f"{to_text(self.amount_minor, self.currency)} {self.currency}"
        held = f", {to_text(self.held_minor, self.currency)} of it held" if self.held_minor else ""
        known = ", disputed" if self.is_disputed else ""
        return (
            f"{self.receipt_id} {amount}{held}, paid {self.paid_at:%Y-%m-%d %H:%M} UTC as {self.transaction_id}{known}"
        )


async def disputable_receipts(
    connection: AsyncConnection, intent: IntentRow, disputes: Sequence[DisputeRow]
) -> list[DisputableReceipt]:
    """What the payment was paid by in its currency, the oldest first; no proof of a mark, which brought nothing."""
    its = [intent.intent_id]
    attempts = {attempt.attempt_id: attempt for attempt in await attempts_of(connection, intent.book_id, its)}
    accepted = {row.fact_id: row.amount_minor for row in await acceptances_of(connection, intent.book_id, its)}
    disputed = {row.receipt_id for row in disputes if row.disputed_minor}
    receipts = [
        fact
        for fact in await facts_of(connection, intent.book_id, its)
        if fact.kind is FactKind.CAPTURED
        and fact.attempt_id is not None
        and fact.captured_minor + fact.held_minor
        and fact.currency == intent.currency
    ]
    return [
        DisputableReceipt(
            receipt_id=fact.fact_id,
            attempt=attempts[fact.attempt_id or ""],
            transaction_id=fact.provider_transaction_id,
            charge=attempts[fact.attempt_id or ""].provider_reference or fact.provider_reference,
            amount_minor=fact.captured_minor + fact.held_minor,
            held_minor=fact.held_minor - accepted.get(fact.fact_id, 0),
            currency=fact.currency,
            paid_at=fact.occurred_at,
            is_disputed=fact.fact_id in disputed,
        )
        for fact in sorted(receipts, key=lambda fact: (fact.occurred_at, fact.fact_id))
    ]


def the_one(
    receipts: Sequence[DisputableReceipt], *, name: str | None, amount_minor: int | None
) -> tuple[DisputableReceipt, int]:
    """The receipt that a letter is about, and how much of it: the named one, or the only one that it can be.

    Args:
        receipts: at least one.
        name: what the letter calls it, see `DisputableReceipt.names`.
        amount_minor: None = all that it brought.

    Raises:
        NotFound: none of them is called so.
        ReceiptAmbiguous: it can be several; the error lists them.
        InvalidRequest: `amount_invalid`, none brought as much.
    """
    named = [each for each in receipts if name is None or name in each.names]
    if not named:
        raise NotFound(f"the payment was not paid by {name}: {_listed(receipts)}")
    bearing = [each for each in named if amount_minor is None or 0 < amount_minor <= each.amount_minor]
    if not bearing:
        most = max(named, key=lambda each: each.amount_minor)
        paid = f"{to_text(most.amount_minor, most.currency)} {most.currency}"
        raise InvalidRequest("amount_invalid", f"no more than {paid} was paid at once", param="amount")
    fitting = [each for each in bearing if not each.is_disputed] or bearing
    if len(fitting) > 1:
        raise ReceiptAmbiguous(
            f"it can be about {len(fitting)} receipts, name one: {_listed(fitting)}",
            receipts=tuple((each.receipt_id, str(each)) for each in fitting),
        )
    return fitting[0], fitting[0].amount_minor if amount_minor is None else amount_minor


def _listed(receipts: Sequence[DisputableReceipt]) -> str:
    return "; ".join(str(each) for each in receipts)
