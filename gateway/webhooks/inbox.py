"""The inbox: providers' callbacks, stored raw before they are answered, understood afterwards.

Storing is one insert. A callback is told from a repeated one by a hash of its body and of the headers that sign it:
not by the event id in it, because a forger could then take a true event's place before it comes.

The processor claims callbacks with a lease, under load those of a tenth of a second together (`Pace`), so that they
share the transaction of their facts and the statement that ends them. An adapter parses each; what it does not vouch
for is asked of the provider; facts go to the applier, which is the only one that moves anything. Each ends as
`applied`, `ignored` or `quarantined`, with a reason; what may still turn out (no answer yet, nothing known of it yet)
is tried again.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

import msgspec
from sqlalchemy import select, update
from sqlalchemy import text as sql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.foundation.clock import real_now
from gateway.foundation.database import Database, Source, is_passing, send
from gateway.foundation.encryption import Vault
from gateway.foundation.ids import new_id
from gateway.foundation.logs import get_logger
from gateway.foundation.metrics import INBOX_DUPLICATES, INBOX_REJECTED
from gateway.foundation.statements import Statement
from gateway.merchants.known_accounts import AccountOf
from gateway.providers.base import (
    Callback,
    CallbackRejected,
    Fact,
    ParsedCallback,
    Provider,
    ProviderAccount,
    Unknown,
)
from gateway.providers.registry import CALLBACK_HEADERS
from gateway.webhooks.slots import Pace, Slots
from gateway.webhooks.tables import webhook_inbox
from ledger.coalescing import Coalescer

SLOTS: Final = 20
LEASE: Final = timedelta(minutes=2)
"""Longer than a few inquiries; who dies leaves the callback to the next."""
WAIT_SECONDS: Final = 0.2
RETRY_SECONDS: Final = (1, 5, 30, 120, 600, 3_600, 21_600, 86_400)
"""Before which retry how long is waited; after the last one the callback is put aside."""
RETRIES_UNCONFIRMED: Final = 4
"""How often the provider is asked again about what it does not know; then the callback is taken for forged."""

_log = get_logger("quickkub.inbox")


class FactApplier(Protocol):
    """The one way that a payment changes (`payments/facts.py`)."""

    async def apply(self, fact: Fact, *, book_id: int) -> object:
        """Apply a fact. An exception whose `retryable` is true asks for another try; any other is final."""
        ...


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A callback in the inbox; a duplicate has the id of the first arrival."""

    id: str
    duplicate: bool


class _State(StrEnum):
    PENDING = "pending"
    APPLIED = "applied"
    IGNORED = "ignored"
    QUARANTINED = "quarantined"


class _Kept(msgspec.Struct, frozen=True):
    headers: dict[str, str]
    body: bytes


class _Item(msgspec.Struct, frozen=True, kw_only=True):
    inbox_id: str
    provider_account_id: str
    provider: str
    book_id: int
    sealed_callback: bytes
    received_at: datetime
    attempts: int
    lease_until: datetime


class _Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a callback; still pending = try again."""

    state: _State
    reason: str | None = None
    event_id: str | None = None


class _Ended(NamedTuple):
    """A callback and what became of it."""

    item: _Item
    verdict: _Verdict


async def store(source: Source, vault: Vault, account: ProviderAccount, callback: Callback) -> Stored:
    """Store a callback once, by one statement; answer the provider after it committed.

    One that was put aside because the provider knew nothing of it is looked at again when it comes again.
    """
    kept = _kept(account, callback)
    inbox_id = new_id("in", livemode=account.livemode)
    parameters = {
        "inbox_id": inbox_id,
        "provider_account_id": account.account_id,
        "provider": account.provider,
        "book_id": account.book_id,
        "digest": _digest(kept),
        "sealed_callback": vault.seal_house(msgspec.msgpack.encode(kept), context=_context(inbox_id)),
        "received_at": callback.received_at,
    }
    [row] = await send(source, _STORE, parameters)
    is_repeated = row["arrivals"] > 1
    if is_repeated:
        INBOX_DUPLICATES.labels(provider=account.provider).inc()
    return Stored(id=row["inbox_id"], duplicate=is_repeated)


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A callback as staff see it; its body stays sealed."""

    inbox_id: str
    provider: str
    received_at: datetime
    attempts: int
    arrivals: int
    reason: str | None


async def waiting(connection: AsyncConnection, *, state: str, provider: str | None, limit: int) -> list[Waiting]:
    """Callbacks in a state, newest first."""
    c = webhook_inbox.c
    statement = select(*(c[name] for name in Waiting.__struct_fields__)).where(c.state == state)
    if provider is not None:
        statement = statement.where(c.provider == provider)
    rows = await connection.execute(statement.order_by(c.inbox_id.desc()).limit(limit))
    return [Waiting(**row) for row in rows.mappings()]


async def look_again(connection: AsyncConnection, inbox_ids: Sequence[str]) -> list[str]:
    """Let callbacks that were put aside or ignored be looked at once more, now; the ids of those that will be."""
    c = webhook_inbox.c
    found = await connection.execute(
        update(webhook_inbox)
        .where(c.inbox_id.in_(inbox_ids), c.state.in_([_State.QUARANTINED.value, _State.IGNORED.value]))
        .values(state=_State.PENDING.value, reason=None, processed_at=None, attempts=0, next_attempt_at=real_now())
        .returning(c.inbox_id)
    )
    return list(found.scalars())


