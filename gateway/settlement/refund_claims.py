"""Claims of payers: the bank account they name, the operator who lets the transfer go, and how a claim ends unpaid.

A claim that comes to nothing is decided first, under the payment's lock, so that no payer can take it up meanwhile;
then the money goes back in the books under a key of the refund; then the refund is `failed`. `run_once` expires what
is due and finishes what a crash left between those steps. Lock order: the payment, then its claim.
"""

from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.clock import real_now
from gateway.foundation.database import Database
from gateway.foundation.encryption import Vault
from gateway.foundation.ids import entry_key
from gateway.foundation.logs import get_logger
from gateway.merchants.clocks import clock_of
from gateway.merchants.operators import is_second_person
from gateway.payments.claim_disputes import disputed_claims, measure_disputed
from gateway.payments.claim_records import ClaimRow, claim_by_token, claim_event, locked_claim, move_claim
from gateway.payments.entries import metadata_of, pending_until
from gateway.payments.errors import Refused
from gateway.payments.records import IntentRow, RefundRow, lock_intents, refunds_by_id, replace_rows, rows_of
from gateway.payments.refund_changes import change_refund
from gateway.payments.states import CLAIM_MOVES, ClaimState, RefundStatus
from gateway.payments.tables import intents, refund_claims
from gateway.settlement.payout_files import BankAccount
from gateway.settlement.payouts import SYSTEM
from gateway.settlement.rounds import AT_ONCE, Rounds
from gateway.webhooks.events import record
from ledger.journal import JournalEntry, Posted
from ledger.posting import Ledger
from ledger.posting_rules.refunds import refund_failed

