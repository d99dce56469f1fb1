"""Payment intents: ask for a payment, look at it, cancel it.

`create` commits intent, attempt and provider key, *then* calls the provider outside any transaction, then hands the
answer to the applier. So a crash at any point leaves a row that the janitor, or the merchant's retry, takes up by
asking the provider first; and what nobody knows is `processing`, never failed.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.clock import real_now
from gateway.foundation.database import Database
from gateway.foundation.ids import new_id
from gateway.merchants.fee_plans import FeePlan
from gateway.merchants.principals import MerchantPrincipal
from gateway.payments.calls import Calls, subject_of
from gateway.payments.deciding import Finding, event_of
from gateway.payments.errors import InvalidRequest, NotFound, Refused
from gateway.payments.facts import FactApplier, RecordEvents
from gateway.payments.listing import Page, read_page
from gateway.payments.opening import chosen_route, new_payment
from gateway.payments.records import (
    AttemptRow,
    IntentRow,
    add_rows,
    attempts_by_id,
    lock_intents,
    register_references,
    rows_of,
)
from gateway.payments.requests import CreateIntent
from gateway.payments.schedule import Schedule
from gateway.payments.states import AttemptStatus, IntentStatus
from gateway.payments.tables import attempts, intents
from gateway.payments.views import Intent, encoded, intent_view
from gateway.providers.base import ChargeRequest, Declined, Inquiry, Method, NotAttempted

PlanOf = Callable[[AsyncConnection, str, Method], Awaitable[FeePlan | None]]
"""An account's fee plan in force for a method; None where it may not take it."""

_TAKEN_UP = frozenset({AttemptStatus.SUBMITTED, AttemptStatus.UNKNOWN, AttemptStatus.NOT_ATTEMPTED})
"""Attempts with which a retry of the same request can get further."""
_CANCELABLE = frozenset({IntentStatus.REQUIRES_ACTION, IntentStatus.REQUIRES_PAYMENT_METHOD})


