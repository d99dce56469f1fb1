"""Keys of requests, written for many requests at once: new ones claimed, finished ones with their answers.

What comes while a transaction is under way shares the next one. What a key that is known already means is told one at
a time, by `IdempotencyStore`.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from gateway.foundation.database import Database, is_passing
from gateway.foundation.encryption import Vault
from gateway.foundation.statements import Statement
from gateway.merchants.data_keys import DataKeyDestroyed
from ledger.coalescing import Coalescer

MAX_BATCH: Final = 200
QUEUE_LIMIT: Final = 10_000

# In the order of the keys, so that two processes with the same keys wait for each other one way round only.
_CLAIM: Final = Statement(
    text("""
    INSERT INTO gateway.idempotency_requests
        (book_id, account_id, key, fingerprint, operation_id, request_id, leased_until, lease_id, created_at)
    SELECT new.book_id, new.account_id, new.key, new.fingerprint, new.operation_id, new.request_id, new.leased_until,
           new.lease_id, new.created_at
    FROM unnest(CAST(:book_ids AS bigint[]), CAST(:account_ids AS text[]), CAST(:keys AS text[]),
                CAST(:fingerprints AS bytea[]), CAST(:operation_ids AS uuid[]), CAST(:request_ids AS text[]),
                CAST(:leases AS timestamptz[]), CAST(:lease_ids AS uuid[]), CAST(:created AS timestamptz[]))
         AS new (book_id, account_id, key, fingerprint, operation_id, request_id, leased_until, lease_id, created_at)
    ORDER BY new.book_id, new.account_id, new.key
    ON CONFLICT DO NOTHING
    RETURNING operation_id, (SELECT wrapped_key FROM gateway.data_keys AS theirs
                             WHERE theirs.account_id = idempotency_requests.account_id) AS wrapped_key
""")
)
# The planner does not see how many keys there are, see `reads.any_of`.
_FINISH: Final = Statement(
    text("""
    UPDATE gateway.idempotency_requests AS known
    SET response_status = new.response_status, sealed_response = new.sealed_response, leased_until = NULL
    FROM unnest(CAST(:book_ids AS bigint[]), CAST(:account_ids AS text[]),
                CAST((SELECT CAST(:keys AS text[])) AS text[]), CAST(:lease_ids AS uuid[]),
                CAST(:statuses AS integer[]), CAST(:sealed AS bytea[]))
         AS new (book_id, account_id, key, lease_id, response_status, sealed_response)
    WHERE known.book_id = new.book_id AND known.account_id = new.account_id AND known.key = new.key
      AND known.lease_id = new.lease_id
""")
)


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as a first request would write it."""

    book_id: int
    account_id: str
    key: str
    fingerprint: bytes
    operation_id: UUID
    request_id: str
    leased_until: datetime
    lease_id: UUID
    created_at: datetime


class Claimed(NamedTuple):
    """A key that is ours.

    Attributes:
        wrapped_key: the account's data key, to seal the answer with; None where it was destroyed. Where it is destroyed
            before there is an answer, that is sealed with it all the same, and nobody can open it, like all before it.
    """

    wrapped_key: bytes | None


class FinishedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key with its answer; `wrapped_key`, `context`: with what and for what the answer is sealed."""

    book_id: int
    account_id: str
    key: str
    lease_id: UUID
    status: int
    body: bytes
    wrapped_key: bytes | None
    context: str


class _Sealed(NamedTuple):
    key: FinishedKey
    answer: bytes


class IdempotencyKeys:
    """Writes keys; one for all requests of a process."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault
        self._claims: Coalescer[NewKey, Claimed | None] = Coalescer(
            self._claim_all, max_batch=MAX_BATCH, queue_limit=QUEUE_LIMIT, poison=_may_be_one_key
        )
        self._answers: Coalescer[_Sealed, None] = Coalescer(
            self._finish_all, max_batch=MAX_BATCH, queue_limit=QUEUE_LIMIT, poison=_may_be_one_key
        )

    async def claim(self, new: NewKey) -> Claimed | None:
        """Write a key, committed; None where it is known already.

        Raises:
            LedgerBusy: too many are waiting; nothing was written.
        """
        return await self._claims.submit(new)

    async def finish(self, finished: FinishedKey) -> None:
        """Keep an answer, while the lease is still ours: whoever took it over decides.

        Raises:
            DataKeyDestroyed: nothing can be sealed for the account any more.
            LedgerBusy: too many are waiting; nothing was kept.
        """
        if finished.wrapped_key is None:
            raise DataKeyDestroyed(finished.account_id)
        sealed = self._vault.seal(finished.wrapped_key, finished.body, context=finished.context)
        await self._answers.submit(_Sealed(finished, sealed))

    async def _claim_all(self, keys: Sequence[NewKey]) -> list[Claimed | None]:
        columns = {
            "book_ids": [key.book_id for key in keys],
            "account_ids": [key.account_id for key in keys],
            "keys": [key.key for key in keys],
            "fingerprints": [key.fingerprint for key in keys],
            "operation_ids": [key.operation_id for key in keys],
            "request_ids": [key.request_id for key in keys],
            "leases": [key.leased_until for key in keys],
            "lease_ids": [key.lease_id for key in keys],
            "created": [key.created_at for key in keys],
        }
        rows = await self._database.ask(_CLAIM, columns)
        ours = {row["operation_id"]: Claimed(row["wrapped_key"]) for row in rows}
        return [ours.get(key.operation_id) for key in keys]

    async def _finish_all(self, answers: Sequence[_Sealed]) -> list[None]:
        columns = {
            "book_ids": [key.book_id for key, _ in answers],
            "account_ids": [key.account_id for key, _ in answers],
            "keys": [key.key for key, _ in answers],
            "lease_ids": [key.lease_id for key, _ in answers],
            "statuses": [key.status for key, _ in answers],
            "sealed": [sealed for _, sealed in answers],
        }
        await self._database.ask(_FINISH, columns)
        return [None] * len(answers)


def _may_be_one_key(error: Exception) -> bool:
    """Whether the batch deserves another try in halves."""
    return isinstance(error, DBAPIError) and not is_passing(error)
