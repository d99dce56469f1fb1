"""New payments that go to their provider at once: payment, attempt, count and event, committed before anybody is asked.

What comes of an account while its rows are being written shares the next statement, so many callers pay for one COMMIT
and hold the account's counters once, and what one merchant may not do delays nobody else's. Payments whose payer is
known, or that come of a link, take locks of their own and are not for this: `Intents` writes them alone.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from sqlalchemy.exc import DBAPIError

from gateway.foundation.database import Database, is_passing
from gateway.foundation.reads import Reads
from gateway.merchants import fee_plans
from gateway.payments import limits
from gateway.payments.attempts import Attempts, Begun, Opening, add_attempts
from gateway.payments.deciding import event_of
from gateway.payments.errors import PaymentError
from gateway.payments.records import IntentRow, RowWrites
from gateway.payments.requests import ConfirmIntent
from gateway.payments.tables import intents
from gateway.payments.views import encoded, intent_view
from gateway.webhooks import events
from gateway.webhooks.events import NewEvent
from ledger.coalescing import Coalescer

MAX_BATCH: Final = 100
QUEUE_LIMIT: Final = 5_000
_TERMS: Final = Reads(plans=fee_plans.IN_FORCE, limits=limits.IN_FORCE, endpoints=events.HEARING)
"""All that is to be known of an account for its new payments."""


class Openings:
    """Makes payments with their first attempt; one for all requests of a process. `close` it at the end."""

    def __init__(self, database: Database, attempts: Attempts) -> None:
        self._database = database
        self._attempts = attempts
        self._accounts: dict[tuple[int, str], Coalescer[Opening, Begun]] = {}

    @staticmethod
    def is_for(intent: IntentRow, how: ConfirmIntent) -> bool:
        """Whether nothing is known of the payer, and the payment comes of no link."""
        return how.payer is None and intent.customer_id is None and intent.payment_link_id is None

    async def open(self, opening: Opening) -> Begun:
        """Commit a payment with its attempt.

        Raises:
            IntegrityError: its merchant reference is used.
            InvalidRequest, LimitExceeded: see `Attempts.add`; nothing began.
            LedgerBusy: too many are waiting; nothing began.
        """
        book_id, account_id = opening.intent.book_id, opening.intent.account_id
        if (book_id, account_id) not in self._accounts:
            self._accounts[book_id, account_id] = Coalescer(
                self._flush_into(book_id, account_id),
                max_batch=MAX_BATCH,
                queue_limit=QUEUE_LIMIT,
                poison=_may_be_one_opening,
            )
        return await self._accounts[book_id, account_id].submit(opening)

    async def close(self) -> None:
        """Finish what was taken."""
        for coalescer in self._accounts.values():
            await coalescer.close()

    def _flush_into(self, book_id: int, account_id: str) -> Callable[[Sequence[Opening]], Awaitable[list[Begun]]]:
        async def flush(openings: Sequence[Opening]) -> list[Begun]:
            methods = sorted({opening.how.payment_method.value for opening in openings})
            asked = {"book_id": book_id, "account_id": account_id, "account_ids": [account_id], "methods": methods}
            plans, limits_in_force, endpoints = await _TERMS.ask(self._database, asked)
            by_method = {plan.method: plan for plan in plans}
            begun = [
                self._attempts.begun(opening, by_method.get(opening.how.payment_method), now=opening.intent.created_at)
                for opening in openings
            ]
            uses = [limits.use_of(account_id, one.attempt, counted_before=False) for one in begun]
            counted = [use for use in uses if use is not None]
            checks = limits.checks_of(limits_in_force, counted)
            writes = RowWrites()
            limits.add_uses(writes, book_id, counted)
            add_attempts(writes, begun).insert(intents, [one.intent for one in begun])
            events.add(writes, [_created(one) for one in begun], endpoints)
            if not checks:
                await writes.send(self._database)
                return begun
            # What must be compared after it was counted may have to be taken back.
            async with self._database.transaction() as connection:
                limits.check_periods(checks, limits.used_after(await writes.send(connection)))
            return begun

        return flush


def _created(begun: Begun) -> NewEvent:
    intent = begun.intent
    view = encoded(intent_view(intent, begun.attempt))
    return event_of(intent, "payment_intent.created", view, intent.created_at)


def _may_be_one_opening(error: Exception) -> bool:
    """Whether the batch deserves another try in halves: a used reference, a limit, a method that is not sold."""
    if isinstance(error, DBAPIError):
        return not is_passing(error)
    return isinstance(error, PaymentError)