class Intents:
    """The use cases of payments.

    Args:
        applier: through which an existing payment changes.
        calls: asks providers.
        schedule: when an open attempt is asked about.
        plan_of: the merchant's terms, kept with the attempt as they are when it is made.
    """

    def __init__(
        self,
        database: Database,
        applier: FactApplier,
        calls: Calls,
        schedule: Schedule,
        *,
        record_events: RecordEvents,
        plan_of: PlanOf,
    ) -> None:
        self._database = database
        self._applier = applier
        self._calls = calls
        self._schedule = schedule
        self._record_events = record_events
        self._plan_of = plan_of

    async def create(
        self, principal: MerchantPrincipal, request: CreateIntent, *, intent_id: str | None = None
    ) -> Intent:
        """Ask for a payment and confirm it at its provider.

        A decline or an unreachable provider is not an error: the intent is back at `requires_payment_method` and
        says why in `last_error`. An unknown outcome is `processing`.

        Args:
            intent_id: `claim.id_for("pi")`, so that a retry takes up what an earlier run began.

        Raises:
            InvalidRequest: a field breaks a limit, or `merchant_reference_used`; nothing began.
        """
        if intent_id is not None and (known := await self._find(principal, intent_id)) is not None:
            return await self._resume(principal, *known, request)
        attempt = await self._commit(principal, request, intent_id or new_id("pi", livemode=principal.livemode))
        await self._charge(principal, attempt, request)
        return await self.get(principal, attempt.intent_id)

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
        limit: int = 10,
        starting_after: str | None = None,
        ending_before: str | None = None,
    ) -> Page[Intent]:
        """A page of the account's payments, newest first.

        Raises:
            InvalidRequest: `cursor_invalid`.
        """
        c = intents.c
        mine = (c.book_id == principal.book_id, c.account_id == principal.account_id)
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
        return Page(data=[intent_view(row, latest[row.latest_attempt_id]) for row in page.data], has_more=page.has_more)

    async def cancel(self, principal: MerchantPrincipal, intent_id: str) -> Intent:
        """Make a payment unpayable: only where the provider confirms it, and never while an outcome is unknown.

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

    async def _commit(self, principal: MerchantPrincipal, request: CreateIntent, intent_id: str) -> AttemptRow:
        """Validate, and commit intent, attempt, provider key and event."""
        chosen = chosen_route(request, self._calls.providers)
        await self._calls.check_account(principal.book_id, chosen.provider)
        try:
            async with self._database.transaction() as connection:
                plan = await self._plan_of(connection, principal.account_id, request.payment_method)
                if plan is None:
                    raise InvalidRequest(
                        "parameter_invalid", "the account may not take this method", param="payment_method"
                    )
                intent, attempt = new_payment(
                    principal, request, intent_id=intent_id, chosen=chosen, plan=plan, schedule=self._schedule
                )
                await add_rows(connection, intents, [intent])
                await add_rows(connection, attempts, [attempt])
                reference = (attempt.provider, attempt.provider_key, subject_of(attempt))
                await register_references(connection, principal.book_id, [reference])
                view = encoded(intent_view(intent, attempt))
                await self._record_events(
                    connection, [event_of(intent, "payment_intent.created", view, intent.created_at)]
                )
        except IntegrityError as error:
            if "payment_intents_merchant_reference" in str(error.orig):
                raise InvalidRequest(
                    "merchant_reference_used", "another payment has this reference", param="merchant_reference"
                ) from error
            raise
        return attempt

    async def _charge(self, principal: MerchantPrincipal, attempt: AttemptRow, request: CreateIntent) -> None:
        """Send the attempt to its provider and record the answer. No transaction is open meanwhile."""
        charge = ChargeRequest(
            attempt_id=attempt.attempt_id,
            provider_key=attempt.provider_key,
            method=attempt.method,
            amount_minor=attempt.amount_minor,
            currency=attempt.currency,
            created_at=attempt.created_at,
            expires_at=attempt.expires_at,
            description=request.description,
            card_token=request.card_token,
            return_url=request.return_url,
        )
        finding = await self._calls.charge(attempt, charge, principal.clock.now())
        await self._applier.report(finding, book_id=principal.book_id)

    async def _resume(
        self, principal: MerchantPrincipal, intent: IntentRow, attempt: AttemptRow, request: CreateIntent
    ) -> Intent:
        """Take up what an earlier run of the same request began; the provider is asked before it is told again."""
        now = principal.clock.now()
        is_in_time = attempt.expires_at is None or now < attempt.expires_at
        was_not_sent = attempt.status is AttemptStatus.NOT_ATTEMPTED
        is_over = attempt.status not in _TAKEN_UP or (was_not_sent and not is_in_time)
        if is_over or intent.status is IntentStatus.CANCELED or not await self._leased(attempt):
            return intent_view(intent, attempt)
        answer = Inquiry(found=False) if was_not_sent else await self._calls.inquire(attempt)
        is_unheard_of = isinstance(answer, Inquiry) and not answer.found
        is_settled = was_not_sent or self._schedule.may_send_again(attempt.created_at, now)
        if is_unheard_of and is_settled and is_in_time:
            await self._charge(principal, attempt, request)
        else:
            finding = Finding(provider=attempt.provider, subject=subject_of(attempt), outcome=AttemptStatus.UNKNOWN)
            if isinstance(answer, Inquiry) and answer.found:
                finding = msgspec.structs.replace(
                    finding, outcome=AttemptStatus.PENDING, facts=answer.facts, next_action=answer.next_action
                )
            await self._applier.report(finding, book_id=principal.book_id)
        return await self.get(principal, intent.intent_id)

    async def _leased(self, attempt: AttemptRow) -> bool:
        """Whether the attempt is ours; false while somebody else is at it. A crash from here on will be asked about."""
        c = attempts.c
        async with self._database.transaction() as connection:
            taken = await connection.execute(
                update(attempts)
                .where(c.book_id == attempt.book_id, c.attempt_id == attempt.attempt_id)
                .where(or_(c.leased_until.is_(None), c.leased_until <= real_now()))
                .values(leased_until=self._schedule.lease_end(), due_at=func.coalesce(c.due_at, attempt.created_at))
            )
        return taken.rowcount == 1

    async def _wish_cancelled(
        self, principal: MerchantPrincipal, intent_id: str
    ) -> tuple[IntentRow, AttemptRow] | None:
        """Note under the intent's lock that money is not wanted from now on; None where it is cancelled already."""
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
            attempt = (await _latest_attempts(connection, [intent]))[intent.latest_attempt_id]
            if intent.cancel_requested_at is None:
                await _set_wish(connection, intent, principal.clock.now())
        return intent, attempt

    async def _take_back_wish(self, principal: MerchantPrincipal, intent_id: str) -> None:
        async with self._database.transaction() as connection:
            for intent in await lock_intents(connection, principal.book_id, [intent_id]):
                if intent.status is not IntentStatus.CANCELED:
                    await _set_wish(connection, intent, None)

    async def _find(self, principal: MerchantPrincipal, intent_id: str) -> tuple[IntentRow, AttemptRow] | None:
        c = intents.c
        statement = select(intents).where(
            and_(c.book_id == principal.book_id, c.intent_id == intent_id, c.account_id == principal.account_id)
        )
        # A change between the two reads would pair a payment with an attempt that it never had that way.
        async with self._database.snapshot() as connection:
            rows = await rows_of(connection, statement, IntentRow)
            if not rows:
                return None
            return rows[0], (await _latest_attempts(connection, rows))[rows[0].latest_attempt_id]


async def _latest_attempts(connection: AsyncConnection, rows: Sequence[IntentRow]) -> dict[str, AttemptRow]:
    """The latest attempts of intents of one book, in one query."""
    if not rows:
        return {}
    found = await attempts_by_id(connection, rows[0].book_id, [row.latest_attempt_id for row in rows])
    return {attempt.attempt_id: attempt for attempt in found}


async def _set_wish(connection: AsyncConnection, intent: IntentRow, requested_at: datetime | None) -> None:
    await connection.execute(
        update(intents)
        .where(intents.c.book_id == intent.book_id, intents.c.intent_id == intent.intent_id)
        .values(cancel_requested_at=requested_at)
    )