PAYER: Final = "payer"
_log = get_logger("quickkub.claims")
_EVENTS: Final = {
    ClaimState.CLAIMED: "refund_claim.claimed",
    ClaimState.APPROVED: "refund_claim.approved",
    ClaimState.IN_TRANSIT: "refund_claim.in_transit",
    ClaimState.PAID: "refund_claim.paid",
    ClaimState.RETURNED: "refund_claim.returned",
    ClaimState.EXPIRED: "refund_claim.expired",
    ClaimState.REJECTED: "refund_claim.failed",
}
_REFUSABLE: Final = frozenset({ClaimState.OPEN, ClaimState.CLAIMED, ClaimState.APPROVED})
"""What an operator may still refuse, unless it is in a file."""
_DUE = text("""
    SELECT claim.book_id, claim.claim_id
    FROM gateway.refund_claims AS claim
    LEFT JOIN gateway.book_clocks AS clock ON clock.book_id = claim.book_id
    WHERE claim.state = 'open'
      AND claim.expires_at <= CAST(:now AS timestamptz) + make_interval(secs => coalesce(clock.offset_seconds, 0))
      AND claim.claim_id > :after
    ORDER BY claim.claim_id
    LIMIT :most
""")


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A claim with what its payer may read of the payment."""

    claim: ClaimRow
    description: str


class RefundClaims:
    """The use cases of claims, from the payer's answer on."""

    def __init__(self, database: Database, ledger: Ledger, vault: Vault) -> None:
        self._database = database
        self._ledger = ledger
        self._vault = vault
        self._due_rounds, self._unsettled_rounds = Rounds(), Rounds()

    async def find(self, token: str) -> Offer:
        """What a payer's token offers.

        Raises:
            NotFound: a token of nothing.
        """
        async with self._database.read() as connection:
            claim = await claim_by_token(connection, self._vault, token)
            c = intents.c
            statement = select(c.description).where(c.book_id == claim.book_id, c.intent_id == claim.intent_id)
            return Offer(claim=claim, description=(await connection.execute(statement)).scalar_one())

    async def claim(self, token: str, account: BankAccount) -> Offer:
        """The payer names a bank account. The same account again changes nothing.

        Raises:
            NotFound: a token of nothing.
            Refused: `refund_claim_closed`, `refund_claim_expired`, or `payment_disputed`: his bank takes the money
                back; nothing changed.
        """
        async with self._database.transaction() as connection:
            known = await claim_by_token(connection, self._vault, token)
            [intent] = await lock_intents(connection, known.book_id, [known.intent_id])
            before = await locked_claim(connection, known.book_id, known.claim_id)
            if before.state is not ClaimState.OPEN:
                self._check_same(before, account)
                return Offer(claim=before, description=intent.description)
            now = (await clock_of(connection, before.book_id)).now()
            if now >= before.expires_at:
                raise Refused("refund_claim_expired", f"it was to be claimed before {before.expires_at:%Y-%m-%d}")
            await _check_undisputed(connection, before)
            claim = await advance(
                connection,
                before,
                ClaimState.CLAIMED,
                now,
                actor=PAYER,
                reason="claimed",
                bank_code=account.bank_code,
                last_four=account.account_number[-4:],
                sealed_destination=self._vault.seal_house(
                    msgspec.json.encode(account), context=destination_context(before.claim_id)
                ),
                claimed_at=now,
            )
            await _move_refund(connection, intent, claim, RefundStatus.PENDING, now, actor=PAYER, reason="claimed")
            if not claim.livemode:
                claim = await advance(connection, claim, ClaimState.APPROVED, now, actor=SYSTEM, reason="test mode")
        return Offer(claim=claim, description=intent.description)

    async def approve(self, book_id: int, claim_id: str, *, actor: str, reason: str) -> ClaimRow:
        """An operator lets a claimed transfer go to the bank; never one who may be the one who offered the money.

        Raises:
            LookupError: there is no such claim.
            Refused: `refund_claim_closed`, `second_person_required`, `payment_disputed`; in this order.
        """
        async with self._database.transaction() as connection:
            # With its payment, so that no dispute of it is being written between the look and the commit.
            _, claim = await locked(connection, book_id, claim_id)
            if claim.state is not ClaimState.CLAIMED:
                raise Refused("refund_claim_closed", f"the claim is {claim.state}")
            if claim.offered_by != claim.account_id and not is_second_person(claim.offered_by, actor):
                raise Refused("second_person_required", "whoever offered the money does not let it go")
            await _check_undisputed(connection, claim)
            now = (await clock_of(connection, book_id)).now()
            return await advance(connection, claim, ClaimState.APPROVED, now, actor=actor, reason=reason)

    async def refuse(self, book_id: int, claim_id: str, *, actor: str, reason: str) -> ClaimRow:
        """An operator refuses a claim that is in no file yet: the merchant has a refund's money again. Safe to repeat.

        Raises:
            LookupError: there is no such claim.
            Refused: `refund_claim_closed`.
            LedgerBusy, OutcomeUnknown: it is decided; the money follows by itself.
        """
        return await self._end(book_id, claim_id, actor=actor, reason=reason, code="refused_by_operator")

    async def reject(self, book_id: int, claim_id: str, *, reason: str, code: str) -> None:
        """The bank will certainly not transfer it."""
        await self._end(book_id, claim_id, actor=SYSTEM, reason=reason, code=code, is_by_bank=True)

    async def run_once(self) -> int:
        """Expire what is due and finish what was decided before, some a round; returns how many claims were tried."""
        c = refund_claims.c
        unsettled = select(c.book_id, c.claim_id).where(~c.settled, c.claim_id > self._unsettled_rounds.after)
        wanted = {"now": real_now(), "after": self._due_rounds.after, "most": AT_ONCE}
        async with self._database.read() as connection:
            due = (await connection.execute(_DUE, wanted)).all()
            left = (await connection.execute(unsettled.order_by(c.claim_id).limit(AT_ONCE))).all()
            await measure_disputed(connection)
        self._due_rounds.turn([claim_id for _, claim_id in due])
        self._unsettled_rounds.turn([claim_id for _, claim_id in left])
        for act, rows in ((self._expire, due), (self._settle, left)):
            for book_id, claim_id in rows:
                try:
                    await act(book_id, claim_id)
                except Exception:  # noqa: BLE001 -- logged; one that cannot be ended now must not hold back the others
                    _log.exception("claim could not be ended", extra={"claim": claim_id})
        return len(due) + len(left)

    async def _expire(self, book_id: int, claim_id: str) -> None:
        async with self._database.transaction() as connection:
            _, claim = await locked(connection, book_id, claim_id)
            clock = await clock_of(connection, book_id)
            if claim.state is not ClaimState.OPEN or clock.now() < claim.expires_at:
                return
            await _decide(
                connection, claim, ClaimState.EXPIRED, clock.now(), actor=SYSTEM, reason="deadline", code="expired"
            )
        await self._settle(book_id, claim_id)

    async def _end(
        self, book_id: int, claim_id: str, *, actor: str, reason: str, code: str, is_by_bank: bool = False
    ) -> ClaimRow:
        async with self._database.transaction() as connection:
            _, claim = await locked(connection, book_id, claim_id)
            if claim.state is not ClaimState.REJECTED:
                may_end = claim.state in _REFUSABLE and claim.payout_file_id is None
                if is_by_bank:
                    may_end = ClaimState.REJECTED in CLAIM_MOVES[claim.state]
                if not may_end:
                    raise Refused("refund_claim_closed", f"the claim is {claim.state}")
                now = (await clock_of(connection, book_id)).now()
                claim = await _decide(
                    connection, claim, ClaimState.REJECTED, now, actor=actor, reason=reason, code=code
                )
        await self._settle(book_id, claim_id)
        return claim

    async def _settle(self, book_id: int, claim_id: str) -> None:
        """Give the money of an ended claim back and say so; held money stays held, and nothing is posted for it."""
        async with self._database.read() as connection:
            claim, refund = await _read(connection, book_id, claim_id)
        if claim.settled:
            return
        if refund is not None:
            result = await self._ledger.post(book_id, _given_back(claim, refund))
            assert isinstance(result, Posted), "a recording entry is not refused"
        async with self._database.transaction() as connection:
            intent, claim = await locked(connection, book_id, claim_id)
            if claim.settled:
                return
            now = (await clock_of(connection, book_id)).now()
            await replace_rows(connection, refund_claims, [msgspec.structs.replace(claim, settled=True)])
            await _move_refund(
                connection,
                intent,
                claim,
                RefundStatus.FAILED,
                now,
                actor=SYSTEM,
                reason=f"claim {claim.state}",
                failure_code=f"claim_{claim.state}",
            )

    def _check_same(self, claim: ClaimRow, account: BankAccount) -> None:
        """Refuse a claim that is taken, unless it is the same payer's retry."""
        if claim.sealed_destination is None or opened_destination(self._vault, claim) != account:
            raise Refused("refund_claim_closed", f"the claim is {claim.state}")


