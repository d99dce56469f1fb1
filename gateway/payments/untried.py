"""New payments that nobody is asked about yet: the key, the payment, its event and the answer in one transaction.

Nothing outside is called, so nothing has to be committed before: a request is either all there, with its answer to
replay, or not at all and its key is free. What comes while a transaction is under way shares the next one, so many
callers pay for one COMMIT. A key that is known already is left to `IdempotencyStore`, which knows what it means.
"""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import select, text, tuple_
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.clock import real_now
from gateway.foundation.database import Database, is_passing
from gateway.foundation.encryption import Vault
from gateway.foundation.ids import uuid7
from gateway.foundation.metrics import IDEMPOTENCY
from gateway.merchants.data_keys import DataKeyDestroyed, wrapped_keys
from gateway.merchants.principals import MerchantPrincipal
from gateway.payments.deciding import event_of
from gateway.payments.errors import PaymentError
from gateway.payments.facts import RecordEvents
from gateway.payments.idempotency import Claim, Reply, reply_context
from gateway.payments.opening import (
    Reference,
    in_order,
    new_intent,
    reference_of,
    reference_refused,
    reference_used,
    used_references,
)
from gateway.payments.records import IntentRow, add_rows
from gateway.payments.requests import CreateIntent
from gateway.payments.tables import idempotency_requests, intents
from gateway.payments.views import encoded, intent_view
from ledger.coalescing import Coalescer

MAX_BATCH: Final = 100
QUEUE_LIMIT: Final = 5_000
_CREATED: Final = 201

# In the order of the keys, so that two processes with the same keys wait for each other one way round only.
_CLAIM_AND_FINISH: Final = text("""
    INSERT INTO gateway.idempotency_requests
        (book_id, account_id, key, fingerprint, operation_id, request_id, leased_until, lease_id,
         response_status, sealed_response, created_at)
    SELECT new.book_id, new.account_id, new.key, new.fingerprint, new.operation_id, new.request_id, NULL,
           new.operation_id, CAST(:status AS integer), new.sealed_response, CAST(:now AS timestamptz)
    FROM unnest(CAST(:book_ids AS bigint[]), CAST(:account_ids AS text[]), CAST(:keys AS text[]),
                CAST(:fingerprints AS bytea[]), CAST(:operation_ids AS uuid[]), CAST(:request_ids AS text[]),
                CAST(:sealed_responses AS bytea[]))
         AS new (book_id, account_id, key, fingerprint, operation_id, request_id, sealed_response)
    ORDER BY new.book_id, new.account_id, new.key
    ON CONFLICT DO NOTHING
    RETURNING operation_id
""")


class _Wish(msgspec.Struct, frozen=True, kw_only=True):
    """A payment as it would be, under the key that asked for it."""

    principal: MerchantPrincipal
    key: str
    fingerprint: bytes
    request_id: str
    operation_id: UUID
    intent: IntentRow
    body: bytes

    @property
    def context(self) -> str:
        return reply_context(self.principal, self.key)


Made = Reply | PaymentError | None
"""What became of a wish: the answer, why not, or None: its key is known."""


