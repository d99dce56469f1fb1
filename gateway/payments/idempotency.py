"""Idempotency-Key: a request that is sent twice acts once. Locks one `idempotency_requests` row at a time.

A key belongs to (book, account), so test and live are independent and all API keys of an account share it.

| Situation | Answer |
|---|---|
| new key | row committed first, then run |
| same key, same request, finished | the stored status and body, marked as a replay |
| same, the first still holds the lease | `IdempotencyInProgress` |
| same, lease lapsed (crash), or ended in an error or unknown | run again as a resumption, never a stored 5xx |
| same key, other request | `IdempotencyKeyReused` |
| refused before anything began | nothing kept, the key stays free |
| older than retention | as new; `merchant_reference` is the last guard |

How a resumption knows what was done: the row holds an `operation_id` from before the first run, and what the
operation makes takes its id from it (`Claim.id_for`). So whoever resumes finds the object, or makes it for the first
time. Leases use real time.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import and_, delete, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement

from gateway.foundation.clock import real_now
from gateway.foundation.database import Database
from gateway.foundation.encryption import Vault
from gateway.foundation.ids import uuid7, uuid_to_text
from gateway.foundation.metrics import IDEMPOTENCY
from gateway.merchants.data_keys import find_wrapped_key, wrapped_key
from gateway.merchants.principals import MerchantPrincipal
from gateway.payments.errors import (
    IdempotencyInProgress,
    IdempotencyKeyInvalid,
    IdempotencyKeyMissing,
    IdempotencyKeyReused,
    InvalidRequest,
    NotFound,
)
from gateway.payments.idempotency_keys import FinishedKey, IdempotencyKeys, NewKey
from gateway.payments.tables import idempotency_requests

KEY_LENGTH_MAX: Final = 255
RETENTION: Final = timedelta(days=90)
FORGOTTEN_AT_ONCE: Final = 500
_STILL_OPEN: Final = 202
_SERVER_ERROR: Final = 500


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """An answer as the client gets it; `replayed` where it is the stored one."""

    status: int
    body: bytes
    replayed: bool = False


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """The right to run an operation, until the lease lapses.

    Attributes:
        request_id: of the first request with this key.
        resumed: an earlier run may have got somewhere; ask before doing.
    """

    operation_id: UUID
    lease_id: UUID
    request_id: str
    resumed: bool
    livemode: bool

    def id_for(self, prefix: str, number: int = 0) -> str:
        """The id of what this operation makes: the same on every resumption. `number` tells several apart."""
        # The low bits of a UUIDv7 are random: counting on them keeps ids in order, and runs into nobody else's.
        identifier = UUID(int=self.operation_id.int ^ number)
        return f"{prefix}_{'' if self.livemode else 'test_'}{uuid_to_text(identifier)}"


class _Begun(NamedTuple):
    """A claim, and the key to seal the answer with; None where the account's was destroyed."""

    claim: Claim
    wrapped_key: bytes | None


Operation = Callable[[Claim], Awaitable[Reply]]
"""Does the work. A no after work began comes back as a `Reply`, to be kept; a no before it is raised as
`InvalidRequest` or `NotFound`; any other exception leaves the request open to be resumed."""


def checked_key(header: str | None) -> str:
    """The key in the header, bare or as a quoted string.

    Raises:
        IdempotencyKeyMissing: no header.
        IdempotencyKeyInvalid: not 1–255 visible ASCII characters.
    """
    if header is None:
        raise IdempotencyKeyMissing
    key = header.strip()
    if key.startswith('"') and key.endswith('"') and len(key) > 1:
        key = key[1:-1]
    if not 1 <= len(key) <= KEY_LENGTH_MAX or any(not "!" <= character <= "~" for character in key):
        raise IdempotencyKeyInvalid
    return key