class InboxProcessor:
    """Finds out what stored callbacks mean; any number may run. `close` it at the end.

    Args:
        providers: adapters by name.
        applier: takes the facts.
        account_of: see `AccountOf`.
        slots: how many callbacks are worked on at a time.
        lease: how long a claimed callback is kept from others; longer than its inquiries may take.
    """

    def __init__(
        self,
        database: Database,
        vault: Vault,
        providers: Mapping[str, Provider],
        applier: FactApplier,
        *,
        account_of: AccountOf,
        slots: int = SLOTS,
        lease: timedelta = LEASE,
    ) -> None:
        self._database = database
        self._vault = vault
        self._providers = providers
        self._applier = applier
        self._account_of = account_of
        self._slots = Slots(slots)
        self._pace = Pace()
        self._lease = lease
        self._verdicts: Coalescer[_Ended, None] = Coalescer(
            self._finish, max_batch=slots, queue_limit=slots, poison=_may_be_one_callback
        )

    async def run_once(self) -> int:
        """Claim what is due and work on it in the background; returns how many callbacks were dealt with.

        A provider that does not answer holds up its own callbacks only: they go on while this returns.
        """
        await self._pace.next_claim()
        if limit := self._slots.free:
            items = await _claim(self._database, limit=limit, lease=self._lease)
            self._pace.found(len(items), limit=limit)
            for item in items:
                self._slots.start(self._process(item))
        return await self._slots.gather(seconds=WAIT_SECONDS)

    async def close(self) -> None:
        """Finish what is under way."""
        await self._slots.gather(seconds=None)

    async def _process(self, item: _Item) -> int:
        try:
            verdict = await self._verdict(item)
        except Exception as error:  # noqa: BLE001 - whatever this one does to us, the others go on
            _log.exception("callback failed", extra={"inbox_id": item.inbox_id})
            verdict = _after(item, error)
        await self._verdicts.submit(_Ended(item, verdict))
        if verdict.state is _State.QUARANTINED:
            INBOX_REJECTED.labels(provider=item.provider).inc()
            _log.warning("callback quarantined", extra={"inbox_id": item.inbox_id, "reason": verdict.reason})
        return 1

    async def _verdict(self, item: _Item) -> _Verdict:
        account = await self._account_of(item.book_id, item.provider)
        if account is None or account.account_id != item.provider_account_id:
            return _Verdict(state=_State.QUARANTINED, reason="provider_account_gone")
        provider = self._providers[item.provider]
        callback = self._opened(item)
        try:
            parsed = provider.parse_callback(account, callback)
        except CallbackRejected as error:
            return _Verdict(state=_State.QUARANTINED, reason=error.code)
        if parsed.ignored:
            return _Verdict(state=_State.IGNORED, reason="no_meaning", event_id=parsed.event_id)
        facts = await _confirmed(provider, account, callback, parsed)
        if isinstance(facts, Unknown):
            return msgspec.structs.replace(_again(item, "inquiry_unknown"), event_id=parsed.event_id)
        if not facts:
            return msgspec.structs.replace(_unconfirmed(item), event_id=parsed.event_id)
        for fact in facts:
            await self._applier.apply(fact, book_id=item.book_id)
        return _Verdict(state=_State.APPLIED, event_id=parsed.event_id)

    async def _finish(self, ended: Sequence[_Ended]) -> list[None]:
        await _finish(self._database, ended)
        return [None] * len(ended)

    def _opened(self, item: _Item) -> Callback:
        opened = self._vault.open_house(item.sealed_callback, context=_context(item.inbox_id))
        kept = msgspec.msgpack.decode(opened, type=_Kept)
        return Callback(headers=kept.headers, body=kept.body, received_at=item.received_at)


async def _confirmed(
    provider: Provider, account: ProviderAccount, callback: Callback, parsed: ParsedCallback
) -> list[Fact] | Unknown:
    """What may be believed: what the adapter vouches for, and what the provider says when asked."""
    facts = list(parsed.facts)
    for reference in parsed.inquire:
        inquiry = await provider.inquire(account, reference, parsed.inquire_about or callback.received_at)
        if isinstance(inquiry, Unknown):
            return inquiry
        facts += inquiry.facts
    return facts


def _after(item: _Item, error: Exception) -> _Verdict:
    """What says of itself that trying again is useless is put aside; a surprise may pass."""
    reason = str(getattr(error, "code", type(error).__name__))
    if getattr(error, "retryable", True):
        return _again(item, reason)
    return _Verdict(state=_State.QUARANTINED, reason=reason)


def _again(item: _Item, reason: str) -> _Verdict:
    """Another try, or aside after the last one."""
    last = item.attempts + 1 > len(RETRY_SECONDS)
    return _Verdict(state=_State.QUARANTINED if last else _State.PENDING, reason=reason)


