"""What became of money that receipts left held for payers: taken by the merchant, gone back, disputed, or still there.

Read under the lock of the payment, which accepting it, offering it back and disputing it all take.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.payments.acceptances import acceptances_of
from gateway.payments.dispute_records import DisputeRow, disputes_of
from gateway.payments.records import FactRow, facts_of
from gateway.payments.states import ENDED_DISPUTES, ClaimState, DisputeStatus
from gateway.payments.tables import refund_claims
from ledger.posting_rules.disputes import owed_minor

_OVER: Final = (ClaimState.EXPIRED, ClaimState.REJECTED, ClaimState.RETURNED)
_DECIDED: Final = ENDED_DISPUTES - {DisputeStatus.CONFLICTED}


class HeldReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """A receipt with money that was held.

    Attributes:
        accepted_minor: what of it the merchant took; returned_minor: what went back by claims;
        offered_minor: what claims offer that are under way.
        disputed_minor: what of it is disputed, or lost; taken_minor: what left it for that in the books.
        is_open: a dispute of it is not decided; is_lost: its charge was disputed before receipts were told apart.
    """

    receipt: FactRow
    accepted_minor: int
    returned_minor: int
    offered_minor: int
    disputed_minor: int
    taken_minor: int
    is_open: bool
    is_lost: bool

    @property
    def standing_minor(self) -> int:
        """What of it is held in the books; below zero what its payer got twice, and owes."""
        return self.receipt.held_minor - self.accepted_minor - self.returned_minor - self.taken_minor

    @property
    def undecided_minor(self) -> int:
        """What nobody took or offers, were it not for disputes."""
        return self.receipt.held_minor - self.accepted_minor - self.returned_minor - self.offered_minor

    @property
    def gone_minor(self) -> int:
        """What disputes are about, or took at a stage of which no provider said yet that it gave it back."""
        return max(self.disputed_minor, self.taken_minor)

    @property
    def free_minor(self) -> int:
        """What may be accepted or offered: nothing while a dispute is open, then what it left."""
        return 0 if self.is_open else max(0, self.undecided_minor - self.gone_minor)

    @property
    def bears_offers(self) -> bool:
        """Whether what claims offer of it may go to the payer: his bank neither takes it nor may yet."""
        return not self.is_open and not self.is_lost and self.undecided_minor >= self.gone_minor

    def owed_minor(self, leaving_minor: int) -> int:
        """What of money that leaves, or below zero comes back, is the payer's debt and not what is held for him."""
        return owed_minor(leaving_minor, standing_minor=self.standing_minor)


async def held_receipts(
    connection: AsyncConnection, book_id: int, intent_ids: Iterable[str], *, facts: Sequence[FactRow] | None = None
) -> dict[str, HeldReceipt]:
    """The receipts of the payments that left money held, by their ids, oldest first; `facts`, where they are known."""
    wanted = sorted(set(intent_ids))
    if facts is None:
        facts = await facts_of(connection, book_id, wanted)
    held = sorted((fact for fact in facts if fact.held_minor), key=lambda fact: fact.fact_id)
    if not held:
        return {}
    accepted = {row.fact_id: row.amount_minor for row in await acceptances_of(connection, book_id, wanted)}
    returned = await returned_of(connection, book_id, wanted)
    offered = await _claimed(connection, book_id, wanted, under_way=True)
    its: defaultdict[str, list[DisputeRow]] = defaultdict(list)
    for row in await disputes_of(connection, book_id, wanted):
        if row.disputed_minor or row.payer_taken_minor:
            its[row.receipt_id or row.attempt_id].append(row)
    return {
        fact.fact_id: _held_receipt(
            fact,
            its[fact.fact_id],
            accepted_minor=accepted.get(fact.fact_id, 0),
            returned_minor=returned.get(fact.fact_id, 0),
            offered_minor=offered.get(fact.fact_id, 0),
            is_lost=bool(its[fact.attempt_id or ""]),
        )
        for fact in held
    }


async def returned_of(connection: AsyncConnection, book_id: int, intent_ids: Sequence[str]) -> dict[str, int]:
    """What of held money of the payments went back to payers, by receipt."""
    return await _claimed(connection, book_id, intent_ids, under_way=False)


def _held_receipt(
    fact: FactRow,
    disputes: Sequence[DisputeRow],
    *,
    accepted_minor: int,
    returned_minor: int,
    offered_minor: int,
    is_lost: bool,
) -> HeldReceipt:
    return HeldReceipt(
        receipt=fact,
        accepted_minor=accepted_minor,
        returned_minor=returned_minor,
        offered_minor=offered_minor,
        disputed_minor=sum(row.disputed_held_minor for row in disputes),
        taken_minor=sum(row.payer_taken_minor for row in disputes),
        is_open=any(row.status not in _DECIDED for row in disputes),
        is_lost=is_lost,
    )


async def _claimed(
    connection: AsyncConnection, book_id: int, intent_ids: Sequence[str], *, under_way: bool
) -> dict[str, int]:
    c = refund_claims.c
    is_wanted = c.state.not_in((*_OVER, ClaimState.PAID)) if under_way else c.state == ClaimState.PAID
    statement = (
        select(c.held_fact_id, func.sum(c.amount_minor))
        .where(c.book_id == book_id, c.intent_id.in_(intent_ids), c.held_fact_id.is_not(None), is_wanted)
        .group_by(c.held_fact_id)
    )
    return {row[0]: int(row[1]) for row in await connection.execute(statement)}
