"""Authorisations and their end: the merchant is warned a day before, and what was not captured in time is given up.

Until when money can be taken follows from the provider's capability, kept with the attempt when it is made, and from
the moment of its authorisation. At that moment the janitor asks the provider first; only money that is still no more
than authorised is given up, by the same road as a merchant's own cancelling. Silence is asked again, never "expired".
"""

from datetime import datetime

from msgspec.structs import replace
from sqlalchemy import Update, update

from gateway.foundation.database import Database
from gateway.payments.calls import Calls
from gateway.payments.capture_ends import CAPTURE_WARNING, is_over
from gateway.payments.deciding import event_of
from gateway.payments.facts import FactApplier, RecordEvents
from gateway.payments.findings import Finding
from gateway.payments.records import AttemptRow, IntentRow, attempts_by_id, lock_intents
from gateway.payments.states import AttemptStatus, IntentStatus
from gateway.payments.tables import attempts, intents
from gateway.payments.views import encoded, intent_view


class Authorizations:
    """Warns of, and ends, authorisations. Locks the payment."""

    def __init__(self, database: Database, applier: FactApplier, calls: Calls, *, record_events: RecordEvents) -> None:
        self._database = database
        self._applier = applier
        self._calls = calls
        self._record_events = record_events

    async def see_to(self, attempt: AttemptRow, now: datetime) -> AttemptRow:
        """Do what is due of an authorisation that its provider was just asked about; returns it as it is now."""
        async with self._database.transaction() as connection:
            [intent] = await lock_intents(connection, attempt.book_id, [attempt.intent_id])
            [attempt] = await attempts_by_id(connection, attempt.book_id, [attempt.attempt_id])
            is_waiting = intent.status is IntentStatus.REQUIRES_CAPTURE and intent.capture_requested_at is None
            before = attempt.capture_before
            if not is_waiting or before is None or attempt.status is not AttemptStatus.AUTHORIZED:
                return attempt
            if not is_over(attempt, now):
                if attempt.capture_warned_at is None and now >= before - CAPTURE_WARNING:
                    attempt = replace(attempt, capture_warned_at=now)
                    await connection.execute(_of(attempt).values(capture_warned_at=now))
                    event = event_of(intent, "payment_intent.capture_due", encoded(intent_view(intent, attempt)), now)
                    await self._record_events(connection, [event])
                return attempt
            await connection.execute(_giving_up(intent, before))
        answer = await self._calls.cancel(attempt, now)
        if isinstance(answer, Finding):
            await self._applier.report(replace(answer, goes_on=True), book_id=attempt.book_id)
        return attempt


def _of(attempt: AttemptRow) -> Update:
    return update(attempts).where(attempts.c.book_id == attempt.book_id, attempts.c.attempt_id == attempt.attempt_id)


def _giving_up(intent: IntentRow, at: datetime) -> Update:
    """From its end on the money is not wanted, unless the merchant had given it up before."""
    c = intents.c
    mine = (c.book_id == intent.book_id, c.intent_id == intent.intent_id, c.cancel_requested_at.is_(None))
    return update(intents).where(*mine).values(cancel_requested_at=at)
