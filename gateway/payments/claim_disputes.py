"""Claims whose money the payer's bank takes back, or may yet: he must not get it by both roads.

One that the bank was handed before is past recall: it is marked, the merchant told, and the log and
`quickkub_claims_disputed` call for a person, who may still ask the bank to stop it.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.ids import entry_key
from gateway.foundation.logs import get_logger
from gateway.foundation.metrics import CLAIMS_DISPUTED
from gateway.payments.claim_records import ClaimRow, claim_event
from gateway.payments.dispute_records import DisputeRow, disputes_of
from gateway.payments.entries import accepted_key
from gateway.payments.held_receipts import held_receipts
from gateway.payments.records import RefundRow, refunds_by_id, replace_rows, rows_of
from gateway.payments.states import ClaimState
from gateway.payments.tables import refund_claims
from gateway.webhooks.events import record

AT_THE_BANK: Final = (ClaimState.SUBMITTED, ClaimState.UNKNOWN, ClaimState.IN_TRANSIT)
_OVER: Final = (ClaimState.EXPIRED, ClaimState.REJECTED, ClaimState.RETURNED)
_log = get_logger("quickkub.claims")


async def disputed_claims(connection: AsyncConnection, claims: Sequence[ClaimRow]) -> set[str]:
    """Which of these claims of one book must not be paid now, by their ids.

    Of a refund: its capture's charge is disputed in the merchant's part, or lost. Of held money: a dispute of its
    receipt is open, or took so much that the receipt no longer bears what is offered.
    """
    if not claims:
        return set()
    book_id, its = claims[0].book_id, {claim.intent_id for claim in claims}
    rows = [row for row in await disputes_of(connection, book_id, its) if row.disputed_minor or row.payer_taken_minor]
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


async def note_disputed(connection: AsyncConnection, book_id: int, intent_ids: Iterable[str], now: datetime) -> None:
    """Note on the claims of locked payments whether they are disputed now; what is news is told."""
    c = refund_claims.c
    its = select(refund_claims).where(c.book_id == book_id, c.intent_id.in_(sorted(intent_ids)), c.state.not_in(_OVER))
    claims = await rows_of(connection, its.order_by(c.claim_id).with_for_update(), ClaimRow)
    disputed = await disputed_claims(connection, claims)
    changed = [
        msgspec.structs.replace(
            claim, disputed_at=now if claim.claim_id in disputed else None, version=claim.version + 1
        )
        for claim in claims
        if (claim.claim_id in disputed) != (claim.disputed_at is not None)
    ]
    if not changed:
        return
    await replace_rows(connection, refund_claims, changed)
    news = [claim for claim in changed if claim.disputed_at is not None]
    await record(connection, [claim_event(claim, "refund_claim.disputed", now) for claim in news])
    for claim in news:
        if claim.state in {*AT_THE_BANK, ClaimState.PAID}:
            extra = {"claim": claim.claim_id, "payout_file": claim.payout_file_id, "claim_state": claim.state}
            _log.error("a claim that went to the bank is disputed: its payer may have the money twice", extra=extra)


async def measure_disputed(connection: AsyncConnection) -> int:
    """How many claims of live books the bank was handed that are disputed since; put on show."""
    c = refund_claims.c
    statement = select(func.count()).where(c.disputed_at.is_not(None), c.state.in_(AT_THE_BANK), c.livemode)
    count: int = (await connection.execute(statement)).scalar_one()
    CLAIMS_DISPUTED.set(count)
    return count


async def claims_disputed(connection: AsyncConnection, book_id: int) -> list[ClaimRow]:
    """Every claim of a book that is disputed and has not ended without a transfer, oldest first."""
    c = refund_claims.c
    statement = select(refund_claims).where(c.book_id == book_id, c.disputed_at.is_not(None), c.state.not_in(_OVER))
    return await rows_of(connection, statement.order_by(c.claim_id), ClaimRow)


def _takes(dispute: DisputeRow, refund: RefundRow) -> bool:
    """Whether the dispute is about money on which the refund draws."""
    if not dispute.questioned_minor:
        return False
    if dispute.receipt_id is None:
        return dispute.attempt_id == refund.attempt_id
    keys = (entry_key(dispute.receipt_id, "captured"), accepted_key(dispute.receipt_id))
    return refund.capture_key in keys
