"""Captures: authorised money is taken once, in full or in part; what is left is released.

The wish is noted under the intent's lock before the provider is asked, under a key that follows from the attempt, so
that every retry asks for the same capture. A no takes the wish back. After silence it stays: nothing else may be done
to the payment until the provider, asked again by the merchant or the janitor, says how it stands.
"""

from datetime import datetime

from sqlalchemy import update

from gateway.foundation.database import Database
from gateway.merchants.principals import MerchantPrincipal
from gateway.payments.calls import Calls, subject_of
from gateway.payments.capture_ends import AUTHORIZATION_EXPIRED, is_over
from gateway.payments.errors import NotFound, Refused
from gateway.payments.facts import FactApplier
from gateway.payments.findings import Finding
from gateway.payments.records import AttemptRow, IntentRow, attempts_by_id, lock_intents
from gateway.payments.schedule import Schedule, hasten
from gateway.payments.states import IntentStatus
from gateway.payments.tables import intents
from gateway.providers.base import Declined, FactKind, Inquiry, NotAttempted


class Captures:
    """Takes authorised money.

    Args:
        schedule: when a capture that nobody answered is asked about.
    """

    def __init__(self, database: Database, applier: FactApplier, calls: Calls, schedule: Schedule) -> None:
        self._database = database
        self._applier = applier
        self._calls = calls
        self._schedule = schedule

    async def capture(self, principal: MerchantPrincipal, intent_id: str, amount_minor: int | None) -> None:
        """Take so much of an authorised payment; None = all of it.

        Raises:
            NotFound: no payment of this account has that id.
            Refused: `not_capturable`, `payment_processing` (a cancellation is under way), `authorization_expired`,
                `capture_exceeds_authorized`, `payment_processing` (another capture is under way), in this order; the
                provider's own no, or `provider_not_attempted` (try again).
        """
        intent, attempt, is_new = await self._wish(principal, intent_id, amount_minor)
        now = principal.clock.now()
        if is_new or not await self._ask(intent, attempt, now):
            await self._send(intent, attempt, now)

    async def resume(self, intent: IntentRow, attempt: AttemptRow, now: datetime) -> None:
        """The janitor: the provider was asked and the money is still only authorised."""
        if self._may_send_again(intent, now):
            try:
                await self._send(intent, attempt, now)
            except Refused:
                return

    async def _wish(
        self, principal: MerchantPrincipal, intent_id: str, amount_minor: int | None
    ) -> tuple[IntentRow, AttemptRow, bool]:
        """Note what is to be taken; the flag says whether it is noted for the first time."""
        async with self._database.transaction() as connection:
            rows = await lock_intents(connection, principal.book_id, [intent_id])
            if not rows or rows[0].account_id != principal.account_id:
                raise NotFound(f"no payment intent {intent_id}")
            intent = rows[0]
            if intent.status is not IntentStatus.REQUIRES_CAPTURE or intent.latest_attempt_id is None:
                raise Refused("not_capturable", f"the payment is {intent.status}", subject_id=intent_id)
            if intent.cancel_requested_at is not None:
                raise Refused("payment_processing", "a cancellation is under way", subject_id=intent_id)
            attempt = (await attempts_by_id(connection, principal.book_id, [intent.latest_attempt_id]))[0]
            is_new = intent.capture_requested_at is None
            if is_new and is_over(attempt, principal.clock.now()):
                raise Refused(AUTHORIZATION_EXPIRED, f"it was to be captured before {attempt.capture_before}")
            wanted_minor = intent.amount_minor if amount_minor is None else amount_minor
            if wanted_minor > intent.amount_minor:
                raise Refused("capture_exceeds_authorized", f"{intent.amount_minor} is authorised", param="amount")
            if not is_new and intent.capture_requested_minor != wanted_minor:
                raise Refused(
                    "payment_processing",
                    f"a capture of {intent.capture_requested_minor} is under way",
                    subject_id=intent_id,
                )
            if is_new:
                values = {"capture_requested_minor": wanted_minor, "capture_requested_at": principal.clock.now()}
                c = intents.c
                found = await connection.execute(
                    update(intents)
                    .where(c.book_id == intent.book_id, c.intent_id == intent_id)
                    .values(values)
                    .returning(c.capture_requested_minor)
                )
                assert found.scalar_one() == wanted_minor
                rows = await lock_intents(connection, principal.book_id, [intent_id])
        return rows[0], attempt, is_new

    async def _ask(self, intent: IntentRow, attempt: AttemptRow, now: datetime) -> bool:
        """Ask how it stands; whether there is nothing to send (any more, or yet)."""
        answer = await self._calls.inquire(attempt)
        if not isinstance(answer, Inquiry) or not answer.found:
            return True
        finding = Finding(provider=attempt.provider, subject=subject_of(attempt), facts=answer.facts)
        await self._applier.report(finding, book_id=attempt.book_id)
        is_open = all(fact.kind in {FactKind.PENDING, FactKind.AUTHORIZED} for fact in answer.facts)
        return not (is_open and self._may_send_again(intent, now))

    def _may_send_again(self, intent: IntentRow, now: datetime) -> bool:
        asked_at = intent.capture_requested_at
        return asked_at is not None and self._schedule.may_send_again(asked_at, now)

    async def _send(self, intent: IntentRow, attempt: AttemptRow, now: datetime) -> None:
        """Ask for the money and record the answer.

        Raises:
            Refused: the provider's no; the wish is taken back.
        """
        answer = await self._calls.capture(intent, attempt)
        if isinstance(answer, Finding):
            await self._applier.report(answer, book_id=attempt.book_id)
        elif isinstance(answer, Declined | NotAttempted):
            await self._take_back(intent)
            code = answer.failure_code if isinstance(answer, Declined) else "provider_not_attempted"
            raise Refused(code, "the provider did not take the money", subject_id=intent.intent_id)
        else:
            async with self._database.transaction() as connection:
                await hasten(connection, attempt, self._schedule.first_due_at(now))

    async def _take_back(self, intent: IntentRow) -> None:
        c = intents.c
        async with self._database.transaction() as connection:
            for row in await lock_intents(connection, intent.book_id, [intent.intent_id]):
                if row.status is IntentStatus.REQUIRES_CAPTURE:
                    await connection.execute(
                        update(intents)
                        .where(c.book_id == row.book_id, c.intent_id == row.intent_id)
                        .values(capture_requested_minor=None, capture_requested_at=None)
                    )
