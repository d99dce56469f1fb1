"""New payments that go to their provider at once: payment, attempt, count and event, committed before anybody is asked.

What comes of an account while its rows are being written shares the next statement, so many callers pay for one COMMIT
and hold the account's counters once. What may not begin – over a limit, with a used reference, by a method that is not
sold – is told apart before anything is written, so that it holds up nobody's payment, not even of its own merchant.
Payments whose payer is known, or that come of a link, take locks of their own and are not for this: `Intents` writes
them alone.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple

from sqlalchemy.exc import DBAPIError, IntegrityError

from gateway.foundation.database import Database, is_passing
from gateway.foundation.reads import Reads
from gateway.merchants import fee_plans
from gateway.merchants.fee_plans import FeePlan
from gateway.payments import limits
from gateway.payments.attempts import Attempts, Begun, Opening, add_attempts
from gateway.payments.deciding import event_of
from gateway.payments.errors import PaymentError
from gateway.payments.opening import (
    USED_REFERENCES,
    Reference,
    in_order,
    reference_of,
    reference_refused,
    reference_used,
    references_asked,
)
from gateway.payments.records import IntentRow, RowWrites
from gateway.payments.requests import ConfirmIntent
from gateway.payments.tables import intents
from gateway.payments.views import encoded, intent_view
from gateway.providers.base import Method
from gateway.webhooks import events
from gateway.webhooks.events import NewEvent
from ledger.coalescing import Coalescer

MAX_BATCH: Final = 100
QUEUE_LIMIT: Final = 5_000
_TERMS: Final = Reads(plans=fee_plans.IN_FORCE, limits=limits.IN_FORCE, endpoints=events.HEARING, used=USED_REFERENCES)
"""All that is to be known of an account for its new payments, and which of their references are used."""
Outcome = Begun | PaymentError
"""What became of an opening: it has begun, or why it has not."""


class Openings:
    """Makes payments with their first attempt; one for all requests of a process. `close` it at the end."""

    def __init__(self, database: Database, attempts: Attempts) -> None:
        self._database = database
        self._attempts = attempts
        self._accounts: dict[tuple[int, str], Coalescer[Opening, Outcome]] = {}

    @staticmethod
    def is_for(intent: IntentRow, how: ConfirmIntent) -> bool:
        """Whether nothing is known of the payer, and the payment comes of no link."""
        return how.payer is None and intent.customer_id is None and intent.payment_link_id is None

    async def open(self, opening: Opening) -> Begun:
        """Commit a payment with its attempt.

        Raises:
            InvalidRequest: see `Attempts.add`, or `merchant_reference_used`; nothing began.
            LimitExceeded: nothing began.
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
        outcome = await self._accounts[book_id, account_id].submit(opening)
        if isinstance(outcome, PaymentError):
            raise outcome
        return outcome

    async def close(self) -> None:
        """Finish what was taken."""
        for coalescer in self._accounts.values():
            await coalescer.close()

    def _flush_into(self, book_id: int, account_id: str) -> Callable[[Sequence[Opening]], Awaitable[list[Outcome]]]:
        async def flush(openings: Sequence[Opening]) -> list[Outcome]:
            try:
                return await self._opened(book_id, account_id, openings)
            except IntegrityError as error:
                if reference_used(error) is None:
                    raise
                # Somebody else wrote a reference since we looked, and has it by now: it is seen the second time.
                return await self._opened(book_id, account_id, openings)

        return flush

    async def _opened(self, book_id: int, account_id: str, openings: Sequence[Opening]) -> list[Outcome]:
        """Write what may begin; what may not is told its own caller, and holds nobody else's up."""
        asked = {
            "book_id": book_id,
            "account_id": account_id,
            "account_ids": [account_id],
            "methods": sorted({opening.how.payment_method.value for opening in openings}),
            **references_asked(opening.intent for opening in openings),
        }
        plans, limits_in_force, endpoints, used = await _TERMS.ask(self._database, asked)
        by_method = {plan.method: plan for plan in plans}
        wished = [self._wished(opening, by_method, limits_in_force) for opening in openings]
        able = [one for one in wished if isinstance(one, _Wished)]
        references = {row.name: row.intent_id for row in used}
        if not any(check.is_of_periods for one in able for check in one.checks):
            outcomes = _let_in(wished, references, None)
            await self._writes(book_id, outcomes, endpoints).send(self._database)
            return outcomes
        async with self._database.transaction() as connection:
            # All counters that will be counted on, in their order, as everybody locks them.
            room = limits.Room(await limits.locked_use(connection, book_id, [one.use for one in able]))
            outcomes = _let_in(wished, references, room)
            await self._writes(book_id, outcomes, endpoints).send(connection)
        return outcomes

    def _wished(
        self, opening: Opening, plans: Mapping[Method, FeePlan], in_force: Sequence[limits.LimitRow]
    ) -> "_Wished | PaymentError":
        """What is to begin, unless its method is not sold or it alone is too small or too large."""
        intent = opening.intent
        try:
            begun = self._attempts.begun(opening, plans.get(opening.how.payment_method), now=intent.created_at)
            use = limits.use_of(intent.account_id, begun.attempt, counted_before=False)
            assert use is not None, "a new attempt counts"
            return _Wished(begun, use, limits.checks_of(in_force, [use]))
        except PaymentError as refused:
            return refused

    @staticmethod
    def _writes(book_id: int, outcomes: Sequence[Outcome], endpoints: Sequence[events.Endpoint]) -> RowWrites:
        begun = [one for one in outcomes if isinstance(one, Begun)]
        uses = [limits.use_of(one.intent.account_id, one.attempt, counted_before=False) for one in begun]
        writes = RowWrites()
        limits.add_uses(writes, book_id, [use for use in uses if use is not None])
        add_attempts(writes, begun).insert(intents, in_order(one.intent for one in begun))
        events.add(writes, [_created(one) for one in begun], endpoints)
        return writes


class _Wished(NamedTuple):
    """An opening that would begin, what it would use, and the limits that it must keep."""

    begun: Begun
    use: limits.Use
    checks: Sequence[limits.Check]


def _let_in(
    wished: Sequence[_Wished | PaymentError], references: Mapping[Reference, str], room: limits.Room | None
) -> list[Outcome]:
    """Which of them begin, the first first: each reference once, and as many as there is room for; None = any number.

    Args:
        references: those of them that are used already, with the payments that have them. What is asked for again
            while its first run is still under way is not refused for its own: its key is taken, as the database says.
    """
    used, outcomes = dict(references), list[Outcome]()
    for one in wished:
        if isinstance(one, PaymentError):
            outcomes.append(one)
            continue
        reference, intent_id = reference_of(one.begun.intent), one.begun.intent.intent_id
        try:
            if reference is not None and used.get(reference, intent_id) != intent_id:
                raise reference_refused()
            if room is not None:
                room.let_in(one.use, one.checks)
        except PaymentError as refused:
            outcomes.append(refused)
            continue
        used |= {reference: intent_id} if reference is not None else {}
        outcomes.append(one.begun)
    return outcomes


def _created(begun: Begun) -> NewEvent:
    intent = begun.intent
    view = encoded(intent_view(intent, begun.attempt))
    return event_of(intent, "payment_intent.created", view, intent.created_at)


def _may_be_one_opening(error: Exception) -> bool:
    """Whether the batch deserves another try in halves: what may not begin was told apart before it was written."""
    return isinstance(error, DBAPIError) and not is_passing(error)
