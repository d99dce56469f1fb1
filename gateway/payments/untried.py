"""New payments that nobody is asked about yet: the key, the payment, its event and the answer in one transaction.

Nothing outside is called, so nothing has to be committed before: a request is either all there, with its answer to
replay, or not at all and its key is free. What comes while a transaction is under way shares the next one, so many
callers pay for one COMMIT. A key that is known already is left to `IdempotencyStore`, which knows what it means.
"""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import text
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
from gateway.payments.facts import RecordEvents
from gateway.payments.idempotency import Claim, Reply, reply_context
from gateway.payments.opening import new_intent, reference_used
from gateway.payments.records import IntentRow, add_rows
from gateway.payments.requests import CreateIntent
from gateway.payments.tables import intents
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


class UntriedIntents:
    """Makes payments that are confirmed later; one for all requests of a process."""

    def __init__(self, database: Database, vault: Vault, *, record_events: RecordEvents) -> None:
        self._database = database
        self._vault = vault
        self._record_events = record_events
        self._wishes: Coalescer[_Wish, Reply | None] = Coalescer(
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
        try:
            reply = await self._wishes.submit(wish)
        except IntegrityError as error:
            raise reference_used(error) or error from error
        if reply is not None:
            IDEMPOTENCY.labels("new").inc()
        return reply

    async def close(self) -> None:
        """Take nothing more, and finish what was taken."""
        await self._wishes.close()

    async def _flush(self, wishes: Sequence[_Wish]) -> Sequence[Reply | None]:
        async with self._database.transaction() as connection:
            ours = await self._claim_and_finish(connection, wishes)
            made = [wish for wish in wishes if wish.operation_id in ours]
            await add_rows(connection, intents, [wish.intent for wish in made])
            await self._record_events(
                connection,
                [event_of(wish.intent, "payment_intent.created", wish.body, wish.intent.created_at) for wish in made],
            )
        return [Reply(status=_CREATED, body=wish.body) if wish.operation_id in ours else None for wish in wishes]

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


def _may_be_one_wish(error: Exception) -> bool:
    """Whether the batch deserves another try in halves: a used reference, an account without its data key."""
    if isinstance(error, DBAPIError):
        return not is_passing(error)
    return isinstance(error, DataKeyDestroyed)