async def advance(
    connection: AsyncConnection,
    before: ClaimRow,
    to: ClaimState,
    now: datetime,
    *,
    actor: str,
    reason: str,
    **changes: object,
) -> ClaimRow:
    """Move a locked claim and tell the merchant."""
    claim = await move_claim(connection, before, to, now, actor=actor, reason=reason, **changes)
    if to in _EVENTS:
        await record(connection, [claim_event(claim, _EVENTS[to], now)])
    return claim


async def locked(connection: AsyncConnection, book_id: int, claim_id: str) -> tuple[IntentRow, ClaimRow]:
    """A claim and its payment, both locked in their order.

    Raises:
        LookupError: there is no such claim.
    """
    c = refund_claims.c
    statement = select(c.intent_id).where(c.book_id == book_id, c.claim_id == claim_id)
    intent_id = (await connection.execute(statement)).scalar_one_or_none()
    if intent_id is None:
        raise LookupError(f"no claim {claim_id} in book {book_id}")
    [intent] = await lock_intents(connection, book_id, [intent_id])
    return intent, await locked_claim(connection, book_id, claim_id)


async def _read(connection: AsyncConnection, book_id: int, claim_id: str) -> tuple[ClaimRow, RefundRow | None]:
    """A claim with its refund as they stand; nothing is locked."""
    c = refund_claims.c
    [claim] = await rows_of(
        connection, select(refund_claims).where(c.book_id == book_id, c.claim_id == claim_id), ClaimRow
    )
    return claim, await refund_of(connection, claim)


async def refund_of(connection: AsyncConnection, claim: ClaimRow) -> RefundRow | None:
    """The refund that a claim pays; None where it returns held money."""
    if claim.refund_id is None:
        return None
    [refund] = await refunds_by_id(connection, claim.book_id, [claim.refund_id])
    return refund


async def _check_undisputed(connection: AsyncConnection, claim: ClaimRow) -> None:
    """Refuse to pay what the payer gets, or got, through a dispute of the charge that it came by."""
    if await disputed_claims(connection, [claim]):
        raise Refused("payment_disputed", "the payer's bank takes this money back")


def destination_context(claim_id: str) -> str:
    """What a payer's bank account is sealed for."""
    return f"refund_claim_destination:{claim_id}"


def opened_destination(vault: Vault, claim: ClaimRow) -> BankAccount:
    """The payer's bank account."""
    assert claim.sealed_destination is not None, "only a claim that was taken up has one"
    opened = vault.open_house(claim.sealed_destination, context=destination_context(claim.claim_id))
    return msgspec.json.decode(opened, type=BankAccount)


async def _move_refund(
    connection: AsyncConnection,
    intent: IntentRow,
    claim: ClaimRow,
    to: RefundStatus,
    now: datetime,
    *,
    actor: str,
    reason: str,
    failure_code: str | None = None,
) -> None:
    refund = await refund_of(connection, claim)
    if refund is not None:
        _, events = await change_refund(
            connection, intent, refund, to, now, actor=actor, reason=reason, failure_code=failure_code
        )
        await record(connection, events)


async def _decide(
    connection: AsyncConnection, claim: ClaimRow, to: ClaimState, now: datetime, *, actor: str, reason: str, code: str
) -> ClaimRow:
    """Note that a claim comes to nothing, and on which business date: from it the entry follows, whoever posts it."""
    today = (await clock_of(connection, claim.book_id)).today()
    return await advance(
        connection,
        claim,
        to,
        now,
        actor=actor,
        reason=reason,
        failure_code=code,
        ended_on=today,
        settled=False,
    )


def _given_back(claim: ClaimRow, refund: RefundRow) -> JournalEntry:
    """The refund's money goes where the charge's money is on the day that the claim ended."""
    assert claim.ended_on is not None, "only an ended claim gives money back"
    return refund_failed(
        key=entry_key(refund.refund_id, "failed"),
        captured_key=refund.capture_key,
        merchant=refund.account_id,
        amount_minor=refund.amount_minor,
        currency=refund.currency,
        pending_until=pending_until(refund.available_on, claim.ended_on),
        effective_on=claim.ended_on,
        metadata=metadata_of(refund=refund.refund_id, claim=claim.claim_id),
        caller=SYSTEM,
    )
