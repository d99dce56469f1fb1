"""What a refund changes when its status does: its row, its part in the payment's sums, the moves and the events.

For the steps that our own house decides; what providers say goes through the applier (`deciding.py`). The caller has
locked the payment.
"""

from datetime import datetime

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.payments.deciding import event_of, refund_amounts
from gateway.payments.records import IntentRow, Move, RefundRow, RowWrites, attempts_by_id
from gateway.payments.states import RefundStatus
from gateway.payments.tables import intents, refunds
from gateway.payments.views import encoded, intent_view, refund_view
from gateway.webhooks.events import NewEvent


async def change_refund(
    connection: AsyncConnection,
    intent: IntentRow,
    before: RefundRow,
    to: RefundStatus,
    now: datetime,
    *,
    actor: str,
    reason: str,
    failure_code: str | None = None,
) -> tuple[RefundRow, list[NewEvent]]:
    """Move a refund; returns it and the events that the caller is to record.

    A refund that fails keeps the outcome that it had, so that it can be told how far it got. Of the provider nothing is
    asked any more unless it is about to be told.
    """
    after = msgspec.structs.replace(
        before,
        status=to,
        outcome=before.outcome if failure_code else to,
        version=before.version + 1,
        failure_code=failure_code,
    )
    move = Move(
        subject_id=after.refund_id,
        object="refund",
        version=after.version,
        from_status=before.status,
        to_status=after.status,
        actor=actor,
        reason=reason,
    )
    writes = RowWrites().move(after.book_id, [move], now)
    writes.replace(refunds, [after], ended=[] if to is RefundStatus.SUBMITTED else [after.refund_id])
    done_before, open_before = refund_amounts(before)
    done_after, open_after = refund_amounts(after)
    if (done_before, open_before) != (done_after, open_after):
        intent = msgspec.structs.replace(
            intent,
            refunded_minor=intent.refunded_minor + done_after - done_before,
            refund_pending_minor=intent.refund_pending_minor + open_after - open_before,
            version=intent.version + 1,
        )
        writes.replace(intents, [intent])
    await writes.send(connection)
    events = [event_of(intent, kind, encoded(refund_view(after)), now) for kind in _events(before, after)]
    if done_after > done_before:
        [latest] = await attempts_by_id(connection, intent.book_id, [intent.latest_attempt_id or ""])
        events.insert(0, event_of(intent, "charge.refunded", encoded(intent_view(intent, latest)), now))
    return after, events


def _events(before: RefundRow, after: RefundRow) -> list[str]:
    """What is told of the refund itself; one that the ledger refused was never told of."""
    was_told = before.status is not RefundStatus.REQUESTED
    match after.status:
        case RefundStatus.REQUIRES_ACTION:
            return ["refund.created", "refund.requires_action"]
        case RefundStatus.SUBMITTED if not was_told:
            return ["refund.created"]
        case RefundStatus.SUCCEEDED | RefundStatus.FAILED if was_told:
            return [f"refund.{after.status}"]
        case _:
            return []
