"""The janitor: asks providers about everything whose end is open, and takes up what a crash left behind.

Work is claimed with a lease and SKIP LOCKED, so any number of janitors may run. Pace: see `schedule.py`. What it
learns goes to the applier as facts like any other; nothing is expired before the provider was asked, and nobody's
silence is ever read as "failed".
"""

import asyncio
from collections.abc import Coroutine
from datetime import datetime
from typing import Any, Final, TypeVar

from msgspec.structs import replace
from sqlalchemy import TextualSelect, func, select

from gateway.foundation.clock import BookClock, real_now
from gateway.foundation.database import Database
from gateway.foundation.logs import get_logger
from gateway.foundation.metrics import ATTEMPT_UNKNOWN_OLDEST_SECONDS, ATTEMPTS_UNKNOWN, JANITOR_RUNS
from gateway.foundation.writes import Writes
from gateway.payments import lost_answers
from gateway.payments.authorizations import Authorizations
from gateway.payments.calls import Calls, charge_fact, subject_of
from gateway.payments.capture_ends import deadline_of, is_over
from gateway.payments.captures import Captures
from gateway.payments.facts import ClockOf, FactApplier
from gateway.payments.findings import Finding
from gateway.payments.records import AttemptRow, IntentRow, RefundRow, rows_of
from gateway.payments.refunds import Refunds
from gateway.payments.schedule import CLAIM_ATTEMPTS, CLAIM_REFUNDS, Schedule, postpone
from gateway.payments.states import AttemptStatus, RefundStatus
from gateway.payments.tables import attempts, intents
from gateway.providers.base import Fact, FactKind, FactSource, Inquiry, Unknown
from gateway.providers.circuits import is_circuit_open

CLAIM_MAX: Final = 50
_SENT_AGAIN_AFTER_ASKS: Final = 1
_ENDS: Final = frozenset({FactKind.DECLINED, FactKind.EXPIRED, FactKind.VOIDED})
_CANCELABLE: Final = frozenset({AttemptStatus.PENDING, AttemptStatus.AUTHORIZED})
_NOT_SENT_YET: Final = frozenset({RefundStatus.REQUESTED, RefundStatus.RESERVED})

Due = TypeVar("Due", AttemptRow, RefundRow)

_log = get_logger("quickkub.janitor")


