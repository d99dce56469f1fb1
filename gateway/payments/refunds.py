"""Refunds: the money is set aside in the books before any provider is asked to give it back.

1. The row is committed as `requested`, with all that its reserve will say.
2. The reserve is posted through the ledger's batcher, under a key from the row's id. It draws on the capture entry,
   whose cap – no balance, no row lock – makes it impossible that racing refunds exceed what was captured.
3. Its answer is recorded: refused → `failed` and nothing moved; posted → `submitted`.
4. The provider is called outside any transaction, and what it says goes to the applier. Where the provider gives
   nothing back, the payer claims it instead (`claims.py`).

A crash between any two steps leaves a row that says how far it got; `Refunds.proceed` goes on from there, called by
the merchant's retry or the janitor.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import or_, select, update

from gateway.foundation.clock import BookClock, real_now
from gateway.foundation.database import Database
from gateway.foundation.encryption import Vault
from gateway.foundation.ids import new_id
from gateway.merchants.principals import MerchantPrincipal
from gateway.payments import tokens
from gateway.payments.acceptances import Capture, captures_of
from gateway.payments.calls import Calls
from gateway.payments.claims import CURRENCY, claim_of_refund
from gateway.payments.entries import pending_until
from gateway.payments.errors import NotFound, Refused
from gateway.payments.facts import FactApplier, RecordEvents
from gateway.payments.listing import Page, read_page
from gateway.payments.records import (
    IntentRow,
    RefundRow,
    RowWrites,
    Subject,
    add_rows,
    lock_intents,
    refunds_by_id,
    rows_of,
)
from gateway.payments.refund_changes import change_refund
from gateway.payments.refund_reserves import post_reserve
from gateway.payments.requests import CreateRefund, check_metadata, provider_key_of
from gateway.payments.routing import capabilities_of, check_refund
from gateway.payments.schedule import Schedule
from gateway.payments.states import IntentStatus, RefundStatus
from gateway.payments.tables import intents, refund_claims, refunds
from gateway.payments.views import Refund, refund_view
from gateway.providers.base import FactSource
from ledger.journal import Posted
from ledger.posting import Ledger
from ledger.refusals import Refusal


class Refunds:
    """The use cases of refunds.

    Args:
        ledger: posts reserves; the applier posts everything that follows.
        schedule: when an open refund is asked about.
        vault: makes the tokens of claims.
    """

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        applier: FactApplier,
        calls: Calls,
        schedule: Schedule,
        *,
        vault: Vault,
        record_events: RecordEvents,
    ) -> None:
        self._database = database
        self._vault = vault
        self._ledger = ledger
        self._applier = applier
        self._calls = calls
        self._schedule = schedule
        self._record_events = record_events

    async def create(
        self, principal: MerchantPrincipal, request: CreateRefund, *, refund_id: str | None = None
    ) -> Refund:
        """Give money back to the payer, all that is left or a part.

        Args:
            refund_id: `claim.id_for("re")`, so that a retry takes up what an earlier run began.

        Raises:
            InvalidRequest: metadata beyond its limits.
            NotFound: no payment of this account has that id.
            Refused: `payment_not_refundable`, `payment_disputed`, `refund_not_supported`, `refund_window_closed`,
                `refund_claim_not_needed`, or the ledger's refusal
                (`exceeds_original`, `below_floor`): the refund, if one was made, is `failed` and nothing moved.
            LedgerBusy, OutcomeUnknown: the reserve may not be posted yet; the refund goes on by itself.
        """
        refund = None if refund_id is None else await self._find(principal, refund_id)
        if refund is None:
            refund = await self._commit(principal, request, refund_id or new_id("re", livemode=principal.livemode))
        elif refund.status is RefundStatus.REQUESTED and not await self._leased(refund):
            return refund_view(refund)
        if refund.status is RefundStatus.REQUESTED:
            await self.proceed(refund, principal.clock)
            refund = await self._find(principal, refund.refund_id)
            assert refund is not None, "refunds are never deleted"
        if refund.status is RefundStatus.FAILED and refund.outcome is RefundStatus.REQUESTED:
            raise Refused(
                refund.failure_code or "refund_refused",
                "the books do not have this money to give back",
                param="amount",
                subject_id=refund.refund_id,
            )
        claim_token = None if refund.claim_id is None else tokens.token_of(self._vault, refund.claim_id)
        return refund_view(refund, claim_token=claim_token)

    async def get(self, principal: MerchantPrincipal, refund_id: str) -> Refund:
        """The refund.

        Raises:
            NotFound: no refund of this account has that id.
        """
        refund = await self._find(principal, refund_id)
        if refund is None:
            raise NotFound(f"no refund {refund_id}")
        return refund_view(refund)

    async def list(
        self,
        principal: MerchantPrincipal,
        *,
        payment_intent: str | None = None,
        limit: int = 10,
        starting_after: str | None = None,
        ending_before: str | None = None,
    ) -> Page[Refund]:
        """A page of the account's refunds, newest first; of one payment, where that is named.

        Raises:
            InvalidRequest: `cursor_invalid`.
        """
        c = refunds.c
        where = [c.book_id == principal.book_id, c.account_id == principal.account_id]
        if payment_intent is not None:
            where.append(c.intent_id == payment_intent)
        async with self._database.read() as connection:
            page = await read_page(
                connection,
                refunds,
                c.refund_id,
                RefundRow,
                *where,
                limit=limit,
                starting_after=starting_after,
                ending_before=ending_before,
            )
        return Page(data=[refund_view(row) for row in page.data], has_more=page.has_more)

    async def proceed(self, refund: RefundRow, clock: BookClock) -> None:
        """Take a refund on from `requested` or `reserved`; the caller holds its lease.

        Raises:
            LedgerError: the reserve's outcome is not known or it could not be posted; call again.
        """
        sending = None
        if refund.status is RefundStatus.REQUESTED:
            result = await post_reserve(self._database, self._ledger, refund, clock)
            if isinstance(result, Posted):
                onwards = RefundStatus.SUBMITTED if refund.claim_id is None else RefundStatus.REQUIRES_ACTION
                sending = await self._move_on(refund, onwards, clock)
            else:
                await self._move_on(refund, RefundStatus.FAILED, clock, failure_code=result.refusal.code)
        elif refund.status is RefundStatus.RESERVED:
            sending = await self._move_on(refund, RefundStatus.SUBMITTED, clock)
        if sending is not None and sending.claim_id is None:
            await self.send(sending, clock)

    async def send(self, refund: RefundRow, clock: BookClock) -> None:
        """Ask the provider to give the money back, under the refund's one key, and record its answer."""
        finding = await self._calls.refund(refund, clock.now())
        await self._applier.report(finding, book_id=refund.book_id)

    async def _commit(self, principal: MerchantPrincipal, request: CreateRefund, refund_id: str) -> RefundRow:
        check_metadata(request.metadata)
        async with self._database.transaction() as connection:
            c = intents.c
            mine = (c.book_id == principal.book_id, c.account_id == principal.account_id)
            # Locked, so that a refund asked for after a dispute is known cannot have read the payment before it.
            wanted = select(intents).where(*mine, c.intent_id == request.payment_intent).with_for_update()
            found = await rows_of(connection, wanted, IntentRow)
            if not found:
                raise NotFound(f"no payment intent {request.payment_intent}")
            intent = found[0]
            captures = await captures_of(connection, intent)
            refund = self._new_row(principal, request, refund_id, intent, captures)
            writes = RowWrites().insert(refunds, [refund])
            if refund.claim_id is None:
                subject = Subject(intent_id=intent.intent_id, refund_id=refund_id)
                writes.refer([(refund.book_id, refund.provider, refund.provider_key, subject)])
            await writes.send(connection)
        return refund

    def _new_row(
        self,
        principal: MerchantPrincipal,
        request: CreateRefund,
        refund_id: str,
        intent: IntentRow,
        captures: Sequence[Capture],
    ) -> RefundRow:
        """The refund as it begins. Refuses early what the ledger would; the ledger decides between racing ones."""
        if intent.status is not IntentStatus.SUCCEEDED or not captures:
            raise Refused("payment_not_refundable", f"the payment is {intent.status}", param="payment_intent")
        amount_minor = intent.refundable_minor if request.amount is None else request.amount
        asked_minor = amount_minor if request.amount or amount_minor else intent.unrefunded_minor
        if intent.questioned_minor and intent.refundable_minor < asked_minor <= intent.unrefunded_minor:
            raise Refused(
                "payment_disputed", f"{intent.questioned_minor} of the payment is disputed", param="payment_intent"
            )
        if not 0 < amount_minor <= intent.refundable_minor:
            raise Refused(Refusal.EXCEEDS_ORIGINAL.code, f"{intent.refundable_minor} is left to refund", param="amount")
        capture = _fitting(captures, amount_minor)
        receipt, paid = capture.receipt, capture.attempt
        now = principal.clock.now()
        today = principal.clock.today()
        self._check_way(request, capture, amount_minor, now=now)
        return RefundRow(
            book_id=principal.book_id,
            refund_id=refund_id,
            account_id=principal.account_id,
            livemode=principal.livemode,
            intent_id=intent.intent_id,
            attempt_id=paid.attempt_id,
            provider=paid.provider,
            provider_key=provider_key_of(refund_id),
            charge_reference=paid.provider_reference or paid.provider_key,
            charge_key=paid.provider_key,
            method=paid.method,
            captured_minor=receipt.amount_minor,
            captured_at=receipt.occurred_at,
            amount_minor=amount_minor,
            currency=intent.currency,
            status=RefundStatus.REQUESTED,
            outcome=RefundStatus.REQUESTED,
            version=1,
            reason=request.reason,
            metadata=request.metadata,
            failure_code=None,
            provider_code=None,
            capture_key=capture.key,
            available_on=capture.available_on,
            reserve_pending_until=pending_until(capture.available_on, today),
            reserve_effective_on=today,
            created_at=now,
            asks=0,
            due_at=self._schedule.first_due_at(now),
            leased_until=self._schedule.lease_end(),
            claim_id=None if request.via == "provider" else new_id("clm", livemode=principal.livemode),
        )

    def _check_way(self, request: CreateRefund, capture: Capture, amount_minor: int, *, now: datetime) -> None:
        """Refuse a provider's refund that it does not make, and a claim where it gives all that is left back."""
        receipt, paid = capture.receipt, capture.attempt
        is_claim = request.via == "claim"
        if receipt.source is FactSource.RECEIPT and is_claim and paid.currency == CURRENCY:
            return
        if receipt.source is FactSource.RECEIPT:
            raise Refused("refund_not_supported", "this money came to our bank, by no provider", param="via")
        is_whole = (capture.left_minor if is_claim else amount_minor) == receipt.amount_minor
        try:
            check_refund(
                capabilities_of(self._calls.providers, paid.provider, paid.method, paid.currency),
                captured_at=receipt.occurred_at,
                whole=is_whole,
                now=now,
                provider=paid.provider,
            )
        except Refused:
            if is_claim and paid.currency == CURRENCY:
                return
            raise
        if is_claim:
            raise Refused("refund_claim_not_needed", f"{paid.provider} gives this money back", param="via")

    async def _move_on(
        self, refund: RefundRow, status: RefundStatus, clock: BookClock, *, failure_code: str | None = None
    ) -> RefundRow | None:
        """Move the refund on under its intent's lock; None where somebody else has, and goes on with it."""
        now = clock.now()
        async with self._database.transaction() as connection:
            intent = (await lock_intents(connection, refund.book_id, [refund.intent_id]))[0]
            current = (await refunds_by_id(connection, refund.book_id, [refund.refund_id]))[0]
            if current.status is not refund.status:
                return None
            moved, events = await change_refund(
                connection,
                intent,
                current,
                status,
                now,
                actor=refund.account_id,
                reason=failure_code or "reserve",
                failure_code=failure_code,
            )
            await self._record_events(connection, events)
            if status is RefundStatus.REQUIRES_ACTION:
                await add_rows(connection, refund_claims, [claim_of_refund(self._vault, moved, now)])
        return moved

    async def _leased(self, refund: RefundRow) -> bool:
        """Whether the refund is ours to proceed with; false while somebody else is at it."""
        c = refunds.c
        async with self._database.transaction() as connection:
            taken = await connection.execute(
                update(refunds)
                .where(c.book_id == refund.book_id, c.refund_id == refund.refund_id)
                .where(or_(c.leased_until.is_(None), c.leased_until <= real_now()))
                .values(leased_until=self._schedule.lease_end())
            )
        return taken.rowcount == 1

    async def _find(self, principal: MerchantPrincipal, refund_id: str) -> RefundRow | None:
        c = refunds.c
        statement = select(refunds).where(
            c.book_id == principal.book_id, c.refund_id == refund_id, c.account_id == principal.account_id
        )
        async with self._database.read() as connection:
            rows = await rows_of(connection, statement, RefundRow)
        return rows[0] if rows else None


def _fitting(captures: Sequence[Capture], amount_minor: int) -> Capture:
    """The first capture that bears the refund whole.

    Raises:
        Refused: `exceeds_original`: the payment has the money, in several receipts.
    """
    for capture in captures:
        if amount_minor <= capture.refundable_minor:
            return capture
    most_minor = max(capture.refundable_minor for capture in captures)
    raise Refused(
        Refusal.EXCEEDS_ORIGINAL.code,
        f"it was paid by {len(captures)} receipts; one refund gives back {most_minor} at most",
        param="amount",
    )
