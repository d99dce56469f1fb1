"""Many payments in one call: each stands for itself, and those that nobody is asked about share one transaction."""

import asyncio
from collections.abc import Sequence
from typing import Final

from sqlalchemy.exc import IntegrityError

from gateway.foundation.database import Database
from gateway.merchants.principals import MerchantPrincipal
from gateway.payments.deciding import event_of
from gateway.payments.errors import InvalidRequest, PaymentError
from gateway.payments.facts import RecordEvents
from gateway.payments.intents import Intents
from gateway.payments.opening import in_order, new_intent, reference_of, reference_refused, used_references
from gateway.payments.records import IntentRow, add_rows
from gateway.payments.requests import CreateIntent
from gateway.payments.tables import intents as intents_table
from gateway.payments.views import Intent, encoded, intent_view

ITEMS_MAX: Final = 100
AT_ONCE: Final = 10
"""How many providers are asked at the same time for one call."""

Made = Intent | PaymentError
"""What became of one item."""


class BulkIntents:
    """Makes many payments.

    Args:
        intents: makes a single one.
    """

    def __init__(self, database: Database, intents: Intents, *, record_events: RecordEvents) -> None:
        self._database = database
        self._intents = intents
        self._record_events = record_events

    async def create(
        self, principal: MerchantPrincipal, requests: Sequence[CreateIntent], ids: Sequence[str]
    ) -> list[Made]:
        """Make each payment under its id, which is the same on every retry; one that fails harms no other.

        Errors that may pass (`retryable`) stand for themselves, too: the same call again gets further with those.
        """
        assert len(requests) == len(ids) <= ITEMS_MAX
        made: dict[int, Made] = {}
        untried: list[tuple[int, IntentRow]] = []
        for number, (request, intent_id) in enumerate(zip(requests, ids, strict=True)):
            if request.confirm:
                continue
            try:
                assert request.confirmation() is None
                untried.append((number, new_intent(principal, request, intent_id=intent_id)))
            except InvalidRequest as refused:
                made[number] = refused
        if not (is_made := await self._commit([row for _, row in untried])):
            made |= await self._refused(untried)
            untried = [each for each in untried if each[0] not in made]
            is_made = await self._commit([row for _, row in untried])
        if is_made:
            made |= {number: intent_view(row, None) for number, row in untried}
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> None:
            async with gate:
                try:
                    made[number] = await self._intents.create(principal, requests[number], intent_id=ids[number])
                except PaymentError as error:
                    made[number] = error

        await asyncio.gather(*(one(number) for number in range(len(requests)) if number not in made))
        return [made[number] for number in range(len(requests))]

    async def _refused(self, untried: Sequence[tuple[int, IntentRow]]) -> dict[int, Made]:
        """Those whose reference another payment has, or an earlier one of them: they hold up none of the others."""
        rows = [row for _, row in untried]
        holders = await used_references(self._database, rows)
        refused: dict[int, Made] = {}
        for number, row in untried:
            reference = reference_of(row)
            if reference is not None and holders.setdefault(reference, row.intent_id) != row.intent_id:
                refused[number] = reference_refused()
        return refused

    async def _commit(self, rows: Sequence[IntentRow]) -> bool:
        """Write them all at once; false where one of them cannot be (made before, or its reference used)."""
        if not rows:
            return True
        news = [
            event_of(row, "payment_intent.created", encoded(intent_view(row, None)), row.created_at) for row in rows
        ]
        try:
            async with self._database.transaction() as connection:
                await add_rows(connection, intents_table, in_order(rows))
                await self._record_events(connection, news)
        except IntegrityError:
            return False
        return True