class Janitor:
    """Asks about what is due.

    Args:
        refunds: takes a stuck refund on; captures: a stuck capture; authorizations: ends what was not captured.
    """

    def __init__(
        self,
        database: Database,
        applier: FactApplier,
        calls: Calls,
        refunds: Refunds,
        captures: Captures,
        *,
        authorizations: Authorizations,
        schedule: Schedule,
        clock_of: ClockOf,
    ) -> None:
        self._database = database
        self._applier = applier
        self._calls = calls
        self._refunds = refunds
        self._captures = captures
        self._authorizations = authorizations
        self._schedule = schedule
        self._clock_of = clock_of

    async def run_once(self) -> int:
        """Ask about what is due now, at most 50 attempts and 50 refunds; returns how many were asked about."""
        due_attempts = await self._claim(CLAIM_ATTEMPTS, AttemptRow)
        due_refunds = await self._claim(CLAIM_REFUNDS, RefundRow)
        await asyncio.gather(
            *(self._guarded(self._see_to_attempt(attempt)) for attempt in due_attempts),
            *(self._guarded(self._see_to_refund(refund)) for refund in due_refunds),
        )
        await self._measure()
        return len(due_attempts) + len(due_refunds)

    async def _measure(self) -> None:
        """Put on the dashboard what nobody knows."""
        c = attempts.c
        statement = select(c.provider, func.count(), func.min(c.created_at)).where(c.status == AttemptStatus.UNKNOWN)
        async with self._database.read() as connection:
            found = (await connection.execute(statement.group_by(c.provider))).all()
        unknown = {provider: count for provider, count, _ in found}
        for provider in self._calls.providers:
            ATTEMPTS_UNKNOWN.labels(provider).set(unknown.get(provider, 0))
        now = real_now()
        # Business time of a test book may run ahead; its attempts are young, not of negative age.
        ages_seconds = [max(0, (now - oldest).total_seconds()) for *_, oldest in found]
        ATTEMPT_UNKNOWN_OLDEST_SECONDS.set(max(ages_seconds, default=0))

    async def _claim(self, statement: TextualSelect, kind: type[Due]) -> list[Due]:
        parameters = {"now": real_now(), "most": CLAIM_MAX, "leased_until": self._schedule.lease_end()}
        returned = await Writes().also("claimed", statement, parameters, kind).send(self._database)
        claimed: list[Due] = returned["claimed"]
        return claimed

    async def _guarded(self, work: Coroutine[Any, Any, str]) -> None:
        """One subject's trouble is not the others'; its lease lapses and it is asked about again."""
        try:
            JANITOR_RUNS.labels(await work).inc()
        except Exception:  # noqa: BLE001 – logged; the loop must see to the others
            JANITOR_RUNS.labels("error").inc()
            _log.exception("janitor could not see to a subject")

    async def _see_to_attempt(self, attempt: AttemptRow) -> str:
        clock, intent = await self._read(attempt)
        now = clock.now()
        if intent.cancel_requested_at is not None and attempt.status in _CANCELABLE:
            answer = await self._calls.cancel(attempt, now)
            if isinstance(answer, Finding):
                await self._applier.report(answer, book_id=attempt.book_id)
                await self._postpone(attempt, now, deadline_of(attempt))
                return "canceled"
        inquiry = await self._calls.inquire(attempt)
        # The lease is kept until the next question is put off: nobody else may ask for the same charge meanwhile.
        finding = Finding(
            provider=attempt.provider, subject=subject_of(attempt), outcome=AttemptStatus.UNKNOWN, goes_on=True
        )
        if isinstance(inquiry, Unknown):
            result = "unknown"
        else:
            facts = inquiry.facts
            if attempt.expires_at is not None and attempt.expires_at <= now and not _is_decided(facts, attempt):
                facts = (*facts, charge_fact(attempt, FactKind.EXPIRED, FactSource.INQUIRY, attempt.expires_at))
            finding = replace(finding, facts=facts)
            if inquiry.found:
                finding = replace(finding, outcome=AttemptStatus.PENDING, next_action=inquiry.next_action)
            result = "found" if inquiry.found else "not_found"
        await self._applier.report(finding, book_id=attempt.book_id)
        if isinstance(inquiry, Inquiry) and lost_answers.is_lost(attempt, inquiry, self._schedule, now):
            await self._recover(intent, attempt, inquiry, now)
        if isinstance(inquiry, Inquiry) and inquiry.found and intent.capture_requested_at is not None:
            await self._resume_capture(intent, attempt, inquiry.facts, now)
        if attempt.capture_before is not None:
            attempt = await self._authorizations.see_to(attempt, now)
        await self._postpone(attempt, now, deadline_of(attempt), is_asked=not _was_stopped(inquiry))
        return result

    async def _recover(self, intent: IntentRow, attempt: AttemptRow, inquiry: Inquiry, now: datetime) -> None:
        """A QR whose text never came: the payer can do nothing until it is there, or given up."""
        finding = await lost_answers.recover(self._calls, intent, attempt, inquiry, now)
        if finding is not None:
            await self._applier.report(replace(finding, goes_on=True), book_id=attempt.book_id)

    async def _resume_capture(
        self, intent: IntentRow, attempt: AttemptRow, facts: tuple[Fact, ...], now: datetime
    ) -> None:
        """The merchant wants the money, who knows whether the provider heard of it, and it is only authorised yet."""
        is_open = all(fact.kind in {FactKind.PENDING, FactKind.AUTHORIZED} for fact in facts)
        if attempt.status is AttemptStatus.AUTHORIZED and is_open:
            await self._captures.resume(intent, attempt, now)

    async def _see_to_refund(self, refund: RefundRow) -> str:
        """Ask about a refund, or send it.

        Before it is sent the next question is put off: the lease ends with the answer, and where that is silence
        nobody may ask, hear that it is not known and send once more while the provider is still at work.
        """
        clock, _ = await self._read(refund)
        now = clock.now()
        if refund.status in _NOT_SENT_YET:
            await self._postpone(refund, now, keep_lease=True)
            await self._refunds.proceed(refund, clock)
            return "resumed"
        finding = Finding(provider=refund.provider, subject=subject_of(refund))
        inquiry = await self._calls.inquire_refund(refund)
        if isinstance(inquiry, Inquiry) and inquiry.found:
            await self._applier.report(replace(finding, facts=inquiry.facts), book_id=refund.book_id)
            result = "found"
        else:
            # Noted before anything is sent again: from here on only the provider's word leads further. The lease is
            # kept through it: a second janitor that sent again, too, would pay the payer twice.
            noted = replace(finding, outcome=RefundStatus.UNKNOWN, goes_on=True)
            await self._applier.report(noted, book_id=refund.book_id)
            result = "unknown" if isinstance(inquiry, Unknown) else "not_found"
            if result == "not_found" and self._may_send_again(refund, now):
                await self._postpone(refund, now, keep_lease=True)
                await self._refunds.send(refund, clock)
                return "sent_again"
        await self._postpone(refund, now, is_asked=not _was_stopped(inquiry))
        return result

    def _may_send_again(self, refund: RefundRow, now: datetime) -> bool:
        """Whether a refund that the provider does not know may be sent again, under the same key.

        Not at the first such answer: the provider may still have been at work on the first sending.
        """
        return (
            refund.status is not RefundStatus.PENDING
            and refund.asks >= _SENT_AGAIN_AFTER_ASKS
            and self._schedule.may_send_again(refund.created_at, now)
        )

    async def _read(self, row: AttemptRow | RefundRow) -> tuple[BookClock, IntentRow]:
        """The book's clock, and the payment with what the merchant wishes of it."""
        c = intents.c
        statement = select(intents).where(c.book_id == row.book_id, c.intent_id == row.intent_id)
        async with self._database.read() as connection:
            [intent] = await rows_of(connection, statement, IntentRow)
            return await self._clock_of(connection, row.book_id), intent

    async def _postpone(
        self,
        row: AttemptRow | RefundRow,
        now: datetime,
        deadline: datetime | None = None,
        *,
        keep_lease: bool = False,
        is_asked: bool = True,
    ) -> None:
        """Put off the next question; only one that could reach the provider counts."""
        asks = row.asks + is_asked
        endless = row.status in _NOT_SENT_YET or (isinstance(row, AttemptRow) and is_over(row, now))
        if is_asked:
            due_at = self._schedule.next_due_at(asks, now, not_after=deadline, endless=endless)
        else:
            due_at = self._schedule.retry_at(now, not_after=deadline)
        async with self._database.transaction() as connection:
            await postpone(connection, row, due_at, asks=asks, keep_lease=keep_lease)


def _was_stopped(inquiry: Inquiry | Unknown) -> bool:
    """Whether nobody was asked, because the provider's circuit is open."""
    return isinstance(inquiry, Unknown) and is_circuit_open(inquiry.reason)


def _is_decided(facts: tuple[Fact, ...], attempt: AttemptRow) -> bool:
    """Whether the provider has said how a charge ended: with its money in time or set aside, or without."""
    return any(
        fact.kind in _ENDS
        # Authorised in time: from then on the time to be paid is of no matter.
        or fact.kind is FactKind.AUTHORIZED
        or (
            fact.kind is FactKind.CAPTURED
            and fact.amount_minor >= attempt.amount_minor
            and (attempt.expires_at is None or fact.occurred_at <= attempt.expires_at)
        )
        for fact in facts
    )