class UntriedIntents:
    """Makes payments that are confirmed later; one for all requests of a process."""

    def __init__(self, database: Database, vault: Vault, *, record_events: RecordEvents) -> None:
        self._database = database
        self._vault = vault
        self._record_events = record_events
        self._wishes: Coalescer[_Wish, Made] = Coalescer(
            self._flush, max_batch=MAX_BATCH, queue_limit=QUEUE_LIMIT, poison=_may_be_one_wish
        )

    async def create(
        self, principal: MerchantPrincipal, request: CreateIntent, *, key: str, fingerprint: bytes, request_id: str
    ) -> Reply | None:
        """The new payment as an answer, committed; None where the key is known or more than a row is needed.

        The work goes on when the client leaves: its retry finds the answer.

        Raises:
            InvalidRequest: a field breaks a limit, or `merchant_reference_used`; nothing began, the key stays free.
            LedgerBusy: too many are waiting; nothing began.
        """
        if request.confirm or request.customer is not None:
            return None
        assert request.confirmation() is None
        claim = Claim(
            operation_id=(operation_id := uuid7()),
            lease_id=operation_id,
            request_id=request_id,
            resumed=False,
            livemode=principal.livemode,
        )
        intent = new_intent(principal, request, intent_id=claim.id_for("pi"))
        wish = _Wish(
            principal=principal,
            key=key,
            fingerprint=fingerprint,
            request_id=request_id,
            operation_id=operation_id,
            intent=intent,
            body=encoded(intent_view(intent, None)),
        )
        reply = await self._wishes.submit(wish)
        if isinstance(reply, PaymentError):
            raise reply
        if reply is not None:
            IDEMPOTENCY.labels("new").inc()
        return reply

    async def close(self) -> None:
        """Take nothing more, and finish what was taken."""
        await self._wishes.close()

    async def _flush(self, wishes: Sequence[_Wish]) -> Sequence[Made]:
        """Make all that can be made; a used reference holds up none of the others, which may be other merchants'.

        That one is used is told by the database, so that it costs no question where none is, which is nearly always.
        """
        try:
            return await self._made(wishes)
        except IntegrityError as error:
            if reference_used(error) is None:
                raise
        try:
            return await self._told_apart(wishes)
        except IntegrityError as error:
            if reference_used(error) is None:
                raise
            # Somebody else wrote one since we looked, and has it by now.
            return await self._told_apart(wishes)

    async def _told_apart(self, wishes: Sequence[_Wish]) -> Sequence[Made]:
        """Refuse those whose reference is used and make the others. To repeat it is harmless: what is made is known."""
        async with self._database.transaction() as connection:
            used = await used_references(connection, [wish.intent for wish in wishes])
            taken = [wish for wish in wishes if reference_of(wish.intent) in used]
            refused = await self._refused(connection, taken)
        open_ones = [wish for wish in wishes if reference_of(wish.intent) not in used]
        first_of: dict[Reference, UUID] = {}
        later = {wish.operation_id for wish in open_ones if _is_later(wish, first_of)}
        free = [wish for wish in open_ones if wish.operation_id not in later]
        made = await self._made(free) if free else []
        outcomes: dict[UUID, Made] = {wish.operation_id: each for wish, each in zip(free, made, strict=True)}
        outcomes |= {operation_id: reference_refused() for operation_id in refused}
        if later:
            # Whether the first one with their reference was made is known now.
            again = [wish for wish in wishes if wish.operation_id in later]
            told = await self._told_apart(again)
            outcomes |= {wish.operation_id: each for wish, each in zip(again, told, strict=True)}
        return [outcomes.get(wish.operation_id) for wish in wishes]

    async def _made(self, wishes: Sequence[_Wish]) -> Sequence[Made]:
        async with self._database.transaction() as connection:
            ours = await self._claim_and_finish(connection, wishes)
            made = [wish for wish in wishes if wish.operation_id in ours]
            await add_rows(connection, intents, in_order(wish.intent for wish in made))
            await self._record_events(
                connection,
                [event_of(wish.intent, "payment_intent.created", wish.body, wish.intent.created_at) for wish in made],
            )
        return [Reply(status=_CREATED, body=wish.body) if wish.operation_id in ours else None for wish in wishes]

    async def _refused(self, connection: AsyncConnection, wishes: Sequence[_Wish]) -> set[UUID]:
        """Of those whose reference is used the ones whose key is free; the others may have used it themselves."""
        if not wishes:
            return set()
        r = idempotency_requests.c
        keys = {(wish.principal.book_id, wish.principal.account_id, wish.key) for wish in wishes}
        known = await connection.execute(
            select(r.book_id, r.account_id, r.key).where(tuple_(r.book_id, r.account_id, r.key).in_(sorted(keys)))
        )
        taken = {tuple(row) for row in known}
        return {
            wish.operation_id
            for wish in wishes
            if (wish.principal.book_id, wish.principal.account_id, wish.key) not in taken
        }

    async def _claim_and_finish(self, connection: AsyncConnection, wishes: Sequence[_Wish]) -> set[UUID]:
        """Write keys with their answers; returns the operations whose key was free."""
        wrapped = await wrapped_keys(connection, {wish.principal.account_id for wish in wishes})
        columns: dict[str, Any] = {
            "book_ids": [wish.principal.book_id for wish in wishes],
            "account_ids": [wish.principal.account_id for wish in wishes],
            "keys": [wish.key for wish in wishes],
            "fingerprints": [wish.fingerprint for wish in wishes],
            "operation_ids": [wish.operation_id for wish in wishes],
            "request_ids": [wish.request_id for wish in wishes],
            "sealed_responses": [
                self._vault.seal(wrapped[wish.principal.account_id], wish.body, context=wish.context) for wish in wishes
            ],
        }
        result = await connection.execute(_CLAIM_AND_FINISH, {**columns, "status": _CREATED, "now": real_now()})
        return {row.operation_id for row in result}


def _is_later(wish: _Wish, first_of: dict[Reference, UUID]) -> bool:
    """Whether an earlier wish of the batch has the same reference; that of the first is noted."""
    reference = reference_of(wish.intent)
    return reference is not None and first_of.setdefault(reference, wish.operation_id) != wish.operation_id


def _may_be_one_wish(error: Exception) -> bool:
    """Whether the batch deserves another try in halves: an account without its data key."""
    if isinstance(error, DBAPIError):
        return not is_passing(error)
    return isinstance(error, DataKeyDestroyed)
