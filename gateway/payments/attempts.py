"""Tries at providers: begun, sent, taken up again, and the next provider where the first certainly was not reached.

An attempt is committed with its provider key *before* the provider is called, outside any transaction, and what the
provider says goes to the applier. A payment has at most one attempt that may still bring money: the database says so.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import func, or_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.clock import real_now
from gateway.foundation.database import Database
from gateway.foundation.ids import new_id
from gateway.merchants.fee_plans import FeePlan, plan_for
from gateway.merchants.principals import MerchantPrincipal
from gateway.payments.admission import Admission
from gateway.payments.calls import Calls, charge_request, subject_of
from gateway.payments.errors import InvalidRequest, NotFound, PayerBlocked, Refused
from gateway.payments.facts import Applied, FactApplier
from gateway.payments.findings import Finding
from gateway.payments.opening import confirmed, new_attempt
from gateway.payments.records import (
    AttemptRow,
    IntentRow,
    Move,
    RowWrites,
    add_moves,
    attempts_by_id,
    lock_intents,
    replace_rows,
)
from gateway.payments.requests import ConfirmIntent
from gateway.payments.routing import Route, Sum, routes
from gateway.payments.schedule import Schedule
from gateway.payments.states import AttemptStatus, IntentStatus
from gateway.payments.tables import attempts, intents
from gateway.providers.base import Inquiry

_TAKEN_UP: Final = frozenset({AttemptStatus.SUBMITTED, AttemptStatus.UNKNOWN, AttemptStatus.NOT_ATTEMPTED})
"""Attempts with which a retry of the same request can get further."""


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt that is committed and not yet sent.

    Attributes:
        others: providers that come next, should this one certainly not be reached.
    """

    intent: IntentRow
    attempt: AttemptRow
    others: Sequence[Route]


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """A new payment and how it is to be paid first.

    Attributes:
        choices: see `Attempts.choices`.
    """

    intent: IntentRow
    how: ConfirmIntent
    attempt_id: str
    choices: Sequence[Route]


def add_attempts(writes: RowWrites, begun: Sequence[Begun]) -> RowWrites:
    """Let new attempts be written, with the keys by which their providers will know them."""
    made = [one.attempt for one in begun]
    writes.insert(attempts, made)
    return writes.refer(
        (attempt.book_id, attempt.provider, attempt.provider_key, subject_of(attempt)) for attempt in made
    )


