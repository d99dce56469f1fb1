"""Claims: money that no provider gives back is offered to the payer, who names a bank account to have it sent to.

Two kinds of money: that of a refund (set aside as for any refund) and that which is held for the payer (paid twice,
too late, too much, too little); never that of a charge which the payer's bank takes back in a dispute. A claim is an
offer first; what follows, from the payer's bank account to the bank statement, is in
`gateway/settlement/refund_claims.py`. The token is the payer's only right to the money: it is derived from the claim's
id by a secret key, shown to the merchant when the offer is made, and stored as a hash.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Final, Literal

import msgspec
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.clock import BookClock
from gateway.foundation.database import Database
from gateway.foundation.encryption import Vault
from gateway.foundation.ids import new_id
from gateway.merchants.operators import record_act
from gateway.payments import tokens
from gateway.payments.errors import NotFound, Refused
from gateway.payments.facts import ClockOf, RecordEvents
from gateway.payments.held_receipts import HeldReceipt, held_receipts
from gateway.payments.records import (
    IntentRow,
    Move,
    RefundRow,
    add_moves,
    add_rows,
    lock_intents,
    replace_rows,
    rows_of,
)
from gateway.payments.states import ClaimState
from gateway.payments.tables import refund_claims
from gateway.webhooks.events import NewEvent

CLAIM_LIFE: Final = timedelta(days=30)
CURRENCY: Final = "THB"
"""Bank files carry baht to Thai banks."""


class ClaimRow(msgspec.Struct, frozen=True, kw_only=True):
    """A claim, see `tables.refund_claims`.

    Attributes:
        refund_id: the refund that it pays, or
        held_fact_id: the receipt whose held money it returns.
        offered_by: the account, or the operator who offered it; another one must let it go.
        end_to_end_id: what the bank calls the transfer.
        ended_on: business date on which it came to nothing before any debit.
        settled: what its state means is in the books and on the refund.
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


def claim_of_refund(vault: Vault, refund: RefundRow, now: datetime) -> ClaimRow:
    """The claim that a refund begins with once its money is set aside."""
    assert refund.claim_id is not None, "only refunds by a claim have one"
    return _new_claim(
        vault,
        refund.claim_id,
        refund,
        refund_id=refund.refund_id,
        held_fact_id=None,
        amount_minor=refund.amount_minor,
        currency=refund.currency,
        offered_by=refund.account_id,
        now=now,
    )


def _new_claim(
    vault: Vault,
    claim_id: str,
    subject: RefundRow | IntentRow,
    *,
    refund_id: str | None,
    held_fact_id: str | None,
    amount_minor: int,
    currency: str,
    offered_by: str,
    now: datetime,
) -> ClaimRow:
    return ClaimRow(
        book_id=subject.book_id,
        claim_id=claim_id,
        account_id=subject.account_id,
        livemode=subject.livemode,
        intent_id=subject.intent_id,
        refund_id=refund_id,
        held_fact_id=held_fact_id,
        amount_minor=amount_minor,
        currency=currency,
        token_hash=tokens.hash_of(vault, tokens.token_of(vault, claim_id)),
        state=ClaimState.OPEN,
        version=1,
        offered_by=offered_by,
        bank_code=None,
        last_four=None,
        sealed_destination=None,
        end_to_end_id=claim_id.replace("_", "").upper(),
        payout_file_id=None,
        failure_code=None,
        value_on=None,
        bank_reference=None,
        ended_on=None,
        settled=True,
        created_at=now,
        expires_at=now + CLAIM_LIFE,
        claimed_at=None,
        submitted_at=None,
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


class HeldMoney:
    """Offers held money back to its payer.

    Args:
        clock_of: business time of a book.
    """

    def __init__(self, database: Database, vault: Vault, *, clock_of: ClockOf, record_events: RecordEvents) -> None:
        self._database = database
        self._vault = vault
        self._clock_of = clock_of
        self._record_events = record_events

    async def offer(
        self,
        book_id: int,
        intent_id: str,
        *,
        account_id: str | None,
        actor: str,
        reason: str = "",
        held_id: str | None = None,
        claim_id: str | None = None,
    ) -> RefundClaim:
        """Offer what a receipt of a payment left held, and nobody took or offered yet.

        Args:
            account_id: whose payment it must be; None: an operator asks, and the act is kept with its reason.
            held_id: which receipt; None: the oldest.
            claim_id: `claim.id_for("clm")`, so that a retry takes up what an earlier run made.

        Raises:
            NotFound: no such payment, or nothing of it was ever held by that receipt.
            Refused: `nothing_held`, also where somebody else offers the same receipt at this moment;
                `payment_disputed` where the payer's bank takes what waits, or may yet.
        """
        try:
            async with self._database.transaction() as connection:
                rows = await lock_intents(connection, book_id, [intent_id])
                if not rows or account_id not in {None, rows[0].account_id}:
                    raise NotFound(f"no payment intent {intent_id}")
                claim = await self._offered(connection, rows[0], claim_id, held_id, actor)
                if account_id is None:
                    await record_act(
                        connection, actor=actor, act="refund_claim.offered", subject=claim.claim_id, reason=reason
                    )
        except IntegrityError as error:
            if "refund_claims_held" not in str(error.orig):
                raise
            raise Refused("nothing_held", "it is being offered already", param="payment_intent") from error
        return claim_view(claim, token=tokens.token_of(self._vault, claim.claim_id))

    async def _offered(
        self, connection: AsyncConnection, intent: IntentRow, claim_id: str | None, held_id: str | None, actor: str
    ) -> ClaimRow:
        made = await claims_of(connection, intent.book_id, intent.intent_id)
        for known in made:
            if known.claim_id == claim_id:
                return known
        held = held_by(await held_receipts(connection, intent.book_id, [intent.intent_id]), held_id)
        waiting = first_free([each for each in held if not each.is_lost], held, currency=CURRENCY)
        receipt = waiting.receipt
        clock: BookClock = await self._clock_of(connection, intent.book_id)
        claim = _new_claim(
            self._vault,
            claim_id or new_id("clm", livemode=intent.livemode),
            intent,
            refund_id=None,
            held_fact_id=receipt.fact_id,
            amount_minor=waiting.free_minor,
            currency=receipt.currency,
            offered_by=actor,
            now=clock.now(),
        )
        await add_rows(connection, refund_claims, [claim])
        await self._record_events(connection, [claim_event(claim, "refund_claim.created", claim.created_at)])
        return claim


def held_by(held: Mapping[str, HeldReceipt], held_id: str | None) -> list[HeldReceipt]:
    """The receipts with money that was held, be it decided about by now; only the named one, where one is named.

    Raises:
        NotFound: nothing was held by the named one.
    """
    if held_id is None:
        return list(held.values())
    if held_id not in held:
        raise NotFound(f"nothing held {held_id}")
    return [held[held_id]]


def first_free(fitting: Sequence[HeldReceipt], held: Sequence[HeldReceipt], *, currency: str) -> HeldReceipt:
    """The oldest of the fitting receipts of which something may be accepted or offered.

    Raises:
        Refused: `payment_disputed` where one of all of them would have it but for a dispute, else `nothing_held`.
    """
    for each in fitting:
        if each.free_minor and each.receipt.currency == currency:
            return each
    if any(each.undecided_minor > 0 and not each.accepted_minor and each.receipt.currency == currency for each in held):
        raise Refused("payment_disputed", "the payer's bank takes this money back", param="payment_intent")
    raise Refused("nothing_held", "no money of it is held that is neither taken nor offered", param="payment_intent")