def fingerprint_of(method: str, route: str, path: Mapping[str, str], body: Any) -> bytes:
    """SHA-256 of what makes two requests the same: method, route template, path ids, canonical body.

    Args:
        body: the decoded request, so neither the order of keys nor whitespace counts; headers are left out.
    """
    parts = [method.upper(), route, dict(path), msgspec.to_builtins(body)]
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).digest()


class IdempotencyStore:
    """Runs operations at most once for each key, over any number of processes."""

    def __init__(self, database: Database, vault: Vault, *, lease_seconds: float) -> None:
        self._database = database
        self._vault = vault
        self._lease = timedelta(seconds=lease_seconds)
        self._keys = IdempotencyKeys(database, vault)
        self._running: set[asyncio.Task[Reply]] = set()

    async def run_idempotent(
        self, principal: MerchantPrincipal, key: str, fingerprint: bytes, operation: Operation, *, request_id: str
    ) -> Reply:
        """The operation's answer, or the one that an earlier run of it got.

        The work goes on when the client leaves: its retry finds the answer.

        Raises:
            IdempotencyInProgress: another run holds the lease.
            IdempotencyKeyReused: the key belongs to another request.
        """
        try:
            claimed = await self._claim(principal, key, fingerprint, request_id)
        except IdempotencyInProgress:
            IDEMPOTENCY.labels("conflict").inc()
            raise
        except IdempotencyKeyReused:
            IDEMPOTENCY.labels("mismatch").inc()
            raise
        if isinstance(claimed, Reply):
            IDEMPOTENCY.labels("replay").inc()
            return claimed
        IDEMPOTENCY.labels("resumed" if claimed.claim.resumed else "new").inc()
        task = asyncio.create_task(self._run(principal, key, claimed, operation))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def forget_old(self) -> int:
        """Delete some requests beyond retention; returns how many, 0 when none is left. Any number may do it at once.

        In small batches, so that no lock and no dead rows pile up; a request that is being run again stays.
        """
        c, now = idempotency_requests.c, real_now()
        key = tuple_(c.book_id, c.account_id, c.key)
        old = (
            select(c.book_id, c.account_id, c.key)
            .where(c.created_at < now - RETENTION, or_(c.leased_until.is_(None), c.leased_until <= now))
            .order_by(c.created_at)
            .limit(FORGOTTEN_AT_ONCE)
            .with_for_update(skip_locked=True)
        )
        async with self._database.transaction() as connection:
            return (await connection.execute(delete(idempotency_requests).where(key.in_(old)))).rowcount

    async def close(self) -> None:
        """Wait for what is still running, so that a stopping process leaves no operation half done."""
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _run(self, principal: MerchantPrincipal, key: str, begun: _Begun, operation: Operation) -> Reply:
        claim = begun.claim
        try:
            reply = await operation(claim)
        except (InvalidRequest, NotFound):
            # Where an earlier run made something, the key keeps pointing at it.
            await (self._release if claim.resumed else self._forget)(principal, key, claim)
            raise
        except BaseException:
            await self._release(principal, key, claim)
            raise
        if reply.status == _STILL_OPEN or reply.status >= _SERVER_ERROR:
            await self._release(principal, key, claim)
        else:
            await self._complete(principal, key, begun, reply)
        return reply

    async def _claim(
        self, principal: MerchantPrincipal, key: str, fingerprint: bytes, request_id: str
    ) -> _Begun | Reply:
        now = real_now()
        new = NewKey(
            book_id=principal.book_id,
            account_id=principal.account_id,
            key=key,
            fingerprint=fingerprint,
            operation_id=uuid7(),
            request_id=request_id,
            leased_until=now + self._lease,
            lease_id=uuid7(),
            created_at=now,
        )
        if (ours := await self._keys.claim(new)) is not None:
            return _Begun(_claim_of(principal, msgspec.structs.asdict(new), resumed=False), ours.wrapped_key)
        async with self._database.transaction() as connection:
            claimed = await self._claim_known(connection, principal, new)
            if isinstance(claimed, Reply):
                return claimed
            return _Begun(claimed, await find_wrapped_key(connection, principal.account_id))

    async def _claim_known(
        self, connection: AsyncConnection, principal: MerchantPrincipal, new: NewKey
    ) -> Claim | Reply:
        """What a key that was there before means; where it is gone meanwhile it is claimed as new."""
        now, key = new.created_at, new.key
        row_key = {"book_id": new.book_id, "account_id": new.account_id, "key": key}
        fresh = {name: value for name, value in msgspec.structs.asdict(new).items() if name not in row_key}
        fresh |= {"response_status": None, "sealed_response": None}
        c = idempotency_requests.c
        where = _is_row(principal, key)
        # By the unique key, never read-then-insert: of two racing first requests one inserts, one waits for it.
        added = insert(idempotency_requests).values(**row_key, **fresh).on_conflict_do_nothing().returning(c.key)
        if (await connection.execute(added)).first() is not None:
            return _claim_of(principal, fresh, resumed=False)
        row = (
            (await connection.execute(select(idempotency_requests).where(where).with_for_update()))
            .mappings()
            .one_or_none()
        )
        if row is None:
            raise IdempotencyInProgress
        is_leased = row["leased_until"] is not None and row["leased_until"] > now
        if row["created_at"] < now - RETENTION and not is_leased:
            await connection.execute(update(idempotency_requests).where(where).values(**fresh))
            return _claim_of(principal, fresh, resumed=False)
        if row["fingerprint"] != new.fingerprint:
            raise IdempotencyKeyReused(row["request_id"])
        if row["response_status"] is not None:
            body = await self._opened(connection, principal, key, row["sealed_response"])
            return Reply(status=row["response_status"], body=body, replayed=True)
        if is_leased:
            raise IdempotencyInProgress
        lease = {"lease_id": fresh["lease_id"], "leased_until": fresh["leased_until"]}
        await connection.execute(update(idempotency_requests).where(where).values(**lease))
        return _claim_of(principal, {**row, **lease}, resumed=True)

    async def _complete(self, principal: MerchantPrincipal, key: str, begun: _Begun, reply: Reply) -> None:
        await self._keys.finish(
            FinishedKey(
                book_id=principal.book_id,
                account_id=principal.account_id,
                key=key,
                lease_id=begun.claim.lease_id,
                status=reply.status,
                body=reply.body,
                wrapped_key=begun.wrapped_key,
                context=reply_context(principal, key),
            )
        )

    async def _release(self, principal: MerchantPrincipal, key: str, claim: Claim) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(
                update(idempotency_requests).where(_holds(principal, key, claim)).values(leased_until=None)
            )

    async def _forget(self, principal: MerchantPrincipal, key: str, claim: Claim) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(delete(idempotency_requests).where(_holds(principal, key, claim)))

    async def _opened(
        self, connection: AsyncConnection, principal: MerchantPrincipal, key: str, sealed: bytes
    ) -> bytes:
        data_key = await wrapped_key(connection, principal.account_id)
        return self._vault.open(data_key, sealed, context=reply_context(principal, key))


def _is_row(principal: MerchantPrincipal, key: str) -> ColumnElement[bool]:
    c = idempotency_requests.c
    return and_(c.book_id == principal.book_id, c.account_id == principal.account_id, c.key == key)


def _holds(principal: MerchantPrincipal, key: str, claim: Claim) -> ColumnElement[bool]:
    """The row, while the lease is still ours: whoever took it over decides."""
    return and_(_is_row(principal, key), idempotency_requests.c.lease_id == claim.lease_id)


def _claim_of(principal: MerchantPrincipal, row: Mapping[str, Any], *, resumed: bool) -> Claim:
    return Claim(
        operation_id=row["operation_id"],
        lease_id=row["lease_id"],
        request_id=row["request_id"],
        resumed=resumed,
        livemode=principal.livemode,
    )


def reply_context(principal: MerchantPrincipal, key: str) -> str:
    """What a stored answer is sealed for."""
    return f"idempotent_reply:{principal.book_id}:{principal.account_id}:{key}"
