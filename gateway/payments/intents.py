"""Payment intents: ask for a payment, confirm it, look at it, capture it, cancel it.

Whatever asks a provider commits its wish first, calls *then*, outside any transaction, and hands the answer to the
applier. So a crash at any point leaves a row that the janitor, or the merchant's retry, takes up by asking the provider
first; and what nobody knows is `processing`, never failed.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.database import Database
from gateway.foundation.ids import new_id
from gateway.merchants import customers
from gateway.merchants.principals import MerchantPrincipal
from gateway.payments.admission import blocked_event, refused
from gateway.payments.attempts import Attempts, Begun, Opening
from gateway.payments.calls import Calls, subject_of
from gateway.payments.captures import Captures
from gateway.payments.deciding import event_of
from gateway.payments.errors import InvalidRequest, NotFound, PayerBlocked, Refused
from gateway.payments.facts import FactApplier, RecordEvents
from gateway.payments.findings import Finding
from gateway.payments.listing import Page, read_page
from gateway.payments.opening import new_intent, reference_used
from gateway.payments.openings import Openings
from gateway.payments.records import (
    AttemptRow,
    IntentRow,
    Move,
    add_moves,
    add_rows,
    attempts_by_id,
    intent_with_latest,
    lock_intents,
    replace_rows,
)
from gateway.payments.requests import CaptureIntent, ConfirmIntent, CreateIntent
from gateway.payments.routing import Sum
from gateway.payments.searching import Wanted, conditions
from gateway.payments.states import IntentStatus
from gateway.payments.tables import intents
from gateway.payments.views import Intent, encoded, intent_view
from gateway.providers.base import Declined, NotAttempted

_CANCELABLE = frozenset(
    {IntentStatus.REQUIRES_ACTION, IntentStatus.REQUIRES_PAYMENT_METHOD, IntentStatus.REQUIRES_CAPTURE}
)


class Intents:
    """The use cases of payments. `close` it at the end.

    Args:
        applier: through which an existing payment changes.
        calls: asks providers; attempts: begins and sends tries; captures: takes authorised money.
    """

    def __init__(
        self,
        database: Database,
        applier: FactApplier,
        calls: Calls,
        attempts: Attempts,
        captures: Captures,
        *,
        record_events: RecordEvents,
    ) -> None:
        self._database = database
        self._applier = applier
        self._calls = calls
        self._attempts = attempts
        self._openings = Openings(database, attempts)
        self._captures = captures
        self._record_events = record_events

    async def close(self) -> None:
        """Finish what is being written."""
        await self._openings.close()

    async def create(
        self,
        principal: MerchantPrincipal,
        request: CreateIntent,
        *,
        intent_id: str | None = None,
        payment_link_id: str | None = None,
        resumed: bool = True,
    ) -> Intent:
        """Ask for a payment and, unless that is left for later, confirm it at its provider.

        A decline or an unreachable provider is not an error: the intent is back at `requires_payment_method` and
        says why in `last_error`. An unknown outcome is `processing`.

        Args:
            intent_id: `claim.id_for("pi")`, so that a retry takes up what an earlier run began.
            payment_link_id: the link under which the payer pays.
            resumed: `claim.resumed`; where it is not, the id is new and nobody can have begun anything under it.

        Raises:
            InvalidRequest: a field breaks a limit, or `merchant_reference_used`; nothing began.
            Refused: `limit_exceeded`, `velocity_exceeded`, nothing began; `payer_blocked`: the payment is kept, says
                why, and can be confirmed by another payer.
        """
        how = request.confirmation()
        intent_id = intent_id or new_id("pi", livemode=principal.livemode)
        known = await self._find(principal, intent_id) if resumed else None
        if known is None:
            try:
                begun = await self._commit(principal, request, how, intent_id, payment_link_id)
            except PayerBlocked as blocked:
                await self._commit(principal, request, None, intent_id, payment_link_id, blocked=blocked)
                raise
            if begun is not None and how is not None:
                applied = await self._attempts.send(principal, begun, how)
                return intent_view(applied.intent, applied.latest)
        elif known[1] is not None and how is not None:
            await self._attempts.resume(principal, known[0], known[1], how)
        elif how is not None and known[0].refused_reason is not None:
            raise PayerBlocked(intent_id, known[0].refused_reason)
        return await self.get(principal, intent_id)

    async def confirm(
        self, principal: MerchantPrincipal, intent_id: str, how: ConfirmIntent, *, attempt_id: str
    ) -> Intent:
        """Try to pay a payment that waits for it: the first time, or again after a decline.

        Args:
            attempt_id: `claim.id_for("att")`, so that a retry takes up what an earlier run began.

        Raises:
            NotFound: no payment of this account has that id.
            Refused: `payment_processing`, `not_confirmable`, `payer_blocked`, `velocity_exceeded`, `limit_exceeded`.
            InvalidRequest: nobody can carry it; nothing began.
        """
        async with self._database.read() as connection:
            known = await attempts_by_id(connection, principal.book_id, [attempt_id])
        if known:
            found = await self._find(principal, intent_id)
            assert found is not None, "an attempt has its payment"
            await self._attempts.resume(principal, found[0], known[0], how)
        else:
            begun = await self._attempts.confirm(principal, intent_id, how, attempt_id=attempt_id)
            applied = await self._attempts.send(principal, begun, how)
            return intent_view(applied.intent, applied.latest)
        return await self.get(principal, intent_id)

    async def capture(self, principal: MerchantPrincipal, intent_id: str, request: CaptureIntent) -> Intent:
        """Take authorised money, all of it or a part; what is left is released.

        Raises:
            NotFound: no payment of this account has that id.
            Refused: see `Captures.capture`.
        """
        await self._captures.capture(principal, intent_id, request.amount)
        return await self.get(principal, intent_id)

    async def get(self, principal: MerchantPrincipal, intent_id: str) -> Intent:
        """The payment.

        Raises:
            NotFound: no payment of this account has that id.
        """
        known = await self._find(principal, intent_id)
        if known is None:
            raise NotFound(f"no payment intent {intent_id}")
        return intent_view(*known)

    async def list(
        self,
        principal: MerchantPrincipal,
        *,
        wanted: Wanted | None = None,
        limit: int = 10,
        starting_after: str | None = None,
        ending_before: str | None = None,
    ) -> Page[Intent]:
        """A page of the account's payments, newest first: all, or those that are wanted.

        Raises:
            InvalidRequest: `cursor_invalid`.
        """
        c = intents.c
        mine = (c.book_id == principal.book_id, c.account_id == principal.account_id, *conditions(principal, wanted))
        async with self._database.snapshot() as connection:
            page = await read_page(
                connection,
                intents,
                c.intent_id,
                IntentRow,
                *mine,
                limit=limit,
                starting_after=starting_after,
                ending_before=ending_before,
            )
            latest = await _latest_attempts(connection, page.data)
        views = [intent_view(row, latest.get(row.latest_attempt_id or "")) for row in page.data]
        return Page(data=views, has_more=page.has_more)

    async def cancel(self, principal: MerchantPrincipal, intent_id: str) -> Intent:
        """Make a payment unpayable, or give an authorisation up: only where the provider confirms it.

        Never while an outcome is unknown.

        Money that a payer sends all the same is booked and held. Where the provider's answer stays unknown, the
        wish stays noted and the janitor asks on; the intent is then as it was.

        Raises:
            NotFound: no payment of this account has that id.
            Refused: `payment_processing`, `not_cancelable`, or `provider_not_attempted` (try again).
        """
        known = await self._wish_cancelled(principal, intent_id)
        if known is None:
            return await self.get(principal, intent_id)
        intent, attempt = known
        if attempt is None:
            return await self.get(principal, intent_id)
        if intent.status is IntentStatus.REQUIRES_PAYMENT_METHOD:
            await self._applier.report(
                Finding(provider=attempt.provider, subject=subject_of(attempt)), book_id=principal.book_id
            )
            return await self.get(principal, intent_id)
        answer = await self._calls.cancel(attempt, principal.clock.now())
        if isinstance(answer, Finding):
            await self._applier.report(answer, book_id=principal.book_id)
        elif isinstance(answer, Declined | NotAttempted):
            await self._take_back_wish(principal, intent_id)
            code = answer.failure_code if isinstance(answer, Declined) else "provider_not_attempted"
            raise Refused(code, "the provider did not cancel the payment", subject_id=intent_id)
        return await self.get(principal, intent_id)

    async def _commit(
        self,
        principal: MerchantPrincipal,
        request: CreateIntent,
        how: ConfirmIntent | None,
        intent_id: str,
        payment_link_id: str | None,
        *,
        blocked: PayerBlocked | None = None,
    ) -> Begun | None:
        """Validate, and commit intent, attempt, provider key and event; `blocked`: why there is no attempt."""
        intent = new_intent(principal, request, intent_id=intent_id)
        intent = msgspec.structs.replace(intent, payment_link_id=payment_link_id)
        if blocked is not None:
            intent = refused(intent, blocked)
        due = Sum(amount_minor=intent.amount_minor, currency=intent.currency, capture_later=intent.capture_later)
        choices = [] if how is None else await self._attempts.choices(principal, due, how)
        begun = None
        try:
            if how is not None and self._openings.is_for(intent, how):
                attempt_id = new_id("att", livemode=principal.livemode)
                return await self._openings.open(
                    Opening(intent=intent, how=how, attempt_id=attempt_id, choices=choices)
                )
            async with self._database.transaction() as connection:
                if request.customer and not await customers.exists(connection, principal, request.customer):
                    raise InvalidRequest("customer_unknown", "you have no such customer", param="customer")
                if how is not None:
                    begun = await self._attempts.add(
                        connection,
                        intent,
                        how,
                        attempt_id=new_id("att", livemode=principal.livemode),
                        choices=choices,
                        now=intent.created_at,
                    )
                    intent = begun.intent
                await add_rows(connection, intents, [intent])
                view = encoded(intent_view(intent, None if begun is None else begun.attempt))
                events = [event_of(intent, "payment_intent.created", view, intent.created_at)]
                if blocked is not None:
                    events.append(blocked_event(intent, None, principal))
                await self._record_events(connection, events)
        except IntegrityError as error:
            raise reference_used(error) or error from error
        return begun

    async def _wish_cancelled(
        self, principal: MerchantPrincipal, intent_id: str
    ) -> tuple[IntentRow, AttemptRow | None] | None:
        """Note under the intent's lock that money is not wanted from now on; None where it is cancelled already.

        A payment that was never tried is cancelled here: nobody else needs to be asked.
        """
        async with self._database.transaction() as connection:
            rows = await lock_intents(connection, principal.book_id, [intent_id])
            if not rows or rows[0].account_id != principal.account_id:
                raise NotFound(f"no payment intent {intent_id}")
            intent = rows[0]
            if intent.status is IntentStatus.CANCELED:
                return None
            if intent.status in {IntentStatus.PROCESSING, IntentStatus.REQUIRES_CONFIRMATION}:
                raise Refused(
                    "payment_processing", "the outcome at the provider is not known yet", subject_id=intent_id
                )
            if intent.status not in _CANCELABLE:
                raise Refused("not_cancelable", f"the payment is {intent.status}", subject_id=intent_id)
            if intent.capture_requested_at is not None:
                raise Refused("payment_processing", "a capture is under way", subject_id=intent_id)
            attempt = (await _latest_attempts(connection, [intent])).get(intent.latest_attempt_id or "")
            if attempt is None:
                await self._cancel_untried(connection, principal, intent)
            elif intent.cancel_requested_at is None:
                await _set_wish(connection, intent, principal.clock.now())
        return intent, attempt

    async def _cancel_untried(
        self, connection: AsyncConnection, principal: MerchantPrincipal, before: IntentRow
    ) -> None:
        now = principal.clock.now()
        intent = msgspec.structs.replace(
            before, status=IntentStatus.CANCELED, version=before.version + 1, cancel_requested_at=now
        )
        await replace_rows(connection, intents, [intent])
        move = Move(
            subject_id=intent.intent_id,
            object="intent",
            version=intent.version,
            from_status=before.status,
            to_status=intent.status,
            actor=principal.account_id,
            reason="cancel",
        )
        await add_moves(connection, intent.book_id, [move], now)
        view = encoded(intent_view(intent, None))
        await self._record_events(connection, [event_of(intent, "payment_intent.canceled", view, now)])

    async def _take_back_wish(self, principal: MerchantPrincipal, intent_id: str) -> None:
        async with self._database.transaction() as connection:
            for intent in await lock_intents(connection, principal.book_id, [intent_id]):
                if intent.status is not IntentStatus.CANCELED:
                    await _set_wish(connection, intent, None)

    async def _find(self, principal: MerchantPrincipal, intent_id: str) -> tuple[IntentRow, AttemptRow | None] | None:
        return await intent_with_latest(self._database, principal.book_id, principal.account_id, intent_id)


async def _latest_attempts(connection: AsyncConnection, rows: Sequence[IntentRow]) -> dict[str, AttemptRow]:
    """The latest attempts of intents of one book, in one query."""
    if not rows:
        return {}
    wanted = [row.latest_attempt_id for row in rows if row.latest_attempt_id is not None]
    found = await attempts_by_id(connection, rows[0].book_id, wanted)
    return {attempt.attempt_id: attempt for attempt in found}


async def _set_wish(connection: AsyncConnection, intent: IntentRow, requested_at: datetime | None) -> None:
    await connection.execute(
        update(intents)
        .where(intents.c.book_id == intent.book_id, intents.c.intent_id == intent.intent_id)
        .values(cancel_requested_at=requested_at)
    )
