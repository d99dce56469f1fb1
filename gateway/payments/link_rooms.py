"""How many payments a link may still take, for the applier: what is beyond that is its payer's, not the merchant's.

Whether a payer may begin is asked before (`payment_links.take`); this is about money that came all the same: a payment
that ran out, so that its use was free again, and of which the provider says later that it was paid in time.
"""

from collections.abc import Collection

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.payments.tables import intents, payment_links


class LinkRoom:
    """What is left of a link while a batch of its payments is settled, one after the other."""

    def __init__(self, left: int) -> None:
        self._left = left

    @property
    def is_used_up(self) -> bool:
        """Whether no further payment may take the merchant's money."""
        return self._left <= 0

    def use(self) -> None:
        """A payment got its money."""
        self._left -= 1


async def link_rooms(connection: AsyncConnection, book_id: int, link_ids: Collection[str]) -> dict[str, LinkRoom]:
    """The room of each link that has an end; the links stay locked until the transaction ends.

    Lock order: the payments, then their links.
    """
    if not link_ids:
        return {}
    link, intent = payment_links.c, intents.c
    limited = (
        select(link.link_id, link.uses_max)
        .where(link.book_id == book_id, link.link_id.in_(sorted(link_ids)), link.uses_max.is_not(None))
        .order_by(link.link_id)
        .with_for_update()
    )
    uses_max = {row.link_id: row.uses_max for row in await connection.execute(limited)}
    paid = (
        select(intent.payment_link_id, func.count())
        .where(intent.book_id == book_id, intent.payment_link_id.in_(sorted(uses_max)), intent.captured_minor > 0)
        .group_by(intent.payment_link_id)
    )
    uses = {row[0]: row[1] for row in await connection.execute(paid)} if uses_max else {}
    return {link_id: LinkRoom(most - uses.get(link_id, 0)) for link_id, most in uses_max.items()}
