"""Claims whose money the payer's bank takes back, or may yet: he must not get it by both roads."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.ids import entry_key
from gateway.payments.claims import ClaimRow
from gateway.payments.dispute_records import DisputeRow, disputes_of
from gateway.payments.entries import accepted_key
from gateway.payments.held_receipts import held_receipts
from gateway.payments.records import RefundRow, refunds_by_id


async def disputed_claims(connection: AsyncConnection, claims: Sequence[ClaimRow]) -> set[str]:
    """Which of these claims of one book must not be paid now, by their ids.

    Of a refund: its capture's charge is disputed in the merchant's part, or lost. Of held money: a dispute of its
    receipt is open, or took so much that the receipt no longer bears what is offered.
    """
    if not claims:
        return set()
    book_id, its = claims[0].book_id, {claim.intent_id for claim in claims}
    rows = [row for row in await disputes_of(connection, book_id, its) if row.disputed_minor]
    concerned = {row.intent_id for row in rows}
    asked = [claim for claim in claims if claim.intent_id in concerned]
    refunds = {
        refund.refund_id: refund
        for refund in await refunds_by_id(
            connection, book_id, [claim.refund_id for claim in asked if claim.refund_id is not None]
        )
    }
    held = await held_receipts(connection, book_id, concerned)
    return {
        claim.claim_id
        for claim in asked
        if (
            not held[claim.held_fact_id].bears_offers
            if claim.held_fact_id is not None
            else any(_takes(row, refunds[claim.refund_id or ""]) for row in rows)
        )
    }


def _takes(dispute: DisputeRow, refund: RefundRow) -> bool:
    """Whether the dispute is about money on which the refund draws."""
    if not dispute.questioned_minor:
        return False
    if dispute.receipt_id is None:
        return dispute.attempt_id == refund.attempt_id
    keys = (entry_key(dispute.receipt_id, "captured"), accepted_key(dispute.receipt_id))
    return refund.capture_key in keys