def _unconfirmed(item: _Item) -> _Verdict:
    """The provider knows nothing of it: it may be early, and after a while it is forged."""
    last = item.attempts + 1 > RETRIES_UNCONFIRMED
    return _Verdict(state=_State.IGNORED if last else _State.PENDING, reason="not_confirmed")


_STORE: Final = Statement(
    sql("""
    INSERT INTO gateway.webhook_inbox AS inbox
      (inbox_id, provider_account_id, provider, book_id, digest, sealed_callback, received_at, arrivals,
       state, attempts, next_attempt_at)
    VALUES (:inbox_id, :provider_account_id, :provider, :book_id, :digest, :sealed_callback, :received_at, 1,
       'pending', 0, :received_at)
    ON CONFLICT (provider_account_id, digest) DO UPDATE SET
      arrivals = inbox.arrivals + 1,
      state = CASE WHEN inbox.reason = 'not_confirmed' THEN 'pending' ELSE inbox.state END,
      processed_at = CASE WHEN inbox.reason = 'not_confirmed' THEN NULL ELSE inbox.processed_at END,
      attempts = CASE WHEN inbox.reason = 'not_confirmed' THEN 0 ELSE inbox.attempts END,
      next_attempt_at = CASE WHEN inbox.reason = 'not_confirmed' THEN excluded.received_at
        ELSE inbox.next_attempt_at END
    RETURNING inbox_id, arrivals
""")
)

_CLAIM: Final = Statement(
    sql("""
    WITH claimable AS (
        SELECT inbox_id FROM gateway.webhook_inbox
        WHERE state = 'pending' AND next_attempt_at <= :now AND (lease_until IS NULL OR lease_until <= :now)
        ORDER BY next_attempt_at LIMIT :limit FOR UPDATE SKIP LOCKED)
    UPDATE gateway.webhook_inbox AS inbox SET lease_until = :lease_until
    FROM claimable WHERE inbox.inbox_id = claimable.inbox_id
    RETURNING inbox.inbox_id, inbox.provider_account_id, inbox.provider, inbox.book_id, inbox.sealed_callback,
      inbox.received_at, inbox.attempts, inbox.lease_until
""")
)


async def _claim(source: Source, *, limit: int, lease: timedelta) -> list[_Item]:
    now = real_now()
    rows = await send(source, _CLAIM, {"now": now, "lease_until": now + lease, "limit": limit})
    return [_Item(**row) for row in rows]


# Where the lease lapsed and somebody else has the callback now, nothing is written: their verdict will be the same. The
# planner does not see how many there are, see `reads.any_of`.
_FINISH: Final = Statement(
    sql("""
    UPDATE gateway.webhook_inbox AS inbox
    SET state = ended.state, reason = ended.reason, event_id = ended.event_id, attempts = ended.attempts,
        next_attempt_at = coalesce(ended.next_attempt_at, inbox.next_attempt_at), processed_at = ended.processed_at,
        lease_until = NULL
    FROM unnest(CAST((SELECT CAST(:inbox_ids AS text[])) AS text[]), CAST(:leases AS timestamptz[]),
                CAST(:states AS text[]), CAST(:reasons AS text[]), CAST(:event_ids AS text[]),
                CAST(:attempts AS integer[]), CAST(:next_attempts AS timestamptz[]),
                CAST(:processed AS timestamptz[]))
         AS ended (inbox_id, lease_until, state, reason, event_id, attempts, next_attempt_at, processed_at)
    WHERE inbox.inbox_id = ended.inbox_id AND inbox.lease_until = ended.lease_until
""")
)


async def _finish(source: Source, ended: Sequence[_Ended]) -> None:
    now = real_now()
    columns = {
        "inbox_ids": [item.inbox_id for item, _ in ended],
        "leases": [item.lease_until for item, _ in ended],
        "states": [verdict.state.value for _, verdict in ended],
        "reasons": [verdict.reason for _, verdict in ended],
        "event_ids": [verdict.event_id for _, verdict in ended],
        "attempts": [item.attempts + 1 for item, _ in ended],
        "next_attempts": [
            now + timedelta(seconds=RETRY_SECONDS[item.attempts]) if verdict.state is _State.PENDING else None
            for item, verdict in ended
        ],
        "processed": [None if verdict.state is _State.PENDING else now for _, verdict in ended],
    }
    await send(source, _FINISH, columns)


def _may_be_one_callback(error: Exception) -> bool:
    """Whether the others deserve another try without one of them: what a provider calls its event is text from afar."""
    return isinstance(error, DBAPIError) and not is_passing(error)


def _kept(account: ProviderAccount, callback: Callback) -> _Kept:
    wanted = CALLBACK_HEADERS.get(account.provider, frozenset())
    headers = {name.lower(): value for name, value in callback.headers.items() if name.lower() in wanted}
    return _Kept(headers, callback.body)


def _digest(kept: _Kept) -> bytes:
    signed = "\n".join(f"{name}:{value}" for name, value in sorted(kept.headers.items()))
    return hashlib.sha256(signed.encode() + b"\x00" + kept.body).digest()


def _context(inbox_id: str) -> str:
    return f"inbox:{inbox_id}"
