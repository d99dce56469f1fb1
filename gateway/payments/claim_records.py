"""Rows of claims, and how their merchants see them. Whoever changes a claim has locked it, after its payment."""

from datetime import date, datetime
from typing import Final, Literal

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.encryption import Vault
from gateway.payments import tokens
from gateway.payments.errors import NotFound
from gateway.payments.records import Move, add_moves, replace_rows, rows_of
from gateway.payments.states import ClaimState
from gateway.payments.tables import refund_claims
from gateway.webhooks.events import NewEvent


class ClaimRow(msgspec.Struct, frozen=True, kw_only=True):
    """A claim, see `tables.refund_claims`.

    Attributes:
        refund_id: the refund that it pays, or
        held_fact_id: the receipt whose held money it returns.
        offered_by: the account, or the operator who offered it; another one must let it go.
        end_to_end_id: what the bank calls the transfer.
        ended_on: business date on which it came to nothing before any debit.
        settled: what its state means is in the books and on the refund.
        disputed_at: since when the payer's bank takes, or may take, the same money.
    """

    book_id: int
    claim_id: str
    account_id: str
    livemode: bool
    intent_id: str
    refund_id: str | None
    held_fact_id: str | None
    amount_minor: int
    currency: str
    token_hash: bytes
    state: ClaimState
    version: int
    offered_by: str
    bank_code: str | None
    last_four: str | None
    sealed_destination: bytes | None
    end_to_end_id: str
    payout_file_id: str | None
    failure_code: str | None
    value_on: date | None
    bank_reference: str | None
    ended_on: date | None
    settled: bool
    created_at: datetime
    expires_at: datetime
    claimed_at: datetime | None
    submitted_at: datetime | None
    disputed_at: datetime | None = None


class ClaimDestination(msgspec.Struct, frozen=True, kw_only=True):
    """Where the money goes, as much of it as merchants may see."""

    bank_code: str
    last_four: str


class RefundClaim(msgspec.Struct, frozen=True, kw_only=True):
    """Money that waits for its payer to claim it.

    Attributes:
        refund: the refund that it pays; None where it returns money that was held for the payer.
        held: the receipt whose held money it returns: its `fact` in the payment's timeline.
        status: `open` until the payer names a bank account, `processing` until the bank statement shows the transfer.
        token: for the payer, shown when the offer is made and never again.
        failure_code: why it came to nothing.
        disputed: the payer's bank takes, or may take, the same money: it is not sent, and where it was he has it twice.
    """

    object: Literal["refund_claim"] = "refund_claim"
    id: str
    livemode: bool
    payment_intent: str
    refund: str | None
    held: str | None
    amount: int
    currency: str
    status: Literal["open", "processing", "paid", "returned", "expired", "failed"]
    destination: ClaimDestination | None
    failure_code: str | None
    value_on: date | None
    created_at: datetime
    expires_at: datetime
    version: int
    disputed: bool
    token: str | None = None

    def __repr__(self) -> str:
        """No token reaches a log."""
        return f"RefundClaim({self.id})"


_WIRE_STATUS: Final[dict[ClaimState, Literal["open", "paid", "returned", "expired", "failed"]]] = {
    ClaimState.OPEN: "open",
    ClaimState.PAID: "paid",
    ClaimState.RETURNED: "returned",
    ClaimState.EXPIRED: "expired",
    ClaimState.REJECTED: "failed",
}


def claim_view(claim: ClaimRow, *, token: str | None = None) -> RefundClaim:
    """The claim as its merchant sees it; `token` only in the answer that makes the offer."""
    destination = None
    if claim.bank_code is not None and claim.last_four is not None:
        destination = ClaimDestination(bank_code=claim.bank_code, last_four=claim.last_four)
    return RefundClaim(
        id=claim.claim_id,
        livemode=claim.livemode,
        payment_intent=claim.intent_id,
        refund=claim.refund_id,
        held=claim.held_fact_id,
        amount=claim.amount_minor,
        currency=claim.currency.lower(),
        status=_WIRE_STATUS.get(claim.state, "processing"),
        destination=destination,
        failure_code=claim.failure_code,
        value_on=claim.value_on,
        created_at=claim.created_at,
        expires_at=claim.expires_at,
        version=claim.version,
        disputed=claim.disputed_at is not None,
        token=token,
    )


def claim_event(claim: ClaimRow, kind: str, now: datetime) -> NewEvent:
    """What the merchant is told of a claim; never its token."""
    return NewEvent(
        book_id=claim.book_id,
        account_id=claim.account_id,
        livemode=claim.livemode,
        type=kind,
        object=msgspec.json.encode(claim_view(claim)),
        created_at=now,
    )


async def claims_of(connection: AsyncConnection, book_id: int, intent_id: str) -> list[ClaimRow]:
    """Every claim of a payment, oldest first."""
    c = refund_claims.c
    statement = select(refund_claims).where(c.book_id == book_id, c.intent_id == intent_id).order_by(c.claim_id)
    return await rows_of(connection, statement, ClaimRow)


async def locked_claim(connection: AsyncConnection, book_id: int, claim_id: str) -> ClaimRow:
    """The claim, locked until the transaction ends; the caller has locked its payment where it changes that, too.

    Raises:
        LookupError: there is none.
    """
    c = refund_claims.c
    statement = select(refund_claims).where(c.book_id == book_id, c.claim_id == claim_id).with_for_update()
    rows = await rows_of(connection, statement, ClaimRow)
    if not rows:
        raise LookupError(f"no claim {claim_id} in book {book_id}")
    return rows[0]


async def claim_by_token(connection: AsyncConnection, vault: Vault, token: str) -> ClaimRow:
    """The claim that a payer's token stands for.

    Raises:
        NotFound: a token of nothing.
    """
    statement = select(refund_claims).where(refund_claims.c.token_hash == tokens.hash_of(vault, token))
    for row in await rows_of(connection, statement, ClaimRow):
        if tokens.opens(vault, token, row.claim_id):
            return row
    raise NotFound("no such claim")


async def move_claim(
    connection: AsyncConnection,
    before: ClaimRow,
    to: ClaimState,
    now: datetime,
    *,
    actor: str,
    reason: str,
    **changes: object,
) -> ClaimRow:
    """Move a claim that the caller has locked; who and why are kept."""
    after = msgspec.structs.replace(before, state=to, version=before.version + 1, **changes)
    await replace_rows(connection, refund_claims, [after])
    move = Move(
        subject_id=after.claim_id,
        object="claim",
        version=after.version,
        from_status=before.state,
        to_status=after.state,
        actor=actor,
        reason=reason,
    )
    await add_moves(connection, after.book_id, [move], now)
    return after
