"""Claims: money that no provider gives back is offered to the payer, who names a bank account to have it sent to.

Two kinds of money: that of a refund (set aside as for any refund) and that which is held for the payer (paid twice,
too late, too much, too little); never that of a charge which the payer's bank takes back in a dispute. A claim is an
offer first; what follows, from the payer's bank account to the bank statement, is in
`gateway/settlement/refund_claims.py`. The token is the payer's only right to the money: it is derived from the claim's
id by a secret key, shown to the merchant when the offer is made, and stored as a hash.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.clock import BookClock
from gateway.foundation.database import Database
from gateway.foundation.encryption import Vault
from gateway.foundation.ids import new_id
from gateway.merchants.operators import record_act
from gateway.payments import tokens
from gateway.payments.claim_records import ClaimRow, RefundClaim, claim_event, claim_view, claims_of
from gateway.payments.errors import NotFound, Refused
from gateway.payments.facts import ClockOf, RecordEvents
from gateway.payments.held_receipts import HeldReceipt, held_receipts
from gateway.payments.records import (
    IntentRow,
    RefundRow,
    add_rows,
    lock_intents,
)
from gateway.payments.states import ClaimState
from gateway.payments.tables import refund_claims

CLAIM_LIFE: Final = timedelta(days=30)
CURRENCY: Final = "THB"
"""Bank files carry baht to Thai banks."""


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
