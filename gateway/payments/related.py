"""What belongs to many objects at once, each kind in one query: for answers that write related objects out."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final, TypeVar

from sqlalchemy import ARRAY, ColumnElement, Table, Text, any_, cast, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.merchants.principals import MerchantPrincipal
from gateway.payments.dispute_records import DisputeRow
from gateway.payments.listing import Page
from gateway.payments.records import IntentRow, RefundRow, attempts_by_id, rows_of
from gateway.payments.tables import disputes, intents, refunds
from gateway.payments.views import Dispute, Intent, Refund, dispute_view, intent_view, refund_view

EACH_MAX: Final = 10
"""How many refunds or disputes of one payment are written out, the newest; the rest is for their own list."""

Owned = TypeVar("Owned", RefundRow, DisputeRow)


async def intents_of(
    connection: AsyncConnection, principal: MerchantPrincipal, intent_ids: Iterable[str]
) -> dict[str, Intent]:
    """The account's payments with these ids."""
    c = intents.c
    mine = (c.book_id == principal.book_id, c.account_id == principal.account_id, c.intent_id == _any_of(intent_ids))
    rows = await rows_of(connection, select(intents).where(*mine), IntentRow)
    wanted = [row.latest_attempt_id for row in rows if row.latest_attempt_id is not None]
    latest = {row.attempt_id: row for row in await attempts_by_id(connection, principal.book_id, wanted)}
    return {row.intent_id: intent_view(row, latest.get(row.latest_attempt_id or "")) for row in rows}


async def refunds_of(
    connection: AsyncConnection, principal: MerchantPrincipal, intent_ids: Iterable[str]
) -> dict[str, Page[Refund]]:
    """The newest refunds of each of these payments."""
    found = await _newest(connection, principal, intent_ids, RefundRow, table=refunds, key=refunds.c.refund_id)
    return {
        intent_id: Page(data=[refund_view(row) for row in rows[:EACH_MAX]], has_more=len(rows) > EACH_MAX)
        for intent_id, rows in found.items()
    }


async def disputes_of(
    connection: AsyncConnection, principal: MerchantPrincipal, intent_ids: Iterable[str]
) -> dict[str, Page[Dispute]]:
    """The newest disputes of each of these payments."""
    found = await _newest(connection, principal, intent_ids, DisputeRow, table=disputes, key=disputes.c.dispute_id)
    return {
        intent_id: Page(data=[dispute_view(row) for row in rows[:EACH_MAX]], has_more=len(rows) > EACH_MAX)
        for intent_id, rows in found.items()
    }


async def _newest(
    connection: AsyncConnection,
    principal: MerchantPrincipal,
    intent_ids: Iterable[str],
    kind: type[Owned],
    *,
    table: Table,
    key: ColumnElement[str],
) -> dict[str, list[Owned]]:
    """Of each payment the newest rows, one more than are shown; an empty list where it has none."""
    c, wanted = table.c, list(intent_ids)
    place = func.row_number().over(partition_by=c.intent_id, order_by=key.desc()).label("place")
    numbered = (
        select(table, place)
        .where(c.book_id == principal.book_id, c.account_id == principal.account_id, c.intent_id == _any_of(wanted))
        .subquery()
    )
    statement = select(numbered).where(numbered.c.place <= EACH_MAX + 1).order_by(numbered.c.place)
    found: dict[str, list[Owned]] = defaultdict(list, {intent_id: [] for intent_id in wanted})
    for row in await rows_of(connection, statement, kind):
        found[row.intent_id].append(row)
    return found


def _any_of(values: Iterable[str]) -> Any:
    """One array parameter, so that the statement is the same for any number of values."""
    return any_(cast(sorted(set(values)), ARRAY(Text)))