class Attempts:
    """Begins attempts and sends them.

    Args:
        admission: whether an attempt may be made at all.
    """

    def __init__(
        self,
        database: Database,
        applier: FactApplier,
        calls: Calls,
        schedule: Schedule,
        *,
        admission: Admission,
    ) -> None:
        self._database = database
        self._applier = applier
        self._calls = calls
        self._schedule = schedule
        self._admission = admission

    async def choices(self, principal: MerchantPrincipal, due: Sum, how: ConfirmIntent) -> list[Route]:
        """The providers that can carry it and that the book has an account with, first choice first.

        A provider that is out of order comes last, unless the merchant named it.

        Raises:
            InvalidRequest: there is none.
        """
        able = routes(self._calls.providers, due, how)
        asleep: int | None = None
        for number, choice in enumerate(able):
            is_in_order = await self._calls.is_in_order(principal.book_id, choice.provider)
            if is_in_order:
                return [choice, *able[:number], *able[number + 1 :]] if asleep is not None else able[number:]
            if is_in_order is not None and asleep is None:
                asleep = number
        if asleep is not None:
            return able[asleep:]
        raise InvalidRequest("parameter_invalid", f"no account with {able[0].provider}", param="provider")

    async def add(
        self,
        connection: AsyncConnection,
        intent: IntentRow,
        how: ConfirmIntent,
        *,
        attempt_id: str,
        choices: Sequence[Route],
        now: datetime,
    ) -> Begun:
        """Write a new attempt of a payment that the caller is about to write, or has locked.

        Raises:
            InvalidRequest: the account may not take this method.
            Refused: the payer is blocked, or a velocity rule or limit stands against it.
        """
        opening = Opening(intent=intent, how=how, attempt_id=attempt_id, choices=choices)
        plan = await plan_for(connection, intent.account_id, how.payment_method)
        begun = self.begun(opening, plan, now=now)
        await add_attempts(RowWrites(), [begun]).send(connection)
        await self._admission.admit(connection, intent, begun.attempt, how.payer)
        return begun

    def begun(self, opening: Opening, plan: FeePlan | None, *, now: datetime) -> Begun:
        """A new attempt, not yet written; `plan`: the merchant's terms, which are kept with it.

        Raises:
            InvalidRequest: there is no plan: the account may not take this method.
        """
        intent, how = opening.intent, opening.how
        if plan is None:
            raise InvalidRequest("parameter_invalid", "the account may not take this method", param="payment_method")
        attempt = new_attempt(
            intent,
            how,
            attempt_id=opening.attempt_id,
            chosen=opening.choices[0],
            plan=plan,
            schedule=self._schedule,
            now=now,
        )
        return Begun(intent=confirmed(intent, attempt), attempt=attempt, others=opening.choices[1:])

    async def confirm(
        self, principal: MerchantPrincipal, intent_id: str, how: ConfirmIntent, *, attempt_id: str
    ) -> Begun:
        """Commit a new attempt of a payment that waits for one.

        Raises:
            NotFound: no payment of this account has that id.
            Refused: `payment_processing` or `not_confirmable`, or see `add`.
            InvalidRequest: nobody can carry it.
        """
        try:
            return await self._confirm(principal, intent_id, how, attempt_id)
        except PayerBlocked as blocked:
            await self._admission.keep(self._database, principal, blocked)
            raise

    async def _confirm(
        self, principal: MerchantPrincipal, intent_id: str, how: ConfirmIntent, attempt_id: str
    ) -> Begun:
        async with self._database.transaction() as connection:
            rows = await lock_intents(connection, principal.book_id, [intent_id])
            if not rows or rows[0].account_id != principal.account_id:
                raise NotFound(f"no payment intent {intent_id}")
            intent = rows[0]
            if intent.status in {IntentStatus.PROCESSING, IntentStatus.REQUIRES_CONFIRMATION}:
                raise Refused("payment_processing", "the outcome of the last attempt is not known yet")
            if intent.status is not IntentStatus.REQUIRES_PAYMENT_METHOD or intent.cancel_requested_at is not None:
                raise Refused("not_confirmable", f"the payment is {intent.status}")
            due = Sum(amount_minor=intent.amount_minor, currency=intent.currency, capture_later=intent.capture_later)
            choices = await self.choices(principal, due, how)
            begun = await self.add(
                connection, intent, how, attempt_id=attempt_id, choices=choices, now=principal.clock.now()
            )
            return await self._moved(connection, principal, begun, intent)

    async def send(self, principal: MerchantPrincipal, begun: Begun, how: ConfirmIntent) -> Applied:
        """Send an attempt to its provider and record the answer; where it was not reached, then to the next provider.

        Only what the merchant left open goes elsewhere: not where he named the provider, or where a token is one
        provider's own.
        """
        while True:
            applied = await self._charge(principal, begun.intent, begun.attempt, how)
            if how.provider is not None or how.card_token is not None or not begun.others:
                return applied
            try:
                following = await self._next(principal, begun, how)
            except Refused:
                # Its room was taken meanwhile. The payment waits, and says that its provider was not reached.
                return applied
            if following is None:
                return applied
            begun = following

    async def resume(
        self, principal: MerchantPrincipal, intent: IntentRow, attempt: AttemptRow, how: ConfirmIntent
    ) -> None:
        """Take up what an earlier run of the same request began; the provider is asked before it is told again.

        Raises:
            LimitExceeded: it was never sent, and its room was taken meanwhile.
        """
        now = principal.clock.now()
        is_in_time = attempt.expires_at is None or now < attempt.expires_at
        was_not_sent = attempt.status is AttemptStatus.NOT_ATTEMPTED
        is_over = attempt.status not in _TAKEN_UP or (was_not_sent and not is_in_time)
        if is_over or intent.status is IntentStatus.CANCELED or not await self._leased(attempt):
            return
        answer = Inquiry(found=False) if was_not_sent else await self._calls.inquire(attempt)
        is_unheard_of = isinstance(answer, Inquiry) and not answer.found
        is_settled = was_not_sent or self._schedule.may_send_again(attempt.created_at, now)
        if is_unheard_of and is_settled and is_in_time:
            if was_not_sent:
                async with self._database.transaction() as connection:
                    await lock_intents(connection, intent.book_id, [intent.intent_id])
                    await self._admission.admit_again(connection, intent, attempt.attempt_id)
            await self._charge(principal, intent, attempt, how)
            return
        finding = Finding(provider=attempt.provider, subject=subject_of(attempt), outcome=AttemptStatus.UNKNOWN)
        if isinstance(answer, Inquiry) and answer.found:
            finding = msgspec.structs.replace(
                finding, outcome=AttemptStatus.PENDING, facts=answer.facts, next_action=answer.next_action
            )
        await self._applier.report(finding, book_id=principal.book_id)

    async def _charge(
        self, principal: MerchantPrincipal, intent: IntentRow, attempt: AttemptRow, how: ConfirmIntent
    ) -> Applied:
        """Ask the provider. No transaction is open meanwhile."""
        charge = charge_request(intent, attempt, card_token=how.card_token, return_url=how.return_url, bank=how.bank)
        finding = await self._calls.charge(attempt, charge, principal.clock.now())
        return await self._applier.report(finding, book_id=principal.book_id)

    async def _next(self, principal: MerchantPrincipal, begun: Begun, how: ConfirmIntent) -> Begun | None:
        """An attempt at the next provider, where the last certainly was not reached and nobody went on meanwhile."""
        async with self._database.transaction() as connection:
            intent = (await lock_intents(connection, principal.book_id, [begun.intent.intent_id]))[0]
            last = (await attempts_by_id(connection, principal.book_id, [begun.attempt.attempt_id]))[0]
            if (
                last.status is not AttemptStatus.NOT_ATTEMPTED
                or intent.status is not IntentStatus.REQUIRES_PAYMENT_METHOD
                or intent.latest_attempt_id != last.attempt_id
                or intent.cancel_requested_at is not None
            ):
                return None
            for number, choice in enumerate(begun.others):
                if await self._calls.has_account(principal.book_id, choice.provider):
                    attempt_id = new_id("att", livemode=principal.livemode)
                    following = await self.add(
                        connection,
                        intent,
                        how,
                        attempt_id=attempt_id,
                        choices=begun.others[number:],
                        now=principal.clock.now(),
                    )
                    return await self._moved(connection, principal, following, intent)
        return None

    async def _moved(
        self, connection: AsyncConnection, principal: MerchantPrincipal, begun: Begun, before: IntentRow
    ) -> Begun:
        """Write the locked payment with its new attempt."""
        intent = msgspec.structs.replace(begun.intent, version=before.version + 1)
        await replace_rows(connection, intents, [intent])
        move = Move(
            subject_id=intent.intent_id,
            object="intent",
            version=intent.version,
            from_status=before.status,
            to_status=intent.status,
            actor=principal.account_id,
            reason="confirm",
        )
        await add_moves(connection, intent.book_id, [move], principal.clock.now())
        return msgspec.structs.replace(begun, intent=intent)

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
