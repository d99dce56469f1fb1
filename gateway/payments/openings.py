"""New payments that go to their provider at once: payment, attempt, count and event, committed before anybody is asked.

What comes of an account while its transaction is under way shares the next one, so many callers pay for one COMMIT and
hold the account's counters once, and what one merchant may not do delays nobody else's. Payments whose payer is known,
or that come of a link, take locks of their own and are not for this: `Intents` writes them alone.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from sqlalchemy.exc import DBAPIError

from gateway.foundation.database import Database, is_passing
from gateway.payments.attempts import Attempts, Begun, Opening
from gateway.payments.deciding import event_of
from gateway.payments.errors import PaymentError
from gateway.payments.facts import RecordEvents
from gateway.payments.records import IntentRow, add_rows
from gateway.payments.requests import ConfirmIntent
from gateway.payments.tables import intents
from gateway.payments.views import encoded, intent_view
from ledger.coalescing import Coalescer

MAX_BATCH: Final = 100
QUEUE_LIMIT: Final = 5_000


class Openings:
    """Makes payments with their first attempt; one for all requests of a process. `close` it at the end."""

    def __init__(self, database: Database, attempts: Attempts, *, record_events: RecordEvents) -> None:
        self._database = database
        self._attempts = attempts
        self._record_events = record_events
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
                self._flush_into(book_id), max_batch=MAX_BATCH, queue_limit=QUEUE_LIMIT, poison=_may_be_one_opening
            )
        return await self._accounts[book_id, account_id].submit(opening)

    async def close(self) -> None:
        """Finish what was taken."""
        for coalescer in self._accounts.values():
            await coalescer.close()

    def _flush_into(self, book_id: int) -> Callable[[Sequence[Opening]], Awaitable[list[Begun]]]:
        async def flush(openings: Sequence[Opening]) -> list[Begun]:
            async with self._database.transaction() as connection:
                begun = await self._attempts.add_all(connection, book_id, openings)
                await add_rows(connection, intents, [one.intent for one in begun])
                await self._record_events(
                    connection,
                    [
                        event_of(
                            one.intent,
                            "payment_intent.created",
                            encoded(intent_view(one.intent, one.attempt)),
                            one.intent.created_at,
                        )
                        for one in begun
                    ],
                )
            return begun

        return flush


def _may_be_one_opening(error: Exception) -> bool:
    """Whether the batch deserves another try in halves: a used reference, a limit, a method that is not sold."""
    if isinstance(error, DBAPIError):
        return not is_passing(error)
    return isinstance(error, PaymentError)
